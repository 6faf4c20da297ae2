package dht

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
	"signalbox/engine/view"
)

// fakeLink records what is sent.
type fakeLink struct {
	peer table.ID
	addr netip.AddrPort
	gen  uint64
	err  error

	mu     sync.Mutex // guards the fields below
	sent   [][]byte
	closed string
}

func link(i int, gen uint64) *fakeLink {
	return &fakeLink{peer: testID(i), gen: gen, addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{20, 1, byte(i), 1}), 1)}
}

func (l *fakeLink) PeerID() table.ID           { return l.peer }
func (l *fakeLink) RemoteAddr() netip.AddrPort { return l.addr }
func (l *fakeLink) Generation() uint64         { return l.gen }
func (l *fakeLink) Send(p []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.sent = append(l.sent, append([]byte(nil), p...))
	}
	return l.err
}

func (l *fakeLink) Close(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = reason
}

// last decodes the newest message sent and returns how many there were.
func (l *fakeLink) last(t *testing.T) (m wire.Message, n int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sent) == 0 {
		return m, 0
	}
	if err := wire.Decode(l.sent[len(l.sent)-1], &m); err != nil {
		t.Fatal(err)
	}
	return m, len(l.sent)
}

// answer replies to the requests sent over l from index from on.
func (l *fakeLink) answer(t *testing.T, n *Node, from int) int {
	t.Helper()
	l.mu.Lock()
	sent := l.sent
	l.mu.Unlock()
	for _, b := range sent[from:] {
		typ, req, err := wire.Header(b)
		if err != nil {
			t.Fatal(err)
		}
		switch typ {
		case wire.Ping:
			n.Handle(0, l, wire.AppendPong(nil, req), n.now())
		case wire.FindNode:
			w := wire.BeginNodes(nil, req)
			n.Handle(0, l, w.Bytes(), n.now())
		}
	}
	return len(sent)
}

// answerAll lets the peers of links answer until stop is closed.
func answerAll(t *testing.T, n *Node, stop <-chan struct{}, links ...*fakeLink) {
	t.Helper()
	done := map[*fakeLink]int{}
	for {
		select {
		case <-stop:
			return
		case <-time.After(50 * time.Millisecond):
		}
		for _, l := range links {
			done[l] = l.answer(t, n, done[l])
		}
	}
}

type noDialer struct{}

func (noDialer) Dial(_ context.Context, _ table.ID, _ netip.AddrPort) (Link, error) {
	return nil, errors.New("no network")
}

// quiet makes a node that is not running.
func quiet(t *testing.T, mod ...func(*Config)) *Node {
	t.Helper()
	start := time.Now()
	cfg := Config{ID: testID(1000), Dialer: noDialer{}, Now: func() int64 { return int64(time.Since(start)) }}
	for _, f := range mod {
		f(&cfg)
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// ask starts a Ping and returns the request it sends.
func ask(t *testing.T, n *Node, l *fakeLink) (uint64, <-chan error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := n.Ping(t.Context(), l.peer)
		done <- err
	}()
	synctest.Wait()
	m, _ := l.last(t)
	if m.Type != wire.Ping {
		t.Fatal("no ping was sent")
	}
	return m.Request, done
}

// Design rule 6: an entry is deleted by generation, never by key alone.
func TestLateLossOfAnOldLink(t *testing.T) {
	n := quiet(t)
	old, young := link(1, 1), link(1, 2)
	n.Connected(old)
	n.Connected(young)
	n.Connected(young) // idempotent
	if s := n.reg.best(old.peer); s == nil || s.link != Link(young) {
		t.Fatal("the newest link is not the one used")
	}
	n.Disconnected(old)
	n.Disconnected(old)
	if s := n.reg.best(old.peer); s == nil || s.link != Link(young) || n.Stats().Links != 1 || n.Stats().LateLost != 1 {
		t.Fatalf("the late loss removed its successor: %+v", n.Stats())
	}
	n.Disconnected(young)
	if n.reg.best(old.peer) != nil || n.reg.peers.Load() != 0 || n.Table().Get(old.peer) == nil {
		t.Fatal("the link is still there, or the contact has gone with it")
	}
	// A loss that overtakes the registration must not leave a dead entry.
	fast := link(2, 3)
	n.Disconnected(fast)
	n.Connected(fast)
	if n.reg.best(fast.peer) != nil {
		t.Error("a link lost before it was registered is registered")
	}
	n.Connected(young)
	if n.reg.best(young.peer) != nil {
		t.Error("a link registered and lost is registered again")
	}
	// A third link drives the oldest out.
	for gen := range uint64(3) {
		n.Connected(link(3, 10+gen))
	}
	if list := n.reg.of(testID(3)); len(list) != maxLinksPerPeer || list[0].gen != 12 {
		t.Error("links are not bounded")
	}
}

func TestRegistrationPrecedesTheEvent(t *testing.T) {
	var n *Node
	seen := false
	n = quiet(t, func(c *Config) {
		c.Event = func(e view.Event) {
			seen = e.Kind == "dht.peer_added" && n.reg.best(testID(1)) != nil && n.Table().Get(testID(1)) != nil
		}
	})
	n.Connected(link(1, 1))
	if !seen {
		t.Error("the event came before the registration")
	}
}

// reliability.md D2: pending requests are matched by id and peer, once.
func TestRepliesAreMatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := quiet(t)
		right, wrong := link(1, 1), link(2, 2)
		n.Connected(right)
		n.Connected(wrong)
		req, done := ask(t, n, right)
		pong := wire.AppendPong(nil, req)
		n.Handle(0, wrong, pong, n.now())
		if s := n.Stats(); s.WrongPeer != 1 || n.pending.len() != 1 {
			t.Fatalf("%+v", s)
		}
		time.Sleep(30 * time.Millisecond)
		n.Handle(0, right, pong, n.now())
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		n.Handle(0, right, pong, n.now())
		if s := n.Stats(); s.Unmatched != 1 || n.pending.len() != 0 {
			t.Errorf("%+v", s)
		}
		c := n.Table().Get(right.peer)
		if c.RTT() != 30*time.Millisecond || c.Trust().Score(n.now()) <= 0.5 {
			t.Error("the answer was not credited", c.RTT(), c.Trust())
		}
		if n.Table().Get(wrong.peer).Trust().Score(n.now()) != 0.5 {
			t.Error("a stray reply was charged")
		}
	})
}

func TestOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tests := []struct {
			name    string
			during  func(n *Node, l, other *fakeLink, req uint64)
			want    error
			charged bool
		}{
			{"silence while others are heard", func(n *Node, _, other *fakeLink, _ uint64) {
				n.Handle(0, other, wire.AppendPing(nil, 1), n.now())
			}, ErrTimeout, true},
			{"silence of everybody", func(*Node, *fakeLink, *fakeLink, uint64) {}, ErrTimeout, false},
			{"silence while we drop", func(n *Node, _, other *fakeLink, _ uint64) {
				n.Handle(0, other, wire.AppendPing(nil, 1), n.now())
				n.LocalDrop(n.now())
			}, ErrTimeout, false},
			{"refused", func(n *Node, l, _ *fakeLink, req uint64) {
				n.Handle(0, l, wire.AppendError(nil, req, wire.CodeBusy, "x"), n.now())
			}, ErrRefused, false},
			{"wrong kind of reply", func(n *Node, l, _ *fakeLink, req uint64) {
				w := wire.BeginNodes(nil, req)
				n.Handle(0, l, w.Bytes(), n.now())
			}, ErrBadReply, true},
			{"truncated reply", func(n *Node, l, _ *fakeLink, req uint64) {
				n.Handle(0, l, append(wire.AppendPong(nil, req), 1), n.now())
			}, ErrBadReply, true},
			{"link lost", func(n *Node, l, _ *fakeLink, _ uint64) { n.Disconnected(l) }, ErrLinkLost, false},
		}
		for _, tt := range tests {
			n := quiet(t)
			l, other := link(1, 1), link(2, 2)
			n.Connected(l)
			n.Connected(other)
			time.Sleep(time.Second)
			req, done := ask(t, n, l)
			time.Sleep(time.Second)
			tt.during(n, l, other, req)
			if err := <-done; !errors.Is(err, tt.want) {
				t.Errorf("%s: %v", tt.name, err)
			}
			if score := n.Table().Get(l.peer).Trust().Score(n.now()); (score < 0.5) != tt.charged {
				t.Errorf("%s: trust %v", tt.name, score)
			}
			if n.pending.len() != 0 {
				t.Errorf("%s: left pending", tt.name)
			}
		}
	})
}

func TestLocalLimitsAreNotChargedToThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := quiet(t)
		l := link(1, 1)
		n.Connected(l)
		l.err = errors.New("queue full")
		if _, err := n.Ping(t.Context(), l.peer); !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
		l.err = nil
		for range maxPending {
			if _, _, err := n.pending.open(testID(5), wire.Pong); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := n.Ping(t.Context(), l.peer); !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
		if s := n.Table().Get(l.peer).Trust().Score(n.now()); s != 0.5 {
			t.Error(s)
		}
	})
}

func TestQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := quiet(t, func(c *Config) { c.RequestRate, c.RequestBurst = 10, 20 })
		flood, calm := link(1, 1), link(2, 2)
		n.Connected(flood)
		n.Connected(calm)
		for i := range uint64(100) {
			n.Handle(0, flood, wire.AppendPing(nil, i), n.now())
		}
		if m, sent := flood.last(t); sent != 21 || m.Type != wire.Error || m.Code != wire.CodeBusy {
			t.Errorf("%d answers, the last %v", sent, m.Type)
		}
		n.Handle(0, calm, wire.AppendPing(nil, 1), n.now())
		if m, _ := calm.last(t); m.Type != wire.Pong {
			t.Error("the calm peer is not served")
		}
		if s := n.Stats(); s.Quota != 80 || s.Served != 21 {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Second)
		n.Handle(0, flood, wire.AppendPing(nil, 1), n.now())
		if m, _ := flood.last(t); m.Type != wire.Pong {
			t.Error("the quota does not recover")
		}
	})
}

func TestFindNodeAnswer(t *testing.T) {
	n := quiet(t)
	for i := range 40 {
		n.Connected(link(i, uint64(i+1)))
	}
	lan := link(50, 51)
	lan.addr = netip.MustParseAddrPort("192.168.1.9:1")
	n.Connected(lan)
	asker := link(3, 4)
	target := testID(50)
	n.Handle(0, asker, wire.AppendFindNode(nil, 77, &target), n.now())
	m, _ := asker.last(t)
	if m.Type != wire.Nodes || m.Request != 77 || len(m.Nodes) != 20 {
		t.Fatalf("%v %d nodes", m.Type, len(m.Nodes))
	}
	for i, nd := range m.Nodes {
		if nd.ID == asker.peer || nd.ID == lan.peer {
			t.Error("the requester, or an address that means nothing to it, is in the answer")
		}
		if i > 0 && table.Closer(&target, &m.Nodes[i-1].ID, &nd.ID) >= 0 {
			t.Error("not ascending")
		}
	}
	n.Handle(0, lan, wire.AppendFindNode(nil, 78, &target), n.now())
	if m, _ := lan.last(t); m.Request != 78 {
		t.Error("no answer")
	}
	n.Handle(0, asker, append([]byte{wire.Version, 99}, make([]byte, 8)...), n.now())
	if m, _ := asker.last(t); m.Type != wire.Error || m.Code != wire.CodeUnsupported {
		t.Error("an unknown request is not refused")
	}
	n.Handle(0, asker, []byte{1, 2}, n.now())
	if n.Stats().Malformed != 1 {
		t.Error("a malformed message is not counted")
	}
}

// nullLink sends into nothing.
type nullLink struct{ *fakeLink }

func (nullLink) Send([]byte) error { return nil }

func TestServingDoesNotAllocate(t *testing.T) {
	n := quiet(t, func(c *Config) { c.RequestRate, c.RequestBurst = 1e9, 1e6 })
	for i := range 40 {
		n.Connected(link(i, uint64(i+1)))
	}
	l := Link(nullLink{link(3, 4)})
	target, outsider := testID(77), link(500, 500)
	crowd(n, outsider.peer)
	n.Connected(outsider)
	for name, msg := range map[string][]byte{
		"PING":            wire.AppendPing(nil, 1),
		"FIND_NODE":       wire.AppendFindNode(nil, 1, &target),
		"of an outsider":  wire.AppendFindNode(nil, 1, &outsider.peer),
		"unmatched reply": wire.AppendPong(nil, 1),
	} {
		if a := testing.AllocsPerRun(200, func() { n.Handle(0, l, msg, 5) }); a >= 1 {
			t.Errorf("%s allocates %v times", name, a)
		}
	}
}

func TestCommands(t *testing.T) {
	n := quiet(t)
	l := link(1, 1)
	n.Connected(l)
	if err := n.Evict(l.peer); err != nil || n.Table().Len() != 0 || l.closed != "evicted" {
		t.Error(err, l.closed)
	}
	if err := n.Evict(testID(9)); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	l2 := link(2, 2)
	n.Connected(l2)
	if err := n.Block(l2.peer); err != nil || n.Table().Len() != 0 || l2.closed != "blocked" {
		t.Error(err, l2.closed)
	}
	n.Handle(0, l2, wire.AppendPing(nil, 1), n.now())
	l3 := link(2, 3)
	n.Connected(l3)
	if _, sent := l2.last(t); sent != 0 || l3.closed != "blocked" || n.Table().Len() != 0 {
		t.Error("a blocked peer is served")
	}
	if n.Unblock(l2.peer) != nil || !errors.Is(n.Unblock(l2.peer), ErrNotFound) {
		t.Error("unblock")
	}
	if n.Refresh(-1) != nil || n.Refresh(255) != nil || n.Refresh(256) == nil || n.Refresh(-2) == nil {
		t.Error("refresh")
	}
	for range 20 {
		_ = n.Refresh(0)
	}
	if err := n.Refresh(0); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	if _, err := n.Ping(t.Context(), testID(9)); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := n.Lookup(t.Context(), testID(9)); !errors.Is(err, ErrNoPeers) {
		t.Error(err)
	}
}

// Spec dht 1.8: contention for a full bucket. Removals are told even when the
// candidate is refused in the end.
func TestBucketContention(t *testing.T) {
	for name, refused := range map[string]bool{"the candidate takes the place": false, "the candidate is blocked meanwhile": true} {
		t.Run(name, func(t *testing.T) { testContention(t, refused) })
	}
}

// testContention has a candidate contend for a full bucket of which one contact
// is dead. Its removal is told whatever becomes of the candidate (spec dht 12, 20).
func testContention(t *testing.T, refused bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		events := map[string]int{}
		n := quiet(t, func(c *Config) {
			c.ID, c.K = table.ID{0x01}, 4
			c.Event = func(e view.Event) { mu.Lock(); events[e.Kind]++; mu.Unlock() }
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := n.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		far := func(i byte) *fakeLink {
			l := link(int(i), uint64(i))
			l.peer = table.ID{0x80, i}
			return l
		}
		var old []*fakeLink
		for i := byte(1); i <= 4; i++ {
			old = append(old, far(i))
			n.Connected(old[i-1])
		}
		near := link(9, 9) // who vouches that our network works
		near.peer = table.ID{0x02}
		n.Connected(near)
		stop := make(chan struct{})
		wg.Go(func() { answerAll(t, n, stop, old[0], old[1], old[2], near) }) // everybody but the last, who is dead
		// Make all four stale at once, before the check loop gets to them.
		for _, c := range n.Table().Bucket(0) {
			n.Table().Touch(c.ID(), netip.AddrPort{}, table.Direct, n.now()-int64(table.LiveThreshold)-1e9)
		}
		cand := far(5)
		n.Connected(cand)
		added, size := 6, 4
		if refused {
			added, size = 5, 3
			if err := n.Block(cand.peer); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(10 * time.Second)
		close(stop)
		cancel()
		wg.Wait()
		if (n.Table().Get(cand.peer) == nil) != refused || n.Table().Get(old[3].peer) != nil || len(n.Table().Bucket(0)) != size {
			t.Error("the dead contact did not yield to the candidate")
		}
		if events["dht.peer_removed"] != 1 || events["dht.peer_added"] != added {
			t.Error(events)
		}
	})
}
