package dht

import (
	"cmp"
	"context"
	"slices"
	"time"

	"signalbox/dht/record"
	"signalbox/dht/table"
)

// Find's limits.
const (
	foundFor   = time.Minute      // a result is remembered
	nothingFor = 15 * time.Second // that there was none
	maxFinds   = 24               // lookups for records at a time
	enoughGave = 4                // peers with records, the last
	enoughOld  = 2                // of which had nothing new: the others would say the same
)

// find is one lookup under way; its result may be read after done is closed.
type find struct {
	done  chan struct{}
	found []*record.Signed
	err   error
}

// Find asks the network who publishes something under key. Signatures, keys
// and times are checked; of several records of one publisher the newest
// counts; publishers that more peers know of come first, sixteen at most.
// ErrNoRecord: nobody does. Answers, that one too, are remembered for a short
// while; calls for one key share a lookup. It needs Run.
func (n *Node) Find(ctx context.Context, kind record.Kind, key table.ID) ([]Claim, error) {
	r := &n.records
	if found, ok := r.memory.Recall(kind, key, r.cfg.Wall()); ok {
		return r.claims(found, kind, key)
	}
	f, err := n.findOnce(kind, key)
	if err != nil {
		return nil, err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	claims, err := r.claims(f.found, kind, key)
	if err != nil && f.err != nil {
		err = f.err // that we could not ask is another thing than that there is nothing
	}
	return claims, err
}

// findOnce joins the lookup under way for a key, or starts one.
func (n *Node) findOnce(kind record.Kind, key table.ID) (*find, error) {
	r := &n.records
	k := recordKey{kind, key}
	r.mu.Lock()
	f := r.finds[k]
	mine := f == nil
	if mine && len(r.finds) >= maxFinds {
		r.mu.Unlock()
		return nil, ErrBusy
	}
	if mine {
		f = &find{done: make(chan struct{}), err: ErrNoPeers} // what remains if the lookup panics
		r.finds[k] = f
	}
	r.mu.Unlock()
	if !mine {
		return f, nil
	}
	finish := func() {
		r.mu.Lock()
		delete(r.finds, k)
		r.mu.Unlock()
		close(f.done)
	}
	err := n.spawn("find", func(ctx context.Context) {
		defer finish()
		f.found, f.err = n.gather(ctx, kind, key)
	})
	if err != nil {
		f.err = err
		finish()
	}
	return f, nil
}

// gather looks a key up and remembers the outcome.
func (n *Node) gather(ctx context.Context, kind record.Kind, key table.ID) ([]*record.Signed, error) {
	r := &n.records
	l := n.newLookup(key, Ask{For: ForRecord, Label: "who publishes: " + kind.String()})
	l.get = &gathering{kind: kind, key: key, wall: r.cfg.Wall(), best: map[table.ID]*gathered{}}
	for _, e := range r.memory.Records(key, l.get.wall) {
		if e.Kind == kind {
			l.get.best[e.By] = &gathered{s: e.Signed, holders: 1, local: table.LocalScope(e.Source.Addr())}
		}
	}
	_, err := l.finish(ctx)
	found := l.get.result(n)
	ttl := foundFor
	if len(found) == 0 {
		ttl = nothingFor
	}
	if len(found) > 0 || err == nil {
		r.memory.Remember(kind, key, found, ttl, r.cfg.Wall())
	}
	return found, err
}

// gathering is what a lookup for records has found so far. Owned by the
// lookup's run.
type gathering struct {
	kind record.Kind
	key  table.ID
	wall time.Time
	best map[table.ID]*gathered // by publisher
	gave int                    // peers that had something
	old  int                    // of those, the last in a row with nothing new
}

type gathered struct {
	s       *record.Signed
	holders int  // peers that have this very record
	local   bool // a neighbour in a local network has it: local addresses make sense
}

// take judges the records one peer has given; bad says that one of them is
// none: no honest peer passes such on.
func (g *gathering) take(values [][]byte, fromLocal bool) (bad bool) {
	some, news := false, false
	for _, raw := range values {
		s, err := record.Decode(raw)
		if err != nil || s.Key != g.key {
			bad = bad || !newer(err)
			continue
		}
		if s.Kind != g.kind || s.Fresh(g.wall) != nil {
			continue // another clock than ours is no fault
		}
		old := g.best[s.By]
		if old != nil && sameRecord(old.s, s) {
			old.holders++
			old.local = old.local || fromLocal
			some = true
			continue
		}
		if old != nil && old.s.Sequence >= s.Sequence {
			some = true
			continue
		}
		if s.Verify() != nil {
			bad = true
			continue
		}
		g.best[s.By] = &gathered{s: s, holders: 1, local: fromLocal}
		some, news = true, true
	}
	if some {
		g.gave++
		g.old++
		if news {
			g.old = 0
		}
	}
	return bad
}

// enough reports whether further peers would say the same again.
func (g *gathering) enough() bool { return g.gave >= enoughGave && g.old >= enoughOld }

// result is what was found, most widely known first, without withdrawals and
// without addresses that mean nothing here.
func (g *gathering) result(n *Node) []*record.Signed {
	list := make([]*gathered, 0, len(g.best))
	for _, x := range g.best {
		if !x.s.Withdrawn() {
			list = append(list, x)
		}
	}
	slices.SortFunc(list, func(a, b *gathered) int {
		return cmp.Or(cmp.Compare(b.holders, a.holders), table.Closer(&g.key, &a.s.By, &b.s.By))
	})
	var out []*record.Signed
	for _, x := range list {
		s := *x.s
		s.Addrs = nil
		for _, a := range x.s.Addrs {
			if len(n.hearsay([]table.Addr{{AddrPort: a, Type: table.Unverified}}, x.local)) > 0 {
				s.Addrs = append(s.Addrs, a)
			}
		}
		if len(s.Addrs) > 0 {
			out = append(out, &s)
		}
		if len(out) == record.MaxPerKey {
			break
		}
	}
	return out
}
