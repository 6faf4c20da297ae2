package dhttest

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/dht"
	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// Outcome is one measured lookup.
type Outcome struct {
	Err     error
	Exact   bool    // the closest live node was found, as the first
	Closest float64 // share of the k closest live nodes that were found
	Dead    int     // nodes found that were dead when the lookup ended
	Hops    int     // from the origin's table to the first node found: 1 = it was in it
	Queries int     // FIND_NODE messages sent
	Replies int     // answers to them
	Dials   int     // links the origin opened meanwhile, for whatever reason
	Told    int     // contacts in the answers
	Stale   int     // of them dead when the answer came
	Took    time.Duration
}

// watch follows one lookup of one node by what it sends and hears.
type watch struct {
	target table.ID // constant
	dials  atomic.Int64

	mu       sync.Mutex // a leaf; guards the fields below
	requests map[uint64]*Peer
	depth    map[table.ID]int // of those told of
	answered map[table.ID]int // depth of those who answered
	out      Outcome
}

// asks notes a request of the lookup.
func (w *watch) asks(to *Peer, payload []byte) {
	t, req, err := wire.Header(payload)
	if err != nil || t != wire.FindNode {
		return
	}
	var m wire.Message
	if wire.Decode(payload, &m) != nil || m.Target != w.target {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests[req] = to
	w.out.Queries++
}

// hears notes an answer to the lookup.
func (w *watch) hears(s *Swarm, from *Peer, payload []byte) {
	t, req, err := wire.Header(payload)
	if err != nil || t != wire.Nodes {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var m wire.Message
	if w.requests[req] != from || wire.Decode(payload, &m) != nil {
		return
	}
	depth := max(w.depth[from.ID], 1)
	w.answered[from.ID] = depth
	w.out.Replies++
	for _, nd := range m.Nodes {
		if _, known := w.depth[nd.ID]; !known {
			w.depth[nd.ID] = depth + 1
		}
		w.out.Told++
		if !s.living(nd.Addrs, nd.ID) {
			w.out.Stale++
		}
	}
}

// living reports whether a node of that id runs at one of the addresses' hosts.
func (s *Swarm) living(addrs []table.Addr, id table.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range addrs {
		p := s.book[a.AddrPort]
		if p == nil {
			p = s.hosts[a.AddrPort.Addr()]
		}
		if p != nil && p.ID == id && !p.dead.Load() {
			return true
		}
	}
	return false
}

// Closest returns the k nodes of list closest to target, without except.
func Closest(list []*Peer, target table.ID, k int, except *Peer) []*Peer {
	var out []*Peer
	for _, p := range list {
		if p == except || len(out) == k && table.Closer(&target, &p.ID, &out[k-1].ID) > 0 {
			continue
		}
		i, _ := slices.BinarySearchFunc(out, p, func(a, b *Peer) int { return table.Closer(&target, &a.ID, &b.ID) })
		if out = slices.Insert(out, i, p); len(out) > k {
			out = out[:k]
		}
	}
	return out
}

// Measure has p look for target and compares what it finds with the truth. One
// measured lookup of a node at a time.
func (p *Peer) Measure(ctx context.Context, target table.ID) Outcome {
	return p.MeasureAs(ctx, target, dht.Ask{})
}

// MeasureAs is Measure of a lookup for a purpose.
func (p *Peer) MeasureAs(ctx context.Context, target table.ID, ask dht.Ask) Outcome {
	s := p.swarm
	w := &watch{target: target, requests: map[uint64]*Peer{}, depth: map[table.ID]int{}, answered: map[table.ID]int{}}
	p.watch.Store(w)
	start := s.Now()
	found, err := p.LookupAs(ctx, target, ask)
	took := time.Duration(s.Now() - start)
	p.watch.Store(nil)
	w.mu.Lock()
	out := w.out
	if len(found) > 0 {
		out.Hops = w.answered[found[0].ID]
	}
	w.mu.Unlock()
	out.Err, out.Took, out.Dials = err, took, int(w.dials.Load())
	truth := Closest(s.Live(), target, p.Table().K(), p)
	ids := map[table.ID]bool{}
	for _, f := range found {
		ids[f.ID] = true
		if !s.living(f.Addrs, f.ID) {
			out.Dead++
		}
	}
	hit := 0
	for _, t := range truth {
		if ids[t.ID] {
			hit++
		}
	}
	if len(truth) > 0 {
		out.Closest = float64(hit) / float64(len(truth))
		out.Exact = len(found) > 0 && found[0].ID == truth[0].ID
	}
	return out
}
