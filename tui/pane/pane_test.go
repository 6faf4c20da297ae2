package pane

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"signalbox/engine/view"
	"signalbox/tui/internal/sample"
	"signalbox/tui/key"
	"signalbox/tui/style"
)

type anyPane interface {
	Apply(d *Data)
	Draw(w, h int, st *style.Set) []string
	Keys() []key.Row
	Act(a Action, arg string) Jump
}

func all() map[string]anyPane {
	return map[string]anyPane{
		"overview": NewOverview(), "shards": NewShards(), "rooms": NewRooms(), "routing": NewRouting(), "events": NewEvents(), "log": NewLog(),
	}
}

// feed plays a scene for some seconds.
func feed(sc sample.Scene, secs int) *Feed {
	f := NewFeed()
	for i := range secs*4 + 1 {
		f.Push(sample.At(sc, i))
	}
	f.AddEvents(sample.Events(sc), 0)
	return f
}

var nasty = []string{
	"", " ", "plain", "\x1b[2J\x1b]0;owned\x07", "\u202ereversed", "日本語の名前がとても長い部屋です", "e\u0301\u0301\u0301\u0301", "👩‍👩‍👧‍👦 family", "🇩🇪🇫🇷",
	string([]byte{0xff, 0xfe, 0x80}), "tab\tand\nnewline", "\u200b\u200d\ufeff", "ﷺ", "कि", "\u1100\u1161\u11a8", "\ue000\U000f0000", "a\u0000b", "\u2028x", "\u0e33\u0e33", "⚠️☂️", "\u061c\u2066x\u2069",
}

// scramble fills a snapshot with what no node should send.
func scramble(r *rand.Rand, s *view.Snapshot) {
	str := func() string { return nasty[r.IntN(len(nasty))] + nasty[r.IntN(len(nasty))] }
	num := func() float64 {
		return []float64{0, -1, 0.5, 99, 1e12, math.NaN(), math.Inf(1), math.Inf(-1), r.Float64() * 1000}[r.IntN(9)]
	}
	drops := func() map[string]uint64 {
		return map[string]uint64{str(): r.Uint64(), "shard_full": uint64(r.IntN(1000))}
	}
	s.Node.NodeID, s.Node.State, s.Node.Version, s.Node.UptimeS, s.Node.CPUPct = str(), str(), str(), num(), num()
	s.Node.Health = view.Health{Verdict: []string{"ok", "degraded", "failing", str()}[r.IntN(4)], Reasons: []string{str(), str()}}
	for range r.IntN(9) {
		s.Node.Health.Causes = append(s.Node.Health.Causes, view.Cause{Severity: str(), Pane: str(), Subject: str(), Message: str() + str(), Remedy: str()})
	}
	for i := range s.Shards {
		sh := &s.Shards[i]
		sh.Plane, sh.Index, sh.State, sh.Current, sh.LastPanic = []string{"media", "dht", str()}[r.IntN(3)], r.IntN(40)-3, str(), str(), str()+"\n\t"+str()
		sh.Depth, sh.Capacity, sh.HighWater, sh.Bytes = r.IntN(1<<30)-5, r.IntN(3)*1024-1, -r.IntN(9), -4
		sh.OldestMS, sh.BusyPct, sh.WaitP99US, sh.CurrentMS, sh.Dropped = num(), num(), num(), num(), drops()
		sh.HotSources = []view.HotSource{{IP: str(), SharePct: num(), RatePPS: num()}}
	}
	for i := range s.Rooms {
		s.Rooms[i].Name, s.Rooms[i].Tier, s.Rooms[i].PinnedTier = str(), str(), str()
		for j := range s.Rooms[i].Participants {
			p := &s.Rooms[i].Participants[j]
			p.ID, p.Alias, p.Remote, p.Tier, p.Transport, p.RelayLabel, p.Shard, p.Fingerprint = str(), str(), str(), str(), str(), str(), str(), str()
			p.LossPct, p.RTTMS, p.JitterMS, p.ReportAgeS, p.LastPacketMS, p.Dropped = num(), num(), num(), num(), num(), drops()
			p.QueueDepth, p.QueueCapacity = r.IntN(200)-100, r.IntN(3)-1
		}
	}
	for i := range s.DHT.Buckets {
		b := &s.DHT.Buckets[i]
		b.Index, b.Size, b.Capacity, b.LastRefreshS = r.IntN(400)-50, r.IntN(40)-3, r.IntN(3)-1, num()
	}
	for i := range s.DHT.PeersTable {
		p := &s.DHT.PeersTable[i]
		p.ID, p.State, p.LastSeenS, p.RTTMS, p.Trust = str(), str(), num(), num(), num()
		p.Addrs = []view.Addr{{Addr: str(), Type: str()}}
	}
	s.DHT.Admission, s.Edge.Refused, s.DHT.Diversity.LargestSubnetPct = drops(), drops(), num()
	s.Ledger.Media.Unexplained, s.Ledger.DHT.Unexplained = math.MinInt64, r.Int64()
	s.Undo = []view.Undo{{ID: str(), Kind: str(), Target: str(), Author: str(), Reason: str(), Until: s.At.Add(-time.Hour)}}
	s.Links = []view.Link{{Label: str(), State: str(), LastError: str(), RTTMS: num()}}
	s.Sources = []view.Source{{Prefix: str(), Kind: str()}}
}

// TestDrawExact: whatever the numbers and names, a pane draws exactly h rows
// of exactly w cells, and no control character but its own styles.
func TestDrawExact(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 11))
	sets := []*style.Set{style.New(style.Config{}), style.New(style.Config{Theme: style.Mono}), style.New(style.Config{Glyphs: style.ASCII, Theme: style.Light}), style.New(style.Config{Double: true, Dimmed: true})}
	scenes := []sample.Scene{sample.Healthy, sample.HotShard, sample.BadRoom, sample.Hostile, sample.Empty}
	for round := range 24 {
		f := feed(scenes[round%len(scenes)], 3)
		if round%2 == 1 {
			for step := range 9 {
				s := sample.At(sample.HotShard, 13+step)
				scramble(r, s)
				f.Push(s)
			}
		}
		f.AddEvents([]view.Event{{Seq: 900, Kind: nasty[round%len(nasty)], Severity: view.Warn, Subject: nasty[(round+3)%len(nasty)], Message: nasty[(round+5)%len(nasty)]}}, 3)
		d := f.Data()
		d.Log = []Entry{{Title: nasty[round%len(nasty)], On: nasty[(round+1)%len(nasty)], Err: nasty[(round+2)%len(nasty)]}}
		for name, p := range all() {
			p.Apply(d)
			for range 4 {
				p.Act(Action(r.IntN(int(Filter))), "")
				p.Apply(d)
				p.Keys()
				w, h := 1+r.IntN(220), 1+r.IntN(70)
				exact(t, fmt.Sprintf("%s %dx%d round %d", name, w, h, round), p.Draw(w, h, sets[r.IntN(len(sets))]), w, h)
			}
		}
	}
}

func exact(t *testing.T, what string, rows []string, w, h int) {
	t.Helper()
	if len(rows) != h {
		t.Fatalf("%s: %d rows", what, len(rows))
	}
	for i, row := range rows {
		text := ansi.Strip(row)
		if n := ansi.StringWidth(text); n != w {
			t.Fatalf("%s: row %d is %d wide: %q", what, i, n, text)
		}
		for _, c := range text {
			if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 || c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 {
				t.Fatalf("%s: row %d holds %U: %q", what, i, c, text)
			}
		}
	}
}

// TestDrawIsPure: drawing twice gives the same bytes.
func TestDrawIsPure(t *testing.T) {
	st := style.New(style.Config{})
	d := feed(sample.BadRoom, 5).Data()
	for name, p := range all() {
		p.Apply(d)
		p.Act(Down, "")
		a := fmt.Sprint(p.Draw(120, 40, st))
		p.Draw(80, 24, st)
		if b := fmt.Sprint(p.Draw(120, 40, st)); a != b {
			t.Errorf("%s draws differently the second time", name)
		}
	}
}

func TestFeedRates(t *testing.T) {
	d := feed(sample.HotShard, 10).Data()
	if d.Dt != rateWindow {
		t.Errorf("rates over %v s", d.Dt)
	}
	if r := d.Shard(d.shardOf("media/3")); math.Abs(r.Drop-1910) > 1 || math.Abs(r.In-4100) > 1 {
		t.Errorf("media/3: %+v", r)
	}
}

// TestFeedRestart: another life of the node gives no rates from the old one.
func TestFeedRestart(t *testing.T) {
	f := feed(sample.HotShard, 10)
	s := sample.At(sample.HotShard, 41)
	s.Node.StartedAt = s.Node.StartedAt.Add(time.Hour)
	s.Shards[3].Received = 5
	f.Push(s)
	d := f.Data()
	if d.Base != nil || d.DropRate() != 0 || len(d.Hist.Get("drop")) != 0 || f.AfterSeq() != 0 {
		t.Errorf("the old life shows: %+v", d.Base)
	}
}

// TestHistoryGaps: seconds without a snapshot are gaps, not zeros.
func TestHistoryGaps(t *testing.T) {
	f := feed(sample.Healthy, 4)
	f.Push(sample.At(sample.Healthy, 16+12))
	vals := f.Data().Hist.Get("media.in")
	n := len(vals)
	if n < 4 || !math.IsNaN(vals[n-2]) || !math.IsNaN(vals[n-3]) || math.IsNaN(vals[n-1]) {
		t.Errorf("history %v", vals)
	}
}

func TestFault(t *testing.T) {
	f := feed(sample.BadRoom, 5)
	d := f.Data()
	room := &d.Snap.Rooms[0]
	want := []fault{faultThey, faultThey, faultOp, faultOpen, faultNone}
	for i, w := range want {
		if _, got, why := judgePart(d, &room.Participants[i]); got != w {
			t.Errorf("%s: %s, want %s (%s)", room.Participants[i].Alias, got.word(), w.word(), why)
		}
	}
	d = feed(sample.HotShard, 5).Data()
	p := d.Snap.Rooms[0].Participants[4]
	if _, got, why := judgePart(d, &p); got != faultThey || !strings.Contains(why, "they are the flood") {
		t.Errorf("the flood itself: %s (%s)", got.word(), why)
	}
	p.Remote = "198.51.100.1:1"
	if _, got, why := judgePart(d, &p); got != faultWe {
		t.Errorf("behind the hot shard: %s (%s)", got.word(), why)
	}
}

func TestListFollowsIDs(t *testing.T) {
	var l list
	l.sync([]string{"a", "b", "c"})
	l.put(1)
	l.sync([]string{"c", "x", "a", "b"})
	if l.sel != "b" || l.at != 3 {
		t.Errorf("lost b: %+v", l)
	}
	l.sync([]string{"c", "x"})
	if l.sel != "x" || l.at != 1 {
		t.Errorf("after b went: %+v", l)
	}
	if got := fmt.Sprint(l.hold([]string{"n", "x", "c"}, true)); got != "[c x n]" {
		t.Errorf("held order %s", got)
	}
}

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		filter string
		want   bool
	}{{"", true}, {"HALL", true}, {"!hall", false}, {"xyz", false}, {"!xyz", true}, {"!", true}} {
		if got := match(tc.filter, "town hall", "Good"); got != tc.want {
			t.Errorf("%q: %v", tc.filter, got)
		}
	}
}
