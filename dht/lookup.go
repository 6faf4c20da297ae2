package dht

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// Found is one peer a lookup has heard from.
type Found struct {
	ID    table.ID
	Addrs []table.Addr
}

// candState is how far a lookup has got with a candidate.
type candState uint8

const (
	candNew candState = iota
	candAsked
	candAnswered
	candFailed
)

type candidate struct {
	id      table.ID
	addrs   []table.Addr
	own     bool // a contact of ours: its addresses are not hearsay
	depth   int  // hops from our table
	state   candState
	started int64 // monotonic ns
	slow    bool  // asked longer than grace ago
}

// lookup is one iterative FIND_NODE, or GET (spec dht 3.5, 3.6). Owned by
// run's goroutine, except results.
type lookup struct {
	n       *Node
	target  table.ID
	get     *gathering   // what is looked for beside the peers; nil: nothing
	list    []*candidate // by distance to target, at most maxCandidates
	seen    map[table.ID]*candidate
	asked   int // queries started
	flying  int // queries under way
	slow    int // of those, how many are slow
	answers int
	results chan queryResult // capacity maxQueries: a query never waits
}

type queryResult struct {
	c         *candidate
	nodes     []wire.Node
	values    [][]byte
	fromLocal bool
	err       error
}

// Lookup finds the up to k peers closest to target that answer, ascending by
// distance. Self is not among them. It needs Run. What it learns enters the
// table only through the connections it makes.
func (n *Node) Lookup(ctx context.Context, target table.ID) ([]Found, error) {
	return n.newLookup(target).finish(ctx)
}

// newLookup is a lookup that begins with what the table knows.
func (n *Node) newLookup(target table.ID) *lookup {
	l := &lookup{
		n: n, target: target, seen: map[table.ID]*candidate{n.cfg.ID: nil},
		results: make(chan queryResult, maxQueries),
	}
	for _, c := range n.table.Closest(nil, target, n.table.K()) {
		l.add(&candidate{id: c.ID(), addrs: c.Addrs(), own: true, depth: 1})
	}
	return l
}

// finish runs the lookup, once, and books how it went.
func (l *lookup) finish(ctx context.Context) ([]Found, error) {
	n := l.n
	n.active.Add(1)
	defer n.active.Add(-1)
	start := n.now()
	err := l.run(ctx)
	found, hops := l.found()
	if err == nil && len(found) == 0 {
		err = ErrNoPeers
	}
	n.stats.done(err == nil, time.Duration(n.now()-start), hops)
	return found, err
}

// run asks until the k closest candidates that are alive have answered.
func (l *lookup) run(ctx context.Context) error {
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for {
		l.start(ctx, &wg)
		if l.flying == 0 || l.flying == l.slow && l.answers > 0 || l.get != nil && l.get.enough() {
			return nil
		}
		timer := time.NewTimer(l.untilSlow())
		select {
		case r := <-l.results:
			l.take(r)
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return caller.Err() // our own deadline: what we have is the answer
		}
		timer.Stop()
	}
}

// start fills the free places. A query slower than grace gives up its place
// but may still answer.
func (l *lookup) start(ctx context.Context, wg *sync.WaitGroup) {
	now := l.n.now()
	for _, c := range l.list {
		if c.state == candAsked && !c.slow && now-c.started >= int64(grace) {
			c.slow = true
			l.slow++
		}
	}
	for l.flying-l.slow < alpha && l.flying < maxInFlight && l.asked < maxQueries {
		c := l.next()
		if c == nil {
			return
		}
		c.state, c.started = candAsked, now
		l.asked++
		l.flying++
		wg.Go(func() {
			r := queryResult{c: c, err: ErrUnreachable} // what remains after a panic
			defer func() { l.results <- r }()
			l.n.contain("lookup", func() { r = l.query(ctx, c) })
		})
	}
}

// next is the closest candidate not asked yet among the k closest that have
// not failed and are not slow.
func (l *lookup) next() *candidate {
	k := l.n.table.K()
	for _, c := range l.list {
		switch {
		case k == 0:
			return nil
		case c.state == candNew:
			return c
		case c.state == candAnswered || c.state == candAsked && !c.slow:
			k--
		}
	}
	return nil
}

// untilSlow is how long to wait before another query turns slow.
func (l *lookup) untilSlow() time.Duration {
	now, first := l.n.now(), int64(lookupTimeout)
	for _, c := range l.list {
		if c.state == candAsked && !c.slow {
			first = min(first, c.started+int64(grace)-now)
		}
	}
	return time.Duration(max(first, int64(time.Millisecond)))
}

// query runs in its own goroutine and touches nothing of l but constants. c's
// id, addrs and own are not changed once it is asked.
func (l *lookup) query(ctx context.Context, c *candidate) queryResult {
	n := l.n
	since := n.now()
	s, err := n.connect(ctx, c.id, c.addrs, c.own)
	if err != nil {
		// An address somebody else told us says nothing about its peer.
		if c.own && errors.Is(err, ErrUnreachable) {
			n.fault(c.id, since, n.now())
		}
		return queryResult{c: c, err: err}
	}
	want, question := wire.Nodes, wire.AppendFindNode
	if l.get != nil {
		want, question = wire.Values, wire.AppendGet
	}
	m, _, err := n.request(ctx, s, want, func(buf []byte, req uint64) []byte {
		return question(buf, req, &l.target)
	})
	local := table.LocalScope(table.Canonical(s.link.RemoteAddr()).Addr())
	return queryResult{c: c, nodes: m.Nodes, values: m.Values, fromLocal: local, err: err}
}

func (l *lookup) take(r queryResult) {
	l.flying--
	if r.c.slow {
		r.c.slow = false
		l.slow--
	}
	if r.err != nil {
		r.c.state = candFailed
		return
	}
	r.c.state = candAnswered
	l.answers++
	if l.get != nil && l.get.take(r.values, r.fromLocal) {
		l.n.records.counts.bad.Add(1)
		l.n.observe(r.c.id, false, l.n.now())
	}
	for _, nd := range r.nodes {
		addrs := l.n.hearsay(nd.Addrs, r.fromLocal)
		if len(addrs) == 0 || l.n.table.Blocked(nd.ID) {
			continue
		}
		if old, dup := l.seen[nd.ID]; dup {
			old.alsoAt(addrs)
			continue
		}
		c := &candidate{id: nd.ID, addrs: addrs, depth: r.c.depth + 1}
		if known := l.n.table.Get(nd.ID); known != nil {
			c.addrs, c.own = known.Addrs(), true
		}
		slices.SortStableFunc(addrs, func(a, b table.Addr) int { return int(a.Type) - int(b.Type) })
		l.add(c)
	}
}

// alsoAt adds addresses another peer reports: the first report may be a lie.
func (c *candidate) alsoAt(addrs []table.Addr) {
	if c == nil || c.state != candNew || c.own {
		return
	}
	for _, a := range addrs {
		known := slices.ContainsFunc(c.addrs, func(b table.Addr) bool { return b.AddrPort == a.AddrPort })
		if !known && len(c.addrs) < table.MaxAddrs {
			c.addrs = append(c.addrs, a)
		}
	}
}

// add inserts c by distance. When the list is full the farthest goes, c itself
// included; one that was asked stays in any case.
func (l *lookup) add(c *candidate) {
	i, _ := slices.BinarySearchFunc(l.list, c, func(a, b *candidate) int {
		return table.Closer(&l.target, &a.id, &b.id)
	})
	if len(l.list) >= maxCandidates {
		last := l.list[len(l.list)-1]
		if i == len(l.list) || last.state != candNew {
			return
		}
		delete(l.seen, last.id)
		l.list = l.list[:len(l.list)-1]
	}
	l.seen[c.id] = c
	l.list = slices.Insert(l.list, i, c)
}

// found returns the k closest that answered, and the hops to the closest.
func (l *lookup) found() (out []Found, hops int) {
	for _, c := range l.list {
		if c.state != candAnswered {
			continue
		}
		if len(out) == 0 {
			hops = c.depth
		}
		addrs := c.addrs
		if known := l.n.table.Get(c.id); known != nil {
			addrs = known.Addrs()
		}
		if out = append(out, Found{c.id, addrs}); len(out) == l.n.table.K() {
			break
		}
	}
	return out, hops
}

// lookupStats keeps the last lookups for the percentiles of the snapshot.
type lookupStats struct {
	mu     sync.Mutex // a leaf; guards the fields below
	ok     uint64
	failed uint64
	ms     []float64 // ring
	hops   []float64 // ring
	pos    int
}

const lookupsKept = 256

func (s *lookupStats) done(ok bool, took time.Duration, hops int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ok {
		s.failed++
		return
	}
	s.ok++
	ms := float64(took) / float64(time.Millisecond)
	if len(s.ms) < lookupsKept {
		s.ms, s.hops = append(s.ms, ms), append(s.hops, float64(hops))
		return
	}
	s.ms[s.pos], s.hops[s.pos] = ms, float64(hops)
	s.pos = (s.pos + 1) % lookupsKept
}
