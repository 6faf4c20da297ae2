package dht

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"signalbox/dht/table"
)

func TestHearsay(t *testing.T) {
	n := quiet(t, func(c *Config) { c.ListenAddrs = []netip.AddrPort{netip.MustParseAddrPort("9.9.9.9:9")} })
	var in []table.Addr
	for _, s := range []string{"9.9.9.9:9", "127.0.0.1:1", "10.0.0.1:1", "1.1.1.1:0", "[::ffff:8.8.8.8]:8", "0.0.0.0:1"} {
		in = append(in, table.Addr{AddrPort: netip.MustParseAddrPort(s), Type: table.Unverified})
	}
	if got := fmt.Sprint(n.hearsay(in, false)); got != "[{8.8.8.8:8 unverified}]" {
		t.Error(got)
	}
	if got := len(n.hearsay(in, true)); got != 2 {
		t.Error(got)
	}
}

// reliability.md D5: strangers cannot make us hammer a target.
func TestDialBudgets(t *testing.T) {
	var d dials
	d.init(false)
	a := netip.MustParseAddrPort("1.2.3.4:1")
	allowed := 0
	for i := range uint16(100) {
		if d.allow(netip.AddrPortFrom(netip.AddrFrom4([4]byte{1, 2, 3, byte(i)}), i+1), 0) {
			allowed++
		}
	}
	if allowed != prefixBurst {
		t.Error("a prefix was dialled", allowed, "times")
	}
	now := int64(time.Hour)
	d.result(a, false, now)
	if d.allow(a, now+int64(failedFor)-1) || !d.allow(a, now+int64(failedFor)) {
		t.Error("a failed address is not left alone for its time")
	}
	d.result(a, false, now)
	if d.allow(a, now+int64(2*failedFor)-1) {
		t.Error("the time does not double")
	}
	d.result(a, true, now)
	if !d.allow(a, now+int64(failedFor)) {
		t.Error("a success is not remembered")
	}
}

func nobody(table.ID) bool { return false }

func TestTrustBookIsBounded(t *testing.T) {
	var b trustBook
	b.init()
	for i := range maxTrustKept + 100 {
		b.observe(testID(i), false, 0, nobody)
	}
	if len(b.m) > maxTrustKept {
		t.Error(len(b.m))
	}
	id := testID(1 << 20)
	for range 10 {
		b.observe(id, true, 0, nobody)
	}
	if s := b.get(id).Score(0); s > 0.57 {
		t.Error("trust was earned in no time:", s)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{ID: testID(1), Dialer: noDialer{}}
	for name, mod := range map[string]func(*Config){
		"no id":     func(c *Config) { c.ID = table.ID{} },
		"no dialer": func(c *Config) { c.Dialer = nil },
		"bad k":     func(c *Config) { c.K = 1 },
		"bad seed":  func(c *Config) { c.Seeds = []Seed{{}} },
	} {
		cfg := good
		mod(&cfg)
		if _, err := New(cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
