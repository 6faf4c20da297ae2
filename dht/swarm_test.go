package dht

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/dht/table"
	"signalbox/engine/view"
)

// memNet is a network in memory, with latency, for tests that look into a node;
// package dhttest has the swarm for those that do not. It belongs in a synctest
// bubble: what is under way is a timer.
type memNet struct {
	latency time.Duration
	start   time.Time
	gens    atomic.Uint64
	tap     func(l *memLink, p []byte) // sees, and may change, every message; constant once nodes run

	mu    sync.Mutex // guards the fields below
	nodes map[netip.AddrPort]*memNode
	down  map[netip.AddrPort]bool
	links []*memLink
}

type memNode struct {
	*Node
	net    *memNet
	id     table.ID
	addr   netip.AddrPort
	nat    *natBox     // nil: public; see nat_test.go
	panics atomic.Bool // Dial panics

	mu     sync.Mutex // guards events
	events []view.Event
}

type memLink struct {
	net           *memNet
	owner, remote *memNode
	peer          *memLink // the other end
	seen          netip.AddrPort
	gen           uint64
	closed        atomic.Bool

	order sync.Mutex // one delivery at a time; taken before mu
	mu    sync.Mutex // guards queue
	queue [][]byte   // under way
}

func newMemNet() *memNet {
	return &memNet{
		latency: 20 * time.Millisecond, start: time.Now(), nodes: map[netip.AddrPort]*memNode{},
		down: map[netip.AddrPort]bool{},
	}
}

func (m *memNet) now() int64 { return int64(time.Since(m.start)) }

// testID spreads small numbers over the id space.
func testID(n int) (id table.ID) {
	x := uint64(n)*0x9e3779b97f4a7c15 + 1
	for i := range id {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		id[i] = byte(x >> 32)
	}
	return id
}

// add makes node i, every one in its own /24, and runs it for the test.
func (m *memNet) add(t *testing.T, i int, seeds ...*memNode) *memNode {
	t.Helper()
	return m.addWith(t, i, nil, nil, seeds...)
}

// addWith is add behind a NAT, unless box is nil, with a configuration of its own.
func (m *memNet) addWith(t *testing.T, i int, box *natBox, mod func(*Config), seeds ...*memNode) *memNode {
	t.Helper()
	n := &memNode{net: m, id: testID(i), nat: box, addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{20, 0, byte(i), 1}), 4433)}
	cfg := Config{ID: n.id, ListenAddrs: []netip.AddrPort{n.addr}, Now: m.now, Dialer: n, Event: n.onEvent}
	for _, s := range seeds {
		cfg.Seeds = append(cfg.Seeds, Seed{s.id, s.addr})
	}
	if mod != nil {
		mod(&cfg)
	}
	node, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Node = node
	m.mu.Lock()
	m.nodes[n.addr] = n
	m.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return n
}

func (n *memNode) onEvent(e view.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, e)
}

// saw counts the events of a kind about a subject; "" is any.
func (n *memNode) saw(kind, subject string) (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.events {
		if e.Kind == kind && (subject == "" || e.Subject == subject) {
			count++
		}
	}
	return count
}

// setDown makes a node a black hole, or lets it be.
func (m *memNet) setDown(n *memNode, down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down[n.addr] = down
}

func (m *memNet) isDown(n *memNode) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.down[n.addr]
}

// Dial implements Dialer.
func (n *memNode) Dial(ctx context.Context, id table.ID, addr netip.AddrPort) (Link, error) {
	if n.panics.Load() {
		panic("boom")
	}
	m := n.net
	to, seen := m.route(n, addr)
	for to == nil || m.isDown(to) || m.isDown(n) { // what is lost is sent again
		if !sleep(ctx, resendAfter) {
			return nil, ctx.Err()
		}
		to, seen = m.route(n, addr)
	}
	if !sleep(ctx, 2*m.latency) {
		return nil, ctx.Err()
	}
	if to.id != id {
		return nil, errors.New("another identity")
	}
	a := &memLink{net: m, owner: n, remote: to, seen: addr, gen: m.gens.Add(1)}
	b := &memLink{net: m, owner: to, remote: n, seen: seen, gen: m.gens.Add(1)}
	a.peer, b.peer = b, a
	m.mu.Lock()
	m.links = append(m.links, a, b)
	m.mu.Unlock()
	to.Connected(b)
	return a, nil
}

func (l *memLink) PeerID() table.ID           { return l.remote.id }
func (l *memLink) RemoteAddr() netip.AddrPort { return l.seen }
func (l *memLink) Generation() uint64         { return l.gen }

func (l *memLink) Send(p []byte) error {
	if l.closed.Load() {
		return errors.New("closed")
	}
	if l.net.isDown(l.remote) || l.net.isDown(l.owner) {
		return nil
	}
	p = append([]byte(nil), p...)
	if f := l.net.tap; f != nil {
		f(l, p)
	}
	l.mu.Lock()
	l.queue = append(l.queue, p)
	l.mu.Unlock()
	time.AfterFunc(l.net.latency, l.deliver)
	return nil
}

// deliver hands over the first message under way, in order.
func (l *memLink) deliver() {
	l.order.Lock()
	defer l.order.Unlock()
	l.mu.Lock()
	p := l.queue[0]
	l.queue = l.queue[1:]
	l.mu.Unlock()
	if !l.peer.closed.Load() {
		l.remote.Handle(0, l.peer, p, l.net.now())
	}
}

func (l *memLink) Close(string) {
	for _, x := range []*memLink{l, l.peer} {
		if !x.closed.Swap(true) {
			time.AfterFunc(l.net.latency, func() { x.owner.Disconnected(x) })
		}
	}
}

// cut ends all links of a node.
func (m *memNet) cut(n *memNode) {
	m.mu.Lock()
	links := append([]*memLink(nil), m.links...)
	m.mu.Unlock()
	for _, l := range links {
		if l.owner == n {
			l.Close("cut")
		}
	}
}

func TestPanicIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		seed := m.add(t, 0)
		n := m.add(t, 1, seed)
		time.Sleep(10 * time.Second)
		n.panics.Store(true)
		if _, err := n.connect(t.Context(), testID(9), []table.Addr{{AddrPort: seed.addr, Type: table.Direct}}, true); !errors.Is(err, ErrUnreachable) {
			t.Error(err)
		}
		synctest.Wait()
		if n.Stats().Panics != 1 || n.saw("dht.panic", "dial") != 1 {
			t.Error("the panic was not told")
		}
		if _, err := n.Ping(t.Context(), seed.id); err != nil {
			t.Error(err)
		}
	})
}
