package engine_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"signalbox/engine"
	"signalbox/engine/bench"
	"signalbox/engine/control"
	"signalbox/engine/view"
)

// hasHops wants each text in a hop, in this order.
func hasHops(t *testing.T, x view.Explanation, want ...string) {
	t.Helper()
	var names []string
	for _, h := range x.Hops {
		names = append(names, h.Name+" ("+h.Verdict+")")
	}
	at := 0
	for _, w := range want {
		i := slices.IndexFunc(names[at:], func(n string) bool { return strings.Contains(n, w) })
		if i < 0 {
			t.Errorf("no hop after the first %d says %q: %q", at, w, names)
			return
		}
		at += i + 1
	}
}

// chatter has a caller speak until the test ends.
func chatter(t *testing.T, c *bench.Caller) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_ = c.Send(1, 100, nil)
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
}

// idsOf are the rows of one here, by alias, and of one elsewhere.
func idsOf(s *view.Snapshot, alias string) (here, elsewhere string) {
	for _, p := range s.Rooms[0].Participants {
		switch {
		case p.Transport == "federated":
			elsewhere = p.ID
		case p.Alias == alias:
			here = p.ID
		}
	}
	return here, elsewhere
}

// TestExplainAcrossRelays: why somebody at another relay does not hear, hop by
// hop on both, with the track of one packet; and the other way round.
func TestExplainAcrossRelays(t *testing.T) {
	nodes := meshed(t, 2, [][2]int{{0, 1}}, true)
	a, _ := callers(t, nodes[0], "general", 2)
	b, _ := callers(t, nodes[1], "general", 1)
	until(t, nodes[0], "three in the room", func(s *view.Snapshot) bool {
		return len(s.Rooms) == 1 && len(s.Rooms[0].Participants) == 3 && b[0].RoomCount.Load() == 3
	})
	chatter(t, a[0])
	s := until(t, nodes[0], "packets", func(*view.Snapshot) bool { return b[0].Received.Load() > 20 })
	from, to := idsOf(s, "caller 0")
	x := nodes[0].Explain(from, to)
	hasHops(t, x, "sender caller 0", "left by R1", "link R1 (ok)", "R1: packet", "R1: receiver")
	if !strings.Contains(x.Verdict, "reach") {
		t.Error(x.Verdict)
	}
	hasHops(t, nodes[0].Explain(to, from), "R1: sender", "link R1", "receiver caller 0")
}

// TestExplainAcrossThreeRelays: one packet is followed from the first relay of a
// chain to the last and told of by all, whichever end asks; the relay between,
// which has nobody in the room, can say where the way is broken.
func TestExplainAcrossThreeRelays(t *testing.T) {
	nodes := meshed(t, 3, [][2]int{{0, 1}, {1, 2}}, true)
	a, _ := callers(t, nodes[0], "general", 1)
	b, _ := callers(t, nodes[2], "general", 1)
	for i, c := range []*bench.Caller{a[0], b[0]} {
		until(t, nodes[2*i], "two in the room", func(s *view.Snapshot) bool {
			return len(s.Rooms) == 1 && len(s.Rooms[0].Participants) == 2 && c.RoomCount.Load() == 2
		})
	}
	chatter(t, a[0])
	until(t, nodes[2], "packets", func(*view.Snapshot) bool { return b[0].Received.Load() > 20 })

	from, to := idsOf(nodes[0].Snapshot(), "caller 0")
	x := nodes[0].Explain(from, to)
	hasHops(t, x, "sender caller 0", "left by R1", "link R1 (ok)", "on by R2", "R1: link R2 (ok)", "R1: R2: packet", "R1: R2: receiver")
	if !strings.Contains(x.Verdict, "reach") {
		t.Error(x.Verdict)
	}

	to, from = idsOf(nodes[2].Snapshot(), "caller 0")
	x = nodes[2].Explain(from, to)
	hasHops(t, x, "R1: R0: sender", "left by R1", "R1: link R0", "on by R2", "link R1", "delivered here", "receiver")
	if !strings.Contains(x.Verdict, "reach") {
		t.Error(x.Verdict)
	}
	between(t, nodes, from, to)
}

// between mutes the second link of the chain at the relay between.
func between(t *testing.T, nodes []*engine.Engine, from, to string) {
	t.Helper()
	muted := do(t, nodes[1], control.Command{Kind: control.LinkMute, Target: "R2", Reason: "a test"})
	until(t, nodes[1], "the link muted", func(s *view.Snapshot) bool { return linked(s, "R2").State == "muted" })
	x := nodes[2].Explain(from, to)
	if !strings.Contains(x.Verdict, "packet") || !strings.Contains(x.Verdict, "has not arrived") {
		t.Errorf("with the link muted between %+v: %s: %+v", muted, x.Verdict, x.Hops)
	}
}
