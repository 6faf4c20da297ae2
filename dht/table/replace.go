package table

import (
	"net/netip"
	"slices"
)

// Replaced says how a Replace ended.
type Replaced uint8

// How a Replace can end.
const (
	ReplaceMissing   Replaced = iota // not a contact; nothing happened
	ReplaceDone                      // what the peer said counts, as far as it may
	ReplaceUnusable                  // nothing it said can be stored; the list is as it was
	ReplaceForeign                   // it is not where it says it is; the list is as it was
	ReplaceDiversity                 // where it says it is, it would not have been admitted; as it was
)

// Replace makes claims, which a peer has said of itself over an authenticated
// link, the addresses of that contact, beside seen, where the link comes from
// (spec dht 2.7). What we have reached ourselves stays Direct and what a peer
// calls Direct is Unverified until we have. A claim in seen's family must have
// seen's IP: a contact that could walk away from the address it was admitted
// under would make room there for the next one. A claim in the other family is
// one more address, and must fit the limits.
//
// Claims that cannot be stored are left out; if that leaves none, nothing is
// changed. An empty set of claims changes nothing either.
func (t *Table) Replace(id ID, seen Addr, claims []Addr, now int64) Replaced {
	from, ok := normalise(seen.AddrPort, seen.Type, t.cfg.AllowLoopback)
	if !ok {
		return ReplaceUnusable
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.snap.Load()
	c := s.find(&t.self, &id)
	if c == nil {
		return ReplaceMissing
	}
	c.alive(now)
	t.clock(c.bucket).stamp(now)
	if len(claims) == 0 {
		return ReplaceDone
	}
	if ip := from.AddrPort.Addr(); !c.has(ip) && !t.roomFor(s, c, ip) {
		return ReplaceDiversity
	}
	good, why := t.claims(s, c, from, claims)
	if len(good) == 0 {
		return why
	}
	cur := c.addrs.Load()
	next := newAddrList(compose(cur.list, from, good))
	next.published = true
	if !slices.Equal(next.list, cur.list) || !cur.published {
		c.addrs.Store(next)
	}
	return ReplaceDone
}

// claims sorts out what of claims may be stored; why says what was wrong with
// the last of the others.
func (t *Table) claims(s *snapshot, c *Contact, from Addr, claims []Addr) (good []Addr, why Replaced) {
	why = ReplaceUnusable
	for _, x := range claims[:min(len(claims), MaxAddrs)] {
		a, ok := normalise(x.AddrPort, x.Type, t.cfg.AllowLoopback)
		ip := a.AddrPort.Addr()
		switch {
		case !ok, a.Type == Relay, ip.IsLoopback() && !t.cfg.AllowLoopback, a.Type == Lan && from.Type != Lan:
		case a.Type != Lan && from.Type != Lan && family(a) == family(from) && ip != from.AddrPort.Addr():
			why = ReplaceForeign
		case !c.has(ip) && ip != from.AddrPort.Addr() && !t.roomFor(s, c, ip):
			why = ReplaceDiversity
		default:
			if a.Type == Direct {
				a.Type = Unverified
			}
			good = append(good, a)
		}
	}
	return good, why
}

// compose is the new list: what we have reached ourselves, the claims, and
// where the peer is seen if no claim speaks for that IP.
func compose(cur []Addr, from Addr, claims []Addr) []Addr {
	var buf [MaxAddrs + 1]Addr
	list := []Addr{}
	put := func(a Addr) {
		if out, change := mergeAddr(buf[:], list, a); change {
			list = slices.Clone(out)
		}
	}
	said := func(ip netip.Addr) bool {
		return slices.ContainsFunc(claims, func(a Addr) bool { return a.AddrPort.Addr() == ip })
	}
	if !said(from.AddrPort.Addr()) {
		put(from)
	}
	for _, a := range slices.Backward(claims) { // the newest of a type stands first
		put(a)
	}
	for _, a := range cur {
		if a.Type == Direct { // proven: the best of its family, whatever is claimed
			put(a)
		}
	}
	if from.Type == Direct {
		put(from)
	}
	return list
}

func (c *Contact) has(ip netip.Addr) bool {
	return slices.ContainsFunc(c.addrs.Load().list, func(a Addr) bool { return a.AddrPort.Addr() == ip })
}

// DropRelay takes the Relay addresses off a contact that is reached directly
// now, unless it has no other.
func (t *Table) DropRelay(id ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.snap.Load().find(&t.self, &id)
	if c == nil {
		return
	}
	cur := c.addrs.Load()
	list := slices.DeleteFunc(slices.Clone(cur.list), func(a Addr) bool { return a.Type == Relay })
	if len(list) == 0 || len(list) == len(cur.list) {
		return
	}
	next := newAddrList(list)
	next.published = cur.published
	c.addrs.Store(next)
}
