package fed

import (
	"errors"
	"slices"
	"strings"
	"time"

	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// callForgotten is how long a call that has no room is remembered.
const callForgotten = 10 * time.Minute

// maxPins bounds how many calls are; beyond, the oldest without a room goes.
const maxPins = 20_000

// pin says with which relay the room of a call is shared.
type pin struct {
	relay string // by fingerprint
	at    int64
}

// ErrNoLink is returned for a relay that cannot be told anything now.
var ErrNoLink = errors.New("no link to the relay, or it takes nothing more")

// Relays are the relays that are linked now, signalboxes first.
func (m *Mesh) Relays() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var boxes, rest []string
	for _, p := range m.sortedPeers() {
		switch {
		case p.primary == nil:
		case p.primary.box.Load():
			boxes = append(boxes, p.Fingerprint)
		default:
			rest = append(rest, p.Fingerprint)
		}
	}
	return append(boxes, rest...)
}

// Forward queues a call's signal for a relay (5.12). When it is our client's
// acceptance the call's room is from then on shared with that relay, and with
// nobody else.
func (m *Mesh) Forward(fingerprint string, s wire.Signal, now int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[fingerprint]
	if p == nil || p.primary == nil {
		return ErrNoLink
	}
	if a, ok := s.(*wire.DirectCallAnswer); ok && a.AcceptMode != wire.AcceptReject {
		m.pinLocked(a.CallID, fingerprint, now)
	}
	if !p.primary.sayLocked(&wire.FederatedSignalForward{Inner: s, OriginRelayFP: colons(m.cfg.Self)}) {
		return ErrNoLink
	}
	return nil
}

// pinLocked notes with which relay a call is. mu is held.
func (m *Mesh) pinLocked(callID, fingerprint string, now int64) {
	name := callPrefix + strings.ToLower(callID) // as a server name is (1.3)
	if _, have := m.calls[name]; !have && len(m.calls) >= maxPins {
		m.unpinLocked()
	}
	m.calls[name] = pin{fingerprint, now}
	r := m.rooms[name]
	if r == nil {
		r = m.openLocked(name)
	}
	m.roomChangedLocked(r)
}

// unpinLocked forgets the oldest call, of those without a room if there are any.
// mu is held.
func (m *Mesh) unpinLocked() {
	oldest, roomless := "", false
	for name, p := range m.calls {
		free := m.rooms[name] == nil
		if oldest == "" || free && !roomless || free == roomless && p.at < m.calls[oldest].at {
			oldest, roomless = name, free
		}
	}
	delete(m.calls, oldest)
}

// Tell queues a question for a signalbox, whose answer comes through
// Config.Answered, or an answer to one of its own.
func (m *Mesh) Tell(fingerprint string, s wire.Signal) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[fingerprint]
	if p == nil || !p.box() || !p.primary.sayLocked(s) {
		return ErrNoLink
	}
	return nil
}

// SetPresence says who is here; signalboxes are told when that changes.
func (m *Mesh) SetPresence(fingerprints []string, addr string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.presence; old != nil && old.RelayAddr == addr && slices.Equal(old.Fingerprints, fingerprints) || m.presence == nil && len(fingerprints) == 0 {
		return
	}
	m.presence = &wire.PresenceUpdate{Fingerprints: slices.Clone(fingerprints), RelayAddr: addr}
	for _, p := range m.peers {
		if l := p.primary; l != nil {
			l.hereDue = true
			l.wakeSignals()
		}
	}
}

// SignalWait is how long the reader of signals is to wait before it reads the
// next: nothing, unless the peer sends more than it should.
func (l *Link) SignalWait(now int64) time.Duration {
	if l.rate.take(signalRate, now) {
		return 0
	}
	return time.Second / signalRate
}

// Handle does what the peer says. One goroutine at a time, in the order in
// which the peer said it.
func (l *Link) Handle(s wire.Signal, now int64) {
	l.lastHeard.Store(now)
	m, p := l.mesh, l.peer
	switch s := s.(type) {
	case *wire.FederationHello:
		l.hello(s, now)
	case *wire.GlobalRoomActive:
		l.announced(s.Room, s.Participants, s.Via)
	case *wire.GlobalRoomInactive:
		l.announced(s.Room, nil, s.Via)
	case *wire.FederatedSignalForward:
		l.forwarded(s, now)
	case *wire.Ping:
		m.mu.Lock()
		l.sayLocked(&wire.Pong{TimestampMS: s.TimestampMS})
		m.mu.Unlock()
	case *wire.PresenceUpdate:
		if l.box.Load() && m.cfg.Presence != nil {
			m.mu.Lock()
			p.presence, p.told = s, now
			m.mu.Unlock()
			m.cfg.Presence(p.Fingerprint, s, now)
		}
	case *wire.RouteQuery:
		if m.cfg.Asked != nil && l.box.Load() {
			m.cfg.Asked(p.Fingerprint, s)
		}
	case *wire.RouteResponse:
		if m.cfg.Answered != nil {
			m.cfg.Answered(p.Fingerprint, s)
		}
	}
}

func (l *Link) hello(h *wire.FederationHello, now int64) {
	m, p := l.mesh, l.peer
	m.mu.Lock()
	var ends []*Link
	first := !l.box.Load()
	if m.helloLocked(l, h) {
		if first {
			ends = m.chooseLocked(p, now)
			m.primaryChangedLocked(p)
		}
		for _, r := range m.rooms {
			m.fanLocked(r)
			if l := p.primary; l != nil {
				l.dirty[r.name] = true
				l.wakeSignals()
			}
		}
	}
	m.mu.Unlock()
	for _, e := range ends {
		e.t.Close("duplicate link")
	}
}

func (l *Link) announced(name string, list []wire.RoomParticipant, via *string) {
	m := l.mesh
	m.heard.Add(1)
	if !l.box.Load() {
		via = nil
	}
	m.mu.Lock()
	r := m.announcedLocked(l.peer, name, list, via)
	m.mu.Unlock()
	if r != nil {
		m.sync([]*room{r})
	}
}

// forwarded takes a call's signal. Who it is from is who the link is with,
// whatever it claims (7.2 row 29).
func (l *Link) forwarded(s *wire.FederatedSignalForward, now int64) {
	m, p := l.mesh, l.peer
	if normal(s.OriginRelayFP) == m.cfg.Self {
		return // our own, come back (5.12)
	}
	if m.cfg.Call == nil {
		m.cfg.Event(view.Event{Kind: "call_unserved", Subject: p.name(), Message: p.name() + " sent a call's " + s.Inner.Variant() + ", and nobody here takes calls"})
		return
	}
	a, answer := s.Inner.(*wire.DirectCallAnswer)
	if m.cfg.Call(p.Fingerprint, s.Inner, now) && answer { // who is no party shares no room by saying so
		m.mu.Lock()
		m.pinLocked(a.CallID, p.Fingerprint, now)
		m.mu.Unlock()
	}
}
