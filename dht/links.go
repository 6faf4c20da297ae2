package dht

import (
	"fmt"

	"signalbox/dht/table"
	"signalbox/engine/view"
)

// Connected registers a link and admits its peer to the table. The engine
// calls it once per accepted link, before the first Handle of that link; it is
// idempotent per peer and generation. Registration is complete before any
// event tells of it. It does not wait.
func (n *Node) Connected(l Link) { n.adopt(l, false) }

// Disconnected forgets a link. Only the entry of that generation goes, so the
// late loss of an old link leaves its successor alone. The contact stays: a
// lost connection does not mean a dead peer.
func (n *Node) Disconnected(l Link) {
	n.reach.sent.mark(l.RemoteAddr(), n.now())
	found, last := n.reg.remove(l.PeerID(), l.Generation())
	n.pairsLost(l.PeerID(), l.Generation())
	n.channels.linkLost(l.PeerID(), l.Generation())
	if !found {
		n.counts.lateLost.Add(1)
		return
	}
	if last {
		n.pending.lost(l.PeerID())
		n.wake()
	}
}

// adopt registers a link, dialed by us or not, and offers its peer to the
// table. It returns nil when the link is of no use.
func (n *Node) adopt(l Link, dialed bool) *session {
	peer := l.PeerID()
	switch {
	case peer == n.cfg.ID:
		l.Close("connected to self")
		return nil
	case n.table.Blocked(peer):
		n.counts.blocked.Add(1)
		l.Close("blocked")
		return nil
	}
	s := n.newSession(l)
	if !s.direct() && n.reg.straight(peer) != nil {
		l.Close("a direct link is there")
		return n.reg.best(peer)
	}
	unasked := s.direct() && !dialed && n.reach.sent.never(l.RemoteAddr(), s.born)
	kept, surplus := n.reg.add(s)
	if surplus != nil {
		surplus.link.Close("superseded")
	}
	if kept == nil || kept == surplus {
		return n.reg.best(peer)
	}
	if dialed {
		kept.dialed.Store(true)
	}
	n.linked(kept, unasked && kept == s)
	n.admit(kept)
	if kept.ends {
		n.wake()
	}
	if n.table.Blocked(peer) { // blocked while we registered it
		kept.link.Close("blocked")
	}
	return kept
}

func (n *Node) newSession(l Link) *session {
	s := &session{link: l, peer: l.PeerID(), gen: l.Generation(), born: n.now()}
	if r, ok := l.(Relayed); ok {
		s.via = r.Via()
	}
	s.reach.init()
	return s
}

// linked does what reachability has to do about a new link. unasked says that
// the peer has come although we have sent nothing its way.
func (n *Node) linked(s *session, unasked bool) {
	if s.direct() {
		n.reach.sent.mark(s.link.RemoteAddr(), s.born)
		n.dials.arrived(s.peer)
		n.table.DropRelay(s.peer)
	}
	if unasked {
		n.reach.proved(s.link.RemoteAddr(), s.born, n.cfg.AllowLoopback)
	}
	n.want(jobReach)
}

// admit offers the peer of a registered link to the table.
func (n *Node) admit(s *session) {
	now := n.now()
	addr := s.addr()
	adm := n.table.Add(now, s.peer, []table.Addr{addr}, n.trust.meet(s.peer, now, n.inTable))
	n.admitted(s.peer, addr, adm)
}

// addrType: an address we have dialled is Direct; one that was only seen as a
// source may be a NAT's that lets nobody else in.
func (s *session) addrType() table.AddrType {
	switch {
	case !s.direct():
		return table.Relay // the address is that of the peer that relays
	case s.dialed.Load():
		return table.Direct
	default:
		return table.Unverified
	}
}

// addr is where the peer is, as the link shows it.
func (s *session) addr() table.Addr {
	return table.Addr{AddrPort: table.Canonical(s.link.RemoteAddr()), Type: s.addrType()}
}

// typeOf is addrType of a link that may not be registered.
func typeOf(l Link, s *session) table.AddrType {
	if s != nil {
		return s.addrType()
	}
	if _, ok := l.(Relayed); ok {
		return table.Relay
	}
	return table.Unverified
}

// admitted tells of an admission and queues the question it raises.
func (n *Node) admitted(id table.ID, addr table.Addr, adm table.Admission) {
	for _, c := range adm.Removed {
		n.peerRemoved(c, table.RemovedSwap)
	}
	switch adm.Result {
	case table.Added, table.Swapped:
		n.groupChanged(id, false)
		n.event(view.Info, "dht.peer_added", id.String(), fmt.Sprintf("peer %s joined bucket %d", id.Short(), adm.Contact.Bucket()),
			map[string]any{"bucket": adm.Contact.Bucket(), "addr": addr.AddrPort.String()})
	case table.StaleNeeded:
		bucket := table.BucketIndex(&n.cfg.ID, &id)
		if !n.revalBusy[bucket].CompareAndSwap(false, true) {
			return // one at a time; the check loop offers the candidate again
		}
		select {
		case n.revalidate <- &revalidation{id: id, addr: addr, bucket: bucket, stale: adm.Stale}:
			n.want(jobRevalidate)
		default:
			n.revalBusy[bucket].Store(false)
			n.counts.revalBusy.Add(1)
		}
	default: // counted by the table
	}
}

func (n *Node) peerRemoved(c *table.Contact, why table.Removal) {
	id := c.ID()
	n.groupChanged(id, true)
	n.event(view.Info, "dht.peer_removed", id.String(), fmt.Sprintf("peer %s left bucket %d: %s", id.Short(), c.Bucket(), why),
		map[string]any{"bucket": c.Bucket(), "reason": why.String()})
}

// wake has the links looked at for whether we are in the network.
func (n *Node) wake() {
	n.want(jobBootstrap)
	select {
	case n.wakeBoot <- struct{}{}:
	default: // it will look anyway
	}
}
