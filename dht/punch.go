package dht

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// Holes in NATs. The called one sends a few packets that only serve to open
// its own NAT and, a little later, dials; the asker dials when it hears that
// the other has begun.
const (
	punchTimeout   = 4 * time.Second
	unsureTimeout  = 2 * time.Second // for an address that may be a NAT's, when there is a way around
	pokes          = 3               // packets sent to open our NAT
	pokeGap        = 150 * time.Millisecond
	dialAfterPokes = 450 * time.Millisecond
	maxAround      = 8 // ways around NATs sought at a time
	maxVias        = 3 // go-betweens asked for one peer
	improveFirst   = 30 * time.Second
	improveMax     = 15 * time.Minute
	maxRoutes      = 2048
	maxPunches     = maxAround + maxBrought
	ownDialReturns = time.Second
)

// Poker is what a Dialer may offer beside: it sends one small packet that
// means nothing from the port we listen on, to open our NAT for an address.
type Poker interface {
	Poke(addr netip.AddrPort) error
}

// routes remembers who can bring us to whom, bounded: the entry made first is
// forgotten first. Also who could not be reached that way, for a while.
type routes struct {
	slots chan struct{} // maxAround at a time

	mu     sync.Mutex // a leaf; guards the fields below
	via    map[table.ID][]table.ID
	order  []table.ID // ring, in the order of entry
	pos    int
	failed failures[table.ID]
}

func (r *routes) init() {
	r.slots = make(chan struct{}, maxAround)
	r.via, r.failed = map[table.ID][]table.ID{}, newFailures[table.ID](maxRoutes)
}

// learn notes that via knows id; the newest comes first.
func (r *routes) learn(id, via table.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, known := r.via[id]
	if known && old[0] == via {
		return
	}
	if !known {
		if len(r.order) < maxRoutes {
			r.order = append(r.order, id)
		} else {
			delete(r.via, r.order[r.pos])
			r.order[r.pos] = id
			r.pos = (r.pos + 1) % maxRoutes
		}
	}
	next := []table.ID{via}
	for _, x := range old {
		if x != via && len(next) < maxVias {
			next = append(next, x)
		}
	}
	r.via[id] = next
}

// learnRoutes notes who has told of c, which is likely linked to it, before c
// is dialled. Of those nobody dials no route is needed.
func (n *Node) learnRoutes(c *candidate) {
	if n.reg.best(c.id) != nil {
		return
	}
	for i := min(len(c.heard), maxVias) - 1; i >= 0; i-- { // the closest to c comes first
		n.routes.learn(c.id, c.heard[i].by)
	}
}

func (r *routes) of(id table.ID) []table.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.via[id])
}

// due reports whether id may be tried again.
func (r *routes) due(id table.ID, now int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed.due(id, now)
}

func (r *routes) result(id table.ID, ok bool, now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed.result(id, ok, now)
}

// goBetweens lists the peers that may know id: those who have told us of it,
// then the one nearest to it, which is likely to be its neighbour.
func (n *Node) goBetweens(id table.ID) []*session {
	var out []*session
	add := func(via table.ID) {
		if s := n.reg.straight(via); s != nil && via != id && len(out) < maxVias && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	for _, via := range n.routes.of(id) {
		add(via)
	}
	before := len(out)
	for _, c := range n.table.Closest(nil, id, maxVias) {
		if len(out) == before {
			add(c.ID())
		}
	}
	return out
}

// around reaches id through others: through a hole punched with a go-between's
// help, else over a link that it relays.
func (n *Node) around(ctx context.Context, id table.ID) (*session, error) {
	vias := n.goBetweens(id)
	if len(vias) == 0 || !n.routes.due(id, n.now()) {
		return nil, ErrUnreachable
	}
	select {
	case n.routes.slots <- struct{}{}:
		defer func() { <-n.routes.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var knowing []*session // those who are linked to id
	for _, via := range vias {
		s, tried, res := n.punch(ctx, via, id)
		if s != nil {
			n.routes.result(id, true, n.now())
			return s, nil
		}
		if tried || res == wire.ResultBadAddress || res == wire.ResultLinked {
			knowing = append(knowing, via)
		}
		if tried {
			break // another go-between would not open the NATs any wider
		}
	}
	for _, via := range knowing {
		if s, err := n.relayThrough(ctx, via, id); err == nil {
			n.routes.result(id, true, n.now())
			return s, nil
		}
	}
	if ctx.Err() == nil {
		n.routes.result(id, false, n.now())
	}
	return nil, ErrUnreachable
}

// punch asks via to bring us together with id. tried says that a dial was
// made; else res is the refusal.
func (n *Node) punch(ctx context.Context, via *session, id table.ID) (s *session, tried bool, res wire.Result) {
	m, err := n.askReach(ctx, via, wire.Answer, func(buf []byte, req uint64) []byte {
		return wire.AppendIntroduce(buf, req, wire.ForPunch, &id)
	})
	if err != nil {
		return nil, false, wire.ResultNoLink
	}
	if m.Result != wire.ResultOK {
		n.counts.punchRefused.Add(1)
		return n.reg.straight(id), false, m.Result
	}
	n.routes.learn(id, via.peer)
	addr, ok := n.dialable(m.Seen, via)
	if !ok || !n.dials.allowPrefix(addr, n.now()) {
		return nil, false, wire.ResultBadAddress
	}
	s = n.dialUntilLinked(ctx, id, addr)
	n.countPunch(s != nil)
	n.log.Debug("dht punch", "peer", id.Short(), "addr", addr.String(), "via", via.peer.Short(), "ok", s != nil)
	return s, true, wire.ResultOK
}

func (n *Node) countPunch(ok bool) {
	if ok {
		n.counts.punchedOK.Add(1)
	} else {
		n.counts.punchedFailed.Add(1)
	}
}

// punchBack is the called end: open our NAT, and dial if that alone does not
// bring the other one here.
func (n *Node) punchBack(ctx context.Context, id table.ID, addr netip.AddrPort) {
	poker, ok := n.cfg.Dialer.(Poker)
	here := n.dials.expect(id)
	defer n.dials.unexpect(id, here)
	for range pokes {
		if ok {
			n.reach.sent.mark(addr, n.now())
			if err := poker.Poke(addr); err != nil {
				n.log.Debug("dht poke failed", "addr", addr.String(), "err", err)
			}
		}
		if !waitFor(ctx, here, pokeGap) {
			break
		}
	}
	waitFor(ctx, here, dialAfterPokes-pokes*pokeGap)
	n.countPunch(n.dialUntilLinked(ctx, id, addr) != nil)
}

// waitFor waits for d; false when ready is closed or ctx ends before.
func waitFor(ctx context.Context, ready <-chan struct{}, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ready:
	case <-ctx.Done():
	}
	return false
}

// dialUntilLinked dials id and is content with a direct link that the other
// end has made meanwhile; a dial that is superfluous then is given up. The
// address is not counted as reachable: it only is for us, and only now.
func (n *Node) dialUntilLinked(ctx context.Context, id table.ID, addr netip.AddrPort) *session {
	here := n.dials.expect(id)
	defer n.dials.unexpect(id, here)
	if s := n.reg.straight(id); s != nil {
		return s
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	err := n.start("punch", &n.tasks.punches, maxPunches, func(context.Context) {
		defer close(done)
		if _, err := n.dialOne(ctx, id, addr, punchTimeout, false); err != nil {
			n.log.Debug("dht punched dial failed", "peer", id.Short(), "addr", addr.String(), "err", err)
		}
	})
	if err != nil {
		return nil
	}
	select {
	case <-done:
	case <-ctx.Done():
	case <-here:
		// Perhaps it is our own dial that has registered its link and is about
		// to return; it must not be cancelled.
		waitFor(ctx, done, ownDialReturns)
	}
	return n.reg.straight(id)
}

// expect returns a channel that is closed when a direct link to id comes up.
func (d *dials) expect(id table.ID) chan struct{} {
	ch := make(chan struct{})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expected[id] = append(d.expected[id], ch)
	return ch
}

func (d *dials) unexpect(id table.ID, ch chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := slices.DeleteFunc(d.expected[id], func(x chan struct{}) bool { return x == ch })
	if d.expected[id] = list; len(list) == 0 {
		delete(d.expected, id)
	}
}

// arrived tells those who wait for a link to id.
func (d *dials) arrived(id table.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, ch := range d.expected[id] {
		close(ch)
	}
	delete(d.expected, id)
}

// improve tries to replace relayed links by direct ones, ever more rarely.
func (n *Node) improve(all []*session, now int64) {
	for _, s := range all {
		if s.direct() || n.reg.straight(s.peer) != nil {
			continue
		}
		if at := s.reach.punch.Load(); at == 0 || now < at {
			if at == 0 {
				s.reach.punch.Store(now + int64(jitter(improveFirst)))
			}
			continue
		}
		s.reach.punch.Store(now + int64(jitter(min(improveFirst<<min(s.reach.tries.Add(1), 8), improveMax))))
		via := n.reg.straight(s.via)
		if via == nil {
			continue
		}
		if err := n.start("improve", &n.tasks.brought, maxBrought, func(ctx context.Context) { n.punch(ctx, via, s.peer) }); err != nil {
			n.log.Debug("dht punch put off", "peer", s.peer.Short(), "err", err)
		}
	}
}
