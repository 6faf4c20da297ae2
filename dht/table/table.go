package table

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of K, the size of a bucket and of the close group (spec dht 0).
const (
	DefaultK = 20
	MinK     = 4
	MaxK     = 64
)

// Unlimited switches a diversity limit off.
const Unlimited = math.MaxInt

// DefaultMaxPerIP is how many contacts of one bucket, or of the close group,
// may share an exact IP (spec dht 1.7).
const DefaultMaxPerIP = 2

// MaxBlocked bounds the block list.
const MaxBlocked = 4096

// never marks a time that has not come: nothing was seen yet.
const never = math.MinInt64

// Errors of this package.
var (
	ErrConfig    = errors.New("table: invalid configuration")
	ErrBlockFull = errors.New("table: the block list is full")
)

// Config configures a Table. Zero fields take the defaults.
type Config struct {
	Self          ID
	K             int     // contacts per bucket, MinK to MaxK
	MaxPerIP      int     // default DefaultMaxPerIP
	MaxPerSubnet  int     // per /24 and /48; default max(1, K/4)
	SwapThreshold float64 // default SwapThreshold; negative: no trust swaps
	AllowLoopback bool    // tests and demos: loopback is an ordinary address without limits
}

func (c *Config) defaults() error {
	if c.K == 0 {
		c.K = DefaultK
	}
	if c.MaxPerIP == 0 {
		c.MaxPerIP = DefaultMaxPerIP
	}
	if c.MaxPerSubnet == 0 {
		c.MaxPerSubnet = max(1, c.K/4)
	}
	if c.SwapThreshold == 0 {
		c.SwapThreshold = SwapThreshold
	}
	switch {
	case c.K < MinK || c.K > MaxK:
		return fmt.Errorf("%w: k %d is outside %d..%d", ErrConfig, c.K, MinK, MaxK)
	case c.MaxPerIP < 1 || c.MaxPerSubnet < 1:
		return fmt.Errorf("%w: a diversity limit must be at least 1", ErrConfig)
	case !(c.SwapThreshold < 1):
		return fmt.Errorf("%w: swap threshold %v is not below 1", ErrConfig, c.SwapThreshold)
	}
	return nil
}

// bucketClock is what is known of a bucket beyond its members.
type bucketClock struct {
	live  atomic.Int64 // last proof of life of a member, monotonic ns
	probe atomic.Int64 // last finished refresh lookup, monotonic ns
}

// stampGrain is how much newer a proof of life must be to be worth a store: a
// bucket's clock is shared by all its members, and a busy bucket would bounce
// its cache line between cores for nothing.
const stampGrain = int64(time.Millisecond)

func (b *bucketClock) stamp(now int64) {
	if old := b.live.Load(); old == never || now-old >= stampGrain {
		b.live.Store(now)
	}
}

// clockBlock is how many bucket clocks are made at a time: a network of
// millions uses two of the sixteen blocks.
const clockBlock = 16

// clock is the clock of bucket i.
func (t *Table) clock(i int) *bucketClock {
	p := &t.clocks[i/clockBlock]
	b := p.Load()
	if b == nil {
		b = new([clockBlock]bucketClock)
		for j := range b {
			b[j].live.Store(never)
			b[j].probe.Store(never)
		}
		if !p.CompareAndSwap(nil, b) {
			b = p.Load()
		}
	}
	return &b[i%clockBlock]
}

// touchStripe keeps the counters of concurrent touches on separate cache
// lines.
type touchStripe struct {
	fast, slow, missing atomic.Uint64
	_                   [40]byte
}

const touchStripes = 16

// Table is the routing table.
type Table struct {
	// Constant after New.
	cfg  Config
	self ID

	// Any goroutine (atomic). Stored under mu only.
	snap    atomic.Pointer[snapshot]
	blocked atomic.Pointer[map[ID]struct{}] // nil: nobody

	// Any goroutine (atomic).
	clocks  [NumBuckets / clockBlock]atomic.Pointer[[clockBlock]bucketClock] // nil: never stamped
	touches [touchStripes]touchStripe
	results [NumResults]atomic.Uint64
	removed [NumRemovals]atomic.Uint64

	// mu serialises writers; a leaf lock, never held across a wait. It guards
	// the stores to snap, blocked and every contact's addrs.
	mu sync.Mutex
}

// New returns an empty table.
func New(cfg Config) (*Table, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	t := &Table{cfg: cfg, self: cfg.Self}
	t.snap.Store(&snapshot{})
	return t, nil
}

// Self is the id of this node.
func (t *Table) Self() ID { return t.self }

// K is the bucket size.
func (t *Table) K() int { return t.cfg.K }

// Len is the number of contacts.
func (t *Table) Len() int { return t.snap.Load().size }

// Get returns the contact named id, nil when there is none. No lock.
func (t *Table) Get(id ID) *Contact { return t.snap.Load().find(&t.self, &id) }

// Closest appends to dst the up to n contacts closest to target by XOR,
// ascending, and returns it. Self is never among them. It takes no lock and,
// when dst has room, allocates nothing.
func (t *Table) Closest(dst []*Contact, target ID, n int) []*Contact {
	if n <= 0 {
		return dst
	}
	return t.snap.Load().closest(dst, &t.self, &target, n)
}

// Contacts appends every contact to dst, by bucket and id.
func (t *Table) Contacts(dst []*Contact) []*Contact {
	t.snap.Load().all(func(c *Contact) bool {
		dst = append(dst, c)
		return true
	})
	return dst
}

// Bucket returns the members of bucket i, ordered by id. The slice is shared
// and must not be changed.
func (t *Table) Bucket(i int) []*Contact {
	if i < 0 || i >= NumBuckets {
		return nil
	}
	return t.snap.Load().contacts(i)
}

// Stale appends to dst the contacts whose last proof of life is older than
// LiveThreshold, the longest silent first.
func (t *Table) Stale(dst []*Contact, now int64) []*Contact {
	start := len(dst)
	t.snap.Load().all(func(c *Contact) bool {
		if c.Stale(now) {
			dst = append(dst, c)
		}
		return true
	})
	slices.SortStableFunc(dst[start:], func(a, b *Contact) int {
		return cmp.Compare(a.LastSeen(), b.LastSeen())
	})
	return dst
}

// Touched says how a touch ended.
type Touched uint8

// How a touch can end (spec dht 2.8).
const (
	Missing Touched = iota // not a contact; nothing happened
	Fast                   // two atomic stores, no lock
	Slow                   // the address list changed, or was refused for diversity, under the lock
)

// Touch records a proof of life of id at now and, when addr is valid, an
// address at which it was met.
//
// The fast path (spec dht 2.8, rows 1-4, 6, 9, 10) is taken whenever merging
// addr would leave the list as it is; it stores the contact's and the bucket's
// time and takes no lock. In particular an address worse than one already kept
// for its family never leads to the lock (row 10). A change, of type above
// all, takes the slow path since the order of types is the order of dialling.
func (t *Table) Touch(id ID, addr netip.AddrPort, typ AddrType, now int64) Touched {
	stripe := &t.touches[id[IDLen-1]%touchStripes]
	c := t.snap.Load().find(&t.self, &id)
	if c == nil {
		stripe.missing.Add(1)
		return Missing
	}
	if !t.wouldChange(c, addr, typ) {
		c.alive(now)
		t.clock(c.bucket).stamp(now)
		stripe.fast.Add(1)
		return Fast
	}
	if !t.touchSlow(id, addr, typ, now) {
		stripe.missing.Add(1)
		return Missing
	}
	stripe.slow.Add(1)
	return Slow
}

// wouldChange decides by doing: it merges into a buffer on the stack.
func (t *Table) wouldChange(c *Contact, addr netip.AddrPort, typ AddrType) bool {
	if !addr.IsValid() {
		return false
	}
	l := c.addrs.Load()
	for i := range l.list { // the usual case; what is stored is normal already
		if l.list[i].AddrPort == addr && l.list[i].Type == typ {
			return false
		}
	}
	a, ok := normalise(addr, typ, t.cfg.AllowLoopback)
	if !ok {
		return false
	}
	var buf [MaxAddrs + 1]Addr
	_, change := l.merge(buf[:], a)
	return change
}

func (t *Table) touchSlow(id ID, addr netip.AddrPort, typ AddrType, now int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.snap.Load()
	c := s.find(&t.self, &id)
	if c == nil { // removed between the load and the lock
		return false
	}
	c.alive(now)
	t.clock(c.bucket).stamp(now)
	if a, ok := normalise(addr, typ, t.cfg.AllowLoopback); ok {
		t.mergeLocked(s, c, a)
	}
	return true
}

// mergeLocked merges one address into a member's list, unless its IP is new to
// the contact and would push its bucket or the close group over a limit: a
// peer must not move, once in, to where it would not have been admitted.
func (t *Table) mergeLocked(s *snapshot, c *Contact, a Addr) {
	cur := c.addrs.Load()
	var buf [MaxAddrs + 1]Addr
	out, change := cur.merge(buf[:], a)
	if !change {
		return
	}
	ip := a.AddrPort.Addr()
	known := slices.ContainsFunc(cur.list, func(x Addr) bool { return x.AddrPort.Addr() == ip })
	if !known && !t.roomFor(s, c, ip) {
		return
	}
	next := newAddrList(out)
	next.published = cur.published
	c.addrs.Store(next)
}

// Probed stamps the end of a refresh lookup of bucket i. It says nothing about
// its members being alive.
func (t *Table) Probed(i int, now int64) {
	if i >= 0 && i < NumBuckets {
		t.clock(i).probe.Store(now)
	}
}

// BucketAge returns how long ago, in ns, a member of bucket i proved alive and
// its last refresh ended; a negative value means never.
func (t *Table) BucketAge(i int, now int64) (live, probe int64) {
	age := func(at int64) int64 {
		if at == never {
			return -1
		}
		return max(now-at, 0)
	}
	b := t.clocks[i/clockBlock].Load()
	if b == nil {
		return -1, -1
	}
	return age(b[i%clockBlock].live.Load()), age(b[i%clockBlock].probe.Load())
}

// Deepest is the index of the deepest bucket with a member, -1 when the table
// is empty.
func (t *Table) Deepest() int {
	s := t.snap.Load()
	for i := NumBuckets - 1; i >= 0; i-- {
		if s.buckets[i] != nil {
			return i
		}
	}
	return -1
}

// RandomKey returns a key that falls into bucket i: self's bits before bit i,
// bit i inverted, noise after it. It is false when there is no bucket i.
func (t *Table) RandomKey(i int, noise ID) (ID, bool) {
	if i < 0 || i >= NumBuckets {
		return ID{}, false
	}
	key, at := noise, i/8
	copy(key[:at], t.self[:at])
	bit := byte(0x80) >> (i % 8)
	after := bit - 1
	key[at] = t.self[at]&^(bit|after) | ^t.self[at]&bit | noise[at]&after
	return key, true
}

// Removal says why a contact left the table.
type Removal uint8

// Why a contact can leave (spec dht 1.9). Losing a connection is none.
const (
	RemovedSwap    Removal = iota // made room for a better candidate
	RemovedStale                  // silent, and did not answer when asked
	RemovedEvicted                // an operator's command
	RemovedBlocked                // an operator blocked it
	NumRemovals
)

var removalNames = [NumRemovals]string{"swap", "stale", "evicted", "blocked"}

// String is the name used in events.
func (r Removal) String() string {
	if r < NumRemovals {
		return removalNames[r]
	}
	return "unknown"
}

// Remove takes id out of the table. It returns the contact that left, nil when
// there was none.
func (t *Table) Remove(id ID, why Removal) *Contact {
	return t.removeIf(id, why, func(*Contact) bool { return true })
}

// RemoveSilent takes id out unless it has proved alive after since: a probe
// that failed must not cost a peer that has been heard meanwhile.
func (t *Table) RemoveSilent(id ID, why Removal, since int64) *Contact {
	return t.removeIf(id, why, func(c *Contact) bool { return c.LastSeen() <= since })
}

func (t *Table) removeIf(id ID, why Removal, cond func(*Contact) bool) *Contact {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.snap.Load()
	c := s.find(&t.self, &id)
	if c == nil || !cond(c) {
		return nil
	}
	t.snap.Store(s.with(nil, c))
	t.removed[why].Add(1)
	return c
}

// Block removes id, if present, and refuses it until Unblock.
func (t *Table) Block(id ID) (*Contact, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := map[ID]struct{}{id: {}}
	if old := t.blocked.Load(); old != nil {
		if _, dup := (*old)[id]; !dup && len(*old) >= MaxBlocked {
			return nil, ErrBlockFull
		}
		for k := range *old {
			next[k] = struct{}{}
		}
	}
	t.blocked.Store(&next)
	s := t.snap.Load()
	c := s.find(&t.self, &id)
	if c != nil {
		t.snap.Store(s.with(nil, c))
		t.removed[RemovedBlocked].Add(1)
	}
	return c, nil
}

// Unblock takes id off the block list and reports whether it was on it.
func (t *Table) Unblock(id ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.Blocked(id) {
		return false
	}
	next := map[ID]struct{}{}
	for k := range *t.blocked.Load() {
		if k != id {
			next[k] = struct{}{}
		}
	}
	if len(next) == 0 {
		t.blocked.Store(nil)
		return true
	}
	t.blocked.Store(&next)
	return true
}

// Blocked reports whether id is on the block list. No lock.
func (t *Table) Blocked(id ID) bool {
	m := t.blocked.Load()
	if m == nil {
		return false
	}
	_, ok := (*m)[id]
	return ok
}
