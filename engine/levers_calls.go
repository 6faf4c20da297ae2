package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/relay"
	"signalbox/relay/call"
)

func planCallHangup(e *Engine, c control.Command) (change, control.Result) {
	for _, v := range e.hub.View(e.mono()).CallList {
		if !strings.EqualFold(v.ID, c.Target) {
			continue
		}
		return change{
			plan: []string{
				fmt.Sprintf("ends the %s call of %s to %s; both are told", v.State, partyName(&v.Caller), partyName(&v.Callee)),
				"closes its room, if they are in it; they may call again",
			},
			apply: func(context.Context) error {
				if !e.hub.HangUp(c.Target, "an operator ended it", e.mono()) {
					return errNoCall
				}
				if err := e.relay.CloseRoom(v.Room); err != nil && !errors.Is(err, relay.ErrNoRoom) {
					return err
				}
				return nil
			},
		}, none()
	}
	return change{}, control.Fail(control.NotFound, "there is no call %q", clean(c.Target))
}

var (
	errNoCall   = errors.New("the call has just ended by itself")
	errNoClient = errors.New("the client has just left by itself")
)

func planClientDrop(e *Engine, c control.Command) (change, control.Result) {
	conns, calls, who := 0, 0, ""
	for _, v := range e.hub.View(e.mono()).Clients {
		if v.Fingerprint == c.Target {
			conns, calls = conns+1, v.Calls
			who = v.Alias
		}
	}
	if conns == 0 && !e.hub.Registered(c.Target) {
		return change{}, control.Fail(control.NotFound, "nobody is registered as %q", clean(c.Target))
	}
	return change{
		plan: []string{
			strings.TrimSpace(fmt.Sprintf("closes the %d signalling connections of %s %s", max(conns, 1), clean(c.Target), who)),
			fmt.Sprintf("ends %s of theirs; the other side is told", view.Plural(calls, "call")),
			"they may register again; ban the source to keep them out",
		},
		apply: func(context.Context) error {
			if !e.hub.Drop(c.Target, "dropped by an operator", e.mono()) {
				return errNoClient
			}
			return nil
		},
	}, none()
}

// endCallOf ends the call a room belongs to, if it is one of a call: who is
// thrown out of it could not come back to it.
func (e *Engine) endCallOf(room, why string) {
	if id, ok := strings.CutPrefix(room, call.RoomPrefix); ok {
		e.hub.HangUp(id, why, e.mono())
	}
}

func partyName(p *view.Party) string {
	switch {
	case p.Alias != "":
		return p.Alias
	case len(p.Fingerprint) >= 9:
		return p.Fingerprint[:9]
	}
	return p.Fingerprint
}

// callCauses are what is wrong with calls and tokens.
func (j *judge) callCauses(s *view.Snapshot) []view.Cause {
	var out []view.Cause
	a := &s.Signal.Auth
	failed := a.Checks["error"] + a.Checks["timeout"] + a.Checks["open"]
	_, failing := j.grew("auth", failed, s.At, recentDrops)
	_, busy := j.grew("auth busy", a.Checks["busy"], s.At, recentDrops)
	switch {
	case a.Breaker != "" && a.Breaker != "closed":
		out = append(out, view.Cause{
			Severity: view.Alarm, Pane: "calls", Subject: "auth",
			Message: "the auth service fails: nobody without a kept verdict gets in: " + clean(a.LastError),
			Remedy:  "look at the service behind auth_url; it is asked again every 10 s",
		})
	case failing:
		out = append(out, view.Cause{
			Severity: view.Warn, Pane: "calls", Subject: "auth",
			Message: fmt.Sprintf("%s of tokens had no answer: %s", view.Plural(int(failed), "check"), clean(a.LastError)),
			Remedy:  "look at the service behind auth_url",
		})
	case busy:
		out = append(out, view.Cause{
			Severity: view.Warn, Pane: "calls", Subject: "auth",
			Message: fmt.Sprintf("%s refused because too many tokens were being checked", view.Plural(int(a.Checks["busy"]), "client")),
			Remedy:  "a flood, or a slow auth service: see its latency; auth.max_concurrent",
		})
	}
	if n, lately := j.grew("stalls", s.Signal.Stalls, s.At, recentDrops); lately {
		out = append(out, view.Cause{
			Severity: view.Warn, Pane: "calls", Subject: "clients",
			Message: fmt.Sprintf("%s not reading what they are told: calls to them fail", view.Plural(int(n), "client")),
			Remedy:  "their device or network is stuck; the events (peer_stalled) name them",
		})
	}
	return out
}
