package relay

import (
	"errors"
	"net/netip"
	"testing"

	"signalbox/engine/ledger"
)

// pair seats a forwarded client.
func (g *rig) pair(room, who string) (client, leg *Participant) {
	g.t.Helper()
	client, leg, err := g.JoinPair(request(room, who, len(who)), Far{Remote: netip.MustParseAddrPort("192.0.2.1:4433")})
	if err != nil {
		g.t.Fatalf("pair %s in %s: %v", who, room, err)
	}
	return client, leg
}

func TestPairsHearNobodyElse(t *testing.T) {
	g := newRig(t, Config{Forwarding: true})
	if _, err := g.Join(request("r", "x", 1)); !errors.Is(err, ErrForwarded) {
		t.Fatalf("a place in a room that is elsewhere: %v", err)
	}
	if _, err := g.Join(request("call-1", "x", 1)); err != nil {
		t.Errorf("the room of a call of ours: %v", err)
	}
	a, aLeg := g.pair("r", "a")
	b, bLeg := g.pair("r", "bb")
	for seq := range uint16(3) {
		g.say(a, packet(seq, 1))
	}
	for _, seq := range []uint16{9, 1, 500} { // of many senders
		aLeg.Saw(packet(seq, 2))
		if !aLeg.Admit(100, g.now.Load()) {
			t.Fatal("a leg has a budget")
		}
		g.say(aLeg, report(seq, 255, 255))
	}
	if n, m := len(g.drain(aLeg)), len(g.drain(a)); n != 3 || m != 3 {
		t.Errorf("%d went out and %d came in", n, m)
	}
	if n, m := len(g.drain(b)), len(g.drain(bLeg)); n != 0 || m != 0 {
		t.Errorf("%d and %d of another's packets", n, m)
	}
	g.settled()
	if g.Sessions() != 3 || len(g.Legs()) != 2 || g.Legs()[0].Client != a.ID() || g.Legs()[0].Received != 3 || g.Legs()[0].Delivered != 3 {
		t.Errorf("%d sessions, legs %+v", g.Sessions(), g.Legs())
	}
	for _, rm := range g.Rooms(request("", "", 0).Now) {
		if rm.Name == "r" && (len(rm.Participants) != 2 || rm.Directives != 0 || rm.Participants[0].SeqGaps != 0) {
			t.Errorf("%+v", rm)
		}
	}
}

func TestPairsLeaveTogether(t *testing.T) {
	for name, how := range map[string]func(g *rig, client, leg *Participant) error{
		"the client leaves":    func(_ *rig, client, _ *Participant) error { client.Leave(0); return nil },
		"the leg leaves":       func(_ *rig, _, leg *Participant) error { leg.Leave(0); return nil },
		"the client is kicked": func(g *rig, client, _ *Participant) error { return g.Kick(client.ID(), "") },
		"the leg is kicked":    func(g *rig, _, leg *Participant) error { return g.Kick(leg.ID(), "") },
		"the room is closed":   func(g *rig, _, _ *Participant) error { return g.CloseRoom("r") },
	} {
		g := newRig(t, Config{Forwarding: true})
		closed := 0
		q := request("r", "a", 1)
		q.Close = func(string) { closed++ }
		client, leg, err := g.JoinPair(q, Far{Remote: netip.MustParseAddrPort("192.0.2.1:4433")})
		if err != nil {
			t.Fatal(err)
		}
		g.say(client, packet(0, 1))
		g.say(leg, packet(0, 2))
		if err := how(g, client, leg); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		g.say(client, packet(1, 1))
		g.say(leg, packet(1, 2))
		c := g.Counts()
		if c.Unexplained() != 0 || c.Queued != 0 || c.Copies != 4 || c.Dropped[ledger.Gone]+c.Dropped[ledger.RoomGone] != 4 {
			t.Errorf("%s: %+v", name, c)
		}
		client.Leave(0)
		leg.Leave(0)
		if g.Sessions() != 0 || len(g.Legs()) != 0 || len(g.Rooms(q.Now)) != 0 {
			t.Errorf("%s: %d sessions, %d legs, %d rooms stay", name, g.Sessions(), len(g.Legs()), len(g.Rooms(q.Now)))
		}
		if closed > 1 {
			t.Errorf("%s: closed %d times", name, closed)
		}
	}
}

func TestForwardingAPairAllocatesNothing(t *testing.T) {
	g := newRig(t, Config{Forwarding: true})
	a, leg := g.pair("r", "a")
	pkt, buf := packet(0, 1), make([][]byte, 0, 1)
	if n := testing.AllocsPerRun(200, func() {
		g.say(a, pkt)
		buf = leg.Take(buf[:0], 1, 1)
		leg.Done(len(buf), 0, 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
