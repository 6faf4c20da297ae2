package relay

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/engine/ledger"
	"signalbox/relay/wire"
)

// Config is what a Relay is made from. Zero values mean the default.
type Config struct {
	Shards      int // loops that call Forward: 8
	MaxSessions int // participants: 10,000
	MaxRooms    int // 10,000
	MaxRoomSize int // participants of a room: 1,000; rooms of calls have 2

	// A receiver's queue. Audio older than QueueMaxAge is worth less than the
	// silence it would fill, but clients conceal and catch up from stalls of a
	// few hundred ms, so that 500 ms of stall lose nothing up to the 512
	// packets/s that QueueCapacity holds for so long.
	QueueCapacity int           // packets: 256
	QueueBytes    int           // bytes: 1452 times QueueCapacity
	QueueMaxAge   time.Duration // 500 ms

	ClientPPS int // packets/s one client may send, and as many at once: 400
	ClientBPS int // bytes/s: 512,000

	// TierFloor is below what no judgement takes a room, whoever reports what:
	// Catastrophic. An operator's pin may.
	TierFloor wire.Tier

	// Forwarding says that rooms are at another relay: only JoinPair seats
	// anybody, but for the rooms of calls.
	Forwarding bool

	// Global is asked when a room is opened: a room that other relays take
	// part in gets its uplink, and the members elsewhere that are known. Locks
	// are held: it must neither wait nor call the relay. Nil: no room does.
	Global func(*GlobalRoom) (Uplink, *Remotes)

	// Now is the monotonic clock of every int64 time here, in ns: since New.
	Now func() int64
}

func (c Config) withDefaults() Config {
	or := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	or(&c.Shards, 8)
	or(&c.MaxSessions, 10_000)
	or(&c.MaxRooms, 10_000)
	or(&c.MaxRoomSize, 1000)
	or(&c.QueueCapacity, 256)
	or(&c.QueueBytes, 1452*c.QueueCapacity)
	or(&c.ClientPPS, 400)
	or(&c.ClientBPS, 512_000)
	if c.QueueMaxAge <= 0 {
		c.QueueMaxAge = 500 * time.Millisecond
	}
	if c.Now == nil {
		start := time.Now()
		c.Now = func() int64 { return int64(time.Since(start)) }
	}
	return c
}

// numStripes is how many maps the rooms are spread over.
const numStripes = 64

// stripe is one map of rooms by name.
type stripe struct {
	mu    sync.Mutex // guards rooms; never held together with a room's
	rooms map[string]*room
	_     [40]byte // a cache line for each
}

// Relay is all rooms of a node.
type Relay struct {
	// Constant after New.
	cfg     Config
	seed    maphash.Seed
	stripes [numStripes]stripe
	shards  []shard

	// Any goroutine (atomic).
	sessions atomic.Int64  // participants, those being admitted included
	rooms    atomic.Int64  // rooms in the stripes
	lastID   atomic.Uint64 // participant ids
	draining atomic.Bool
	rules    atomic.Pointer[[]*rule] // copy-on-write under mu; nil: nobody is restricted
	early    ledger.Atomics          // refused by Admit or lost before: received, one copy, dropped
	refused  ledger.Atomics          // refused by Forward: one copy, dropped
	late     ledger.Atomics          // copies whose ring was already closed

	// mu guards the rest, and every write of rules and of a participant's rule.
	mu      sync.Mutex
	live    map[uint64]*Participant
	retired ledger.Counts // the final accounts of those that left
}

// New makes a relay without rooms.
func New(cfg Config) *Relay {
	cfg = cfg.withDefaults()
	r := &Relay{cfg: cfg, seed: maphash.MakeSeed(), shards: make([]shard, cfg.Shards), live: map[uint64]*Participant{}}
	for i := range r.stripes {
		r.stripes[i].rooms = map[string]*room{}
	}
	for i := range r.shards {
		r.shards[i].dirty = make([]*Participant, 0, dirtyCap)
		r.shards[i].epoch = 1
	}
	return r
}

func (r *Relay) stripe(name string) *stripe {
	return &r.stripes[maphash.String(r.seed, name)%numStripes]
}

// SetDraining turns the admission of participants off or on.
func (r *Relay) SetDraining(on bool) { r.draining.Store(on) }

// Sessions is how many participants there are.
func (r *Relay) Sessions() int { return int(r.sessions.Load()) }

// Counts is the relay's account (contract section 3). Received holds only what
// was refused or lost before it was handed to a shard; what the shards
// received, they count. It closes at every call, whatever runs meanwhile.
func (r *Relay) Counts() ledger.Counts {
	fan := r.FanOut() // first: a copy is in its ring before it is counted here
	r.mu.Lock()
	c := r.retired
	for _, p := range r.live {
		p.ring.AddTo(&c)
	}
	r.mu.Unlock()
	early, refused, late := r.early.Load(), r.refused.Load(), r.late.Load()
	if made := c.Copies + late.Total(); fan > made {
		c.Copies += fan - made // members of the rosters that no ring was asked to serve: unexplained
	}
	c.Received += early.Total()
	for _, d := range []*ledger.Drops{&early, &refused, &late} {
		c.Copies += d.Total()
		c.Dropped.Add(d)
	}
	return c
}

// FanOutBytes is the payload of the copies made (5.3 step 10).
func (r *Relay) FanOutBytes() uint64 {
	var n uint64
	for i := range r.shards {
		n += r.shards[i].bytes.Load()
	}
	return n
}

// FanOut is how many copies Forward has made, counted by the shards from the
// length of the rosters and apart from every ring: at rest, Counts().Copies is
// this and the packets refused.
func (r *Relay) FanOut() uint64 {
	var n uint64
	for i := range r.shards {
		n += r.shards[i].copies.Load()
	}
	return n
}

// participant finds a live one by its id.
func (r *Relay) participant(id string) (*Participant, error) {
	n, ok := parseID(id)
	if !ok {
		return nil, ErrNoParticipant
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.live[n]; p != nil {
		return p, nil
	}
	return nil, ErrNoParticipant
}
