package dht

import (
	"math"
	"sync"
	"time"

	"signalbox/dht/table"
)

const (
	maxTrustKept = 8192
	// creditEvery bounds how fast trust can be earned: protection against
	// being displaced takes minutes of answering, not four quick pings.
	creditEvery = time.Minute
)

// trustBook remembers the conduct of peers, in the table or not, bounded: the
// entry that was made first is forgotten first.
type trustBook struct {
	mu    sync.Mutex // a leaf; guards the fields below
	m     map[table.ID]trustEntry
	order []table.ID // ring, in the order of entry
	pos   int
}

type trustEntry struct {
	trust    table.Trust
	credited int64 // monotonic ns of the last success that counted
}

func (b *trustBook) init() { b.m = map[table.ID]trustEntry{} }

func (b *trustBook) get(id table.ID) table.Trust {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.m[id].trust
}

// observe records one success or failure of id and returns its trust now.
func (b *trustBook) observe(id table.ID, ok bool, now int64) table.Trust {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, known := b.m[id]
	if !known {
		e.credited = math.MinInt64
		b.enter(id)
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

// enter makes room for id; the caller holds mu.
func (b *trustBook) enter(id table.ID) {
	if len(b.order) < maxTrustKept {
		b.order = append(b.order, id)
		return
	}
	delete(b.m, b.order[b.pos])
	b.order[b.pos] = id
	b.pos = (b.pos + 1) % maxTrustKept
}

// observe records conduct and shows it to the table.
func (n *Node) observe(id table.ID, ok bool, now int64) {
	t := n.trust.observe(id, ok, now)
	if c := n.table.Get(id); c != nil {
		c.SetTrust(t)
	}
}
