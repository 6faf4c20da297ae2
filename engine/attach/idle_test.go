package attach

import (
	"context"
	"encoding/json"
	"errors"
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
