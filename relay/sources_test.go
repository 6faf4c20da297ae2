package relay

import (
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"signalbox/engine/ledger"
)

func TestBan(t *testing.T) {
	g := newRig(t, Config{})
	p, q := g.join("r", "a"), g.join("r", "bb") // 10.0.0.1, 10.0.0.2
	if err := g.Ban(netip.MustParsePrefix("::ffff:10.0.0.1/128"), "op", "noise"); err != nil {
		t.Fatal(err)
	}
	if p.Admit(20, 1) || !q.Admit(20, 1) {
		t.Fatal("the ban hits the wrong one")
	}
	g.say(p, packet(0, 0)) // was admitted before the ban
	c := g.Counts()
	if c.Dropped[ledger.SourceBanned] != 2 || c.Received != 1 {
		t.Fatalf("%+v", c)
	}
	if _, err := g.Join(request("r", "x", 1)); !errors.Is(err, ErrBanned) {
		t.Fatal(err)
	}
	s := g.Sources()
	if len(s) != 1 || s[0].Prefix != "10.0.0.1/32" || s[0].Kind != "banned" || s[0].Dropped != 2 || s[0].Author != "op" || s[0].Reason != "noise" {
		t.Fatalf("%+v", s)
	}
	if err := g.ClearSource(netip.MustParsePrefix("10.0.0.1/32")); err != nil {
		t.Fatal(err)
	}
	if !p.Admit(20, 1) || len(g.Sources()) != 0 || g.Banned(p.addr) || g.rules.Load() != nil {
		t.Fatal("not lifted")
	}
	if err := g.ClearSource(netip.MustParsePrefix("10.0.0.1/32")); !errors.Is(err, ErrNoSource) {
		t.Fatal(err)
	}
	if err := g.Ban(netip.Prefix{}, "", ""); !errors.Is(err, ErrPrefix) {
		t.Fatal(err)
	}
	g.settled()
}

func TestBanRunsOut(t *testing.T) {
	g := newRig(t, Config{})
	p := g.join("r", "a")
	if err := g.BanUntil(netip.MustParsePrefix("10.0.0.0/8"), time.Now().Add(time.Hour), "op", ""); err != nil {
		t.Fatal(err)
	}
	if g.advance(59 * time.Minute); p.Admit(20, g.now.Load()) {
		t.Fatal("too early")
	}
	if len(g.Sources()) != 1 {
		t.Fatal("in force")
	}
	if g.advance(2 * time.Minute); !p.Admit(20, g.now.Load()) || g.Banned(p.addr) || len(g.Sources()) != 0 || p.rule.Load() != nil {
		t.Fatal("still in force")
	}
}

func TestThrottle(t *testing.T) {
	g := newRig(t, Config{})
	p, q := g.join("r", "a"), g.join("r", "bb")
	if err := g.Throttle(netip.MustParsePrefix("10.0.0.7/24"), 100, "op", ""); err != nil {
		t.Fatal(err)
	}
	admitted := 0
	for range 2000 { // two seconds, two clients of 1,000 packets/s together
		g.advance(time.Millisecond)
		for _, x := range []*Participant{p, q} {
			if x.Admit(1, g.now.Load()) {
				admitted++
			}
		}
	}
	if admitted < 200 || admitted > 200+25 {
		t.Fatalf("admitted %d at 100 packets/s and 250 ms ahead", admitted)
	}
	if got := g.Counts().Dropped[ledger.SourceThrottled]; got != uint64(4000-admitted) || g.Sources()[0].Dropped != got {
		t.Fatalf("dropped %d", got)
	}
	// The longest prefix decides between throttles, a ban beats both.
	if err := g.Throttle(netip.MustParsePrefix("10.0.0.1/32"), 1e6, "op", ""); err != nil {
		t.Fatal(err)
	}
	if g.advance(time.Second); !p.Admit(1, g.now.Load()) || p.rule.Load().pps != 1e6 || q.rule.Load().pps != 100 {
		t.Fatal("longest prefix")
	}
	if err := g.Ban(netip.MustParsePrefix("10.0.0.0/16"), "op", ""); err != nil {
		t.Fatal(err)
	}
	if p.Admit(1, g.now.Load()) || q.Admit(1, g.now.Load()) {
		t.Fatal("a ban beats a throttle")
	}
	if err := g.Throttle(netip.MustParsePrefix("10.0.0.1/32"), 0, "op", ""); !errors.Is(err, ErrRate) {
		t.Fatal(err)
	}
}

// TestThrottleShared: readers that share a rule admit no more than its rate.
func TestThrottleShared(t *testing.T) {
	ru := &rule{pps: 1000, gap: second / 1000}
	var n atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range int64(10_000) {
				if _, ok := ru.admit(i * second / 10_000); ok {
					n.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := n.Load(); got > 1000+250 {
		t.Fatalf("%d admitted in a second", got)
	}
}

func TestSanitize(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                    "plain",
		"Grüße 東京 ok":              "Grüße 東京 ok",
		"a\x1b[2Jb\r\n\tc\x00\x7f": "a[2Jbc",
		"a\u202eb\u2066c\u200fd":   "abcd",
		"x\u2028y\u0085z\ufeff":    "xyz",
		"bad\xff\xfeutf":           "badutf",
		"👩\u200d👧":                 "👩\u200d👧",
		strings.Repeat("é", 512):   strings.Repeat("é", 512),
		strings.Repeat("é", 513):   strings.Repeat("é", 511) + "…",
	} {
		if got := Sanitize(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	if got := truncate("aé", 2); got != "a" {
		t.Errorf("%q", got)
	}
}
