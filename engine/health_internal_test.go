package engine

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"signalbox/engine/view"
)

// reasons runs the judge over snapshots a quarter of a second apart and returns
// the last one's verdict and reasons.
func reasons(j *judge, at *time.Time, times int, s func(i int) *view.Snapshot) (string, string) {
	var last *view.Snapshot
	for i := range times {
		*at = at.Add(250 * time.Millisecond)
		last = s(i)
		last.At = *at
		j.verdict(last)
	}
	return last.Node.Health.Verdict, strings.Join(last.Node.Health.Reasons, "; ")
}

// receiver is somebody who has lost so many packets of a queue that is so old.
func receiver(i int, lost uint64, oldestMS float64) view.Participant {
	return view.Participant{
		ID: fmt.Sprint(i), Alias: fmt.Sprint("ear", i), Remote: fmt.Sprintf("10.0.0.%d:1", i), ReportAgeS: -1,
		Dropped: map[string]uint64{"queue_age": lost}, QueueOldestMS: oldestMS, QueueCapacity: 256,
	}
}

func room(ps ...view.Participant) *view.Snapshot {
	return &view.Snapshot{Rooms: []view.Room{{Name: "r", Participants: ps}}}
}

// TestAFewDropsAreNoAlarm: two packets are not told of, a moment's loss is said
// once it is one, a queue that stays full is an alarm, and several that lose at
// once and recover are not to blame.
func TestAFewDropsAreNoAlarm(t *testing.T) {
	at := time.Unix(1000, 0)
	for _, c := range []struct {
		name, verdict, says string
		s                   func(i int) *view.Snapshot
	}{
		{"two packets", "ok", "", func(i int) *view.Snapshot { return room(receiver(1, uint64(min(i, 2)), 0)) }},
		{"forty, and well again", "degraded", "r/ear1: takes its packets again: 40 packets", func(i int) *view.Snapshot { return room(receiver(1, uint64(min(10*i, 40)), 0)) }},
		{"stuck", "failing", "r/ear1: does not take its packets", func(i int) *view.Snapshot { return room(receiver(1, uint64(i), 480)) }},
		{"one packet, and the queue is old: the machine paused", "ok", "", func(i int) *view.Snapshot { return room(receiver(1, uint64(min(i, 1)), 480)) }},
		{"three at once", "degraded", "3 receivers: lost packets at the same moment", func(i int) *view.Snapshot {
			n := uint64(min(10*i, 40))
			return room(receiver(1, n, 0), receiver(2, n, 0), receiver(3, n, 0))
		}},
		{"three at once that are delivered to, and a link", "failing", "3 receivers: lose packets at the same moment, r/ear1 among them, and all are delivered to: it is this machine", func(i int) *view.Snapshot {
			s := room(receiver(1, uint64(i), 480), receiver(2, uint64(i), 480), receiver(3, uint64(i), 480))
			s.Links = []view.Link{{Label: "lisbon", State: "up", Verified: true, Dropped: map[string]uint64{"queue_age": uint64(i)}}}
			return s
		}},
		{"three at once to whom nothing goes", "failing", "r/ear1: does not take its packets: queue 0/256, 7 dropped; only they lose; r/ear2", func(i int) *view.Snapshot {
			s := room(receiver(1, uint64(i), 480), receiver(2, uint64(i), 480), receiver(3, uint64(i), 480))
			for k := range s.Rooms[0].Participants {
				s.Rooms[0].Participants[k].LastDeliveredMS = 2000
			}
			return s
		}},
		{"three of thirteen", "failing", "r/ear2: does not take its packets", func(i int) *view.Snapshot {
			s := room(receiver(1, uint64(i), 480), receiver(2, uint64(i), 480), receiver(3, uint64(i), 480))
			for k := range 10 {
				s.Rooms[0].Participants = append(s.Rooms[0].Participants, receiver(10+k, 0, 0))
			}
			return s
		}},
	} {
		if v, r := reasons(newJudge(), &at, 8, c.s); v != c.verdict || !strings.Contains(r, c.says) || c.says == "" && r != "" || strings.Contains(r, "this machine") && strings.Contains(r, "lisbon") {
			t.Errorf("%s: %s: %s", c.name, v, r)
		}
	}
}

// TestTheStormIsNamedAndRemembered: a storm that comes and goes is told of all
// the while, with the address it comes from, and forgotten afterwards.
func TestTheStormIsNamedAndRemembered(t *testing.T) {
	at, j := time.Unix(1000, 0), newJudge()
	storm := func(on bool) func(int) *view.Snapshot {
		return func(int) *view.Snapshot {
			s := room()
			for i := range 30 {
				s.Rooms[0].Participants = append(s.Rooms[0].Participants, view.Participant{ID: fmt.Sprint(i), Remote: fmt.Sprintf("127.0.2.77:%d", 1000+i), ReportAgeS: -1})
			}
			s.Edge.RetryActive = on
			return s
		}
	}
	for i, on := range []bool{true, false, true, false} {
		if v, r := reasons(j, &at, 8, storm(on)); v != "degraded" || !strings.Contains(r, "127.0.2.77: storm of handshakes, 30 of the newest 30") {
			t.Errorf("%d: %s: %s", i, v, r)
		}
	}
	at = at.Add(afterglow)
	if v, r := reasons(j, &at, 1, storm(false)); v != "ok" {
		t.Errorf("long after: %s", r)
	}
}

// TestALinkThatLosesIsToldOf: one packet is no news, a link that goes on losing is.
func TestALinkThatLosesIsToldOf(t *testing.T) {
	for _, c := range []struct {
		most int
		want string
	}{{1, ""}, {100, "lisbon: does not take its packets: 7 dropped just now"}} {
		at := time.Unix(1000, 0)
		_, r := reasons(newJudge(), &at, 8, func(i int) *view.Snapshot {
			return &view.Snapshot{Links: []view.Link{{Label: "lisbon", URL: "x", State: "up", Verified: true, Since: at, Dropped: map[string]uint64{"queue_age": uint64(min(i, c.most))}}}}
		})
		if !strings.HasPrefix(r, c.want) || c.want == "" && r != "" {
			t.Errorf("at most %d lost: %q", c.most, r)
		}
	}
}

// TestALinkThatCameBackIsToldOf for half a minute.
func TestALinkThatCameBackIsToldOf(t *testing.T) {
	at, j := time.Unix(1000, 0), newJudge()
	link := func(state string) func(int) *view.Snapshot {
		since := at
		return func(int) *view.Snapshot {
			return &view.Snapshot{Links: []view.Link{{Label: "lisbon", URL: "x", State: state, Verified: true, Since: since}}}
		}
	}
	if v, r := reasons(j, &at, 40, link("down")); v != "failing" || !strings.Contains(r, "lisbon: the link is down for") {
		t.Fatalf("%s: %s", v, r)
	}
	if v, r := reasons(j, &at, 40, link("up")); v != "degraded" || !strings.Contains(r, "lisbon: the link is back") {
		t.Errorf("%s: %s", v, r)
	}
	at = at.Add(afterglow)
	if v, r := reasons(j, &at, 2, link("up")); v != "ok" {
		t.Errorf("%s: %s", v, r)
	}
}

// TestALinkThatHasJustEndedIsToldOf: before it is called down, all is not well.
func TestALinkThatHasJustEndedIsToldOf(t *testing.T) {
	for why, want := range map[string]string{"closed by us: nothing heard for 6s": "lisbon: the link ended a moment ago: closed by us: nothing heard for 6s", "": ""} {
		at := time.Unix(1000, 0)
		since := at
		_, r := reasons(newJudge(), &at, 4, func(int) *view.Snapshot {
			return &view.Snapshot{Links: []view.Link{{Label: "lisbon", URL: "x", State: "down", Verified: true, Since: since, LastError: why}}}
		})
		if !strings.HasPrefix(r, want) || want == "" && r != "" {
			t.Errorf("%q: %q", why, r)
		}
	}
}

// TestTheRateOfDropsStandsStill: what a full shard drops is told as a rate that
// does not jump with every snapshot, and as a sum once it is over.
func TestTheRateOfDropsStandsStill(t *testing.T) {
	at, j, drops := time.Unix(1000, 0), newJudge(), uint64(0)
	for i := range 120 { // half a minute, 1,000/s in bursts
		if i%4 == 0 {
			drops += 1000
		}
		s := &view.Snapshot{At: at, Shards: []view.Shard{{Plane: "media", Index: 3, State: "running", Capacity: 256, Dropped: map[string]uint64{"shard_full": drops}}}}
		j.verdict(s)
		var rate float64
		if _, err := fmt.Sscanf(s.Node.Health.Causes[0].Message, "full: %f messages/s dropped", &rate); err != nil || i > 8 && (rate < 900 || rate > 1350) {
			t.Fatalf("snapshot %d: %q: %v", i, s.Node.Health.Causes[0].Message, err)
		}
		at = at.Add(250 * time.Millisecond)
	}
	at = at.Add(stillDrops)
	s := &view.Snapshot{At: at, Shards: []view.Shard{{Plane: "media", Index: 3, State: "running", Capacity: 256, Dropped: map[string]uint64{"shard_full": drops}}}}
	j.verdict(s)
	var n int
	if _, err := fmt.Sscanf(s.Node.Health.Causes[0].Message, "full: %d messages dropped a moment ago", &n); err != nil || n < 8000 || n > 20000 {
		t.Errorf("afterwards: %q", s.Node.Health.Causes[0].Message)
	}
}

// TestRemediesFitTheNarrowScreen: what is written out in this package fits a line
// of 80 cells behind its arrow.
func TestRemediesFitTheNarrowScreen(t *testing.T) {
	const room = 80 - len("    → ") + 2 // the arrow is three bytes
	found := 0
	for _, f := range []string{"health.go", "federation_health.go", "save.go"} {
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`Remedy(?::| =) +"([^"]+)"`).FindAllSubmatch(src, -1) {
			if found++; len(m[1]) > room {
				t.Errorf("%s: %d bytes, %d fit: %s", f, len(m[1]), room, m[1])
			}
		}
	}
	if found < 15 {
		t.Errorf("only %d remedies found", found)
	}
}
