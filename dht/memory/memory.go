// Package memory is what strangers make a node remember: records that others
// have stored here, what lookups have found, and that they have found nothing.
// All of it lives in one ristretto cache: bounded in bytes, each entry with the
// time it ends. Ristretto judges what stays: what is asked for and refreshed
// before what was mentioned once, so that a flood displaces itself first.
//
// Ristretto takes a new entry some moments after Set, loses a second Set of
// the same key in between, and may refuse an entry later. The records of a key
// must not be lost that way, since each STORE adds to those of others. An
// index therefore has the latest entry of every key from the moment it is
// taken until ristretto says that it has gone, and an entry that replaces one
// not yet in the cache follows once that is. The index is also the account: of
// bytes, of records, and of each network's and publisher's share.
//
// The cache is made when there is something to remember: empty, it costs up to
// half a megabyte, and two goroutines.
package memory

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"signalbox/dht/record"
	"signalbox/dht/table"
)

// Errors of Put and Try, beside those of record.Put.
var (
	ErrOff   = errors.New("memory: nothing is kept")
	ErrShare = errors.New("memory: the sender has its share")
	ErrBusy  = errors.New("memory: too much at once")
)

// Real bytes beside a record's encoding, measured; see TestCostIsReal.
const (
	itemCost   = 540 // index, cache, policy and expiry entries, key, item
	recordCost = 320 // Signed, Entry and their allocation
	addrCost   = 32
	shareParts = 8 // no network and no publisher has more than this part
	slackParts = 8 // what may wait for room beyond the bound
)

// Config configures a Memory.
type Config struct {
	Bytes   int64 // of entries, fixed costs of the cache not counted; 0 or less: nothing is kept
	Lenient bool  // one network may have everything: loopback
}

// Memory is safe for any number of goroutines.
type Memory struct {
	cfg       Config // constant
	perSource int    // constant

	// mu is a leaf: ristretto's own short locks are taken under it, and it
	// never calls us back under those except in Close, when nobody uses it.
	mu         sync.Mutex // guards the fields below
	open       bool
	cache      *ristretto.Cache[string, *item] // nil until needed
	index      map[string]*item
	following  map[string]bool // keys whose item is not the one given to the cache
	sources    map[netip.Prefix]int64
	publishers map[table.ID]int64
	stats      Stats
}

// Stats are counts since the start, but for Bytes and Records.
type Stats struct {
	Hits, Misses uint64 // questions that found something remembered, or nothing
	Evicted      uint64 // entries that made way, or found no room
	Expired      uint64 // entries whose time was over
	Dropped      uint64 // entries lost because the cache was busy
	Bytes        int64
	Records      int // foreign records
}

// item is one entry. Only base changes, under Memory.mu.
type item struct {
	key     string
	set     []record.Entry   // foreign records of a key
	found   []*record.Signed // what a lookup has found; empty: nothing
	cost    int64
	expires time.Time
	base    *item // what the cache has, or was given, for it: itself in the end
}

// New returns an empty memory. It keeps nothing before Open.
func New(cfg Config) *Memory {
	m := &Memory{cfg: cfg, perSource: record.MaxPerSource}
	if cfg.Lenient {
		m.perSource = record.MaxPerKey
	}
	m.reset()
	return m
}

func (m *Memory) reset() {
	m.index, m.following = map[string]*item{}, map[string]bool{}
	m.sources, m.publishers = map[netip.Prefix]int64{}, map[table.ID]int64{}
	m.stats.Bytes, m.stats.Records = 0, 0
}

// Open begins: from now on things are kept, until Close.
func (m *Memory) Open() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = m.cfg.Bytes > 0
}

// Close forgets everything and returns after the cache's goroutines have
// ended. Nothing is kept any more.
func (m *Memory) Close() {
	m.mu.Lock()
	c := m.cache
	m.open, m.cache = false, nil
	m.reset()
	m.mu.Unlock()
	c.Close() // a nil cache is allowed
}

// Stats reads the account.
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// ready makes the cache if need be; false when nothing is kept now. The caller
// holds mu.
func (m *Memory) ready() bool {
	if !m.open || m.cache != nil {
		return m.open
	}
	c, err := ristretto.NewCache(&ristretto.Config[string, *item]{
		NumCounters: max(m.cfg.Bytes/256, 1024), // several per entry
		MaxCost:     m.cfg.Bytes, IgnoreInternalCost: true,
		BufferItems: 4,                                                                         // ristretto counts what is wanted in batches, which a quiet node would lose to the collector
		OnEvict:     func(i *ristretto.Item[*item]) { m.gone(i.Value, i.Expiration.IsZero()) }, // else its time is over
		OnReject:    func(i *ristretto.Item[*item]) { m.gone(i.Value, true) },
	})
	if err != nil { // the numbers above are valid
		m.open = false
		return false
	}
	m.cache = c
	return true
}

// gone is called by the cache for an item that it does not hold any more.
func (m *Memory) gone(it *item, evicted bool) {
	if it == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	cur := m.index[it.key]
	if cur == nil || cur.base != it {
		return // replaced
	}
	m.drop(cur)
	if evicted {
		m.stats.Evicted++
	} else {
		m.stats.Expired++
	}
}

// drop takes an item off the index and the account. The caller holds mu.
func (m *Memory) drop(it *item) {
	m.charge(it, -1)
	delete(m.index, it.key)
	delete(m.following, it.key)
}

// charge adds an item to the account, or takes it off with sign -1.
func (m *Memory) charge(it *item, sign int64) {
	m.stats.Bytes += sign * it.cost
	m.stats.Records += int(sign) * len(it.set)
	for i := range it.set {
		e := &it.set[i]
		c := sign * shareOf(e.Signed)
		if m.sources[e.Source] += c; m.sources[e.Source] == 0 {
			delete(m.sources, e.Source)
		}
		if m.publishers[e.By] += c; m.publishers[e.By] == 0 {
			delete(m.publishers, e.By)
		}
	}
}

// cost is what one record takes.
func cost(s *record.Signed) int64 {
	return int64(recordCost + cap(s.Raw) + addrCost*cap(s.Addrs))
}

// shareOf is what one record takes of its sender's share: as if it were alone
// under its key, as it mostly is.
func shareOf(s *record.Signed) int64 { return itemCost + cost(s) }

// put makes it the item of its key. The caller holds mu and has called ready.
func (m *Memory) put(it *item, now time.Time) error {
	old := m.index[it.key]
	grows := it.cost
	if old != nil {
		grows -= old.cost
	}
	if grows > 0 && m.stats.Bytes+grows > m.cfg.Bytes+m.cfg.Bytes/slackParts {
		m.stats.Dropped++
		return ErrBusy
	}
	if old != nil && !m.visible(old.base) && now.Before(old.base.expires) {
		it.base = old.base // follows when that has arrived
		m.following[it.key] = true
	} else {
		it.base = it
		if !m.cache.SetWithTTL(it.key, it, it.cost, it.expires.Sub(now)) {
			m.stats.Dropped++
			return ErrBusy
		}
		delete(m.following, it.key)
	}
	if old != nil {
		m.charge(old, -1)
	}
	m.index[it.key] = it
	m.charge(it, 1)
	return nil
}

// visible reports whether the cache has taken an item in.
func (m *Memory) visible(it *item) bool {
	v, ok := m.cache.Get(it.key)
	return ok && v == it
}

// Tend gives the cache what has been waiting for a predecessor. It is to be
// called now and then.
func (m *Memory) Tend(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.following {
		it := m.index[key]
		if !m.visible(it.base) && now.Before(it.base.expires) {
			continue
		}
		if !now.Before(it.expires) {
			m.drop(it)
			m.stats.Expired++
			continue
		}
		if m.cache.SetWithTTL(key, it, it.cost, it.expires.Sub(now)) {
			it.base = it
			delete(m.following, key)
		}
	}
}
