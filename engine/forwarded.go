package engine

import (
	"context"
	"fmt"
	"time"

	"signalbox/engine/quicnet"
	"signalbox/engine/view"
	"signalbox/relay"
	"signalbox/relay/wire"
)

// hello is how a forwarded client introduces itself, as it came.
type hello struct {
	frames [][]byte // the CallOffer, and the AuthToken before it if there was one
	who    string   // fingerprint
	alias  string
}

// serveForwarded runs one media connection through to the remote relay (spec
// wzp 4.8, 5.16): a connection of its own, the same room, every signal and
// every packet both ways, unchanged. It is the remote that answers the offer.
func (e *Engine) serveForwarded(ctx context.Context, c *quicnet.Conn) {
	start := time.Now()
	room := c.ServerName()
	end := func(subject, reason string) {
		c.Close(0, closeReason)
		e.endings.add(view.Ending{
			At: time.Now().UTC(), Kind: "media", Subject: clean(subject), Remote: c.RemoteAddr().String(),
			Reason: reason, LifetimeS: time.Since(start).Seconds(),
		})
	}
	h, err := e.readHello(ctx, c)
	if err != nil {
		end(room, "handshake: "+err.Error())
		return
	}
	up, err := e.forward.connect(ctx, c.RemoteAddr(), room)
	if err != nil {
		e.forward.refuse(c.RemoteAddr(), err)
		end(room, "refused: "+err.Error())
		return
	}
	defer up.Close(0, closeReason)
	p, leg, err := e.relay.JoinPair(relay.JoinRequest{
		Room: room, Fingerprint: h.who, Alias: h.alias, Remote: c.RemoteAddr(), Transport: "quic", MaxDatagram: c.MaxDatagram, Now: time.Now(),
		Shard: fmt.Sprintf("%s/%d", planeMedia, e.media.ShardOf(c.RemoteAddr().Addr())),
		Close: func(reason string) { c.Close(0, reason) },
	}, relay.Far{Remote: up.RemoteAddr(), MaxDatagram: up.MaxDatagram})
	if err != nil {
		e.events.add(view.Event{Kind: "join_refused", Severity: view.Warn, Subject: clean(room), Message: fmt.Sprintf("%s was refused: %v", c.RemoteAddr(), err)})
		end(room, "refused: "+err.Error())
		return
	}
	name := nameOf(h.alias, p.ID())
	e.events.add(view.Event{Kind: "join", Subject: clean(room), Message: fmt.Sprintf("%s (%s) joined, forwarded to %s", clean(name), c.RemoteAddr(), e.forward.remote)})
	stay := e.presence.Enter(h.who, h.alias, room)
	why := e.runForwarded(ctx, forwarded{near: c, far: up, client: p, leg: leg, start: start}, h)
	p.Leave(e.mono())
	stay.Leave()
	end(room+"/"+name, why)
	e.events.add(view.Event{Kind: "leave", Subject: clean(room), Message: fmt.Sprintf("%s left: %s", clean(name), why)})
}

// readHello reads the CallOffer and the AuthToken before it, as mediaHandshake
// does: whoever is refused there is refused here, before the remote hears of
// them, and what the screen says of a client is proved.
func (e *Engine) readHello(ctx context.Context, c *quicnet.Conn) (hello, error) {
	ctx, cancel := context.WithTimeout(ctx, offerTimeout)
	defer cancel()
	var h hello
	sig, err := h.read(ctx, c)
	if err != nil {
		return h, err
	}
	token, ok := sig.(*wire.AuthToken)
	switch {
	case ok && e.checker != nil:
		h.who, err = e.checkToken(ctx, c, token.Token)
	case e.checker != nil:
		err = fmt.Errorf("%T instead of an AuthToken", sig)
	}
	if ok && err == nil {
		sig, err = h.read(ctx, c)
	}
	if err != nil {
		return h, err
	}
	offer, ok := sig.(*wire.CallOffer)
	if !ok {
		return h, fmt.Errorf("%T instead of a CallOffer", sig)
	}
	if err := wire.VerifyOffer(offer); err != nil {
		return h, err
	}
	if !e.replay.First(offer.EphemeralPub, e.mono()) {
		return h, errReplay
	}
	if h.who == "" {
		h.who = wire.Fingerprint(offer.IdentityPub[:])
	}
	if offer.Alias != nil {
		h.alias = *offer.Alias
	}
	return h, nil
}

// read takes one signal and keeps its frame.
func (h *hello) read(ctx context.Context, c *quicnet.Conn) (wire.Signal, error) {
	frame, err := readRaw(ctx, c, wire.MaxFrame)
	if err != nil {
		return nil, err
	}
	h.frames = append(h.frames, frame)
	return wire.Unmarshal(wire.Message(frame))
}

// forwarded is one client and its connection to the remote relay.
type forwarded struct {
	near, far   *quicnet.Conn
	client, leg *relay.Participant
	start       time.Time
}

// runForwarded runs the session's loops and returns, in words, why it ended. It
// returns after all of them have gone. Neither direction waits for the other,
// nor for another client.
func (e *Engine) runForwarded(ctx context.Context, s forwarded, h hello) string {
	for _, frame := range h.frames {
		if err := writeRaw(s.far, frame); err != nil {
			e.forward.poke()
			return "the remote relay did not take the offer: " + err.Error()
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	src := s.near.RemoteAddr().Addr()
	done, why := make(chan struct{}, 6), make(chan string, 8)
	run := func(role string, f func()) {
		go func() {
			defer func() { done <- struct{}{} }()
			defer e.contain(role, func() { why <- role + " panicked" })
			f()
		}()
	}
	run("media writer", func() { mediaWriter(ctx, s.near, s.client, e.mono) })
	run("forward writer", func() { mediaWriter(ctx, s.far, s.leg, e.mono) })
	run("forwarded signals", func() { e.passSignals(ctx, s.near, s.far, wire.MaxFrame, func() {}) })
	run("remote signals", func() {
		e.passSignals(ctx, s.far, s.near, wire.HardMaxFrame, func() { e.observeHandshake(time.Since(s.start)) })
	})
	run("media reader", func() { why <- e.mediaReader(ctx, s.near, src, s.client) })
	run("forward reader", func() { why <- "remote relay: " + e.mediaReader(ctx, s.far, src, s.leg) })
	reason := <-why
	if end := quicnet.Ended(context.Cause(s.far.Context())); s.far.Context().Err() != nil && end.Kind != quicnet.EndClosed {
		e.forward.poke() // lost, not left
	}
	cancel()
	s.near.Close(0, closeReason)
	s.far.Close(0, closeReason)
	for range cap(done) {
		<-done
	}
	return reason
}

// passSignals passes each of from's signals on to to, in their order, until
// from has ended. One that stalls, is too large or is not taken is lost alone,
// and counted. first is called when the first was passed on.
func (e *Engine) passSignals(ctx context.Context, from, to *quicnet.Conn, limit int, first func()) {
	for n := 0; ; {
		st, err := from.AcceptStream(ctx)
		if err != nil {
			return
		}
		frame, err := readStream(st, limit, time.Now().Add(strayTimeout))
		if err == nil {
			err = writeRaw(to, frame)
		}
		if err != nil {
			e.signalsLost.Add(1)
			continue
		}
		if n++; n == 1 {
			first()
		}
	}
}

// readRaw accepts one stream and reads its one frame, both bounded by ctx.
func readRaw(ctx context.Context, c *quicnet.Conn, limit int) ([]byte, error) {
	st, err := c.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	return readStream(st, limit, deadline)
}

// readStream reads a stream's one frame and retires the stream (spec wzp 3.1).
func readStream(st *quicnet.Stream, limit int, deadline time.Time) ([]byte, error) {
	defer func() {
		st.CancelRead(0)
		if st.Close() != nil { // the sender has told us to stop already
			st.CancelWrite(0)
		}
	}()
	if err := st.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	return wire.ReadRawFrame(st, limit)
}

// writeRaw opens a stream without waiting for credit and writes one frame.
func writeRaw(c *quicnet.Conn, frame []byte) error {
	st, err := c.OpenStream()
	if err != nil {
		return err
	}
	st.CancelRead(0)
	if err := st.SetWriteDeadline(time.Now().Add(signalTimeout)); err != nil {
		return err
	}
	if _, err := st.Write(frame); err != nil {
		st.CancelWrite(0)
		return err
	}
	if st.Close() != nil { // the reader had all it wanted and has told us to stop
		st.CancelWrite(0)
	}
	return nil
}
