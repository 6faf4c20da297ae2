package dht

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// Publishing where we are.
const (
	tellGap      = 5 * time.Second  // between two ADDRESS on one link
	tellAgain    = 15 * time.Minute // also for the fresh report it brings
	tellPerPass  = 64
	tellAtOnce   = 16
	reachTimeout = 2500 * time.Millisecond // below rpcTimeout: silence about reachability is no fault
)

// linkReach is what reachability keeps per link. Any goroutine (atomic).
type linkReach struct {
	heard  atomic.Uint64 // counter of the newest ADDRESS taken; 0: none
	told   atomic.Uint64 // version of our set last sent
	toldAt atomic.Int64
	punch  atomic.Int64 // a relayed link: when to try for a direct one
	tries  atomic.Int32

	publish gcra // ADDRESS taken
	asks    gcra // INTRODUCE served
	called  gcra // CALL passed on to the peer
	calls   gcra // CALL of the peer answered
}

func (r *linkReach) init() {
	r.toldAt.Store(longAgo)
}

// What one link may ask of us.
var (
	publishLimit = newLimit(0.2, 5)
	asksLimit    = newLimit(1, 10)
	calledLimit  = newLimit(0.5, 8)
	callsLimit   = newLimit(1, 16)
	refusalLimit = newLimit(1, 1)
)

// askReach is request with a timeout that does not count against the peer.
func (n *Node) askReach(ctx context.Context, s *session, want wire.Type, build func(buf []byte, req uint64) []byte) (wire.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	m, _, err := n.request(ctx, s, want, build)
	return m, err
}

// tell sends our addresses to the links that do not know yet where we are. The first ADDRESS
// of a link goes out at once, for the answer says where its peer sees us. It
// returns whether there was anybody to tell.
func (n *Node) tell(ctx context.Context, all []*session) (told bool) {
	now := n.now()
	self, version := n.selfSet()
	places := make(chan struct{}, tellAtOnce)
	var wg sync.WaitGroup
	left := tellPerPass
	for _, s := range all {
		r := &s.reach
		at := r.toldAt.Load()
		due := at == longAgo || now-at > int64(tellGap) && (r.told.Load() != version || now-at > spread(uint64(at), s.gen, n.cfg.ID, int64(tellAgain)))
		if !due {
			continue
		}
		if left--; left < 0 {
			n.want(jobReach)
			break
		}
		told = true
		r.told.Store(version)
		r.toldAt.Store(now)
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			n.contain("publish", func() { n.tellOne(ctx, s, self) })
		})
	}
	wg.Wait()
	return told
}

func (n *Node) selfSet() ([]table.Addr, uint64) {
	r := &n.reach
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.self, r.vers
}

// tellOne sends our set over one link. Local addresses go to neighbours only.
func (n *Node) tellOne(ctx context.Context, s *session, self []table.Addr) {
	near := s.direct() && table.LocalScope(table.Canonical(s.link.RemoteAddr()).Addr())
	set := make([]table.Addr, 0, len(self))
	for _, a := range self {
		if a.Type != table.Lan || near {
			set = append(set, a)
		}
	}
	m, err := n.askReach(ctx, s, wire.AddressAck, func(buf []byte, req uint64) []byte {
		return wire.AppendAddress(buf, req, n.reach.counter.Add(1), set)
	})
	switch {
	case err == nil:
		n.counts.published.Add(1)
		if m.Result != wire.ResultOK && m.Result != wire.ResultOld { // old: said over a newer link already
			n.counts.publishRefused.Add(1)
			n.log.Debug("dht address refused", "peer", s.peer.Short(), "why", m.Result.String())
		}
		n.observed(s, m.Seen, n.now())
	case errors.Is(err, ErrRefused): // a peer of an earlier version
		n.counts.publishRefused.Add(1)
	default:
		s.reach.told.Store(0) // again, when the gap is over
	}
}

// serveAddress takes what a peer says of itself. The link proves that it is
// the peer; the order is that of the link's generation, then of the counter
// within it, so that neither a clock nor a restart nor a stranger can lock the
// peer out (spec dht 2.7). Only links that still stand are considered: what
// was said over a lost one is succeeded by whatever is said now.
func (n *Node) serveAddress(l Link, s *session, m *wire.Message, buf *replyBuf, now int64) {
	res := wire.ResultRefused
	switch {
	case s == nil:
	case !s.reach.publish.allow(&publishLimit, now):
		res = wire.ResultBusy
	default:
		res = n.takeAddress(s, m, now)
	}
	seen := l.RemoteAddr()
	if s != nil && !s.direct() {
		seen = table.Addr{}.AddrPort
	}
	if res == wire.ResultOK {
		n.counts.addressTaken.Add(1)
	} else {
		n.counts.addressRefused.Add(1)
	}
	n.send(l, wire.AppendAddressAck(buf[:0], m.Request, res, seen))
}

func (n *Node) takeAddress(s *session, m *wire.Message, now int64) wire.Result {
	n.addressMu.Lock()
	defer n.addressMu.Unlock()
	if m.Counter <= s.reach.heard.Load() {
		return wire.ResultOld
	}
	for _, x := range n.reg.of(s.peer) {
		if x.gen > s.gen && x.reach.heard.Load() > 0 {
			return wire.ResultOld
		}
	}
	s.reach.heard.Store(m.Counter)
	if !s.direct() {
		// What cannot be seen cannot be held to the limits of admission: the
		// contact stays where its relay is.
		if len(m.Addrs) > 0 {
			return wire.ResultForeign
		}
		return wire.ResultOK
	}
	from := s.addr()
	claims := n.hearsay(m.Addrs, table.LocalScope(from.AddrPort.Addr()))
	if len(m.Addrs) > 0 && len(claims) == 0 {
		return wire.ResultBadAddress
	}
	switch n.table.Replace(s.peer, from, claims, now) {
	case table.ReplaceDone, table.ReplaceMissing: // not a contact: nothing to keep it in
		return wire.ResultOK
	case table.ReplaceForeign:
		return wire.ResultForeign
	case table.ReplaceDiversity:
		return wire.ResultDiversity
	default:
		return wire.ResultBadAddress
	}
}
