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

// What lookups are for, as the snapshot shows it.
const (
	ForSelf     = "self"     // who is around us
	ForRefresh  = "refresh"  // a key in a silent bucket
	ForRecord   = "record"   // who keeps, or should keep, a record
	ForOperator = "operator" // somebody wants to watch one
	ForCaller   = "lookup"   // anything else
)

// Ask says what a lookup is for and how it goes about it.
type Ask struct {
	For   string // one of the For constants; default ForCaller
	Label string // the target in words, for the screen
	// Paths is how many paths go to the target that share no peer, so that one
	// liar on the way does not decide what is found; default 1, or Config.Paths
	// ForRecord.
	Paths int
}

// lookup is one iterative FIND_NODE, or GET (spec dht 3.5, 3.6). Owned by
// run's goroutine, except results and trace.
type lookup struct {
	n       *Node
	target  table.ID
	get     *gathering // what is looked for beside the peers; nil: nothing
	paths   []*path
	known   map[table.ID]*candidate // of every path; nil for ourselves
	pace    pace
	asked   int // queries started
	flying  int // queries under way
	answers int
	trace   *tracer
	results chan queryResult // capacity maxQueries: a query never waits
}

type queryResult struct {
	c         *candidate
	nodes     []wire.Node
	values    [][]byte
	fromLocal bool
	met       table.Addr // where the link leads
	rtt       time.Duration
	err       error
}

// Lookup finds the up to k peers closest to target that answer, ascending by
// distance. Self is not among them. It needs Run. What it learns enters the
// table only through the connections it makes.
func (n *Node) Lookup(ctx context.Context, target table.ID) ([]Found, error) {
	return n.LookupAs(ctx, target, Ask{})
}

// LookupAs is Lookup for a purpose.
func (n *Node) LookupAs(ctx context.Context, target table.ID, ask Ask) ([]Found, error) {
	return n.newLookup(target, ask).finish(ctx)
}

// newLookup is a lookup that begins with what the table knows, and the target
// itself when it is linked. It is listed
// from now on, and must be finished.
func (n *Node) newLookup(target table.ID, ask Ask) *lookup {
	l := &lookup{
		n: n, target: target, known: map[table.ID]*candidate{n.cfg.ID: nil},
		trace: n.traces.begin(n, target, &ask), results: make(chan queryResult, maxQueries),
	}
	for range ask.Paths {
		l.paths = append(l.paths, &path{})
	}
	for i, c := range n.table.Closest(nil, target, n.table.K()) {
		l.add(l.paths[i%len(l.paths)], &candidate{id: c.ID(), own: c.Addrs(), depth: 1})
	}
	if s := n.outsider(&target); s != nil {
		l.add(l.paths[0], &candidate{id: target, own: []table.Addr{s.addr()}, depth: 1})
	}
	return l
}

// finish runs the lookup, once, and books how it went.
func (l *lookup) finish(ctx context.Context) ([]Found, error) {
	n := l.n
	n.active.Add(1)
	defer n.active.Add(-1)
	start := n.now()
	stop, err := stopPanic, error(nil) // what remains after a panic
	var found []Found
	var hops int
	defer func() { n.traces.end(n, l.trace, stop, len(found), hops) }()
	stop, err = l.run(ctx)
	found, hops = l.found()
	if err == nil && len(found) == 0 {
		stop, err = stopNobody, ErrNoPeers
	}
	n.stats.done(err == nil, time.Duration(n.now()-start), hops)
	return found, err
}

// Why a lookup ended, as the snapshot says it.
const (
	stopConverged = "converged"   // the closest peers have all answered
	stopEnough    = "enough"      // more peers would give the same records
	stopSlow      = "slow_left"   // all but some that are slow
	stopExhausted = "exhausted"   // everybody was asked; fewer than k answered
	stopQueries   = "query_limit" // maxQueries were asked
	stopTime      = "time_limit"  // lookupTimeout has passed
	stopCancelled = "cancelled"   // by its caller
	stopNobody    = "no_peers"    // nobody answered
	stopPanic     = "panic"
)

// run asks until, on every path, the k closest candidates that are alive have
// answered. It never waits for the slowest: who has not answered after grace
// is left behind.
func (l *lookup) run(ctx context.Context) (stop string, err error) {
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for {
		if l.enough() {
			return stopEnough, nil
		}
		l.start(ctx, &wg)
		if l.flying == 0 || l.answers > 0 && !l.wanted() {
			return l.verdict(), nil
		}
		timer := time.NewTimer(l.untilNext())
		select {
		case r := <-l.results:
			l.take(r)
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if err := caller.Err(); err != nil {
				return stopCancelled, err
			}
			return stopTime, nil // our own deadline: what we have is the answer
		}
		timer.Stop()
	}
}

// enough reports whether a lookup for records can end early: what was found
// will not change, and it was not one path alone that said so.
func (l *lookup) enough() bool {
	return l.get != nil && l.get.enough() &&
		!slices.ContainsFunc(l.paths, func(p *path) bool { return p.gave == 0 && (p.busy > 0 || p.next(l.n.table.K()) != nil) })
}

// verdict says why there is nothing left to do.
func (l *lookup) verdict() string {
	switch {
	case l.flying > 0:
		return stopSlow
	case l.asked >= maxQueries && slices.ContainsFunc(l.paths, func(p *path) bool { return p.next(l.n.table.K()) != nil }):
		return stopQueries
	case l.answers < l.n.table.K():
		return stopExhausted
	}
	return stopConverged
}

// start fills the free places of every path in turn. A query slower than the
// pace of the others gives up its place but may still answer.
func (l *lookup) start(ctx context.Context, wg *sync.WaitGroup) {
	now, patience := l.n.now(), l.pace.patience()
	for _, c := range l.known {
		if c != nil && c.state == candAsked && !c.slow && now-c.started >= int64(patience) {
			c.slow = true
			c.path.busy--
			l.trace.slow(c)
		}
	}
	places := max(1, (alpha+len(l.paths)-1)/len(l.paths))
	for more := true; more; {
		more = false
		for i, p := range l.paths {
			if p.busy >= places || l.flying >= maxInFlight || l.asked >= maxQueries {
				continue
			}
			c := p.next(l.n.table.K())
			if c == nil {
				continue
			}
			more = true
			c.state, c.started, c.path = candAsked, now, p
			p.busy++
			l.asked++
			l.flying++
			told := c.told()
			c.tried = append(c.tried, told...)
			l.n.learnRoutes(c)
			l.trace.asked(c, i, now)
			wg.Go(func() {
				r := queryResult{c: c, err: ErrUnreachable} // what remains after a panic
				defer func() { l.results <- r }()
				l.n.contain("lookup", func() { r = l.query(ctx, c, told) })
			})
		}
	}
}

// wanted reports whether what is found may yet change: a peer among the k
// closest of a path is being asked and not overdue, or is still to be asked and
// there will be a place for it. The latter are what a query brings that was
// asked by the way: its answer pushes out all the others under way.
func (l *lookup) wanted() bool {
	now := l.n.now()
	inTime := func(c *candidate) bool { return c.state == candAsked && now-c.started < int64(grace) }
	places := l.asked < maxQueries && l.flying < maxInFlight
	if l.asked < maxQueries && !places { // until somebody answers or fails
		for _, c := range l.known {
			places = places || c != nil && inTime(c)
		}
	}
	for _, p := range l.paths {
		for _, c := range p.closest(l.n.table.K()) {
			if inTime(c) || places && c.state == candNew {
				return true
			}
		}
	}
	return false
}

// untilNext is how long to wait before another query turns slow or overdue.
func (l *lookup) untilNext() time.Duration {
	now, patience, first := l.n.now(), l.pace.patience(), int64(lookupTimeout)
	for _, c := range l.known {
		if c == nil || c.state != candAsked {
			continue
		}
		at := c.started + int64(patience)
		if c.slow {
			at = c.started + int64(grace)
		}
		if at > now {
			first = min(first, at-now)
		}
	}
	return time.Duration(max(first, int64(time.Millisecond)))
}

// query runs in its own goroutine and touches nothing of l but constants. c's
// id, own and retried are not changed while it is asked; told is what others say of it.
func (l *lookup) query(ctx context.Context, c *candidate, told []table.Addr) queryResult {
	n := l.n
	own := c.own
	if c.retried {
		own = nil // they have been tried
	}
	s, err := n.connectEither(ctx, c.id, own, told)
	if err != nil {
		return queryResult{c: c, err: err}
	}
	want, question := wire.Nodes, wire.AppendFindNode
	if l.get != nil {
		want, question = wire.Values, wire.AppendGet
	}
	m, rtt, err := n.request(ctx, s, want, func(buf []byte, req uint64) []byte {
		return question(buf, req, &l.target)
	})
	met := s.addr()
	return queryResult{c: c, nodes: m.Nodes, values: m.Values, fromLocal: table.LocalScope(met.AddrPort.Addr()), met: met, rtt: rtt, err: err}
}

// connectEither tries a contact's own addresses, which we know from links to
// it, then what others say: it may have moved. Only the former can be held
// against it.
func (n *Node) connectEither(ctx context.Context, id table.ID, own, told []table.Addr) (*session, error) {
	if len(own) == 0 {
		return n.connect(ctx, id, told, false)
	}
	since := n.now()
	s, err := n.connect(ctx, id, own, true)
	if !errors.Is(err, ErrUnreachable) {
		return s, err
	}
	told = slices.DeleteFunc(told, func(a table.Addr) bool {
		return slices.ContainsFunc(own, func(b table.Addr) bool { return a.AddrPort == b.AddrPort })
	})
	if len(told) > 0 {
		if s, terr := n.connect(ctx, id, told, false); terr == nil {
			return s, nil
		}
	}
	n.fault(id, since, n.now())
	return nil, err
}

func (l *lookup) take(r queryResult) {
	c := r.c
	l.flying--
	if !c.slow {
		c.path.busy--
	}
	if r.err != nil {
		c.state = candFailed
		l.trace.failed(c, r.err, l.n.now())
		c.unmet = r.met == table.Addr{}
		c.again()
		return
	}
	c.state, c.met = candAnswered, r.met
	l.answers++
	l.pace.observe(time.Duration(l.n.now() - c.started))
	if len(r.values) > 0 {
		c.path.gave++
	}
	if l.get != nil && l.get.take(r.values, r.fromLocal) {
		l.n.records.counts.bad.Add(1)
		l.n.observe(c.id, false, l.n.now())
	}
	news := 0
	for _, nd := range r.nodes {
		addrs := l.n.hearsay(nd.Addrs, r.fromLocal)
		if len(addrs) == 0 || l.n.table.Blocked(nd.ID) {
			continue
		}
		x, dup := l.known[nd.ID]
		switch {
		case dup && x == nil: // ourselves
			continue
		case !dup:
			news++
			x = &candidate{id: nd.ID, depth: c.depth + 1}
			if known := l.n.table.Get(nd.ID); known != nil {
				x.own = known.Addrs()
			}
		}
		x.hear(c.id, addrs)
		x.again()
		l.add(c.path, x)
	}
	l.trace.answered(c, &r, news, l.n.now())
}

// found returns the k closest that answered, of all paths, and the hops to the
// closest.
func (l *lookup) found() (out []Found, hops int) {
	var heard []*candidate
	for _, c := range l.known {
		if c != nil && c.state == candAnswered {
			heard = append(heard, c)
		}
	}
	slices.SortFunc(heard, func(a, b *candidate) int { return table.Closer(&l.target, &a.id, &b.id) })
	for _, c := range heard[:min(len(heard), l.n.table.K())] {
		if len(out) == 0 {
			hops = c.depth
		}
		var addrs []table.Addr
		if known := l.n.table.Get(c.id); known != nil {
			addrs = known.Addrs()
		} else {
			addrs = c.addrs()
		}
		out = append(out, Found{c.id, addrs})
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
