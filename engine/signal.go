package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"signalbox/engine/config"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
	"signalbox/relay/call"
	"signalbox/relay/wire"
)

// Time limits and bounds of a signalling connection.
const (
	registerTimeout = 10 * time.Second // spec wzp 4.4
	streamTimeout   = 5 * time.Second  // one message of a client, from its first byte on
	signalStreams   = 16               // messages of one client read at the same time
	creditPoll      = 20 * time.Millisecond
	leastWrite      = 500 * time.Millisecond
	lateReads       = 13 * time.Second // a frame nobody has read in time may still be read
	receiptBytes    = 256              // clients send nothing where they only read
	signalTick      = 100 * time.Millisecond
	farewell        = time.Second // for a refused client to read why
)

// reach is what clients are told of where we are. Constant after openSignal.
type reach struct {
	advertise string // as configured; empty: as each client reaches us
	guessed   string // where the client's own view does not say
}

// openCalls makes what direct calls and tokens need, and the links over which
// they go.
func (e *Engine) openCalls() error {
	if err := e.openAuth(); err != nil {
		return err
	}
	if err := e.openSignal(); err != nil {
		return err
	}
	e.openFederation()
	return nil
}

// openSignal makes the hub. The UDP port is bound by now.
func (e *Engine) openSignal() error {
	var err error
	if e.reach.advertise, err = advertised(e.cfg.AdvertiseAddr, e.edge.Addr().Port()); err != nil {
		return &config.ExitError{Code: config.ExitConfig, Err: err}
	}
	e.reach.guessed = netip.AddrPortFrom(guessAddr(e.edge.Addr().Addr()), e.edge.Addr().Port()).String()
	e.presence = call.NewPresence()
	e.seeks = make(chan struct{}, maxSeeks)
	s := e.cfg.Signal
	e.hub = call.New(call.Config{
		MaxClients: s.MaxClients, RingTimeout: s.RingTimeout, RequireSignature: s.RequireSignature,
		CertHash: e.certHash, Build: BuildID(), Event: e.event, Seek: e.seek, Stranger: e.stranger,
	}, e.presence)
	return nil
}

// advertised completes the configured address. Clients look no names up, so
// that is done here (spec wzp 1.5).
func advertised(addr string, port uint16) (string, error) {
	if addr == "" {
		return "", nil
	}
	ap, err := config.ParseListen(addr)
	if err != nil {
		return "", fmt.Errorf("advertise_addr: %w", err)
	}
	if ap.Addr().IsUnspecified() {
		return "", fmt.Errorf("advertise_addr: %s is no address a client could reach", addr)
	}
	if ap.Port() != 0 {
		port = ap.Port()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), port).String(), nil
}

// guessAddr is the address of the interface that leads out, which costs no
// packet; the loopback address where there is none.
func guessAddr(listen netip.Addr) netip.Addr {
	if listen.IsValid() && !listen.IsUnspecified() {
		return listen.Unmap().WithZone("")
	}
	for _, out := range []string{"8.8.8.8:80", "[2001:4860:4860::8888]:80"} {
		c, err := net.Dial("udp", out)
		if err != nil {
			continue
		}
		ap, err := netip.ParseAddrPort(c.LocalAddr().String())
		if cerr := c.Close(); err == nil && cerr == nil {
			return ap.Addr().Unmap().WithZone("")
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// reachedAt is the address a client is told to bring its media to: the
// configured one, or the one by which it has reached us.
func (e *Engine) reachedAt(c *quicnet.Conn) string {
	if e.reach.advertise != "" {
		return e.reach.advertise
	}
	if la := c.LocalAddr(); la.Addr().IsValid() && !la.Addr().IsUnspecified() {
		return netip.AddrPortFrom(la.Addr().WithZone(""), la.Port()).String()
	}
	return e.reach.guessed
}

// signalLoop keeps the hub's time.
func (e *Engine) signalLoop(ctx context.Context) {
	t := time.NewTicker(signalTick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			e.guarded("signalling clock", func() { e.hub.Tick(e.mono()) })
		}
	}
}

// serveSignal runs one signalling connection until it ends (spec wzp 4.4).
func (e *Engine) serveSignal(ctx context.Context, c *quicnet.Conn) {
	start := time.Now()
	subject, why := "unregistered", ""
	cl, err := e.register(ctx, c)
	if err != nil {
		why = "registration: " + err.Error()
		if errors.Is(err, errRefused) {
			e.event(view.Event{Kind: "register_refused", Severity: view.Warn, Subject: c.RemoteAddr().Addr().String(), Message: fmt.Sprintf("%s was refused: %v", c.RemoteAddr(), err)})
		}
	} else {
		subject = cl.Name()
		e.listUser(cl.Fingerprint())
		why = e.runSignal(ctx, c, cl)
		e.listUser(cl.Fingerprint())
	}
	c.Close(0, closeReason)
	e.endings.add(view.Ending{
		At: time.Now().UTC(), Kind: "signal", Subject: clean(subject), Remote: c.RemoteAddr().String(), Reason: clean(why), LifetimeS: time.Since(start).Seconds(),
	})
}

// errRefused marks a registration that was understood and refused.
var errRefused = errors.New("refused")

// register reads the client's token, where one is wanted, and its
// registration. A refusal is told before the connection is closed.
func (e *Engine) register(ctx context.Context, c *quicnet.Conn) (*call.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	who, sig, err := e.authenticate(ctx, c)
	if err != nil {
		return nil, err
	}
	m, ok := sig.(*wire.RegisterPresence)
	if !ok {
		return nil, fmt.Errorf("%T instead of a RegisterPresence", sig)
	}
	addr := e.reachedAt(c)
	cl, err := e.hub.Register(call.Registration{
		Message: m, Fingerprint: who, Remote: c.RemoteAddr, RelayAddr: func() string { return addr },
		Close: func(reason string) { c.Close(0, reason) }, At: time.Now().UTC(),
	}, e.mono())
	if err == nil {
		return cl, nil
	}
	text := err.Error()
	if werr := e.writeSignal(c, &wire.RegisterPresenceAck{Error: &text}); werr == nil {
		select {
		case <-c.Context().Done():
		case <-ctx.Done():
		case <-time.After(farewell):
		}
	}
	return nil, fmt.Errorf("%w: %w", errRefused, err)
}

// runSignal runs a registered client's loops and returns, in words, why the
// connection ended. It returns after all of them have gone.
func (e *Engine) runSignal(ctx context.Context, c *quicnet.Conn, cl *call.Client) string {
	ctx, cancel := context.WithCancel(ctx)
	var loops sync.WaitGroup
	loops.Go(func() {
		defer e.contain("call writer", func() { c.Close(0, closeReason) })
		e.callWriter(ctx, c, cl)
	})
	err := e.callReader(ctx, c, cl)
	end := quicnet.Ended(err)
	cancel()
	c.Close(0, closeReason)
	loops.Wait()
	// Whoever loses its network comes back; whoever closes has ended it.
	cl.Leave(end.Kind == quicnet.EndClosed || end.Kind == quicnet.EndLocal, e.mono())
	return endReason(err)
}

// callReader takes what the client says. Messages are read side by side and
// handled in the order in which their streams were opened: one that dawdles
// holds up its own client for its deadline, and ties up nothing else.
func (e *Engine) callReader(ctx context.Context, c *quicnet.Conn, cl *call.Client) error {
	order := make(chan chan wire.Signal, signalStreams)
	var readers sync.WaitGroup
	readers.Go(func() {
		defer e.contain("call reader", func() { c.Close(0, closeReason) })
		for slot := range order {
			if s := <-slot; s != nil {
				cl.Handle(s, e.mono())
			} else {
				cl.Malformed()
			}
		}
	})
	defer readers.Wait()
	defer close(order)
	for {
		st, err := c.AcceptStream(ctx)
		if err != nil {
			return err
		}
		slot := make(chan wire.Signal, 1)
		select {
		case order <- slot:
		case <-c.Context().Done():
			return context.Cause(c.Context())
		}
		readers.Go(func() {
			var s wire.Signal
			defer func() { slot <- s }()
			defer e.contain("call reader", func() {})
			s = readMessage(st)
		})
	}
}

// readMessage reads one message within its time; nil for anything that is none.
func readMessage(st *quicnet.Stream) (s wire.Signal) {
	err := st.SetReadDeadline(time.Now().Add(streamTimeout))
	if err == nil {
		s, err = wire.ReadFrame(st, wire.MaxFrame)
	}
	st.CancelRead(0)
	if st.Close() != nil { // the sender has told us to stop already (spec wzp 3.1)
		st.CancelWrite(0)
	}
	if err != nil {
		return nil
	}
	return s
}

// callWriter is the only one that opens streams to the client. What a client
// does not take in time costs its own calls and connection.
func (e *Engine) callWriter(ctx context.Context, c *quicnet.Conn, cl *call.Client) {
	var receipts sync.WaitGroup
	defer receipts.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-cl.Wake():
		}
		for {
			f, ok := cl.Next()
			if !ok {
				break
			}
			deadline := e.started.Add(time.Duration(max(f.Deadline, e.mono()+int64(leastWrite))))
			st, err := sendFrame(ctx, c, f.Bytes, deadline)
			if err != nil {
				if ctx.Err() == nil {
					cl.Failed(f, e.mono())
				}
				return
			}
			receipts.Go(func() {
				defer e.contain("call receipt", func() {})
				e.awaitReceipt(st, cl, f, deadline)
			})
		}
	}
}

// sendFrame opens a stream and writes a frame in one call. Where the client
// grants no stream it is asked again until the deadline.
func sendFrame(ctx context.Context, c *quicnet.Conn, frame []byte, deadline time.Time) (*quicnet.Stream, error) {
	for {
		st, err := c.OpenStream()
		switch {
		case err == nil:
			return st, writeFrame(st, frame, deadline)
		case !errors.Is(err, quicnet.ErrNoCredit) || time.Now().After(deadline):
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(creditPoll):
		}
	}
}

func writeFrame(st *quicnet.Stream, frame []byte, deadline time.Time) error {
	err := st.SetWriteDeadline(deadline)
	if err == nil {
		_, err = st.Write(frame)
	}
	if err != nil {
		st.CancelWrite(0)
		st.CancelRead(0)
		return err
	}
	if st.Close() != nil { // the reader had all it wanted and has told us to stop
		st.CancelWrite(0)
	}
	return nil
}

// awaitReceipt waits until the client has read the frame, which shows in its
// closing its half of the stream: every client does when it has read
// (spec wzp 3.1).
func (e *Engine) awaitReceipt(st *quicnet.Stream, cl *call.Client, f call.Frame, deadline time.Time) {
	defer st.CancelRead(0)
	err := receipt(st, deadline)
	if err == nil {
		cl.Told(f, e.mono())
		return
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return // the connection has ended, and with it the client
	}
	cl.Unread(f, e.mono())
	if receipt(st, deadline.Add(lateReads)) == nil {
		cl.Late()
	}
}

// receipt is nil once the client has read.
func receipt(st *quicnet.Stream, deadline time.Time) error {
	if err := st.SetReadDeadline(deadline); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, io.LimitReader(st, receiptBytes))
	if err != nil && quicnet.Ended(err).Kind == quicnet.EndStreamReset {
		return nil
	}
	return err
}

// admitRoom is the one door to every room: those of calls have two people
// (spec wzp 4.3 step 7).
func (e *Engine) admitRoom(room, fingerprint string) error {
	if !e.hub.MayJoin(room, fingerprint) {
		return errNotParty
	}
	return nil
}

var errNotParty = errors.New("the room is that of a call, and this identity is not in it")

// Presence is who can be reached where; federation feeds it.
func (e *Engine) Presence() *call.Presence { return e.presence }

// Calls is the hub of the direct calls; federation carries what it sends.
func (e *Engine) Calls() *call.Hub { return e.hub }
