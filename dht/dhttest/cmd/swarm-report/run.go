package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"signalbox/dht/dhttest"
)

// How long the swarm spends in each situation, on its own clock.
const (
	joinFor     = 5 * time.Minute
	settleFor   = 8 * time.Minute
	quietFor    = 4 * time.Minute
	partFor     = 15 * time.Minute
	healStep    = 30 * time.Second
	healAtMost  = 30 * time.Minute
	meetFor     = 20 * time.Minute // tables are watched after a partition
	healedAt    = 0.99
	churnBefore = 12 * time.Minute // of churn before it is measured
	churnWhile  = 8 * time.Minute  // and while
	settledFor  = 2 * time.Minute  // a node so young neither asks nor is asked for
)

// plan is one run.
type plan struct {
	n, lookups int
	seed       uint64
	realStart  time.Time
}

// result is what one run came to.
type result struct {
	Nodes int    `json:"nodes"`
	Seed  uint64 `json:"seed"`
	Go    string `json:"go"`
	CPUs  int    `json:"cpus"`

	RealS    float64 `json:"real_s"`
	VirtualS float64 `json:"virtual_s"`
	Messages uint64  `json:"messages"`

	JoinMessages float64 `json:"join_messages_per_node"` // until the last has joined
	HeapKB       float64 `json:"heap_kb_per_node"`
	StackKB      float64 `json:"stack_kb_per_node"`
	Goroutines   float64 `json:"goroutines_per_node"`
	Links        float64 `json:"links_per_node"`
	Contacts     float64 `json:"contacts_per_node"`
	QuietRate    float64 `json:"quiet_messages_per_node_s"`
	QuietPeak    float64 `json:"quiet_peak_second_over_mean"`

	Nodes4 dhttest.Summary `json:"lookups_of_nodes"`
	Keys   dhttest.Summary `json:"lookups_of_keys"`

	HealS     float64         `json:"heal_s"` // the first sample that finds 99 % across; negative: not within the time
	Healed    dhttest.Summary `json:"healed"` // that sample
	Heal      []healSample    `json:"heal"`   // every sample; the first was taken before the halves met
	Tables    []tableSample   `json:"tables"` // of another partition, after which nobody looked for anything
	Churn2h   churned         `json:"churn_2h"`
	Churn30m  churned         `json:"churn_30m"`
	Isolated  uint64          `json:"isolated"`
	Panics    uint64          `json:"panics"`
	Unbalance int64           `json:"unaccounted_messages"` // sent - arrived - lost - swallowed - under way
}

// healSample is what lookups across find, so long after the halves met.
type healSample struct {
	AtS     float64 `json:"at_s"` // negative: before
	Exact   float64 `json:"exact"`
	Closest float64 `json:"closest"`
}

// tableSample is how many contacts a node has, and how many of them beyond what
// was the border, so long after the halves met.
type tableSample struct {
	AtS      float64 `json:"at_s"`
	Contacts float64 `json:"contacts"`
	Across   float64 `json:"across"`
}

// churned is the swarm under churn.
type churned struct {
	Left    uint64          `json:"left"` // nodes that left, each without a word
	Rate    float64         `json:"messages_per_node_s"`
	Lookups dhttest.Summary `json:"lookups"` // from and for nodes older than settledFor
	Anybody dhttest.Summary `json:"anybody"` // from and for whoever is there
}

// now is the clock outside the bubble.
func now() time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // a Linux without a monotonic clock
	}
	return time.Unix(0, ts.Nano())
}

func (p *plan) say(s *dhttest.Swarm, format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6d nodes, %8s virtual, %6.0f s real: %s\n", p.n, time.Duration(s.Now()).Round(time.Second),
		now().Sub(p.realStart).Seconds(), fmt.Sprintf(format, args...))
}

// run takes a swarm through every situation.
func (p *plan) run(ctx context.Context) (result, error) {
	r := result{Nodes: p.n, Seed: p.seed, Go: runtime.Version(), CPUs: runtime.NumCPU()}
	heap0, stacks0 := dhttest.Memory()
	s := dhttest.New(dhttest.Config{Seed: p.seed})
	defer s.Close()
	seeds, err := s.Grow(p.n, max(3, min(p.n/100, 16)), joinFor)
	if err != nil {
		return r, err
	}
	perNode := func(x uint64) float64 { return float64(x) / float64(p.n) }
	r.JoinMessages = perNode(s.Traffic().Sent)
	p.say(s, "joined, %.0f messages each", r.JoinMessages)

	s.Sleep(settleFor)
	before := s.Traffic().Sent
	rates := s.Rate(quietFor)
	r.QuietRate = perNode(s.Traffic().Sent-before) / quietFor.Seconds()
	r.QuietPeak = float64(slices.Max(rates)) / (r.QuietRate * float64(p.n))
	heap, stacks := dhttest.Memory()
	r.HeapKB, r.StackKB = perNode(heap-heap0)/1024, perNode(stacks-min(stacks, stacks0))/1024
	r.Goroutines = perNode(uint64(runtime.NumGoroutine()))
	for _, x := range s.Live() {
		r.Links += float64(x.Links()) / float64(p.n)
		r.Contacts += float64(x.Table().Len()) / float64(p.n)
	}
	p.say(s, "%.0f KB heap, %.0f KB stacks, %.0f links, %.0f contacts, %.3f messages a second each, peak %.1f times the mean",
		r.HeapKB, r.StackKB, r.Links, r.Contacts, r.QuietRate, r.QuietPeak)

	r.Nodes4 = s.Measure(ctx, dhttest.Sample{Count: p.lookups})
	r.Keys = s.Measure(ctx, dhttest.Sample{Count: p.lookups, Keys: true})
	p.say(s, "nodes: %v", r.Nodes4)
	p.say(s, "keys: %v", r.Keys)

	p.partition(ctx, s, &r)
	p.tables(s, &r)
	r.Churn2h = p.churn(ctx, s, seeds, 2*time.Hour)
	r.Churn30m = p.churn(ctx, s, seeds, 30*time.Minute)

	t := s.Traffic()
	r.Messages, r.Isolated, r.Panics = t.Sent, t.Isolated, t.Panics
	r.Unbalance = int64(t.Sent) - int64(t.Arrived+t.Lost+t.Swallowed+t.Crossed) - int64(t.Messages)
	r.VirtualS, r.RealS = time.Duration(s.Now()).Seconds(), now().Sub(p.realStart).Seconds()
	return r, nil
}

// side is the half of a partition in which a node is.
func side(x *dhttest.Peer) int { return x.Index % 2 }

// partition splits the swarm into halves that share no message, heals it and
// measures how long the halves need to find each other's nodes again. The first
// sample is taken before, the second the moment they meet.
func (p *plan) partition(ctx context.Context, s *dhttest.Swarm, r *result) {
	across := dhttest.Sample{Count: max(p.lookups/4, 40), AtOne: 40, To: func(from, to *dhttest.Peer) bool { return side(from) != side(to) }}
	take := func(after time.Duration) dhttest.Summary {
		m := s.Measure(ctx, across)
		r.Heal = append(r.Heal, healSample{after.Seconds(), m.Exact, m.Closest})
		p.say(s, "%v after the partition: %v", after, m)
		return m
	}
	s.Partition(side)
	s.Sleep(partFor)
	take(-time.Second)
	s.Heal()
	healed := s.Now()
	r.HealS = -1
	for {
		at := time.Duration(s.Now() - healed)
		r.Healed = take(at)
		if r.Healed.Exact >= healedAt && r.Healed.Closest >= healedAt {
			r.HealS = at.Seconds()
			return
		}
		if at >= healAtMost {
			return
		}
		s.Sleep(healStep)
	}
}

// tables splits the swarm once more and follows what the nodes know of the
// other half when the two meet and nobody looks for anything.
func (p *plan) tables(s *dhttest.Swarm, r *result) {
	s.Partition(side)
	s.Sleep(partFor)
	s.Heal()
	healed := s.Now()
	for _, at := range []time.Duration{0, 30 * time.Second, 5 * time.Minute, 10 * time.Minute, meetFor} {
		s.Sleep(at - time.Duration(s.Now()-healed))
		t := tableSample{AtS: at.Seconds()}
		t.Contacts, t.Across = s.Across(side)
		r.Tables = append(r.Tables, t)
		p.say(s, "%v after another partition: %.1f of %.1f contacts are across", at, t.Across, t.Contacts)
	}
}

// churn lets nodes come and go and measures while they do.
func (p *plan) churn(ctx context.Context, s *dhttest.Swarm, seeds []*dhttest.Peer, median time.Duration) churned {
	s.BeginChurn(dhttest.Churn{Sessions: dhttest.Sessions{Median: median}, Spare: seeds, Seeds: seeds})
	s.Sleep(churnBefore)
	settled := func(x *dhttest.Peer) bool { return s.Now()-x.Born > int64(settledFor) }
	what := dhttest.Sample{Count: p.lookups / 10, From: settled, To: func(_, to *dhttest.Peer) bool { return settled(to) }}
	before, start := s.Traffic().Sent, s.Now()
	var parts, young []dhttest.Summary
	for range 10 {
		s.Sleep(churnWhile / 10)
		parts = append(parts, s.Measure(ctx, what))
		young = append(young, s.Measure(ctx, dhttest.Sample{Count: what.Count}))
	}
	c := churned{Lookups: dhttest.Merge(parts), Anybody: dhttest.Merge(young)}
	spent := c.Lookups.Msgs*float64(c.Lookups.Lookups) + c.Anybody.Msgs*float64(c.Anybody.Lookups)
	c.Rate = (float64(s.Traffic().Sent-before) - spent) / float64(p.n) / time.Duration(s.Now()-start).Seconds()
	c.Left = s.EndChurn()
	p.say(s, "churn of median %v: %d left, %.3f messages a second each, %v; anybody: %v", median, c.Left, c.Rate, c.Lookups, c.Anybody)
	return c
}
