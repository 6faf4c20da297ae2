package relay

import (
	"testing"
	"time"

	"signalbox/relay/wire"
)

func TestClassifyThresholds(t *testing.T) {
	for loss := range 256 {
		for rtt := range 256 {
			q := wire.QualityReport{Loss: uint8(loss), RTT4: uint8(rtt)}
			l, ms := q.LossPct(), q.RTTMS()
			want := wire.Studio64k
			switch { // the table of 5.5 as it is written
			case l >= 15 || ms >= 200:
				want = wire.Catastrophic
			case l >= 5 || ms >= 100:
				want = wire.Degraded
			case l >= 2 || ms >= 80:
				want = wire.Good
			case l >= 1 || ms >= 50:
				want = wire.Studio32k
			case ms >= 30:
				want = wire.Studio48k
			}
			if got := classify(q); got != want {
				t.Fatalf("loss byte %d rtt byte %d: %v, want %v", loss, rtt, got, want)
			}
		}
	}
}

// feed gives n reports one period apart and returns after how many the tier
// changed, 0 if it did not, and the tier then.
func feed(j *judge, seen wire.Tier, n int, now *int64, period time.Duration) (int, wire.Tier) {
	for i := range n {
		*now += int64(period)
		if j.report(seen, *now) {
			return i + 1, j.tier
		}
	}
	return 0, j.tier
}

func TestJudgeHysteresis(t *testing.T) {
	type step struct {
		seen  wire.Tier
		n     int
		after int // reports until the change, 0: none
		tier  wire.Tier
	}
	const C, D, G, S32, S48, S64 = wire.Catastrophic, wire.Degraded, wire.Good, wire.Studio32k, wire.Studio48k, wire.Studio64k
	for name, steps := range map[string][]step{
		"starts good":                    {{G, 20, 0, G}},
		"two bad ones are not enough":    {{C, 2, 0, G}, {G, 1, 0, G}, {C, 2, 0, G}},
		"three jump straight down":       {{C, 3, 3, C}},
		"down to what the third saw":     {{C, 2, 0, G}, {D, 1, 1, D}},
		"a better one resets the bad":    {{D, 2, 0, G}, {S64, 1, 0, G}, {D, 2, 0, G}, {D, 1, 1, D}},
		"ten up from good, one tier":     {{S64, 10, 10, S32}, {S64, 10, 10, S48}, {S64, 10, 10, S64}, {S64, 50, 0, S64}},
		"five up below good":             {{C, 3, 3, C}, {S64, 5, 5, D}, {S64, 5, 5, G}, {S64, 9, 0, G}, {S64, 1, 1, S32}},
		"an equal one resets the better": {{S64, 9, 0, G}, {G, 1, 0, G}, {S64, 9, 0, G}, {S64, 1, 1, S32}},
		"a worse one resets the better":  {{S64, 9, 0, G}, {D, 1, 0, G}, {S64, 9, 0, G}},
		"from the top to the bottom":     {{S64, 10, 10, S32}, {C, 3, 3, C}},
	} {
		t.Run(name, func(t *testing.T) {
			j, now := newJudge(), int64(0)
			for i, s := range steps {
				after, tier := feed(&j, s.seen, s.n, &now, 100*time.Millisecond)
				if after != s.after || tier != s.tier {
					t.Fatalf("step %d: changed after %d to %v, want after %d, %v", i, after, tier, s.after, s.tier)
				}
			}
		})
	}
}

// The tests of the probe give reports a second apart. With an observation
// equal to the tier the counters never move, so that only a probe can.
const (
	tG, tS32, tS48, tS64, tD = wire.Good, wire.Studio32k, wire.Studio48k, wire.Studio64k, wire.Degraded

	sec = time.Second
)

func TestProbeFails(t *testing.T) {
	j, now := newJudge(), int64(0)
	feed(&j, tG, 30, &now, sec) // timer at 1 s, 29 s old
	if j.probing {
		t.Fatal("probes before 30 s")
	}
	feed(&j, tG, 1, &now, sec)
	if !j.probing || j.target != tS32 {
		t.Fatalf("no probe for Studio32k after 30 s: %+v", j)
	}
	feed(&j, tG, 1, &now, sec)
	if !j.probing {
		t.Fatal("one report below the target must not end it")
	}
	feed(&j, tG, 1, &now, sec)
	if j.probing || j.tier != tG {
		t.Fatalf("the second must: %+v", j)
	}
	feed(&j, tG, 89, &now, sec)
	if j.probing {
		t.Fatal("probes again before 60 s and 30 s")
	}
	feed(&j, tG, 1, &now, sec)
	if !j.probing {
		t.Fatal("does not probe again after 60 s and 30 s")
	}
}

func TestProbeSucceeds(t *testing.T) {
	j, now := newJudge(), int64(0)
	feed(&j, tG, 31, &now, sec)
	if after, tier := feed(&j, tS32, 9, &now, sec); after != 5 || tier != tS32 {
		t.Fatalf("after %d: %v", after, tier)
	}
	if j.up != 0 || !j.stable || j.stableAt != now {
		t.Fatalf("stability does not start anew: %+v", j)
	}
	feed(&j, tS32, 29, &now, sec)
	if j.probing {
		t.Fatal("too early for the next")
	}
	if feed(&j, tS32, 1, &now, sec); !j.probing || j.target != tS48 {
		t.Fatal("no next probe")
	}
}

func TestProbeAllowsOneBad(t *testing.T) {
	j, now := newJudge(), int64(0)
	feed(&j, tG, 31, &now, sec)
	feed(&j, tG, 1, &now, sec)
	if after, tier := feed(&j, tS32, 9, &now, sec); after != 4 || tier != tS32 {
		t.Fatalf("after %d: %v", after, tier)
	}
}

func TestProbeCancelledByChange(t *testing.T) {
	j, now := newJudge(), int64(0)
	feed(&j, tG, 31, &now, sec)
	feed(&j, tD, 3, &now, 10*time.Millisecond)
	if j.probing {
		t.Fatalf("still probing: %+v", j)
	}
	j, now = newJudge(), 0
	feed(&j, tG, 31, &now, sec)
	if after, tier := feed(&j, tS64, 10, &now, 10*time.Millisecond); after != 10 || tier != tS32 || j.probing || j.stable {
		t.Fatalf("after %d: %+v", after, j)
	}
}

func TestProbeTimerCleared(t *testing.T) {
	j, now := newJudge(), int64(0)
	feed(&j, tG, 30, &now, sec)
	feed(&j, tD, 1, &now, sec)
	feed(&j, tG, 30, &now, sec)
	if j.probing {
		t.Fatal("the timer was not cleared")
	}
	if feed(&j, tG, 1, &now, sec); !j.probing {
		t.Fatal("and should run again")
	}
}

func TestProbeNeverAtTheTop(t *testing.T) {
	j, now := newJudge(), int64(0)
	for range 3 {
		feed(&j, tS64, 10, &now, 10*time.Millisecond)
	}
	if feed(&j, tS64, 300, &now, sec); j.probing || j.tier != tS64 {
		t.Fatalf("%+v", j)
	}
}
