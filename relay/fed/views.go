package fed

import (
	"slices"
	"strings"
	"time"

	"signalbox/engine/ledger"
	"signalbox/engine/view"
	"signalbox/relay"
)

// normal is a fingerprint in the form in which they are compared (1.2).
func normal(fp string) string { return strings.ToLower(strings.ReplaceAll(fp, ":", "")) }

// Links is every peer, by name; at is the wall clock's time of now.
func (m *Mesh) Links(now int64, at time.Time) []view.Link {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]view.Link, 0, len(m.peers))
	for _, p := range m.sortedPeers() {
		out = append(out, m.viewLocked(p, now, at))
	}
	return out
}

// roomNames are the first rooms that the peer takes part in, as they are shown.
// mu is held.
func (p *peer) roomNames() []string {
	out := make([]string, 0, len(p.rooms))
	for name := range p.rooms {
		out = append(out, relay.Sanitize(name))
	}
	slices.Sort(out)
	return out[:min(len(out), maxShown)]
}

func (m *Mesh) viewLocked(p *peer, now int64, at time.Time) view.Link {
	drops := p.drops.Load()
	drops.Add(&p.outDrops)
	v := view.Link{
		Label: relay.Sanitize(p.name()), TLSFingerprint: colons(p.Fingerprint), URL: p.URL, Direction: "inbound", State: "down",
		Since: at.Add(-time.Duration(now - p.since)).UTC(), Received: p.in.Load(), Deduped: p.deduped.Load(),
		Forwarded: p.out, LastError: relay.Sanitize(p.lastErr), QueueCapacity: m.cfg.QueueCapacity, Members: p.members, Found: p.Found,
	}
	if p.URL != "" {
		v.Direction = "outbound"
		v.State = "connecting"
		if p.lastErr != "" {
			v.State = "down"
		}
	}
	v.Rooms, v.LastRooms = p.roomNames(), []string{}
	if len(p.links) == 0 && len(p.had) > 0 {
		v.LastRooms, v.LastMembers = p.had, p.hadIn
	}
	for i, l := range p.links {
		q := l.ring.View(now)
		v.Forwarded += q.Delivered
		drops.Add(&q.Dropped)
		if i > 0 || p.primary == nil {
			continue
		}
		v.State, v.Verified, v.Remote, v.Signalbox = "up", l.verified, l.t.RemoteAddr(), l.box.Load()
		v.Direction = "inbound"
		if l.outbound {
			v.Direction = "outbound"
		}
		v.QueueDepth, v.QueueOldestMS = q.Depth, float64(q.Oldest)/1e6
		v.RTTMS = float64(l.t.RTT()) / 1e6
		v.SilentMS = float64(max(0, now-l.lastHeard.Load())) / 1e6
		v.LastError = ""
	}
	if p.muted.Load() {
		v.Muted = true
		if v.State == "up" {
			v.State = "muted"
		}
	}
	v.Connections = len(p.links)
	v.Dropped = drops.NonZero()
	return v
}

// maxShown is how many rooms a link's row names.
const maxShown = 64

// Refused are the packets refused or lost by reason, over all links.
func (m *Mesh) Refused() ledger.Drops { return m.refused.Load() }

// FoundCount is how many peers the directory has given, and how many have come by
// themselves.
func (m *Mesh) FoundCount() (given, guests int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		switch {
		case p.Found && p.URL != "":
			given++
		case p.Found:
			guests++
		}
	}
	return given, guests
}

// ForgetFound takes out those of them that have had no link for so long.
func (m *Mesh) ForgetFound(now int64, idle time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for fp, p := range m.peers {
		if p.Found && len(p.links) == 0 && now-p.since > int64(idle) {
			delete(m.peers, fp)
			p.poke() // whoever keeps its link has nothing to keep
		}
	}
}
