package tui

import (
	"context"
	"strings"
	"testing"
	"time"

	"signalbox/engine/view"
	"signalbox/tui/internal/sample"
)

// TestTenSecondsToTheCause: the questions of an operator who has just been
// woken. Each is answered on a small screen after two keys at most, with the
// cause and the remedy in words.
func TestTenSecondsToTheCause(t *testing.T) {
	for _, q := range []struct {
		ask   string
		scene sample.Scene
		keys  []string
		words []string
	}{
		{"which shard is stuck, on what", sample.HotShard, nil, []string{"media/5  wedged for 4.2 s on a packet of 198.51.100.9", "restart the shard (R)"}},
		{"fed by whom", sample.HotShard, []string{"enter", "enter"}, []string{"media packet from 198.51.100.9, room standup-eu", "sources  198.51.100.9", "R restart"}},
		{"which shard is flooded, by whom", sample.HotShard, []string{"j", "enter"}, []string{"media/3", "203.0.113.77", "shard_full", "b ban"}},
		{"where are packets dropped, and why", sample.HotShard, []string{"d"}, []string{
			"shard_full", "shard media/3", "from 203.0.113.77", "the shard's queue, or the source's share of it, was full", "t throttles or b bans",
		}},
		{"what does the kernel drop below us", sample.HotShard, []string{"d"}, []string{"below us", "kernel", "the socket buffer, 7.00M, has never run over", "rx_queue"}},
		{"which room is bad, who is the weakest, whose fault is it", sample.BadRoom, []string{"3"}, []string{
			"✖ town hall", "weakest  bastien", "[their side] their downlink", "queue_head",
		}},
		{"and what to do about it", sample.BadRoom, []string{"enter", "enter"}, []string{"[their side]", "43/s as queue_head", "lately", "K kick", "T pin tier"}},
		{"why does A not hear B", sample.BadRoom, []string{"x"}, []string{"does not keep up: its queue drops", "sender", "receiver", "queue_age 466"}},
		{"which link is down or unproven", sample.HotShard, []string{"8"}, []string{
			"relay-gru            down", "UNPROVEN", "nothing heard for 6s", "R dials it at once",
		}},
		{"and what of the unproven one", sample.HotShard, []string{"8", "j"}, []string{"whoever knows its fingerprint could be it", "have it present its certificate"}},
		{"how stale is the table, which buckets", sample.BadRoom, []string{"4"}, []string{"12 of 173 silent for 15 min", "in buckets", "f refresh"}},
		{"what has changed since it last worked", sample.HotShard, []string{"D"}, []string{"shard media/3 dropped", "shard_full"}},
		{"who acted, and what is in force", sample.BadRoom, []string{"6"}, []string{"in force", "source.throttle", "203.0.113.77", "ssh:mara", "floods media/3", "u undo"}},
		{"who acted before", sample.BadRoom, []string{"W"}, []string{"source.ban", "by ssh:ada@home", "uid:mallory", "viewers only look"}},
	} {
		t.Run(q.ask, func(t *testing.T) {
			if len(q.keys) > 2 {
				t.Fatalf("%d keys", len(q.keys))
			}
			b := newBench(t, q.scene, 80, 24, 10, Options{})
			b.press(q.keys...)
			text := strings.Join(strings.Fields(b.text()), " ") // however it is wrapped or aligned
			for _, w := range q.words {
				if w = strings.Join(strings.Fields(w), " "); !strings.Contains(text, w) {
					t.Errorf("%q is not on screen:\n%s", w, b.text())
				}
			}
		})
	}
}

// TestSinceItLastWorked: without a mark the comparison is with the last state
// in which nothing was wrong, seen by this console or kept by the recorder.
func TestSinceItLastWorked(t *testing.T) {
	b := newBench(t, sample.Healthy, 80, 24, 30, Options{})
	b.src.Play(sample.HotShard)
	for range 8 {
		b.tick(4)
	}
	b.press("D")
	b.wantText("verdict: failing, was ok", "since it was last well")

	b = newBench(t, sample.HotShard, 80, 24, 30, Options{})
	before := b.src.Snapshot()
	b.m.src = remembering{b.src, sample.At(sample.Healthy, 20)}
	b.press("D")
	b.wantText("verdict: failing, was ok", "since it was last well, "+sample.At(sample.Healthy, 20).At.Format("15:04:05"))
	if b.src.Snapshot() != before && b.m.feed.Well() == nil {
		t.Error("the recorder's answer is forgotten")
	}
}

// TestLossesBelowUs: what the kernel drops comes first, with the remedy.
func TestLossesBelowUs(t *testing.T) {
	b := newBench(t, sample.HotShard, 80, 24, 5, Options{})
	s := *b.src.Snapshot()
	s.Seq++
	s.At = s.At.Add(4 * 250e6)
	s.Kernel.UDPRcvbufErrors += 4711
	b.m.src = still{b.src, &s}
	b.m.poll(b.now)
	b.press("d")
	b.wantText("4711 ever", "raise net.core.rmem_max")
	if i, j := strings.Index(b.text(), "kernel"), strings.Index(b.text(), "shard_full"); i > j {
		t.Errorf("the kernel comes after the shards:\n%s", b.text())
	}
}

// still shows one snapshot for ever.
type still struct {
	*sample.Source
	s *view.Snapshot
}

func (s still) Snapshot() *view.Snapshot { return s.s }

// remembering is a source whose recorder knows of a better time.
type remembering struct {
	*sample.Source
	then *view.Snapshot
}

func (r remembering) History(context.Context, time.Time, time.Time, time.Duration) ([]*view.Snapshot, error) {
	return []*view.Snapshot{r.then}, nil
}
