package pane

import (
	"strings"
	"testing"

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
