package engine

import (
	"context"
	"fmt"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/relay/fed"
)

// linkTarget finds the peer a command means: by label, address, or the start of
// its fingerprint.
func (e *Engine) linkTarget(c control.Command) (fed.Peer, view.Link, control.Result) {
	p, ok := e.fed.mesh.Find(c.Target)
	if ok {
		for _, l := range e.fed.mesh.Links(e.mono(), e.started) {
			if l.TLSFingerprint == colonFingerprint(p.Fingerprint) {
				return p, l, none()
			}
		}
	}
	return p, view.Link{}, control.Fail(control.NotFound, "there is no link %q; ctl link lists them", clean(c.Target))
}

func colonFingerprint(fp string) string {
	out := make([]byte, 0, len(fp)*3/2)
	for i := range len(fp) {
		if i > 0 && i%2 == 0 {
			out = append(out, ':')
		}
		out = append(out, fp[i])
	}
	return string(out)
}

func planLinkReconnect(e *Engine, c control.Command) (change, control.Result) {
	p, l, bad := e.linkTarget(c)
	if bad.Code != "" {
		return change{}, bad
	}
	plan := []string{fmt.Sprintf("ends the connection to %s, in whose %s nobody there is heard until it is back", linkName(p), view.Plural(len(l.Rooms), "room"))}
	if l.State != "up" && l.State != "muted" {
		plan = []string{fmt.Sprintf("%s is %s: dials it now instead of later", linkName(p), l.State)}
	}
	if p.URL == "" {
		plan = append(plan, "we have no address of it: it must dial us")
	} else {
		plan = append(plan, "dials "+clean(p.URL)+" again at once")
	}
	return change{
		plan: plan,
		apply: func(context.Context) error {
			e.fed.mesh.Reconnect(p.Fingerprint)
			select {
			case e.fed.kick(p.Fingerprint) <- struct{}{}:
			default:
			}
			return nil
		},
	}, none()
}

func planLinkMute(e *Engine, c control.Command) (change, control.Result) {
	p, l, bad := e.linkTarget(c)
	if bad.Code != "" {
		return change{}, bad
	}
	if l.Muted {
		return change{}, control.Fail(control.Invalid, "the link to %s is already muted", linkName(p))
	}
	return change{
		plan: []string{
			fmt.Sprintf("mutes the link to %s: no media goes there, what it sends is dropped as muted", linkName(p)),
			fmt.Sprintf("its %s stay listed and are not heard; no signalbox carries their media to us instead", view.Plural(l.Members, "participant")),
		},
		apply:  func(context.Context) error { e.fed.mesh.Mute(p.Fingerprint, true); return nil },
		undo:   func() error { e.fed.mesh.Mute(p.Fingerprint, false); return nil },
		ttl:    muteTTL,
		target: p.Fingerprint,
	}, none()
}

func planLinkUnmute(e *Engine, c control.Command) (change, control.Result) {
	p, l, bad := e.linkTarget(c)
	if bad.Code != "" {
		return change{}, bad
	}
	if !l.Muted {
		return change{}, control.Fail(control.Invalid, "the link to %s is not muted", linkName(p))
	}
	return change{
		plan:   []string{fmt.Sprintf("lets media pass between us and %s again", linkName(p))},
		apply:  func(context.Context) error { e.fed.mesh.Mute(p.Fingerprint, false); return nil },
		target: p.Fingerprint,
	}, none()
}
