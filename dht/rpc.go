package dht

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// pending matches replies to requests by id and peer, each once.
type pending struct {
	mu    sync.Mutex // a leaf; guards the fields below
	calls map[uint64]*call
	next  uint64
}

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

// cancel forgets a request whose caller has gone.
func (p *pending) cancel(req uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.calls, req)
}

// match takes the call that peer may answer. A nil call with known means that
// another peer was asked; the call keeps waiting for that one.
func (p *pending) match(req uint64, peer table.ID) (c *call, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, known = p.calls[req]
	if !known || c.peer != peer {
		return nil, known
	}
	delete(p.calls, req)
	return c, true
}

// lost fails the requests to a peer that has no link any more.
func (p *pending) lost(peer table.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for req, c := range p.calls {
		if c.peer == peer {
			delete(p.calls, req)
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
