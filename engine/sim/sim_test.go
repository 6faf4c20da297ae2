package sim

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signalbox/engine"
	"signalbox/engine/control"
	"signalbox/engine/flight"
	"signalbox/engine/view"
)

// planted is what a scenario's verdict must name.
var planted = map[string]string{
	"hot-shard": "127.0.2.66", "bad-room": "Frozen Fred", "wedged-shard": "wedged", "panic": "panicked", "blackhole-peer": "lisbon the link is down", "storm": "127.0.2.77 storm of handshakes",
	"stale-table": "do not answer any more",
}

// TestVerdictNamesThePlantedCause plays each scenario and waits until the
// verdict names what is wrong; calm must stay without alarms until everyone
// talks.
func TestVerdictNamesThePlantedCause(t *testing.T) {
	if testing.Short() {
		t.Skip("five fleets are too slow under the race detector")
	}
	for _, name := range Scenarios() {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			f, err := Start(ctx, Options{Scenario: name})
			if err != nil {
				t.Fatal(err)
			}
			waitFor(ctx, t, f, planted[name])
			switch name {
			case "hot-shard", "bad-room", "blackhole-peer", "storm":
				staysNamed(t, f, planted[name])
			case "wedged-shard":
				anomalyIsKept(ctx, t, f)
			case "stale-table":
				evictTheDead(ctx, t, f)
			case "calm":
				drainIsPlanned(ctx, t, f)
				callsCome(ctx, t, f)
			}
			f.Stop()
			if err := f.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

func waitFor(ctx context.Context, t *testing.T, f *Fleet, cause string) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		s := f.Main.Snapshot()
		if u := s.Ledger.Media.Unexplained; u != 0 {
			t.Fatalf("%d copies unexplained", u)
		}
		if cause == "" && s.Ledger.Media.Delivered > 2000 {
			if s.Node.Health.Verdict == "failing" {
				t.Errorf("calm has an alarm: %v", s.Node.Health.Reasons)
			}
			return
		}
		if cause != "" && named(s.Node.Health.Causes, cause) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no verdict names %q: %v", cause, s.Node.Health.Reasons)
		case <-tick.C:
		}
	}
}

// staysNamed wants the cause first in every snapshot of a while, since an
// operator may look at any of them.
func staysNamed(t *testing.T, f *Fleet, cause string) {
	t.Helper()
	seq, until := uint64(0), time.Now().Add(8*time.Second)
	for time.Now().Before(until) {
		s := f.Main.Snapshot()
		if s.Seq == seq {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		seq = s.Seq
		for plane, p := range map[string]view.Plane{"media": s.Ledger.Media, "federation": s.Ledger.Federation, "dht": s.Ledger.DHT} {
			if p.Unexplained != 0 {
				t.Fatalf("%d of the %s plane are unexplained: %+v", p.Unexplained, plane, p)
			}
		}
		if cs := s.Node.Health.Causes; !named(cs[:min(2, len(cs))], cause) {
			t.Fatalf("%q is no longer named: %v", cause, s.Node.Health.Reasons)
		}
	}
}

// evictTheDead does what the console's E does until the verdict no longer names
// the table.
func evictTheDead(ctx context.Context, t *testing.T, f *Fleet) {
	t.Helper()
	seat := f.Main.Seat("test", control.Operator)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for named(f.Main.Snapshot().Node.Health.Causes, planted["stale-table"]) {
		for _, p := range f.Main.Snapshot().DHT.PeersTable {
			if p.State != "suspect" {
				continue
			}
			if _, err := seat.Do(ctx, control.Command{Kind: control.PeerEvict, Target: p.ID, Reason: "dead"}); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the remedy does not help: %v", f.Main.Snapshot().Node.Health.Reasons)
		case <-tick.C:
		}
	}
}

// drainIsPlanned: a dry run says whom a drain would cut, and changes nothing.
func drainIsPlanned(ctx context.Context, t *testing.T, f *Fleet) {
	t.Helper()
	res, err := f.Main.Seat("test", control.Operator).Do(ctx, control.Command{Kind: control.NodeDrain, DryRun: true})
	if err != nil || !res.OK {
		t.Fatalf("%+v, %v", res, err)
	}
	plan := strings.Join(res.Plan, "\n")
	for _, want := range []string{"room town-hall: 10 would be cut; it ends here", "room podcast: 2 would be cut", "spread over"} {
		if !strings.Contains(plan, want) {
			t.Errorf("%q is not in the plan:\n%s", want, plan)
		}
	}
	if s := f.Main.Snapshot(); s.Node.State != "ready" {
		t.Errorf("a dry run has drained the node: %s", s.Node.State)
	}
}

// anomalyIsKept: the watched node keeps a recording of what went wrong, and an
// execution trace of the seconds after.
func anomalyIsKept(ctx context.Context, t *testing.T, f *Fleet) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	dir := engine.FlightDir(filepath.Join(f.dir, "n00"))
	for {
		traces, err := filepath.Glob(filepath.Join(dir, "*.trace"))
		if err != nil {
			t.Fatal(err)
		}
		if len(traces) > 0 {
			b, err := os.ReadFile(traces[0])
			if err != nil || !strings.HasPrefix(string(b), "go 1.") {
				t.Errorf("%s is no execution trace: %d bytes, %v", traces[0], len(b), err)
			}
			if rec, err := flight.Open(strings.TrimSuffix(traces[0], ".trace") + ".sbr"); err != nil || rec.Len() == 0 {
				t.Errorf("no recording beside %s: %v", traces[0], err)
			}
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal("no trace of the anomaly is kept")
		case <-tick.C:
		}
	}
}

// callsCome: one call stands between two of this relay, one with somebody of
// another, both of them heard; a third rings now and then.
func callsCome(ctx context.Context, t *testing.T, f *Fleet) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for here, far, rings := false, false, false; !here || !far || !rings; {
		s := f.Main.Snapshot()
		for _, c := range s.Signal.CallList {
			heard := 0 // that are ours, and hear whom they speak with
			for i := range s.Rooms {
				for _, p := range s.Rooms[i].Participants {
					if s.Rooms[i].Name == c.Room && p.Received > 20 && p.Delivered > 20 {
						heard++
					}
				}
			}
			here = here || c.State == "active" && c.Callee.Relay == "" && heard == 2
			far = far || c.State == "active" && c.Callee.Relay != "" && heard == 1
			rings = rings || c.State == "ringing"
		}
		select {
		case <-ctx.Done():
			t.Fatalf("a call here %v, a call across relays %v, one that rings %v: %+v", here, far, rings, s.Signal)
		case <-tick.C:
		}
	}
}

func named(causes []view.Cause, what string) bool {
	for _, c := range causes {
		if c.Remedy != "" && strings.Contains(c.Subject+" "+c.Message, what) {
			return true
		}
	}
	return false
}
