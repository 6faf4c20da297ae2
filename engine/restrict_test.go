package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"signalbox/engine"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/view"
)

// neighbours are two nodes, the second of which has joined the first.
func neighbours(t *testing.T) (a, b *engine.Engine) {
	t.Helper()
	at := func(n int) func(*config.Config) {
		return func(c *config.Config) { c.ListenAddr = fmt.Sprintf("127.0.5.%d:0", n) }
	}
	a = start(t, at(1))
	b = start(t, func(c *config.Config) {
		at(2)(c)
		c.DHT.Join = []string{a.Info().NodeID + "@" + a.Info().Listen}
	})
	until(t, a, "b in the table of a", func(s *view.Snapshot) bool { return s.DHT.Peers == 1 })
	until(t, b, "a in the table of b", func(s *view.Snapshot) bool { return s.DHT.Peers == 1 })
	return a, b
}

func TestABanReachesTheDHT(t *testing.T) {
	a, b := neighbours(t)
	r := do(t, a, control.Command{Kind: control.SourceBan, Target: "127.0.5.2"})
	until(t, a, "b is out of the table", func(s *view.Snapshot) bool { return s.DHT.Peers == 0 })
	until(t, a, "the link has ended", func(s *view.Snapshot) bool {
		for _, e := range s.Endings {
			if e.Kind == "dht" && strings.HasPrefix(b.Info().NodeID, e.Subject) {
				return true
			}
		}
		return false
	})
	until(t, a, "b was refused at the door", func(s *view.Snapshot) bool { return s.Edge.Refused["banned"] > 0 })
	if n := a.Snapshot().DHT.Peers; n != 0 {
		t.Errorf("%d peers while banned", n)
	}
	do(t, a, control.Command{Kind: control.Undo, Target: r.Undo})
	until(t, a, "b is back", func(s *view.Snapshot) bool { return s.DHT.Peers == 1 })
}

func TestAThrottleReachesTheDHT(t *testing.T) {
	a, b := neighbours(t)
	do(t, a, control.Command{Kind: control.SourceThrottle, Target: "127.0.5.0/24", Args: map[string]any{"pps": 1.0}})
	until(t, a, "messages of b are dropped as throttled", func(s *view.Snapshot) bool {
		for range 5 {
			if _, err := b.Do(t.Context(), control.Command{Kind: control.RoutingRefresh, Target: "all", Role: control.Operator}); err != nil {
				t.Fatal(err)
			}
		}
		return s.Ledger.DHT.Dropped["source_throttled"] > 0
	})
	if s := a.Snapshot(); s.DHT.Peers != 1 {
		t.Errorf("a throttled peer is gone from the table: %d", s.DHT.Peers)
	}
}
