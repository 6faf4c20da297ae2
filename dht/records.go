package dht

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/dht/memory"
	"signalbox/dht/record"
	"signalbox/dht/table"
	"signalbox/engine/view"
)

// Bounds of our own records.
const (
	// MaxOwnRecords is how many records a node may publish.
	MaxOwnRecords     = 16384
	defaultCacheBytes = 16 << 20
	shownOwn          = 32 // in a snapshot
)

// ErrNoRecord says that nobody publishes what was asked for.
var ErrNoRecord = errors.New("dht: nobody publishes this")

// RecordConfig is the part of Config about records.
type RecordConfig struct {
	// Key signs our records; its public half must hash to the node's id. nil:
	// the node publishes nothing.
	Key ed25519.PrivateKey
	// CacheBytes bounds what strangers make us remember: their records, what
	// lookups have found. Default 16 MiB; negative: nothing is remembered, and
	// no record of others is kept. Until there is something it costs nothing.
	CacheBytes int64
	TTL        time.Duration    // of our records; default and most record.MaxTTL
	Wall       func() time.Time // default time.Now
}

func (c *RecordConfig) defaults(id table.ID) error {
	if c.Key != nil && record.PublisherID(c.Key.Public().(ed25519.PublicKey)) != id { // the method's documented type
		return fmt.Errorf("%w: the key is not that of the id", ErrConfig)
	}
	if c.TTL < 0 || c.TTL > record.MaxTTL {
		return fmt.Errorf("%w: records live for %v at most", ErrConfig, record.MaxTTL)
	}
	c.TTL = cmp.Or(c.TTL, record.MaxTTL)
	c.CacheBytes = cmp.Or(c.CacheBytes, defaultCacheBytes)
	if c.Wall == nil {
		c.Wall = time.Now
	}
	return nil
}

// Statement is what the node says about itself under a key.
type Statement struct {
	Kind     record.Kind
	Key      table.ID // record.RoomKey, record.PresenceKey
	Label    string   // for the screen; empty: it is not shown by name
	TLS      [32]byte // SHA-256 of the relay's certificate
	Identity [16]byte // the relay's identity fingerprint
	Addrs    []netip.AddrPort
}

// Claim is what a publisher says about itself; see package record for what it
// is worth. Addresses that make no sense from here are left out.
type Claim struct {
	By       table.ID
	TLS      [32]byte
	Identity [16]byte
	Addrs    []netip.AddrPort
	Expires  time.Time
}

type recordKey struct {
	kind record.Kind
	key  table.ID
}

// records are the node's own, and what it takes to keep and find others'.
type records struct {
	cfg    RecordConfig   // constant
	memory *memory.Memory // constant
	counts recordCounts   // any goroutine (atomic)

	mu    sync.Mutex // a leaf; guards the fields below
	own   map[recordKey]*ownRecord
	dirty map[recordKey]bool // to be published now
	finds map[recordKey]*find

	wake    func() // dirty is not empty; constant
	changed chan groupChange
	missed  atomic.Bool // changed was full: everything is looked at again
}

// ownRecord is one statement of ours. What is current is guarded by
// records.mu; when it is published next is the publisher's business.
type ownRecord struct {
	Statement
	withdrawn bool
	signed    *record.Signed // what was published last; nil: nothing yet
	holders   int            // peers that have taken it
	at        int64          // monotonic ns of that
}

func (r *records) init(cfg RecordConfig, lenient bool, wake func()) {
	r.cfg = cfg
	r.memory = memory.New(memory.Config{Bytes: cfg.CacheBytes, Lenient: lenient})
	r.own, r.dirty, r.finds = map[recordKey]*ownRecord{}, map[recordKey]bool{}, map[recordKey]*find{}
	r.wake = wake
	if cfg.Key != nil { // else nobody tells of changes
		r.changed = make(chan groupChange, 64)
	}
}

// Publish says s under its key, again and again until Withdraw. It does not
// wait: the record goes out once there are peers to take it. To say the same
// again changes nothing; to say something else replaces it.
func (n *Node) Publish(s Statement) error {
	r := &n.records
	if r.cfg.Key == nil {
		return fmt.Errorf("%w: no key to sign records with", ErrConfig)
	}
	s.Addrs = slices.Clone(s.Addrs)
	for i := range s.Addrs {
		s.Addrs[i] = table.Canonical(s.Addrs[i])
	}
	if len(s.Addrs) == 0 {
		return fmt.Errorf("%w: a record without address", ErrConfig)
	}
	if _, err := record.Sign(s.record(1, r.cfg.Wall(), r.cfg.TTL), r.cfg.Key); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	k := recordKey{s.Kind, s.Key}
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.own[k]
	switch {
	case o == nil && len(r.own) >= MaxOwnRecords:
		return ErrBusy
	case o == nil:
		o = &ownRecord{}
		r.own[k] = o
	case !o.withdrawn && o.same(&s):
		return nil
	}
	o.Statement, o.withdrawn = s, false
	r.soon(k)
	return nil
}

// Withdraw takes a statement back; ErrNotFound when there is none. It does not
// wait: the peers that have it are told.
func (n *Node) Withdraw(kind record.Kind, key table.ID) error {
	r := &n.records
	k := recordKey{kind, key}
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.own[k]
	if o == nil || o.withdrawn {
		return ErrNotFound
	}
	o.withdrawn = true
	r.soon(k)
	return nil
}

// WithdrawAll takes everything back, as a node does that is about to end.
func (n *Node) WithdrawAll() {
	r := &n.records
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, o := range r.own {
		if !o.withdrawn {
			o.withdrawn = true
			r.soon(k)
		}
	}
}

// soon has a record published now; the caller holds mu.
func (r *records) soon(k recordKey) {
	r.dirty[k] = true
	r.wake()
}

func (s *Statement) same(t *Statement) bool {
	return s.TLS == t.TLS && s.Identity == t.Identity && s.Label == t.Label && slices.Equal(s.Addrs, t.Addrs)
}

func (s *Statement) record(seq uint64, issued time.Time, ttl time.Duration) record.Record {
	return record.Record{
		Kind: s.Kind, Key: s.Key, Sequence: seq, Issued: issued, TTL: ttl, TLS: s.TLS, Identity: s.Identity, Addrs: s.Addrs,
	}
}

// ownSigned is our own record under a key, if it is in force.
func (r *records) ownSigned(key table.ID, now time.Time) *record.Signed {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, kind := range [...]record.Kind{record.Room, record.Presence} {
		if o := r.own[recordKey{kind, key}]; o != nil && o.signed != nil && o.signed.Fresh(now) == nil {
			return o.signed
		}
	}
	return nil
}

// fill writes the records' part of the snapshot.
func (r *records) fill(v *view.DHT, now int64) {
	m := r.memory.Stats()
	v.Cache = view.Cache{Hits: m.Hits, Misses: m.Misses, Evicted: m.Evicted, Bytes: uint64(max(m.Bytes, 0))}
	v.Records = view.Records{
		Foreign: m.Records, Expired: m.Expired, Dropped: m.Dropped, Kept: r.counts.kept.Load(), Refused: r.counts.refusals(),
		Published: r.counts.published.Load(), Unpublished: r.counts.failed.Load(), Bad: r.counts.bad.Load(), Own: []view.OwnRecord{},
	}
	wall := r.cfg.Wall()
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, o := range r.own {
		switch k.kind {
		case record.Room:
			v.Records.Rooms++
		case record.Presence:
			v.Records.Presences++
		}
		if o.Label == "" {
			continue
		}
		own := view.OwnRecord{Kind: k.kind.String(), Label: o.Label, Key: k.key.String(), Holders: o.holders, AgeS: -1, Withdrawn: o.withdrawn}
		if o.signed != nil {
			own.AgeS = time.Duration(now - o.at).Seconds()
			own.ExpiresS = o.signed.Expires().Sub(wall).Seconds()
		}
		v.Records.Own = append(v.Records.Own, own)
	}
	slices.SortFunc(v.Records.Own, func(a, b view.OwnRecord) int { return cmp.Or(cmp.Compare(a.Label, b.Label), cmp.Compare(a.Key, b.Key)) })
	v.Records.Own = v.Records.Own[:min(len(v.Records.Own), shownOwn)]
}

// claims turns records into what a caller may use: the live ones that are not
// withdrawn, one per publisher, with our own.
func (r *records) claims(found []*record.Signed, kind record.Kind, key table.ID) ([]Claim, error) {
	now := r.cfg.Wall()
	if own := r.ownSigned(key, now); own != nil {
		found = slices.DeleteFunc(slices.Clone(found), func(s *record.Signed) bool { return s.By == own.By })
		found = append(found, own)
	}
	var out []Claim
	for _, s := range found {
		if s.Kind == kind && !s.Withdrawn() && s.Fresh(now) == nil {
			out = append(out, Claim{By: s.By, TLS: s.TLS, Identity: s.Identity, Addrs: slices.Clone(s.Addrs), Expires: s.Expires()})
		}
	}
	if len(out) == 0 {
		return nil, ErrNoRecord
	}
	return out, nil
}

// newer reports whether an error of record.Decode is that of a record of times
// to come, which is no fault.
func newer(err error) bool {
	return errors.Is(err, record.ErrVersion) || errors.Is(err, record.ErrKind)
}

// sameRecord reports whether two records are the same bytes.
func sameRecord(a, b *record.Signed) bool { return bytes.Equal(a.Raw, b.Raw) }
