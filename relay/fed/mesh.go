package fed

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/engine/ledger"
	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// Config is what a Mesh is made from. Zero values mean the defaults.
type Config struct {
	Self  string   // our own TLS fingerprint, without colons, lower case (1.2)
	Rooms []string // global rooms by their canonical names
	Peers []Peer   // relays that may be linked

	// What one link may send, in packets a second: in all, and to one room. A
	// room is not limited to the ten voices of the original (7.3 row 50).
	LinkPPS int // 50,000
	RoomPPS int // 2,000

	NoTrunk bool // send each packet in a datagram of its own

	// A link's queue; see relay.Config for the reasons.
	QueueCapacity int           // packets: 1,024
	QueueBytes    int           // bytes: 1,452 times QueueCapacity
	QueueMaxAge   time.Duration // 500 ms

	MaxRooms   int // rooms one peer may have announced: 4,096
	MaxMembers int // members one peer may have announced, in all: 20,000

	PingEvery time.Duration // a signalbox is asked for a sign of life: 2 s
	PingLimit time.Duration // and given up without one: 6 s

	// What to do with what links say. No lock is held; nothing may wait.
	Event    func(view.Event)
	Call     func(relay string, s wire.Signal, now int64) bool     // a call's signal (5.12); true: its callee has accepted, and is there
	Presence func(relay string, m *wire.PresenceUpdate, now int64) // who is there (5.7)
	Gone     func(relay string, now int64)                         // the last link of a peer has ended
	Asked    func(relay string, q *wire.RouteQuery)                // a signalbox asks; Mesh.Tell answers
	Answered func(relay string, a *wire.RouteResponse)
	Heard    func(Heard) // each step of each packet of a link; nil: nobody logs them
}

func (c Config) withDefaults() Config {
	or(&c.LinkPPS, 50_000)
	or(&c.RoomPPS, 2_000)
	or(&c.QueueCapacity, 1024)
	or(&c.QueueBytes, 1452*c.QueueCapacity)
	or(&c.QueueMaxAge, 500*time.Millisecond)
	or(&c.MaxRooms, 4096)
	or(&c.MaxMembers, 20_000)
	or(&c.PingEvery, 2*time.Second)
	or(&c.PingLimit, 6*time.Second)
	if c.Event == nil {
		c.Event = func(view.Event) {}
	}
	return c
}

func or[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Peer is a relay that may be linked.
type Peer struct {
	Fingerprint string // without colons, lower case
	Label       string
	URL         string // where we dial it; empty: it dials us
	Found       bool   // by the directory, not by the configuration
}

// name is what people read.
func (p Peer) name() string { return cmp.Or(p.Label, p.URL, relayID(p.Fingerprint)) }

// Mesh is all federation of a node.
type Mesh struct {
	// Constant after New.
	cfg   Config
	names map[string]string // lower-case room names, raw and hashed: canonical
	seed  maphash.Seed
	self  string // short

	// Any goroutine (atomic).
	traces   traceLog // own mutex
	received atomic.Uint64
	handed   atomic.Uint64  // packets given to our rooms: one copy, delivered
	refused  ledger.Atomics // packets refused: one copy, dropped
	late     ledger.Atomics // copies whose ring was already closed
	sent     atomic.Uint64  // announcements written
	heard    atomic.Uint64  // announcements read

	// mu guards the rest, and what link.go and board.go say it does.
	mu       sync.Mutex
	peers    map[string]*peer // by fingerprint
	leaving  map[*peer]bool   // no longer among peers, with connections that are ending
	rooms    map[string]*room // by canonical name
	byTag    map[uint64]*room
	calls    map[string]pin // rooms of calls: with whom
	presence *wire.PresenceUpdate
	version  uint64 // the newest of our own rooms' versions
	gen      uint64 // of links and of lists
	retired  ledger.Counts
	swept    int64 // when rooms were last looked through
}

// peer is one relay, linked or not.
type peer struct {
	// Constant after it is made.
	Peer
	id string // short

	// Any goroutine (atomic).
	muted   atomic.Bool
	in      atomic.Uint64  // packets
	deduped atomic.Uint64  // duplicates and loops
	unknown atomic.Uint64  // the tag last received that is no room's
	drops   ledger.Atomics // of what it sent; for its row, not for the account

	// Guarded by Mesh.mu.
	links    []*Link // the best first
	primary  *Link   // the one written to; nil: none
	rooms    map[string][]group
	members  int
	near     map[string]bool // relays it is linked with
	out      uint64          // packets delivered by links that have ended
	outDrops ledger.Drops    // of links that have ended
	since    int64           // its state's
	lastErr  string
	had      []string // rooms it had announced when its last connection went
	hadIn    int      // members in them
	waiting  bool     // nobody dials it now
	changed  chan struct{}
	presence *wire.PresenceUpdate
	told     int64 // when presence was last passed on
	said     saying
}

// New makes a mesh without links. epoch is a number that is higher at every
// start, such as the time.
func New(cfg Config, epoch uint64) *Mesh {
	cfg = cfg.withDefaults()
	m := &Mesh{
		leaving: map[*peer]bool{},
		cfg:     cfg, self: relayID(cfg.Self), seed: maphash.MakeSeed(), names: map[string]string{}, version: epoch,
		peers: map[string]*peer{}, rooms: map[string]*room{}, byTag: map[uint64]*room{}, calls: map[string]pin{},
	}
	for _, name := range cfg.Rooms {
		m.names[strings.ToLower(name)] = name
		m.names[wire.HashRoomName(name)] = name
		m.names[wire.HashRoomName(strings.ToLower(name))] = name
	}
	for _, name := range cfg.Rooms {
		m.openLocked(name)
	}
	m.SetPeers(cfg.Peers, true, 0)
	return m
}

// AddPeer lets one more relay be linked; false when it is known already.
func (m *Mesh) AddPeer(p Peer, now int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.Fingerprint == m.cfg.Self || m.peers[p.Fingerprint] != nil {
		return false
	}
	m.addLocked(p, now)
	return true
}

func (m *Mesh) addLocked(p Peer, now int64) {
	m.peers[p.Fingerprint] = &peer{
		Peer: p, id: relayID(p.Fingerprint), rooms: map[string][]group{}, since: now, changed: make(chan struct{}, 1), waiting: p.URL == "",
	}
}

// callPrefix begins the names of rooms of direct calls, which are global by
// themselves (5.13).
const callPrefix = "call-"

// Canonical is the one name of a global room, whatever form it was asked for
// in; false when the room is not global. A browser's hashed name and everybody
// else's are one room (7.3 row 47).
func (m *Mesh) Canonical(name string) (string, bool) {
	if strings.HasPrefix(name, callPrefix) {
		return name, true
	}
	if c, ok := m.names[strings.ToLower(name)]; ok {
		return c, true
	}
	return name, false
}

// Linked says whether there is a connection to the relay.
func (m *Mesh) Linked(fingerprint string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[fingerprint]
	return p != nil && len(p.links) > 0
}

// Settled says whether there is a connection that has proved to be the relay's:
// nobody needs to dial it.
func (m *Mesh) Settled(fingerprint string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[fingerprint]
	return p != nil && slices.ContainsFunc(p.links, func(l *Link) bool { return l.verified })
}

// Preferred says whether, of two relays that dial each other, it is ours to.
func (m *Mesh) Preferred(fingerprint string) bool { return m.cfg.Self < fingerprint }

// Dialled notes how a try to reach a peer has ended, or that none is made
// now.
func (m *Mesh) Dialled(fingerprint string, err error, now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[fingerprint]
	if p == nil || err == nil {
		return
	}
	p.lastErr = err.Error()
	if p.waiting { // it was not being dialled when this failed
		p.since = now
	}
	p.waiting = false
}

// Changed receives when a peer's links have come or gone: whoever dials it
// looks again.
func (m *Mesh) Changed(fingerprint string) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.peers[fingerprint]; p != nil {
		return p.changed
	}
	return nil
}

func (p *peer) poke() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// find is the peer that an operator means: by label, address or the start of
// its fingerprint. mu is held.
func (m *Mesh) findLocked(who string) *peer {
	plain := strings.ToLower(strings.ReplaceAll(who, ":", ""))
	var found *peer
	for _, p := range m.peers {
		switch {
		case who == "":
		case p.name() == who || p.Fingerprint == plain:
			return p
		case p.URL == who || (len(plain) >= 4 && strings.HasPrefix(p.Fingerprint, plain)):
			found = p
		}
	}
	return found
}

// Find names the peer an operator means.
func (m *Mesh) Find(who string) (Peer, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.findLocked(who); p != nil {
		return p.Peer, true
	}
	return Peer{}, false
}

// Mute stops (true) or resumes the media with a peer, both ways. What it sends
// meanwhile is dropped as muted. Its members stay listed, and no signalbox
// carries its media to us, or ours to it, instead.
func (m *Mesh) Mute(fingerprint string, on bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[fingerprint]
	if p == nil {
		return false
	}
	p.muted.Store(on)
	for _, r := range m.rooms {
		m.fanLocked(r)
	}
	return true
}

// Muted says whether an operator has muted the peer.
func (m *Mesh) Muted(fingerprint string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[fingerprint]
	return p != nil && p.muted.Load()
}

// Reconnect ends the peer's connections. Whoever dials it does so at once; ok
// is false when there is nobody of that fingerprint.
func (m *Mesh) Reconnect(fingerprint string) (ok bool) {
	m.mu.Lock()
	p := m.peers[fingerprint]
	var ends []Transport
	if p != nil {
		for _, l := range p.links {
			ends = append(ends, l.t)
		}
		p.poke()
	}
	m.mu.Unlock()
	for _, t := range ends {
		t.Close("reconnecting")
	}
	return p != nil
}

// Counts is the account of federation (contract section 3). It closes at every
// call, whatever runs meanwhile.
func (m *Mesh) Counts() ledger.Counts {
	m.mu.Lock()
	c := m.retired
	for _, p := range m.peers {
		p.addTo(&c)
	}
	for p := range m.leaving {
		p.addTo(&c)
	}
	m.mu.Unlock()
	refused, late, handed := m.refused.Load(), m.late.Load(), m.handed.Load()
	c.Received += m.received.Load()
	c.Copies += handed
	c.Delivered += handed
	for _, d := range []*ledger.Drops{&refused, &late} {
		c.Copies += d.Total()
		c.Dropped.Add(d)
	}
	return c
}

func (p *peer) addTo(c *ledger.Counts) {
	for _, l := range p.links {
		l.ring.AddTo(c)
	}
}

// Announcements counts the lists sent to and read from other relays.
func (m *Mesh) Announcements() (sent, heard uint64) { return m.sent.Load(), m.heard.Load() }

// sortedPeers are the peers in the order of their names. mu is held.
func (m *Mesh) sortedPeers() []*peer {
	out := make([]*peer, 0, len(m.peers))
	for _, p := range m.peers {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *peer) int { return cmp.Or(cmp.Compare(a.name(), b.name()), cmp.Compare(a.id, b.id)) })
	return out
}

// saying is what an operator was last told of packets for unknown rooms, so
// that a spray of them is one line a minute.
type saying struct {
	count uint64
	at    int64
}

// unknownEvent is that line, when it is due. mu is held.
func (p *peer) unknownEvent(now int64) (view.Event, bool) {
	n := p.drops[ledger.UnknownRoom].Load()
	if n == p.said.count || (p.said.at != 0 && now-p.said.at < int64(time.Minute)) {
		return view.Event{}, false
	}
	msg := fmt.Sprintf("%s has sent %d packets for rooms that are unknown here, the last with tag %016x", p.name(), n-p.said.count, p.unknown.Load())
	p.said = saying{n, now}
	return view.Event{Kind: "unknown_room", Severity: view.Warn, Subject: p.name(), Message: msg}, true
}

// Isolated says whether nobody is linked.
func (m *Mesh) Isolated() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		if p.primary != nil {
			return false
		}
	}
	return true
}
