package dht

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// crowd fills the bucket of id with linked peers nearer to it than anything
// that is not ground, and returns the number of contacts.
func crowd(n *Node, id table.ID) int {
	for i := range 2 * n.table.K() {
		l := link(i, uint64(i+1))
		l.peer = id
		l.peer[table.IDLen-1] ^= byte(i + 1)
		l.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{66, byte(i), 1, 1}), 1)
		n.Connected(l)
	}
	return n.table.Len()
}

// Who is linked is found, whoever fills its bucket: by us, and by those who ask
// us. Nobody learns where it is whom that tells nothing.
func TestALinkedPeerIsFoundWithoutAPlaceInTheTable(t *testing.T) {
	n := quiet(t)
	late := link(500, 500)
	before := crowd(n, late.peer)
	asker, near := link(501, 501), link(502, 502)
	near.addr = netip.MustParseAddrPort("192.168.1.9:1")
	told := func(from *fakeLink) []wire.Node {
		n.Handle(0, from, wire.AppendFindNode(nil, 1, &late.peer), n.now())
		m, _ := from.last(t)
		if len(m.Nodes) != n.table.K() {
			t.Fatal(len(m.Nodes), "nodes in the answer")
		}
		return m.Nodes
	}
	has := func(list []wire.Node) bool {
		return slices.ContainsFunc(list, func(nd wire.Node) bool { return nd.ID == late.peer })
	}
	if has(told(asker)) {
		t.Fatal("it is told of before it came")
	}
	n.Connected(late)
	if n.table.Get(late.peer) != nil || n.table.Len() != before {
		t.Fatal("the table had a place for it: this shows nothing")
	}
	if got := told(asker); got[0].ID != late.peer || got[0].Addrs[0].AddrPort != late.addr {
		t.Error("the first told of is", got[0])
	}
	if has(told(late)) {
		t.Error("it is told of itself")
	}
	n.Disconnected(late)
	if has(told(asker)) {
		t.Error("it is told of after its link is lost")
	}
	late.gen, late.addr = 503, netip.MustParseAddrPort("192.168.1.8:1")
	n.Connected(late)
	if has(told(asker)) || !has(told(near)) {
		t.Error("an address of a local network is for those in one")
	}
}

func TestALookupBeginsWithTheTargetItself(t *testing.T) {
	for _, paths := range []int{1, MaxPaths} {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(t)
			late := s.actor(500, time.Millisecond)
			crowd(s.n, late.id)
			s.linked(late)
			if s.n.table.Get(late.id) != nil {
				t.Fatal("the table had a place for it: this shows nothing")
			}
			found, err := s.n.LookupAs(t.Context(), late.id, Ask{Paths: paths})
			if err != nil || found[0].ID != late.id || found[0].Addrs[0].AddrPort != late.addr {
				t.Error(found, err)
			}
		})
	}
}
