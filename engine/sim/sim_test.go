package sim

import (
	"context"
	"strings"
	"testing"
	"time"

	"signalbox/engine/view"
)

// planted is what a scenario's verdict must name.
var planted = map[string]string{
	"hot-shard": "127.0.2.66", "bad-room": "Frozen Fred", "wedged-shard": "wedged", "panic": "panicked", "blackhole-peer": "lisbon", "storm": "handshakes",
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

func named(causes []view.Cause, what string) bool {
	for _, c := range causes {
		if c.Remedy != "" && strings.Contains(c.Subject+" "+c.Message, what) {
			return true
		}
	}
	return false
}
