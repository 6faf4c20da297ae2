package dhttest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/dht"
	"signalbox/dht/table"
	"signalbox/engine/view"
)

// Config describes a network. The zero value of a field takes the default.
type Config struct {
	Seed   uint64
	Base   time.Duration // one way, between neighbours; default 5 ms
	Span   time.Duration // one way, along one side of the square; default 80 ms
	Jitter float64       // up to this share of the latency on top; default 0.1, negative none
	Loss   float64       // share of messages that never arrive
	Grain  time.Duration // arrivals are rounded up to multiples of it; default 1 ns
	Idle   time.Duration // silence that ends a link; default 30 s, as the edge has it

	// Keep the events of every node for Peer.Saw; a big swarm counts kinds only.
	KeepEvents bool
	// Node changes the configuration of node i before it is made.
	Node func(i int, cfg *dht.Config)
}

func (c *Config) defaults() {
	c.Base = or(c.Base, 5*time.Millisecond)
	c.Span = or(c.Span, 80*time.Millisecond)
	c.Jitter = max(or(c.Jitter, 0.1), 0)
	c.Grain = or(c.Grain, 1)
	c.Idle = or(c.Idle, 30*time.Second)
}

func or[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// Swarm is the network with its nodes.
type Swarm struct {
	// Constant after New.
	cfg   Config
	start time.Time
	ctx   context.Context //nolint:containedctx // the life of the swarm, which nodes added later share
	stop  context.CancelFunc
	queue queue
	wg    sync.WaitGroup

	// Any goroutine (atomic).
	gens atomic.Uint64
	net  netCounters

	mu    sync.Mutex // a leaf; guards the fields below
	rng   *rand.Rand
	live  []*Peer
	book  map[netip.AddrPort]*Peer
	hosts map[netip.Addr]*Peer // behind translators
	count int
	churn *churn
}

// New makes an empty network. Close ends it.
func New(cfg Config) *Swarm {
	cfg.defaults()
	ctx, cancel := context.WithCancel(context.Background())
	s := &Swarm{
		cfg: cfg, start: time.Now(), ctx: ctx, stop: cancel, rng: rand.New(rand.NewPCG(cfg.Seed, 0x5ca1e)), //nolint:gosec // a simulation
		book: map[netip.AddrPort]*Peer{}, hosts: map[netip.Addr]*Peer{},
	}
	s.queue.wake = make(chan struct{}, 1)
	s.queue.free = make([]*parcel, 0, 4096)
	s.wg.Go(func() { s.deliver(ctx) })
	return s
}

// Close ends every node and the network, and waits for both.
func (s *Swarm) Close() {
	s.EndChurn()
	s.stop()
	s.wg.Wait()
}

// Now is the clock of all nodes.
func (s *Swarm) Now() int64 { return int64(time.Since(s.start)) }

// Sleep lets d pass.
func (s *Swarm) Sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
}

// draw calls f with the swarm's source of chance.
func draw[T any](s *Swarm, f func(r *rand.Rand) T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f(s.rng)
}

// Spec says what is special about a node. The zero value is an ordinary one.
type Spec struct {
	ID    table.ID       // default: drawn from the seed
	Addr  netip.AddrPort // default: one in a /24 of its own
	NAT   NAT
	Seeds []*Peer // what it begins with
	At    *Place  // default: drawn from the seed
	Life  func(n *dht.Node) error
}

// Place is a position on the unit square.
type Place struct{ X, Y float64 }

// Peer is one life of one node.
type Peer struct {
	*dht.Node

	// Constant after Add.
	Index int
	ID    table.ID
	Addr  netip.AddrPort // where others see it; of a symmetric NAT, the first of many
	Born  int64
	swarm *Swarm
	spec  Spec
	nat   nat
	place Place
	host  host
	stop  context.CancelFunc
	done  chan struct{}

	// Any goroutine (atomic).
	dead  atomic.Bool  // silent for ever
	died  atomic.Int64 // when
	group atomic.Int64 // nodes of different groups do not hear each other
	watch atomic.Pointer[watch]
	sent  atomic.Uint64

	mu     sync.Mutex // a leaf; guards the fields below
	links  []*link
	events []view.Event
	liveAt int // index in Swarm.live, under Swarm.mu
}

// host is who lives at a peer: a node, or something that pretends to be one.
type host interface {
	Connected(l dht.Link)
	Disconnected(l dht.Link)
	Handle(shard int, l dht.Link, payload []byte, now int64)
}

// Add makes a node and runs it.
func (s *Swarm) Add(spec Spec) (*Peer, error) {
	p := s.newPeer(spec)
	cfg := dht.Config{ID: p.ID, ListenAddrs: []netip.AddrPort{p.Addr}, Now: s.Now, Dialer: dialer{p}, Event: p.onEvent}
	if spec.NAT != Public { // what it can see of itself
		cfg.ListenAddrs = []netip.AddrPort{netip.MustParseAddrPort("192.168.1.2:4433")}
	}
	for _, o := range spec.Seeds {
		cfg.Seeds = append(cfg.Seeds, dht.Seed{ID: o.ID, Addr: o.Addr})
	}
	if s.cfg.Node != nil {
		s.cfg.Node(p.Index, &cfg)
	}
	var err error
	if p.Node, err = dht.New(cfg); err != nil {
		return nil, err
	}
	if spec.Life != nil {
		if err := spec.Life(p.Node); err != nil {
			return nil, err
		}
	}
	return p, s.enter(p, p.Node, p.Run)
}

// enter puts a peer on the network and has run run until it is stopped.
func (s *Swarm) enter(p *Peer, h host, run func(context.Context) error) error {
	ctx, cancel := context.WithCancel(s.ctx)
	p.host, p.stop = h, cancel
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.book[p.Addr]; old != nil && !old.dead.Load() {
		cancel()
		return fmt.Errorf("dhttest: %s is taken", p.Addr)
	}
	s.book[p.Addr] = p
	if p.nat.kind != Public {
		s.hosts[p.Addr.Addr()] = p
	}
	p.liveAt = len(s.live)
	s.live = append(s.live, p)
	s.wg.Go(func() {
		defer close(p.done)
		if err := run(ctx); err != nil {
			panic(err) // a node's Run fails only when it is called twice
		}
		s.gone(p)
	})
	return nil
}

func (s *Swarm) newPeer(spec Spec) *Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &Peer{Index: s.count, ID: spec.ID, Addr: spec.Addr, Born: s.Now(), swarm: s, spec: spec, done: make(chan struct{})}
	s.count++
	if p.ID.IsZero() {
		p.ID = RandomID(s.rng)
	}
	if !p.Addr.IsValid() {
		i := p.Index
		p.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(20 + i>>16), byte(i >> 8), byte(i), 1}), 4433)
	}
	p.place = Place{s.rng.Float64(), s.rng.Float64()}
	if spec.At != nil {
		p.place = *spec.At
	}
	p.nat.init(spec.NAT, p.Addr)
	return p
}

// RandomID draws an id.
func RandomID(r *rand.Rand) (id table.ID) {
	for i := range id {
		id[i] = byte(r.Uint32())
	}
	return id
}

// Stop ends the node as a shutdown does: its links are closed.
func (p *Peer) Stop() {
	p.stop()
	<-p.done
}

// Kill ends the node as a power failure does: nobody is told.
func (p *Peer) Kill() {
	p.die()
	p.stop()
	<-p.done
	p.swarm.silence([]*Peer{p})
}

func (p *Peer) die() {
	if !p.dead.Swap(true) {
		p.died.Store(p.swarm.Now())
	}
}

// gone takes an ended node out of the network.
func (s *Swarm) gone(p *Peer) {
	p.die()
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.live[len(s.live)-1]
	s.live[p.liveAt], last.liveAt = last, p.liveAt
	s.live = s.live[:len(s.live)-1]
	if s.book[p.Addr] == p {
		delete(s.book, p.Addr)
	}
	if s.hosts[p.Addr.Addr()] == p {
		delete(s.hosts, p.Addr.Addr())
	}
}

// Restart begins the next life of an ended node, with life called on it first:
// what it has kept, for example. It has the same id, address and place.
func (p *Peer) Restart(life func(*dht.Node) error) (*Peer, error) {
	if !p.dead.Load() {
		return nil, errors.New("dhttest: the node lives")
	}
	spec := p.spec
	spec.ID, spec.Addr, spec.At, spec.Life = p.ID, p.Addr, &p.place, life
	return p.swarm.Add(spec)
}

// Live returns the nodes that run.
func (s *Swarm) Live() []*Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Peer(nil), s.live...)
}

// Alive reports whether the node runs.
func (p *Peer) Alive() bool { return !p.dead.Load() }

// latency is the mean one-way time between two nodes.
func (s *Swarm) latency(a, b *Peer) time.Duration {
	return s.cfg.Base + time.Duration(float64(s.cfg.Span)*math.Hypot(a.place.X-b.place.X, a.place.Y-b.place.Y))
}

func (p *Peer) onEvent(e view.Event) {
	if e.Kind == "dht.isolated" {
		p.swarm.net.isolated.Add(1)
	}
	if e.Kind == "dht.panic" {
		p.swarm.net.panics.Add(1)
	}
	if !p.swarm.cfg.KeepEvents {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, e)
}

// Saw counts the events of a kind about a subject; "" is any.
func (p *Peer) Saw(kind, subject string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if e.Kind == kind && (subject == "" || e.Subject == subject) {
			n++
		}
	}
	return n
}
