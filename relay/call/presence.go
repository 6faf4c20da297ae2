package call

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Bounds of what other relays make us remember.
const (
	maxFingerprint = 128 // bytes
	maxRelays      = 256
	maxPerRelay    = 10_000
	maxRemote      = 100_000
	remoteTTL      = 35 * time.Second // relays tell every 10 s (5.15)
	maxShared      = 1_000            // identities told to another relay: they fit one frame
)

// Presence is who can be reached where (5.7): local identities by what keeps
// them here, remote ones by the relay that has told of them, until it has been
// silent for 35 s.
type Presence struct {
	mu     sync.Mutex // guards everything below; nothing waits under it
	local  map[string]*local
	relays map[string]*relayed
	remote map[string]string // fingerprint: relay; the last to tell wins

	refused uint64 // names beyond a bound
}

// local is an identity with its connections, signalling and media.
type local struct {
	alias string
	stays map[*Stay]struct{}
}

// relayed is what one relay has told.
type relayed struct {
	addr  string
	names map[string]struct{}
	at    int64
}

// Stay is one connection's part in an identity's presence.
type Stay struct {
	p    *Presence
	fp   string
	room string // empty: a signalling connection
}

// NewPresence is empty.
func NewPresence() *Presence {
	return &Presence{local: map[string]*local{}, relays: map[string]*relayed{}, remote: map[string]string{}}
}

// Enter notes a connection of an identity; Leave of the result ends it, and
// nothing else does. The caller bounds how many there are.
func (p *Presence) Enter(fingerprint, alias, room string) *Stay {
	s := &Stay{p: p, fp: fingerprint, room: room}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.local[fingerprint]
	if l == nil {
		l = &local{stays: map[*Stay]struct{}{}}
		p.local[fingerprint] = l
	}
	if alias != "" {
		l.alias = alias
	}
	l.stays[s] = struct{}{}
	return s
}

// Leave ends the stay; the last one of an identity ends its presence.
func (s *Stay) Leave() {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	l := s.p.local[s.fp]
	if l == nil {
		return
	}
	delete(l.stays, s)
	if len(l.stays) == 0 {
		delete(s.p.local, s.fp)
	}
}

// Learn replaces what a relay has told of its clients. The caller has decided
// that this relay may. It returns how many names were kept.
func (p *Presence) Learn(relay, addr string, fingerprints []string, now int64) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.relays[relay]
	if r == nil {
		if len(p.relays) >= maxRelays {
			p.refused += uint64(len(fingerprints))
			return 0
		}
		r = &relayed{}
		p.relays[relay] = r
	}
	p.forget(relay, r)
	r.addr, r.at, r.names = addr, now, make(map[string]struct{}, min(len(fingerprints), maxPerRelay))
	for _, fp := range fingerprints {
		if fp == "" || len(fp) > maxFingerprint || len(r.names) >= maxPerRelay || len(p.remote) >= maxRemote {
			p.refused++
			continue
		}
		if old := p.relays[p.remote[fp]]; old != nil {
			delete(old.names, fp) // it has moved
		}
		r.names[fp] = struct{}{}
		p.remote[fp] = relay
	}
	return len(r.names)
}

// forget takes a relay's names out.
func (p *Presence) forget(relay string, r *relayed) {
	for fp := range r.names {
		if p.remote[fp] == relay {
			delete(p.remote, fp)
		}
	}
	r.names = nil
}

// Forget drops what a relay has told: its link is gone.
func (p *Presence) Forget(relay string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.relays[relay]; r != nil {
		p.forget(relay, r)
		delete(p.relays, relay)
	}
}

// Expire forgets relays that have been silent for too long.
func (p *Presence) Expire(now int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, r := range p.relays {
		if now-r.at >= int64(remoteTTL) {
			p.forget(name, r)
			delete(p.relays, name)
		}
	}
}

// Location is where an identity is.
type Location struct {
	Fingerprint string
	Alias       string
	Local       bool
	Signal      bool     // local: it can be called
	Rooms       []string // local: where it is in a conversation
	Relay       string   // remote: which relay has it
	Addr        string   // remote: that relay's address
}

// Where finds an identity; local wins over remote.
func (p *Presence) Where(fingerprint string) (Location, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.local[fingerprint]; l != nil {
		return l.location(fingerprint), true
	}
	relay, ok := p.remote[fingerprint]
	if !ok {
		return Location{}, false
	}
	return Location{Fingerprint: fingerprint, Relay: relay, Addr: p.relays[relay].addr}, true
}

func (l *local) location(fp string) Location {
	out := Location{Fingerprint: fp, Alias: l.alias, Local: true}
	for s := range l.stays {
		if s.room == "" {
			out.Signal = true
			continue
		}
		out.Rooms = append(out.Rooms, s.room)
	}
	slices.Sort(out.Rooms)
	return out
}

// Locals are the identities that are here, in order, at most 1,000: what
// another relay is told.
func (p *Presence) Locals() []string {
	p.mu.Lock()
	out := make([]string, 0, len(p.local))
	for fp := range p.local {
		out = append(out, fp)
	}
	p.mu.Unlock()
	slices.Sort(out)
	return out[:min(len(out), maxShared)]
}

// All is every identity, local ones first, each group in order, up to limit.
func (p *Presence) All(limit int) []Location {
	p.mu.Lock()
	out := make([]Location, 0, len(p.local)+len(p.remote))
	for fp, l := range p.local {
		out = append(out, l.location(fp))
	}
	for fp, relay := range p.remote {
		if p.local[fp] == nil {
			out = append(out, Location{Fingerprint: fp, Relay: relay, Addr: p.relays[relay].addr})
		}
	}
	p.mu.Unlock()
	slices.SortFunc(out, func(a, b Location) int {
		if a.Local != b.Local {
			if a.Local {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Fingerprint, b.Fingerprint)
	})
	return out[:min(len(out), limit)]
}

// Told is what one relay has told.
type Told struct {
	Relay, Addr  string
	Fingerprints []string
	Age          time.Duration
}

// Relays is what every relay has told, by name.
func (p *Presence) Relays(now int64) []Told {
	p.mu.Lock()
	out := make([]Told, 0, len(p.relays))
	for name, r := range p.relays {
		t := Told{Relay: name, Addr: r.addr, Age: time.Duration(now - r.at), Fingerprints: make([]string, 0, len(r.names))}
		for fp := range r.names {
			t.Fingerprints = append(t.Fingerprints, fp)
		}
		out = append(out, t)
	}
	p.mu.Unlock()
	for _, t := range out {
		slices.Sort(t.Fingerprints)
	}
	slices.SortFunc(out, func(a, b Told) int { return cmp.Compare(a.Relay, b.Relay) })
	return out
}

// Counts are the local and remote identities, and the names refused so far.
func (p *Presence) Counts() (locals, remotes int, refused uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.local), len(p.remote), p.refused
}
