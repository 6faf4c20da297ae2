package fed

import (
	"slices"
	"strings"
	"testing"
	"time"

	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// TestBothDial: two relays that dial each other end with one connection, the
// same for both, whichever came first; one of another make keeps both, and
// nothing is doubled or lost when either ends.
func TestBothDial(t *testing.T) {
	for _, vanilla := range []bool{false, true} {
		for _, order := range [][2]int{{0, 1}, {1, 0}} {
			w := newWorld(t, 2, "general")
			w.nodes[0].vanilla = vanilla
			a, b := w.nodes[0].join("general", "a"), w.nodes[1].join("general", "b")
			w.link(order[0], order[1])
			w.link(order[1], order[0])
			w.settle()
			want := 1
			if vanilla {
				want = 2
			}
			if len(w.wires) != want {
				t.Errorf("another make %v: %d connections, want %d", vanilla, len(w.wires), want)
			}
			if low := w.nodes[0].fp < w.nodes[1].fp; !vanilla && (w.wires[0].a.n == w.nodes[0]) != low {
				t.Error("the lower fingerprint's connection is the one to keep")
			}
			w.everybody([]*member{a, b}, 3)
			for len(w.wires) > 0 {
				if got := a.listed(); !slices.Equal(got, []string{"a@", "b@R1"}) {
					t.Errorf("%v", got)
				}
				w.wires[0].dead = true
				w.settle()
				if len(w.wires) > 0 {
					w.everybody([]*member{a, b}, 3)
				}
			}
			if got := a.listed(); !slices.Equal(got, []string{"a@"}) {
				t.Errorf("no connection, and still %v", got)
			}
		}
	}
}

// TestReplacedConnection: a relay that comes back before its old connection is
// known to be dead is heard, and the late end of the old one changes nothing.
func TestReplacedConnection(t *testing.T) {
	w := newWorld(t, 2, "general")
	a, b := w.nodes[0].join("general", "a"), w.nodes[1].join("general", "b")
	old := w.link(0, 1)
	w.settle()
	old.cut = true
	for range 20 { // again and again
		next := w.link(0, 1)
		w.settle()
		old.b.l.Down("idle", w.now)
		old.a.l.Down("idle", w.now)
		w.settle()
		w.everybody([]*member{a, b}, 2)
		old = next
	}
}

// TestUnproven: an unproven connection is shown for what it is, and nothing is
// said to it where there is a proved one.
func TestUnproven(t *testing.T) {
	w := newWorld(t, 2, "general")
	m, other := w.nodes[0].mesh, w.nodes[1].fp
	claim := func() *Link {
		e := &end{c: &cable{}, n: w.nodes[0]}
		e.c.a, e.c.b = e, &end{c: e.c, n: w.nodes[1]}
		l, _ := m.Up(Up{Fingerprint: other, Transport: e, Hello: &wire.FederationHello{}}, w.now)
		return l
	}
	if claim() == nil {
		t.Fatal("admitted by the caller, refused here")
	}
	if v := m.Links(w.now, time.Now()); !slices.ContainsFunc(v, func(l view.Link) bool { return l.State == "up" && !l.Verified }) {
		t.Errorf("%+v", v)
	}
	w.link(0, 1)
	w.settle()
	if l := claim(); l == nil || m.peers[other].primary == l || !m.peers[other].primary.verified {
		t.Error("an unproven connection has taken the place of a proved one")
	}
	if l, why := m.Up(Up{Fingerprint: strings.Repeat("ab", 32), Verified: true, Transport: &end{}}, w.now); l != nil {
		t.Error("a stranger was linked", why)
	}
}

// TestSilentPeer: a signalbox that gives no sign of life is given up within
// PingLimit; a quiet one that answers is kept, and so is one of another make,
// which does not.
func TestSilentPeer(t *testing.T) {
	w := newWorld(t, 3, "general")
	w.nodes[2].vanilla = true
	cut := w.link(0, 1)
	w.link(0, 2)
	w.settle()
	w.pass(2 * time.Minute)
	if len(w.wires) != 2 {
		t.Fatalf("%d links after two quiet minutes", len(w.wires))
	}
	cut.cut = true
	w.pass(7 * time.Second)
	if len(w.wires) != 1 || w.nodes[0].mesh.Linked(w.nodes[1].fp) {
		t.Fatal("a dead link is still up after 7 s")
	}
	if v := w.nodes[0].mesh.Links(w.now, time.Now())[0]; !strings.Contains(v.LastError, "nothing heard") {
		t.Errorf("%+v", v)
	}
}

// TestBounds: what one peer announces is bounded in rooms, members and text.
func TestBounds(t *testing.T) {
	w := newWorld(t, 2, "general")
	w.full()
	l := w.nodes[0].mesh.peers[w.nodes[1].fp].primary
	list := make([]wire.RoomParticipant, 3000)
	for i := range list {
		alias := strings.Repeat("x", 1000)
		list[i] = wire.RoomParticipant{Fingerprint: string(rune('a'+i%26)) + strings.Repeat("f", i%700), Alias: &alias}
	}
	for i := range 10_000 {
		l.Handle(&wire.GlobalRoomActive{Room: "call-" + string(rune('a'+i%26)) + strings.Repeat("z", i%300), Participants: list[:1]}, w.now)
	}
	l.Handle(&wire.GlobalRoomActive{Room: "general", Participants: list}, w.now)
	for _, bad := range []string{"", "private", "call-\x1b[2J", "call-a b", "call-" + strings.Repeat("y", 400)} {
		l.Handle(&wire.GlobalRoomActive{Room: bad, Participants: list[:1]}, w.now)
		if w.nodes[0].mesh.peers[w.nodes[1].fp].rooms[bad] != nil {
			t.Errorf("room %q was taken", bad)
		}
	}
	p := w.nodes[0].mesh.peers[w.nodes[1].fp]
	if len(p.rooms) > 4096 || p.members > 20_000 {
		t.Errorf("%d rooms, %d members", len(p.rooms), p.members)
	}
	for _, g := range p.rooms["general"] {
		if len(g.members) > maxRoomMembers {
			t.Errorf("%d members of one room", len(g.members))
		}
		for _, m := range g.members {
			if len(*m.Alias) > maxAlias || len(m.Fingerprint) > maxFingerprint {
				t.Fatalf("%d, %d bytes", len(*m.Alias), len(m.Fingerprint))
			}
		}
	}
}

// TestBackoff: from half a second to a minute, never the same for two.
func TestBackoff(t *testing.T) {
	var b Backoff
	last := time.Duration(0)
	for range 12 {
		lo, hi := b, b
		l, h := lo.Next(0, 0), hi.Next(0, 1)
		if h != 2*l || h > longestWait || h < last {
			t.Fatalf("between %v and %v", l, h)
		}
		last = b.Next(0, 1)
	}
	if last != longestWait {
		t.Errorf("ends at %v", last)
	}
	if d := b.Next(time.Hour, 1); d != firstWait {
		t.Errorf("%v after a link that lived", d)
	}
}

// TestCallSignals: a peer's signals are those of who it is, our own do not come
// back, and a queue that nobody empties is bounded.
func TestCallSignals(t *testing.T) {
	w := newWorld(t, 2, "general")
	w.full()
	a, b := w.nodes[0], w.nodes[1]
	id := "c1"
	for _, s := range []wire.Signal{&wire.Hangup{CallID: &id}, &wire.CallRinging{CallID: id}} {
		if err := a.mesh.Forward(b.fp, s, w.now); err != nil {
			t.Fatal(err)
		}
	}
	w.settle()
	if len(b.calls) != 2 {
		t.Errorf("%d of 2 arrived", len(b.calls))
	}
	l := b.mesh.peers[a.fp].primary
	l.Handle(&wire.FederatedSignalForward{Inner: &wire.CallRinging{CallID: id}, OriginRelayFP: strings.ToUpper(colons(b.fp))}, w.now)
	if len(b.calls) != 2 {
		t.Error("our own signal came back and was taken")
	}
	var err error
	for range 2 * controlMax {
		err = a.mesh.Forward(b.fp, &wire.CallRinging{CallID: id}, w.now)
	}
	if err == nil {
		t.Error("a queue without end")
	}
}

// FuzzVia: whatever a peer writes, what is taken covers the list exactly.
func FuzzVia(f *testing.F) {
	f.Add("1:2:;z:1:0123456789abcdef>fedcba9876543210", 3)
	f.Add("", 0)
	f.Add("::", 1)
	f.Fuzz(func(t *testing.T, s string, n int) {
		parseHello(s)
		spans, ok := parseVia(s, n)
		if !ok {
			return
		}
		for _, sp := range spans {
			n -= sp.count
			if sp.count < 0 || len(sp.path) >= maxPath {
				t.Fatalf("%q: %+v", s, sp)
			}
		}
		if n != 0 {
			t.Fatalf("%q leaves %d", s, n)
		}
		if again, ok := parseVia(formatVia(spans), sum(spans)); !ok || len(again) != len(spans) {
			t.Fatalf("%q does not survive", s)
		}
	})
}

func sum(spans []span) (n int) {
	for _, s := range spans {
		n += s.count
	}
	return n
}
