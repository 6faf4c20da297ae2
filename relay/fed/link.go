package fed

import (
	"slices"
	"sync/atomic"
	"time"

	"signalbox/engine/ledger"
	"signalbox/engine/view"
	"signalbox/relay/queue"
	"signalbox/relay/wire"
)

// Transport is what a link needs of its connection.
type Transport interface {
	RemoteAddr() string
	RTT() time.Duration
	MaxDatagram() int // bytes; 0: not known
	// Close has the connection end; Link.Down follows. It does not wait.
	Close(reason string)
}

// controlMax bounds what waits to be said beside announcements.
const controlMax = 256

// signalRate is how many signals a second a peer may send us before we read
// them more slowly.
const signalRate = 200

// Link is one connection to a peer, from Up to Down.
type Link struct {
	// Constant after Up.
	mesh     *Mesh
	peer     *peer
	t        Transport
	gen      uint64
	outbound bool
	verified bool
	ring     *queue.Ring[Packet]
	wake     chan struct{} // 1 slot: the ring has something
	signals  chan struct{} // 1 slot: there may be a signal
	born     int64

	// Any goroutine (atomic).
	lastHeard atomic.Int64
	box       atomic.Bool // the other side is a signalbox
	ended     atomic.Bool

	// Owned by the reader of datagrams.
	reader reader

	// Owned by the reader of signals.
	rate bucket

	// Guarded by Mesh.mu.
	control  []wire.Signal
	helloDue bool
	hereDue  bool // our presence
	dirty    map[string]bool
	told     map[string]uint64 // by room, the hash of what was said last; 0: nothing
	lastPing int64
}

// Up is a new connection.
type Up struct {
	Fingerprint string // proved, or claimed and admitted all the same
	Verified    bool
	Outbound    bool
	Hello       *wire.FederationHello // what the peer has said of itself; nil: nothing yet
	Transport   Transport
}

// Up registers a connection to a known peer. It returns nil, and why, when the
// link is not wanted.
func (m *Mesh) Up(u Up, now int64) (*Link, string) {
	m.mu.Lock()
	p := m.peers[u.Fingerprint]
	if p == nil {
		m.mu.Unlock()
		return nil, "not a relay we know"
	}
	m.gen++
	l := &Link{
		mesh: m, peer: p, t: u.Transport, gen: m.gen, outbound: u.Outbound, verified: u.Verified, born: now,
		ring: queue.New(m.cfg.QueueCapacity, m.cfg.QueueBytes, int64(m.cfg.QueueMaxAge), Packet.size),
		wake: make(chan struct{}, 1), signals: make(chan struct{}, 1),
		dirty: map[string]bool{}, told: map[string]uint64{}, lastPing: now,
	}
	l.lastHeard.Store(now)
	l.reader.start()
	p.links = append(p.links, l)
	if u.Hello != nil {
		m.helloLocked(l, u.Hello)
	}
	l.helloDue = u.Outbound || l.box.Load()
	l.wakeSignals()
	ends := m.chooseLocked(p, now)
	p.poke()
	m.mu.Unlock()
	for _, e := range ends {
		e.t.Close("duplicate link")
	}
	m.cfg.Event(view.Event{Kind: "link_up", Subject: p.name(), Message: l.describe() + " is up"})
	return l, ""
}

func (l *Link) describe() string {
	dir, proof := "link from ", ""
	if l.outbound {
		dir = "link to "
	}
	if !l.verified {
		proof = ", unproven"
	}
	return dir + l.peer.name() + " (" + l.t.RemoteAddr() + proof + ")"
}

// chooseLocked puts the connection that is written to first, and returns those
// that are not needed. mu is held.
func (m *Mesh) chooseLocked(p *peer, now int64) (ends []*Link) {
	before := p.primary
	want := func(l *Link) bool { return l.outbound == m.Preferred(p.Fingerprint) }
	slices.SortStableFunc(p.links, func(a, b *Link) int {
		for _, better := range []func(*Link) bool{
			func(l *Link) bool { return !l.ended.Load() },
			func(l *Link) bool { return l.verified },
			func(l *Link) bool { return l.box.Load() && want(l) || !l.box.Load() && l.outbound },
		} {
			if x, y := better(a), better(b); x != y {
				if x {
					return -1
				}
				return 1
			}
		}
		return int(b.gen) - int(a.gen) // the newest: the older one may be half dead
	})
	for i, l := range p.links {
		older := slices.ContainsFunc(p.links[:i], func(o *Link) bool { return o.outbound == l.outbound || l.box.Load() && o.box.Load() })
		if i > 0 && older && !l.ended.Load() {
			l.ended.Store(true)
			ends = append(ends, l)
		}
	}
	p.primary = nil
	if len(p.links) > 0 && !p.links[0].ended.Load() {
		p.primary = p.links[0]
	}
	if p.primary == before {
		return ends
	}
	p.since = now
	m.primaryChangedLocked(p)
	return ends
}

// primaryChangedLocked brings in line what depends on who is linked.
func (m *Mesh) primaryChangedLocked(p *peer) {
	if l := p.primary; l != nil {
		for name := range m.rooms {
			l.dirty[name] = true
		}
		l.hereDue = true
		l.wakeSignals()
	}
	for _, r := range m.rooms {
		m.fanLocked(r)
	}
	m.nearChangedLocked()
}

// Down takes the connection out, and only this one: a late end of an old
// connection leaves its successor alone.
func (l *Link) Down(reason string, now int64) {
	m, p := l.mesh, l.peer
	m.mu.Lock()
	i := slices.Index(p.links, l)
	if i < 0 {
		m.mu.Unlock()
		return
	}
	l.ended.Store(true)
	p.links = slices.Delete(p.links, i, i+1)
	final := l.ring.Close(ledger.LinkDown)
	m.retired.Add(&final)
	p.out += final.Delivered
	p.outDrops.Add(&final.Dropped)
	ends := m.chooseLocked(p, now)
	gone := len(p.links) == 0
	var syncs []*room
	if gone {
		delete(m.leaving, p)
		p.lastErr = reason
		p.near, p.presence = nil, nil
		p.had, p.hadIn = p.roomNames(), p.members
		syncs = m.forgetLocked(p)
	}
	p.poke()
	m.mu.Unlock()
	for _, e := range ends {
		e.t.Close("duplicate link")
	}
	m.sync(syncs)
	sev := view.Info
	if gone {
		sev = view.Warn
		if m.cfg.Gone != nil {
			m.cfg.Gone(p.Fingerprint, now)
		}
	}
	m.cfg.Event(view.Event{Kind: "link_down", Severity: sev, Subject: p.name(), Message: l.describe() + " has ended: " + reason})
}

// sayLocked queues a signal for the peer, after those before it; false when it
// does not take them. mu is held.
func (l *Link) sayLocked(s wire.Signal) bool {
	if len(l.control) >= controlMax {
		return false
	}
	l.control = append(l.control, s)
	l.wakeSignals()
	return true
}

func (l *Link) wakeSignals() {
	select {
	case l.signals <- struct{}{}:
	default:
	}
}

func (l *Link) wakeWriter() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// SignalWake receives when there may be a signal: ask Next until there is none.
func (l *Link) SignalWake() <-chan struct{} { return l.signals }

// Next is what the peer must be told next. One goroutine at a time, which
// writes in this order. A signal that cannot be written ends the link, since
// the peer would not know what we believe it does.
func (l *Link) Next() (wire.Signal, bool) {
	m := l.mesh
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.helloDue {
		l.helloDue = false
		return m.ownHelloLocked(l), true
	}
	if len(l.control) > 0 {
		s := l.control[0]
		l.control[0] = nil
		l.control = l.control[1:]
		return s, true
	}
	if l.peer.primary != l {
		return nil, false
	}
	if l.hereDue && l.box.Load() && m.presence != nil && !l.peer.Found { // who came by itself is not told who is here
		l.hereDue = false
		return m.presence, true
	}
	for name := range l.dirty {
		delete(l.dirty, name)
		if s := m.composeLocked(l, name); s != nil {
			m.sent.Add(1)
			return s, true
		}
	}
	return nil, false
}

// Tick asks signalboxes for signs of life, gives up those that give none, and
// forgets rooms nobody needs. The caller runs it a few times a second.
func (m *Mesh) Tick(now int64) {
	type end struct {
		t      Transport
		reason string
	}
	var ends []end
	var evs []view.Event
	type told struct {
		relay string
		m     *wire.PresenceUpdate
	}
	var tell []told
	m.mu.Lock()
	for _, p := range m.peers {
		for _, l := range p.links {
			if !l.box.Load() || l.ended.Load() { // others do not answer on a link; QUIC finds them dead
				continue
			}
			if now-l.lastHeard.Load() > int64(m.cfg.PingLimit) {
				l.ended.Store(true)
				ends = append(ends, end{l.t, "nothing heard for " + m.cfg.PingLimit.String()})
				continue
			}
			if now-l.lastPing >= int64(m.cfg.PingEvery) {
				l.lastPing = now
				l.sayLocked(&wire.Ping{TimestampMS: uint64(now / 1e6)})
			}
		}
		if p.presence != nil && now-p.told >= int64(presenceEvery) && len(p.links) > 0 {
			p.told = now
			tell = append(tell, told{p.Fingerprint, p.presence})
		}
		if ev, ok := p.unknownEvent(now); ok {
			evs = append(evs, ev)
		}
	}
	m.sweepLocked(now)
	m.mu.Unlock()
	for _, e := range ends {
		e.t.Close(e.reason)
	}
	for _, ev := range evs {
		m.cfg.Event(ev)
	}
	for _, t := range tell {
		if m.cfg.Presence != nil {
			m.cfg.Presence(t.relay, t.m, now)
		}
	}
}

// presenceEvery is how often what a linked peer has told is confirmed: it is
// sent by change, and believed while the link lives.
const presenceEvery = 10 * time.Second
