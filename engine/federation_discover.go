package engine

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"signalbox/engine/state"
	"signalbox/engine/view"
	"signalbox/relay/fed"
)

// Bounds of what the directory makes us link.
const (
	discoverEvery = time.Minute
	discoverFirst = 3 * time.Second
	discoverLimit = 20 * time.Second
	maxFound      = 16 // relays
)

// discover links to the relays that the DHT lists for our global rooms. Their
// identity is the one in the record, which the link's certificate must prove;
// that they may be linked at all is what federation.discover says, since anybody
// can write a record.
func (e *Engine) discover(ctx context.Context) {
	wait := discoverFirst
	for sleep(ctx, wait, nil) {
		for _, p := range e.placesOfRooms(ctx) {
			if !e.admitFound(p) {
				continue
			}
			peer, ok := e.fed.mesh.Find(p.fingerprint)
			if !ok {
				continue
			}
			e.event(view.Event{Kind: "link_found", Subject: linkName(peer), Message: "the DHT lists " + linkName(peer) + " at " + peer.URL + " for one of our rooms: linking"})
			e.spawn(func(ctx context.Context) { e.keepLink(ctx, peer) })
		}
		wait = discoverEvery/2 + rand.N(discoverEvery) //nolint:gosec // jitter
		if e.fed.mesh.Isolated() {
			wait = discoverFirst + rand.N(discoverFirst) //nolint:gosec // jitter
		}
	}
}

// found is a relay as a record has it.
type found struct {
	fingerprint string // without colons
	node        string
	addrs       []netip.AddrPort
}

// placesOfRooms asks the DHT for every global room.
func (e *Engine) placesOfRooms(ctx context.Context) []found {
	var out []found
	for _, r := range e.cfg.GlobalRooms {
		fctx, cancel := context.WithTimeout(ctx, discoverLimit)
		places, err := e.FindRoom(fctx, r.Name)
		cancel()
		if err != nil {
			e.log.Debug("no relays found for a global room", "room", r.Name, "err", err)
			continue
		}
		for _, p := range places {
			if len(p.Addrs) > 0 {
				out = append(out, found{state.NormalFingerprint(p.TLSFingerprint), p.NodeID, p.Addrs})
			}
		}
	}
	return out
}

// admitFound lets a relay that the directory lists be linked; false when it
// could be already, or when there are as many as there may be.
func (e *Engine) admitFound(p found) bool {
	if e.fed.mesh.FoundCount() >= maxFound {
		return false
	}
	return e.fed.mesh.AddPeer(fed.Peer{
		Fingerprint: p.fingerprint, Label: "dht-" + p.node[:min(8, len(p.node))], URL: p.addrs[0].String(), Found: true,
	}, e.mono())
}

// foundInDirectory says whether the DHT lists a relay, proved by its
// certificate, that comes to us unannounced; if so it may be linked.
func (e *Engine) foundInDirectory(ctx context.Context, fingerprint string, _ netip.AddrPort) bool {
	if !e.fed.on || !e.cfg.Federation.Discover {
		return false
	}
	if _, ok := e.fed.mesh.Find(fingerprint); ok {
		return true
	}
	for _, p := range e.placesOfRooms(ctx) {
		if p.fingerprint == fingerprint {
			e.admitFound(p)
			return true
		}
	}
	return false
}
