package dhttest

import (
	"net/netip"
	"sync"
	"time"
)

// NAT is what stands between a node and the others.
type NAT uint8

// The kinds of address translators.
const (
	Public    NAT = iota // none
	Cone                 // one outside port; lets in the addresses the node has dialled
	Symmetric            // an outside port for each address dialled, open to that one only
)

// natMapping is how long a translator remembers a dial that has no link.
const natMapping = 2 * time.Minute

// nat is the translator of one node.
type nat struct {
	kind NAT
	addr netip.AddrPort // outside

	mu     sync.Mutex // a leaf; guards the fields below
	opened map[netip.Addr]mapping
	next   uint16
}

type mapping struct {
	port uint16
	at   int64 // last dial
}

func (n *nat) init(kind NAT, addr netip.AddrPort) {
	n.kind, n.addr, n.next = kind, addr, 20000
	if kind != Public {
		n.opened = map[netip.Addr]mapping{}
	}
}

// out notes a dial to host and returns the source others see.
func (n *nat) out(host netip.Addr, now int64) netip.AddrPort {
	if n.kind == Public {
		return n.addr
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	m, known := n.opened[host]
	if !known {
		m.port = n.addr.Port()
		if n.kind == Symmetric {
			n.next++
			m.port = n.next
		}
	}
	m.at = now
	n.opened[host] = m
	return netip.AddrPortFrom(n.addr.Addr(), m.port)
}

// in reports whether a dial of host to port gets through.
func (n *nat) in(host netip.Addr, port uint16, now int64, linked bool) bool {
	if n.kind == Public {
		return port == n.addr.Port()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	m, known := n.opened[host]
	return known && m.port == port && (linked || now-m.at <= int64(natMapping))
}

// route finds who answers at addr when p dials it, and where it sees p. Nobody
// does when the node's translator lets p not in.
func (s *Swarm) route(p *Peer, addr netip.AddrPort) (seen netip.AddrPort, to *Peer) {
	now := s.Now()
	seen = p.nat.out(addr.Addr(), now)
	s.mu.Lock()
	to = s.book[addr]
	if to == nil { // perhaps a port of a translator
		to = s.hosts[addr.Addr()]
	}
	s.mu.Unlock()
	if to == nil || !to.nat.in(seen.Addr(), addr.Port(), now, to.nat.kind != Public && to.linkedTo(p)) {
		return seen, nil
	}
	return seen, to
}

func (p *Peer) linkedTo(o *Peer) bool {
	for _, l := range p.ownLinks() {
		if l.remote == o {
			return true
		}
	}
	return false
}
