package fed

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"signalbox/engine/ledger"
	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// TestLinkRate: what one relay may send in all is bounded, whatever it may send
// to a room.
func TestLinkRate(t *testing.T) {
	w := newWorld(t, 2, "general", "other")
	w.full()
	n := w.nodes[0]
	n.join("general", "a")
	n.join("other", "b")
	n.mesh.cfg.LinkPPS = 100
	l := n.mesh.peers[w.nodes[1].fp].primary
	for i := range 150 {
		l.Receive(tagged([]string{"general", "other"}[i%2], packetOf(uint16(i), fmt.Sprint(i))), w.now)
	}
	if got := n.dropped(ledger.LinkRate); got != 50 {
		t.Errorf("of 150 packets %d were refused, want 50", got)
	}
	n.check("a flood")
}

// TestMuteIsBothWays: nothing goes to a muted relay and nothing that it sends is
// heard, until it is heard again.
func TestMuteIsBothWays(t *testing.T) {
	w := newWorld(t, 2, "general")
	w.full()
	a, b := w.nodes[0].join("general", "a"), w.nodes[1].join("general", "b")
	w.settle()
	m := w.nodes[0].mesh
	m.Mute(w.nodes[1].fp, true)
	w.settle()
	before := w.dgs
	said := a.talk()
	w.settle()
	if w.dgs != before || len(b.got) != 0 {
		t.Errorf("%d datagrams went to a muted relay, %q arrived: %v", w.dgs-before, said, b.got)
	}
	b.talk()
	w.settle()
	if len(a.got) != 0 || w.nodes[0].dropped(ledger.Muted) != 1 {
		t.Errorf("a has %v, %d dropped as muted", a.got, w.nodes[0].dropped(ledger.Muted))
	}
	m.Mute(w.nodes[1].fp, false)
	w.settle()
	said, heard := a.talk(), b.talk()
	w.settle()
	if b.got[said] != 1 || a.got[heard] != 1 {
		t.Errorf("after the mute a has %v, b %v", a.got, b.got)
	}
}

// TestNobodyCarriesForAMutedLink: a relay that hears both sides of a muted link
// does not undo what the operator has done.
func TestNobodyCarriesForAMutedLink(t *testing.T) {
	w := newWorld(t, 3, "general")
	w.full()
	a, b, c := w.nodes[0].join("general", "a"), w.nodes[1].join("general", "b"), w.nodes[2].join("general", "c")
	w.settle()
	w.nodes[0].mesh.Mute(w.nodes[1].fp, true)
	w.settle()
	said, heard := a.talk(), b.talk()
	w.settle()
	if len(b.got)+len(a.got) != 0 || c.got[said] != 1 || c.got[heard] != 1 {
		t.Errorf("a has %v, b %v, c %v", a.got, b.got, c.got)
	}
}

// TestLabelsAreHarmless: what a peer calls other relays is shown to people.
func TestLabelsAreHarmless(t *testing.T) {
	w := newWorld(t, 2, "general")
	w.full()
	a := w.nodes[0].join("general", "a")
	evil := "R\x1b[31m9" + string(make([]byte, 100))
	l := w.nodes[0].mesh.peers[w.nodes[1].fp].primary
	l.Handle(&wire.GlobalRoomActive{Room: "general", Participants: []wire.RoomParticipant{{Fingerprint: "x", RelayLabel: &evil}}}, w.now)
	for _, g := range w.nodes[0].mesh.peers[w.nodes[1].fp].rooms["general"] {
		for _, v := range g.members {
			if s := *v.RelayLabel; len(s) > maxLabel || s != "R[31m9" {
				t.Errorf("the label is %q", s)
			}
		}
	}
	if got := a.listed(); len(got) != 2 {
		t.Errorf("%v", got)
	}
	long := strings.Repeat("x", 1000)
	l.Handle(&wire.GlobalRoomActive{Room: "general", Participants: []wire.RoomParticipant{{Fingerprint: "x", RelayLabel: &long}}}, w.now)
	if got, want := a.listed(), "@"+long[:maxLabel]; len(got) != 2 || got[0] != want {
		t.Errorf("%v, want %q", got, want)
	}
}

// TestWhatAPeerAnnouncesIsBounded in rooms and in members over all of them.
func TestWhatAPeerAnnouncesIsBounded(t *testing.T) {
	var rooms []string
	for i := range 8 {
		rooms = append(rooms, fmt.Sprint("room", i))
	}
	w := newWorld(t, 2, rooms...)
	w.full()
	m := w.nodes[0].mesh
	m.cfg.MaxMembers, m.cfg.MaxRooms = 10, 4
	p := m.peers[w.nodes[1].fp]
	say := func(room string, n int) {
		s := &wire.GlobalRoomActive{Room: room}
		for i := range n {
			s.Participants = append(s.Participants, wire.RoomParticipant{Fingerprint: fmt.Sprint(room, i)})
		}
		p.primary.Handle(s, w.now)
	}
	say("room0", 6)
	say("room1", 6) // too many in all: it stays as it was
	if p.members != 6 || len(p.rooms) != 1 {
		t.Errorf("%d members in %d rooms", p.members, len(p.rooms))
	}
	say("room0", 2)
	say("room1", 6)
	if p.members != 8 || len(p.rooms) != 2 {
		t.Errorf("%d members in %d rooms", p.members, len(p.rooms))
	}
	for _, r := range rooms {
		say(r, 1)
	}
	say(rooms[4], 1) // a room of ours that would be the fifth
	open := len(m.rooms)
	say("call-1", 1)
	if len(p.rooms) != 4 || p.members != 4 || len(m.rooms) != open {
		t.Errorf("%d members in %d rooms; %d rooms of %d are open", p.members, len(p.rooms), len(m.rooms), open)
	}
}

// TestAFullListMayChange: who has announced as many as may be says who they are
// now, as often as that changes; of one room no more than are listed count.
func TestAFullListMayChange(t *testing.T) {
	w := newWorld(t, 2, "general")
	w.full()
	m := w.nodes[0].mesh
	m.cfg.MaxMembers = 10
	p := m.peers[w.nodes[1].fp]
	say := func(what string, n int) {
		s := &wire.GlobalRoomActive{Room: "general"}
		for i := range n {
			s.Participants = append(s.Participants, wire.RoomParticipant{Fingerprint: fmt.Sprint(what, i)})
		}
		p.primary.Handle(s, w.now)
	}
	say("first", 10)
	say("second", 9)
	if p.members != 9 || p.rooms["general"][0].members[0].Fingerprint != "second0" {
		t.Errorf("%d members: %+v", p.members, p.rooms)
	}
	m.cfg.MaxMembers = 1 << 20
	say("many", maxRoomMembers+1)
	if p.members != maxRoomMembers {
		t.Errorf("%d members of one room, want %d", p.members, maxRoomMembers)
	}
}

// TestSignalsAreReadAtARate: who sends more is read more slowly.
func TestSignalsAreReadAtARate(t *testing.T) {
	w := newWorld(t, 2, "general")
	w.full()
	l := w.nodes[0].mesh.peers[w.nodes[1].fp].primary
	w.now += int64(time.Minute)
	waits := 0
	for range signalRate + 10 {
		if l.SignalWait(w.now) > 0 {
			waits++
		}
	}
	if waits != 10 {
		t.Errorf("%d of %d signals at once wait, want 10", waits, signalRate+10)
	}
}

// TestProvedBeforeUnproven: of two connections of a relay that are good for the
// same the proved one is written to, whichever came last.
func TestProvedBeforeUnproven(t *testing.T) {
	w := newWorld(t, 2, "general")
	m, fp := w.nodes[0].mesh, w.nodes[1].fp
	up := func(verified bool) *Link {
		c := &cable{}
		c.a, c.b = &end{c: c, n: w.nodes[0]}, &end{c: c, n: w.nodes[1]}
		l, why := m.Up(Up{Fingerprint: fp, Verified: verified, Outbound: true, Transport: c.a}, w.now)
		if l == nil {
			t.Fatal(why)
		}
		return l
	}
	proved := up(true)
	up(false)
	if m.peers[fp].primary != proved {
		t.Error("the unproven connection took the place of the proved one")
	}
	w2 := newWorld(t, 2, "general")
	w, m, fp = w2, w2.nodes[0].mesh, w2.nodes[1].fp
	up(false)
	if proved = up(true); m.peers[fp].primary != proved {
		t.Error("the proved connection did not take the place of the unproven one")
	}
}

// TestALinkThatIsDownSaysWhatItHad, until it is up again.
func TestALinkThatIsDownSaysWhatItHad(t *testing.T) {
	w := newWorld(t, 2, "general")
	w.full()
	w.nodes[0].join("general", "a")
	w.nodes[1].join("general", "b")
	w.settle()
	look := func() view.Link { return w.nodes[0].mesh.Links(w.now, time.Unix(0, w.now))[0] }
	if l := look(); len(l.Rooms) != 1 || l.Members != 1 || len(l.LastRooms) != 0 {
		t.Errorf("%+v", l)
	}
	w.nodes[0].mesh.peers[w.nodes[1].fp].primary.Down("unplugged", w.now)
	if l := look(); len(l.Rooms) != 0 || l.Members != 0 || len(l.LastRooms) != 1 || l.LastRooms[0] != "general" || l.LastMembers != 1 {
		t.Errorf("%+v", l)
	}
	w.link(0, 1)
	w.settle()
	if l := look(); len(l.Rooms) != 1 || len(l.LastRooms) != 0 || l.LastMembers != 0 {
		t.Errorf("%+v", l)
	}
}
