package table

import (
	"cmp"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// naive is the routing table as one would write it to be read: a slice, every
// rule by counting over all of it. Nothing of the real one is used but the
// arithmetic of ids, trust and subnets.
type naive struct {
	self      ID
	k         int
	perIP     int
	perSubnet int
	list      []*naiveContact
	clock     int // counts merges: which address is newer
}

type naiveContact struct {
	id       ID
	addrs    []naiveAddr
	lastSeen int64
	trust    Trust
}

type naiveAddr struct {
	Addr
	at int
}

func (c *naiveContact) has(match func(netip.Addr) bool) bool {
	return slices.ContainsFunc(c.addrs, func(a naiveAddr) bool { return match(a.AddrPort.Addr()) })
}

func (c *naiveContact) stale(now int64) bool { return now-c.lastSeen > int64(LiveThreshold) }

// merge returns the addresses with a among them. Of each family one Relay, one
// Direct or else one Unverified, and one Lan stay: the newest.
func (n *naive) merge(list []naiveAddr, a Addr) []naiveAddr {
	for _, x := range list {
		if x.Addr == a {
			return list
		}
	}
	n.clock++
	next := slices.DeleteFunc(slices.Clone(list), func(x naiveAddr) bool { return x.AddrPort == a.AddrPort })
	slot := func(t AddrType) int { return [...]int{0, 1, 1, 2}[t] }
	rival := slices.IndexFunc(next, func(x naiveAddr) bool {
		return slot(x.Type) == slot(a.Type) && x.AddrPort.Addr().Is4() == a.AddrPort.Addr().Is4()
	})
	switch {
	case rival >= 0 && next[rival].Type == Direct && a.Type == Unverified: // not better
	case rival >= 0:
		next = slices.Delete(next, rival, rival+1)
		fallthrough
	default:
		next = append(next, naiveAddr{a, n.clock})
	}
	slices.SortStableFunc(next, func(x, y naiveAddr) int {
		if x.Type == Lan && y.Type == Lan {
			return cmp.Compare(x.at, y.at)
		}
		return cmp.Or(cmp.Compare(x.Type, y.Type), cmp.Compare(y.at, x.at))
	})
	return next
}

func plainOf(list []naiveAddr) (out []Addr) {
	for _, a := range list {
		out = append(out, a.Addr)
	}
	return out
}

func (n *naive) find(id ID) *naiveContact {
	for _, c := range n.list {
		if c.id == id {
			return c
		}
	}
	return nil
}

func (n *naive) bucket(id ID) (out []*naiveContact) {
	for _, c := range n.list {
		if BucketIndex(&n.self, &c.id) == BucketIndex(&n.self, &id) {
			out = append(out, c)
		}
	}
	return out
}

// near are the contacts by distance to self, without some.
func (n *naive) near(without []*naiveContact) []*naiveContact {
	out := slices.DeleteFunc(slices.Clone(n.list), func(c *naiveContact) bool { return slices.Contains(without, c) })
	slices.SortFunc(out, func(a, b *naiveContact) int { return Closer(&n.self, &a.id, &b.id) })
	return out
}

// touch is how a touch ends and what it leaves.
func (n *naive) touch(id ID, a Addr, now int64) Touched {
	c := n.find(id)
	if c == nil {
		return Missing
	}
	c.lastSeen = now
	next := n.merge(c.addrs, a)
	if slices.Equal(plainOf(next), plainOf(c.addrs)) {
		return Fast
	}
	n.move(c, a, next)
	return Slow
}

// move gives c its merged addresses unless the new one does not fit.
func (n *naive) move(c *naiveContact, a Addr, next []naiveAddr) {
	ip := a.AddrPort.Addr()
	group := n.near(nil)
	group = group[:min(len(group), n.k)]
	scopes := [][]*naiveContact{n.bucket(c.id)}
	if slices.Contains(group, c) {
		scopes = append(scopes, group)
	}
	if !c.has(func(x netip.Addr) bool { return x == ip }) {
		for _, scope := range scopes {
			var same, net int
			for _, m := range scope {
				if m != c && m.has(func(x netip.Addr) bool { return x == ip }) {
					same++
				}
				if m != c && m.has(Subnet(ip).Contains) {
					net++
				}
			}
			if same >= n.perIP || net >= n.perSubnet {
				return
			}
		}
	}
	c.addrs = next
}

// add is an admission: its outcome, who left, who is to be asked.
func (n *naive) add(now int64, id ID, addrs []Addr, trust Trust) (Result, []ID, []ID) {
	if id == n.self {
		return IsSelf, nil, nil
	}
	var list []naiveAddr
	for _, a := range addrs {
		list = n.merge(list, a)
	}
	if c := n.find(id); c != nil {
		c.lastSeen = now
		for _, a := range slices.Backward(list) {
			if next := n.merge(c.addrs, a.Addr); !slices.Equal(plainOf(next), plainOf(c.addrs)) {
				n.move(c, a.Addr, next)
			}
		}
		return Updated, nil, nil
	}
	var leave []*naiveContact
	bucket := n.bucket(id)
	r, ask := n.clear(now, id, list, bucket, &leave)
	if r == Added {
		group := n.near(leave)
		in := len(group) < n.k
		if !in && Closer(&n.self, &id, &group[n.k-1].id) < 0 {
			group, in = group[:n.k-1], true
		}
		if in {
			r, ask = n.clear(now, id, list, group, &leave)
		}
	}
	if r == Added {
		r, ask = n.room(now, trust, bucket, &leave)
	}
	if r != Added {
		if len(ask) > 0 {
			return StaleNeeded, nil, ask
		}
		return r, nil, nil
	}
	var gone []ID
	for _, c := range leave {
		gone = append(gone, c.id)
	}
	n.remove(gone...)
	n.list = append(n.list, &naiveContact{id: id, addrs: list, lastSeen: now, trust: trust})
	if len(gone) > 0 {
		return Swapped, gone, nil
	}
	return Added, nil, nil
}

// clear counts each IP and network of the candidate in a scope, and has members
// leave until there is room.
func (n *naive) clear(now int64, id ID, list []naiveAddr, scope []*naiveContact, leave *[]*naiveContact) (Result, []ID) {
	for _, a := range list {
		ip := a.AddrPort.Addr()
		for tier, match := range []func(netip.Addr) bool{func(x netip.Addr) bool { return x == ip }, Subnet(ip).Contains} {
			for {
				var there, yield []*naiveContact
				for _, c := range scope {
					if slices.Contains(*leave, c) || !c.has(match) {
						continue
					}
					there = append(there, c)
					if Closer(&n.self, &c.id, &id) > 0 && (c.trust.Score(now) < ProtectionThreshold || c.stale(now)) {
						yield = append(yield, c)
					}
				}
				if len(there) < []int{n.perIP, n.perSubnet}[tier] {
					break
				}
				if len(yield) == 0 {
					var ask []ID
					for _, c := range there {
						if c.stale(now) {
							ask = append(ask, c.id)
						}
					}
					return []Result{IPLimit, SubnetLimit}[tier], ask
				}
				slices.SortFunc(yield, func(a, b *naiveContact) int { return Closer(&n.self, &b.id, &a.id) })
				*leave = append(*leave, yield[0])
			}
		}
	}
	return Added, nil
}

func (n *naive) room(now int64, trust Trust, bucket []*naiveContact, leave *[]*naiveContact) (Result, []ID) {
	stays := slices.DeleteFunc(slices.Clone(bucket), func(c *naiveContact) bool { return slices.Contains(*leave, c) })
	if len(stays) < n.k {
		return Added, nil
	}
	var ask []ID
	var worst *naiveContact
	slices.SortFunc(stays, func(a, b *naiveContact) int { return Closer(&ID{}, &a.id, &b.id) })
	for _, c := range stays {
		if c.trust.Score(now) < SwapThreshold && (worst == nil || c.trust.Score(now) < worst.trust.Score(now)) {
			worst = c
		}
		if c.stale(now) {
			ask = append(ask, c.id)
		}
	}
	if worst != nil && trust.Score(now) >= SwapThreshold {
		*leave = append(*leave, worst)
		return Added, nil
	}
	return Full, ask
}

func (n *naive) remove(ids ...ID) {
	n.list = slices.DeleteFunc(n.list, func(c *naiveContact) bool { return slices.Contains(ids, c.id) })
}

func sorted(ids []ID) []ID {
	out := slices.Clone(ids)
	slices.SortFunc(out, func(a, b ID) int { return Closer(&ID{}, &a, &b) })
	return out
}

// TestTableAgainstNaive has both do the same and compares everything after
// every step: outcomes, who left, who is to be asked, members, their addresses
// in order, their times, the closest to any key.
func TestTableAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		self := pseudoID(rapid.Uint64().Draw(t, "self"))
		cfg := Config{Self: self, K: rapid.IntRange(MinK, 6).Draw(t, "k"), MaxPerIP: rapid.IntRange(1, 3).Draw(t, "ip"), MaxPerSubnet: rapid.IntRange(1, 5).Draw(t, "net")}
		tab, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		nv := &naive{self: self, k: cfg.K, perIP: cfg.MaxPerIP, perSubnet: cfg.MaxPerSubnet}
		now := int64(0)
		ids := rapid.Custom(func(t *rapid.T) ID {
			id := pseudoID(rapid.Uint64Range(0, 40).Draw(t, "n"))
			if rapid.Bool().Draw(t, "near") {
				id, _ = tab.RandomKey(rapid.IntRange(250, 255).Draw(t, "bucket"), id)
			}
			return id
		})
		addrs := rapid.Custom(func(t *rapid.T) Addr {
			net, host, typ := byte(rapid.IntRange(0, 3).Draw(t, "net")), byte(rapid.IntRange(1, 3).Draw(t, "host")), AddrType(rapid.IntRange(0, 3).Draw(t, "type"))
			ip := netip.AddrFrom4([4]byte{9, 9, net, host})
			if rapid.Bool().Draw(t, "v6") {
				ip = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, net, 15: host})
			}
			return Addr{netip.AddrPortFrom(ip, 1), typ}
		})
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				id, list := ids.Draw(t, "id"), rapid.SliceOfN(addrs, 1, 3).Draw(t, "addrs")
				trust := NewTrust(rapid.Float64Range(0, 1).Draw(t, "trust"), now)
				adm := tab.Add(now, id, list, trust)
				r, gone, ask := nv.add(now, id, list, trust)
				if adm.Result != r || !slices.Equal(idsOf(adm.Removed), gone) || !slices.Equal(sorted(idsOf(adm.Stale)), sorted(ask)) {
					t.Fatalf("table: %v, %v left, ask %v; naive: %v, %v left, ask %v", adm.Result, idsOf(adm.Removed), idsOf(adm.Stale), r, gone, ask)
				}
			},
			"touch": func(t *rapid.T) {
				id, a := ids.Draw(t, "id"), addrs.Draw(t, "addr")
				if got, want := tab.Touch(id, a.AddrPort, a.Type, now), nv.touch(id, a, now); got != want {
					t.Fatalf("touch %v, want %v", got, want)
				}
			},
			"trust": func(t *rapid.T) {
				id, tr := ids.Draw(t, "id"), NewTrust(rapid.Float64Range(0, 1).Draw(t, "trust"), now)
				if c := tab.Get(id); c != nil {
					c.SetTrust(tr)
					nv.find(id).trust = tr
				}
			},
			"remove": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				if (tab.Remove(id, RemovedEvicted) != nil) != (nv.find(id) != nil) {
					t.Fatal("Remove disagrees")
				}
				nv.remove(id)
			},
			"wait": func(t *rapid.T) { now += rapid.Int64Range(0, int64(LiveThreshold)).Draw(t, "ns") },
			"":     func(t *rapid.T) { compareNaive(t, tab, nv, ids.Draw(t, "target")) },
		})
	})
}

func compareNaive(t *rapid.T, tab *Table, nv *naive, target ID) {
	if tab.Len() != len(nv.list) {
		t.Fatalf("%d members, want %d", tab.Len(), len(nv.list))
	}
	all := map[ID]bool{}
	for _, x := range nv.list {
		c := tab.Get(x.id)
		if c == nil {
			t.Fatalf("%s is missing", x.id)
		}
		if !slices.Equal(c.Addrs(), plainOf(x.addrs)) {
			t.Fatalf("addresses %v, want %v", c.Addrs(), plainOf(x.addrs))
		}
		if c.LastSeen() != x.lastSeen || c.Trust() != x.trust {
			t.Fatal("time or trust differ")
		}
		all[x.id] = true
	}
	checkAgainst(t, tab, all, target)
}
