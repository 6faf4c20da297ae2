package call

import (
	"slices"

	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// maxAsked is how many relays are asked for one callee.
const maxAsked = 32

// maxStrangers is how many of our clients ring for one relay that nobody has
// named.
const maxStrangers = 4

// offerAway sends an offer to where the callee may be: the relays given, or
// else wherever Seek finds it.
func (h *Hub) offerAway(a *after, k *call, relays []string) {
	h.add(k)
	if len(relays) > 0 {
		h.ask(a, k, relays)
		return
	}
	k.seeking = true
	a.seeks = append(a.seeks, [2]string{k.callee.fp, k.id})
}

// ask gives the offer to relays. Nobody may ever say that it rings there: the
// original's relays do not (5.12), so the caller is told at once.
func (h *Hub) ask(a *after, k *call, relays []string) {
	k.seeking = false
	k.asked = slices.Clone(relays[:min(len(relays), maxAsked)])
	k.callee.relay = someRelay
	if len(k.asked) == 1 {
		k.callee.relay = k.asked[0]
	}
	if m := h.parties[k.callee.fp]; m != nil { // it is not a party of here
		delete(m, k.key)
		if len(m) == 0 {
			delete(h.parties, k.callee.fp)
		}
	}
	for _, r := range k.asked {
		a.sends = append(a.sends, send{relay: r, key: k.key, s: k.offer, offer: true})
	}
	h.rings(a, k, k.created)
}

// offline ends a call to somebody nobody has.
func (h *Hub) offline(a *after, k *call, now int64) {
	h.refuse(whyOffline)
	h.end(a, k, ending{by: k.callee.fp, reason: wire.HangupNormal, why: name(k.callee.fp, "") + " is not online"}, now)
}

// Found answers Seek: the relays that have the callee, which Remote can reach;
// none: it is offline.
func (h *Hub) Found(callID string, relays []string, now int64) {
	h.locked(now, func(a *after) {
		key, _ := callKey(callID)
		k := h.calls[key]
		switch {
		case k == nil || !k.seeking:
		case h.current(k.callee.fp) != nil: // it has come to us meanwhile
			k.seeking = false
			h.ring(a, h.current(k.callee.fp), k, now)
		case len(relays) == 0:
			h.offline(a, k, now)
		default:
			h.ask(a, k, relays)
		}
	})
}

// unreachable takes a relay out of those asked; the last one ends the call.
func (h *Hub) unreachable(relay, key string, now int64) {
	h.locked(now, func(a *after) {
		if k := h.calls[key]; k != nil {
			h.gaveUp(a, k, relay, ending{reason: wire.HangupError, why: "no way to the callee's relay"}, now)
		}
	})
}

// gaveUp is one of the relays asked saying no, or not being there.
func (h *Hub) gaveUp(a *after, k *call, relay string, e ending, now int64) {
	i := slices.Index(k.asked, relay)
	if i < 0 || k.state == Active {
		return
	}
	k.asked = slices.Delete(k.asked, i, i+1)
	if len(k.asked) == 0 {
		e.byRelay = relay
		h.end(a, k, e, now)
	}
}

// RelayDown says that a relay cannot be reached any more. Calls that wait for
// its answer end; active ones go on, since their media may take other ways.
func (h *Hub) RelayDown(relay string, now int64) {
	h.locked(now, func(a *after) {
		for _, k := range h.calls {
			switch {
			case k.state == Active:
			case k.caller.relay == relay:
				h.end(a, k, ending{byRelay: relay, reason: wire.HangupError, why: "the caller's relay is gone"}, now)
			default:
				h.gaveUp(a, k, relay, ending{reason: wire.HangupError, why: "the callee's relay is gone"}, now)
			}
		}
	})
}

// FromRelay does what a call's signal from another relay says. relay is who
// has proved to be the sender, never what the message claims (7.2 row 29). It
// says whether it was the answer that made a call of ours one with that relay.
func (h *Hub) FromRelay(relay string, s wire.Signal, now int64) (accepted bool) {
	_, offer := s.(*wire.DirectCallOffer)
	stranger := offer && h.cfg.Stranger(relay)
	h.locked(now, func(a *after) {
		switch m := s.(type) {
		case *wire.DirectCallOffer:
			h.offeredFrom(a, relay, m, stranger, now)
		case *wire.DirectCallAnswer:
			accepted = h.answeredFrom(a, relay, m, now)
		case *wire.CallRinging:
			if k := h.callee(a, relay, m.CallID); k != nil && k.state == Pending {
				h.ringing(a, k, now)
			}
		case *wire.Hangup:
			h.hungUpFrom(a, relay, m, now)
		case *wire.MediaPathReport:
			h.reportedFrom(a, relay, m, now)
		default:
			h.refuse(whyVerb)
		}
	})
	return accepted
}

// callee finds the call whose callee is, or may be, at the relay.
func (h *Hub) callee(a *after, relay, id string) *call {
	key, _ := callKey(id)
	k := h.calls[key]
	switch {
	case k == nil:
		h.refuse(whyUnknownCall)
	case k.caller.relay != "" || k.callee.relay != relay && !slices.Contains(k.asked, relay):
		h.meddled(a, relay)
	default:
		return k
	}
	return nil
}

func (h *Hub) meddled(a *after, relay string) {
	h.refuse(whyParty)
	a.event("call_intruder", view.Warn, short(relay), "relay "+short(relay)+" meddled in a call it has no part in; it was ignored")
}

// offeredFrom rings one of ours for a caller elsewhere.
func (h *Hub) offeredFrom(a *after, relay string, o *wire.DirectCallOffer, stranger bool, now int64) {
	callee := h.current(o.TargetFingerprint)
	if callee == nil {
		h.refuse(whyOffline) // the offer went to everybody; somebody else has them
		return
	}
	h.count.offers++
	key, ok := callKey(o.CallID)
	have := h.calls[key]
	no := func(why int, r wire.HangupReason) {
		h.refuse(why)
		h.byeTo(a, relay, ending{}, &wire.Hangup{Reason: r, CallID: &o.CallID}, true)
	}
	switch {
	case have != nil && have.caller.relay == relay && have.callee.fp == o.TargetFingerprint:
		h.refuse(whyDuplicate)
	case !ok || have != nil || o.CallerFingerprint == "" || len(o.CallerFingerprint) > maxFingerprint:
		no(whyInvalid, wire.HangupError)
	case h.current(o.CallerFingerprint) != nil:
		no(whyIdentity, wire.HangupError) // nobody calls in the name of our clients from elsewhere
	case h.draining:
		no(whyDraining, wire.HangupError)
	case len(h.calls) >= h.cfg.MaxCalls, stranger && h.waiting[relay] >= maxStrangers:
		no(whyFull, wire.HangupError)
	case callee.stalled:
		no(whyStalled, wire.HangupError)
	case len(h.parties[callee.fp]) > 0:
		no(whyBusy, wire.HangupBusy)
	default:
		k := &call{
			id: o.CallID, key: key, created: now, changed: now, offer: o,
			caller: party{fp: o.CallerFingerprint, alias: aliasOf(o.CallerAlias), relay: relay, reflexive: o.CallerReflexiveAddr, locals: o.CallerLocalAddrs},
			callee: party{fp: callee.fp, alias: aliasOf(callee.alias)},
		}
		h.add(k)
		h.ring(a, callee, k, now)
	}
}

// answeredFrom is a callee elsewhere answering one of ours; true: accepting.
func (h *Hub) answeredFrom(a *after, relay string, m *wire.DirectCallAnswer, now int64) bool {
	k := h.callee(a, relay, m.CallID)
	if k == nil {
		return false
	}
	if k.state == Active {
		h.refuse(whyState)
		return false
	}
	h.count.answers++
	if m.AcceptMode == wire.AcceptReject {
		h.gaveUp(a, k, relay, ending{reason: wire.HangupDeclined, why: "the callee declined"}, now)
		return false
	}
	for _, r := range k.asked {
		if r != relay { // they may have rung a second device
			a.forward(r, k.key, &wire.Hangup{Reason: wire.HangupNormal, CallID: &k.id})
		}
	}
	k.asked, k.callee.relay = nil, relay
	k.callee.reflexive, k.callee.locals = m.CalleeReflexiveAddr, m.CalleeLocalAddrs
	h.activate(a, k, now)
	h.tell(a, k.caller.fp, m, Frame{call: k.key}, now)
	h.setup(a, k, &k.caller, &k.callee, now)
	return true
}

// hungUpFrom is the other relay's party, or the other relay, ending a call.
func (h *Hub) hungUpFrom(a *after, relay string, m *wire.Hangup, now int64) {
	if m.CallID == nil {
		h.refuse(whyInvalid) // whose call it would be, nobody can say
		return
	}
	key, _ := callKey(*m.CallID)
	k := h.calls[key]
	e := ending{byRelay: relay, reason: m.Reason, extra: m.Extra, why: "the other side hung up"}
	switch {
	case k == nil:
		h.refuse(whyUnknownCall)
	case k.caller.relay == relay || k.callee.relay == relay:
		h.end(a, k, e, now)
	case slices.Contains(k.asked, relay):
		h.gaveUp(a, k, relay, e, now)
	default:
		h.meddled(a, relay)
	}
}

func (h *Hub) reportedFrom(a *after, relay string, m *wire.MediaPathReport, now int64) {
	key, _ := callKey(m.CallID)
	k := h.calls[key]
	switch {
	case k == nil:
		h.refuse(whyUnknownCall)
	case k.caller.relay == relay:
		h.deliver(a, k, &k.callee, m, now)
	case k.callee.relay == relay:
		h.deliver(a, k, &k.caller, m, now)
	default:
		h.meddled(a, relay)
	}
}
