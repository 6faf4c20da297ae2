package table

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The oracle is a naive list: whatever the table says it admitted or removed
// is done to the list; membership, Closest for any key, the bucket sizes and
// the diversity limits per bucket must agree with it after every step.
func TestTableAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		self := pseudoID(rapid.Uint64().Draw(t, "self"))
		tab, err := New(Config{Self: self, K: rapid.IntRange(MinK, 8).Draw(t, "k")})
		if err != nil {
			t.Fatal(err)
		}
		oracle := map[ID]bool{}
		now := int64(0)
		// Few ids, half of them near self, so that deep buckets are in use.
		idGen := rapid.Custom(func(t *rapid.T) ID {
			id := pseudoID(rapid.Uint64Range(0, 60).Draw(t, "n"))
			if rapid.Bool().Draw(t, "near") {
				id, _ = tab.RandomKey(rapid.IntRange(0, 255).Draw(t, "bucket"), id)
			}
			return id
		})
		addrGen := rapid.Custom(func(t *rapid.T) Addr {
			ip := netip.AddrFrom4([4]byte{9, 9, byte(rapid.IntRange(0, 6).Draw(t, "net")), byte(rapid.IntRange(1, 4).Draw(t, "host"))})
			return Addr{netip.AddrPortFrom(ip, 1), AddrType(rapid.IntRange(0, 3).Draw(t, "type"))}
		})
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				id := idGen.Draw(t, "id")
				trust := NewTrust(rapid.Float64Range(0, 1).Draw(t, "trust"), now)
				adm := tab.Add(now, id, rapid.SliceOfN(addrGen, 1, 3).Draw(t, "addrs"), trust)
				for _, c := range adm.Removed {
					delete(oracle, c.ID())
				}
				if adm.Result.In() {
					oracle[id] = true
				}
			},
			"touch": func(t *rapid.T) {
				id, a := idGen.Draw(t, "id"), addrGen.Draw(t, "addr")
				if got := tab.Touch(id, a.AddrPort, a.Type, now); (got != Missing) != oracle[id] {
					t.Fatalf("Touch = %v, member %v", got, oracle[id])
				}
				// What was merged once is no change the second time (row 10).
				if oracle[id] && len(tab.Get(id).Addrs()) > 0 && slices.Contains(tab.Get(id).Addrs(), a) &&
					tab.Touch(id, a.AddrPort, a.Type, now) != Fast {
					t.Fatal("the same touch again is not fast")
				}
			},
			"remove": func(t *rapid.T) {
				id := idGen.Draw(t, "id")
				if (tab.Remove(id, RemovedEvicted) != nil) != oracle[id] {
					t.Fatal("Remove disagrees")
				}
				delete(oracle, id)
			},
			"wait": func(t *rapid.T) { now += rapid.Int64Range(0, int64(LiveThreshold)).Draw(t, "ns") },
			"":     func(t *rapid.T) { checkAgainst(t, tab, oracle, idGen.Draw(t, "target")) },
		})
	})
}

func checkAgainst(t *rapid.T, tab *Table, oracle map[ID]bool, target ID) {
	var ids []ID
	for id := range oracle {
		if tab.Get(id) == nil {
			t.Fatalf("%s is lost", id)
		}
		ids = append(ids, id)
	}
	if tab.Len() != len(ids) || len(tab.Contacts(nil)) != len(ids) {
		t.Fatalf("%d members, want %d", tab.Len(), len(ids))
	}
	slices.SortFunc(ids, func(a, b ID) int { return Closer(&target, &a, &b) })
	for _, n := range []int{1, 3, tab.K(), len(ids) + 5} {
		var got []ID
		for _, c := range tab.Closest(nil, target, n) {
			got = append(got, c.ID())
		}
		if want := ids[:min(n, len(ids))]; !slices.Equal(got, want) {
			t.Fatalf("closest %d: %v, want %v", n, got, want)
		}
	}
	for i := range NumBuckets {
		if err := checkBucket(tab, i); err != nil {
			t.Fatal(err)
		}
	}
}

func checkBucket(tab *Table, i int) error {
	members := tab.Bucket(i)
	if len(members) > tab.K() {
		return fmt.Errorf("bucket %d holds %d", i, len(members))
	}
	ips, nets := map[netip.Addr]int{}, map[netip.Prefix]int{}
	for _, c := range members {
		self := tab.Self()
		if id := c.ID(); BucketIndex(&self, &id) != i {
			return fmt.Errorf("%s is in bucket %d", id, i)
		}
		if len(c.Addrs()) == 0 || len(c.Addrs()) > MaxAddrs {
			return fmt.Errorf("%d addresses", len(c.Addrs()))
		}
		mine := map[netip.Addr]bool{}
		near := map[netip.Prefix]bool{}
		for _, a := range c.Addrs() {
			mine[a.AddrPort.Addr()], near[Subnet(a.AddrPort.Addr())] = true, true
		}
		for ip := range mine {
			ips[ip]++
		}
		for n := range near {
			nets[n]++
		}
	}
	for ip, n := range ips {
		if n > tab.cfg.MaxPerIP {
			return fmt.Errorf("bucket %d holds %d contacts at %s", i, n, ip)
		}
	}
	for p, n := range nets {
		if n > tab.cfg.MaxPerSubnet {
			return fmt.Errorf("bucket %d holds %d contacts in %s", i, n, p)
		}
	}
	return nil
}
