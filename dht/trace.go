package dht

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/dht/table"
	"signalbox/engine/view"
)

// Bounds of what is shown of lookups.
const (
	maxTraced  = 40 // queries listed of one lookup
	listActive = 12 // lookups under way
	listDone   = 6  // the last ones that ended
	listAsked  = 3  // the last ones an operator asked for, which refreshes must not wash out
	maxAsked   = 3  // of these under way at a time
)

// tracer is what can be seen of one lookup. The lookup's goroutine writes it
// and whoever likes reads it; neither waits for the other. What is published is
// replaced, never changed.
type tracer struct {
	// Constant.
	seq    uint64
	target table.ID
	ask    Ask
	start  int64 // monotonic ns

	// Any goroutine (atomic).
	head  atomic.Pointer[view.LookupTrace] // the counts; without Queries
	rows  [maxTraced]atomic.Pointer[traceRow]
	used  atomic.Int32
	ended atomic.Int64 // monotonic ns; 0: under way
}

// traceRow is a view.LookupQuery without its texts: a node keeps hundreds of
// them, and shows them when somebody looks.
type traceRow struct {
	peer    table.ID
	addr    netip.AddrPort // where it answered
	outcome string         // one of view's or of outcome's
	start   time.Duration
	took    time.Duration // 0: under way
	rtt     time.Duration

	hop, bits, reports, told, fresh, records int16
	path                                     int8
	known                                    bool
}

// view is the row as of a lookup that has taken so long.
func (r *traceRow) view(took time.Duration) view.LookupQuery {
	q := view.LookupQuery{
		Peer: r.peer.String(), Hop: int(r.hop), Path: int(r.path), Bits: int(r.bits), StartMS: millis(int64(r.start)),
		TookMS: millis(int64(r.took)), RTTMS: millis(int64(r.rtt)), Outcome: r.outcome, Known: r.known, Reports: int(r.reports),
		Told: int(r.told), New: int(r.fresh), Records: int(r.records),
	}
	if r.addr.IsValid() {
		q.Addr = r.addr.String()
	}
	if r.outcome == view.QueryWaiting || r.outcome == view.QuerySlow {
		q.TookMS = millis(int64(max(took-r.start, 0)))
	}
	return q
}

// traceBook keeps the lookups under way and the last ones.
type traceBook struct {
	seq   atomic.Uint64
	asked atomic.Int32 // an operator's, under way

	mu   sync.Mutex                // a leaf; guards the stores to list
	list atomic.Pointer[[]*tracer] // newest first
}

// begin opens the trace of a lookup.
func (b *traceBook) begin(n *Node, target table.ID, ask *Ask) *tracer {
	ask.For = cmp.Or(ask.For, ForCaller)
	if ask.Paths == 0 && ask.For == ForRecord {
		ask.Paths = n.cfg.Paths
	}
	ask.Paths = min(max(ask.Paths, 1), MaxPaths)
	t := &tracer{seq: b.seq.Add(1), target: target, ask: *ask, start: n.now()}
	t.head.Store(&view.LookupTrace{
		Seq: t.seq, Target: target.String(), Label: ask.Label, For: ask.For, Paths: ask.Paths, State: view.LookupActive,
	})
	b.change(t)
	return t
}

// end closes the trace.
func (b *traceBook) end(n *Node, t *tracer, stop string, found, hops int) {
	t.update(func(h *view.LookupTrace) {
		h.State, h.Stop, h.Found, h.Hops = view.LookupDone, stop, found, hops
		if stop == stopNobody || stop == stopCancelled || stop == stopPanic {
			h.State = view.LookupFailed
		}
	})
	t.ended.Store(max(n.now(), t.start+1))
	b.change(nil)
}

// change lists add, which may be nil, and drops what is beyond the bounds.
func (b *traceBook) change(add *tracer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var old []*tracer
	if p := b.list.Load(); p != nil {
		old = *p
	}
	next := make([]*tracer, 0, len(old)+1)
	if add != nil {
		next = append(next, add)
	}
	next = bounded(append(next, old...))
	b.list.Store(&next)
}

// bounded drops the traces that are too many of their kind, newest first.
func bounded(list []*tracer) []*tracer {
	var active, done, asked int
	return slices.DeleteFunc(list, func(t *tracer) bool {
		switch {
		case t.ended.Load() == 0:
			active++
			return active > listActive
		case t.ask.For == ForOperator:
			asked++
			return asked > listAsked
		}
		done++
		return done > listDone
	})
}

// fill writes the traces, newest first.
func (b *traceBook) fill(v *view.Lookups, now int64) {
	v.Trace = []view.LookupTrace{}
	p := b.list.Load()
	if p == nil {
		return
	}
	for _, t := range *p {
		v.Trace = append(v.Trace, t.view(now))
	}
}

func (t *tracer) view(now int64) view.LookupTrace {
	until := now
	if at := t.ended.Load(); at != 0 {
		until = at
	}
	v := *t.head.Load()
	v.AgeS, v.TookMS = seconds(max(now-t.start, 0)), millis(until-t.start)
	used := min(int(t.used.Load()), maxTraced)
	v.Queries = make([]view.LookupQuery, 0, used)
	for i := range used {
		if r := t.rows[i].Load(); r != nil {
			v.Queries = append(v.Queries, r.view(time.Duration(until-t.start)))
		}
	}
	v.More = max(v.Asked-used, 0)
	return v
}

// update replaces the counts; the lookup's goroutine alone calls it.
func (t *tracer) update(f func(h *view.LookupTrace)) {
	h := *t.head.Load()
	f(&h)
	t.head.Store(&h)
}

// edit replaces the row of c, if it has one.
func (t *tracer) edit(c *candidate, f func(r *traceRow)) {
	if c.row == 0 {
		return
	}
	q := *t.rows[c.row-1].Load()
	f(&q)
	t.rows[c.row-1].Store(&q)
}

func (t *tracer) asked(c *candidate, path int, now int64) {
	t.update(func(h *view.LookupTrace) { h.Asked++; h.Waiting++ })
	i := int(t.used.Load())
	if i == maxTraced {
		return
	}
	c.row = i + 1
	t.rows[i].Store(&traceRow{
		peer: c.id, hop: int16(c.depth), path: int8(path), bits: int16(table.BucketIndex(&t.target, &c.id)), start: time.Duration(now - t.start), //nolint:gosec // maxQueries, MaxPaths, NumBuckets
		known: len(c.own) > 0, reports: int16(len(c.heard)), outcome: view.QueryWaiting, //nolint:gosec // maxReports
	})
	t.used.Store(int32(i + 1))
}

func (t *tracer) slow(c *candidate) {
	t.update(func(h *view.LookupTrace) { h.Slow++ })
	t.edit(c, func(r *traceRow) { r.outcome = view.QuerySlow })
}

func (t *tracer) failed(c *candidate, err error, now int64) {
	t.update(func(h *view.LookupTrace) { h.Waiting--; h.Failed++ })
	t.edit(c, func(r *traceRow) { r.outcome, r.took = outcome(err), time.Duration(now-c.started) })
}

func (t *tracer) answered(c *candidate, r *queryResult, news int, now int64) {
	t.update(func(h *view.LookupTrace) {
		h.Waiting--
		h.Answered++
		best, err := table.ParseID(h.Closest)
		if err != nil || table.Closer(&t.target, &c.id, &best) < 0 {
			h.Closest, h.Hops, h.Bits = c.id.String(), c.depth, table.BucketIndex(&t.target, &c.id)
		}
	})
	t.edit(c, func(row *traceRow) {
		row.outcome, row.took, row.rtt, row.addr = view.QueryAnswered, time.Duration(now-c.started), r.rtt, r.met.AddrPort
		row.told, row.fresh, row.records = int16(len(r.nodes)), int16(news), int16(len(r.values)) //nolint:gosec // bounded by package wire
	})
}

// outcome names an error of connect or request.
func outcome(err error) string {
	for _, o := range []struct {
		err  error
		name string
	}{
		{ErrTimeout, "timeout"},
		{ErrRefused, "refused"},
		{ErrUnreachable, "unreachable"},
		{ErrLinkLost, "link_lost"},
		{ErrBadReply, "bad_reply"},
		{ErrBusy, "not_tried"}, // a budget of ours said no
		{ErrNotFound, "no_address"},
		{context.DeadlineExceeded, "left"},
		{context.Canceled, "left"},
	} {
		if errors.Is(err, o.err) {
			return o.name
		}
	}
	return "failed"
}

// Trace starts a lookup whose course can be read in the snapshot under the
// number returned. label is the target in the asker's words. It does not wait;
// ErrBusy when too much is under way.
func (n *Node) Trace(target table.ID, label string) (uint64, error) {
	if n.traces.asked.Add(1) > maxAsked {
		n.traces.asked.Add(-1)
		return 0, ErrBusy
	}
	ask := Ask{For: ForOperator, Label: label, Paths: n.cfg.Paths}
	seq := make(chan uint64, 1)
	err := n.spawn("trace", func(ctx context.Context) {
		defer n.traces.asked.Add(-1)
		l := n.newLookup(target, ask)
		seq <- l.trace.seq
		if _, err := l.finish(ctx); err != nil {
			n.log.Debug("dht trace failed", "target", target.Short(), "err", err)
		}
	})
	if err != nil {
		n.traces.asked.Add(-1)
		return 0, err
	}
	return <-seq, nil // sent before anything is waited for
}
