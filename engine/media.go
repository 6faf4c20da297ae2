package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"signalbox/engine/dispatch"
	"signalbox/engine/ledger"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
	"signalbox/relay"
	"signalbox/relay/wire"
)

// Time limits of a media connection. A client in the middle of its path race
// may stay silent for some seconds (spec wzp 4.3), so the offer gets more than
// the 10 s it needs.
const (
	offerTimeout  = 15 * time.Second
	signalTimeout = 2 * time.Second // one signal to a client, write deadline
	strayTimeout  = 5 * time.Second // a stream nobody asked for, read deadline
	strayMax      = 4 << 10         // and bytes of it
)

// closeReason is what every client sees on a normal end (spec wzp 1.6).
const closeReason = "normal close"

// drainReason is what those see who are there when the node goes. The code
// stays that of a normal end, and media connections have no signal for it: the
// reason is where it can be told.
const drainReason = "draining"

// mediaMsg is one datagram on its way through the media plane.
type mediaMsg struct {
	from *relay.Participant
	pkt  []byte
}

// mediaHandler is the media plane's shard loop.
type mediaHandler struct{ e *Engine }

// Handle forwards one datagram to the sender's room.
func (h mediaHandler) Handle(shard int, m *mediaMsg, now int64) {
	h.e.mediaTaken.add(shard)
	h.e.taps.Packet(m.from, m.pkt, now)
	h.e.relay.Forward(shard, m.from, m.pkt, now)
}

// Flush wakes the writers this batch has given work, once each.
func (h mediaHandler) Flush(shard int) { h.e.relay.FlushShard(shard) }

// Describe names a message for the screen.
func (h mediaHandler) Describe(m *mediaMsg) string {
	return fmt.Sprintf("a %d byte packet of participant %s in room %s", len(m.pkt), m.from.ID(), m.from.RoomName())
}

// Input is the packet.
func (h mediaHandler) Input(m *mediaMsg) []byte { return m.pkt }

// serveMedia runs one media room connection until it ends (spec wzp 4.3).
func (e *Engine) serveMedia(ctx context.Context, c *quicnet.Conn) {
	start := time.Now()
	room := e.roomFor(c.ServerName())
	end := func(subject, reason string) {
		c.Close(0, closeReason)
		e.endings.add(view.Ending{
			At: time.Now().UTC(), Kind: "media", Subject: clean(subject), Remote: c.RemoteAddr().String(),
			Reason: reason, LifetimeS: time.Since(start).Seconds(),
		})
	}
	offer, who, err := e.mediaHandshake(ctx, c)
	if err != nil {
		end(room, "handshake: "+err.Error())
		return
	}
	e.observeHandshake(time.Since(start))
	src := c.RemoteAddr().Addr()
	alias := ""
	if offer.Alias != nil {
		alias = *offer.Alias
	}
	p, err := e.join(relay.JoinRequest{
		Room: room, Fingerprint: who, Alias: alias, Remote: c.RemoteAddr(),
		Transport: "quic", MaxDatagram: c.MaxDatagram, Now: time.Now(),
		Shard: fmt.Sprintf("%s/%d", planeMedia, e.media.ShardOf(src)),
		Close: func(reason string) { c.Close(0, reason) },
	})
	if err != nil {
		e.events.add(view.Event{Kind: "join_refused", Severity: view.Warn, Subject: clean(room), Message: fmt.Sprintf("%s was refused: %v", c.RemoteAddr(), err)})
		end(room, "refused: "+err.Error())
		return
	}
	e.events.add(view.Event{Kind: "join", Subject: clean(room), Message: fmt.Sprintf("%s (%s) joined", clean(nameOf(alias, p.ID())), c.RemoteAddr())})
	stay := e.presence.Enter(who, alias, room)
	why := e.runSession(ctx, c, p)
	p.Leave(e.mono())
	stay.Leave()
	end(room+"/"+nameOf(alias, p.ID()), why)
	e.events.add(view.Event{Kind: "leave", Subject: clean(room), Message: fmt.Sprintf("%s left: %s", clean(nameOf(alias, p.ID())), why)})
}

func nameOf(alias, id string) string {
	if alias != "" {
		return alias
	}
	return id
}

// join lets somebody into a room, if it is not that of other people's call.
func (e *Engine) join(q relay.JoinRequest) (*relay.Participant, error) {
	if err := e.admitRoom(q.Room, q.Fingerprint); err != nil {
		return nil, err
	}
	return e.relay.Join(q)
}

// mediaHandshake reads the CallOffer, the AuthToken before it, and answers it
// as the first stream we open. who is the identity that is proved: the token's,
// or else the key's.
func (e *Engine) mediaHandshake(ctx context.Context, c *quicnet.Conn) (offer *wire.CallOffer, who string, err error) {
	ctx, cancel := context.WithTimeout(ctx, offerTimeout)
	defer cancel()
	who, sig, err := e.authenticate(ctx, c)
	if err != nil {
		return nil, "", err
	}
	offer, ok := sig.(*wire.CallOffer)
	if !ok {
		return nil, "", fmt.Errorf("%T instead of a CallOffer", sig)
	}
	answer, err := wire.NewAnswer(offer, e.keys.Identity)
	if err != nil {
		return nil, "", err
	}
	if !e.replay.First(offer.EphemeralPub, e.mono()) {
		return nil, "", errReplay
	}
	if who == "" {
		who = wire.Fingerprint(offer.IdentityPub[:])
	}
	return offer, who, e.writeSignal(c, answer)
}

// readSignal accepts one stream and reads its one message, both bounded by
// ctx. Our half is closed so that the stream is retired (spec wzp 3.1).
func readSignal(ctx context.Context, c *quicnet.Conn) (wire.Signal, error) {
	st, err := c.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	if dl, ok := ctx.Deadline(); ok {
		if err := st.SetReadDeadline(dl); err != nil {
			return nil, err
		}
	}
	sig, err := wire.ReadFrame(st, wire.MaxFrame)
	st.CancelRead(0)
	if st.Close() != nil { // the sender has told us to stop already (spec wzp 3.1)
		st.CancelWrite(0)
	}
	return sig, err
}

// writeSignal opens a stream without waiting for credit and writes one frame
// before the deadline. A client that grants no streams gets an error.
func (e *Engine) writeSignal(c *quicnet.Conn, s wire.Signal) error {
	st, err := c.OpenStream()
	if err != nil {
		return err
	}
	st.CancelRead(0)
	if err := st.SetWriteDeadline(time.Now().Add(signalTimeout)); err != nil {
		return err
	}
	if err := wire.WriteFrame(st, s); err != nil {
		st.CancelWrite(0)
		return err
	}
	if st.Close() != nil { // the reader had all it wanted and has told us to stop
		st.CancelWrite(0)
	}
	return nil
}

// runSession runs a joined participant's loops and returns, in words, why the
// connection ended. It returns after all of them have gone.
func (e *Engine) runSession(ctx context.Context, c *quicnet.Conn, p *relay.Participant) string {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{}, 3)
	run := func(role string, f func()) {
		go func() {
			defer func() { done <- struct{}{} }()
			defer e.contain(role, func() { c.Close(0, closeReason) })
			f()
		}()
	}
	run("media writer", func() { mediaWriter(ctx, c, p, e.mono) })
	run("signal writer", func() { e.signalWriter(ctx, c, p) })
	run("stray streams", func() { drainStreams(ctx, c, p) })
	why := e.mediaReader(ctx, c, c.RemoteAddr().Addr(), p)
	cancel()
	c.Close(0, closeReason)
	for range 3 {
		<-done
	}
	return why
}

// mediaReader moves datagrams from the connection to the participant's shard
// and counts. It never waits for anything but the connection. src is by whom
// the shard is chosen.
func (e *Engine) mediaReader(ctx context.Context, c *quicnet.Conn, src netip.Addr, p *relay.Participant) string {
	var lost uint64
	for {
		pkt, err := c.ReceiveDatagram(ctx)
		if err != nil {
			e.bookRxLoss(c, p, &lost)
			return endReason(err)
		}
		e.bookRxLoss(c, p, &lost)
		p.Saw(pkt)
		now := e.mono()
		if !p.Admit(len(pkt), now) {
			continue
		}
		e.submit(now, src, p, pkt)
	}
}

// submit hands an admitted packet to its shard. What the shard does not take
// stands in the ledger once, as the shard's, and on the sender's row.
func (e *Engine) submit(now int64, src netip.Addr, p *relay.Participant, pkt []byte) {
	if why, ok := e.media.Submit(now, src, dispatch.Media, len(pkt), mediaMsg{from: p, pkt: pkt}); !ok {
		p.NotTaken(why)
	}
}

// bookRxLoss books what the QUIC receive queue has dropped since the last look.
func (e *Engine) bookRxLoss(c *quicnet.Conn, p *relay.Participant, seen *uint64) {
	if n := c.RxDropped(); n != *seen {
		p.Lost(ledger.RxQueue, n-*seen)
		*seen = n
	}
}

// writerBurst is how many datagrams a writer takes at once: below quic-go's
// send queue of 32, so that a burst is handed over without waiting and is
// packed into as few packets as will hold it.
const writerBurst = 24

// mediaWriter is the only caller of SendDatagram for its connection: it may
// block there, and then only this receiver's ring fills up.
func mediaWriter(ctx context.Context, c *quicnet.Conn, p *relay.Participant, mono func() int64) {
	buf := make([][]byte, 0, writerBurst)
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.Wake():
		}
		for {
			buf = p.Take(buf[:0], writerBurst, mono())
			if len(buf) == 0 {
				break
			}
			var sent, tooLarge, failed int
			for i, pkt := range buf {
				err := c.SendDatagram(pkt)
				buf[i] = nil
				switch {
				case err == nil:
					sent++
				case errors.Is(err, quicnet.ErrTooLarge):
					tooLarge++
				default:
					failed++
				}
			}
			p.Done(sent, tooLarge, failed)
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// drainStreams takes what clients send on a media connection after the offer
// (a Hangup, a late AuthToken), so that their stream credit never runs out
// (spec wzp 7.3 row 63). What a client tells of its decoder is kept, the rest is
// thrown away. One stream at a time, bounded in bytes and time.
func drainStreams(ctx context.Context, c *quicnet.Conn, p *relay.Participant) {
	for {
		st, err := c.AcceptStream(ctx)
		if err != nil {
			return
		}
		frame, err := readStream(st, strayMax, time.Now().Add(strayTimeout))
		if err != nil {
			continue // nobody waits for it
		}
		if sig, err := wire.Unmarshal(wire.Message(frame)); err == nil {
			if m, ok := sig.(*wire.LossRecoveryUpdate); ok {
				p.NoteRecovery(m.DREDReconstructions, m.ClassicalPLCInvocations)
			}
		}
	}
}
