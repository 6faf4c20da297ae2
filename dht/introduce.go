package dht

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// Bringing two peers together. The go-between passes a CALL on to the one and
// answers the other; it tells each only the address from which it sees the
// other itself, so that nobody can make a third party be dialled.
const (
	callTimeout = 2 * time.Second // below reachTimeout: the asker still waits
	maxBrought  = 32
	maxDialBack = 3 // peers asked, one after the other, to dial somebody back
)

// reachCounts are the counters of reachability. Any goroutine (atomic).
type reachCounts struct {
	published, publishRefused    atomic.Uint64 // our ADDRESS
	addressTaken, addressRefused atomic.Uint64 // theirs
	introduced, introduceRefused atomic.Uint64 // INTRODUCE we served
	called, callRefused          atomic.Uint64 // CALL we answered
	punchedOK, punchedFailed     atomic.Uint64 // holes, from either end
	punchRefused                 atomic.Uint64 // nobody would help
	relayedOK, relayedFailed     atomic.Uint64 // relayed links of our own
	frames, frameBytes           atomic.Uint64 // passed on for others
	dropQueue, dropStray         atomic.Uint64 // RELAY not passed on, and why
}

// answer sends an ANSWER.
func (n *Node) answer(l Link, req uint64, res wire.Result, channel uint64, seen netip.AddrPort) {
	n.send(l, wire.AppendAnswer(nil, req, res, channel, seen))
}

// serveReach answers the requests of reachability. m comes by value: it
// outlives the call, which the rest of the serving must not pay for.
func (n *Node) serveReach(l Link, s *session, m wire.Message, buf *replyBuf, now int64) {
	switch m.Type {
	case wire.Address:
		n.serveAddress(l, s, &m, buf, now)
	case wire.Introduce:
		n.serveIntroduce(l, s, &m, now)
	case wire.Call:
		n.serveCall(l, s, &m, now)
	default: // the caller gives these alone
	}
}

// serveIntroduce is the go-between's part. What needs no waiting is decided
// here; the CALL and its answer are a short task.
func (n *Node) serveIntroduce(l Link, s *session, m *wire.Message, now int64) {
	refuse := func(res wire.Result) {
		n.counts.introduceRefused.Add(1)
		n.answer(l, m.Request, res, 0, netip.AddrPort{})
	}
	if s == nil || !s.direct() {
		refuse(wire.ResultRefused)
		return
	}
	if !s.reach.asks.allow(&asksLimit, now) {
		refuse(wire.ResultBusy)
		return
	}
	var work func(ctx context.Context) (wire.Result, uint64, netip.AddrPort)
	switch req := m.Request; m.Purpose {
	case wire.ForDialBack:
		work = func(ctx context.Context) (wire.Result, uint64, netip.AddrPort) {
			return n.sendWitness(ctx, s), 0, netip.AddrPort{}
		}
	default:
		to := n.reg.straight(m.Peer)
		if res := n.mayIntroduce(s, to, m.Purpose, now); res != wire.ResultOK {
			refuse(res)
			return
		}
		if m.Purpose == wire.ForRelay {
			p, res := n.relaying.open(s, to, n.cfg.RelayPairs, now)
			if p == nil {
				refuse(res)
				return
			}
			n.bringRelay(s, to, p, req)
			return
		}
		work = func(ctx context.Context) (wire.Result, uint64, netip.AddrPort) { return n.bringTogether(ctx, s, to) }
	}
	n.introduceTask(s, m.Request, work)
}

// introduceTask runs work and answers with its outcome, or says that too much
// is under way.
func (n *Node) introduceTask(s *session, req uint64, work func(ctx context.Context) (wire.Result, uint64, netip.AddrPort)) {
	reply := func(res wire.Result, channel uint64, seen netip.AddrPort) {
		if res == wire.ResultOK {
			n.counts.introduced.Add(1)
		} else {
			n.counts.introduceRefused.Add(1)
		}
		n.answer(s.link, req, res, channel, seen)
	}
	err := n.start("introduce", &n.tasks.brought, maxBrought, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		reply(work(ctx))
	})
	if err != nil {
		reply(wire.ResultBusy, 0, netip.AddrPort{})
	}
}

// mayIntroduce checks that both are linked to us and where the other can be
// told of the one.
func (n *Node) mayIntroduce(s, to *session, purpose wire.Purpose, now int64) wire.Result {
	switch {
	case to == nil || to.peer == s.peer:
		return wire.ResultNoLink
	case purpose == wire.ForPunch && !meet(s.link.RemoteAddr(), to.link.RemoteAddr()):
		return wire.ResultBadAddress
	case !to.reach.called.allow(&calledLimit, now):
		return wire.ResultBusy
	}
	return wire.ResultOK
}

// meet reports whether packets can pass between two addresses: one family, and
// both of local scope or neither.
func meet(a, b netip.AddrPort) bool {
	x, y := table.Canonical(a).Addr(), table.Canonical(b).Addr()
	return familyOf(x) == familyOf(y) && table.LocalScope(x) == table.LocalScope(y)
}

// bringTogether has to punch towards the peer of s, and tells where to is.
func (n *Node) bringTogether(ctx context.Context, s, to *session) (wire.Result, uint64, netip.AddrPort) {
	res := n.call(ctx, to, wire.ForPunch, s, 0)
	if res != wire.ResultOK {
		return res, 0, netip.AddrPort{}
	}
	return wire.ResultOK, 0, to.link.RemoteAddr()
}

// call sends a CALL about the peer of about and returns the answer.
func (n *Node) call(ctx context.Context, to *session, purpose wire.Purpose, about *session, channel uint64) wire.Result {
	seen := about.link.RemoteAddr()
	if purpose == wire.ForRelay {
		seen = netip.AddrPort{}
	}
	m, err := n.askReach(ctx, to, wire.Answer, func(buf []byte, req uint64) []byte {
		return wire.AppendCall(buf, req, purpose, &about.peer, channel, seen)
	})
	if err != nil {
		return wire.ResultNoLink // it does not answer, or does not know how
	}
	return m.Result
}

// sendWitness finds a peer that has had nothing to do with the one of s and
// has it dial that one's address.
func (n *Node) sendWitness(ctx context.Context, s *session) wire.Result {
	all, mine := slices.Collect(n.reg.all), n.observerKey(s.link.RemoteAddr())
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	res, tries := wire.ResultNoLink, 0
	for _, w := range all {
		from := w.link.RemoteAddr()
		if w.peer == s.peer || !w.direct() || !meet(s.link.RemoteAddr(), from) || n.observerKey(from) == mine || !w.reach.called.allow(&calledLimit, n.now()) {
			continue
		}
		if tries++; tries > maxDialBack || ctx.Err() != nil {
			break
		}
		if res = n.call(ctx, w, wire.ForDialBack, s, 0); res == wire.ResultOK {
			break
		}
	}
	return res
}

// serveCall answers a go-between. Whatever is dialled for it comes out of the
// budget of the target's network.
func (n *Node) serveCall(l Link, s *session, m *wire.Message, now int64) {
	res := n.takeCall(s, m, now)
	if res == wire.ResultOK {
		n.counts.called.Add(1)
	} else {
		n.counts.callRefused.Add(1)
	}
	n.answer(l, m.Request, res, m.Channel, netip.AddrPort{})
}

func (n *Node) takeCall(s *session, m *wire.Message, now int64) wire.Result {
	switch {
	case s == nil || !s.direct() || m.Peer == n.cfg.ID || m.Peer == s.peer || n.table.Blocked(m.Peer):
		return wire.ResultRefused
	case !s.reach.calls.allow(&callsLimit, now):
		return wire.ResultBusy
	case n.reg.straight(m.Peer) != nil:
		return wire.ResultLinked
	case m.Purpose == wire.ForRelay:
		return n.acceptRelayed(s, m.Peer, m.Channel)
	}
	addr, ok := n.dialable(m.Seen, s)
	switch {
	case !ok:
		return wire.ResultBadAddress
	case m.Purpose == wire.ForDialBack && !n.reach.isPublic():
		return wire.ResultRefused // a dial from behind a NAT may fail for our own reasons
	case m.Purpose == wire.ForDialBack && !n.reach.sent.never(addr, now):
		return wire.ResultLinked // our packets would come as no surprise to its NAT
	case !n.dials.allowPrefix(addr, now):
		return wire.ResultBusy
	}
	err := n.start("call", &n.tasks.brought, maxBrought, func(ctx context.Context) {
		if m.Purpose == wire.ForDialBack {
			if _, err := n.dialOne(ctx, m.Peer, addr, dialTimeout, true); err != nil {
				n.log.Debug("dht dial-back failed", "peer", m.Peer.Short(), "addr", addr.String(), "err", err)
			}
			return
		}
		n.punchBack(ctx, m.Peer, addr)
	})
	if err != nil {
		return wire.ResultBusy
	}
	return wire.ResultOK
}

// dialable checks an address a go-between tells of somebody.
func (n *Node) dialable(a netip.AddrPort, from *session) (netip.AddrPort, bool) {
	near := table.LocalScope(table.Canonical(from.link.RemoteAddr()).Addr())
	ok := n.hearsay([]table.Addr{{AddrPort: a, Type: table.Unverified}}, near)
	if len(ok) == 0 {
		return netip.AddrPort{}, false
	}
	return ok[0].AddrPort, true
}
