package dht

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// reliability.md T33b: whatever others report, in whatever encoding, we do not
// dial ourselves, our own network, or nowhere.
func TestT33bRefusedAddresses(t *testing.T) {
	refused := []string{
		"127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1",
		"224.0.0.1", "255.255.255.255", "fe80::1", "fc00::1", "fd12::1", "ff02::1",
		"64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::192.168.1.1", "64:ff9b:1::10.0.0.1", // NAT64
		"2002:7f00:1::1", "2002:a00:1::1", "2002:c0a8:101::1", // 6to4
		"2001:0:102:304::80ff:fffe", // Teredo of 127.0.0.1
		"::127.0.0.1", "::10.0.0.1", // IPv4-compatible
		"::ffff:0:127.0.0.1",           // IPv4-translated
		"2001:db8:1:2:0:5efe:10.0.0.1", // ISATAP
		"2001:db8:1:2:200:5efe:192.168.0.1",
	}
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		liar := s.actor(1, time.Millisecond)
		liar.mute = false
		honest := s.actor(2, time.Millisecond)
		for i, ip := range refused {
			nd := wire.Node{ID: testID(100 + i)}
			nd.Addrs = []table.Addr{{AddrPort: netip.AddrPortFrom(netip.MustParseAddr(ip), 4433), Type: 1 + table.AddrType(i%3)}}
			liar.tells = append(liar.tells, nd)
		}
		all := liar.tells
		s.linked(liar)
		for len(all) > 0 {
			n := min(len(all), wire.MaxContacts-1)
			liar.tells = append(slices.Clone(all[:n]), honest.node())
			all = all[n:]
			if _, err := s.n.Lookup(t.Context(), testID(300+len(all))); err != nil {
				t.Fatal(err)
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.dials) != 1 || s.dials[0] != honest.addr {
			t.Errorf("dialled %v, want the honest one alone", s.dials)
		}
	})
	// A form of an address that the codec does not carry is refused before.
	req := wire.BeginNodes(nil, 1)
	id := testID(1)
	req.Add(&id, []table.Addr{{AddrPort: netip.MustParseAddrPort("[2001:db8::1]:1")}}, nil)
	b := req.Bytes()
	mapped := netip.MustParseAddr("::ffff:127.0.0.1").As16()
	copy(b[len(b)-18:], mapped[:])
	var m wire.Message
	if err := wire.Decode(b, &m); !errors.Is(err, wire.ErrAddress) {
		t.Error("a mapped address was decoded:", err)
	}
}

// Spec dht 2.9, gossip_merge_*: what others say of a contact changes nothing
// about it: not its addresses, its time, its bucket's; and brings nobody in.
// Replies are hints for dialling, no more (a departure from the original, which
// lets them upgrade addresses; docs/decisions).
func TestGossipChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		teller, subject := s.actor(1, time.Millisecond), s.actor(2, time.Millisecond)
		subject.mute = true // it is known, and says nothing
		s.linked(teller)
		s.linked(subject)
		c := s.n.Table().Get(subject.id)
		addrs, seen := slices.Clone(c.Addrs()), c.LastSeen()
		live, _ := s.n.Table().BucketAge(c.Bucket(), s.n.now())
		began := s.n.now()
		stranger := testID(9)
		teller.tells = []wire.Node{
			subject.node(netip.MustParseAddrPort("40.1.1.1:1"), netip.MustParseAddrPort("[2001:db8::9]:9")),
			{ID: stranger, Addrs: []table.Addr{{AddrPort: netip.MustParseAddrPort("40.2.2.2:6"), Type: table.Direct}}},
		}
		if _, err := s.n.Lookup(t.Context(), subject.id); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(c.Addrs(), addrs) || c.LastSeen() != seen || s.n.Table().Get(stranger) != nil || s.n.Table().Len() != 2 {
			t.Errorf("addresses %v, seen %d, %d contacts", c.Addrs(), c.LastSeen(), s.n.Table().Len())
		}
		if c.Bucket() != s.n.Table().Get(teller.id).Bucket() {
			if now, _ := s.n.Table().BucketAge(c.Bucket(), s.n.now()); now != live+s.n.now()-began {
				t.Error("gossip freshened the bucket")
			}
		}
	})
}
