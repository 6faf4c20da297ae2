package engine_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"signalbox/dht/table"
	"signalbox/engine"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/view"
)

// every calls f until it says that it is done, or the context is.
func every(ctx context.Context, d time.Duration, f func() (done bool, err error)) error {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		if done, err := f(); done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// find looks target up from e until the lookup ends at target itself: dials
// time out on a machine that is busy elsewhere, and are tried again.
func find(ctx context.Context, e *engine.Engine, target string) error {
	var got []string
	var last error
	err := every(ctx, 100*time.Millisecond, func() (bool, error) {
		got, last = e.Closest(ctx, target)
		return len(got) > 0 && got[0] == target, nil
	})
	if err != nil {
		return fmt.Errorf("%s does not find %s (%w): it finds %v; last: %w", e.Info().NodeID, target, err, got, last)
	}
	return nil
}

// strangers are those of ids that a node ought to know and does not: all that
// its buckets have room for. full is how many buckets have more than that.
func strangers(t *testing.T, s *view.Snapshot, ids []string) (missing, full int) {
	t.Helper()
	self, err := table.ParseID(s.Node.NodeID)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, p := range s.DHT.PeersTable {
		known[p.ID] = true
	}
	var have, want [table.NumBuckets]int
	for _, other := range ids {
		id, err := table.ParseID(other)
		if err != nil {
			t.Fatal(err)
		}
		if id == self {
			continue
		}
		b := table.BucketIndex(&self, &id)
		want[b]++
		if known[other] {
			have[b]++
		}
	}
	for b := range want {
		missing += max(0, min(want[b], table.DefaultK)-have[b])
		if want[b] > table.DefaultK {
			full++
		}
	}
	return missing, full
}

// TestThirtyNodesFindEachOther: of thirty nodes that have heard of one of them
// each finds each of the 29 others by a lookup; and then each has all of them in
// its table, but for those beyond what one of its buckets holds.
func TestThirtyNodesFindEachOther(t *testing.T) {
	if testing.Short() {
		t.Skip("thirty nodes are too slow under the race detector")
	}
	const nodes = 30
	var es []*engine.Engine
	var ids []string
	for i := range nodes {
		es = append(es, start(t, func(c *config.Config) {
			c.ListenAddr = fmt.Sprintf("127.0.4.%d:0", i+1)
			c.Dispatch.Shards, c.Dispatch.Capacity = 2, 64
			if i > 0 {
				in := es[0].Info()
				c.DHT.Join = []string{in.NodeID + "@" + in.Listen}
			}
		}))
		ids = append(ids, es[i].Info().NodeID)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Minute, errors.New("three minutes have passed"))
	defer cancel()
	var g errgroup.Group
	for i, e := range es {
		g.Go(func() error {
			for j := range nodes - 1 {
				if err := find(ctx, e, ids[(i+1+j)%nodes]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	least, overfull := nodes, 0
	for i, e := range es {
		missing, full := 0, 0
		err := every(ctx, time.Second, func() (bool, error) {
			s := e.Snapshot()
			closes(t, s)
			if missing, full = strangers(t, s, ids); missing == 0 {
				least = min(least, s.DHT.Peers)
				return true, nil
			}
			// Refused only when refreshes wait already.
			_, err := e.Do(ctx, control.Command{Kind: control.RoutingRefresh, Target: "all", Author: "test", Role: control.Operator})
			return false, err
		})
		if err != nil {
			t.Fatalf("node %d lacks %d of %d: %v", i, missing, nodes-1, err)
		}
		overfull += full
	}
	t.Logf("the fewest contacts of a node: %d of %d; %d buckets with more than they hold", least, nodes-1, overfull)
}
