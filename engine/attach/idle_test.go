package attach

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"testing"
	"time"

	"signalbox/engine/view"
)

// TestIdleStream: while nothing happens but time, a follower that said so is
// not written to; what happens comes at the next tick.
func TestIdleStream(t *testing.T) {
	path := socket(t)
	f := newFake(time.Now())
	f.took = make(chan uint64, 1)
	serve(t, path, f, nil)
	a := NewAPI(path)
	defer a.Close()
	enough := errors.New("enough")
	var seqs []uint64
	err := a.Lines(t.Context(), "/v1/stream?interval_ms=50&idle_ms=60000", func(line []byte) error {
		var s view.Snapshot
		if err := json.Unmarshal(line, &s); err != nil {
			return err
		}
		seqs = append(seqs, s.Seq)
		if len(seqs) == 2 {
			return enough
		}
		f.publish(2, time.Now(), "") // later, and otherwise the same
		go func(ctx context.Context) {
			for range 3 { // it was looked at, and not sent
				select {
				case <-f.took:
				case <-ctx.Done():
					return
				}
			}
			s := *f.snap.Load()
			s.Seq, s.Edge.Accepted = 3, 1
			f.snap.Store(&s)
		}(t.Context())
		return nil
	})
	if !errors.Is(err, enough) || seqs[0] != 1 || seqs[1] != 3 {
		t.Errorf("%v: snapshots %v", err, seqs)
	}
}

// TestBusy holds what counts as something that happens.
func TestBusy(t *testing.T) {
	if busy(&view.Snapshot{Seq: 1}, &view.Snapshot{Seq: 2, At: time.Now()}) {
		t.Error("time alone")
	}
	for name, change := range map[string]func(*view.Snapshot){
		"media":      func(s *view.Snapshot) { s.Ledger.Media.Received++ },
		"dht":        func(s *view.Snapshot) { s.Ledger.DHT.Received++ },
		"federation": func(s *view.Snapshot) { s.Ledger.Federation.Received++ },
		"a room":     func(s *view.Snapshot) { s.Rooms = make([]view.Room, 1) },
		"a client":   func(s *view.Snapshot) { s.Edge.Connections++ },
		"verdict":    func(s *view.Snapshot) { s.Node.Health.Verdict = "bad" },
		"draining":   func(s *view.Snapshot) { s.Node.State = "draining" },
		"a lever":    func(s *view.Snapshot) { s.Undo = []view.Undo{{ID: "a"}} },
		"a queue":    func(s *view.Snapshot) { s.Shards = []view.Shard{{State: "running", Depth: 1}} },
		"a shard":    func(s *view.Snapshot) { s.Shards = []view.Shard{{State: "wedged"}} },
	} {
		var a, b view.Snapshot
		change(&b)
		if !busy(&a, &b) || busy(&b, &b) {
			t.Errorf("%s is not seen", name)
		}
	}
}

// TestPace: while a node is well a follower that said so hears of it once in a
// while, of what an operator wants to see at once at the next tick, and of a
// node that is not well at every tick.
func TestPace(t *testing.T) {
	p, err := paceOf(url.Values{"interval_ms": {"250"}, "calm_ms": {"750"}, "idle_ms": {"2000"}})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	s := &view.Snapshot{Seq: 1, Node: view.Node{State: "ready", Health: view.Health{Verdict: "ok"}}}
	next := func(want bool, what string, change func(*view.Snapshot)) {
		t.Helper()
		at = at.Add(250 * time.Millisecond)
		c := *s
		c.Seq++
		if change != nil {
			change(&c)
		}
		s = &c
		if got := p.due(s, at); got != want {
			t.Errorf("%s: written %v", what, got)
		}
	}
	flow := func(s *view.Snapshot) { s.Ledger.Media.Received += 100 }
	next(true, "the first", nil)
	next(false, "nothing", nil)
	next(false, "packets that flow", flow)
	next(true, "packets that flow, after a while", flow)
	next(false, "packets that flow", flow)
	next(true, "a room", func(s *view.Snapshot) { flow(s); s.Rooms = []view.Room{{Name: "a"}} })
	next(false, "packets that flow", flow)
	next(true, "a verdict", func(s *view.Snapshot) { s.Node.Health.Verdict = "degraded" })
	next(true, "packets of a node that is not well", flow)
	next(true, "packets of a node that is not well", flow)
	next(true, "all is well", func(s *view.Snapshot) { s.Node.Health.Verdict = "ok" })
	for range 7 {
		next(false, "nothing", nil)
	}
	next(true, "nothing for long", nil)
	if p.due(s, at.Add(time.Hour)) {
		t.Error("the same snapshot is written again")
	}
	for _, bad := range []string{"interval_ms", "calm_ms", "idle_ms"} {
		if _, err := paceOf(url.Values{bad: {"x"}}); err == nil {
			t.Errorf("%s=x is taken", bad)
		}
	}
}

// TestSigns holds what an operator wants to see at once.
func TestSigns(t *testing.T) {
	for name, change := range map[string]func(*view.Snapshot){
		"a verdict":   func(s *view.Snapshot) { s.Node.Health.Verdict = "degraded" },
		"a cause":     func(s *view.Snapshot) { s.Node.Health.Causes = []view.Cause{{Subject: "media/3"}} },
		"draining":    func(s *view.Snapshot) { s.Node.State = "draining" },
		"a lever":     func(s *view.Snapshot) { s.Undo = []view.Undo{{ID: "a"}} },
		"a ban":       func(s *view.Snapshot) { s.Sources = make([]view.Source, 1) },
		"a client":    func(s *view.Snapshot) { s.Edge.Connections++ },
		"a room":      func(s *view.Snapshot) { s.Rooms = make([]view.Room, 1) },
		"a member":    func(s *view.Snapshot) { s.Rooms = []view.Room{{Participants: make([]view.Participant, 1)}} },
		"a tier":      func(s *view.Snapshot) { s.Rooms = []view.Room{{Tier: "Good"}} },
		"a link":      func(s *view.Snapshot) { s.Links = []view.Link{{Label: "a", State: "down"}} },
		"a call":      func(s *view.Snapshot) { s.Signal.CallList = []view.Call{{ID: "a", State: "ringing"}} },
		"a shard":     func(s *view.Snapshot) { s.Shards = []view.Shard{{State: "paused"}} },
		"a panic":     func(s *view.Snapshot) { s.Shards = []view.Shard{{Panics: 1}} },
		"a drop":      func(s *view.Snapshot) { s.Ledger.DHT.Dropped = map[string]uint64{"malformed": 1} },
		"unexplained": func(s *view.Snapshot) { s.Ledger.Media.Unexplained = -1 },
		"a contact":   func(s *view.Snapshot) { s.DHT.Peers++ },
	} {
		var a, b view.Snapshot
		change(&b)
		if signs(&a) == signs(&b) || signs(&b) != signs(&b) {
			t.Errorf("%s is not seen", name)
		}
	}
	b := view.Snapshot{Seq: 9, At: time.Now()}
	b.Ledger.Media.Received = 5
	if signs(&view.Snapshot{}) != signs(&b) {
		t.Error("packets that flow are news")
	}
}
