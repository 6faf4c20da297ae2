package table

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"signalbox/engine/view"
)

const second = int64(time.Second)

// b0 is an id of bucket 0 for the zero self, in the order of n.
func b0(n byte) ID { id := ID{0x80}; id[31] = n; return id }

func newTable(t testing.TB, cfg Config) *Table {
	t.Helper()
	tab, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func at(typ AddrType, addrs ...string) []Addr {
	var out []Addr
	for _, s := range addrs {
		out = append(out, Addr{ap(s), typ})
	}
	return out
}

// neutral offers id with Direct addresses and expects want.
func offer(t *testing.T, tab *Table, id ID, want Result, addrs ...string) Admission {
	t.Helper()
	adm := tab.Add(0, id, at(Direct, addrs...), Trust{})
	if adm.Result != want {
		t.Fatalf("Add(%s, %v) = %v, want %v", id.Short(), addrs, adm.Result, want)
	}
	return adm
}

func text(list []Addr) string {
	var s strings.Builder
	for _, a := range list {
		fmt.Fprintf(&s, "%c %s,", a.Type.String()[0], a.AddrPort)
	}
	return s.String()
}

type touchCase struct {
	name     string
	have     []Addr // nil: not a contact
	loopback bool
	self     bool
	addr     string
	typ      AddrType
	want     Touched
	after    string
}

// Spec dht 2.8 rows 1-10 and 2.9 T1-T9. The lock is held by the test in every
// case that must be decided without it: a touch that took it would hang.
func TestTouch(t *testing.T) {
	const a, b = "1.2.3.4:1", "5.6.7.8:1"
	tests := []touchCase{
		{name: "row1 T1 self", self: true, want: Missing},
		{name: "row2 T2 absent", addr: a, want: Missing},
		{name: "row3 T3 no address", have: at(Direct, a), want: Fast, after: "d 1.2.3.4:1,"},
		{name: "row4 T4 same type", have: at(Direct, a), addr: a, typ: Direct, want: Fast, after: "d 1.2.3.4:1,"},
		{name: "row4 mapped form", have: at(Direct, a), addr: "[::ffff:1.2.3.4]:1", typ: Direct, want: Fast, after: "d 1.2.3.4:1,"},
		{name: "row5 T5 promotion to relay", have: at(Direct, a), addr: a, typ: Relay, want: Slow, after: "r 1.2.3.4:1,"},
		{name: "row5 T6 demotion to direct", have: at(Relay, a), addr: a, typ: Direct, want: Slow, after: "d 1.2.3.4:1,"},
		{name: "row6 T7 loopback beside a real one", have: at(Direct, "10.0.0.1:1"), addr: "127.0.0.1:1", typ: Direct, want: Fast, after: "l 10.0.0.1:1,"},
		{name: "row6 allowed loopback, same", have: at(Direct, a), loopback: true, addr: "127.0.0.1:1", typ: Direct, want: Fast, after: "d 1.2.3.4:1,"},
		{name: "row7 T8 loopback only", have: at(Direct, "127.0.0.1:1"), loopback: true, addr: "[::1]:1", typ: Direct, want: Slow, after: "d [::1]:1,d 127.0.0.1:1,"},
		{name: "row8 T9 new address", have: at(Direct, a), addr: b, typ: Direct, want: Slow, after: "d 5.6.7.8:1,"},
		{name: "row8 other family", have: at(Direct, a), addr: "[2001:db8::1]:1", typ: Direct, want: Slow, after: "d [2001:db8::1]:1,d 1.2.3.4:1,"},
		{name: "row9 unspecified", have: at(Direct, a), addr: "0.0.0.0:1", typ: Direct, want: Fast, after: "d 1.2.3.4:1,"},
		{name: "row9 port 0", have: at(Direct, a), addr: "9.9.9.9:0", typ: Direct, want: Fast, after: "d 1.2.3.4:1,"},
		{name: "row10 worse than what is kept", have: at(Direct, a), addr: b, typ: Unverified, want: Fast, after: "d 1.2.3.4:1,"},
		{name: "unknown type", have: at(Direct, a), addr: b, typ: NumAddrTypes, want: Fast, after: "d 1.2.3.4:1,"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			testTouch(t, tt)
		})
	}
}

func testTouch(t *testing.T, tt touchCase) {
	t.Helper()
	tab := newTable(t, Config{AllowLoopback: tt.loopback})
	id := b0(1)
	if tt.have != nil {
		if r := tab.Add(0, id, tt.have, Trust{}).Result; r != Added {
			t.Fatal(r)
		}
	}
	if tt.self {
		id = tab.Self()
	}
	var addr netip.AddrPort
	if tt.addr != "" {
		addr = ap(tt.addr)
	}
	if tt.want != Slow {
		tab.mu.Lock()
	}
	got := tab.Touch(id, addr, tt.typ, 5*second)
	if tt.want != Slow {
		tab.mu.Unlock()
	}
	if got != tt.want {
		t.Fatalf("Touch = %v, want %v", got, tt.want)
	}
	if n := tab.Touches(); n != (view.Touch{Fast: b2u(got == Fast), Slow: b2u(got == Slow), Missing: b2u(got == Missing)}) {
		t.Errorf("counts %+v", n)
	}
	if got == Missing {
		return
	}
	c := tab.Get(id)
	if text(c.Addrs()) != tt.after {
		t.Errorf("addresses %q, want %q", text(c.Addrs()), tt.after)
	}
	if c.LastSeen() != 5*second {
		t.Errorf("last seen %d", c.LastSeen())
	}
	if live, _ := tab.BucketAge(0, 6*second); live != second {
		t.Errorf("the bucket's age is %d: the touch did not stamp it", live)
	}
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// T10: readers and fast touches while a writer holds the lock, and under the
// race detector against a writer at work.
func TestReadersNeedNoLock(t *testing.T) {
	tab := newTable(t, Config{MaxPerIP: Unlimited, MaxPerSubnet: Unlimited})
	for i := range byte(20) {
		offer(t, tab, b0(i), Added, fmt.Sprintf("1.2.3.%d:1", i))
	}
	tab.mu.Lock()
	var buf [20]*Contact
	if tab.Touch(b0(3), ap("1.2.3.3:1"), Direct, 1) != Fast || len(tab.Closest(buf[:0], b0(3), 20)) != 20 {
		t.Error("not served while the lock is held")
	}
	var v view.DHT
	tab.Fill(&v, 1)
	tab.mu.Unlock()

	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var buf [20]*Contact
			for i := range 500 {
				typ := AddrType(i / 100 % 2) // now and then a change of type: the slow path
				tab.Touch(b0(byte(i%20)), ap(fmt.Sprintf("1.2.3.%d:1", i%20)), typ, int64(i))
				for _, c := range tab.Closest(buf[:0], b0(byte(i+g)), 20) {
					_, _ = c.Addrs(), c.LastSeen()
				}
				if i%50 == g {
					tab.Remove(b0(byte(i%20)), RemovedEvicted)
					tab.Add(int64(i), b0(byte(i%20)), at(Direct, fmt.Sprintf("1.2.3.%d:1", i%20)), Trust{})
				}
			}
		})
	}
	wg.Wait()
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	tab := newTable(t, Config{MaxPerIP: Unlimited, MaxPerSubnet: Unlimited})
	fill(tab, 1000)
	id := tab.Closest(nil, tab.Self(), 1)[0].ID()
	addr := tab.Get(id).Addrs()[0].AddrPort
	worse := ap("8.8.8.8:1")
	var buf [20]*Contact
	for name, f := range map[string]func(){
		"touch":          func() { tab.Touch(id, addr, Direct, 1) },
		"touch, no addr": func() { tab.Touch(id, netip.AddrPort{}, Direct, 1) },
		"touch, row 10":  func() { tab.Touch(id, worse, Unverified, 1) },
		"touch, missing": func() { tab.Touch(ID{1}, addr, Direct, 1) },
		"closest":        func() { tab.Closest(buf[:0], id, 20) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// fill offers n pseudo-random contacts, no two in one /24.
func fill(tab *Table, n int) (ids []ID) {
	for i := range n {
		id := pseudoID(uint64(i))
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(11 + i>>16), byte(i >> 8), byte(i), 1}), 4433)
		if tab.Add(0, id, []Addr{{a, Direct}}, Trust{}).Result == Added {
			ids = append(ids, id)
		}
	}
	return ids
}

// pseudoID spreads n over the id space (splitmix64).
func pseudoID(n uint64) (id ID) {
	for w := range 4 {
		n += 0x9e3779b97f4a7c15
		z := n
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.BigEndian.PutUint64(id[w*8:], z^z>>31)
		n = z
	}
	return id
}

func TestMerge(t *testing.T) {
	tests := []struct {
		name, want string
		in         []Addr
	}{
		{"relay and best other per family", "r 1.1.1.1:1,r [2001:db8::1]:1,d 2.2.2.2:1,d [2001:db8::2]:1,", slices.Concat(
			at(Direct, "[2001:db8::2]:1", "2.2.2.2:1"), at(Relay, "[2001:db8::1]:1", "1.1.1.1:1"))},
		{"direct dominates unverified", "d 1.1.1.1:1,", slices.Concat(at(Direct, "1.1.1.1:1"), at(Unverified, "2.2.2.2:1"))},
		{"unverified then direct", "d 1.1.1.1:1,", slices.Concat(at(Unverified, "2.2.2.2:1"), at(Direct, "1.1.1.1:1"))},
		{"lan is kept beside direct", "d 1.1.1.1:1,l 10.0.0.1:1,", slices.Concat(at(Lan, "10.0.0.1:1"), at(Direct, "1.1.1.1:1"))},
		{"last lan wins", "l 10.0.0.2:1,", at(Lan, "10.0.0.1:1", "10.0.0.2:1")},
		{"local scope is forced to lan", "l 100.64.0.1:1,l [fe80::1]:1,", at(Direct, "100.64.0.1:1", "[fe80::1]:1")},
		{"newest of a type", "d 3.3.3.3:1,", at(Direct, "1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1")},
		{"wildcards are stripped", "d 1.1.1.1:1,", at(Direct, "0.0.0.0:1", "1.1.1.1:1", "[::]:1", "1.2.3.4:0", "255.255.255.255:9")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list, _ := newTable(t, Config{}).clean(tt.in)
			if text(list) != tt.want {
				t.Errorf("got %q, want %q", text(list), tt.want)
			}
		})
	}
}

func TestRandomKey(t *testing.T) {
	self := pseudoID(7)
	tab := newTable(t, Config{Self: self})
	for i := range NumBuckets {
		key, ok := tab.RandomKey(i, pseudoID(uint64(i)))
		if got := BucketIndex(&self, &key); !ok || got != i {
			t.Fatalf("key for bucket %d falls into %d", i, got)
		}
	}
	for _, i := range []int{-1, 256, 1000} {
		if _, ok := tab.RandomKey(i, ID{}); ok {
			t.Errorf("a key for bucket %d", i)
		}
	}
	k1, _ := tab.RandomKey(9, pseudoID(1))
	k2, _ := tab.RandomKey(9, pseudoID(2))
	if k1 == k2 {
		t.Error("the same key twice")
	}
}

func TestTrust(t *testing.T) {
	tr, want := Trust{}, []float64{0.438, 0.384, 0.336}
	for i, w := range want {
		if tr = tr.Observe(false, 1, 0); math.Abs(tr.Score(0)-w) > 0.001 {
			t.Errorf("after %d failures %.4f, want %.3f", i+1, tr.Score(0), w)
		}
	}
	tr = Trust{}
	for range 4 {
		tr = tr.Observe(true, 1, 0)
	}
	if s := tr.Score(0); math.Abs(s-0.7056) > 0.0001 {
		t.Errorf("after 4 successes %.4f", s)
	}
	if s := NewTrust(0, 0).Score(86370 * second); math.Abs(s-0.35) > 0.0005 {
		t.Errorf("0 after 24 h is %.4f, want 0.35", s)
	}
	if s := (Trust{}).Observe(true, math.NaN(), 0).Observe(true, -1, 0).Score(9); s != 0.5 {
		t.Errorf("ignored weights changed the score to %v", s)
	}
	if s := NewTrust(math.NaN(), 0).Score(0); s != 0.5 {
		t.Errorf("NaN is %v", s)
	}
}

func TestBlock(t *testing.T) {
	tab := newTable(t, Config{})
	offer(t, tab, b0(1), Added, "1.1.1.1:1")
	if c, err := tab.Block(b0(1)); err != nil || c == nil || tab.Len() != 0 || !tab.Blocked(b0(1)) {
		t.Fatal("not blocked")
	}
	offer(t, tab, b0(1), IsBlocked, "1.1.1.1:1")
	if !tab.Unblock(b0(1)) || tab.Unblock(b0(1)) || tab.Blocked(b0(1)) {
		t.Fatal("not unblocked")
	}
	offer(t, tab, b0(1), Added, "1.1.1.1:1")
	if tab.Removals(RemovedBlocked) != 1 || tab.Results(IsBlocked) != 1 {
		t.Error("not counted")
	}
}

func TestParseID(t *testing.T) {
	id := pseudoID(1)
	if got, err := ParseID(id.String()); err != nil || got != id {
		t.Fatal(got, err)
	}
	for _, s := range []string{"", "00", id.String() + "0", "zz" + id.String()[2:]} {
		if _, err := ParseID(s); err == nil {
			t.Errorf("%q is an id", s)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []Config{{K: 3}, {K: MaxK + 1}, {MaxPerIP: -1}, {MaxPerSubnet: -1}, {SwapThreshold: 1}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}

func TestFill(t *testing.T) {
	tab := newTable(t, Config{})
	now := 2000 * second
	offer(t, tab, b0(1), Added, "1.1.1.1:1") // stays silent
	offer(t, tab, b0(2), Added, "1.1.1.2:1")
	offer(t, tab, ID{0x40}, Added, "2.2.2.2:1")
	tab.Touch(b0(2), netip.AddrPort{}, Direct, now)
	tab.Touch(ID{0x40}, netip.AddrPort{}, Direct, now)
	tab.Get(ID{0x40}).Fail()
	var v view.DHT
	tab.Fill(&v, now)
	if v.Peers != 3 || v.Fresh != 1 || v.Stale != 1 || v.Suspect != 1 || v.Buckets[0].Suspect+v.Buckets[len(v.Buckets)-1].Suspect != 1 || len(v.Buckets) != 2 || len(v.PeersTable) != 3 {
		t.Errorf("%+v", v)
	}
	if b := v.Buckets[0]; b.Size != 2 || b.Fresh != 1 || b.Stale != 1 || b.OldestS != 2000 || b.LastRefreshS != 0 || b.Capacity != 20 {
		t.Errorf("%+v", b)
	}
	if d := v.Diversity; d.DistinctIPs != 3 || d.DistinctSubnets != 2 || math.Round(d.LargestSubnetPct) != 67 {
		t.Errorf("%+v", d)
	}
	if len(v.Admission) != int(NumResults) || v.Admission["added"] != 3 {
		t.Errorf("%v", v.Admission)
	}
	tab.Touch(ID{0x40}, netip.AddrPort{}, Direct, now)
	if tab.Get(ID{0x40}).Failures() != 0 {
		t.Error("a touch does not clear the suspicion")
	}
}
