package engine

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"signalbox/engine/ledger"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
	"signalbox/relay/fed"
	"signalbox/relay/wire"
)

// fedConn is a connection as relay/fed sees it.
type fedConn struct{ c *quicnet.Conn }

func (t fedConn) RemoteAddr() string  { return t.c.RemoteAddr().String() }
func (t fedConn) RTT() time.Duration  { return t.c.RTT() }
func (t fedConn) MaxDatagram() int    { return t.c.MaxDatagram() }
func (t fedConn) Close(reason string) { go t.c.Close(0, reason) } // which waits for the end

// Announcements counts the lists of rooms' members sent to and read from other
// relays.
func (e *Engine) Announcements() (sent, heard uint64) { return e.fed.mesh.Announcements() }

// Blackhole loses everything sent to an address, for tests and demos; see
// quicnet.Endpoint.Blackhole.
func (e *Engine) Blackhole(addr netip.AddrPort, on bool) { e.edge.Blackhole(addr, on) }

// runFederation runs a link until it ends; false when it was not wanted.
func (e *Engine) runFederation(ctx context.Context, c *quicnet.Conn, up fed.Up) bool {
	start := time.Now()
	up.Transport = fedConn{c}
	l, why := e.fed.mesh.Up(up, e.mono())
	if l == nil {
		e.refuseLink(c, up.Fingerprint, why, "")
		return false
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{}, 3)
	run := func(role string, f func() error) {
		go func() {
			defer func() { done <- struct{}{} }()
			defer e.contain(role, func() { c.Close(0, "internal error") })
			if err := f(); err != nil && ctx.Err() == nil {
				c.Close(0, err.Error())
			}
		}()
	}
	run("link writer", func() error { e.linkWriter(ctx, c, l); return nil })
	run("link signal writer", func() error { return e.linkSignals(ctx, c, l) })
	run("link signal reader", func() error { return e.linkListener(ctx, c, l) })
	reason := e.linkReader(ctx, c, l)
	cancel()
	c.Close(0, closeReason)
	for range 3 {
		<-done
	}
	l.Down(reason, e.mono())
	name := up.Fingerprint[:min(16, len(up.Fingerprint))]
	if p, ok := e.fed.mesh.Find(up.Fingerprint); ok {
		name = linkName(p)
	}
	e.endings.add(view.Ending{
		At: time.Now().UTC(), Kind: "link", Subject: name, Remote: c.RemoteAddr().String(), Reason: reason, LifetimeS: time.Since(start).Seconds(),
	})
	return true
}

// linkReader takes the peer's datagrams. A panic on one of them ends the link.
func (e *Engine) linkReader(ctx context.Context, c *quicnet.Conn, l *fed.Link) (reason string) {
	defer e.contain("link reader", func() { reason = "internal error" })
	var lost uint64
	for {
		dg, err := c.ReceiveDatagram(ctx)
		if n := c.RxDropped(); n != lost {
			l.Lost(ledger.RxQueue, n-lost)
			lost = n
		}
		if err != nil {
			return endReason(err)
		}
		l.Receive(dg, e.mono())
	}
}

// linkWriter is the only caller of SendDatagram for its connection: it may
// block there, and then only this link's queue fills up.
func (e *Engine) linkWriter(ctx context.Context, c *quicnet.Conn, l *fed.Link) {
	batch := make([]fed.Packet, 0, writerBurst)
	var buf []byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.Wake():
		}
		for ctx.Err() == nil {
			batch = l.Take(batch[:0], writerBurst, e.mono())
			if len(batch) == 0 {
				break
			}
			for left := batch; len(left) > 0; {
				var n int
				buf, n = l.Pack(buf[:0], left, c.MaxDatagram())
				err := c.SendDatagram(buf)
				if n > 1 && errors.Is(err, quicnet.ErrTooLarge) { // the path has become narrower
					buf, n = l.Pack(buf[:0], left, 0)
					err = c.SendDatagram(buf)
				}
				switch {
				case err == nil:
					l.Done(n, 0, 0)
				case errors.Is(err, quicnet.ErrTooLarge):
					l.Done(0, n, 0)
				default:
					l.Done(0, 0, n)
				}
				left = left[n:]
			}
			clear(batch)
		}
	}
}

var (
	errStalled  = errors.New("peer_stalled: it takes no signals")
	errBadFrame = errors.New("a signal that cannot be read")
)

// linkSignals tells the peer what there is to tell, in order. What cannot be
// told ends the link: the peer would believe what is no longer so.
func (e *Engine) linkSignals(ctx context.Context, c *quicnet.Conn, l *fed.Link) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.SignalWake():
		}
		for ctx.Err() == nil {
			s, ok := l.Next()
			if !ok {
				break
			}
			if err := e.tellRelay(ctx, c, s); err != nil {
				return err
			}
		}
	}
}

// tellRelay writes one signal, and waits for credit as long as a write may take.
func (e *Engine) tellRelay(ctx context.Context, c *quicnet.Conn, s wire.Signal) error {
	for deadline := time.Now().Add(fedWriteLimit); ; {
		err := e.writeSignal(c, s)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, quicnet.ErrNoCredit):
			return errStalled
		case time.Now().After(deadline), !sleep(ctx, creditWait, nil):
			return errStalled
		}
	}
}

// linkListener reads the peer's signals one after the other, since a later list
// replaces an earlier one. Messages of a kind we do not know are passed over.
func (e *Engine) linkListener(ctx context.Context, c *quicnet.Conn, l *fed.Link) error {
	for {
		s, err := readRelaySignal(ctx, c)
		switch {
		case errors.Is(err, wire.ErrUnknownVariant), errors.Is(err, wire.ErrField):
		case errors.Is(err, errBadFrame):
			return err
		case err != nil:
			return nil // the connection's end, which the reader reports
		default:
			l.Handle(s, e.mono())
		}
		for d := l.SignalWait(e.mono()); d > 0; d = l.SignalWait(e.mono()) { // until it is this one's turn
			if !sleep(ctx, d, nil) {
				return nil
			}
		}
	}
}

// readRelaySignal is readSignal for relays we know: lists of large rooms are
// longer than what strangers may send.
func readRelaySignal(ctx context.Context, c *quicnet.Conn) (wire.Signal, error) {
	st, err := c.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	if err := st.SetReadDeadline(time.Now().Add(fedReadLimit)); err != nil {
		return nil, err
	}
	sig, err := wire.ReadFrame(st, wire.HardMaxFrame)
	st.CancelRead(0)
	if st.Close() != nil {
		st.CancelWrite(0)
	}
	switch {
	case err == nil, errors.Is(err, wire.ErrUnknownVariant), errors.Is(err, wire.ErrField):
		return sig, err
	}
	return nil, errors.Join(errBadFrame, err)
}
