package engine

import (
	"slices"

	"signalbox/relay/wire"
)

// relayWay is the hub's way to the clients of other relays.
type relayWay struct{ e *Engine }

// Route names the relay that has told of the identity, or else every relay of
// the configuration that is linked: those of the original tell of nobody.
func (w relayWay) Route(fingerprint string) []string {
	all := w.e.fed.mesh.Relays()
	if l, ok := w.e.presence.Where(fingerprint); ok && !l.Local {
		for _, r := range all {
			if r == l.Relay {
				return []string{r}
			}
		}
	}
	return slices.DeleteFunc(all, func(r string) bool {
		p, ok := w.e.fed.mesh.Find(r)
		return ok && p.Found
	})
}

// Forward queues a call's signal for a relay.
func (w relayWay) Forward(relay string, s wire.Signal) error {
	return w.e.fed.mesh.Forward(relay, s, w.e.mono())
}

// callFrom takes a call's signal from another relay (spec wzp 5.12).
func (e *Engine) callFrom(relay string, s wire.Signal, now int64) bool {
	return e.hub.FromRelay(relay, s, now)
}

// presenceFrom takes what a signalbox has told of its clients (spec wzp 5.7).
func (e *Engine) presenceFrom(relay string, m *wire.PresenceUpdate, now int64) {
	p, ok := e.fed.mesh.Find(relay)
	if ok && p.Found {
		return // anybody could say so; the directory is asked for each call
	}
	addr := clean(m.RelayAddr)
	if ok && p.URL != "" {
		addr = clean(p.URL) // where we reach it, whatever it believes
	}
	e.presence.Learn(relay, addr, m.Fingerprints, now)
}

// relayGone ends what depends on a relay that is linked no more.
func (e *Engine) relayGone(relay string, now int64) {
	e.presence.Forget(relay)
	e.hub.RelayDown(relay, now)
}

// tellPresence has signalboxes told who is here, when that has changed.
func (e *Engine) tellPresence() {
	addr := e.reach.advertise
	if addr == "" {
		addr = e.reach.guessed
	}
	e.fed.mesh.SetPresence(e.presence.Locals(), addr)
}
