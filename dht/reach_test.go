package dht

import (
	"bytes"
	"context"
	"errors"
	"math"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// at is a link of peer i in its own /24, of generation gen.
func at(i int, gen uint64, addr string) *fakeLink {
	l := link(i, gen)
	l.addr = netip.MustParseAddrPort(addr)
	return l
}

// sees has the peer of l tell where it sees us.
func sees(t *testing.T, n *Node, l *fakeLink, seen string) {
	t.Helper()
	n.Connected(l)
	s := n.reg.find(l.peer, l.gen)
	if s == nil {
		t.Fatal("not registered")
	}
	n.observed(s, netip.MustParseAddrPort(seen), n.now())
}

func TestObservedByQuorum(t *testing.T) {
	const mine, lie = "9.9.9.9:1000", "6.6.6.6:6"
	for name, tt := range map[string]struct {
		reports   [][2]string // observer, what it says
		addr      string
		symmetric bool
	}{
		"one voice":                     {[][2]string{{"1.1.1.1:1", mine}}, "", false},
		"two of one network":            {[][2]string{{"1.1.1.1:1", mine}, {"1.1.1.2:1", mine}}, "", false},
		"two of one IPv6 network":       {[][2]string{{"[2001:db8:1:1::1]:1", mine}, {"[2001:db8:1:2::1]:1", mine}}, "", false},
		"two networks":                  {[][2]string{{"1.1.1.1:1", mine}, {"1.1.2.1:1", mine}}, mine, false},
		"mapped is the same":            {[][2]string{{"1.1.1.1:1", "[::ffff:9.9.9.9]:1000"}, {"1.1.2.1:1", mine}}, mine, false},
		"a liar among three":            {[][2]string{{"1.1.1.1:1", mine}, {"1.1.2.1:1", lie}, {"1.1.3.1:1", mine}}, mine, false},
		"as many liars":                 {[][2]string{{"1.1.1.1:1", mine}, {"1.1.2.1:1", lie}, {"1.1.3.1:1", mine}, {"1.1.4.1:1", lie}}, "", false},
		"many liars of one network":     {[][2]string{{"1.1.1.1:1", mine}, {"1.1.2.1:1", mine}, {"6.1.1.1:1", lie}, {"6.1.1.2:1", lie}, {"6.1.1.3:1", lie}}, mine, false},
		"another port for everybody":    {[][2]string{{"1.1.1.1:1", mine}, {"1.1.2.1:1", "9.9.9.9:1001"}, {"1.1.3.1:1", "9.9.9.9:1002"}}, "", true},
		"one port differs":              {[][2]string{{"1.1.1.1:1", mine}, {"1.1.2.1:1", "9.9.9.9:1001"}, {"1.1.3.1:1", mine}}, mine, false},
		"local addresses do not count":  {[][2]string{{"1.1.1.1:1", "10.0.0.1:1"}, {"1.1.2.1:1", "10.0.0.1:1"}}, "", false},
		"loopback does not count":       {[][2]string{{"1.1.1.1:1", "127.0.0.1:1"}, {"1.1.2.1:1", "127.0.0.1:1"}}, "", false},
		"nor does the unspecified":      {[][2]string{{"1.1.1.1:1", "0.0.0.0:1"}, {"1.1.2.1:1", "0.0.0.0:1"}}, "", false},
		"who changes its mind has said": {[][2]string{{"1.1.1.1:1", lie}, {"1.1.2.1:1", mine}, {"1.1.1.1:1", mine}}, mine, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := quiet(t)
			for i, r := range tt.reports {
				sees(t, n, at(i+1, uint64(i+1), r[0]), r[1])
			}
			v := n.reach.poll(0, n.cfg.Quorum, n.now())
			want := netip.AddrPort{}
			if tt.addr != "" {
				want = netip.MustParseAddrPort(tt.addr)
			}
			if v.addr != want || v.symmetric != tt.symmetric {
				t.Errorf("%+v, want %v, symmetric %v", v, want, tt.symmetric)
			}
		})
	}
}

func TestReportsAgeAndAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := quiet(t)
		sees(t, n, at(1, 1, "1.1.1.1:1"), "9.9.9.9:1")
		sees(t, n, at(2, 2, "1.1.2.1:1"), "9.9.9.9:1")
		time.Sleep(observedFor + time.Second)
		if v := n.reach.poll(0, 2, n.now()); v.voices != 0 || len(n.reach.seen) != 0 {
			t.Errorf("%+v of old reports", v)
		}
		// Those we have chosen to dial are not pushed out by a crowd.
		for i := range 2 {
			l := at(500+i, uint64(500+i), netip.AddrPortFrom(netip.AddrFrom4([4]byte{5, 5, byte(i), 1}), 1).String())
			n.adopt(l, true)
			sees(t, n, l, "9.9.9.9:1")
		}
		for i := range 200 {
			sees(t, n, at(i+3, uint64(i+3), netip.AddrPortFrom(netip.AddrFrom4([4]byte{6, 6, byte(i), 1}), 1).String()), "6.6.6.6:6")
		}
		if len(n.reach.seen) > maxObservers {
			t.Error(len(n.reach.seen), "reports are kept")
		}
		if v := n.reach.poll(0, 2, n.now()); v.addr != netip.MustParseAddrPort("9.9.9.9:1") {
			t.Errorf("a crowd that came by itself has outvoted those we chose: %+v", v)
		}
	})
}

func TestOnlyTheUnaskedProve(t *testing.T) {
	n := quiet(t)
	dialled := netip.MustParseAddrPort("1.1.1.1:1")
	n.reach.sent.mark(dialled, n.now())
	n.Connected(at(1, 1, "1.1.1.1:777")) // another port of the same host: a NAT may let it in
	n.Connected(at(2, 2, "192.168.1.7:1"))
	n.adopt(at(3, 3, "1.1.3.1:1"), true)
	if n.reach.proof[0] != longAgo {
		t.Error("proved by somebody we have sent to, a neighbour, or our own dial")
	}
	n.Connected(at(4, 4, "1.1.4.1:1"))
	if n.reach.proof[0] == longAgo || n.reach.proof[1] != longAgo {
		t.Error("a stranger has come, over IPv4")
	}
}

// A proof lapses when strangers were sent and none got through, not because
// there is nobody left to send; nor does it count for another address.
func TestAProofLapsesWhenStrangersFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := quiet(t)
		verdict := func() string {
			for i := range 2 {
				sees(t, n, at(i+1, uint64(i+1), netip.AddrPortFrom(netip.AddrFrom4([4]byte{1, 1, byte(i), 1}), 1).String()), "9.9.9.9:1")
			}
			n.assess(n.now())
			return n.reach.now.verdict
		}
		n.reach.sent.mark(netip.MustParseAddrPort("1.1.0.1:1"), n.now())
		n.reach.sent.mark(netip.MustParseAddrPort("1.1.1.1:1"), n.now())
		if v := verdict(); v != verdictNAT {
			t.Error("without a proof:", v)
		}
		n.reach.proved(netip.MustParseAddrPort("1.1.4.1:1"), n.now(), false)
		for range 5 {
			if v := verdict(); v != verdictPublic {
				t.Error("with a proof that nobody could renew:", v)
			}
			time.Sleep(provedFor)
		}
		s := n.reg.straight(testID(1))
		asks := 0
		for end := n.now() + int64(time.Hour); n.now() < end; time.Sleep(reachEvery) {
			verdict()
			if n.reach.mayAskDialBack(0, n.cfg.ID, n.now()) && n.reach.pickDialBack(0, 2, []*session{s}, n.now()) != nil {
				asks++
			}
		}
		if asks < 5 || asks > 20 { // ever more rarely, although nobody can be sent
			t.Error(asks, "dial-backs asked for in an hour")
		}
		for range dialBackEnough {
			n.reach.dialBackAsked(0)
		}
		if v := verdict(); v != verdictNAT {
			t.Error("after strangers were sent and none came:", v)
		}
		n.reach.proved(netip.MustParseAddrPort("1.1.4.1:1"), n.now(), false)
		if v := verdict(); v != verdictPublic {
			t.Error(v)
		}
		for i := range 2 {
			n.observed(n.reg.straight(testID(i+1)), netip.MustParseAddrPort("8.8.8.8:1"), n.now())
		}
		if n.assess(n.now()); n.reach.now.verdict != verdictNAT {
			t.Error("the proof of another address:", n.reach.now.verdict)
		}
	})
}

// Nodes that were proved in one second do not ask for a proof in one second.
func TestProofsAreRenewedAtDifferentTimes(t *testing.T) {
	seen := map[time.Duration]int{}
	for i := range 200 {
		due := time.Duration(spread(1, 0, testID(i), int64(proveAgain)))
		if due > provedFor-5*time.Minute {
			t.Errorf("%v: too late for three strangers", due)
		}
		seen[due.Truncate(time.Minute)]++
	}
	for at, k := range seen {
		if k > 30 {
			t.Errorf("%d of 200 in the minute after %v", k, at)
		}
	}
}

func TestSentBookIsBounded(t *testing.T) {
	var b sentBook
	b.init(false)
	for i := range maxSent + 100 {
		b.mark(netip.AddrPortFrom(netip.AddrFrom4([4]byte{9, byte(i >> 16), byte(i >> 8), byte(i)}), 1), 0)
	}
	fresh := netip.MustParseAddrPort("8.8.8.8:1")
	if len(b.at) > maxSent || b.never(fresh, 1) {
		t.Error("a book that is not complete is believed")
	}
	if !b.never(fresh, int64(sentFor)) {
		t.Error("never again believed")
	}
}

// publishOver sends an ADDRESS of the peer of l and returns the answer.
func publishOver(t *testing.T, n *Node, l *fakeLink, counter uint64, addrs ...table.Addr) wire.Message {
	t.Helper()
	n.Handle(0, l, wire.AppendAddress(nil, 77, counter, addrs), n.now())
	m, _ := l.last(t)
	if m.Type != wire.AddressAck || m.Request != 77 {
		t.Fatalf("%+v", m)
	}
	return m
}

func unverified(s string) table.Addr {
	return table.Addr{AddrPort: netip.MustParseAddrPort(s), Type: table.Unverified}
}

// Target J of spec dht 12.1, and 30: nobody but V speaks for V, no counter
// locks V out, and what was said first does not win over what was said last.
func TestAddressOrderAndForgery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := quiet(t)
		v := func(gen uint64) *fakeLink { return at(1, gen, "1.1.1.1:1") }
		first := v(1)
		n.Connected(first)
		list := func() []table.Addr { return n.Table().Get(first.peer).Addrs() }
		if m := publishOver(t, n, first, math.MaxUint64-1, unverified("1.1.1.1:7")); m.Result != wire.ResultOK || m.Seen != first.addr {
			t.Fatalf("%+v", m)
		}
		if l := list(); len(l) != 1 || l[0] != unverified("1.1.1.1:7") {
			t.Fatalf("%v", l)
		}
		time.Sleep(time.Minute)
		if m := publishOver(t, n, first, math.MaxUint64-1, unverified("1.1.1.1:8")); m.Result != wire.ResultOld {
			t.Error("a counter is taken twice:", m.Result)
		}
		// The port a message comes from does not undo what was published.
		n.Handle(0, first, wire.AppendPing(nil, 1), n.now())
		if l := list(); len(l) != 1 || l[0] != unverified("1.1.1.1:7") {
			t.Errorf("%v", l)
		}
		// After a restart the counter begins again, over a newer link.
		second := v(2)
		n.Connected(second)
		if m := publishOver(t, n, second, 1, unverified("1.1.1.1:9")); m.Result != wire.ResultOK {
			t.Error("the largest of counters has locked the peer out:", m.Result)
		}
		time.Sleep(time.Minute)
		if m := publishOver(t, n, first, math.MaxUint64, unverified("1.1.1.1:7")); m.Result != wire.ResultOld {
			t.Error("an older link speaks after a newer one:", m.Result)
		}
		// The same bytes over the connection of somebody else speak of that one.
		thief := at(66, 3, "6.6.6.6:6")
		n.Connected(thief)
		replay := wire.AppendAddress(nil, 77, 2, []table.Addr{unverified("1.1.1.1:66")})
		n.Handle(0, thief, replay, n.now())
		if m, _ := thief.last(t); m.Result != wire.ResultForeign {
			t.Error("taken from somebody who is elsewhere:", m.Result)
		}
		if l := list(); len(l) != 1 || l[0] != unverified("1.1.1.1:9") {
			t.Errorf("V has been moved: %v", l)
		}
		if l := n.Table().Get(thief.peer).Addrs(); len(l) != 1 || l[0].AddrPort != thief.addr {
			t.Errorf("the thief has moved: %v", l)
		}
		if s := n.reg.best(first.peer); s.link != Link(second) {
			t.Error("V is bound to another connection")
		}
		// The newer link has gone: the older one counts again.
		n.Disconnected(second)
		third := v(4)
		n.Connected(third)
		if m := publishOver(t, n, third, 1, unverified("1.1.1.1:10")); m.Result != wire.ResultOK {
			t.Error(m.Result)
		}
		// A link that is not registered says nothing.
		if m := publishOver(t, n, v(9), 1, unverified("1.1.1.1:11")); m.Result != wire.ResultRefused {
			t.Error(m.Result)
		}
	})
}

func TestAddressIsRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := quiet(t)
		l := at(1, 1, "1.1.1.1:1")
		n.Connected(l)
		taken := 0
		for i := range uint64(50) {
			switch m := publishOver(t, n, l, i+1, unverified("1.1.1.1:7")); m.Result {
			case wire.ResultOK:
				taken++
			case wire.ResultBusy:
			default:
				t.Error(m.Result)
			}
		}
		if taken == 0 || taken > 10 {
			t.Error(taken, "taken at once")
		}
	})
}

// refused are addresses in every form that must not be dialled for others.
var refused = []string{
	"127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "[::ffff:10.0.0.1]:1", "10.0.0.1:1", "192.168.0.1:1", "172.16.0.1:1", "169.254.0.1:1",
	"100.64.0.1:1", "[fe80::1]:1", "[fc00::1]:1", "[fec0::1]:1", "[::127.0.0.1]:1", "[64:ff9b::7f00:1]:1", "[64:ff9b::a00:1]:1",
	"[64:ff9b:1::a00:1]:1", "[2002:7f00:1::1]:1", "[2002:a00:1::]:1", "[2002:c0a8:101::1]:1", "[::ffff:0:127.0.0.1]:1",
	"[2001:0:1:2:3:4:80ff:fffe]:1", "[2001:db8::5efe:7f00:1]:1", "[2001:db8::200:5efe:a00:1]:1", "0.0.0.0:1", "0.1.2.3:1", "[::]:1", "224.0.0.1:1", "[ff02::1]:1",
	"255.255.255.255:1", "240.0.0.1:1", "[64:ff9b::e000:1]:1", "1.2.3.4:0",
}

// countingDialer refuses and counts.
type countingDialer struct{ dials, pokes atomic.Int32 }

func (d *countingDialer) Dial(context.Context, table.ID, netip.AddrPort) (Link, error) {
	d.dials.Add(1)
	return nil, errors.New("no network")
}

func (d *countingDialer) Poke(netip.AddrPort) error {
	d.pokes.Add(1)
	return nil
}

// running makes a node with d that runs for the test, without peers.
func running(t *testing.T, d Dialer) *Node {
	t.Helper()
	n := quiet(t, func(c *Config) { c.Dialer = d })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	return n
}

// reliability.md T33b: no packet into a refused range, in whatever encoding and
// by whatever message.
func TestNothingGoesToRefusedRanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &countingDialer{}
		n := running(t, d)
		n.reach.proved(netip.MustParseAddrPort("8.8.8.8:8"), n.now(), false)
		l := at(1, 1, "1.1.1.1:1")
		n.Connected(l)
		time.Sleep(10 * time.Second)
		before := d.dials.Load()
		other := testID(2)
		for _, purpose := range []wire.Purpose{wire.ForPunch, wire.ForDialBack} {
			for i, s := range refused {
				n.Handle(0, l, wire.AppendCall(nil, uint64(1000+i), purpose, &other, 0, netip.MustParseAddrPort(s)), n.now())
				m, _ := l.last(t)
				if m.Type != wire.Answer || m.Result != wire.ResultBadAddress {
					t.Errorf("%s: %s %s", s, m.Type, m.Result)
				}
				time.Sleep(2 * time.Second)
			}
		}
		for _, s := range refused {
			if out := n.hearsay([]table.Addr{unverified(s)}, false); len(out) != 0 {
				t.Errorf("%s is worth dialling", s)
			}
		}
		if got := d.dials.Load() - before; got != 0 || d.pokes.Load() != 0 {
			t.Errorf("%d dials, %d pokes", got, d.pokes.Load())
		}
		// A good one is dialled, so the above can fail.
		n.Handle(0, l, wire.AppendCall(nil, 1, wire.ForPunch, &other, 0, netip.MustParseAddrPort("8.8.4.4:1")), n.now())
		time.Sleep(time.Second)
		if d.dials.Load() == before || d.pokes.Load() != pokes {
			t.Errorf("%d dials, %d pokes", d.dials.Load()-before, d.pokes.Load())
		}
	})
}

// A storm of INTRODUCE reaches nobody; every one is answered or counted.
func TestIntroductionStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := running(t, &countingDialer{})
		a, c, d := at(1, 1, "1.1.1.1:1"), at(2, 2, "1.1.2.1:1"), at(3, 3, "1.1.3.1:1")
		for _, l := range []*fakeLink{a, c, d} {
			n.Connected(l)
		}
		time.Sleep(5 * time.Second)
		calls := func(l *fakeLink) (k int) {
			l.mu.Lock()
			defer l.mu.Unlock()
			for _, b := range l.sent {
				if typ, _, _ := wire.Header(b); typ == wire.Call {
					k++
				}
			}
			return k
		}
		answers := func(l *fakeLink) (k int) {
			l.mu.Lock()
			defer l.mu.Unlock()
			for _, b := range l.sent {
				if typ, req, _ := wire.Header(b); req >= 1e6 && (typ == wire.Answer || typ == wire.Error) {
					k++
				}
			}
			return k
		}
		const storm = 1000
		for i := range uint64(storm) {
			n.Handle(0, a, wire.AppendIntroduce(nil, 1e6+i, wire.ForPunch, &c.peer), n.now())
		}
		time.Sleep(10 * time.Second)
		if k := calls(c); k == 0 || k > 8 {
			t.Errorf("%d calls of one requester", k)
		}
		if got := answers(a) + int(n.Stats().Quota); got < storm {
			t.Errorf("%d of %d answered or counted", got, storm)
		}
		// The target is spared by all requesters together.
		for i := range uint64(50) {
			n.Handle(0, d, wire.AppendIntroduce(nil, 2e6+i, wire.ForPunch, &c.peer), n.now())
		}
		time.Sleep(5 * time.Second)
		if k := calls(c); k > 16 {
			t.Errorf("%d calls", k)
		}
		n.tasks.mu.Lock()
		defer n.tasks.mu.Unlock()
		if n.tasks.brought != 0 {
			t.Error("something still runs")
		}
	})
}

func TestIntroductionsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := running(t, &countingDialer{})
		a, near, six := at(1, 1, "1.1.1.1:1"), at(2, 2, "192.168.1.1:1"), at(3, 3, "[2001:db8::1]:1")
		for _, l := range []*fakeLink{a, near, six} {
			n.Connected(l)
		}
		stranger, absent := at(9, 9, "1.1.9.9:1"), testID(50)
		for name, tt := range map[string]struct {
			from    *fakeLink
			purpose wire.Purpose
			to      table.ID
			want    wire.Result
		}{
			"nobody":                {a, wire.ForPunch, absent, wire.ResultNoLink},
			"itself":                {a, wire.ForPunch, a.peer, wire.ResultNoLink},
			"from a local network":  {a, wire.ForPunch, near.peer, wire.ResultBadAddress},
			"of another family":     {a, wire.ForPunch, six.peer, wire.ResultBadAddress},
			"no link of its own":    {stranger, wire.ForPunch, a.peer, wire.ResultRefused},
			"relay, not willing":    {a, wire.ForRelay, six.peer, wire.ResultRefused},
			"dial-back, no witness": {a, wire.ForDialBack, table.ID{}, wire.ResultNoLink},
		} {
			n.Handle(0, tt.from, wire.AppendIntroduce(nil, 5, tt.purpose, &tt.to), n.now())
			synctest.Wait()
			if m, _ := tt.from.last(t); m.Type != wire.Answer || m.Request != 5 || m.Result != tt.want {
				t.Errorf("%s: %s %s, want %s", name, m.Type, m.Result, tt.want)
			}
			time.Sleep(3 * time.Second)
		}
	})
}

// The relay's bounds: pairs, pairs of one peer, and what one direction queues.
func TestRelayingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := running(t, &countingDialer{})
		n.cfg.RelayPairs = 8
		var links []*fakeLink
		for i := range 12 {
			l := at(i+1, uint64(i+1), netip.AddrPortFrom(netip.AddrFrom4([4]byte{1, 1, byte(i), 1}), 1).String())
			n.Connected(l)
			links = append(links, l)
		}
		s := func(i int) *session { return n.reg.best(links[i].peer) }
		for i := 1; i <= 2; i++ {
			if p, res := n.relaying.open(s(0), s(i), 8, 0); p == nil {
				t.Fatal(res)
			}
		}
		if _, res := n.relaying.open(s(0), s(3), 8, 0); res != wire.ResultBusy {
			t.Error("one peer asks for more than a quarter:", res)
		}
		if _, res := n.relaying.open(s(1), s(0), 8, 0); res != wire.ResultLinked {
			t.Error("two pairs of the same two:", res)
		}
		for i := 3; i < 9; i++ {
			n.relaying.open(s(i), s(i+1), 8, 0)
		}
		if _, res := n.relaying.open(s(10), s(11), 8, 0); res != wire.ResultBusy || n.relaying.len() != 8 {
			t.Error(res, n.relaying.len())
		}
		// A frame of somebody else's pair goes nowhere.
		var id uint64
		for k, p := range n.relaying.m {
			if p.ends[0] == s(3) {
				id = k
			}
		}
		n.Handle(0, links[0], wire.AppendRelay(nil, id, 0, 0, []byte("x")), n.now())
		if n.counts.dropStray.Load() != 1 {
			t.Error("a stray frame is not counted")
		}
		// Whoever overruns the queue loses the pair; the count says so.
		frame := wire.AppendRelay(nil, id, 0, 0, make([]byte, 1200))
		sent := 0
		for ; n.relaying.get(id) != nil && sent < 1000; sent++ {
			n.Handle(0, links[3], frame, n.now())
		}
		if sent > pairQueue/1200+1 || n.counts.dropQueue.Load() != 1 {
			t.Errorf("%d frames queued, %d dropped", sent, n.counts.dropQueue.Load())
		}
		for _, l := range []*fakeLink{links[3], links[4]} {
			if m, _ := l.last(t); m.Type != wire.RelayEnd || m.Result != wire.ResultLost {
				t.Errorf("not told: %+v", m)
			}
		}
	})
}

// What passes through a pair keeps to its rate.
func TestRelayingKeepsToItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := running(t, &countingDialer{})
		n.cfg.RelayPairs, n.cfg.RelayRate = 4, 10_000
		a, c := at(1, 1, "1.1.1.1:1"), at(2, 2, "1.1.2.1:1")
		n.Connected(a)
		n.Connected(c)
		time.Sleep(5 * time.Second)
		p, res := n.relaying.open(n.reg.best(a.peer), n.reg.best(c.peer), 4, n.now())
		if p == nil {
			t.Fatal(res)
		}
		if err := n.start("relay", &n.tasks.pumps, 9, func(ctx context.Context) { n.runPair(ctx, p) }); err != nil {
			t.Fatal(err)
		}
		frame := wire.AppendRelay(nil, p.id, 0, 0, make([]byte, 1000))
		for range 50 {
			n.Handle(0, a, frame, n.now())
		}
		passed := func() (k int) {
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, b := range c.sent {
				if bytes.Equal(b, frame) {
					k++
				}
			}
			return k
		}
		synctest.Wait()
		if k := passed(); k == 0 || k > pairBurst/1000+1 {
			t.Errorf("%d at once", k)
		}
		time.Sleep(time.Second)
		if k := passed(); k > (pairBurst+10_000)/1000+1 || k < 10 {
			t.Errorf("%d after a second", k)
		}
		time.Sleep(10 * time.Second)
		if k := passed(); k != 50 {
			t.Errorf("%d in the end", k)
		}
		n.closePair(p, wire.ResultIdle, nil)
	})
}

// A gap in the frames, too many of them, or an ack of what was never sent: the
// first two end the channel, the last is ignored.
func TestChannelChecksItsFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := running(t, &countingDialer{})
		l := at(1, 1, "1.1.1.1:1")
		n.Connected(l)
		s := n.reg.best(l.peer)
		open := func(id uint64) *channel {
			c, conn, err := n.newChannel(s, id)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return c
		}
		gap := open(1)
		n.Handle(0, l, wire.AppendRelay(nil, 1, 0, 0, []byte("a")), n.now())
		n.Handle(0, l, wire.AppendRelay(nil, 1, 0, 1<<20, nil), n.now())
		if gap.acked.Load() != 0 || n.channels.get(gap.key) == nil {
			t.Error("an impossible ack counts")
		}
		n.Handle(0, l, wire.AppendRelay(nil, 1, 99, 0, []byte("a")), n.now())
		if n.channels.get(gap.key) != nil {
			t.Error("bytes are missing and the channel goes on")
		}
		flood := open(2) // nobody reads it
		sent, data := 0, make([]byte, 1000)
		for off := uint32(0); n.channels.get(flood.key) != nil && sent < 1000; sent++ {
			n.Handle(0, l, wire.AppendRelay(nil, 2, off, 0, data), n.now())
			off += cost(data)
		}
		if sent > relayWindow/1000+3 {
			t.Errorf("%d frames were taken", sent)
		}
		synctest.Wait()
		if n.channels.len() != 0 {
			t.Error("a channel is left")
		}
	})
}
