package fed

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"signalbox/relay/wire"
)

// Bounds of what is followed, and how long it is remembered.
const (
	traceCap     = 512
	traceForgets = time.Minute
	traceWaits   = 3 * time.Second // for the packet to follow
)

// armed is whose next packet is to be followed.
type armed struct {
	id   uint32
	from string
	at   int64
}

// Trace is one thing noted of a packet or call that is followed.
type Trace struct {
	At   int64 // monotonic ns
	Text string
}

// traceLog remembers what was noted.
type traceLog struct {
	mu   sync.Mutex // leaf
	ring []traced
	next int
}

type traced struct {
	id uint32
	Trace
}

func (t *traceLog) add(now int64, id uint32, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := traced{id, Trace{now, text}}
	if len(t.ring) < traceCap {
		t.ring = append(t.ring, e)
		return
	}
	t.ring[t.next] = e
	t.next = (t.next + 1) % traceCap
}

// of returns what was noted under an id, oldest first.
func (t *traceLog) of(id uint32, now int64) []Trace {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Trace
	for i := range t.ring {
		e := &t.ring[(t.next+i)%len(t.ring)]
		if e.id == id && now-e.At < int64(traceForgets) {
			out = append(out, e.Trace)
		}
	}
	return out
}

// follow notes something of a packet that is followed.
func (m *Mesh) follow(now int64, id uint32, text string) {
	if id != 0 {
		m.traces.add(now, id, text)
	}
}

// Follow has the next packet of a member of ours followed across relays. The
// id finds what is noted of it, here and at signalboxes on its way, for a
// minute. False when nobody of that id is in a room that others share.
func (m *Mesh) Follow(room, participant string, now int64) (uint32, bool) {
	m.mu.Lock()
	r := m.rooms[room]
	m.mu.Unlock()
	if r == nil {
		return 0, false
	}
	a := &armed{id: rand.Uint32N(1<<32-1) + 1, from: participant, at: now}
	if old := r.armed.Load(); old != nil && now-old.at < int64(traceWaits) {
		return 0, false // one at a time
	}
	r.armed.Store(a)
	return a.id, true
}

// Traces is what was noted here under an id.
func (m *Mesh) Traces(id uint32, now int64) []Trace { return m.traces.of(id, now) }

// TraceName is an id as it is written.
func TraceName(id uint32) string { return fmt.Sprintf("%08x", id) }

// Toward is the peer through which a member of a room is heard, given by
// fingerprint: the first on the shortest way to their relay. False when no relay
// has told of them.
func (m *Mesh) Toward(room, fingerprint string) (Peer, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rooms[room]
	if r == nil || fingerprint == "" {
		return Peer{}, false
	}
	for _, g := range m.bestLocked(r, nil, func(*group) bool { return true }) {
		if !slices.ContainsFunc(g.members, func(v wire.RoomParticipant) bool { return v.Fingerprint == fingerprint }) {
			continue
		}
		for _, p := range m.peers {
			if p.id == g.path[0] {
				return p.Peer, true
			}
		}
	}
	return Peer{}, false
}
