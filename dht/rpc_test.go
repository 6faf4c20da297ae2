package dht

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"

	"signalbox/dht/table"
	"signalbox/dht/wire"
	"signalbox/engine/view"
)

func strayOf(n *Node) map[string]uint64 {
	var v view.DHT
	n.Fill(&v, n.now())
	return v.RPC.Stray
}

// Every reply that is dropped is counted under what is wrong with it.
func TestStrayRepliesByKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := quiet(t)
		l, other := link(1, 1), link(2, 2)
		n.Connected(l)
		n.Connected(other)
		want := map[string]uint64{"late": 0, "repeated": 0, "unknown": 0, "wrong_peer": 0, "wrong_type": 0, "malformed": 0}
		check := func(what, kind string) {
			t.Helper()
			if kind != "" {
				want[kind]++
			}
			got := strayOf(n)
			for k, v := range want {
				if got[k] != v || len(got) != len(want) {
					t.Errorf("%s: %v, want %v", what, got, want)
					return
				}
			}
		}
		check("at first", "")
		n.Handle(0, l, wire.AppendPong(nil, 12345), n.now())
		check("a made-up id", "unknown")
		req, done := ask(t, n, l)
		n.Handle(0, other, wire.AppendPong(nil, req), n.now())
		check("another peer, before the answer", "wrong_peer")
		n.Handle(0, l, wire.AppendPong(nil, req), n.now())
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		n.Handle(0, l, wire.AppendPong(nil, req), n.now())
		check("twice", "repeated")
		n.Handle(0, other, wire.AppendPong(nil, req), n.now())
		check("another peer, after the answer", "wrong_peer")
		req, done = ask(t, n, l)
		if err := <-done; !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
		n.Handle(0, l, wire.AppendPong(nil, req), n.now())
		check("after the timeout", "late")
		req, done = ask(t, n, l)
		n.Disconnected(l)
		<-done
		l = link(1, 3)
		n.Connected(l)
		n.Handle(0, l, wire.AppendPong(nil, req), n.now())
		check("over a new link, after the loss of the old", "late")
		req, done = ask(t, n, l)
		w := wire.BeginNodes(nil, req)
		n.Handle(0, l, w.Bytes(), n.now())
		<-done
		check("of another type", "wrong_type")
		req, done = ask(t, n, l)
		n.Handle(0, l, append(wire.AppendPong(nil, req), 1), n.now())
		<-done
		check("with bytes after its end", "malformed")
		for range pastKept + 1 { // the memory of what was is bounded too
			if r, _, err := n.pending.open(l.peer, wire.Pong); err == nil {
				n.pending.cancel(r)
			}
		}
		n.Handle(0, l, wire.AppendPong(nil, req), n.now())
		check("long past", "unknown")
	})
}

// reliability.md T33, D2, D3: a hundred thousand forged, late, repeated,
// mis-addressed, oversize replies; none is accepted, and what waits is bounded.
func TestT33ForgedReplies(t *testing.T) {
	n := quiet(t)
	victim, stranger := link(1, 1), link(2, 2)
	n.Connected(victim)
	var calls []*call
	var reqs []uint64
	for range maxPending {
		req, c, err := n.pending.open(victim.peer, wire.Nodes)
		if err != nil {
			t.Fatal(err)
		}
		reqs, calls = append(reqs, req), append(calls, c)
	}
	if _, _, err := n.pending.open(victim.peer, wire.Nodes); !errors.Is(err, ErrBusy) {
		t.Fatal("pending is not bounded", err)
	}
	const late = 56 // these have been given up
	for _, r := range reqs[:late] {
		n.pending.cancel(r)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	id := testID(7)
	nodes := func(req uint64) []byte {
		w := wire.BeginNodes(nil, req)
		w.Add(&id, []table.Addr{{AddrPort: netip.MustParseAddrPort("1.2.3.4:5")}}, nil)
		return w.Bytes()
	}
	forge := []func() (*fakeLink, []byte){
		func() (*fakeLink, []byte) { return victim, nodes(rng.Uint64()) },                               // unknown id
		func() (*fakeLink, []byte) { return stranger, nodes(reqs[rng.IntN(len(reqs))]) },                // another peer
		func() (*fakeLink, []byte) { return victim, nodes(reqs[rng.IntN(late)]) },                       // late
		func() (*fakeLink, []byte) { return stranger, wire.AppendPong(nil, reqs[rng.IntN(len(reqs))]) }, // and of another type
		func() (*fakeLink, []byte) { // oversize
			return victim, append(nodes(reqs[rng.IntN(len(reqs))]), make([]byte, wire.MaxMessage)...)
		},
		func() (*fakeLink, []byte) { // another version
			b := nodes(reqs[rng.IntN(len(reqs))])
			b[0] = 9
			return victim, b
		},
		func() (*fakeLink, []byte) { return victim, nodes(reqs[rng.IntN(len(reqs))])[:wire.HeaderLen-1] }, // cut short
	}
	const flood = 100_000
	for i := range flood {
		l, b := forge[i%len(forge)]()
		n.Handle(0, l, b, int64(i))
		if p := n.pending.len(); p != maxPending-late {
			t.Fatalf("%d are pending after forgery %d", p, i)
		}
	}
	for _, c := range calls {
		if len(c.done) != 0 {
			t.Fatal("a forged reply was accepted")
		}
	}
	s, stray := n.Stats(), strayOf(n)
	if got := s.Malformed + stray["unknown"] + stray["late"] + stray["wrong_peer"]; got != flood || stray["late"] == 0 || stray["wrong_peer"] == 0 {
		t.Errorf("%d of %d are accounted for: %+v %v", got, flood, s, stray)
	}
	if n.Table().Len() != 1 {
		t.Error("a forged reply changed the table")
	}
	// Replies beyond a bound, from the peer that was asked, end their request
	// as failed.
	for i, r := range reqs[late:] {
		b := nodes(r)
		b[wire.HeaderLen] = byte(wire.MaxContacts + 1 + i)
		n.Handle(0, victim, b, flood)
		if a := <-calls[late+i].done; !errors.Is(a.err, ErrBadReply) || len(a.msg.Nodes) != 0 {
			t.Fatalf("a reply with too many contacts: %v", a.err)
		}
	}
	if n.pending.len() != 0 {
		t.Error("requests are left over")
	}
}

// One answer per request, however many arrive at once.
func TestAReplyIsUsedOnce(t *testing.T) {
	n := quiet(t)
	l := link(1, 1)
	for range 200 {
		req, c, err := n.pending.open(l.peer, wire.Pong)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { n.Handle(0, l, wire.AppendPong(nil, req), n.now()) })
		}
		wg.Go(func() { n.pending.cancel(req) })
		wg.Wait()
		if len(c.done) > 1 {
			t.Fatal("answered twice")
		}
	}
	if n.pending.len() != 0 {
		t.Error("left pending")
	}
}
