package bench

import (
	"testing"

	"signalbox/dht"
)

// The fleet's nodes are real ones: over QUIC on loopback addresses of their
// own they join, find each other, and lose nothing.
func TestLeanNodesFindEachOther(t *testing.T) {
	var count fleetCounts
	var nodes []*leanNode
	var seeds []dht.Seed
	for i := range 8 {
		n, err := startLean(t.Context(), fleetAddr(60000+i), seeds, 20, &count)
		if err != nil {
			t.Skip("no loopback addresses beside 127.0.0.1 here:", err)
		}
		defer n.close()
		nodes = append(nodes, n)
		if i == 0 {
			seeds = []dht.Seed{{ID: n.id, Addr: n.addr}}
		}
		if err := n.member(t.Context(), min(i, 1)); err != nil {
			t.Fatal(i, err)
		}
	}
	f := &fleet{nodes: nodes}
	f.hist.Store(&histogram{})
	for _, a := range nodes {
		for _, b := range nodes {
			if a != b {
				f.lookup(t.Context(), a, b.id)
			}
		}
	}
	got := f.take()
	if got.Lookups != 56 || got.Found != 56 || count.controlDropped.Load()+count.requestsDropped.Load()+count.linkFull.Load() > 0 {
		t.Errorf("%+v, control %d, requests %d", got, count.controlDropped.Load(), count.requestsDropped.Load())
	}
	if rpc := f.rpc(); rpc.Sent == 0 {
		t.Errorf("%+v", rpc)
	}
	if f.count.links.Load() < 0 || count.links.Load() < 14 {
		t.Error("links:", count.links.Load())
	}
	nodes[3].close()
	if _, err := nodes[4].node.Lookup(t.Context(), nodes[5].id); err != nil {
		t.Error("after one has left:", err)
	}
}

func TestDHTParamsAreChecked(t *testing.T) {
	for _, p := range []DHTParams{
		{},
		{Nodes: 5, Joiners: 1, Rate: 1, Seconds: 10},
		{Nodes: 100, Rate: 1, Seconds: 10},
		{Nodes: 100, Joiners: 1, Seconds: 10},
		{Nodes: 100, Joiners: 1, Rate: 1},
		{Nodes: 100000, Joiners: 1, Rate: 1, Seconds: 10},
	} {
		if _, err := RunDHT(t.Context(), nil, p); err == nil {
			t.Errorf("%+v is taken", p)
		}
	}
}
