package dht

import (
	"bytes"
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"signalbox/dht/snapshot"
	"signalbox/dht/table"
)

const (
	maxTrustKept = 8192
	// creditEvery bounds how fast trust can be earned: protection against
	// being displaced takes minutes of answering, not four quick pings.
	creditEvery = time.Minute
	// forgettable is how near to neutral a score says nothing.
	forgettable = 0.005
)

// trustBook remembers the conduct of peers, in the table or not, bounded: what
// says least is forgotten first, so strangers with fresh ids cannot wash out
// what is known of others.
type trustBook struct {
	mu sync.Mutex // a leaf; guards the fields below
	m  map[table.ID]trustEntry
	// priors are scores of an earlier life whose peers have not been met in
	// this one. They count for nothing until then.
	priors map[table.ID]table.Trust
}

type trustEntry struct {
	trust    table.Trust
	credited int64 // monotonic ns of the last success that counted
}

func (b *trustBook) init() { b.m = map[table.ID]trustEntry{} }

// restore takes over scores of an earlier life, as they were at the time at,
// which may be before this one began; they fade from there.
func (b *trustBook) restore(scores []snapshot.Score, at int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.priors = make(map[table.ID]table.Trust, min(len(scores), snapshot.MaxScores))
	for _, s := range scores[:min(len(scores), snapshot.MaxScores)] {
		b.priors[s.ID] = table.NewTrust(s.Score, at)
	}
}

// meet returns the trust in a peer that has proven to be id, who may have been
// known in an earlier life.
func (b *trustBook) meet(id table.ID, now int64, keep func(table.ID) bool) table.Trust {
	b.mu.Lock()
	defer b.mu.Unlock()
	if prior, ok := b.priors[id]; ok {
		delete(b.priors, id)
		if _, known := b.m[id]; !known {
			b.makeRoom(now, keep)
			b.m[id] = trustEntry{prior, math.MinInt64}
		}
	}
	return b.m[id].trust
}

func (b *trustBook) get(id table.ID) table.Trust {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.m[id].trust
}

// observe records one success or failure of id and returns its trust now. keep
// names those who are not forgotten to make room.
func (b *trustBook) observe(id table.ID, ok bool, now int64, keep func(table.ID) bool) table.Trust {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, known := b.m[id]
	if !known {
		e.credited = math.MinInt64
		b.makeRoom(now, keep)
	}
	if ok {
		if e.credited != math.MinInt64 && now-e.credited < int64(creditEvery) {
			return e.trust
		}
		e.credited = now
	}
	e.trust = e.trust.Observe(ok, 1, now)
	b.m[id] = e
	return e.trust
}

// weight is how much a trust says, whichever way.
func weight(t table.Trust, now int64) float64 { return math.Abs(t.Score(now) - 0.5) }

// makeRoom forgets, when the book is full, the eighth of it that says least,
// so that the next thousand entries cost nothing; the caller holds mu.
func (b *trustBook) makeRoom(now int64, keep func(table.ID) bool) {
	if len(b.m) < maxTrustKept {
		return
	}
	type entry struct {
		id     table.ID
		weight float64
		keep   bool
	}
	list := make([]entry, 0, len(b.m))
	for id, e := range b.m {
		list = append(list, entry{id, weight(e.trust, now), keep(id)})
	}
	slices.SortFunc(list, func(x, y entry) int {
		if x.keep != y.keep {
			if x.keep {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(x.weight, y.weight), bytes.Compare(x.id[:], y.id[:]))
	})
	for _, e := range list[:maxTrustKept/8] {
		delete(b.m, e.id)
	}
}

// scores are what to keep for the next life, those that say most first. Who
// has not been met in this one is passed on.
func (b *trustBook) scores(now int64) []snapshot.Score {
	b.mu.Lock()
	all := make(map[table.ID]table.Trust, len(b.m)+len(b.priors))
	maps.Copy(all, b.priors)
	for id, e := range b.m {
		all[id] = e.trust
	}
	b.mu.Unlock()
	out := make([]snapshot.Score, 0, len(all))
	for id, t := range all {
		if weight(t, now) >= forgettable {
			out = append(out, snapshot.Score{ID: id, Score: t.Score(now)})
		}
	}
	slices.SortFunc(out, func(x, y snapshot.Score) int {
		return cmp.Or(cmp.Compare(math.Abs(y.Score-0.5), math.Abs(x.Score-0.5)), bytes.Compare(x.ID[:], y.ID[:]))
	})
	return out[:min(len(out), snapshot.MaxScores)]
}

// inTable names the contacts, whose conduct is not forgotten.
func (n *Node) inTable(id table.ID) bool { return n.table.Get(id) != nil }

// observe records conduct and shows it to the table.
func (n *Node) observe(id table.ID, ok bool, now int64) {
	t := n.trust.observe(id, ok, now, n.inTable)
	if c := n.table.Get(id); c != nil {
		c.SetTrust(t)
	}
}
