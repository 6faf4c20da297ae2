package dht

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// The ends of a relayed path. Two peers that cannot connect agree, through a
// go-between, on a channel; RELAY messages carry opaque bytes over it, and the
// two run mutual TLS on these, so that the peer in the middle can neither read
// nor forge. To the rest of the node the outcome is a Link like any other.
const (
	defaultRelayed = 32
	relayChunk     = 1200
	relayCost      = 64       // what a frame counts beside its bytes
	relayWindow    = 32 << 10 // cost that may be under way one way; the go-between queues more than that
	relayStall     = 10 * time.Second
	secureTimeout  = 8 * time.Second
	resendEvery    = 20 * time.Millisecond // when the link to the go-between is full
	relayedIdle    = 2 * time.Minute       // a relayed link nobody uses frees its place
)

// Relayed is what a Link also is when it goes through another peer.
type Relayed interface {
	// Via is the peer that relays. The link's RemoteAddr is that one's.
	Via() table.ID
}

// Securer is what a Dialer may offer beside: it runs mutual TLS over conn,
// proves that id is at its other end, and makes a link of it, as Dial does.
// Without it nothing is relayed to us. It owns conn.
type Securer interface {
	Secure(ctx context.Context, conn net.Conn, id table.ID, via Link, client bool) (Link, error)
}

// channels are the ends of relayed paths we have.
type channels struct {
	mu sync.Mutex // a leaf; guards m
	m  map[channelKey]*channel
}

// channelKey names a channel: its number is the go-between's choice.
type channelKey struct {
	via table.ID
	id  uint64
}

func (c *channels) init() { c.m = map[channelKey]*channel{} }

func (c *channels) get(k channelKey) *channel {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m[k]
}

// add registers ch, unless there are bound already or the number is taken.
func (c *channels) add(k channelKey, ch *channel, bound int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, taken := c.m[k]; taken || len(c.m) >= bound {
		return false
	}
	c.m[k] = ch
	return true
}

func (c *channels) remove(k channelKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, k)
}

// idle ends the channels nobody has used for long.
func (c *channels) idle(now int64) {
	c.mu.Lock()
	var gone []*channel
	for _, ch := range c.m {
		if now-ch.used.Load() > int64(relayedIdle) {
			gone = append(gone, ch)
		}
	}
	c.mu.Unlock()
	for _, ch := range gone {
		ch.end(wire.ResultIdle, true)
	}
}

func (c *channels) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.m)
}

// linkLost ends the channels over a lost link.
func (c *channels) linkLost(via table.ID, gen uint64) {
	c.mu.Lock()
	var gone []*channel
	for _, ch := range c.m {
		if ch.via.peer == via && ch.via.gen == gen {
			gone = append(gone, ch)
		}
	}
	c.mu.Unlock()
	for _, ch := range gone {
		ch.end(wire.ResultNoLink, false)
	}
}

// channel is one end of a relayed path: a byte stream made of frames. Nothing
// is repeated, since links lose nothing; should our own queues drop a frame,
// the gap shows in the offsets and the channel ends.
type channel struct {
	// Constant after newChannel.
	n     *Node
	key   channelKey
	via   *session
	inner net.Conn    // our end of the pipe whose other end TLS reads and writes
	in    chan []byte // frames for inner; the window keeps it from being full
	room  chan struct{}
	ended chan struct{}
	once  sync.Once

	// Any goroutine (atomic).
	sent, acked     atomic.Uint32 // cost, as offsets
	taken, acknowdg atomic.Uint32 // cost given to inner, and how much of it the peer knows of
	used            atomic.Int64  // monotonic ns of the last frame with data

	mu     sync.Mutex // a leaf; guards expect
	expect uint32     // offset of the next frame
}

// newChannel registers a channel and starts its two pumps. The outer conn is
// for TLS.
func (n *Node) newChannel(via *session, id uint64) (*channel, net.Conn, error) {
	inner, outer := net.Pipe()
	c := &channel{
		n: n, key: channelKey{via.peer, id}, via: via, inner: inner, in: make(chan []byte, relayWindow/relayCost+1),
		room: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	c.used.Store(n.now())
	if !n.channels.add(c.key, c, n.cfg.RelayedMost) {
		return nil, nil, ErrBusy
	}
	for name, pump := range map[string]func(context.Context){"relayed in": c.pumpIn, "relayed out": c.pumpOut} {
		if err := n.start(name, &n.tasks.pumps, n.maxPumps(), func(ctx context.Context) {
			defer c.end(wire.ResultLost, true)
			pump(ctx)
		}); err != nil {
			c.end(wire.ResultBusy, true)
			return nil, nil, err
		}
	}
	if n.reg.find(via.peer, via.gen) == nil { // lost while we registered
		c.end(wire.ResultNoLink, false)
		return nil, nil, ErrLinkLost
	}
	return c, outer, nil
}

// end closes the channel for good; tell says whether the other end may not
// know yet.
func (c *channel) end(why wire.Result, tell bool) {
	c.once.Do(func() {
		close(c.ended)
		if err := c.inner.Close(); err != nil {
			c.n.log.Debug("dht relayed channel", "err", err)
		}
		c.n.channels.remove(c.key)
		if tell {
			c.n.send(c.via.link, wire.AppendRelayEnd(nil, c.key.id, why))
		}
	})
}

// frame takes one RELAY. It never waits.
func (c *channel) frame(offset, ack uint32, data []byte, now int64) {
	for { // acks only rise, and not beyond what was sent
		old := c.acked.Load()
		if int32(ack-old) <= 0 || int32(c.sent.Load()-ack) < 0 {
			break
		}
		if c.acked.CompareAndSwap(old, ack) {
			signal(c.room)
			break
		}
	}
	if len(data) == 0 {
		return
	}
	c.used.Store(now)
	c.mu.Lock()
	ok := offset == c.expect && c.expect-c.taken.Load() <= relayWindow
	if ok {
		c.expect += cost(data)
		select {
		case c.in <- append([]byte(nil), data...):
		default:
			ok = false
		}
	}
	c.mu.Unlock()
	if !ok {
		c.n.counts.dropQueue.Add(1)
		c.end(wire.ResultLost, true)
	}
}

func cost(data []byte) uint32 { return relayCost + uint32(len(data)) } //nolint:gosec // a frame has at most wire.MaxRelayData bytes

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// pumpIn gives frames to TLS and acknowledges what it has taken.
func (c *channel) pumpIn(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.ended:
			return
		case data := <-c.in:
			if _, err := c.inner.Write(data); err != nil {
				return
			}
			taken := c.taken.Add(cost(data))
			if taken-c.acknowdg.Load() >= relayWindow/4 && !c.send(ctx, c.sent.Load(), nil) {
				return
			}
		}
	}
}

// pumpOut makes frames of what TLS writes.
func (c *channel) pumpOut(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { c.end(wire.ResultRefused, true) })
	defer stop()
	buf := make([]byte, relayChunk)
	for {
		k, err := c.inner.Read(buf)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
				c.n.log.Debug("dht relayed channel", "err", err)
			}
			return
		}
		need := cost(buf[:k])
		for c.sent.Load()+need-c.acked.Load() > relayWindow {
			if !c.waitRoom(ctx) {
				return
			}
		}
		c.used.Store(c.n.now())
		at := c.sent.Load()
		c.sent.Add(need) // before the frame is out: its ack may come at once
		if !c.send(ctx, at, buf[:k]) {
			return
		}
	}
}

// waitRoom waits until something was acknowledged.
func (c *channel) waitRoom(ctx context.Context) bool {
	t := time.NewTimer(relayStall)
	defer t.Stop()
	select {
	case <-c.room:
		return true
	case <-c.ended:
	case <-ctx.Done():
	case <-t.C:
	}
	return false
}

// send puts one frame on the link to the go-between, and waits for a place in
// its queue.
func (c *channel) send(ctx context.Context, offset uint32, data []byte) bool {
	buf := c.n.replyPool.Get().(*replyBuf)
	defer c.n.replyPool.Put(buf)
	for tries := 0; ; tries++ {
		taken := c.taken.Load()
		err := c.via.link.Send(wire.AppendRelay(buf[:0], c.key.id, offset, taken, data))
		if err == nil {
			c.acknowdg.Store(taken)
			return true
		}
		if tries*int(resendEvery) >= int(relayStall) || !waitFor(ctx, c.ended, resendEvery) {
			return false
		}
	}
}

// relayThrough asks via to relay between us and id, and makes a link of that.
func (n *Node) relayThrough(ctx context.Context, via *session, id table.ID) (*session, error) {
	sec, ok := n.cfg.Dialer.(Securer)
	if !ok || n.channels.len() >= n.cfg.RelayedMost {
		return nil, ErrUnreachable
	}
	m, err := n.askReach(ctx, via, wire.Answer, func(buf []byte, req uint64) []byte {
		return wire.AppendIntroduce(buf, req, wire.ForRelay, &id)
	})
	if err != nil {
		return nil, err
	}
	if m.Result != wire.ResultOK {
		n.log.Debug("dht relay refused", "peer", id.Short(), "via", via.peer.Short(), "why", m.Result.String())
		return nil, ErrUnreachable
	}
	c, conn, err := n.newChannel(via, m.Channel)
	if err != nil {
		n.send(via.link, wire.AppendRelayEnd(nil, m.Channel, wire.ResultBusy))
		return nil, err
	}
	return n.secure(ctx, sec, c, conn, id, true)
}

// secure proves who is at the other end of a channel.
func (n *Node) secure(ctx context.Context, sec Securer, c *channel, conn net.Conn, id table.ID, client bool) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, secureTimeout)
	defer cancel()
	l, err := sec.Secure(ctx, conn, id, c.via.link, client)
	if err == nil && l.PeerID() != id {
		l.Close("another peer than expected")
		err = ErrUnreachable
	}
	if err != nil {
		n.counts.relayedFailed.Add(1)
		n.log.Debug("dht relayed link failed", "peer", id.Short(), "via", c.via.peer.Short(), "err", err)
		c.end(wire.ResultRefused, true)
		return nil, err
	}
	s := n.adopt(l, false)
	if s == nil {
		c.end(wire.ResultRefused, true)
		return nil, ErrLinkLost
	}
	n.counts.relayedOK.Add(1)
	return s, nil
}

// acceptRelayed is the called end: it waits for the other's TLS.
func (n *Node) acceptRelayed(via *session, id table.ID, number uint64) wire.Result {
	sec, ok := n.cfg.Dialer.(Securer)
	if !ok {
		return wire.ResultRefused
	}
	c, conn, err := n.newChannel(via, number)
	if err != nil {
		return wire.ResultBusy
	}
	if err := n.start("relayed", &n.tasks.pumps, n.maxPumps(), func(ctx context.Context) {
		if _, err := n.secure(ctx, sec, c, conn, id, false); err != nil {
			n.log.Debug("dht relayed link not accepted", "peer", id.Short(), "err", err)
		}
	}); err != nil {
		c.end(wire.ResultBusy, true)
		return wire.ResultBusy
	}
	return wire.ResultOK
}

// relayed handles RELAY and RELAY_END: for a channel of ours, or between two
// others. It never waits.
func (n *Node) relayed(s *session, t wire.Type, number uint64, payload []byte, now int64) {
	if s == nil || !s.direct() {
		n.counts.dropStray.Add(1)
		return
	}
	if c := n.channels.get(channelKey{s.peer, number}); c != nil && c.via == s {
		if t == wire.RelayEnd {
			c.end(wire.ResultOK, false)
			return
		}
		offset, ack, data, err := wire.RelayFields(payload)
		if err != nil {
			n.malformed(s.peer, s, now)
			return
		}
		c.frame(offset, ack, data, now)
		return
	}
	n.pass(s, t, number, payload, now)
}
