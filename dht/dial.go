package dht

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"signalbox/dht/table"
)

// Bounds on what others can make us dial (reliability.md D5).
const (
	maxDialTries  = 4   // addresses tried for one peer
	prefixRate    = 0.5 // dials per second into one /24 or /48
	prefixBurst   = 16
	maxRemembered = 2048 // failed addresses, and prefixes
)

// prefixLimit is what others can make us dial in one network.
var prefixLimit = newLimit(prefixRate, prefixBurst)

// dials coalesces dials per peer and keeps the budgets.
type dials struct {
	slots chan struct{} // maxDials at a time

	mu       sync.Mutex // a leaf; guards the fields below
	inflight map[table.ID]*dial
	failed   failures[netip.AddrPort]
	prefixes map[netip.Prefix]*gcra
	expected map[table.ID][]chan struct{} // closed when a direct link comes up
	lenient  bool                         // AllowLoopback: no budget per prefix; constant
}

// dial is one attempt under way; its result may be read after done is closed.
type dial struct {
	done chan struct{}
	sess *session
	err  error
}

func (d *dials) init(lenient bool) {
	d.slots = make(chan struct{}, maxDials)
	d.inflight = map[table.ID]*dial{}
	d.failed = newFailures[netip.AddrPort](maxRemembered)
	d.prefixes = map[netip.Prefix]*gcra{}
	d.expected = map[table.ID][]chan struct{}{}
	d.lenient = lenient
}

// allow takes one dial to an address told by others from the budgets.
func (d *dials) allow(a netip.AddrPort, now int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed.due(a, now) && d.takePrefix(a, now)
}

// allowPrefix is allow without the memory of failures: a hole is punched where
// a plain dial has failed.
func (d *dials) allowPrefix(a netip.AddrPort, now int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.takePrefix(a, now)
}

// takePrefix takes one dial from the budget of a's network; the caller holds mu.
func (d *dials) takePrefix(a netip.AddrPort, now int64) bool {
	if d.lenient {
		return true
	}
	p := table.Subnet(a.Addr())
	g := d.prefixes[p]
	if g == nil {
		if len(d.prefixes) >= maxRemembered {
			for k, x := range d.prefixes { // those that are full again carry no memory
				if x.full(now) {
					delete(d.prefixes, k)
				}
			}
			if len(d.prefixes) >= maxRemembered {
				return false
			}
		}
		g = new(gcra)
		d.prefixes[p] = g
	}
	return g.allow(&prefixLimit, now)
}

// result remembers how a dial ended.
func (d *dials) result(a netip.AddrPort, ok bool, now int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed.result(a, ok, now) // where it is full, the budget per prefix still holds
}

// connect returns a link to id, dialling addrs in order if there is none. own
// says that we know the addresses from links of our own or from the operator;
// those told by others are subject to the budgets. Concurrent calls for one
// peer share one attempt, which goes on when a caller gives up. ErrUnreachable
// means that something was dialled and nothing worked.
func (n *Node) connect(ctx context.Context, id table.ID, addrs []table.Addr, own bool) (*session, error) {
	if s := n.reg.best(id); s != nil {
		return s, nil
	}
	if n.table.Blocked(id) || len(addrs) == 0 && len(n.routes.of(id)) == 0 {
		return nil, ErrNotFound
	}
	n.dials.mu.Lock()
	d := n.dials.inflight[id]
	mine := d == nil
	if mine {
		d = &dial{done: make(chan struct{})}
		n.dials.inflight[id] = d
	}
	n.dials.mu.Unlock()
	if mine {
		finish := func(s *session, err error) {
			n.dials.mu.Lock()
			delete(n.dials.inflight, id)
			n.dials.mu.Unlock()
			d.sess, d.err = s, err
			close(d.done)
		}
		if err := n.spawn("dial", func(ctx context.Context) {
			s, err := (*session)(nil), ErrUnreachable // what remains if Dial panics
			defer func() { finish(s, err) }()
			s, err = n.reachOut(ctx, id, addrs, own)
		}); err != nil {
			finish(nil, err)
		}
	}
	select {
	case <-d.done:
		return d.sess, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// reachOut dials addrs and, when none of them leads to id, seeks a way around
// whatever stands before it.
func (n *Node) reachOut(ctx context.Context, id table.ID, addrs []table.Addr, own bool) (*session, error) {
	s, err := n.dialAll(ctx, id, addrs, own)
	if err == nil || ctx.Err() != nil {
		return s, err
	}
	if s, aerr := n.around(ctx, id); aerr == nil {
		return s, nil
	}
	return nil, err
}

// dialAll tries addrs one after the other. Relay addresses are other peers'.
func (n *Node) dialAll(ctx context.Context, id table.ID, addrs []table.Addr, own bool) (*session, error) {
	select {
	case n.dials.slots <- struct{}{}:
		defer func() { <-n.dials.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	err := ErrBusy // nothing dialled: the budgets said no
	if len(addrs) == 0 {
		err = ErrUnreachable
	}
	tries := 0
	for _, a := range addrs {
		if s := n.reg.best(id); s != nil { // it has connected to us meanwhile
			return s, nil
		}
		ap := table.Canonical(a.AddrPort)
		if a.Type == table.Relay {
			err = ErrUnreachable // but around others, perhaps
			continue
		}
		if n.self[ap] || !own && !n.dials.allow(ap, n.now()) {
			continue
		}
		if tries++; tries > maxDialTries {
			break
		}
		s, derr := n.dialOne(ctx, id, ap, n.dialLimit(id, a), true)
		if ctx.Err() != nil && s == nil {
			return nil, ctx.Err()
		}
		n.dials.result(ap, derr == nil, n.now())
		if derr == nil {
			return s, nil
		}
		n.log.Debug("dht dial failed", "peer", id.Short(), "addr", ap.String(), "err", derr)
		err = ErrUnreachable
	}
	return nil, err
}

// dialLimit is how long one address is dialled: not long when it may be a NAT's
// and somebody can help with that.
func (n *Node) dialLimit(id table.ID, a table.Addr) time.Duration {
	if a.Type != table.Direct && len(n.routes.of(id)) > 0 {
		return unsureTimeout
	}
	return dialTimeout
}

// dialOne makes one link. proves says that it shows the address to be reachable.
func (n *Node) dialOne(ctx context.Context, id table.ID, addr netip.AddrPort, limit time.Duration, proves bool) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	n.reach.sent.mark(addr, n.now())
	l, err := n.cfg.Dialer.Dial(ctx, id, addr)
	if err != nil {
		return nil, err
	}
	if l.PeerID() != id {
		l.Close("another peer than expected")
		return nil, ErrUnreachable
	}
	if s := n.adopt(l, proves); s != nil {
		return s, nil
	}
	return nil, ErrLinkLost
}

// hearsay filters the addresses others report for a peer down to those worth
// dialling: local ones only from a neighbour in the same local network,
// loopback only where it is allowed.
func (n *Node) hearsay(addrs []table.Addr, fromLocal bool) []table.Addr {
	var out []table.Addr
	for _, a := range addrs {
		a.AddrPort = table.Canonical(a.AddrPort)
		ip := a.AddrPort.Addr()
		switch {
		case a.Type == table.Relay || !table.Storable(a.AddrPort) || n.self[a.AddrPort]:
		case ip.IsLoopback() && !n.cfg.AllowLoopback:
		case table.LocalScope(ip) && !fromLocal && !n.cfg.AllowLoopback:
		default:
			out = append(out, a)
		}
	}
	return out
}
