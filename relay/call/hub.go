package call

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// Config is what a Hub is made from. Zero values mean the defaults.
type Config struct {
	MaxClients     int           // connections: 10,000
	MaxPerIdentity int           // connections of one identity; the oldest makes way: 4
	MaxCalls       int           // 10,000
	MaxPerCaller   int           // calls one identity has started and that live: 4
	RingTimeout    time.Duration // an offer nobody answers: 60 s
	Stall          time.Duration // in which a client must have read what it was told: 2 s
	Grace          time.Duration // an active call outlives a party's lost connection: 10 s
	SeekTimeout    time.Duration // how long Seek may take: 5 s

	// RequireSignature refuses registrations that are not signed. The form
	// with the zero identity stays, since it registers nobody.
	RequireSignature bool
	CertHash         [32]byte // SHA-256 of our leaf certificate, in what clients sign
	Build            string   // told to clients

	// Stranger says of a relay that nobody has named it. No more than a few of
	// our clients ring for one at a time: it can say that anybody calls. No lock
	// is held.
	Stranger func(relay string) bool
	// Event is told what an operator should know. No lock is held.
	Event func(view.Event)
	// Seek looks for the relay of an identity that no known relay has, in its
	// own time, and answers with Hub.Found. It must not wait. False or nil:
	// there is nowhere to look.
	Seek func(fingerprint, callID string) bool
}

func (c Config) withDefaults() Config {
	def(&c.MaxClients, 10_000)
	def(&c.MaxPerIdentity, 4)
	def(&c.MaxCalls, 10_000)
	def(&c.MaxPerCaller, 4)
	def(&c.RingTimeout, time.Minute)
	def(&c.Stall, 2*time.Second)
	def(&c.Grace, 10*time.Second)
	def(&c.SeekTimeout, 5*time.Second)
	if c.Stranger == nil {
		c.Stranger = func(string) bool { return false }
	}
	if c.Event == nil {
		c.Event = func(view.Event) {}
	}
	return c
}

func def[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Remote is the way to the clients of other relays. A relay is named by its
// TLS fingerprint without colons, in lower case (1.2). No method waits.
type Remote interface {
	// Route names the relays that may have the identity, best first: the one
	// known to have it, or else those that may be asked. None: nobody.
	Route(fingerprint string) []string
	// Forward queues a call's signal for a relay; an error when it cannot.
	Forward(relay string, s wire.Signal) error
}

// Why something was refused; each has a counter.
const (
	whyRate = iota
	whyParty
	whyDuplicate
	whyBusy
	whyOffline
	whyStalled
	whyInvalid
	whyIdentity
	whyFull
	whyDraining
	whyUnknownCall
	whyState
	whyVerb
	whyMalformed
	numWhy
)

var whyNames = [numWhy]string{
	"rate", "not_a_party", "duplicate_call", "busy", "offline", "peer_stalled", "invalid", "identity", "full", "draining", "unknown_call", "wrong_state", "unserved", "malformed",
}

// Hub is the registry of clients and of the calls between them.
type Hub struct {
	// Constant after New.
	cfg      Config
	presence *Presence

	// Any goroutine (atomic).
	remote  atomic.Pointer[Remote]
	refused [numWhy]atomic.Uint64

	// mu guards the rest, and every field of Client and call said to be so.
	mu        sync.Mutex
	clients   map[string][]*Client // by fingerprint, the newest last
	conns     int                  // all connections, anonymous ones included
	anonymous int
	nextGen   uint64
	calls     map[string]*call            // by key
	parties   map[string]map[string]*call // a local party's calls, by fingerprint and key
	waiting   map[string]int              // by relay: its callers' calls that are not answered
	count     struct{ offers, answers, hangups, ringTimeouts, stalls, moves uint64 }
	draining  bool
}

// New makes a hub without clients. Presence learns who registers.
func New(cfg Config, p *Presence) *Hub {
	return &Hub{
		cfg: cfg.withDefaults(), presence: p, clients: map[string][]*Client{}, calls: map[string]*call{}, parties: map[string]map[string]*call{}, waiting: map[string]int{},
	}
}

// SetRemote gives the hub its way to other relays; nil takes it away.
func (h *Hub) SetRemote(r Remote) {
	if r == nil {
		h.remote.Store(nil)
		return
	}
	h.remote.Store(&r)
}

// HasRemote says whether there is a way to other relays.
func (h *Hub) HasRemote() bool { return h.remote.Load() != nil }

func (h *Hub) way() Remote {
	if r := h.remote.Load(); r != nil {
		return *r
	}
	return nil
}

// after is what is to be done when the hub's lock is free again.
type after struct {
	events []view.Event
	sends  []send
	seeks  [][2]string
	closes []closing
}

// send is a signal for another relay.
type send struct {
	relay, key string
	s          wire.Signal
	offer      bool
}

// closing is a connection to end.
type closing struct {
	f      func(string)
	reason string
}

func (a *after) event(kind, severity, subject, message string) {
	a.events = append(a.events, view.Event{Kind: kind, Severity: severity, Subject: subject, Message: message})
}

func (a *after) forward(relay, key string, s wire.Signal) {
	if relay != "" {
		a.sends = append(a.sends, send{relay: relay, key: key, s: s})
	}
}

// locked runs f under the lock, and what f leaves to be done after it.
func (h *Hub) locked(now int64, f func(a *after)) {
	var a after
	h.mu.Lock()
	f(&a)
	h.mu.Unlock()
	h.finish(&a, now)
}

func (h *Hub) finish(a *after, now int64) {
	for _, c := range a.closes {
		c.f(c.reason)
	}
	for _, ev := range a.events {
		h.cfg.Event(ev)
	}
	for _, s := range a.seeks {
		if h.cfg.Seek == nil || !h.cfg.Seek(s[0], s[1]) {
			h.Found(s[1], nil, now)
		}
	}
	if len(a.sends) == 0 {
		return
	}
	way := h.way()
	for _, s := range a.sends {
		if way != nil && way.Forward(s.relay, s.s) == nil {
			continue
		}
		if s.offer {
			h.unreachable(s.relay, s.key, now)
		}
	}
}

func (h *Hub) refuse(why int) { h.refused[why].Add(1) }

// SetDraining refuses new calls, and ends those nobody has answered yet: their
// parties could not join the call's room any more.
func (h *Hub) SetDraining(on bool, now int64) {
	h.locked(now, func(a *after) {
		h.draining = on
		if !on {
			return
		}
		for _, c := range h.calls {
			if c.state != Active {
				h.end(a, c, ending{reason: wire.HangupError, why: "the relay is draining"}, now)
			}
		}
	})
}

// Tick ends what has waited too long. The caller runs it a few times a second.
func (h *Hub) Tick(now int64) {
	h.locked(now, func(a *after) {
		for _, c := range h.calls {
			switch {
			case c.state != Active && now-c.created >= int64(h.cfg.RingTimeout):
				h.count.ringTimeouts++
				h.end(a, c, ending{reason: wire.HangupTimeout, why: "nobody answered", severity: view.Info}, now)
			case c.seeking && now-c.created >= int64(h.cfg.SeekTimeout):
				h.offline(a, c, now)
			case c.caller.lost > 0 && now-c.caller.lost >= int64(h.cfg.Grace):
				h.end(a, c, ending{reason: wire.HangupError, why: "the caller lost its connection"}, now)
			case c.callee.lost > 0 && now-c.callee.lost >= int64(h.cfg.Grace):
				h.end(a, c, ending{reason: wire.HangupError, why: "the callee lost its connection"}, now)
			}
		}
	})
	h.presence.Expire(now)
}

// Registered says whether the identity has a connection here.
func (h *Hub) Registered(fingerprint string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.clients[fingerprint]) > 0
}

// RoomPrefix begins the names of the rooms of calls (5.9).
const RoomPrefix = "call-"

// MayJoin says whether the identity may enter the room: any room but those of
// calls, and those of its own calls. Room names come in lower case.
func (h *Hub) MayJoin(room, fingerprint string) bool {
	id, ok := strings.CutPrefix(strings.ToLower(room), RoomPrefix)
	if !ok {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.calls[id]
	return c != nil && fingerprint != "" && (c.caller.fp == fingerprint || c.callee.fp == fingerprint)
}
