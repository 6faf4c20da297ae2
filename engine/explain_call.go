package engine

import (
	"fmt"
	"strings"

	"signalbox/engine/view"
)

// explainCall says how a call stands, party by party and relay by relay. A call
// bears one id on its whole way, which is short-lived and nobody else's: it is
// what the other relay is asked by.
func (e *Engine) explainCall(s *view.Snapshot, c *view.Call) view.Explanation {
	x := view.Explanation{From: c.ID, Hops: callHops(c)}
	for _, p := range [...]*view.Party{&c.Caller, &c.Callee} {
		peer, ok := e.fed.mesh.Find(p.Relay)
		if !ok {
			continue // on this node, or nobody has answered yet
		}
		if l := e.linkOf(s, peer); l != nil {
			x.Hops = append(x.Hops, linkHop(l, true))
		}
		x.Hops = append(x.Hops, e.askRelay(s, end{peer: peer, known: true}, &question{Call: c.ID}, 1)...)
	}
	x.Verdict = fmt.Sprintf("the call is %s; who does not hear whom: explain the two parties", c.State)
	for _, h := range x.Hops {
		if h.Verdict != "ok" {
			x.Verdict, x.Remedy = h.Name+": "+h.Verdict, h.Remedy
			break
		}
	}
	return x
}

// callHops is how a call stands here.
func callHops(c *view.Call) []view.Hop {
	h := bareHop(fmt.Sprintf("call %s, %s for %.0f s of %.0f s", c.ID, c.State, c.StateAgeS, c.AgeS), "ok")
	if c.State != "active" {
		h.Verdict = "nobody has answered yet"
	}
	hops := []view.Hop{h}
	for i, p := range [...]*view.Party{&c.Caller, &c.Callee} {
		h := bareHop([...]string{"caller ", "callee "}[i]+partyName(p), "ok")
		switch {
		case p.Lost:
			h.Verdict = "has lost its connection to this node, and may come back"
		case p.Relay != "":
			h.Name += ", at another relay"
		}
		hops = append(hops, h)
	}
	return hops
}

func findCall(s *view.Snapshot, id string) *view.Call {
	for i := range s.Signal.CallList {
		if id != "" && strings.EqualFold(s.Signal.CallList[i].ID, id) {
			return &s.Signal.CallList[i]
		}
	}
	return nil
}

// callTold is what a relay that has a party in a call is told of it.
func (e *Engine) callTold(asker, id string) (bool, []view.Hop) {
	c := findCall(e.Snapshot(), id)
	if c == nil {
		return false, []view.Hop{bareHop("call "+clean(id), "is not known here: it has ended, or never came")}
	}
	for _, p := range [...]*view.Party{&c.Caller, &c.Callee} {
		if peer, ok := e.fed.mesh.Find(p.Relay); ok && peer.Fingerprint == asker {
			return true, callHops(c)
		}
	}
	return false, []view.Hop{bareHop("call "+clean(id), "is not one with you")}
}
