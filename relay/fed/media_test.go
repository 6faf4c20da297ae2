package fed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"signalbox/engine/ledger"
	"signalbox/relay/wire"
)

// TestWindowAgainstMap compares the window with a map that never forgets,
// within the time it promises, and bounds it beyond.
func TestWindowAgainstMap(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		var w window
		first, own := map[uint64]int64{}, map[uint64]bool{}
		now := int64(1)
		for range 5000 {
			now += int64(rnd.IntN(int(3 * time.Millisecond)))
			h := uint64(1+rnd.IntN(2000))<<1 | 1
			mine := rnd.IntN(3) == 0
			got := w.note(h, mine, now)
			at, was := first[h]
			switch age := now - at; {
			case was && age < generation && got == fresh:
				t.Fatalf("seed %d: forgot a packet of %v ago", seed, time.Duration(age))
			case (!was || age > 2*generation) && got != fresh:
				t.Fatalf("seed %d: remembers what it cannot", seed)
			case got == ours && !own[h]:
				t.Fatalf("seed %d: takes another's packet for ours", seed)
			}
			if got == fresh {
				first[h], own[h] = now, mine
			} else if mine {
				own[h], first[h] = true, now
			}
		}
	}
	var w window
	for i := range uint64(10 * generationMax) {
		w.note(i*0x9e3779b97f4a7c15|1, false, 1)
	}
	if n := len(w.now.slots) + len(w.old.slots); n > 4*generationMax+2 || w.early == 0 {
		t.Errorf("%d places for a flood, %d early ends", n, w.early)
	}
	for i := range int64(20) {
		w.note(uint64(i)<<1|1, false, i*generation+2)
	}
	if n := len(w.now.slots) + len(w.old.slots); n > generationMax {
		t.Errorf("%d places long after the flood", n)
	}
}

// lonely is two relays, linked, with a member at each, and the link as the
// second one has it.
func lonely(t *testing.T) (*world, *member, *member, *Link) {
	w := newWorld(t, 2, "general")
	w.full()
	a, b := w.nodes[0].join("general", "a"), w.nodes[1].join("general", "b")
	w.settle()
	for _, p := range w.nodes[1].mesh.peers {
		if p.primary != nil {
			return w, a, b, p.primary
		}
	}
	t.Fatal("no link")
	return nil, nil, nil, nil
}

func (n *node) dropped(why ledger.Reason) uint64 {
	c := n.mesh.Counts()
	return c.Dropped[why]
}

// TestPolicing: what a peer may not send is refused for its reason, once each,
// and nobody else notices.
func TestPolicing(t *testing.T) {
	w, a, b, l := lonely(t)
	n := w.nodes[1]
	pkt := packetOf(7, "hello")
	for _, c := range []struct {
		why ledger.Reason
		dg  []byte
	}{
		{ledger.Malformed, nil},
		{ledger.Malformed, make([]byte, 15)},
		{ledger.Malformed, tagged("general", []byte{0x24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})},
		{ledger.Malformed, binary.BigEndian.AppendUint64(nil, wire.TagTrunk)},
		{ledger.Malformed, append(binary.BigEndian.AppendUint64(nil, wire.TagTrunk), 0, 9, 1)},
		{ledger.Malformed, append(binary.BigEndian.AppendUint64(nil, wire.TagTrace), 1, 2, 3, 4)},
		{ledger.UnknownRoom, tagged("nobody's", pkt)},
	} {
		before := n.dropped(c.why)
		l.Receive(c.dg, w.now)
		if got := n.dropped(c.why) - before; got != 1 {
			t.Errorf("%x: %d dropped as %s", c.dg, got, c.why)
		}
	}
	l.Receive(tagged("general", pkt), w.now)
	l.Receive(tagged("general", pkt), w.now) // replayed
	mine := a.talk()
	w.settle()
	if b.got["hello"] != 1 || b.got[mine] != 1 || n.dropped(ledger.Duplicate) != 1 {
		t.Errorf("got %v, %d duplicates", b.got, n.dropped(ledger.Duplicate))
	}
	b.talk()
	own := wire.AppendPacket(nil, wire.Packet{Header: wire.Header{Codec: wire.Opus24k}, Payload: []byte("b 0")})
	l.Receive(tagged("general", own), w.now)
	if n.dropped(ledger.Loop) != 1 {
		t.Error("our own packet came back and was not seen to be ours")
	}
	n.check("policing")
}

// TestHeard: who keeps an event log is told each step of each packet, and by
// whom it was sent (5.20).
func TestHeard(t *testing.T) {
	w := newWorld(t, 2, "general")
	w.nodes[1].mesh.cfg.RoomPPS = 2
	w.full()
	w.nodes[1].join("general", "a")
	w.nodes[1].join("general", "b")
	w.settle()
	var got []string
	w.nodes[1].mesh.cfg.Heard = func(h Heard) {
		seq := -1
		if h.Packet != nil {
			seq = int(h.Packet.Seq)
		}
		got = append(got, fmt.Sprint(h.Step, " ", h.Peer != "", " ", h.Room, " ", seq, " ", h.Bytes, " ", h.To))
	}
	l := w.nodes[1].mesh.peers[w.nodes[0].fp].primary
	for _, dg := range [][]byte{
		{1, 2, 3}, tagged("nobody's", packetOf(4, "x")), tagged("general", packetOf(5, "x")), tagged("general", packetOf(5, "x")), tagged("general", packetOf(6, "x")),
	} {
		l.Receive(dg, w.now)
	}
	want := []string{
		"0 true  -1 3 0",
		"1 true  4 0 0", "3 true  4 0 0",
		"1 true  5 0 0", "5 true general 5 0 2",
		"1 true  5 0 0", "2 true general 5 0 0",
		"1 true  6 0 0", "4 true general 6 0 0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// TestReplayed: a captured minute played again within the window is dropped
// whole.
func TestReplayed(t *testing.T) {
	w, _, b, l := lonely(t)
	for range 2 {
		for i := range 400 {
			l.Receive(tagged("general", packetOf(uint16(i), "x")), w.now)
		}
		w.settle()
	}
	if b.got["x"] != 400 || w.nodes[1].dropped(ledger.Duplicate) != 400 {
		t.Errorf("%d arrived, %d duplicates", b.got["x"], w.nodes[1].dropped(ledger.Duplicate))
	}
}

// TestHashSpray: a million tags of no room cost a counter each, bounded memory
// and one line a minute (T34).
func TestHashSpray(t *testing.T) {
	w, a, b, l := lonely(t)
	n := w.nodes[1]
	n.events = nil
	pkt := packetOf(1, "spray")
	const spray = 100_000
	for i := range uint64(spray) {
		w.now += int64(50 * time.Microsecond)
		l.Receive(append(binary.BigEndian.AppendUint64(nil, i*0x9e3779b97f4a7c15), pkt...), w.now)
		if i%5000 == 0 {
			n.mesh.Tick(w.now)
		}
	}
	if got := n.dropped(ledger.UnknownRoom) + n.dropped(ledger.LinkRate); got != spray {
		t.Errorf("%d of %d counted", got, spray)
	}
	if len(l.reader.unknown) > maxUnknown || len(l.reader.rooms) > 1 {
		t.Errorf("%d unknown tags, %d rooms remembered", len(l.reader.unknown), len(l.reader.rooms))
	}
	said := 0
	for _, e := range n.events {
		if e.Kind == "unknown_room" {
			said++
		}
	}
	if said != 1 {
		t.Errorf("%d lines in 5 s", said)
	}
	text := a.talk()
	w.settle()
	if b.got[text] != 1 {
		t.Error("the spray has cost somebody else")
	}
}

// TestRates: a room is limited by itself, the excess is counted exactly, and
// another room of the same link is not touched.
func TestRates(t *testing.T) {
	w := newWorld(t, 2, "general", "podcast")
	w.full()
	p := w.nodes[1].join("podcast", "p")
	g := w.nodes[1].join("general", "g")
	w.settle()
	l := w.nodes[1].mesh.peers[w.nodes[0].fp].primary
	for i := range 5000 {
		l.Receive(tagged("general", packetOf(uint16(i), "flood")), w.now)
	}
	l.Receive(tagged("podcast", packetOf(1, "calm")), w.now)
	w.settle()
	if g.got["flood"] != 2000 || w.nodes[1].dropped(ledger.LinkRate) != 3000 || p.got["calm"] != 1 {
		t.Errorf("%d passed, %d refused, the other room got %d", g.got["flood"], w.nodes[1].dropped(ledger.LinkRate), p.got["calm"])
	}
}

// TestTrunk: what waits together goes together, whole, in order, and never
// beyond the path's limit; a peer of another make gets one packet a datagram.
func TestTrunk(t *testing.T) {
	w, a, b, _ := lonely(t)
	l := w.nodes[0].mesh.peers[w.nodes[1].fp].primary
	for range 60 {
		a.talk()
	}
	w.dgs = 0
	w.settle()
	if w.dgs > 10 || len(b.got) != 60 {
		t.Errorf("60 packets took %d datagrams, %d arrived", w.dgs, len(b.got))
	}
	big := Packet{Room: 1, Body: make([]byte, 590)}
	for limit, want := range map[int]int{0: 1, 600: 1, 1213: 1, 1214: 2, 5000: 3} {
		if dg, n := l.Pack(nil, []Packet{big, big, big}, limit); n != want || (n > 1 && len(dg) > limit) {
			t.Errorf("limit %d: %d packets in %d bytes, want %d", limit, n, len(dg), want)
		}
	}
	l.mesh.cfg.NoTrunk = true
	if _, n := l.Pack(nil, []Packet{big, big}, 5000); n != 1 {
		t.Errorf("%d packets at once, which an operator has forbidden", n)
	}
	l.mesh.cfg.NoTrunk = false
	l.box.Store(false)
	if _, n := l.Pack(nil, []Packet{big, big}, 5000); n != 1 {
		t.Errorf("%d packets for a relay that reads one", n)
	}
}

// TestFollowed: one packet of one member leaves its track at every signalbox on
// its way.
func TestFollowed(t *testing.T) {
	w := newWorld(t, 3, "general")
	w.chain()
	a := w.nodes[0].join("general", "a")
	w.nodes[0].join("general", "other").talk()
	w.nodes[2].join("general", "c")
	w.settle()
	id, ok := w.nodes[0].mesh.Follow("general", a.p.ID(), w.now)
	if !ok {
		t.Fatal("nobody to follow")
	}
	a.talk()
	a.talk()
	w.settle()
	for i, want := range []string{"left by R1", "on by R2", "delivered here"} {
		got := w.nodes[i].mesh.Traces(id, w.now)
		if len(got) != 1 || !strings.Contains(got[0].Text, want) {
			t.Errorf("at relay %d: %v, want %q", i, got, want)
		}
		if left := w.nodes[i].mesh.Traces(id, w.now+int64(2*time.Minute)); len(left) > 0 {
			t.Errorf("remembered for ever: %v", left)
		}
	}
}

// TestForwardAllocs: passing a packet on takes no memory.
func TestForwardAllocs(t *testing.T) {
	w, _, _, l := lonely(t)
	var dgs [][]byte
	for i := range 1200 {
		dgs = append(dgs, tagged("general", packetOf(uint16(i), "x")))
		if i < 100 {
			l.Receive(dgs[i], w.now)
		}
	}
	i := 100
	if n := testing.AllocsPerRun(1000, func() { l.Receive(dgs[i], w.now); i++ }); n > 0.1 {
		t.Errorf("%.2f allocations a packet", n)
	}
}

// TestCallRooms: a call's room is shared with the relay it was agreed with and
// nobody else, both ways.
func TestCallRooms(t *testing.T) {
	w := newWorld(t, 3, "general")
	w.full()
	ab := w.nodes[1].mesh
	if err := ab.Forward(w.nodes[0].fp, &wire.DirectCallAnswer{CallID: "x1", AcceptMode: wire.AcceptTrusted}, w.now); err != nil {
		t.Fatal(err)
	}
	w.settle()
	if len(w.nodes[0].calls) != 1 || w.nodes[0].calls[0].Variant() != "DirectCallAnswer" {
		t.Fatalf("%v", w.nodes[0].calls)
	}
	a, b := w.nodes[0].join("call-x1", "a"), w.nodes[1].join("call-x1", "b")
	w.settle()
	ta, tb := a.talk(), b.talk()
	w.settle()
	if a.got[tb] != 1 || b.got[ta] != 1 {
		t.Errorf("a got %v, b got %v", a.got, b.got)
	}
	if n := len(w.nodes[2].mesh.rooms); n != 1 {
		t.Errorf("the third relay knows of %d rooms", n)
	}
	a.leave()
	b.leave()
	w.settle()
	w.pass(time.Minute)
	if n := len(w.nodes[0].mesh.rooms); n != 1 {
		t.Errorf("%d rooms are remembered after the call", n)
	}
	if err := ab.Forward("nobody", &wire.CallRinging{CallID: "x1"}, w.now); !errors.Is(err, ErrNoLink) {
		t.Errorf("%v", err)
	}
}

// TestACallIsItsTwoRelays: a third relay that answers in a call of two others
// gets into it neither before nor after, and takes no room in the list of calls.
func TestACallIsItsTwoRelays(t *testing.T) {
	w := newWorld(t, 3, "general")
	w.full()
	home, far, third := w.nodes[0], w.nodes[1], w.nodes[2]
	home.callee = far.fp
	answer := func(n *node, id string) {
		if err := n.mesh.Forward(home.fp, &wire.DirectCallAnswer{CallID: id, AcceptMode: wire.AcceptTrusted}, w.now); err != nil {
			t.Fatal(err)
		}
		w.settle()
	}
	answer(third, "x")
	answer(far, "x")
	a, b, spy := home.join("call-x", "a"), far.join("call-x", "b"), third.join("call-x", "spy")
	w.settle()
	answer(third, "x")
	for i := range 50 {
		answer(third, fmt.Sprint("flood ", i))
	}
	said, heard, meant := a.talk(), b.talk(), spy.talk()
	w.settle()
	if b.got[said] != 1 || a.got[heard] != 1 || len(spy.got) != 0 || a.got[meant]+b.got[meant] != 0 {
		t.Errorf("a has %v, b %v, the third %v", a.got, b.got, spy.got)
	}
	if n := len(home.mesh.calls); n != 1 {
		t.Errorf("%d calls are remembered, want 1", n)
	}
}

// TestPinsAreBounded: of too many calls the oldest without a room is forgotten.
func TestPinsAreBounded(t *testing.T) {
	w := newWorld(t, 2, "general")
	w.full()
	m := w.nodes[0].mesh
	for i := range maxPins + 2 {
		m.calls[fmt.Sprint(callPrefix, i)] = pin{at: int64(i)}
	}
	delete(m.calls, callPrefix+"1")
	delete(m.calls, callPrefix+"3")
	m.openLocked(callPrefix + "0")
	m.pinLocked("new", w.nodes[1].fp, w.now)
	_, inUse := m.calls[callPrefix+"0"]
	_, oldest := m.calls[callPrefix+"2"]
	if _, ok := m.calls[callPrefix+"new"]; !ok || !inUse || oldest || len(m.calls) != maxPins {
		t.Errorf("%d calls; of the oldest, that in use is there: %v, that without a room: %v", len(m.calls), inUse, oldest)
	}
}

// TestACallIsNoRelaysBusiness: a relay that says that it has members in the room
// of a call between two of our own clients hears nothing of it, and is not heard.
func TestACallIsNoRelaysBusiness(t *testing.T) {
	w := newWorld(t, 2, "general")
	w.full()
	a, b := w.nodes[0].join("call-x", "a"), w.nodes[0].join("call-x", "b")
	spy := w.nodes[1].join("call-x", "spy")
	w.settle()
	l := w.nodes[0].mesh.peers[w.nodes[1].fp].primary
	l.Handle(&wire.GlobalRoomActive{Room: "call-x", Participants: []wire.RoomParticipant{{Fingerprint: "spy"}}}, w.now)
	said := a.talk()
	l.Receive(tagged("call-x", packetOf(1, "intruder")), w.now)
	w.settle()
	if b.got[said] != 1 || spy.got[said] != 0 || b.got["intruder"] != 0 || w.nodes[0].dropped(ledger.UnknownRoom) != 1 {
		t.Errorf("b has %v, the spy %v", b.got, spy.got)
	}
	w.nodes[0].check("a call of our own")
}
