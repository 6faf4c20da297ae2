package dhttest

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/dht/table"
)

// reliability.md T32: 2,000 identities of one party against a table of 200
// honest contacts, with the diversity rules on. What they hide beyond it:
// TestEclipse.
func TestSybils(t *testing.T) {
	for _, tt := range []struct {
		name    string
		subnets int
		keep    float64 // share of the honest contacts that must stay
	}{
		{"one /24", 1, 0.95},
		{"50 /24s", 50, 0.5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if testing.Short() && tt.subnets > 1 {
				t.Skip("a siege from many networks takes minutes under the race detector")
			}
			synctest.Test(t, func(t *testing.T) { besiege(t, tt.subnets, tt.keep) })
		})
	}
}

const sybilCount = 2000

func besiege(t *testing.T, subnets int, keep float64) {
	s := New(Config{Seed: 32})
	defer s.Close()
	victim, honest := fortress(t, s)
	if n := victim.Table().Len(); n != 200 {
		t.Fatal("the table begins with", n)
	}
	sybils := siege(t, s, victim, subnets)
	kept, in, near := 0, 0, 0
	for _, p := range honest {
		if victim.Table().Get(p.ID) != nil {
			kept++
		}
	}
	for _, c := range victim.Table().Contacts(nil) {
		if sybils.Owns(c.ID()) {
			in++
		}
	}
	for _, c := range victim.Table().Closest(nil, victim.ID, victim.Table().K()) {
		if sybils.Owns(c.ID()) {
			near++
		}
	}
	t.Logf("%d of %d honest contacts kept (%.1f %%), %d Sybils among %d contacts, %d of the 20 nearest",
		kept, len(honest), 100*float64(kept)/float64(len(honest)), in, victim.Table().Len(), near)
	if share := float64(kept) / float64(len(honest)); share < keep {
		t.Errorf("%.3f of the honest contacts are kept", share)
	}
}

// siege has Sybils of so many networks, no two of one /16, besiege the victim.
// They are ground to lie in every bucket, so that they stand nearer than the
// honest in most, as a party that wants to surround one node would have them.
func siege(t *testing.T, s *Swarm, victim *Peer, subnets int) *Sybils {
	t.Helper()
	var from []netip.Prefix
	for i := range subnets {
		from = append(from, netip.PrefixFrom(netip.AddrFrom4([4]byte{66, byte(i), 6, 0}), 24))
	}
	count := sybilCount
	if testing.Short() {
		count /= 5
	}
	sybils, err := s.AddSybils(count, from, &victim.ID, 30)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if n := sybils.Attack(t.Context(), victim); n < count/2 {
			t.Error("only", n, "Sybils are connected: this is no siege")
		}
		diverse(t, victim.Table())
		sybils.Ask(victim)
		s.Sleep(2 * time.Minute)
		diverse(t, victim.Table())
	}
	return sybils
}

// fortress is a node whose first ten buckets are full of honest contacts.
func fortress(t *testing.T, s *Swarm) (*Peer, []*Peer) {
	t.Helper()
	victim, err := s.Add(Spec{})
	if err != nil {
		t.Fatal(err)
	}
	var honest []*Peer
	for i := range 200 {
		p, err := s.Add(Spec{ID: IDInBucket(victim.ID, i/20, draw(s, RandomID)), Seeds: []*Peer{victim}})
		if err != nil {
			t.Fatal(err)
		}
		honest = append(honest, p)
		s.Sleep(100 * time.Millisecond)
	}
	s.Sleep(10 * time.Minute)
	return victim, honest
}

// diverse checks the limits in every bucket and in the close group.
func diverse(t *testing.T, tab *table.Table) {
	t.Helper()
	scopes := map[string][]*table.Contact{"the close group": tab.Closest(nil, tab.Self(), tab.K())}
	for i := range table.NumBuckets {
		scopes[fmt.Sprintf("bucket %d", i)] = tab.Bucket(i)
	}
	for name, list := range scopes {
		ips, nets := map[netip.Addr]int{}, map[netip.Prefix]int{}
		for _, c := range list {
			mine := map[netip.Prefix]bool{}
			for _, a := range c.Addrs() {
				ip := a.AddrPort.Addr()
				ips[ip]++
				mine[table.Subnet(ip)] = true
			}
			for n := range mine {
				nets[n]++
			}
		}
		for ip, n := range ips {
			if n > table.DefaultMaxPerIP {
				t.Errorf("%s: %d contacts at %s", name, n, ip)
			}
		}
		for net, n := range nets {
			if n > tab.K()/4 {
				t.Errorf("%s: %d contacts in %s", name, n, net)
			}
		}
	}
}
