package call

import (
	"strings"

	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// State is how far a call has come.
type State uint8

// The states of a live call. A call that ends is deleted.
const (
	Pending State = iota // the callee's client has not read the offer yet
	Ringing              // it has
	Active               // accepted: both may join the call's room
)

// String is the state's name.
func (s State) String() string { return [...]string{"pending", "ringing", "active"}[s] }

// party is one side of a call.
type party struct {
	fp        string
	alias     string
	relay     string // where it is; empty: here
	lost      int64  // since when a party of here has no connection; 0: it has one
	reflexive *string
	locals    []string
}

// call is one direct call. Guarded by Hub.mu.
type call struct {
	id      string // as the caller wrote it
	key     string // in lower case: server names know no other (1.3)
	caller  party
	callee  party
	state   State
	created int64
	changed int64
	rang    bool     // the caller has been told that it rings
	seeking bool     // nobody known has the callee; Seek is looking
	asked   []string // relays that have the offer, while none has answered
	offer   *wire.DirectCallOffer
}

// sides gives the party of that identity and the other one; nil, nil for a
// third party.
func (c *call) sides(fp string) (me, other *party) {
	switch fp {
	case c.caller.fp:
		return &c.caller, &c.callee
	case c.callee.fp:
		return &c.callee, &c.caller
	}
	return nil, nil
}

// maxCallID leaves room for the prefix in one label of a server name.
const maxCallID = 58

// callKey is false for an id no room could be named after.
func callKey(id string) (string, bool) {
	if id == "" || len(id) > maxCallID {
		return "", false
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return "", false
		}
	}
	return strings.ToLower(id), true
}

// add books a call with its parties of here.
func (h *Hub) add(c *call) {
	h.calls[c.key] = c
	if c.caller.relay != "" {
		h.waiting[c.caller.relay]++
	}
	for _, p := range []*party{&c.caller, &c.callee} {
		if p.relay != "" {
			continue
		}
		if h.parties[p.fp] == nil {
			h.parties[p.fp] = map[string]*call{}
		}
		h.parties[p.fp][c.key] = c
	}
}

// discard takes a call out of the books.
func (h *Hub) discard(c *call) {
	delete(h.calls, c.key)
	h.settled(c)
	for _, p := range []*party{&c.caller, &c.callee} {
		if m := h.parties[p.fp]; m != nil && m[c.key] == c {
			delete(m, c.key)
			if len(m) == 0 {
				delete(h.parties, p.fp)
			}
		}
	}
}

// settled notes that a call that was not answered is, or never will be.
func (h *Hub) settled(c *call) {
	if c.caller.relay == "" || c.state == Active {
		return
	}
	if h.waiting[c.caller.relay]--; h.waiting[c.caller.relay] == 0 {
		delete(h.waiting, c.caller.relay)
	}
}

// ending is why a call ends. by has ended it and is not told.
type ending struct {
	by       string // fingerprint
	byRelay  string
	reason   wire.HangupReason
	extra    wire.Extra
	why      string
	severity string
}

// end deletes a call and tells whoever has not ended it.
func (h *Hub) end(a *after, c *call, e ending, now int64) {
	if h.calls[c.key] != c {
		return
	}
	h.discard(c)
	h.count.hangups++
	bye := &wire.Hangup{Reason: e.reason, CallID: &c.id, Extra: e.extra}
	for _, p := range []*party{&c.caller, &c.callee} {
		switch {
		case p.relay == "" && p.fp == e.by && e.byRelay == "":
		case p.relay == "":
			h.tell(a, p.fp, bye, Frame{call: c.key, hangup: true}, now)
		case p == &c.callee && p.relay == someRelay:
			for _, r := range c.asked {
				h.byeTo(a, r, e, bye, false)
			}
		default:
			h.byeTo(a, p.relay, e, bye, p == &c.caller)
		}
	}
	severity := e.severity
	if severity == "" {
		severity = view.Info
	}
	a.event("call_ended", severity, c.id, h.describe(c)+" has ended, "+c.state.String()+": "+e.why)
}

// byeTo ends a call at another relay. The original only logs a Hangup there;
// what ends the ringing at a caller's is the rejecting answer (5.12), which a
// relay that has understood the Hangup ignores.
func (h *Hub) byeTo(a *after, relay string, e ending, bye *wire.Hangup, toCaller bool) {
	if relay == e.byRelay {
		return
	}
	a.forward(relay, "", bye)
	if toCaller {
		a.forward(relay, "", &wire.DirectCallAnswer{CallID: *bye.CallID, AcceptMode: wire.AcceptReject})
	}
}

// someRelay is where a callee is while several relays have been asked.
const someRelay = "?"

// Handle does what the client says (5.9). One goroutine at a time.
func (c *Client) Handle(s wire.Signal, now int64) {
	h := c.hub
	c.received.Add(1)
	if !c.budget.take(now) {
		h.refuse(whyRate)
		return
	}
	switch m := s.(type) {
	case *wire.Ping:
		c.answer(&wire.Pong{TimestampMS: m.TimestampMS}, now)
		return
	case *wire.Reflect:
		c.answer(&wire.ReflectResponse{ObservedAddr: c.remote().String()}, now)
		return
	case *wire.DirectCallOffer:
		var relays []string
		if c.fp != "" && !h.Registered(m.TargetFingerprint) {
			if way := h.way(); way != nil {
				relays = way.Route(m.TargetFingerprint)
			}
		}
		h.locked(now, func(a *after) { h.offered(a, c, m, relays, now) })
		return
	}
	h.locked(now, func(a *after) {
		switch m := s.(type) {
		case *wire.DirectCallAnswer:
			h.answered(a, c, m, now)
		case *wire.Hangup:
			h.hungUp(a, c, m, now)
		case *wire.MediaPathReport:
			h.reported(a, c, m, now)
		default:
			h.refuse(whyVerb)
		}
	})
}

// answer pushes a reply to this very connection, whoever holds the identity.
func (c *Client) answer(s wire.Signal, now int64) {
	if !c.push(s, Frame{Deadline: now + int64(c.hub.cfg.Stall)}) {
		c.hub.locked(now, func(a *after) { c.hub.stall(a, c, now) })
	}
}

// no refuses an offer to the client that made it.
func (h *Hub) no(a *after, c *Client, id string, why int, r wire.HangupReason, now int64) {
	h.refuse(why)
	if !c.push(&wire.Hangup{Reason: r, CallID: &id}, Frame{Deadline: now + int64(h.cfg.Stall), hangup: true}) {
		h.stall(a, c, now)
	}
}

// offered takes an offer of a client of here. The caller is who it has
// registered as, whatever the offer says.
func (h *Hub) offered(a *after, c *Client, o *wire.DirectCallOffer, relays []string, now int64) {
	h.count.offers++
	key, ok := callKey(o.CallID)
	have := h.calls[key]
	switch {
	case c.gone:
		return
	case !ok, c.fp == "", o.TargetFingerprint == "", o.TargetFingerprint == c.fp, len(o.TargetFingerprint) > maxFingerprint:
		h.no(a, c, o.CallID, whyInvalid, wire.HangupError, now)
		return
	case o.IdentityPub != [32]byte{} && o.IdentityPub != c.identity:
		h.no(a, c, o.CallID, whyIdentity, wire.HangupError, now)
		return
	case have != nil && have.caller.fp == c.fp && have.caller.relay == "" && have.callee.fp == o.TargetFingerprint:
		h.refuse(whyDuplicate) // the same offer again: the call it began goes on
		return
	case have != nil:
		h.no(a, c, o.CallID, whyDuplicate, wire.HangupError, now)
		return
	case h.draining:
		h.no(a, c, o.CallID, whyDraining, wire.HangupError, now)
		return
	case len(h.calls) >= h.cfg.MaxCalls || h.started(c.fp) >= h.cfg.MaxPerCaller:
		h.no(a, c, o.CallID, whyFull, wire.HangupError, now)
		return
	}
	o.CallerFingerprint = c.fp
	if c.alias != nil {
		o.CallerAlias = c.alias
	}
	k := &call{
		id: o.CallID, key: key, created: now, changed: now, offer: o,
		caller: party{fp: c.fp, alias: aliasOf(o.CallerAlias), reflexive: o.CallerReflexiveAddr, locals: o.CallerLocalAddrs},
		callee: party{fp: o.TargetFingerprint},
	}
	callee := h.current(o.TargetFingerprint)
	switch {
	case callee == nil:
		h.offerAway(a, k, relays)
	case callee.stalled:
		h.no(a, c, o.CallID, whyStalled, wire.HangupError, now)
	case len(h.parties[o.TargetFingerprint]) > 0:
		h.no(a, c, o.CallID, whyBusy, wire.HangupBusy, now)
	default:
		k.callee.alias = aliasOf(callee.alias)
		h.add(k)
		h.ring(a, callee, k, now)
	}
}

// started counts the live calls an identity of here has begun.
func (h *Hub) started(fp string) (n int) {
	for _, k := range h.parties[fp] {
		if k.caller.fp == fp {
			n++
		}
	}
	return n
}

// ring gives the callee the offer.
func (h *Hub) ring(a *after, c *Client, k *call, now int64) {
	if !c.push(k.offer, Frame{Deadline: now + int64(h.cfg.Stall), call: k.key, offer: true}) {
		h.stall(a, c, now)
	}
}

// ringing notes that the callee's client has the offer, and tells the caller.
func (h *Hub) ringing(a *after, k *call, now int64) {
	k.state, k.changed, k.offer = Ringing, now, nil
	h.rings(a, k, now)
}

func (h *Hub) rings(a *after, k *call, now int64) {
	if k.rang {
		return
	}
	k.rang = true
	m := &wire.CallRinging{CallID: k.id}
	if k.caller.relay != "" {
		a.forward(k.caller.relay, k.key, m)
		return
	}
	h.tell(a, k.caller.fp, m, Frame{call: k.key}, now)
}

// party finds a live call of the client for a verb. It refuses, visibly, what
// a third party says of somebody else's call (7.2 row 24).
func (h *Hub) party(a *after, c *Client, id string) *call {
	key, _ := callKey(id)
	k := h.calls[key]
	if k == nil {
		h.refuse(whyUnknownCall)
		return nil
	}
	if p, _ := k.sides(c.fp); c.fp == "" || p == nil || p.relay != "" {
		h.refuse(whyParty)
		if !c.warned {
			c.warned = true
			a.event("call_intruder", view.Warn, short(c.fp), c.Name()+" ("+c.remote().String()+") meddled in a call that is not theirs; it was ignored")
		}
		return nil
	}
	return k
}

// answered takes the callee's answer.
func (h *Hub) answered(a *after, c *Client, m *wire.DirectCallAnswer, now int64) {
	k := h.party(a, c, m.CallID)
	if k == nil {
		return
	}
	if k.callee.fp != c.fp || k.state == Active {
		h.refuse(whyState)
		return
	}
	h.count.answers++
	if m.AcceptMode == wire.AcceptReject {
		h.end(a, k, ending{by: c.fp, reason: wire.HangupDeclined, why: c.Name() + " declined"}, now)
		return
	}
	k.callee.reflexive, k.callee.locals = m.CalleeReflexiveAddr, m.CalleeLocalAddrs
	h.activate(a, k, now)
	h.deliver(a, k, &k.caller, m, now)
	h.setup(a, k, &k.caller, &k.callee, now)
	h.setup(a, k, &k.callee, &k.caller, now)
}

func (h *Hub) activate(a *after, k *call, now int64) {
	h.settled(k)
	k.state, k.changed, k.offer, k.seeking = Active, now, nil, false
	a.event("call_active", view.Info, k.id, h.describe(k)+" was accepted")
}

// deliver passes a signal on to a party, here or elsewhere.
func (h *Hub) deliver(a *after, k *call, to *party, s wire.Signal, now int64) {
	if to.relay != "" {
		a.forward(to.relay, k.key, s)
		return
	}
	h.tell(a, to.fp, s, Frame{call: k.key}, now)
}

// setup tells a party of here where to meet the other. One elsewhere is told
// by its own relay.
func (h *Hub) setup(a *after, k *call, p, peer *party, now int64) {
	c := h.current(p.fp)
	if p.relay != "" || c == nil {
		return
	}
	h.tell(a, p.fp, &wire.CallSetup{
		CallID: k.id, Room: RoomPrefix + k.id, RelayAddr: c.relayAddr(), PeerDirectAddr: peer.reflexive, PeerLocalAddrs: peer.locals,
	}, Frame{call: k.key}, now)
}

// hungUp ends the call named, or every call of the client.
func (h *Hub) hungUp(a *after, c *Client, m *wire.Hangup, now int64) {
	e := ending{by: c.fp, reason: m.Reason, extra: m.Extra, why: c.Name() + " hung up"}
	if m.CallID != nil {
		if k := h.party(a, c, *m.CallID); k != nil {
			h.end(a, k, e, now)
		}
		return
	}
	if c.fp == "" {
		return
	}
	for _, k := range h.parties[c.fp] {
		h.end(a, k, e, now)
	}
}

// reported passes a report of the path race on (5.11).
func (h *Hub) reported(a *after, c *Client, m *wire.MediaPathReport, now int64) {
	k := h.party(a, c, m.CallID)
	if k == nil {
		return
	}
	if k.state != Active {
		h.refuse(whyState)
		return
	}
	_, other := k.sides(c.fp)
	h.deliver(a, k, other, m, now)
}

// HangUp ends a call for the operator; false: there is none.
func (h *Hub) HangUp(id, why string, now int64) bool {
	found := false
	h.locked(now, func(a *after) {
		key, _ := callKey(id)
		if k := h.calls[key]; k != nil {
			found = true
			h.end(a, k, ending{reason: wire.HangupNormal, why: why}, now)
		}
	})
	return found
}
