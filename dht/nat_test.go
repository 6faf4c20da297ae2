package dht

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
	"signalbox/engine/view"
)

const resendAfter = 100 * time.Millisecond

// natBox is a NAT that lets in only what answers something sent out to that
// very address and port.
type natBox struct {
	ip netip.Addr

	mu        sync.Mutex // guards the fields below
	symmetric bool       // another port for every destination
	ports     map[netip.AddrPort]uint16
	sent      map[natHole]bool
	next      uint16
}

type natHole struct {
	port uint16
	to   netip.AddrPort
}

func newNAT(i int, symmetric bool) *natBox {
	return &natBox{
		ip: netip.AddrFrom4([4]byte{30, 0, byte(i), 1}), symmetric: symmetric, next: 20000,
		ports: map[netip.AddrPort]uint16{}, sent: map[natHole]bool{},
	}
}

func (b *natBox) setSymmetric(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.symmetric = on // a restart: it has forgotten everything
	clear(b.ports)
	clear(b.sent)
}

// out is where a packet to addr comes from.
func (b *natBox) out(addr netip.AddrPort) netip.AddrPort {
	b.mu.Lock()
	defer b.mu.Unlock()
	port := uint16(4433)
	if b.symmetric {
		if port = b.ports[addr]; port == 0 {
			b.next++
			port = b.next
			b.ports[addr] = port
		}
	}
	b.sent[natHole{port, addr}] = true
	return netip.AddrPortFrom(b.ip, port)
}

func (b *natBox) lets(port uint16, from netip.AddrPort) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sent[natHole{port, from}]
}

// route sends one packet: who gets it, and where it seems to come from.
func (m *memNet) route(from *memNode, addr netip.AddrPort) (to *memNode, seen netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen = from.addr
	if from.nat != nil {
		seen = from.nat.out(addr)
	}
	for _, n := range m.nodes {
		if n.nat == nil && n.addr == addr || n.nat != nil && n.nat.ip == addr.Addr() && n.nat.lets(addr.Port(), seen) {
			return n, seen
		}
	}
	return nil, seen
}

// Poke implements Poker.
func (n *memNode) Poke(addr netip.AddrPort) error {
	n.net.route(n, addr)
	return nil
}

// natKey is the node's; ids are not made of keys here, so the verifier knows both.
func natKey(id table.ID) ed25519.PrivateKey {
	seed := sha256.Sum256(id[:])
	return ed25519.NewKeyFromSeed(seed[:])
}

// Secure implements Securer with real TLS.
func (n *memNode) Secure(ctx context.Context, conn net.Conn, id table.ID, via Link, client bool) (Link, error) {
	key := natKey(n.id)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(1000 * time.Hour)}
	der, err := x509.CreateCertificate(nil, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, ClientAuth: tls.RequireAnyClientCert,
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS13,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if !natKey(id).Public().(ed25519.PublicKey).Equal(cs.PeerCertificates[0].PublicKey) {
				return errors.New("another identity")
			}
			return nil
		},
	}
	tc := tls.Server(conn, conf)
	if client {
		tc = tls.Client(conn, conf)
	}
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	l := &tlsLink{owner: n, peer: id, via: via, conn: tc, out: make(chan []byte, 64), done: make(chan struct{}), gen: n.net.gens.Add(1)}
	n.Connected(l)
	go l.read()
	go l.write()
	return l, nil
}

// tlsLink is a relayed link.
type tlsLink struct {
	owner *memNode
	peer  table.ID
	via   Link
	conn  *tls.Conn
	gen   uint64
	out   chan []byte
	once  sync.Once
	done  chan struct{}
}

func (l *tlsLink) PeerID() table.ID           { return l.peer }
func (l *tlsLink) RemoteAddr() netip.AddrPort { return l.via.RemoteAddr() }
func (l *tlsLink) Generation() uint64         { return l.gen }
func (l *tlsLink) Via() table.ID              { return l.via.PeerID() }

func (l *tlsLink) Send(p []byte) error {
	select {
	case l.out <- binary.BigEndian.AppendUint32(nil, uint32(len(p))):
		l.out <- append([]byte(nil), p...)
		return nil
	case <-l.done:
		return errors.New("closed")
	}
}

func (l *tlsLink) Close(string) {
	l.once.Do(func() {
		close(l.done)
		l.conn.NetConn().Close()
		go l.owner.Disconnected(l)
	})
}

func (l *tlsLink) write() {
	defer l.Close("")
	for {
		select {
		case p := <-l.out:
			if _, err := l.conn.Write(p); err != nil {
				return
			}
		case <-l.done:
			return
		}
	}
}

func (l *tlsLink) read() {
	defer l.Close("")
	for {
		var head [4]byte
		if _, err := io.ReadFull(l.conn, head[:]); err != nil {
			return
		}
		p := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(l.conn, p); err != nil {
			return
		}
		l.owner.Handle(0, l, p, l.owner.net.now())
	}
}

// reach is the node's part of the snapshot.
func (n *memNode) reachView() view.Reachability {
	var v view.DHT
	n.Fill(&v, n.net.now())
	return v.Reachability
}

func relays(c *Config) { c.RelayPairs = 4 }

// natTown makes three public nodes and two behind NATs.
func natTown(t *testing.T, m *memNet, left, right *natBox, mod func(*Config)) (pub []*memNode, a, c *memNode) {
	t.Helper()
	pub = []*memNode{m.addWith(t, 0, nil, mod)}
	pub = append(pub, m.addWith(t, 1, nil, mod, pub[0]), m.addWith(t, 2, nil, mod, pub[0]))
	time.Sleep(5 * time.Second)
	a = m.addWith(t, 10, left, mod, pub...)
	time.Sleep(2 * time.Minute) // its first lookups are over: nobody dials at the same time by chance
	c = m.addWith(t, 11, right, mod, pub...)
	time.Sleep(time.Minute)
	return pub, a, c
}

// meetDirectly is how many direct links a has to c.
func linksTo(a, c *memNode) (direct, relayed int) {
	for _, s := range a.reg.of(c.id) {
		if s.direct() {
			direct++
		} else {
			relayed++
		}
	}
	return direct, relayed
}

func TestConeMeetsCone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		pub, a, c := natTown(t, m, newNAT(1, false), newNAT(2, false), relays)
		for _, x := range [][2]*memNode{{a, c}, {c, a}} {
			if direct, relayed := linksTo(x[0], x[1]); direct == 0 || relayed != 0 {
				t.Errorf("%d direct, %d relayed", direct, relayed)
			}
			if _, err := x[0].Ping(t.Context(), x[1].id); err != nil {
				t.Error(err)
			}
			v := x[0].reachView()
			if v.Verdict != verdictNAT || len(v.Addrs) != 1 || v.Addrs[0] != (view.Addr{Addr: x[0].nat.ip.String() + ":4433", Type: "nat"}) {
				t.Errorf("%+v", v)
			}
		}
		if va, vc := a.reachView(), c.reachView(); va.PunchedOK+vc.PunchedOK == 0 || va.PunchedFailed+vc.PunchedFailed != 0 {
			t.Errorf("%+v\n%+v", va, vc)
		}
		for _, p := range pub {
			if v := p.reachView(); v.Verdict != verdictPublic {
				t.Errorf("%+v", v)
			}
		}
		if a.saw("dht.reachability", verdictNAT) != 1 {
			t.Error("the verdict was not told once")
		}
	})
}

// Two dials at once leave two links for a while, and then one.
func TestSimultaneousPunchesEndWithOneLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		pub, a, c := natTown(t, m, newNAT(1, false), newNAT(2, false), nil)
		m.cut(a)
		time.Sleep(time.Minute)
		var wg sync.WaitGroup
		for _, x := range [][2]*memNode{{a, c}, {c, a}} {
			via, err := x[0].connect(t.Context(), pub[0].id, []table.Addr{{AddrPort: pub[0].addr, Type: table.Direct}}, true)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() { x[0].punch(t.Context(), via, x[1].id) })
		}
		wg.Wait()
		time.Sleep(3 * time.Minute)
		if d, r := linksTo(a, c); d != 1 || r != 0 {
			t.Errorf("%d direct, %d relayed", d, r)
		}
		if d, r := linksTo(c, a); d != 1 || r != 0 {
			t.Errorf("%d direct, %d relayed", d, r)
		}
		for _, n := range []*memNode{a, c} {
			n.dials.mu.Lock()
			if len(n.dials.expected)+len(n.dials.inflight) != 0 {
				t.Error("somebody still waits")
			}
			n.dials.mu.Unlock()
		}
	})
}

func TestSymmetricIsRelayedUntilItIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		left, right := newNAT(1, true), newNAT(2, true)
		pub, a, c := natTown(t, m, left, right, relays)
		for _, x := range [][2]*memNode{{a, c}, {c, a}} {
			if d, r := linksTo(x[0], x[1]); d != 0 || r == 0 {
				t.Fatalf("%d direct, %d relayed", d, r)
			}
			if _, err := x[0].Ping(t.Context(), x[1].id); err != nil {
				t.Error(err)
			}
			v := x[0].reachView()
			if v.Verdict != verdictSymmetric || v.Relayed == 0 || v.RelayedPeers[0].ID != x[1].id.String() || v.PunchedFailed == 0 {
				t.Errorf("%+v", v)
			}
			c := x[0].Table().Get(x[1].id)
			if c == nil || c.Addrs()[0].Type != table.Relay {
				t.Fatal("the relayed peer is no contact, or not marked")
			}
		}
		pairs := 0
		for _, p := range pub {
			v := p.reachView()
			if pairs += v.Relaying.Pairs; v.Relaying.Pairs > 0 && v.Relaying.Frames == 0 {
				t.Errorf("%+v", v.Relaying)
			}
			// What is relayed is nobody else's: it cannot be dialled there.
			for _, q := range pub {
				found, err := q.Lookup(t.Context(), c.id)
				if err != nil || len(found) == 0 {
					t.Error(err, len(found))
				}
			}
		}
		if pairs == 0 {
			t.Error("nobody relays")
		}
		left.setSymmetric(false)
		right.setSymmetric(false)
		for _, n := range []*memNode{a, c} {
			m.cut(n) // the new NATs know none of the links
		}
		time.Sleep(20 * time.Minute)
		for _, x := range [][2]*memNode{{a, c}, {c, a}} {
			if d, r := linksTo(x[0], x[1]); d != 1 || r != 0 {
				t.Errorf("%d direct, %d relayed", d, r)
			}
			if c := x[0].Table().Get(x[1].id); c == nil || c.Addrs()[0].Type == table.Relay {
				t.Error("still marked as relayed")
			}
		}
	})
}

// A relayed link gives way as soon as punching succeeds, without being cut.
func TestRelayedGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		_, a, c := natTown(t, m, newNAT(1, true), newNAT(2, true), relays)
		if _, r := linksTo(a, c); r == 0 {
			t.Fatal("not relayed")
		}
		dialled, err := a.Dial(t.Context(), testID(0), netip.AddrPortFrom(netip.AddrFrom4([4]byte{20, 0, 0, 1}), 4433))
		if err != nil || dialled == nil {
			t.Fatal(err)
		}
		// From here on everybody is let in, as with an operator's port forward.
		m.mu.Lock()
		a.nat, c.nat = nil, nil
		m.mu.Unlock()
		if _, err := a.connect(t.Context(), c.id, []table.Addr{{AddrPort: c.addr, Type: table.Direct}}, true); err != nil {
			t.Fatal(err)
		}
		if s := a.reg.best(c.id); s.direct() {
			t.Fatal("connect dials although there is a link") // it returns the relayed one
		}
		if _, err := a.dialOne(t.Context(), c.id, c.addr, dialTimeout, true); err != nil {
			t.Fatal(err)
		}
		if s := a.reg.best(c.id); !s.direct() {
			t.Error("the relayed link is preferred")
		}
		time.Sleep(time.Minute)
		for _, x := range [][2]*memNode{{a, c}, {c, a}} {
			if d, r := linksTo(x[0], x[1]); d != 1 || r != 0 {
				t.Errorf("%d direct, %d relayed", d, r)
			}
			if x[0].channels.len() != 0 {
				t.Error("the channel is still there")
			}
		}
	})
}

func TestNobodyRelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		pub, a, c := natTown(t, m, newNAT(1, true), newNAT(2, true), nil)
		if d, r := linksTo(a, c); d+r != 0 {
			t.Errorf("%d direct, %d relayed", d, r)
		}
		v := pub[0].reachView()
		if v.Relaying.Capacity != 0 || v.Relaying.Pairs != 0 || v.Relaying.Frames != 0 {
			t.Errorf("%+v", v.Relaying)
		}
	})
}

// Who has had no unasked visitor asks for one, whom a go-between finds among
// those who have had nothing to do with it.
func TestDialBackProvesPublic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		between := m.add(t, 0)
		w := m.add(t, 1, between)
		ids := [2]table.ID{testID(20), testID(21)}
		for _, id := range ids {
			if err := w.Block(id); err != nil { // it is not to find them by itself
				t.Fatal(err)
			}
		}
		n, behind := m.add(t, 20, between), m.addWith(t, 21, newNAT(1, false), nil, between)
		for _, x := range []*memNode{n, behind} {
			if err := x.Block(w.id); err != nil {
				t.Fatal(err)
			}
		}
		ask := func(x *memNode) wire.Result {
			s := x.reg.straight(between.id)
			if s == nil {
				t.Fatal("no link")
			}
			res, err := x.askReach(t.Context(), s, wire.Answer, func(buf []byte, req uint64) []byte {
				return wire.AppendIntroduce(buf, req, wire.ForDialBack, &table.ID{})
			})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			return res.Result
		}
		time.Sleep(3 * time.Minute) // the first looks around are over
		if res := ask(n); res == wire.ResultOK || n.reg.best(w.id) != nil {
			t.Error("a witness that is not public, or has us blocked, is sent:", res)
		}
		w.reach.proved(between.addr, m.now(), false)
		time.Sleep(20 * time.Second)
		for i, x := range []*memNode{n, behind} {
			if err := errors.Join(w.Unblock(ids[i]), x.Unblock(w.id)); err != nil {
				t.Fatal(err)
			}
			res := ask(x)
			if res != wire.ResultOK {
				t.Error("no witness was sent:", res)
			}
			x.reach.mu.Lock()
			proven := x.reach.proof[0] != longAgo
			x.reach.mu.Unlock()
			if proven != (x == n) {
				t.Errorf("node %d: proven %v", i, proven)
			}
			// A link of its own making, by a lookup meanwhile, is another matter.
			came := slices.ContainsFunc(x.reg.of(w.id), func(s *session) bool { return !s.dialed.Load() })
			if came != (x == n) {
				t.Errorf("node %d: dialled back %v", i, came)
			}
		}
	})
}

// The go-between sees ciphertext; what it changes ends the path and is never
// heard.
func TestRelayCannotReadNorForge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		var tamper atomic.Bool
		secret := testID(999)
		var frames, plain atomic.Int64
		m.tap = func(l *memLink, p []byte) {
			if typ, _, err := wire.Header(p); err != nil || typ != wire.Relay || len(p) <= wire.RelayHeaderLen {
				return
			}
			frames.Add(1)
			if bytes.Contains(p, secret[:]) {
				plain.Add(1)
			}
			if tamper.Load() && l.owner.nat == nil { // the one in the middle
				p[len(p)-1] ^= 1
			}
		}
		_, a, c := natTown(t, m, newNAT(1, true), newNAT(2, true), relays)
		if _, err := a.Ping(t.Context(), c.id); err != nil {
			t.Fatal(err)
		}
		s := a.reg.best(c.id)
		if _, _, err := a.request(t.Context(), s, wire.Nodes, func(buf []byte, req uint64) []byte {
			return wire.AppendFindNode(buf, req, &secret)
		}); err != nil || s.direct() {
			t.Error(err)
		}
		if frames.Load() == 0 || plain.Load() != 0 {
			t.Errorf("%d frames, %d in plain", frames.Load(), plain.Load())
		}
		before := c.Stats()
		tamper.Store(true)
		if _, err := a.Ping(t.Context(), c.id); err == nil {
			t.Error("an answer over a path that is tampered with")
		}
		time.Sleep(time.Second)
		if _, r := linksTo(c, a); r != 0 {
			t.Error("the link has outlived a forgery")
		}
		if after := c.Stats(); after.Malformed != before.Malformed {
			t.Error("a forged message was heard")
		}
	})
}

// The loss of the go-between ends the path at both ends, and nothing stays.
func TestGoBetweenIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		pub, a, c := natTown(t, m, newNAT(1, true), newNAT(2, true), func(cfg *Config) { cfg.RelayPairs = 4 })
		for _, p := range pub {
			m.setDown(p, true)
			m.cut(p)
		}
		time.Sleep(10 * time.Second)
		for _, n := range []*memNode{a, c} {
			if n.channels.len() != 0 {
				t.Error("a channel without a path")
			}
		}
		if d, r := linksTo(a, c); d+r != 0 {
			t.Error("a link without a path")
		}
		for _, p := range pub {
			if p.relaying.len() != 0 {
				t.Error("a pair without ends")
			}
		}
	})
}

// Idle paths free their places at both ends and in the middle.
func TestIdlePathsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		pub, a, c := natTown(t, m, newNAT(1, true), newNAT(2, true), relays)
		if a.channels.len() == 0 || c.channels.len() == 0 {
			t.Fatal("not relayed")
		}
		a.channels.idle(m.now() + int64(relayedIdle) + 1)
		time.Sleep(time.Second)
		if a.channels.len() != 0 || c.channels.len() != 0 {
			t.Error("the path is still there")
		}
		for _, p := range pub {
			if p.relaying.len() != 0 {
				t.Error("the pair is still there")
			}
		}
	})
}
