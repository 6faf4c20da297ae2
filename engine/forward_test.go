package engine_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"signalbox/engine"
	"signalbox/engine/bench"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/quicnet"
	"signalbox/engine/state"
	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// forwards starts a node that forwards to addr.
func forwards(t *testing.T, addr string) *engine.Engine {
	t.Helper()
	return start(t, func(c *config.Config) { c.Legacy.RemoteRelay = addr })
}

// TestForwardedCallersHearEachOther has callers of two nodes in one room: two
// by way of the forwarding one, one at the remote itself.
func TestForwardedCallersHearEachOther(t *testing.T) {
	remote := start(t, nil)
	fwd := forwards(t, remote.Info().Listen)
	cs, _ := callers(t, fwd, "Standup", 2)
	direct, _ := callers(t, remote, "standup", 1)
	cs = append(cs, direct...)
	until(t, remote, "three in the room", func(s *view.Snapshot) bool {
		return len(s.Rooms) == 1 && s.Rooms[0].Name == "standup" && len(s.Rooms[0].Participants) == 3
	})
	const packets = 100
	talk(t, cs, packets)
	s := until(t, fwd, "every packet both ways", func(s *view.Snapshot) bool {
		return received(cs) >= 3*2*packets && s.Ledger.Media.Delivered >= 2*packets+2*2*packets
	})
	until(t, remote, "the remote's account closes", func(s *view.Snapshot) bool { return s.Ledger.Media.Delivered >= 3*2*packets })
	for i, c := range cs {
		if c.Received.Load() != 2*packets || c.Corrupt.Load() != 0 || c.Reordered.Load() != 0 {
			t.Errorf("caller %d received %d, %d corrupt, %d out of order", i, c.Received.Load(), c.Corrupt.Load(), c.Reordered.Load())
		}
	}
	if m := s.Ledger.Media; m.Received != 6*packets || m.Copies != 6*packets {
		t.Errorf("two callers' packets, and four that came back for each of theirs: %+v", m)
	}
	f := s.Forward
	if f == nil || f.State != "up" || f.Remote != remote.Info().Listen || len(f.Legs) != 2 {
		t.Fatalf("forward: %+v", f)
	}
	for i, l := range f.Legs {
		if p := s.Rooms[0].Participants[i]; l.Client != p.ID || l.Received != 2*packets || l.Delivered != packets || p.Received != packets || p.Delivered != 2*packets || p.SeqGaps != 0 {
			t.Errorf("leg %+v\nclient %+v", l, p)
		}
	}
	until(t, fwd, "the remote's signals arrive", func(*view.Snapshot) bool {
		return cs[0].RoomCount.Load() == 3 && cs[1].RoomCount.Load() == 3
	})
	x := fwd.Explain(s.Rooms[0].Participants[0].ID, s.Rooms[0].Participants[1].ID)
	if h := x.Hops[len(x.Hops)-2]; !strings.HasPrefix(h.Name, "remote relay") || h.Verdict != "ok" {
		t.Errorf("%+v", x)
	}
	if r, err := fwd.Do(t.Context(), control.Command{Kind: control.RoomPinTier, Target: "standup", Args: map[string]any{"tier": "Good"}, Author: "test", Role: control.Operator}); err != nil || r.Code != control.Invalid {
		t.Errorf("a pin without effect: %+v %v", r, err)
	}
	do(t, fwd, control.Command{Kind: control.ParticipantMute, Target: s.Rooms[0].Participants[0].ID})
	talk(t, cs[:1], 5)
	until(t, fwd, "the muted one is not passed on", func(s *view.Snapshot) bool { return s.Ledger.Media.Dropped["muted"] == 5 })
	do(t, fwd, control.Command{Kind: control.ParticipantKick, Target: s.Rooms[0].Participants[0].ID})
	until(t, remote, "the kicked one is gone there too", func(s *view.Snapshot) bool { return len(s.Rooms[0].Participants) == 2 })
	cs[1].Close()
	until(t, fwd, "nobody is forwarded", func(s *view.Snapshot) bool { return len(s.Forward.Legs) == 0 && len(s.Rooms) == 0 })
}

// freePort is a UDP port of loopback that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().String()
}

func eventOf(e *engine.Engine, kind string) *view.Event {
	evs, _ := e.Events(0)
	for i := range evs {
		if evs[i].Kind == kind {
			return &evs[i]
		}
	}
	return nil
}

// TestForwardToNobody starts before the remote does: clients are refused, and
// taken in once it is there.
func TestForwardToNobody(t *testing.T) {
	addr := freePort(t)
	fwd := forwards(t, addr)
	cl, err := quicnet.NewClient(quicnet.ClientConfig{LocalAddr: netip.MustParseAddr("127.0.3.9")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	door := netip.MustParseAddrPort(fwd.Info().Listen)
	if _, err := bench.Join(t.Context(), cl, door, "r", "early"); err == nil {
		t.Fatal("somebody joined a room that is nowhere")
	}
	s := until(t, fwd, "the refusal stands on screen", func(s *view.Snapshot) bool {
		return s.Forward.State == "down" && s.Forward.Refused == 1 && s.Node.Health.Verdict == "failing"
	})
	if len(s.Forward.Legs) != 0 || len(s.Rooms) != 0 || s.Endings[0].Subject != "r" || !strings.Contains(s.Endings[0].Reason, addr) {
		t.Errorf("%+v %+v", s.Forward, s.Endings)
	}
	if ev := eventOf(fwd, "forward_refused"); ev == nil || !strings.Contains(ev.Message, addr) {
		t.Errorf("event %+v", ev)
	}
	start(t, func(c *config.Config) { c.ListenAddr = addr })
	for deadline := time.Now().Add(patience); ; {
		c, err := bench.Join(t.Context(), cl, door, "r", "late")
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	until(t, fwd, "the remote is there", func(s *view.Snapshot) bool { return s.Forward.State == "up" && len(s.Forward.Legs) == 0 })
	if eventOf(fwd, "forward_up") == nil {
		t.Error("no event says that the remote is there")
	}
}

func TestForwardToItself(t *testing.T) {
	addr := freePort(t)
	fwd := start(t, func(c *config.Config) { c.ListenAddr, c.Legacy.RemoteRelay = addr, addr })
	s := until(t, fwd, "the mistake stands on screen", func(s *view.Snapshot) bool { return s.Forward.State == "down" })
	if !strings.Contains(s.Forward.LastError, "itself") {
		t.Errorf("%q", s.Forward.LastError)
	}
}

// remoteConn is one connection at a fake remote, and the frames that came over
// it before its CallAnswer.
type remoteConn struct {
	*quicnet.Conn
	frames [][]byte
}

// fakeRemote is a relay that answers offers and otherwise does nothing.
func fakeRemote(t *testing.T) (string, <-chan remoteConn) {
	t.Helper()
	keys, err := state.NewKeys([32]byte{7})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := keys.TLSCertificate()
	if err != nil {
		t.Fatal(err)
	}
	ep, err := quicnet.Listen(quicnet.Config{Addr: "127.0.0.1:0", TLSCert: cert, DHTCert: cert, ExemptLoopback: true})
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan remoteConn, 16)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- ep.Run(ctx, func(c *quicnet.Conn) {
			rc := remoteConn{Conn: c}
			for c.ServerName() != "ping" && ctx.Err() == nil {
				st, err := c.AcceptStream(ctx)
				if err != nil {
					return
				}
				frame, err := wire.ReadRawFrame(st, 0)
				st.CancelRead(0)
				if st.Close() != nil {
					st.CancelWrite(0)
				}
				if err != nil {
					return
				}
				rc.frames = append(rc.frames, frame)
				sig, err := wire.Unmarshal(wire.Message(frame))
				offer, ok := sig.(*wire.CallOffer)
				if err != nil || !ok {
					continue
				}
				if ans, err := wire.NewAnswer(offer, keys.Identity); err == nil && answer(c, ans) == nil {
					conns <- rc
				}
			}
			<-c.Context().Done()
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(ep.Close(), <-done); err != nil && !errors.Is(err, context.Canceled) {
			t.Log(err)
		}
	})
	return ep.Addr().String(), conns
}

func answer(c *quicnet.Conn, s wire.Signal) error {
	st, err := c.OpenStream()
	if err != nil {
		return err
	}
	st.CancelRead(0)
	if err := wire.WriteFrame(st, s); err != nil {
		return err
	}
	if st.Close() != nil { // whoever has read it all may have stopped the stream already
		st.CancelWrite(0)
	}
	return nil
}

// TestTokenAndOfferArriveAsTheyWere sends both by hand, with what this program
// does not know in them, and a signal later on.
func TestTokenAndOfferArriveAsTheyWere(t *testing.T) {
	addr, conns := fakeRemote(t)
	fwd := forwards(t, addr)
	cl, err := quicnet.NewClient(quicnet.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := cl.Dial(ctx, netip.MustParseAddrPort(fwd.Info().Listen), quicnet.ALPNWZP, "Token-Room")
	if err != nil {
		t.Fatal(err)
	}
	offer, _, err := wire.NewOffer(wire.IdentityKey([32]byte{3}), "Zoë")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := wire.EncodeFrame(offer)
	if err != nil {
		t.Fatal(err)
	}
	token := frame(`{"AuthToken": {"token":"t0ken","later":[1,2]}}`)
	for _, f := range [][]byte{token, raw} {
		send(t, c, f)
	}
	rc := <-conns
	if rc.ServerName() != "token-room" || len(rc.frames) != 2 || !bytes.Equal(rc.frames[0], token) || !bytes.Equal(rc.frames[1], raw) {
		t.Fatalf("%s: %q", rc.ServerName(), rc.frames)
	}
	s := until(t, fwd, "the client is seated", func(s *view.Snapshot) bool { return len(s.Rooms) == 1 })
	if p := s.Rooms[0].Participants[0]; p.Alias != "Zoë" || p.Fingerprint != wire.Fingerprint(offer.IdentityPub[:]) {
		t.Errorf("%+v", p)
	}
	st, err := c.AcceptStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := wire.ReadFrame(st, 0)
	if ans, ok := sig.(*wire.CallAnswer); err != nil || !ok || wire.VerifyAnswer(ans) != nil {
		t.Fatalf("%T %v", sig, err)
	}
	odd := frame(`{"OfTheFuture":{"a":1}}`)
	if err := answer(rc.Conn, &wire.Hangup{}); err != nil {
		t.Fatal(err)
	}
	send(t, rc.Conn, odd)
	for i, want := range []string{`"Hangup"`, `"OfTheFuture"`} {
		st, err := c.AcceptStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := wire.ReadRawFrame(st, 0); err != nil || !bytes.Contains(got, []byte(want)) {
			t.Errorf("signal %d is %q %v", i, got, err)
		}
	}
	if err := c.SendDatagram([]byte("no media packet")); err != nil {
		t.Fatal(err)
	}
	until(t, fwd, "what does not parse is not passed on", func(s *view.Snapshot) bool { return s.Ledger.Media.Dropped["malformed"] == 1 })
	c.Close(0, "")
}

// TestWhatAClientTellsOfItsDecoder sends LossRecoveryUpdates on a media
// connection, and what is none.
func TestWhatAClientTellsOfItsDecoder(t *testing.T) {
	e := start(t, nil)
	cl, err := quicnet.NewClient(quicnet.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := cl.Dial(ctx, netip.MustParseAddrPort(e.Info().Listen), quicnet.ALPNWZP, "r")
	if err != nil {
		t.Fatal(err)
	}
	offer, _, err := wire.NewOffer(wire.IdentityKey([32]byte{3}), "")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := wire.EncodeFrame(offer)
	if err != nil {
		t.Fatal(err)
	}
	send(t, c, raw)
	until(t, e, "seated", func(s *view.Snapshot) bool { return len(s.Rooms) == 1 })
	for _, f := range []string{
		`{"LossRecoveryUpdate":{"dred_reconstructions":17,"classical_plc_invocations":4,"frames_decoded":1500}}`,
		`{"Hangup":{"reason":"Normal"}}`, `no json`, strings.Repeat(" ", 5000),
		`{"LossRecoveryUpdate":{"dred_reconstructions":3,"classical_plc_invocations":9}}`,
	} {
		send(t, c, frame(f))
	}
	s := until(t, e, "the last has been read", func(s *view.Snapshot) bool { return s.Rooms[0].Participants[0].ClassicalPLC == 9 })
	if p := s.Rooms[0].Participants[0]; p.DREDReconstructions != 17 {
		t.Errorf("a total has shrunk: %+v", p)
	}
	c.Close(0, "")
	until(t, e, "the session's figures are gone", func(s *view.Snapshot) bool { return len(s.Rooms) == 0 })
}

func frame(json string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(json))), json...)
}

func send(t *testing.T, c *quicnet.Conn, frame []byte) {
	t.Helper()
	st, err := c.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write(frame); err != nil {
		t.Fatal(err)
	}
	if st.Close() != nil {
		st.CancelWrite(0)
	}
}

// TestRemoteThatDies ends one client's connection at the remote, and then the
// remote itself.
func TestRemoteThatDies(t *testing.T) {
	addr, conns := fakeRemote(t)
	fwd := forwards(t, addr)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	join := func(room string) (*bench.Caller, remoteConn) {
		cl, err := quicnet.NewClient(quicnet.ClientConfig{LocalAddr: netip.MustParseAddr("127.0.3.7")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cl.Close() })
		c, err := bench.Join(ctx, cl, netip.MustParseAddrPort(fwd.Info().Listen), room, room)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = c.ReceiveLoop(ctx, func(time.Duration) {}) }()
		select {
		case far := <-conns:
			return c, far
		case <-ctx.Done():
			t.Fatal("the remote has not heard of the room")
			return nil, remoteConn{}
		}
	}
	one, farOne := join("one")
	two, farTwo := join("two")
	if farOne.ServerName() != "one" || farTwo.ServerName() != "two" {
		t.Fatalf("rooms %s and %s", farOne.ServerName(), farTwo.ServerName())
	}
	farOne.Close(0, "normal close")
	until(t, fwd, "only the one is gone", func(s *view.Snapshot) bool {
		return len(s.Forward.Legs) == 1 && len(s.Rooms) == 1 && s.Rooms[0].Name == "two" && !one.Alive()
	})
	// The remote stops reading: what it does not take waits, bounded, and the
	// client's own packets are all that is lost.
	talk(t, []*bench.Caller{two}, 50)
	s := until(t, fwd, "fifty passed on", func(s *view.Snapshot) bool { return s.Forward.Legs[0].Delivered >= 50 })
	if s.Forward.Legs[0].Delivered != 50 || s.Endings[0].Subject != "one/one" || !strings.Contains(s.Endings[0].Reason, "remote relay") {
		t.Errorf("%+v %+v", s.Forward.Legs, s.Endings)
	}
	farTwo.Close(7, "the machine burns")
	s = until(t, fwd, "nobody is left", func(s *view.Snapshot) bool { return len(s.Rooms) == 0 && len(s.Forward.Legs) == 0 && !two.Alive() })
	if m := s.Ledger.Media; m.Queued != 0 {
		t.Errorf("%+v", m)
	}
}
