package call

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// Why Register refuses.
var (
	ErrFull      = errors.New("the relay has as many signalling clients as it may")
	ErrSignature = errors.New("the registration's signature does not verify")
	ErrUnsigned  = errors.New("this relay wants registrations signed")
	ErrTaken     = errors.New("this identity is registered with a signature, and this registration has none")
)

// Bounds of one client.
const (
	queueFrames = 64
	queueBytes  = 256 << 10
	inFlight    = 8  // frames written and not read yet
	signalRate  = 20 // signals a second, and three times as many at once
	maxAlias    = 256
)

// Registration is who wants to register. The functions are called with no lock
// of this package held, but RelayAddr, which is called under the hub's and must
// only look.
type Registration struct {
	Message     *wire.RegisterPresence
	Fingerprint string // what a token stands for (4.2.3); empty: that of the identity's key
	Remote      func() netip.AddrPort
	RelayAddr   func() string       // where this client reaches us, for CallSetup
	Close       func(reason string) // ends the connection
	At          time.Time
}

// Client is one registered signalling connection.
type Client struct {
	// Constant after Register.
	hub       *Hub
	gen       uint64
	fp        string // empty: anonymous, it may only ask Reflect and Ping
	alias     *string
	identity  [32]byte
	signed    bool
	remote    func() netip.AddrPort
	relayAddr func() string
	close     func(string)
	at        time.Time
	wake      chan struct{} // 1 slot
	stay      *Stay

	// Owned by the connection's reader.
	budget budget
	warned bool

	// Any goroutine (atomic).
	received atomic.Uint64
	sent     atomic.Uint64

	// Guarded by Hub.mu.
	stalled bool
	gone    bool

	mu      sync.Mutex // leaf; guards the rest
	queue   []Frame
	bytes   int
	flying  int
	noMore  bool
	maxSeen int
}

// Frame is one encoded signal for a client.
type Frame struct {
	Bytes    []byte
	Deadline int64  // by when the client must have read it
	call     string // key of the call it belongs to; empty: none
	offer    bool
	hangup   bool
}

// budget is a token bucket.
type budget struct {
	tokens float64
	at     int64
}

func (b *budget) take(now int64) bool {
	b.tokens = min(3*signalRate, b.tokens+float64(now-b.at)/1e9*signalRate)
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// Register lets a client in. The first frame it is told is the acknowledgement
// (4.4). Somebody with the zero identity is anonymous: clients that only want
// to know their address register so, many at a time (5.10).
func (h *Hub) Register(q Registration, now int64) (*Client, error) {
	m := q.Message
	c := &Client{
		hub: h, fp: q.Fingerprint, identity: m.IdentityPub, remote: q.Remote, relayAddr: q.RelayAddr, close: q.Close, at: q.At,
		wake: make(chan struct{}, 1), budget: budget{3 * signalRate, now},
	}
	if c.fp == "" && m.IdentityPub != [32]byte{} {
		c.fp = wire.Fingerprint(m.IdentityPub[:])
	}
	if m.Alias != nil {
		a := cut(*m.Alias, maxAlias)
		c.alias = &a
	}
	if len(m.Signature) > 0 {
		if wire.VerifyPresence(m, h.cfg.CertHash) != nil {
			return nil, ErrSignature
		}
		c.signed = true
	}
	if c.fp != "" && !c.signed && h.cfg.RequireSignature {
		return nil, ErrUnsigned
	}
	var err error
	h.locked(now, func(a *after) { err = h.admit(a, c, now) })
	if err != nil {
		return nil, err
	}
	if c.fp != "" {
		c.stay = h.presence.Enter(c.fp, aliasOf(c.alias), "")
	}
	return c, nil
}

// admit enters the client into the registry.
func (h *Hub) admit(a *after, c *Client, now int64) error {
	if h.conns >= h.cfg.MaxClients {
		return ErrFull
	}
	have := h.clients[c.fp]
	if c.fp != "" && !c.signed {
		for _, o := range have {
			if o.signed {
				return ErrTaken
			}
		}
	}
	h.conns++
	h.nextGen++
	c.gen = h.nextGen
	build := h.cfg.Build
	c.push(&wire.RegisterPresenceAck{Success: true, RelayBuild: &build}, Frame{Deadline: now + int64(h.cfg.Stall)})
	if c.fp == "" {
		h.anonymous++
		return nil
	}
	if n := len(have); n > 0 && have[n-1].remote().Addr() != c.remote().Addr() {
		h.count.moves++
		a.event("identity_moved", view.Warn, short(c.fp), fmt.Sprintf("%s was registered from %s and is now from %s too; the newest is rung", name(c.fp, aliasOf(c.alias)), have[n-1].remote(), c.remote()))
	}
	h.clients[c.fp] = append(have, c)
	if len(have) >= h.cfg.MaxPerIdentity {
		h.drop(a, have[0], "too many connections of this identity")
	}
	for _, k := range h.parties[c.fp] {
		p, _ := k.sides(c.fp)
		p.lost = 0
		if k.state == Pending && k.callee.fp == c.fp && k.offer != nil {
			k.seeking = false
			h.ring(a, c, k, now) // no connection has read the offer yet
		}
	}
	return nil
}

// current is the connection of an identity that is told things; nil: none.
func (h *Hub) current(fp string) *Client {
	if cs := h.clients[fp]; len(cs) > 0 {
		return cs[len(cs)-1]
	}
	return nil
}

// drop takes a client out of the registry and ends its connection.
func (h *Hub) drop(a *after, c *Client, reason string) {
	a.closes = append(a.closes, closing{c.close, reason})
	h.remove(c)
}

// remove takes exactly this client out, once.
func (h *Hub) remove(c *Client) bool {
	if c.gone {
		return false
	}
	c.gone = true
	h.conns--
	c.stop()
	if c.fp == "" {
		h.anonymous--
		return true
	}
	cs := h.clients[c.fp]
	for i, o := range cs {
		if o == c {
			cs = append(cs[:i:i], cs[i+1:]...)
			break
		}
	}
	if len(cs) == 0 {
		delete(h.clients, c.fp)
	} else {
		h.clients[c.fp] = cs
	}
	return true
}

// Leave takes the client out when its connection has ended. clean says that an
// application closed it: then its calls end. Otherwise only those that were
// not answered do, and the active ones wait for it to come back (8.1).
func (c *Client) Leave(clean bool, now int64) {
	h := c.hub
	h.locked(now, func(a *after) {
		if h.remove(c) {
			h.left(a, c.fp, clean, now)
		}
	})
	if c.stay != nil {
		c.stay.Leave()
	}
}

// left settles the calls of an identity that lost a connection.
func (h *Hub) left(a *after, fp string, clean bool, now int64) {
	if fp == "" || h.current(fp) != nil {
		return // the calls are its other connection's
	}
	for _, k := range h.parties[fp] {
		if clean || k.state != Active {
			h.end(a, k, ending{by: fp, reason: wire.HangupNormal, why: name(fp, "") + " has disconnected"}, now)
			continue
		}
		if p, _ := k.sides(fp); p.lost == 0 {
			p.lost = now
		}
	}
}

// Drop ends every connection of an identity; false: it has none.
func (h *Hub) Drop(fingerprint, reason string, now int64) bool {
	found := false
	h.locked(now, func(a *after) {
		for _, c := range append([]*Client(nil), h.clients[fingerprint]...) {
			h.drop(a, c, reason)
			found = true
		}
		if found {
			h.left(a, fingerprint, true, now)
		}
	})
	return found
}

// push queues a signal. False: the queue is full, or the client gone.
func (c *Client) push(s wire.Signal, f Frame) bool {
	b, err := wire.EncodeFrame(s)
	if err != nil {
		return false
	}
	f.Bytes = b
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.noMore || len(c.queue) >= queueFrames || c.bytes+len(b) > queueBytes {
		return false
	}
	c.queue = append(c.queue, f)
	c.bytes += len(b)
	c.maxSeen = max(c.maxSeen, len(c.queue))
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return true
}

// stop empties the queue for good.
func (c *Client) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noMore, c.queue, c.bytes = true, nil, 0
}

// Wake receives when there may be a frame to take.
func (c *Client) Wake() <-chan struct{} { return c.wake }

// Fingerprint is the identity; empty for an anonymous client.
func (c *Client) Fingerprint() string { return c.fp }

// Name is what to call the client on a screen or in a log.
func (c *Client) Name() string {
	if c.fp == "" {
		return "anonymous"
	}
	return name(c.fp, aliasOf(c.alias))
}

// Next takes the next frame. It must be settled with Told, Unread or Failed.
// One goroutine at a time.
func (c *Client) Next() (Frame, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 || c.flying >= inFlight {
		return Frame{}, false
	}
	f := c.queue[0]
	c.queue[0] = Frame{}
	c.queue = c.queue[1:]
	c.bytes -= len(f.Bytes)
	c.flying++
	return f, true
}

func (c *Client) landed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flying--
	if len(c.queue) > 0 {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// Told says that the client has read the frame.
func (c *Client) Told(f Frame, now int64) {
	c.sent.Add(1)
	c.landed()
	h := c.hub
	h.locked(now, func(a *after) {
		c.stalled = false
		if k := h.calls[f.call]; k != nil && f.offer && k.state == Pending {
			h.ringing(a, k, now)
		}
	})
}

// Unread says that the client was sent the frame and has not read it by its
// deadline. The call it is about cannot go on. The connection may: Late says
// that the frame was read after all.
func (c *Client) Unread(f Frame, now int64) {
	c.landed()
	h := c.hub
	h.locked(now, func(a *after) {
		if c.gone {
			return
		}
		if !c.stalled {
			c.stalled = true
			h.count.stalls++
			a.event("peer_stalled", view.Warn, short(c.fp), c.Name()+" does not read what it is sent; calls to it fail")
		}
		if k := h.calls[f.call]; k != nil && !f.hangup {
			h.refuse(whyStalled)
			h.end(a, k, ending{reason: wire.HangupError, why: "peer_stalled: " + c.Name() + " does not read its signals", severity: view.Warn}, now)
		}
	})
}

// Late says that a frame given up by Unread has been read after all.
func (c *Client) Late() {
	c.sent.Add(1)
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	c.stalled = false
}

// Malformed notes that the client said something that is no message.
func (c *Client) Malformed() {
	c.received.Add(1)
	c.hub.refuse(whyMalformed)
}

// Failed says that the client could not be given the frame: it grants no
// stream, or takes no bytes. Its calls end, and its connection.
func (c *Client) Failed(_ Frame, now int64) {
	c.landed()
	c.hub.locked(now, func(a *after) { c.hub.stall(a, c, now) })
}

// stall gives up a client that cannot be told anything.
func (h *Hub) stall(a *after, c *Client, now int64) {
	if c.gone {
		return
	}
	h.count.stalls++
	a.event("peer_stalled", view.Warn, short(c.fp), c.Name()+" takes nothing it is sent; its connection is closed")
	h.drop(a, c, "peer_stalled")
	h.left(a, c.fp, true, now)
}

// tell pushes a signal to the current connection of a local party.
func (h *Hub) tell(a *after, fp string, s wire.Signal, f Frame, now int64) {
	c := h.current(fp)
	if c == nil {
		return
	}
	f.Deadline = now + int64(h.cfg.Stall)
	if !c.push(s, f) {
		h.stall(a, c, now)
	}
}
