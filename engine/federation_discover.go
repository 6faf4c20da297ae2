package engine

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"signalbox/engine/config"
	"signalbox/engine/state"
	"signalbox/engine/view"
	"signalbox/relay/fed"
)

// Bounds of what the directory makes us link.
const (
	discoverEvery = time.Minute
	discoverFirst = 3 * time.Second
	discoverLimit = 20 * time.Second
	maxFound      = 16 // relays we dial because the directory lists them
	maxGuests     = 8  // more that have come by themselves
	maxSought     = 4  // relays that say they have a callee
	linkPoll      = 20 * time.Millisecond
	foundIdle     = 10 * time.Minute // without a link a relay of the directory is forgotten
)

// discover links to the relays that the DHT lists for our global rooms. Their
// identity is the one in the record, which the link's certificate must prove;
// that they may be linked at all is what federation.discover says, since anybody
// can write a record.
func (e *Engine) discover(ctx context.Context) {
	wait := discoverFirst
	for sleep(ctx, wait, nil) {
		if e.discovers() { // a reload may have named relays, or have taken them out
			for _, p := range e.placesOfRooms(ctx) {
				e.link(p)
			}
		}
		wait = discoverEvery/2 + rand.N(discoverEvery) //nolint:gosec // jitter
		if e.fed.mesh.Isolated() {
			wait = discoverFirst + rand.N(discoverFirst) //nolint:gosec // jitter
		}
	}
}

// discovers says whether this node links to relays that nobody has named to it:
// those the DHT lists, and those that come and prove who they are. Left to
// itself, a node does that which is part of a DHT, because it has joined one or
// somebody has joined it, and whose operator has named no relay: who has named
// some means these, and a relay by itself is what a wzp-relay is.
func (e *Engine) discovers() bool {
	n := e.fed.named.Load()
	if e.cfg.Federation.Discover == config.DirectoryAuto && (len(n.peers)+len(n.trusted) > 0 || len(e.cfg.DHT.Join) == 0 && e.dht.Table().Len() == 0) {
		return false
	}
	return e.cfg.DiscoverRelays()
}

// stranger says of a relay that nobody has named it.
func (e *Engine) stranger(relay string) bool {
	p, ok := e.fed.mesh.Find(relay)
	return !ok || p.Found
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
		out = append(out, foundAt(places)...)
	}
	return out
}

func foundAt(places []Place) []found {
	var out []found
	for _, p := range places {
		if len(p.Addrs) > 0 {
			out = append(out, found{state.NormalFingerprint(p.TLSFingerprint), p.NodeID, p.Addrs})
		}
	}
	return out
}

// link links to a relay that the directory lists, unless it is known already
// or there are as many as there may be.
func (e *Engine) link(p found) {
	if given, _ := e.fed.mesh.FoundCount(); !e.discovers() || given >= maxFound {
		return
	}
	peer := fed.Peer{Fingerprint: p.fingerprint, Label: "dht-" + p.node[:min(8, len(p.node))], URL: p.addrs[0].String(), Found: true}
	if !e.fed.mesh.AddPeer(peer, e.mono()) {
		return
	}
	e.event(view.Event{Kind: "link_found", Subject: linkName(peer), Message: "the DHT lists " + linkName(peer) + " at " + peer.URL + " for a room or a callee of ours: linking"})
	e.spawn(func(ctx context.Context) { e.keepLink(ctx, peer) })
}

// linkedWith links to those that the directory lists and returns the
// fingerprints of those that are linked: all of them, or as many as are when
// ctx ends.
func (e *Engine) linkedWith(ctx context.Context, places []Place) []string {
	all := foundAt(places)
	all = all[:min(len(all), maxSought)]
	for _, p := range all {
		e.link(p)
	}
	for {
		var up []string
		for _, p := range all {
			if e.fed.mesh.Linked(p.fingerprint) {
				up = append(up, p.fingerprint)
			}
		}
		if len(up) == len(all) || !sleep(ctx, linkPoll, nil) {
			return up
		}
	}
}

// guest lets a relay link that nobody has named to us, if it has proved who it
// is: as a client might come that nobody knows. It is given our global rooms
// and calls to our users, and not believed who is where.
func (e *Engine) guest(fingerprint string) bool {
	m := e.fed.mesh
	if !e.discovers() {
		return false
	}
	if p, ok := m.Find(fingerprint); ok {
		return p.Found
	}
	if _, guests := m.FoundCount(); guests >= maxGuests {
		return false // they do not take the places of those we look for
	}
	return m.AddPeer(fed.Peer{Fingerprint: fingerprint, Label: "guest-" + fingerprint[:8], Found: true}, e.mono())
}
