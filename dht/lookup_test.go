package dht

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
	"signalbox/engine/view"
)

// script is a network of peers that say what they are told to say. It belongs
// in a synctest bubble.
type script struct {
	t *testing.T
	n *Node

	mu    sync.Mutex // guards the fields below
	peers map[netip.AddrPort]*actor
	dials []netip.AddrPort
	asked []table.ID
	gens  uint64
}

// actor is one of them.
type actor struct {
	id    table.ID
	addr  netip.AddrPort
	delay time.Duration // of a connection and of an answer
	mute  bool          // takes packets and says nothing
	tells []wire.Node
}

type actorLink struct {
	s   *script
	a   *actor
	gen uint64
}

func (l *actorLink) PeerID() table.ID           { return l.a.id }
func (l *actorLink) RemoteAddr() netip.AddrPort { return l.a.addr }
func (l *actorLink) Generation() uint64         { return l.gen }
func (l *actorLink) Close(string)               {}

func (l *actorLink) Send(p []byte) error {
	var m wire.Message
	if err := wire.Decode(p, &m); err != nil {
		return err
	}
	l.s.mu.Lock()
	l.s.asked = append(l.s.asked, l.a.id)
	l.s.mu.Unlock()
	if l.a.mute {
		return nil
	}
	reply := wire.AppendPong(nil, m.Request)
	if m.Type == wire.FindNode {
		w := wire.BeginNodes(nil, m.Request)
		for _, nd := range l.a.tells {
			w.Add(&nd.ID, nd.Addrs, nil)
		}
		reply = w.Bytes()
	}
	time.AfterFunc(l.a.delay, func() { l.s.n.Handle(0, l, reply, l.s.n.now()) })
	return nil
}

// Dial implements Dialer.
func (s *script) Dial(ctx context.Context, id table.ID, addr netip.AddrPort) (Link, error) {
	s.mu.Lock()
	s.dials = append(s.dials, addr)
	a := s.peers[addr]
	s.gens++
	gen := s.gens
	s.mu.Unlock()
	switch {
	case a == nil && addr.Port() == refuses:
		return nil, errors.New("connection refused")
	case a == nil || a.mute:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if !sleep(ctx, a.delay) {
		return nil, ctx.Err()
	}
	if a.id != id {
		return nil, errors.New("another identity")
	}
	return &actorLink{s, a, gen}, nil
}

// refuses is a port at which nobody is, and somebody says so.
const refuses = 6

// newScript makes a node in such a network. It can dial, and none of its loops
// run.
func newScript(t *testing.T, mod ...func(*Config)) *script {
	t.Helper()
	s := &script{t: t, peers: map[netip.AddrPort]*actor{}}
	s.n = quiet(t, append(mod, func(c *Config) { c.Dialer = s })...)
	ctx, cancel := context.WithCancel(t.Context())
	s.n.tasks.open(ctx)
	t.Cleanup(func() {
		cancel()
		s.n.tasks.close()
	})
	return s
}

// actor adds one, in a /24 of its own.
func (s *script) actor(i int, delay time.Duration) *actor {
	a := &actor{id: testID(i), delay: delay, addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{30, byte(i >> 8), byte(i), 1}), 4433)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers[a.addr] = a
	return a
}

// linked makes it a contact of ours.
func (s *script) linked(a *actor) {
	s.mu.Lock()
	s.gens++
	gen := s.gens
	s.mu.Unlock()
	s.n.Connected(&actorLink{s, a, gen})
}

func (a *actor) node(addrs ...netip.AddrPort) wire.Node {
	if len(addrs) == 0 {
		addrs = []netip.AddrPort{a.addr}
	}
	nd := wire.Node{ID: a.id}
	for _, x := range addrs {
		nd.Addrs = append(nd.Addrs, table.Addr{AddrPort: x, Type: table.Direct})
	}
	return nd
}

func (s *script) view() view.Lookups {
	var v view.DHT
	s.n.Fill(&v, s.n.now())
	return v.Lookups
}

// Spec dht 12, 43: the original waits for the slowest, 55 s a round.
func TestLookupDoesNotWaitForTheSlowest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		var nodes []wire.Node
		var quick []*actor
		for i := range 12 {
			a := s.actor(i, 20*time.Millisecond)
			a.mute = i%2 == 1 // every other one is a black hole
			nodes = append(nodes, a.node())
			if !a.mute {
				quick = append(quick, a)
			}
		}
		for _, a := range quick {
			a.tells = nodes
		}
		s.linked(quick[0])
		start := s.n.now()
		found, err := s.n.Lookup(t.Context(), testID(77))
		took := time.Duration(s.n.now() - start)
		if err != nil || len(found) != len(quick) {
			t.Fatalf("%v, found %d of %d", err, len(found), len(quick))
		}
		if took > grace+500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		tr := s.view().Trace[0]
		if tr.Stop != stopSlow || tr.State != view.LookupDone || tr.Answered != 6 || tr.Asked != 12 || tr.Slow != 6 || tr.Found != 6 || tr.Waiting != 6 {
			t.Errorf("%+v", tr)
		}
	})
}

// Whoever answers late, when its place has been given to others, may bring
// peers closer than all that are being asked: the lookup goes on with them.
func TestLookupGoesOnWithWhatASlowPeerTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, func(c *Config) { c.K = 4 })
		target := testID(77)
		at := func(i, byteNo int, delay time.Duration) *actor {
			a := s.actor(i, delay)
			a.id = target
			a.id[byteNo] ^= byte(i)
			return a
		}
		quick, slow := at(1, 1, 10*time.Millisecond), at(9, 10, 170*time.Millisecond)
		var far []wire.Node
		for i := range 3 {
			far = append(far, at(2+i, 8, 900*time.Millisecond).node())
		}
		quick.tells = append(far, slow.node())
		for i := range 4 {
			slow.tells = append(slow.tells, at(10+i, 31, 10*time.Millisecond).node())
		}
		s.linked(quick)
		for i := range 2 {
			s.linked(at(20+i, 1, 900*time.Millisecond))
		}
		found, err := s.n.Lookup(t.Context(), target)
		if err != nil || len(found) != 4 || found[0].ID != slow.tells[0].ID || found[3].ID != slow.tells[3].ID {
			t.Errorf("%v, found %v", err, found)
		}
	})
}

// A peer that is merely far is heard all the same.
func TestLookupHearsTheFar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		near, far := s.actor(1, time.Millisecond), s.actor(2, 600*time.Millisecond)
		near.tells = []wire.Node{far.node()}
		s.linked(near)
		found, err := s.n.Lookup(t.Context(), far.id)
		if err != nil || len(found) != 2 || found[0].ID != far.id || found[0].Addrs[0].AddrPort != far.addr {
			t.Fatalf("%v %v", found, err)
		}
		tr := s.view().Trace[0]
		if tr.Stop != stopExhausted || tr.Slow != 1 || tr.Hops != 2 || tr.Bits != table.NumBuckets || tr.Closest != far.id.String() {
			t.Errorf("%+v", tr)
		}
		q := tr.Queries[1]
		if q.Outcome != view.QueryAnswered || q.RTTMS != 600 || q.TookMS != 1200 || q.Hop != 2 || q.Known || q.Reports != 1 || q.Addr != far.addr.String() {
			t.Errorf("%+v", q)
		}
	})
}

func TestLookupIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		// Everybody tells of twenty that are ever closer, without end.
		target := testID(0)
		next := 1000
		var spawn func(depth int) *actor
		spawn = func(depth int) *actor {
			a := s.actor(next, time.Millisecond)
			next++
			a.id = target
			a.id[31-depth/8] ^= 0x80 >> (7 - depth%8) // fewer bits to go with every step
			a.id[20] ^= byte(next)
			a.id[21] ^= byte(next >> 8)
			return a
		}
		first := spawn(200)
		cur := first
		for d := 199; d > 90; d-- {
			nx := spawn(d)
			cur.tells = []wire.Node{nx.node()}
			cur = nx
		}
		s.linked(first)
		if _, err := s.n.Lookup(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		tr := s.view().Trace[0]
		if tr.Asked != maxQueries || tr.Stop != stopQueries || len(tr.Queries) != maxTraced || tr.More != maxQueries-maxTraced {
			t.Errorf("asked %d, stopped by %s, %d listed and %d more", tr.Asked, tr.Stop, len(tr.Queries), tr.More)
		}
	})
}

// Spec dht 3.6: of several reports about a peer, what two of the reporters
// closest to it agree on is dialled first, then what the closest of them says.
func TestReportsAreReconciled(t *testing.T) {
	at := func(i int) table.Addr {
		return table.Addr{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{40, 0, byte(i), 1}), 1), Type: table.Unverified}
	}
	by := func(d byte) (id table.ID) { id[31] = d; return id } // at distance d from the subject, who is zero
	tests := []struct {
		name    string
		reports []report
		want    []int
	}{
		{"one", []report{{by(9), []table.Addr{at(1), at(2)}}}, []int{1, 2}},
		{"the closest wins, not the first", []report{{by(9), []table.Addr{at(1)}}, {by(2), []table.Addr{at(2)}}}, []int{2, 1}},
		{"agreement wins over the closest", []report{{by(1), []table.Addr{at(1)}}, {by(2), []table.Addr{at(2)}}, {by(3), []table.Addr{at(2)}}}, []int{2, 1}},
		{"a crowd far away does not agree", []report{
			{by(1), []table.Addr{at(1)}},
			{by(2), []table.Addr{at(2)}},
			{by(3), []table.Addr{at(3)}},
			{by(7), []table.Addr{at(9)}},
			{by(8), []table.Addr{at(9)}},
			{by(9), []table.Addr{at(9)}},
		}, []int{1, 2, 3, 9}},
		{"a reporter counts once", []report{{by(5), []table.Addr{at(1)}}, {by(5), []table.Addr{at(1)}}, {by(2), []table.Addr{at(2)}}}, []int{2, 1}},
		{"the better type", []report{{by(5), []table.Addr{at(1), {AddrPort: at(2).AddrPort, Type: table.Direct}}}}, []int{2, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &candidate{}
			for _, r := range tt.reports {
				c.hear(r.by, r.addrs)
			}
			var got []int
			for _, a := range c.told() {
				got = append(got, int(a.AddrPort.Addr().As4()[2]))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%v, want %v", got, tt.want)
			}
			if len(c.heard) > maxReports {
				t.Errorf("%d reports are kept", len(c.heard))
			}
		})
	}
}

// A liar who answers first does not fix the address of another (spec dht 12,
// 39), and a contact that has moved is found through what others say.
func TestLiarAndMovedContact(t *testing.T) {
	for _, lie := range []string{"40.6.6.6:6", "40.6.6.6:7"} { // refuses; a black hole
		synctest.Test(t, func(t *testing.T) {
			s := newScript(t)
			victim := s.actor(2, time.Millisecond)
			liar := s.actor(3, time.Millisecond)
			liar.tells = []wire.Node{victim.node(netip.MustParseAddrPort(lie))}
			s.linked(liar)
			moved := s.actor(1, time.Millisecond)
			old := link(50, 1)
			old.peer, old.addr = moved.id, netip.MustParseAddrPort("40.9.9.9:6")
			s.n.Connected(old)
			s.n.Disconnected(old)
			for i := range 2 {
				a := s.actor(10+i, 5*time.Millisecond)
				a.tells = []wire.Node{victim.node(), moved.node()}
				s.linked(a)
			}
			find := func() int {
				found, err := s.n.Lookup(t.Context(), victim.id)
				if err != nil {
					t.Fatal(err)
				}
				ids := []table.ID{}
				for _, f := range found {
					ids = append(ids, f.ID)
				}
				if !slices.Contains(ids, moved.id) && lie == "40.6.6.6:6" {
					t.Error("the contact that has moved was not found")
				}
				return slices.Index(ids, victim.id)
			}
			if at := find(); at != 0 && lie == "40.6.6.6:6" {
				t.Error("the lie was dialled first and the truth never")
			}
			time.Sleep(dialTimeout)
			if find() != 0 {
				t.Error("the lie still stands at the second lookup")
			}
		})
	}
}

// S/Kademlia: a coalition that owns one path does not own the lookup.
func TestDisjointPaths(t *testing.T) {
	for _, paths := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(paths), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testDisjoint(t, paths) })
		})
	}
}

func testDisjoint(t *testing.T, paths int) {
	s := newScript(t, func(c *Config) { c.Paths = paths })
	target := testID(500)
	near := func(i int, bits int) *actor { // shares bits with the target
		a := s.actor(i, 10*time.Millisecond)
		noise := a.id
		a.id = target
		a.id[bits/8] ^= 0x80 >> (bits % 8)
		copy(a.id[bits/8+1:], noise[bits/8+1:])
		return a
	}
	// 25 liars, all closer than anybody honest, tell of each other only; honest
	// peers tell of the honest ones beside the target.
	var liars, honest []wire.Node
	var all []*actor
	for i := range 25 {
		a := near(600+i, 24+i)
		liars = append(liars, a.node())
		all = append(all, a)
	}
	for _, a := range all {
		a.tells = liars[:20]
	}
	closest := near(700, 60) // the honest peer that is to be found
	honest = append(honest, closest.node())
	var way []*actor
	for i := range 6 {
		a := near(710+i, 10+i)
		honest = append(honest, a.node())
		way = append(way, a)
	}
	for _, a := range append(way, closest) {
		a.tells = honest
	}
	entry := []*actor{near(800, 3), near(801, 2), near(802, 1)}
	entry[0].tells = liars[:20] // the closest of our contacts is one of them, and quick
	entry[0].delay = time.Millisecond
	// The others know the way only, which is farther off than the liars.
	entry[1].tells, entry[2].tells = honest[1:], honest[1:]
	for _, a := range entry {
		s.linked(a)
	}
	found, err := s.n.LookupAs(t.Context(), target, Ask{For: ForRecord})
	if err != nil {
		t.Fatal(err)
	}
	got := slices.ContainsFunc(found, func(f Found) bool { return f.ID == closest.id })
	tr := s.view().Trace[0]
	if tr.Paths != paths || tr.For != ForRecord {
		t.Errorf("%+v", tr)
	}
	if got != (paths > 1) {
		t.Errorf("the honest peer beside the target was found: %v", got)
	}
	seen := map[string]bool{}
	for _, q := range tr.Queries {
		if seen[q.Peer] {
			t.Errorf("%s was asked on two paths", q.Peer)
		}
		seen[q.Peer] = true
		if q.Path < 0 || q.Path >= paths {
			t.Errorf("path %d", q.Path)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	once := map[table.ID]int{}
	for _, id := range s.asked {
		if once[id]++; once[id] > 1 {
			t.Errorf("%s was asked twice", id.Short())
		}
	}
	if len(s.asked) > maxQueries {
		t.Errorf("%d queries", len(s.asked))
	}
}

func TestPace(t *testing.T) {
	var p pace
	if p.patience() != grace {
		t.Error("before the first answer", p.patience())
	}
	p.observe(100 * time.Millisecond)
	if p.patience() != 300*time.Millisecond {
		t.Error("after the first", p.patience())
	}
	for range 100 {
		p.observe(100 * time.Millisecond)
	}
	if p.patience() != minPatience {
		t.Error("steady", p.patience())
	}
	for range 100 {
		p.observe(10 * time.Second)
	}
	if p.patience() != grace {
		t.Error("not bounded", p.patience())
	}
}
