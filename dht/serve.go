package dht

import (
	"errors"
	"sync/atomic"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// counters are what a snapshot has no field for and an operator may ask. Any
// goroutine (atomic).
type counters struct {
	sent, ok, timeout, refused   atomic.Uint64 // our requests
	served, quota, malformed     atomic.Uint64 // theirs
	blocked                      atomic.Uint64
	stray                        [numStrays]atomic.Uint64
	lateLost, revalBusy, excused atomic.Uint64
	sendErr, panics              atomic.Uint64
	reachCounts
}

// Stats are counts of what came of messages and links.
type Stats struct {
	Links     int    // registered links
	Served    uint64 // requests answered
	Quota     uint64 // requests beyond the link's quota
	Malformed uint64 // messages that did not decode
	Blocked   uint64 // messages and links of blocked peers
	Unmatched uint64 // replies nobody waits for: late, repeated or unknown
	WrongPeer uint64 // replies from another peer than the one asked
	LateLost  uint64 // losses of links that were not registered (any more)
	Excused   uint64 // failures not held against the peer
	SendErr   uint64 // messages we could not send
	RevalBusy uint64 // candidates not considered: the revalidation queue was full
	Panics    uint64
}

// Stats reads the counters.
func (n *Node) Stats() Stats {
	c := &n.counts
	return Stats{
		Links: int(n.reg.links.Load()), Served: c.served.Load(), Quota: c.quota.Load(),
		Malformed: c.malformed.Load(), Blocked: c.blocked.Load(),
		Unmatched: c.stray[strayLate].Load() + c.stray[strayRepeated].Load() + c.stray[strayUnknown].Load(),
		WrongPeer: c.stray[strayWrongPeer].Load(), LateLost: c.lateLost.Load(), Excused: c.excused.Load(),
		SendErr: c.sendErr.Load(), RevalBusy: c.revalBusy.Load(), Panics: c.panics.Load(),
	}
}

// replyBuf is scratch for one answer.
type replyBuf [wire.MaxNodesMessage]byte

// contactBuf is scratch for the contacts of one answer: some more than fit,
// since the requester and suspects are left out.
type contactBuf struct {
	contacts [wire.MaxContacts + spareContacts]*table.Contact
	addr     [1]table.Addr
}

const spareContacts = 5

// Handle processes one message that arrived on l at now (Config.Now's clock).
// The connection has authenticated the sender. It may be called by any number
// of goroutines, shard being the caller's; it never waits, keeps no part of
// payload, and in the steady state allocates nothing and takes no lock.
func (n *Node) Handle(shard int, l Link, payload []byte, now int64) {
	peer := l.PeerID()
	if n.table.Blocked(peer) {
		n.counts.blocked.Add(1)
		return
	}
	advance(&n.lastHeard, now)
	s := n.reg.find(peer, l.Generation())
	if s != nil && s.silent.Load() {
		s.silent.Store(false)
	}
	n.table.Touch(peer, l.RemoteAddr(), typeOf(l, s), now)
	t, req, err := wire.Header(payload)
	switch {
	case err != nil:
		n.malformed(peer, s, now)
	case t.IsReply():
		n.reply(peer, s, req, payload, now)
	case t == wire.Relay || t == wire.RelayEnd:
		n.relayed(s, t, req, payload, now)
	default:
		n.serve(shard, l, s, req, payload, now)
	}
}

// LocalDrop notes that a message of the DHT plane was dropped here at now. A
// request that was under way at that moment and fails is not held against its
// peer: the answer may be what we dropped.
func (n *Node) LocalDrop(now int64) { advance(&n.lastDrop, now) }

// advance stores now unless that is news of less than a millisecond; the
// variable is shared by all shards.
func advance(v *atomic.Int64, now int64) {
	if old := v.Load(); old < now-int64(time.Millisecond) {
		v.Store(now)
	}
}

// quotaOf is the budget a link's requests are served from.
func (n *Node) quotaOf(s *session) *gcra {
	if s == nil {
		return &n.strangers
	}
	return &s.quota
}

// malformed counts, and holds it against the peer as far as its quota goes.
func (n *Node) malformed(peer table.ID, s *session, now int64) {
	n.counts.malformed.Add(1)
	if n.quotaOf(s).allow(&n.requests, now) {
		n.observe(peer, false, now)
	}
}

// serve answers a request.
func (n *Node) serve(_ int, l Link, s *session, req uint64, payload []byte, now int64) {
	var m wire.Message
	err := wire.Decode(payload, &m)
	if err != nil && !errors.Is(err, wire.ErrType) {
		n.malformed(l.PeerID(), s, now)
		return
	}
	buf := n.replyPool.Get().(*replyBuf)
	defer n.replyPool.Put(buf)
	if !n.quotaOf(s).allow(&n.requests, now) {
		n.counts.quota.Add(1)
		// The peer learns of it, so that it does not wait; at most once a second.
		if s != nil && s.refusal.allow(&refusalLimit, now) {
			n.send(l, wire.AppendError(buf[:0], req, wire.CodeBusy, "too many requests"))
		}
		return
	}
	n.counts.served.Add(1)
	switch {
	case err != nil:
		n.send(l, wire.AppendError(buf[:0], req, wire.CodeUnsupported, "unknown request"))
	case m.Type == wire.Ping:
		n.send(l, wire.AppendPong(buf[:0], req))
	case m.Type == wire.Store:
		n.serveStore(l, req, m.Record, buf, now)
	case m.Type == wire.Get:
		n.serveGet(l, req, &m.Target)
	case m.Type >= wire.Address && m.Type <= wire.RelayEnd:
		n.serveReach(l, s, m, buf, now)
	default:
		n.serveFindNode(l, req, &m.Target, buf)
	}
}

// serveFindNode answers with the contacts closest to target, without the
// requester, without suspects, and without addresses that mean nothing where
// the requester is.
func (n *Node) serveFindNode(l Link, req uint64, target *table.ID, buf *replyBuf) {
	w := wire.BeginNodes(buf[:0], req)
	n.appendClosest(l, &w, target)
	n.send(l, w.Bytes())
}

// appendClosest adds the contacts to an answer that goes out over l. Before
// them goes the target itself if it is linked to us and the table had no place
// for it: who fills a bucket with his own hides nobody we are connected to.
func (n *Node) appendClosest(l Link, w *wire.NodesWriter, target *table.ID) {
	cb := n.contactPool.Get().(*contactBuf)
	defer n.contactPool.Put(cb)
	requester := l.PeerID()
	local := table.LocalScope(table.Canonical(l.RemoteAddr()).Addr())
	want := min(n.table.K(), wire.MaxContacts)
	if s := n.outsider(target); s != nil && *target != requester {
		cb.addr[0] = s.addr()
		w.Add(target, cb.addr[:], func(a table.Addr) bool { return local || !table.LocalScope(a.AddrPort.Addr()) })
	}
	for _, c := range n.table.Closest(cb.contacts[:0], *target, want+spareContacts) {
		id := c.ID()
		if w.Len() == want {
			break
		}
		if id != requester && c.Failures() == 0 {
			w.Add(&id, c.Addrs(), func(a table.Addr) bool { return a.Type != table.Relay && (local || a.Type != table.Lan) })
		}
	}
	clear(cb.contacts[:]) // the pool must not keep contacts alive
}

// outsider returns the direct link to a peer that is no contact, nil when it is
// one or there is none.
func (n *Node) outsider(id *table.ID) *session {
	s := n.reg.straight(*id)
	if s == nil || n.table.Get(*id) != nil {
		return nil
	}
	return s
}

func (n *Node) send(l Link, payload []byte) {
	if err := l.Send(payload); err != nil {
		n.counts.sendErr.Add(1)
	}
}

// reply hands an answer to whoever waits for it. The request is looked up
// before the body is decoded: a reply nobody asked for costs us nothing.
func (n *Node) reply(peer table.ID, s *session, req uint64, payload []byte, now int64) {
	c, why := n.pending.match(req, peer)
	if c == nil {
		n.counts.stray[why].Add(1)
		return
	}
	var m wire.Message
	err := wire.Decode(payload, &m)
	switch {
	case err != nil:
		n.counts.stray[strayMalformed].Add(1)
		n.malformed(peer, s, now)
		err = ErrBadReply
	case m.Type != c.want && m.Type != wire.Error:
		n.counts.stray[strayWrongType].Add(1)
		n.malformed(peer, s, now)
		err = ErrBadReply
	case m.Type == wire.Error:
		err = ErrRefused
	}
	c.done <- answer{msg: m, err: err, at: now}
}
