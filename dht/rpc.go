package dht

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// stray is a kind of reply that is dropped.
type stray uint8

const (
	strayLate      stray = iota // its request had been given up
	strayRepeated               // its request has been answered
	strayUnknown                // to no request of ours, or to one long past
	strayWrongPeer              // from another peer than the one asked
	strayWrongType              // of a kind that does not answer the request
	strayMalformed              // does not decode, or is beyond a bound
	numStrays
)

var strayNames = [numStrays]string{"late", "repeated", "unknown", "wrong_peer", "wrong_type", "malformed"}

func (c *counters) strays() map[string]uint64 {
	out := make(map[string]uint64, numStrays)
	for i := range c.stray {
		out[strayNames[i]] = c.stray[i].Load()
	}
	return out
}

// pending matches replies to requests by id and peer, each once.
type pending struct {
	mu    sync.Mutex // a leaf; guards the fields below
	calls map[uint64]*call
	next  uint64
	past  [pastKept]pastCall // requests that are over, by id modulo pastKept
}

// pastKept is how many requests back a stray reply can be explained.
const pastKept = maxPending

// pastCall is a request that is over. Of its peer the head is kept, with what a
// reply to it is in the last byte: every node has hundreds of these.
type pastCall struct {
	req, peer uint64
}

func pastPeer(peer *table.ID) uint64 { return binary.BigEndian.Uint64(peer[:]) &^ 0xff }

func (p pastCall) why() stray { return stray(p.peer & 0xff) }

// call is one request under way.
type call struct {
	peer table.ID
	want wire.Type
	done chan answer // capacity 1: the one who takes the call off the map sends one answer
}

type answer struct {
	msg wire.Message
	err error
	at  int64 // monotonic ns
}

func (p *pending) init() {
	p.calls = map[uint64]*call{}
	p.next = rand.Uint64()
}

func (p *pending) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.calls)
}

// open registers a request to peer.
func (p *pending) open(peer table.ID, want wire.Type) (uint64, *call, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.calls) >= maxPending {
		return 0, nil, ErrBusy
	}
	p.next++
	c := &call{peer: peer, want: want, done: make(chan answer, 1)}
	p.calls[p.next] = c
	return p.next, c, nil
}

// over takes a request off the map; the caller holds mu.
func (p *pending) over(req uint64, c *call, why stray) {
	delete(p.calls, req)
	p.past[req%pastKept] = pastCall{req, pastPeer(&c.peer) | uint64(why)}
}

// cancel forgets a request whose caller has gone.
func (p *pending) cancel(req uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.calls[req]; c != nil {
		p.over(req, c, strayLate)
	}
}

// match takes the call that peer may answer, or says what is wrong with the
// answer. When another peer was asked, the call keeps waiting for that one.
func (p *pending) match(req uint64, peer table.ID) (*call, stray) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.calls[req]
	switch past := &p.past[req%pastKept]; {
	case c != nil && c.peer != peer:
		return nil, strayWrongPeer
	case c != nil:
		p.over(req, c, strayRepeated)
		return c, 0
	case past.req != req || *past == pastCall{}:
		return nil, strayUnknown
	case past.peer&^0xff != pastPeer(&peer):
		return nil, strayWrongPeer
	default:
		return nil, past.why()
	}
}

// lost fails the requests to a peer that has no link any more.
func (p *pending) lost(peer table.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for req, c := range p.calls {
		if c.peer == peer {
			p.over(req, c, strayLate)
			c.done <- answer{err: ErrLinkLost} // capacity 1, sent once: never waits
		}
	}
}

// request sends one request over s and waits for its answer, rpcTimeout at
// most. It records what the outcome says about the peer.
func (n *Node) request(ctx context.Context, s *session, want wire.Type, build func(buf []byte, req uint64) []byte) (wire.Message, time.Duration, error) {
	req, c, err := n.pending.open(s.peer, want)
	if err != nil {
		return wire.Message{}, 0, err
	}
	defer n.pending.cancel(req)
	buf := n.replyPool.Get().(*replyBuf)
	sent := n.now()
	err = s.link.Send(build(buf[:0], req))
	n.replyPool.Put(buf)
	if err != nil {
		n.counts.sendErr.Add(1)
		return wire.Message{}, 0, errors.Join(ErrBusy, err)
	}
	n.counts.sent.Add(1)
	timer := time.NewTimer(rpcTimeout)
	defer timer.Stop()
	select {
	case a := <-c.done:
		n.concluded(s.peer, a.err, sent, a.at)
		return a.msg, time.Duration(a.at - sent), a.err
	case <-timer.C:
		n.concluded(s.peer, ErrTimeout, sent, n.now())
		return wire.Message{}, 0, ErrTimeout
	case <-ctx.Done():
		return wire.Message{}, 0, ctx.Err()
	}
}

// concluded books the outcome of a request sent at sent.
func (n *Node) concluded(peer table.ID, err error, sent, now int64) {
	switch {
	case err == nil:
		n.counts.ok.Add(1)
		n.observe(peer, true, now)
		if c := n.table.Get(peer); c != nil {
			c.ObserveRTT(time.Duration(now - sent))
		}
	case errors.Is(err, ErrRefused):
		n.counts.refused.Add(1)
	case errors.Is(err, ErrTimeout):
		n.counts.timeout.Add(1)
		n.fault(peer, sent, now)
	default: // a lost link says nothing; a bad reply has been booked where it was seen
		n.counts.excused.Add(1)
	}
}

// ours reports whether a failure of something begun at since is as likely our
// fault: nobody has been heard since then, or we have dropped messages.
func (n *Node) ours(since int64) bool {
	return n.lastHeard.Load() <= since || n.lastDrop.Load() >= since
}

// fault books a silence against the peer, unless it may be ours.
func (n *Node) fault(peer table.ID, since, now int64) {
	if n.ours(since) {
		n.counts.excused.Add(1)
		return
	}
	n.observe(peer, false, now)
	if c := n.table.Get(peer); c != nil {
		c.Fail()
	}
}

// probe asks a peer whether it is there, over a link or after dialling one of
// addrs, which we know from links of our own.
func (n *Node) probe(ctx context.Context, id table.ID, addrs []table.Addr) (time.Duration, error) {
	since := n.now()
	s, err := n.connect(ctx, id, addrs, true)
	if err != nil {
		if errors.Is(err, ErrUnreachable) {
			n.fault(id, since, n.now())
		}
		return 0, err
	}
	_, rtt, err := n.request(ctx, s, wire.Pong, wire.AppendPing)
	return rtt, err
}
