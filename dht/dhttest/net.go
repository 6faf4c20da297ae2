package dhttest

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"signalbox/dht"
	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// netCounters count what the network carried. Any goroutine (atomic).
type netCounters struct {
	sent, arrived, lost, swallowed, crossed atomic.Uint64
	requests, bytes                         atomic.Uint64
	dials, dialsFailed                      atomic.Uint64
	isolated, panics                        atomic.Uint64
	links                                   atomic.Int64
}

// Traffic is what the network has carried so far. Sent = Arrived + Lost +
// Swallowed + Crossed + Messages, unless something is being sent at this moment.
type Traffic struct {
	Sent, Arrived uint64
	Lost          uint64 // by Config.Loss
	Swallowed     uint64 // for the dead, across a partition
	Crossed       uint64 // over a link that one end closed meanwhile: its sender learns of that
	Requests      uint64 // of those sent
	Bytes         uint64
	Dials         uint64
	DialsFailed   uint64
	Isolated      uint64 // dht.isolated events
	Panics        uint64
	Links         int // open now
	Live          int
	Messages      int // under way
}

// Traffic reads the counters.
func (s *Swarm) Traffic() Traffic {
	n := &s.net
	t := Traffic{
		Sent: n.sent.Load(), Arrived: n.arrived.Load(), Lost: n.lost.Load(), Swallowed: n.swallowed.Load(), Crossed: n.crossed.Load(), Requests: n.requests.Load(),
		Bytes: n.bytes.Load(), Dials: n.dials.Load(), DialsFailed: n.dialsFailed.Load(), Isolated: n.isolated.Load(), Panics: n.panics.Load(),
		Links: int(n.links.Load()) / 2,
	}
	s.queue.mu.Lock()
	t.Messages = s.queue.messages
	s.queue.mu.Unlock()
	s.mu.Lock()
	t.Live = len(s.live)
	s.mu.Unlock()
	return t
}

var errClosed = errors.New("dhttest: the link is closed")

// link is one end of a connection.
type link struct {
	// Constant after dial.
	owner, remote *Peer
	peer          *link          // the other end
	addr          netip.AddrPort // where owner sees remote
	gen           uint64

	// Any goroutine (atomic).
	closed atomic.Bool
	last   atomic.Int64  // when the newest message arrives at remote
	sent   atomic.Uint64 // messages; with the seed, it decides their fate

	at int // index in owner.links, under owner.mu
}

func (l *link) PeerID() table.ID           { return l.remote.ID }
func (l *link) RemoteAddr() netip.AddrPort { return l.addr }
func (l *link) Generation() uint64         { return l.gen }

// Send implements dht.Link.
func (l *link) Send(p []byte) error {
	if l.closed.Load() {
		return errClosed
	}
	s, nth := l.owner.swarm, l.sent.Add(1)
	s.net.sent.Add(1)
	s.net.bytes.Add(uint64(len(p)))
	l.owner.sent.Add(1)
	if !wire.IsReply(p) {
		s.net.requests.Add(1)
	}
	if w := l.owner.watch.Load(); w != nil {
		w.asks(l.remote, p)
	}
	chance := hash(s.cfg.Seed, uint64(l.owner.Index), uint64(l.remote.Index), nth)
	if unit(chance) < s.cfg.Loss {
		s.net.lost.Add(1)
		return nil
	}
	mean := s.latency(l.owner, l.remote)
	took := mean + time.Duration(float64(mean)*s.cfg.Jitter*unit(hash(chance, 1, 0, 0)))
	at := s.round(s.Now() + int64(took))
	if last := l.last.Load(); at < last { // a race of two senders may let one overtake
		at = last
	}
	l.last.Store(at)
	s.queue.add(event{at: at, to: l.peer}, p)
	return nil
}

// arrive hands a message to the owner of l.
func (s *Swarm) arrive(l *link, payload []byte) {
	switch {
	case !reach(l.owner, l.remote):
		s.net.swallowed.Add(1)
		return
	case l.closed.Load():
		s.net.crossed.Add(1)
		return
	}
	s.net.arrived.Add(1)
	if w := l.owner.watch.Load(); w != nil {
		w.hears(s, l.remote, payload)
	}
	l.owner.host.Handle(0, l, payload, s.Now())
}

// Close implements dht.Link. The other end hears of it, unless it cannot.
func (l *link) Close(string) {
	s := l.owner.swarm
	s.at(0, func() { s.end(l) })
	if reach(l.owner, l.remote) {
		s.at(s.latency(l.owner, l.remote), func() { s.end(l.peer) })
	} else {
		s.at(s.cfg.Idle, func() { s.end(l.peer) })
	}
}

// end closes one end of a link and tells its owner.
func (s *Swarm) end(l *link) {
	if l.closed.Swap(true) {
		return
	}
	p := l.owner
	p.mu.Lock()
	last := p.links[len(p.links)-1]
	p.links[l.at], last.at = last, l.at
	p.links[len(p.links)-1] = nil
	p.links = p.links[:len(p.links)-1]
	p.mu.Unlock()
	s.net.links.Add(-1)
	p.host.Disconnected(l)
}

// reach reports whether two nodes hear each other.
func reach(a, b *Peer) bool {
	return !a.dead.Load() && !b.dead.Load() && a.group.Load() == b.group.Load()
}

// dialer implements dht.Dialer for one node.
type dialer struct{ p *Peer }

// Dial connects to addr after one round trip.
func (d dialer) Dial(ctx context.Context, id table.ID, addr netip.AddrPort) (dht.Link, error) {
	p, s := d.p, d.p.swarm
	s.net.dials.Add(1)
	if w := p.watch.Load(); w != nil {
		w.dials.Add(1)
	}
	seen, to := s.route(p, addr)
	if to == nil || !reach(p, to) {
		s.net.dialsFailed.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	t := time.NewTimer(time.Duration(s.round(s.Now()+2*int64(s.latency(p, to))) - s.Now()))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.C:
	}
	switch {
	case !reach(p, to):
		s.net.dialsFailed.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	case to.ID != id && !id.IsZero():
		s.net.dialsFailed.Add(1)
		return nil, errors.New("dhttest: another identity answers")
	}
	a := &link{owner: p, remote: to, addr: addr, gen: s.gens.Add(1)}
	b := &link{owner: to, remote: p, addr: seen, gen: s.gens.Add(1)}
	a.peer, b.peer = b, a
	p.own(a)
	to.own(b)
	to.host.Connected(b)
	if !reach(p, to) { // one of them died meanwhile, and its links have been counted
		s.at(s.cfg.Idle, func() { s.end(a) })
		s.at(s.cfg.Idle, func() { s.end(b) })
	}
	return a, nil
}

func (p *Peer) own(l *link) {
	p.mu.Lock()
	l.at = len(p.links)
	p.links = append(p.links, l)
	p.mu.Unlock()
	p.swarm.net.links.Add(1)
}

func (p *Peer) ownLinks() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*link(nil), p.links...)
}

// Links is the number of open links.
func (p *Peer) Links() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Sent is the number of messages the node has sent.
func (p *Peer) Sent() uint64 { return p.sent.Load() }

// silence ends the links of the chosen nodes, dead ones included, whose other end is out of reach,
// after the idle timeout.
func (s *Swarm) silence(chosen []*Peer) {
	var cut []*link
	for _, p := range chosen {
		for _, l := range p.ownLinks() {
			if !reach(l.owner, l.remote) {
				cut = append(cut, l)
			}
		}
	}
	s.at(s.cfg.Idle, func() {
		for _, l := range cut {
			if !reach(l.owner, l.remote) {
				s.end(l)
				s.end(l.peer)
			}
		}
	})
}

// Partition splits the network: nodes for which side differs do not hear each
// other any more. New nodes are on side 0.
func (s *Swarm) Partition(side func(*Peer) int) {
	for _, p := range s.Live() {
		p.group.Store(int64(side(p)))
	}
	s.silence(s.Live())
}

// Heal ends every partition and isolation.
func (s *Swarm) Heal() {
	for _, p := range s.Live() {
		p.group.Store(0)
	}
}

// Isolate makes the node a black hole, or lets it be.
func (p *Peer) Isolate(on bool) {
	if !on {
		p.group.Store(0)
		return
	}
	p.group.Store(int64(p.Index) + 1<<32)
	p.swarm.silence([]*Peer{p})
}

// Cut ends all links of a node at once.
func (p *Peer) Cut() {
	for _, l := range p.ownLinks() {
		l.Close("cut")
	}
}

// hash mixes four numbers.
func hash(a, b, c, d uint64) uint64 {
	x := a
	for _, v := range [...]uint64{b, c, d} {
		x ^= v + 0x9e3779b97f4a7c15 + x<<6 + x>>2
		x ^= x >> 30
		x *= 0xbf58476d1ce4e5b9
		x ^= x >> 27
		x *= 0x94d049bb133111eb
		x ^= x >> 31
	}
	return x
}

// unit maps a hash to [0, 1).
func unit(x uint64) float64 { return float64(x>>11) / (1 << 53) }
