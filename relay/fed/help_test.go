package fed

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"signalbox/engine/view"
	"signalbox/relay"
	"signalbox/relay/wire"
)

// world is relays on an in-memory network that is pumped by hand: nothing
// happens between two steps, and the clock is the test's.
type world struct {
	t     *testing.T
	rnd   *rand.Rand
	now   int64
	nodes []*node
	wires []*cable
	delay func(from, to *node) int64 // of datagrams; nil: none
	lists int                        // announcements that went over a cable
	dgs   int                        // datagrams that did
	late  []flying
}

type flying struct {
	at int64
	to *end
	dg []byte
}

type node struct {
	w       *world
	i       int
	fp      string
	vanilla bool // knows nothing of what signalboxes add
	mesh    *Mesh
	relay   *relay.Relay
	members []*member
	events  []view.Event
	calls   []wire.Signal
	callee  string // the relay whose answer the calls accept; "": any
}

type member struct {
	n    *node
	p    *relay.Participant
	name string
	seq  uint16
	got  map[string]int
}

// cable is one connection: two ends.
type cable struct {
	a, b *end
	dead bool
	cut  bool // what goes in does not come out, and nobody is told
}

// end is a connection as one side has it; it is that side's Transport.
type end struct {
	c      *cable
	n      *node
	l      *Link
	closed string
	hello  bool // the first signal has gone
}

func (e *end) RemoteAddr() string { return fmt.Sprintf("10.0.0.%d:4433", e.other().n.i) }
func (e *end) RTT() time.Duration { return time.Millisecond }
func (e *end) MaxDatagram() int   { return 1200 }
func (e *end) Close(why string)   { e.closed, e.c.dead = why, true }
func (e *end) other() *end {
	if e.c.a == e {
		return e.c.b
	}
	return e.c.a
}

func newWorld(t *testing.T, n int, rooms ...string) *world {
	t.Helper()
	w := &world{t: t, rnd: rand.New(rand.NewPCG(uint64(n), 7)), now: 1}
	for i := range n {
		sum := sha256.Sum256(fmt.Append(nil, "relay ", i))
		w.nodes = append(w.nodes, &node{w: w, i: i, fp: hex.EncodeToString(sum[:])})
	}
	for _, nd := range w.nodes {
		nd.start(rooms)
	}
	return w
}

func (n *node) start(rooms []string) {
	cfg := Config{Self: n.fp, Rooms: rooms, Event: func(e view.Event) { n.events = append(n.events, e) }, QueueCapacity: 4096}
	cfg.Call = func(from string, s wire.Signal, _ int64) bool {
		n.calls = append(n.calls, s)
		return n.callee == "" || n.callee == from
	}
	for _, o := range n.w.nodes {
		cfg.Peers = append(cfg.Peers, Peer{Fingerprint: o.fp, Label: fmt.Sprint("R", o.i), URL: fmt.Sprintf("10.0.0.%d:4433", o.i)})
	}
	n.mesh = New(cfg, 1)
	n.relay = relay.New(relay.Config{Now: func() int64 { return n.w.now }, Global: n.mesh.Global, QueueCapacity: 4096})
}

// link connects a to b, as a dialling.
func (w *world) link(a, b int) *cable {
	c := &cable{}
	c.a, c.b = &end{c: c, n: w.nodes[a]}, &end{c: c, n: w.nodes[b]}
	l, why := c.a.n.mesh.Up(Up{Fingerprint: c.b.n.fp, Verified: true, Outbound: true, Transport: c.a}, w.now)
	if l == nil {
		w.t.Fatal(why)
	}
	c.a.l = l
	w.wires = append(w.wires, c)
	return c
}

func (w *world) full() {
	for i := range w.nodes {
		for k := range i {
			w.link(i, k)
		}
	}
	w.settle()
}

func (w *world) chain() {
	for i := 1; i < len(w.nodes); i++ {
		w.link(i-1, i)
	}
	w.settle()
}

// wireForm is a signal as it arrives; one side of another make loses what it
// does not know, and says nothing of it.
func (e *end) wireForm(s wire.Signal) wire.Signal {
	if e.n.vanilla || e.other().n.vanilla {
		switch s := s.(type) {
		case *wire.FederationHello:
			s.Signalbox = nil
		case *wire.GlobalRoomActive:
			s.Via = nil
		case *wire.GlobalRoomInactive:
			s.Via = nil
		}
	}
	b, err := wire.Marshal(s)
	if err != nil {
		e.n.w.t.Fatal(err)
	}
	out, err := wire.Unmarshal(b)
	if err != nil {
		e.n.w.t.Fatalf("%v: %s", err, b)
	}
	return out
}

// say moves one signal, if there is one.
func (e *end) say() bool {
	if e.l == nil {
		return false
	}
	s, ok := e.l.Next()
	if !ok {
		return false
	}
	w, o := e.n.w, e.other()
	switch s.(type) {
	case *wire.GlobalRoomActive, *wire.GlobalRoomInactive:
		w.lists++
	}
	if e.c.cut {
		return true
	}
	s = e.wireForm(s)
	if o.l == nil && !e.hello {
		h, _ := s.(*wire.FederationHello)
		if o.l, _ = o.n.mesh.Up(Up{Fingerprint: e.n.fp, Verified: true, Hello: h, Transport: o}, w.now); o.l == nil {
			e.c.dead = true
		}
		e.hello = true
		return true
	}
	if o.l != nil {
		o.l.Handle(s, w.now)
	}
	return true
}

// send moves what waits for the other side.
func (e *end) send() bool {
	if e.l == nil {
		return false
	}
	batch := e.l.Take(nil, 24, w0(e).now)
	for left := batch; len(left) > 0; {
		dg, n := e.l.Pack(nil, left, e.MaxDatagram())
		left = left[n:]
		e.l.Done(n, 0, 0)
		w0(e).dgs++
		if e.c.cut {
			continue
		}
		if d := w0(e).delay; d != nil && d(e.n, e.other().n) > 0 {
			w0(e).late = append(w0(e).late, flying{w0(e).now + d(e.n, e.other().n), e.other(), dg})
			continue
		}
		e.other().receive(dg)
	}
	return len(batch) > 0
}

func w0(e *end) *world { return e.n.w }

func (e *end) receive(dg []byte) {
	if e.l != nil && !e.c.dead {
		e.l.Receive(slices.Clone(dg), e.n.w.now)
	}
}

// pump does one round in a random order and says whether anything moved.
func (w *world) pump() bool {
	moved := false
	ends := []*end{}
	for _, c := range w.wires {
		ends = append(ends, c.a, c.b)
	}
	w.rnd.Shuffle(len(ends), func(i, j int) { ends[i], ends[j] = ends[j], ends[i] })
	for _, e := range ends {
		if e.c.dead {
			continue
		}
		moved = e.say() || moved
		moved = e.send() || moved
	}
	moved = w.reap() || moved
	w.late = slices.DeleteFunc(w.late, func(f flying) bool {
		if f.at > w.now {
			return false
		}
		f.to.receive(f.dg)
		moved = true
		return true
	})
	for _, n := range w.nodes {
		n.read()
		n.check("pump")
	}
	return moved
}

// reap ends the connections that somebody has closed.
func (w *world) reap() bool {
	before := len(w.wires)
	w.wires = slices.DeleteFunc(w.wires, func(c *cable) bool {
		if !c.dead {
			return false
		}
		for _, e := range []*end{c.a, c.b} {
			if e.l != nil {
				e.l.Down("closed: "+e.closed+e.other().closed, w.now)
			}
		}
		return true
	})
	return len(w.wires) < before
}

// settle pumps until nothing moves, and fails if that never comes.
func (w *world) settle() {
	w.t.Helper()
	for range 5000 {
		if !w.pump() && len(w.late) == 0 {
			return
		}
		w.now += int64(time.Millisecond)
	}
	w.t.Fatal("the mesh does not fall silent")
}

// pass lets time go by, with the meshes' ticks.
func (w *world) pass(d time.Duration) {
	for end := w.now + int64(d); w.now < end; w.now += int64(250 * time.Millisecond) {
		for _, n := range w.nodes {
			n.mesh.Tick(w.now)
		}
		for w.pump() {
		}
	}
}

func (n *node) check(what string) {
	n.w.t.Helper()
	c := n.mesh.Counts()
	if c.Unexplained() != 0 {
		n.w.t.Fatalf("%s: relay %d: %d unexplained: %+v", what, n.i, c.Unexplained(), c)
	}
}

func (n *node) join(room, name string) *member {
	n.w.t.Helper()
	return n.joinAs(room, name, "fp-"+name)
}

func (n *node) joinAs(room, name, fingerprint string) *member {
	n.w.t.Helper()
	if c, ok := n.mesh.Canonical(room); ok {
		room = c
	}
	p, err := n.relay.Join(relay.JoinRequest{
		Room: room, Fingerprint: fingerprint, Alias: name, Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(n.i), 1}), 1), Transport: "quic", Now: time.Unix(0, n.w.now),
	})
	if err != nil {
		n.w.t.Fatal(err)
	}
	m := &member{n: n, p: p, name: name, got: map[string]int{}}
	n.members = append(n.members, m)
	return m
}

func (m *member) leave() {
	m.p.Leave(m.n.w.now)
	m.n.members = slices.DeleteFunc(m.n.members, func(o *member) bool { return o == m })
}

// talk sends one packet, which no other is equal to, and returns its text.
func (m *member) talk() string {
	text := fmt.Sprintf("%s %d", m.name, m.seq)
	pkt := wire.AppendPacket(nil, wire.Packet{Header: wire.Header{Codec: wire.Opus24k, Seq: m.seq, Timestamp: uint32(m.seq) * 20}, Payload: []byte(text)})
	m.seq++
	m.n.relay.Forward(0, m.p, pkt, m.n.w.now)
	m.n.relay.FlushShard(0)
	return text
}

// read takes what has come for every member.
func (n *node) read() {
	for _, m := range n.members {
		for {
			pkts := m.p.Take(nil, 64, n.w.now)
			if len(pkts) == 0 {
				break
			}
			m.p.Done(len(pkts), 0, 0)
			for _, p := range pkts {
				m.got[string(p[wire.HeaderSize:])]++
			}
		}
	}
}

// listed is the member's newest list: who, and from where.
func (m *member) listed() []string {
	for _, r := range m.n.relay.Rooms(time.Now()) {
		if r.Name != m.p.RoomName() {
			continue
		}
		var out []string
		for _, v := range r.Participants {
			out = append(out, v.Alias+"@"+v.RelayLabel)
		}
		slices.Sort(out)
		return out
	}
	return nil
}

func tagged(room string, pkt []byte) []byte {
	h := wire.RoomHash(room)
	return wire.AppendFederated(nil, h, pkt)
}

func packetOf(seq uint16, text string) []byte {
	return wire.AppendPacket(nil, wire.Packet{Header: wire.Header{Codec: wire.Opus24k, Seq: seq}, Payload: []byte(text)})
}
