package pane

import (
	"strings"
	"testing"
	"time"

	"signalbox/engine/view"
)

func TestTheShardsHeadlineAgreesWithTheVerdict(t *testing.T) {
	s := &view.Snapshot{Shards: []view.Shard{
		{Plane: "media", Index: 0, State: "running", Capacity: 256},
		{Plane: "media", Index: 1, State: "running", Capacity: 256},
	}}
	s.Node.Health.Causes = []view.Cause{{Severity: view.Alarm, Pane: "shards", Subject: "media/1", Message: "full: 12 messages dropped just now"}}
	p := &Shards{d: &Data{Snap: s}}
	if got := p.headline(); !strings.HasPrefix(got, "1 bad, 0 to watch, 1 fine") {
		t.Errorf("%q", got)
	}
	if lv, words := judgeShard(p.d, &s.Shards[1]); lv != broken || words != "full: 12 messages dropped just now" {
		t.Errorf("%v %q", lv, words)
	}
}

// Whose fault a receiver's losses are is what the verdict says: theirs, and as
// bad as it says, or this machine's when many lose at once.
func TestTheFaultAgreesWithTheVerdict(t *testing.T) {
	at := time.Unix(1000, 0)
	f := NewFeed()
	for i := range 5 {
		f.Push(&view.Snapshot{At: at.Add(time.Duration(i) * time.Second), Rooms: []view.Room{{Name: "r", Participants: []view.Participant{{
			ID: "p1", Alias: "Ann", QueueDepth: 10, QueueCapacity: 256, Dropped: map[string]uint64{"queue_age": uint64(100 * i)},
		}}}}})
	}
	d := f.Data()
	if lv, whose, why := judgePart(d, &d.Snap.Rooms[0].Participants[0]); lv != broken || whose != faultThey {
		t.Errorf("alone: %v %v %q", lv, whose, why)
	}
	d.Snap.Node.Health.Causes = []view.Cause{{Severity: view.Alarm, Pane: "rooms", Subject: "3 receivers", Machine: true}}
	if lv, whose, why := judgePart(d, &d.Snap.Rooms[0].Participants[0]); lv != watch || whose != faultWe || !strings.HasPrefix(why, "this machine") {
		t.Errorf("with many: %v %v %q", lv, whose, why)
	}
	d.Snap.Rooms[0].Participants[0].LastDeliveredMS = 3000
	if lv, whose, why := judgePart(d, &d.Snap.Rooms[0].Participants[0]); lv != broken || whose != faultThey {
		t.Errorf("with many, and not reached: %v %v %q", lv, whose, why)
	}
}
