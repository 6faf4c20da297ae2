package quicnet

import (
	"maps"
	"net/netip"
)

// Blackhole loses, on or off, everything that is sent to an address, and tells
// nobody: as a route that has gone. It is how tests and demos plant that fault;
// nothing on the network can reach it.
func (e *Endpoint) Blackhole(addr netip.AddrPort, on bool) {
	s := e.dial.sock
	for {
		old := s.black.Load()
		next := map[netip.AddrPort]bool{}
		if old != nil {
			next = maps.Clone(*old)
		}
		if on {
			next[addr] = true
		} else {
			delete(next, addr)
		}
		p := &next
		if len(next) == 0 {
			p = nil
		}
		if s.black.CompareAndSwap(old, p) {
			return
		}
	}
}
