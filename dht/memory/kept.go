package memory

import (
	"time"

	"signalbox/dht/record"
	"signalbox/dht/table"
)

// The two things there may be under one key of the DHT.
const (
	forRecords = 's'
	forFound   = 'f'
)

func keyOf(what byte, kind record.Kind, key *table.ID) string {
	return string(append([]byte{what, byte(kind)}, key[:]...))
}

// Try reports whether Put would take e, whose signature need not have been
// checked yet: refusals are cheap.
func (m *Memory) Try(e record.Entry, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.next(e, now)
	return err
}

// Put keeps a record that somebody has stored here. It must be fresh, and its
// signature must be right. The errors are those of record.Put and of this
// package.
func (m *Memory) Put(e record.Entry, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	it, err := m.next(e, now)
	if err != nil || it == nil {
		return err
	}
	return m.put(it, now)
}

// next is the item of e's key with e in it; nil if nothing would change. The
// caller holds mu.
func (m *Memory) next(e record.Entry, now time.Time) (*item, error) {
	if !m.ready() {
		return nil, ErrOff
	}
	key := keyOf(forRecords, 0, &e.Key)
	var set []record.Entry
	if old := m.index[key]; old != nil {
		set = old.set
	}
	source, publisher := m.sources[e.Source]+shareOf(e.Signed), m.publishers[e.By]+shareOf(e.Signed)
	for i := range set {
		if x := &set[i]; x.By == e.By { // it makes room for its successor
			publisher -= shareOf(x.Signed)
			if x.Source == e.Source {
				source -= shareOf(x.Signed)
			}
		}
	}
	if share := m.cfg.Bytes / shareParts; publisher > share || source > share && !m.cfg.Lenient {
		return nil, ErrShare
	}
	next, err := record.Put(set, e, m.perSource, now)
	if err != nil {
		return nil, err
	}
	it := &item{key: key, set: next, cost: itemCost}
	same := len(next) == len(set)
	for i := range next {
		it.cost += cost(next[i].Signed)
		if x := next[i].Expires(); x.After(it.expires) {
			it.expires = x
		}
		same = same && next[i] == set[i]
	}
	if same || len(next) == 0 {
		return nil, nil
	}
	return it, nil
}

// Records are the live records of a key, withdrawals among them. A key is that
// of one kind only, but for what liars store.
func (m *Memory) Records(key table.ID, now time.Time) []record.Entry {
	var out []record.Entry
	if it := m.get(keyOf(forRecords, 0, &key)); it != nil {
		for i := range it.set {
			if it.set[i].Fresh(now) == nil {
				out = append(out, it.set[i])
			}
		}
	}
	m.asked(len(out) > 0)
	return out
}

// Remember keeps what a lookup has found, or nothing, for ttl at most.
func (m *Memory) Remember(kind record.Kind, key table.ID, found []*record.Signed, ttl time.Duration, now time.Time) {
	it := &item{key: keyOf(forFound, kind, &key), found: found, cost: itemCost, expires: now.Add(ttl)}
	for _, s := range found {
		it.cost += cost(s)
		if x := s.Expires(); x.Before(it.expires) {
			it.expires = x
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !now.Before(it.expires) || !m.ready() {
		return
	}
	_ = m.put(it, now) // it is a convenience; put has counted
}

// Recall is what was remembered of a lookup; false when there is nothing.
func (m *Memory) Recall(kind record.Kind, key table.ID, now time.Time) ([]*record.Signed, bool) {
	it := m.get(keyOf(forFound, kind, &key))
	ok := it != nil && now.Before(it.expires)
	m.asked(ok)
	if !ok {
		return nil, false
	}
	return it.found, true
}

// Forget drops what was remembered of a lookup.
func (m *Memory) Forget(kind record.Kind, key table.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if it := m.index[keyOf(forFound, kind, &key)]; it != nil {
		m.drop(it) // the cache loses it in its own time
	}
}

// get is the item of a key. The cache is asked too: it counts what is wanted.
func (m *Memory) get(key string) *item {
	m.mu.Lock()
	defer m.mu.Unlock()
	it := m.index[key]
	if it != nil {
		m.cache.Get(key)
	}
	return it
}

func (m *Memory) asked(hit bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if hit {
		m.stats.Hits++
	} else {
		m.stats.Misses++
	}
}
