package dhttest

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/dht"
	"signalbox/dht/snapshot"
)

// TestMain: the goroutines of a swarm take turns; threads that hand them to each
// other cost a third of the time. The race detector goes by what happens before
// what, not by what happens at once.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	m.Run()
}

// grown makes a network of n nodes that join over d, inside a bubble.
func grown(t *testing.T, cfg Config, n int, d time.Duration) (*Swarm, []*Peer) {
	t.Helper()
	s := New(cfg)
	t.Cleanup(s.Close)
	seeds, err := s.Grow(n, 4, d)
	if err != nil {
		t.Fatal(err)
	}
	return s, seeds
}

// long leaves out, under -short, what takes minutes under the race detector.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes minutes under the race detector")
	}
}

// size is a number of nodes, half of it under -short.
func size(n int) int {
	if testing.Short() {
		return n / 2
	}
	return n
}

// allFound fails the test unless every lookup of a sample finds its node and
// all but nothing of its neighbourhood is missed.
func allFound(t *testing.T, s *Swarm, what Sample) {
	t.Helper()
	m := s.Measure(t.Context(), what)
	t.Log(m)
	if m.Lookups != what.Count || m.Exact < 1 || m.Closest < 0.99 || m.Errors > 0 {
		t.Errorf("not everything is found: %v", m)
	}
}

func TestThousandJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 1000
		if testing.Short() {
			n = 300
		}
		s, _ := grown(t, Config{Seed: 1}, n, time.Minute)
		s.Sleep(2 * time.Minute)
		allFound(t, s, Sample{Count: 150})
		allFound(t, s, Sample{Count: 50, Keys: true})
		tr := s.Traffic()
		t.Logf("%+v", tr)
		if tr.Isolated+tr.Panics > 0 || tr.Live != n || tr.DialsFailed > 0 || tr.Lost+tr.Swallowed > 0 {
			t.Errorf("%+v", tr)
		}
		if tr.Crossed > tr.Sent/10_000 { // one of two links between the same two goes
			t.Errorf("%d messages were under way over links that were closed", tr.Crossed)
		}
	})
}

func TestChurn(t *testing.T) {
	long(t)
	synctest.Test(t, func(t *testing.T) {
		s, seeds := grown(t, Config{Seed: 2}, 150, 2*time.Minute)
		s.Sleep(10 * time.Minute)
		s.BeginChurn(Churn{Sessions: Sessions{Median: 30 * time.Minute}, Spare: seeds, Seeds: seeds})
		s.Sleep(30 * time.Minute)
		settled := func(p *Peer) bool { return s.Now()-p.Born > int64(2*time.Minute) }
		m := s.Measure(t.Context(), Sample{Count: 150, AtOne: 1, From: settled, To: func(_, p *Peer) bool { return settled(p) }})
		t.Log(m, s.Traffic())
		if left := s.EndChurn(); left < 45 {
			t.Error("only", left, "have left")
		}
		if m.Exact < 0.97 || m.Closest < 0.97 {
			t.Error("churn breaks lookups:", m)
		}
	})
}

func TestPartitionHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := grown(t, Config{Seed: 3}, size(150), time.Minute)
		s.Sleep(5 * time.Minute)
		side := func(p *Peer) int { return p.Index % 2 }
		across := Sample{Count: 100, To: func(from, p *Peer) bool { return side(p) != side(from) }}
		s.Partition(side)
		s.Sleep(time.Hour)
		if m := s.Measure(t.Context(), across); m.Exact > 0 {
			t.Error("the partition leaks:", m)
		}
		if m := s.Measure(t.Context(), Sample{Count: 100, To: func(from, p *Peer) bool { return side(p) == side(from) }}); m.Exact < 1 {
			t.Error("a half does not work on its own:", m)
		}
		if n, beyond := s.Across(side); n < 20 || beyond > 0 {
			t.Errorf("%.1f of %.1f contacts are beyond the border", beyond, n)
		}
		s.Heal()
		s.Sleep(12 * time.Minute) // everybody's next self-lookup, and a little more
		if n, beyond := s.Across(side); beyond < n/10 {
			t.Errorf("%.1f of %.1f contacts are beyond what was the border", beyond, n)
		}
		allFound(t, s, across)
	})
}

func TestThirdRestartsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, seeds := grown(t, Config{Seed: 4}, size(300), 2*time.Minute)
		s.Sleep(10 * time.Minute)
		type kept struct {
			p     *Peer
			peers []snapshot.Peer
			trust []snapshot.Score
		}
		var down []kept
		for _, p := range s.Live() {
			if p.Index%3 == 1 && p != seeds[1] {
				peers, trust := p.Remember()
				down = append(down, kept{p, peers, trust})
			}
		}
		for _, k := range down {
			k.p.Kill()
		}
		s.Sleep(20 * time.Second)
		for _, k := range down {
			if _, err := k.p.Restart(func(n *dht.Node) error { return n.Restore(k.peers, k.trust, 20*time.Second) }); err != nil {
				t.Fatal(err)
			}
		}
		s.Sleep(3 * time.Minute)
		allFound(t, s, Sample{Count: 150})
	})
}

func TestDeadAreForgottenEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := grown(t, Config{Seed: 5}, 120, time.Minute)
		s.Sleep(10 * time.Minute)
		dead := map[*Peer]bool{}
		for _, p := range s.Live() {
			if p.Index > 10 && p.Index%8 == 0 {
				dead[p] = true
				p.Kill()
			}
		}
		s.Sleep(45 * time.Minute)
		for _, p := range s.Live() {
			for d := range dead {
				if p.Table().Get(d.ID) != nil {
					t.Errorf("%d still has the dead %d", p.Index, d.Index)
				}
			}
			if p.Table().Len() < 30 {
				t.Errorf("%d knows only %d", p.Index, p.Table().Len())
			}
		}
		allFound(t, s, Sample{Count: 100})
	})
}

// What nodes do to keep themselves in order must not come in waves, even when
// all have been started in the same second (the original: 100 times the mean,
// an hour after the start).
func TestMaintenanceComesInNoWaves(t *testing.T) {
	long(t)
	synctest.Test(t, func(t *testing.T) {
		s, _ := grown(t, Config{Seed: 6}, 150, time.Second)
		s.Sleep(5 * time.Minute)
		rates := s.Rate(time.Hour)
		var sum, peak uint64
		at := 0
		for i, r := range rates {
			if sum += r; r > peak {
				peak, at = r, i
			}
		}
		mean := float64(sum) / float64(len(rates))
		t.Logf("mean %.1f messages a second, peak %d after %ds", mean, peak, at)
		if float64(peak) > 8*mean {
			t.Errorf("a peak of %d messages a second, the mean being %.1f", peak, mean)
		}
	})
}

func TestNATs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, seeds := grown(t, Config{Seed: 7}, 40, time.Minute)
		cone, err := s.Add(Spec{NAT: Cone, Seeds: seeds})
		if err != nil {
			t.Fatal(err)
		}
		sym, err := s.Add(Spec{NAT: Symmetric, Seeds: seeds})
		if err != nil {
			t.Fatal(err)
		}
		s.Sleep(3 * time.Minute)
		for _, p := range []*Peer{cone, sym} {
			if p.Table().Len() < 10 || p.Stats().Links == 0 {
				t.Errorf("%v does not get out: %d contacts", p.nat.kind, p.Table().Len())
			}
			m := s.Measure(t.Context(), Sample{Count: 20, From: func(x *Peer) bool { return x == p }, To: func(_, o *Peer) bool { return o.nat.kind == Public }})
			if m.Exact < 1 {
				t.Errorf("%v does not find others: %v", p.nat.kind, m)
			}
		}
		// Somebody it has never dialled does not get in.
		stranger, err := s.Add(Spec{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []*Peer{cone, sym} {
			if _, to := s.route(stranger, p.Addr); to != nil {
				t.Errorf("%v lets a stranger in", p.nat.kind)
			}
		}
		// Nor by a port that was made for somebody else, unless it is a cone's
		// that has dialled it.
		if _, to := s.route(seeds[0], cone.Addr); to != cone {
			t.Error("a cone does not let in whom it has dialled")
		}
		if _, to := s.route(seeds[0], sym.Addr); to != nil {
			t.Error("a symmetric translator has one port for all")
		}
	})
}

// What a node costs: the bound leaves margin for what a
// small network does not spread: 10,000 nodes have more links each.
func TestMemoryPerNode(t *testing.T) {
	long(t)
	synctest.Test(t, func(t *testing.T) {
		heap0, stacks0 := Memory()
		const n = 200
		s, _ := grown(t, Config{Seed: 8}, n, time.Minute)
		s.Sleep(20 * time.Minute)
		heap, stacks := Memory()
		grew := int64(stacks) - int64(stacks0) // those of the growing may have been larger
		links := 2 * s.Traffic().Links / n
		t.Logf("%d KB heap and %d KB stacks per node, %d goroutines, %d links", (heap-heap0)/n>>10, grew/n>>10, runtime.NumGoroutine()/n, links)
		if per := (int64(heap-heap0) + max(grew, 0)) / n; per > 140<<10 {
			t.Errorf("%d KB per node", per>>10)
		}
		if per := runtime.NumGoroutine() / n; per > 2 { // one, and work under way
			t.Errorf("%d goroutines per node at rest", per)
		}
	})
}
