package dhttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"signalbox/dht/table"
)

// Grow adds n nodes evenly over d. The first seeds of them are what the others
// begin with; it returns those.
func (s *Swarm) Grow(n, seeds int, d time.Duration) ([]*Peer, error) {
	var first []*Peer
	for i := range n {
		p, err := s.Add(Spec{Seeds: first})
		if err != nil {
			return nil, err
		}
		if i < seeds {
			first = append(slices.Clone(first), p)
		}
		if d > 0 {
			s.Sleep(d / time.Duration(n))
		}
	}
	return first, nil
}

// Sample describes measured lookups.
type Sample struct {
	Count int
	AtOne int                      // how many at a time; default 10
	From  func(p *Peer) bool       // who may ask; nil: everybody
	To    func(from, p *Peer) bool // who may be looked for; nil: everybody
	Keys  bool                     // keys that nobody has are looked for instead
}

// Summary is what a sample of lookups came to.
type Summary struct {
	Lookups int
	Exact   float64 // share that found the closest live node, as the first
	Closest float64 // mean share of the k closest live nodes found
	Worst   float64 // the smallest such share
	Errors  int
	Dead    float64 // dead nodes per lookup among those found
	Stale   float64 // share of the contacts told by others that were dead
	Hops    float64 // mean
	HopsMax int
	Queries float64 // mean
	Msgs    float64 // mean: queries, and the answers to them
	Dials   float64 // mean
	P50     time.Duration
	P99     time.Duration
}

// String is one line for logs.
func (m Summary) String() string {
	return fmt.Sprintf("%d lookups: exact %.4f, closest %.4f (worst %.2f), errors %d, dead %.3f, stale %.4f, hops %.2f (max %d), queries %.1f, messages %.1f, dials %.1f, p50 %v, p99 %v",
		m.Lookups, m.Exact, m.Closest, m.Worst, m.Errors, m.Dead, m.Stale, m.Hops, m.HopsMax, m.Queries, m.Msgs, m.Dials,
		m.P50.Round(time.Millisecond), m.P99.Round(time.Millisecond))
}

// Measure runs lookups from nodes and for nodes drawn from the seed. Those of
// nodes that die meanwhile do not count.
func (s *Swarm) Measure(ctx context.Context, what Sample) Summary {
	outs := make([]*Outcome, what.Count)
	places := make(chan struct{}, or(what.AtOne, 10))
	var wg sync.WaitGroup
	for i := range outs {
		places <- struct{}{}
		from, target, ok := s.pick(what)
		if !ok {
			<-places
			break
		}
		wg.Go(func() {
			defer func() { <-places }()
			if o := from.Measure(ctx, target); from.Alive() {
				outs[i] = &o
			}
		})
	}
	wg.Wait()
	var got []Outcome
	for _, o := range outs {
		if o != nil {
			got = append(got, *o)
		}
	}
	return summarise(got)
}

// pick draws who asks for what.
func (s *Swarm) pick(what Sample) (from *Peer, target table.ID, ok bool) {
	live := s.Live()
	if what.From != nil {
		live = slices.DeleteFunc(live, func(p *Peer) bool { return !what.From(p) })
	}
	live = slices.DeleteFunc(live, func(p *Peer) bool { return p.Node == nil || p.watch.Load() != nil })
	slices.SortFunc(live, func(a, b *Peer) int { return a.Index - b.Index }) // not by the order of their goroutines
	if len(live) == 0 {
		return nil, target, false
	}
	one := func(list []*Peer) *Peer {
		return list[draw(s, func(r *rand.Rand) int { return r.IntN(len(list)) })]
	}
	from = one(live)
	if what.Keys {
		return from, draw(s, RandomID), true
	}
	to := slices.DeleteFunc(s.Live(), func(p *Peer) bool { return p == from || what.To != nil && !what.To(from, p) })
	slices.SortFunc(to, func(a, b *Peer) int { return a.Index - b.Index })
	if len(to) == 0 {
		return nil, target, false
	}
	return from, one(to).ID, true
}

// Across is how many contacts a node has on average, and how many of them are
// live and on the other side.
func (s *Swarm) Across(side func(*Peer) int) (contacts, across float64) {
	live := s.Live()
	sides := map[table.ID]int{}
	for _, p := range live {
		sides[p.ID] = side(p)
	}
	for _, p := range live {
		if p.Node == nil { // a Sybil
			continue
		}
		for _, c := range p.Table().Contacts(nil) {
			contacts++
			if at, ok := sides[c.ID()]; ok && at != side(p) {
				across++
			}
		}
	}
	n := float64(max(len(live), 1))
	return contacts / n, across / n
}

func summarise(outs []Outcome) Summary {
	m := Summary{Lookups: len(outs), Worst: 1}
	if len(outs) == 0 {
		return m
	}
	var took []time.Duration
	told, stale := 0, 0
	for _, o := range outs {
		if o.Err != nil {
			m.Errors++
		}
		if o.Exact {
			m.Exact++
		}
		m.Closest += o.Closest
		m.Worst = min(m.Worst, o.Closest)
		m.Dead += float64(o.Dead)
		m.Hops += float64(o.Hops)
		m.HopsMax = max(m.HopsMax, o.Hops)
		m.Queries += float64(o.Queries)
		m.Msgs += float64(o.Queries + o.Replies)
		m.Dials += float64(o.Dials)
		told, stale = told+o.Told, stale+o.Stale
		took = append(took, o.Took)
	}
	for _, v := range []*float64{&m.Exact, &m.Closest, &m.Dead, &m.Hops, &m.Queries, &m.Msgs, &m.Dials} {
		*v /= float64(len(outs))
	}
	m.Stale = float64(stale) / float64(max(told, 1))
	slices.Sort(took)
	m.P50, m.P99 = took[(len(took)-1)/2], took[(len(took)-1)*99/100]
	return m
}

// Merge is the mean of samples of one size. The quantiles are the median of the
// medians and the greatest of the 99th percentiles.
func Merge(parts []Summary) Summary {
	m := Summary{Worst: 1}
	var p50 []time.Duration
	for _, p := range parts {
		m.Lookups += p.Lookups
		m.Errors += p.Errors
		m.Worst, m.HopsMax, m.P99 = min(m.Worst, p.Worst), max(m.HopsMax, p.HopsMax), max(m.P99, p.P99)
		p50 = append(p50, p.P50)
		n := float64(len(parts))
		m.Exact, m.Closest, m.Dead, m.Stale = m.Exact+p.Exact/n, m.Closest+p.Closest/n, m.Dead+p.Dead/n, m.Stale+p.Stale/n
		m.Hops, m.Queries, m.Msgs, m.Dials = m.Hops+p.Hops/n, m.Queries+p.Queries/n, m.Msgs+p.Msgs/n, m.Dials+p.Dials/n
	}
	if slices.Sort(p50); len(p50) > 0 {
		m.P50 = p50[len(p50)/2]
	}
	return m
}

// Rate is how many messages were sent in each second of d.
func (s *Swarm) Rate(d time.Duration) []uint64 {
	var out []uint64
	last := s.net.sent.Load()
	for end := s.Now() + int64(d); s.Now() < end; {
		s.Sleep(time.Second)
		now := s.net.sent.Load()
		out = append(out, now-last)
		last = now
	}
	return out
}

// Memory is what the process holds after a collection: heap in use, and stacks.
func Memory() (heap, stacks uint64) {
	runtime.GC()
	runtime.GC() // what the first has made free in pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.StackInuse
}
