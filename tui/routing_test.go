package tui

import (
	"slices"
	"strings"
	"testing"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui/internal/sample"
)

// TestTraceIsFollowed: a typed id is looked up by plan and apply, and the pane
// shows its hops while they come.
func TestTraceIsFollowed(t *testing.T) {
	b := newBench(t, sample.BadRoom, 80, 24, 5, Options{NoColor: true})
	b.src.Fail = func(c control.Command) (control.Result, error) {
		r := control.Result{OK: true, Code: control.OK, Plan: []string{"looks it up"}}
		if !c.DryRun {
			r.Ref = "5000"
		}
		return r, nil
	}
	b.press("4", "v", "t")
	b.typeText("room:lobby")
	b.press("enter")
	if f := text(b); !strings.Contains(f, "looks it up") || len(b.src.Commands()) != 1 || !b.src.Commands()[0].DryRun {
		t.Fatalf("no plan:\n%s", f)
	}
	b.press("y")
	if c := b.src.Commands()[1]; c.Kind != control.RoutingTrace || c.Target != "room:lobby" || c.DryRun {
		t.Fatalf("sent %+v", c)
	}
	if f := text(b); !strings.Contains(f, "not in the snapshot yet") {
		t.Fatalf("%s", f)
	}
	// It begins, and goes on from hop to hop.
	s := *sample.At(sample.BadRoom, 21)
	peer := s.DHT.PeersTable[3].ID
	tr := view.LookupTrace{Seq: 5000, Label: "room lobby", For: "operator", State: view.LookupActive, Paths: 1, Asked: 1, Waiting: 1, Queries: []view.LookupQuery{{Peer: peer, Hop: 1, Outcome: view.QueryWaiting}}}
	show := func() string {
		s.Seq++
		d := s.DHT
		d.Lookups.Trace = append([]view.LookupTrace{tr}, d.Lookups.Trace...)
		n := s
		n.DHT = d
		b.m.feed.Push(&n)
		b.m.apply()
		b.m.paint(b.now)
		return text(b)
	}
	if f := show(); !strings.Contains(f, "lookup 5000 of room lobby") || !strings.Contains(f, "waiting") || !strings.Contains(f, "under way, 0 of 1") {
		t.Fatalf("%s", f)
	}
	tr.State, tr.Stop, tr.Answered, tr.Waiting, tr.Closest = view.LookupDone, "converged", 1, 0, peer
	tr.Queries = []view.LookupQuery{{Peer: peer, Hop: 1, Outcome: view.QueryAnswered, RTTMS: 12, TookMS: 12, Bits: 9, Addr: "192.0.2.1:4433"}}
	if f := show(); !strings.Contains(f, "the closest peers have all answered") || !strings.Contains(f, "192.0.2.1") || !strings.Contains(f, "✓ "+peer[:15]) {
		t.Fatalf("%s", f)
	}
	b.press("enter") // the peer that was asked
	if f := text(b); !strings.Contains(f, "contact "+peer[:15]) || !strings.Contains(f, "answered in 12ms") {
		t.Fatalf("%s", f)
	}
	b.press("esc", "esc")
	if f := text(b); !strings.Contains(f, "lookups, newest first") {
		t.Fatalf("%s", f)
	}
	b.press("esc")
	if f := text(b); !strings.Contains(f, "contacts, in trouble first") {
		t.Fatalf("%s", f)
	}
}

// TestRoutingLevers: each acts on the contact that was marked, by its id.
func TestRoutingLevers(t *testing.T) {
	b := newBench(t, sample.BadRoom, 120, 40, 5, Options{NoColor: true})
	peers := b.src.Snapshot().DHT.PeersTable
	i := slices.IndexFunc(peers, func(p view.Peer) bool { return p.State == "suspect" })
	bad := &peers[i]
	b.press("4")
	for _, tc := range []struct {
		keys   []string
		kind   control.Kind
		target string
	}{
		{[]string{"P"}, control.PeerPing, bad.ID},
		{[]string{"e"}, control.PeerEvict, bad.ID},
		{[]string{"B"}, control.PeerBlock, bad.ID},
		{[]string{"f", "enter"}, control.RoutingRefresh, "253"},
		{[]string{"f", "g", "enter"}, control.RoutingRefresh, "all"},
		{[]string{"t", "enter"}, control.RoutingTrace, bad.ID},
		{[]string{"S"}, control.NodeSave, ""},
	} {
		before := len(b.src.Commands())
		b.press(tc.keys...)
		cmds := b.src.Commands()
		if len(cmds) != before+1 || cmds[before].Kind != tc.kind || cmds[before].Target != tc.target || !cmds[before].DryRun {
			t.Errorf("%v: %+v", tc.keys, cmds[before:])
		}
		b.press("esc")
	}
	b.press("U")
	if f := text(b); !strings.Contains(f, "nobody is blocked") {
		t.Errorf("%s", f)
	}
	s := *b.src.Snapshot()
	s.Seq += 1000
	s.Undo = []view.Undo{{ID: "u-1", Kind: "peer.block", Target: bad.ID, Author: "ssh:mara"}}
	b.m.feed.Push(&s)
	b.m.apply()
	b.press("U")
	if f := text(b); !strings.Contains(f, "blocked by ssh:mara") {
		t.Fatalf("%s", f)
	}
	b.press("enter")
	cmds := b.src.Commands()
	if c := cmds[len(cmds)-1]; c.Kind != control.PeerUnblock || c.Target != bad.ID {
		t.Errorf("%+v", c)
	}
	// A viewer has none of them.
	v := newBench(t, sample.BadRoom, 120, 40, 5, Options{NoColor: true, Role: control.Viewer})
	v.press("4", "P", "e", "B", "U", "f", "t", "S")
	if len(v.src.Commands()) != 0 || strings.Contains(text(v), "e evict") {
		t.Error("a viewer can act")
	}
	v.press("v", "enter")
	if !strings.Contains(text(v), "whom it asked") {
		t.Error("a viewer cannot look")
	}
}

// TestContactsAreOrdered: by each column, either way, ties always by bucket and
// id; the cursor stays with its contact.
func TestContactsAreOrdered(t *testing.T) {
	b := newBench(t, sample.BadRoom, 200, 50, 5, Options{NoColor: true})
	b.press("4", "j", "j")
	marked := func() string {
		for ln := range strings.SplitSeq(text(b), "\n") {
			if strings.Contains(ln, "▸") {
				return strings.Fields(ln[strings.Index(ln, "▸"):])[2]
			}
		}
		return ""
	}
	who := marked()
	seen := map[string]bool{}
	for range 7 {
		f := text(b)
		for ln := range strings.SplitSeq(f, "\n") {
			if _, order, ok := strings.Cut(ln, "contacts, "); ok {
				order, _, _ = strings.Cut(order, " ─")
				seen[order] = true
			}
		}
		again := text(b)
		b.press("O", "O")
		if text(b) != again {
			t.Fatal("turned round twice, the order is another")
		}
		if who != "" && !strings.Contains(f, who[:12]) && marked() == "" {
			t.Error("the cursor is lost")
		}
		b.press("o")
	}
	if len(seen) != 7 {
		t.Errorf("orders %v", seen)
	}
	b.press("/")
	b.typeText("bucket 253")
	b.press("enter")
	if f := text(b); !strings.Contains(f, "18 of 173") && !strings.Contains(f, "20 of 173") {
		t.Errorf("%s", f)
	}
}

// TestTheAnswerIsSaid: what a command has found out stands where done would.
func TestTheAnswerIsSaid(t *testing.T) {
	b := newBench(t, sample.BadRoom, 120, 40, 5, Options{NoColor: true})
	b.src.Fail = func(c control.Command) (control.Result, error) {
		r := control.Result{OK: true, Code: control.OK, Plan: []string{"sends one PING"}, Message: "dry run: nothing was changed"}
		if !c.DryRun {
			r.Message = "ab12… answered in 3.1 ms\x1b[2J"
		}
		return r, nil
	}
	b.press("4", "P", "y")
	if f := text(b); !strings.Contains(f, "answered in 3.1 ms") || strings.Contains(f, "done:") || strings.Contains(b.m.frame, "\x1b[2J") {
		t.Errorf("%s", f)
	}
}
