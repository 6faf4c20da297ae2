package dht

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// Relaying for others: bounded in pairs, in pairs one peer may ask for, in
// bytes queued and in bytes per second. A frame that does not fit ends its
// pair: what is lost could not be made good, and only a peer that ignores the
// window overruns the queue.
const (
	pairQueue = 2 * relayWindow // cost queued per direction
	pairBurst = 16 << 10        // bytes that may pass at once
	pairIdle  = 3 * time.Minute
)

// relaying are the pairs we relay for.
type relaying struct {
	mu sync.Mutex // a leaf; guards m
	m  map[uint64]*pair
}

func (r *relaying) init() { r.m = map[uint64]*pair{} }

// pair is two links with a queue each way.
type pair struct {
	// Constant after open.
	id   uint64
	ends [2]*session // the asker first
	wake chan struct{}
	gone chan struct{}
	once sync.Once

	// Any goroutine (atomic).
	used atomic.Int64

	mu    sync.Mutex // a leaf; guards the fields below
	queue [2][][]byte
	bytes [2]int // cost queued
}

// open makes a pair of two links, within the bounds: limit pairs in all, a
// quarter of them asked for by one peer, one between the same two.
func (r *relaying) open(from, to *session, limit int, now int64) (*pair, wire.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if limit <= 0 {
		return nil, wire.ResultRefused
	}
	mine := 0
	for _, p := range r.m {
		if p.ends[0].peer == from.peer {
			mine++
		}
		if p.joins(from.peer, to.peer) {
			return nil, wire.ResultLinked
		}
	}
	if len(r.m) >= limit || mine >= max(1, limit/4) {
		return nil, wire.ResultBusy
	}
	p := &pair{id: rand.Uint64(), ends: [2]*session{from, to}, wake: make(chan struct{}, 1), gone: make(chan struct{})} //nolint:gosec // a name, not a secret: the links prove who may use it
	if _, taken := r.m[p.id]; taken {
		return nil, wire.ResultBusy
	}
	p.used.Store(now)
	r.m[p.id] = p
	return p, wire.ResultOK
}

func (p *pair) joins(a, b table.ID) bool {
	return p.ends[0].peer == a && p.ends[1].peer == b || p.ends[0].peer == b && p.ends[1].peer == a
}

func (r *relaying) get(id uint64) *pair {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.m[id]
}

func (r *relaying) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.m)
}

// closePair ends a pair and tells its ends, except the one of skip.
func (n *Node) closePair(p *pair, why wire.Result, skip *session) {
	p.once.Do(func() {
		n.relaying.mu.Lock()
		delete(n.relaying.m, p.id)
		n.relaying.mu.Unlock()
		close(p.gone)
		for _, s := range p.ends {
			if s != skip {
				n.send(s.link, wire.AppendRelayEnd(nil, p.id, why))
			}
		}
	})
}

// pairsLost ends the pairs over a lost link.
func (n *Node) pairsLost(peer table.ID, gen uint64) {
	n.relaying.mu.Lock()
	var gone []*pair
	var by []*session
	for _, p := range n.relaying.m {
		for _, s := range p.ends {
			if s.peer == peer && s.gen == gen {
				gone, by = append(gone, p), append(by, s)
			}
		}
	}
	n.relaying.mu.Unlock()
	for i, p := range gone {
		n.closePair(p, wire.ResultNoLink, by[i])
	}
}

// bringRelay asks the called one, answers the asker and then passes frames on
// until the pair ends.
func (n *Node) bringRelay(s, to *session, p *pair, req uint64) {
	err := n.start("relay", &n.tasks.pumps, n.maxPumps(), func(ctx context.Context) {
		defer n.closePair(p, wire.ResultLost, nil)
		cctx, cancel := context.WithTimeout(ctx, callTimeout)
		res := n.call(cctx, to, wire.ForRelay, s, p.id)
		cancel()
		if res != wire.ResultOK {
			n.counts.introduceRefused.Add(1)
			n.answer(s.link, req, res, 0, netip.AddrPort{})
			return
		}
		n.counts.introduced.Add(1)
		n.answer(s.link, req, res, p.id, netip.AddrPort{})
		n.runPair(ctx, p)
	})
	if err != nil {
		n.closePair(p, wire.ResultBusy, nil)
		n.counts.introduceRefused.Add(1)
		n.answer(s.link, req, wire.ResultBusy, 0, netip.AddrPort{})
	}
}

// maxPumps bounds the goroutines of relayed paths: two per channel of ours and
// one that waits for its handshake, one per pair.
func (n *Node) maxPumps() int { return 3*max(n.cfg.RelayedMost, 0) + max(n.cfg.RelayPairs, 0) }

// pass takes one frame from s for the other end of its pair. It never waits.
func (n *Node) pass(s *session, t wire.Type, number uint64, payload []byte, now int64) {
	p := n.relaying.get(number)
	if p == nil || p.ends[0] != s && p.ends[1] != s {
		n.counts.dropStray.Add(1)
		if t == wire.Relay && s.refusal.allow(&refusalLimit, now) { // it does not know that the path has gone
			n.send(s.link, wire.AppendRelayEnd(nil, number, wire.ResultNoLink))
		}
		return
	}
	if t == wire.RelayEnd {
		n.closePair(p, wire.ResultOK, s)
		return
	}
	_, _, data, err := wire.RelayFields(payload)
	if err != nil {
		n.malformed(s.peer, s, now)
		return
	}
	dir := 0
	if p.ends[1] == s {
		dir = 1
	}
	if !p.put(dir, payload, len(data)) {
		n.counts.dropQueue.Add(1)
		n.closePair(p, wire.ResultLost, nil)
		return
	}
	if len(data) > 0 {
		p.used.Store(now)
	}
	signal(p.wake)
}

// put queues a copy of a frame; false when it does not fit.
func (p *pair) put(dir int, payload []byte, size int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bytes[dir]+size+relayCost > pairQueue {
		return false
	}
	p.bytes[dir] += size + relayCost
	p.queue[dir] = append(p.queue[dir], append([]byte(nil), payload...))
	return true
}

// take removes the first frame of a direction; nil when there is none.
func (p *pair) take(dir int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.queue[dir]
	if len(q) == 0 {
		return nil
	}
	f := q[0]
	q[0] = nil
	if p.queue[dir] = q[1:]; len(q) == 1 {
		p.queue[dir] = nil
	}
	p.bytes[dir] -= len(f) - wire.RelayHeaderLen + relayCost
	return f
}

// runPair passes frames on at the rate allowed, both ways, until the pair ends.
func (n *Node) runPair(ctx context.Context, p *pair) {
	ways := [2]flow{{n: n, p: p, dir: 0}, {n: n, p: p, dir: 1}}
	for {
		now := n.now()
		wait := time.Duration(p.used.Load() + int64(pairIdle) - now)
		if wait <= 0 {
			n.closePair(p, wire.ResultIdle, nil)
			return
		}
		for d := range ways {
			w, ok := ways[d].step(now)
			if !ok {
				return
			}
			wait = min(wait, w)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-p.gone:
		case <-p.wake:
			t.Stop()
			continue
		case <-t.C:
			continue
		}
		t.Stop()
		return
	}
}

// flow is one direction of a pair. Owned by runPair.
type flow struct {
	n     *Node
	p     *pair
	dir   int
	held  []byte // taken and not yet sent
	since int64  // when it was taken
	free  int64  // when the next byte may go, monotonic ns; runs behind by the burst
}

// step sends what may go now. It returns when to come again; false ends the pair.
func (f *flow) step(now int64) (time.Duration, bool) {
	perByte := int64(time.Second) / int64(f.n.cfg.RelayRate)
	for {
		if f.held == nil {
			if f.held = f.p.take(f.dir); f.held == nil {
				return pairIdle, true
			}
			f.since = now
		}
		f.free = max(f.free, now-pairBurst*perByte)
		if f.free > now {
			return time.Duration(f.free - now), true
		}
		if err := f.p.ends[1-f.dir].link.Send(f.held); err != nil { // its queue is full
			return resendEvery, now-f.since < int64(relayStall)
		}
		f.free += int64(len(f.held)) * perByte
		f.n.counts.frames.Add(1)
		f.n.counts.frameBytes.Add(uint64(len(f.held)))
		f.held = nil
	}
}
