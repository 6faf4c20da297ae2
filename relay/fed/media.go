package fed

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"strings"
	"sync/atomic"

	"signalbox/engine/ledger"
	"signalbox/relay"
	"signalbox/relay/wire"
)

// Packet is one media packet in a link's queue.
type Packet struct {
	Room  uint64 // its tag (2.5)
	Body  []byte // shared with all other receivers, read-only
	Trace uint32 // 0: it is not followed
}

func (p Packet) size() int { return wire.RoomHashSize + len(p.Body) }

// room is a global room as federation sees it: there is one while a peer or a
// member of ours is in it, and for some time after; those of the configuration
// stay.
type room struct {
	// Constant after openLocked.
	name string
	tag  uint64
	kept bool // of the configuration

	// Any goroutine (atomic).
	fan   atomic.Pointer[fan] // never nil; stored under Mesh.mu
	gone  atomic.Bool
	armed atomic.Pointer[armed] // the next packet of somebody is followed; nil: none is

	seen window // own mutex

	// Guarded by Mesh.mu.
	local    *relay.GlobalRoom // nil: no member is here
	version  uint64            // of our own members; 0: there were none
	latest   map[string]uint64 // newest version of each relay
	versions uint64            // grows with every change of latest
	empty    int64             // since when nobody needs it; 0: somebody does
}

// fan is where a room's packets go. It is never changed once stored.
type fan struct {
	local *relay.GlobalRoom
	out   []*Link           // those of our own members
	from  map[*peer][]*Link // those of each peer that takes part
	only  map[*peer]bool    // whose packets are taken; nil: everybody's
}

// others are the links for what a peer has sent.
func (f *fan) others(p *peer) []*Link {
	if list, ok := f.from[p]; ok {
		return list
	}
	return slices.DeleteFunc(slices.Clone(f.out), func(l *Link) bool { return l.peer == p })
}

// openLocked makes a room. mu is held.
func (m *Mesh) openLocked(name string) *room {
	hash := wire.RoomHash(name)
	r := &room{name: name, tag: binary.BigEndian.Uint64(hash[:]), latest: map[string]uint64{}, kept: !strings.HasPrefix(name, callPrefix)}
	f := &fan{}
	if !r.kept {
		f.only = map[*peer]bool{} // nobody's, until it is known between whom the call is
	}
	r.fan.Store(f)
	m.rooms[name], m.byTag[r.tag] = r, r
	return r
}

// sweepLocked forgets rooms that nobody has needed for a while. mu is held.
func (m *Mesh) sweepLocked(now int64) {
	if now-m.swept < int64(sweepEvery) {
		return
	}
	m.swept = now
	for name, r := range m.rooms {
		if r.kept || r.local != nil || m.announcedBy(name) {
			r.empty = 0
			continue
		}
		if r.empty == 0 {
			r.empty = max(now, 1)
		}
		if now-r.empty < int64(lingers) {
			continue
		}
		r.gone.Store(true)
		delete(m.rooms, name)
		delete(m.byTag, r.tag)
		for _, p := range m.peers {
			for _, l := range p.links {
				delete(l.told, name)
			}
		}
	}
	for name, pn := range m.calls {
		if m.rooms[name] == nil && now-pn.at > int64(callForgotten) {
			delete(m.calls, name)
		}
	}
}

func (m *Mesh) announcedBy(name string) bool {
	for _, p := range m.peers {
		if len(p.rooms[name]) > 0 {
			return true
		}
	}
	return false
}

// fanLocked works out anew where a room's packets go: to every peer that takes
// part, but what a peer has sent not to those that have it from its relay
// directly. mu is held.
func (m *Mesh) fanLocked(r *room) {
	f := &fan{local: r.local, from: map[*peer][]*Link{}}
	if !r.kept {
		f.only = map[*peer]bool{}
	}
	var in []*peer
	for _, p := range m.peers {
		if p.primary == nil || p.muted.Load() {
			continue
		}
		if !m.mayShare(r.name, p) {
			continue
		}
		if f.only != nil {
			f.only[p] = true
		}
		if !r.kept || len(p.rooms[r.name]) > 0 {
			in = append(in, p)
			f.out = append(f.out, p.primary)
		}
	}
	for _, from := range m.peers {
		groups := from.rooms[r.name]
		if len(groups) == 0 {
			continue
		}
		list := []*Link{}
		for _, to := range in {
			if to != from && !(to.box() && hasAll(to, groups)) {
				list = append(list, to.primary)
			}
		}
		f.from[from] = list
	}
	r.fan.Store(f)
}

// mayShare says whether a peer has to do with a room: with that of a call only
// if the call is between it and us, since a call is nobody else's business (7.2
// row 32) and one between two of our own clients no relay's. mu is held.
func (m *Mesh) mayShare(name string, p *peer) bool {
	if !strings.HasPrefix(name, callPrefix) {
		return true
	}
	pn, ok := m.calls[name]
	return ok && pn.relay == p.Fingerprint
}

// hasAll says whether a peer gets the packets of all the groups from their own
// relays. mu is held.
func hasAll(p *peer, groups []group) bool {
	for i := range groups {
		if o := groups[i].relay(); o != p.id && !p.near[o] {
			return false
		}
	}
	return true
}

// Global is for relay.Config: the uplink of a room that other relays share.
func (m *Mesh) Global(g *relay.GlobalRoom) (relay.Uplink, *relay.Remotes) {
	name, ok := m.Canonical(g.Name())
	if !ok || name != g.Name() {
		return nil, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rooms[name]
	if r == nil {
		r = m.openLocked(name)
	}
	r.local = g
	m.fanLocked(r)
	return &uplink{m, r, g}, m.remotesLocked(r, nil)
}

// uplink is one room of relay, of those that have had the name.
type uplink struct {
	m *Mesh
	r *room
	g *relay.GlobalRoom
}

// Out implements relay.Uplink.
func (u *uplink) Out(from string, pkt []byte, now int64) { u.m.out(u.r, from, pkt, now) }

// Changed implements relay.Uplink.
func (u *uplink) Changed() { u.m.localChanged(u, u.g) }

// Closed implements relay.Uplink.
func (u *uplink) Closed() { u.m.localChanged(u, nil) }

func (m *Mesh) localChanged(u *uplink, g *relay.GlobalRoom) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u.r.local != u.g {
		return // another room of the name is there
	}
	u.r.local = g
	m.version++
	u.r.version = m.version
	m.roomChangedLocked(u.r)
}

// out passes on what a member of ours has said. A shard loop calls it.
func (m *Mesh) out(r *room, from string, pkt []byte, now int64) {
	f := r.fan.Load()
	if len(f.out) == 0 {
		return
	}
	r.seen.note(maphash.Bytes(m.seed, pkt), true, now)
	trace := uint32(0)
	if a := r.armed.Load(); a != nil && a.from == from && r.armed.CompareAndSwap(a, nil) {
		trace = a.id
		m.traces.add(now, trace, "left by "+linkNames(f.out))
	}
	m.push(f.out, Packet{Room: r.tag, Body: pkt, Trace: trace}, now)
}

func (m *Mesh) push(links []*Link, p Packet, now int64) {
	for _, l := range links {
		if !l.ring.Push(p, now) {
			m.late[ledger.LinkDown].Add(1)
			continue
		}
		l.wakeWriter()
	}
}

// reader is what a link's reader of datagrams keeps.
type reader struct {
	all     bucket
	rooms   map[uint64]*incoming
	unknown map[uint64]int64 // tags of no room, until when that is believed
	entries []wire.TrunkEntry
}

// incoming is a room as one link's packets find it.
type incoming struct {
	room *room
	rate bucket
}

const (
	maxUnknown  = 256
	unknownFor  = second
	maxIncoming = 8192
)

func (rd *reader) start() {
	rd.rooms, rd.unknown = map[uint64]*incoming{}, map[uint64]int64{}
}

// Lost books packets that were lost before Receive saw them.
func (l *Link) Lost(why ledger.Reason, n uint64) {
	l.peer.in.Add(n)
	l.mesh.received.Add(n)
	l.mesh.refused[why].Add(n)
	l.peer.drops[why].Add(n)
}

func (l *Link) refuse(why ledger.Reason) {
	l.mesh.refused[why].Add(1)
	l.peer.drops[why].Add(1)
}

// Receive takes one datagram from the peer. The datagram is ours from now on.
// One goroutine at a time.
func (l *Link) Receive(dg []byte, now int64) {
	l.lastHeard.Store(now)
	if len(dg) > wire.RoomHashSize && l.box.Load() {
		switch binary.BigEndian.Uint64(dg) {
		case wire.TagTrunk:
			l.receiveTrunk(dg[wire.RoomHashSize:], now)
			return
		case wire.TagTrace:
			if rest := dg[wire.RoomHashSize:]; len(rest) > 4 {
				l.receive(rest[4:], binary.BigEndian.Uint32(rest), now)
				return
			}
		}
	}
	l.receive(dg, 0, now)
}

func (l *Link) receiveTrunk(frame []byte, now int64) {
	entries, err := wire.DecodeTrunk(l.reader.entries[:0], frame)
	if err != nil {
		l.receive(nil, 0, now)
		return
	}
	for i := range entries {
		l.receive(entries[i].Payload, 0, now)
		entries[i].Payload = nil
	}
	l.reader.entries = entries
}

// receive takes one packet: parse, police, find the room, see whether it was
// here, deliver, pass on (5.13).
func (l *Link) receive(dg []byte, trace uint32, now int64) {
	m, p := l.mesh, l.peer
	p.in.Add(1)
	m.received.Add(1)
	_, pkt, err := wire.ParseFederated(dg)
	if err != nil {
		l.refuse(ledger.Malformed)
		l.tell(HeardMalformed, nil, nil, len(dg))
		return
	}
	l.tell(HeardPacket, nil, &pkt, 0)
	if p.muted.Load() {
		l.refuse(ledger.Muted)
		return
	}
	if !l.reader.all.take(m.cfg.LinkPPS, now) {
		l.refuse(ledger.LinkRate)
		l.tell(HeardRate, nil, &pkt, 0)
		return
	}
	in := l.incoming(binary.BigEndian.Uint64(dg), now)
	if in == nil {
		l.refuse(ledger.UnknownRoom)
		l.tell(HeardUnknown, nil, &pkt, 0)
		return
	}
	if !in.rate.take(m.cfg.RoomPPS, now) {
		l.refuse(ledger.LinkRate)
		l.tell(HeardRate, in.room, &pkt, 0)
		return
	}
	body := dg[wire.RoomHashSize:]
	switch in.room.seen.note(maphash.Bytes(m.seed, body), false, now) {
	case seen:
		l.again(ledger.Duplicate, in.room, &pkt)
		m.follow(now, trace, "from "+p.name()+": a duplicate")
		return
	case ours:
		l.again(ledger.Loop, in.room, &pkt)
		m.follow(now, trace, "from "+p.name()+": our own, come back")
		return
	case fresh:
	}
	l.spread(in.room, body, &pkt, trace, now)
}

// again refuses a packet that was here before.
func (l *Link) again(why ledger.Reason, r *room, pkt *wire.Packet) {
	l.peer.deduped.Add(1)
	l.refuse(why)
	l.tell(HeardDuplicate, r, pkt, 0)
}

// spread gives a packet that is new to our members and to the other relays.
func (l *Link) spread(r *room, body []byte, pkt *wire.Packet, trace uint32, now int64) {
	m, f := l.mesh, r.fan.Load()
	if f.only != nil && !f.only[l.peer] {
		l.refuse(ledger.UnknownRoom)
		l.tell(HeardUnknown, nil, pkt, 0)
		return
	}
	if f.local != nil {
		if n, open := f.local.Deliver(body, len(pkt.Payload), now); open {
			m.handed.Add(1)
			l.tell(HeardDelivered, r, pkt, n)
		} else {
			l.refuse(ledger.RoomGone)
			l.tell(HeardClosed, r, pkt, 0)
		}
	}
	others := f.others(l.peer)
	if trace != 0 {
		said := "from " + l.peer.name() + " for room " + r.name
		if f.local != nil {
			said += ", delivered here"
		}
		if len(others) > 0 {
			said += ", on by " + linkNames(others)
		}
		m.traces.add(now, trace, said)
	}
	m.push(others, Packet{Room: r.tag, Body: body, Trace: trace}, now)
}

// incoming finds the room of a tag, nil for one of no room. What is known is
// the reader's own; mu is taken for what is not, a few times a second for each
// unknown tag at most.
func (l *Link) incoming(tag uint64, now int64) *incoming {
	rd := &l.reader
	if in := rd.rooms[tag]; in != nil && !in.room.gone.Load() {
		return in
	}
	if until := rd.unknown[tag]; until > now {
		l.peer.unknown.Store(tag)
		return nil
	}
	l.mesh.mu.Lock()
	r := l.mesh.byTag[tag]
	l.mesh.mu.Unlock()
	if r == nil {
		if len(rd.unknown) >= maxUnknown {
			clear(rd.unknown)
		}
		rd.unknown[tag] = now + unknownFor
		l.peer.unknown.Store(tag)
		return nil
	}
	delete(rd.unknown, tag)
	in := rd.rooms[tag]
	if in == nil {
		if len(rd.rooms) >= maxIncoming {
			clear(rd.rooms)
		}
		in = &incoming{}
		rd.rooms[tag] = in
	}
	in.room = r
	return in
}

// Wake receives when there is something to Take.
func (l *Link) Wake() <-chan struct{} { return l.wake }

// Take appends up to limit packets to buf, oldest first, and drops those that
// have waited too long. Until Done they count as queued.
func (l *Link) Take(buf []Packet, limit int, now int64) []Packet { return l.ring.Take(buf, limit, now) }

// Done reports what became of packets taken: handed to the transport, too large
// for the path, refused by the transport otherwise.
func (l *Link) Done(sent, tooLarge, failed int) { l.ring.Done(sent, tooLarge, failed) }

// Pack appends the next datagram to dst: of the first packets of batch as many
// as fit into limit bytes, if the peer reads trunk frames, else the first one.
// It returns the datagram and how many packets are in it, at least one.
func (l *Link) Pack(dst []byte, batch []Packet, limit int) ([]byte, int) {
	box := l.box.Load()
	first := batch[0]
	if box && first.Trace != 0 {
		dst = binary.BigEndian.AppendUint64(dst, wire.TagTrace)
		dst = binary.BigEndian.AppendUint32(dst, first.Trace)
		return first.append(dst), 1
	}
	size, n := wire.RoomHashSize+2, 0
	for box && !l.mesh.cfg.NoTrunk && n < len(batch) && batch[n].Trace == 0 {
		size += 4 + batch[n].size()
		if size > limit {
			break
		}
		n++
	}
	if n < 2 {
		return first.append(dst), 1
	}
	dst = binary.BigEndian.AppendUint64(dst, wire.TagTrunk)
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	for _, p := range batch[:n] {
		dst = binary.BigEndian.AppendUint16(dst, 0) // the sender's session: there is none between relays
		dst = binary.BigEndian.AppendUint16(dst, uint16(p.size()))
		dst = p.append(dst)
	}
	return dst, n
}

func (p Packet) append(dst []byte) []byte {
	return append(binary.BigEndian.AppendUint64(dst, p.Room), p.Body...)
}

func linkNames(links []*Link) string {
	names := make([]string, len(links))
	for i, l := range links {
		names[i] = l.peer.name()
	}
	return strings.Join(names, ", ")
}
