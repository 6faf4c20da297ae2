package engine

import (
	"cmp"
	"fmt"
	"time"

	"signalbox/engine/view"
)

// A link that is not up may be coming; one that has not come by then is down.
const linkGrace = 3 * time.Second

// linkCauses are the links with which something is wrong. Where it is ours that
// receivers lose, so it is that links do.
func (j *judge) linkCauses(s *view.Snapshot, ours bool) []view.Cause {
	var out []view.Cause
	for i := range s.Links {
		if c, bad := j.linkCause(&s.Links[i], s.At, ours); bad {
			out = append(out, c)
		}
	}
	recent := 0
	for i := range s.Refusals {
		if s.At.Sub(s.Refusals[i].At) < time.Minute {
			recent++
		}
	}
	if recent > 0 {
		r := &s.Refusals[0]
		c := view.Cause{Severity: view.Warn, Pane: "links", Subject: "a relay at " + r.Remote, Message: "was refused as a link: " + r.Reason, Remedy: "nothing, if you do not know it"}
		if r.Line != "" {
			c.Remedy = admitting(r.Line)
		}
		if recent > 1 {
			c.Message += fmt.Sprintf(" (and %d more)", recent-1)
		}
		out = append(out, c)
	}
	return out
}

func (j *judge) linkCause(l *view.Link, now time.Time, ours bool) (view.Cause, bool) {
	c := view.Cause{Severity: view.Warn, Pane: "links", Subject: l.Label}
	key := "link/" + l.TLSFingerprint
	_, losing := j.grew(key, l.Dropped["queue_head"]+l.Dropped["queue_age"], now, recentDrops)
	lost := j.lost(key, now)
	_, over := j.grew(key+"/rate", l.Dropped["link_rate"], now, recentDrops)
	age := now.Sub(l.Since)
	switch {
	case l.State != "up" && l.State != "muted":
		if l.LastError == "" && (l.URL == "" || age < linkGrace) {
			return c, false // it has not come yet, and may
		}
		if age < linkGrace {
			c.Message = "the link ended a moment ago: " + l.LastError
			c.Remedy = "nothing yet: it is dialled again"
			return c, true
		}
		c.Severity = view.Alarm
		j.lately(key+"/down", true, now)
		c.Message = fmt.Sprintf("the link is down for %.0f s: %s", age.Seconds(), cmp.Or(l.LastError, "no answer from "+l.URL))
		c.Remedy = "R dials it now (links pane); look there, and at UDP to it"
		if l.URL == "" {
			c.Remedy = "it dials us: look there; see docs/runbook.md"
		}
	case j.lately(key+"/down", false, now):
		c.Message = fmt.Sprintf("the link is back since %.0f s; it was down", age.Seconds())
		c.Remedy = "nothing, if it stays; the events (5) say why it went"
	case !l.Verified:
		c.Message = "is linked but unproven: anybody who knows its fingerprint could be it"
		c.Remedy = "have it run signalbox, or give its address in [[peers]]"
	case losing && lost >= someDrops && !ours:
		c.Message = fmt.Sprintf("does not take its packets: %d dropped just now, %d queued; only this link loses", lost, l.QueueDepth)
		c.Remedy = "the way to it is full or broken; compare its RTT"
	case over:
		c.Message = "sends more than a link may: its excess is dropped as link_rate"
		c.Remedy = "mute it (m), or raise federation.room_pps"
	case l.Muted:
		c.Message = "muted by an operator: no media passes"
		c.Remedy = "m lets it pass again (links pane)"
	default:
		return c, false
	}
	return c, true
}
