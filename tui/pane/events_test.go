package pane

import (
	"fmt"
	"strings"
	"testing"

	"signalbox/engine/view"
	"signalbox/tui/internal/sample"
)

// numbered are events with consecutive numbers.
func numbered(from, to uint64) []view.Event {
	var out []view.Event
	for i := from; i <= to; i++ {
		out = append(out, view.Event{Seq: i, Severity: view.Info, Kind: "k", Message: fmt.Sprintf("event-%03d", i)})
	}
	return out
}

// TestEventsFollowOrHoldStill: at the top the newest is shown; elsewhere not a
// row moves, and the heading counts what has come.
func TestEventsFollowOrHoldStill(t *testing.T) {
	p := NewEvents()
	snap := sample.At(sample.Healthy, 3)
	news := func(from, to uint64) string {
		p.Apply(&Data{Snap: snap, Now: snap.At, Events: numbered(from, to)})
		return strings.Join(p.Draw(80, 12, mono), "\n")
	}
	news(1, 40)
	if f := news(1, 60); !strings.Contains(f, "event-060") || strings.Contains(f, "newer") {
		t.Fatalf("at the top:\n%s", f)
	}
	p.Act(Down, "")
	p.Act(Down, "")
	body := func(f string) string { _, rest, _ := strings.Cut(f, "\n"); return rest }
	before := news(1, 60)
	after := news(1, 90)
	if body(before) == "" || !strings.HasPrefix(body(after), strings.TrimSuffix(body(before), "\n")) {
		t.Fatalf("it moved:\n%s\n%s", before, after)
	}
	if head, _, _ := strings.Cut(after, "\n"); !strings.Contains(head, "30 newer, g follows") {
		t.Fatalf("heading %q", head)
	}
	p.Act(Top, "")
	if f := news(1, 91); !strings.Contains(f, "event-091") || strings.Contains(f, "newer") {
		t.Fatalf("after g:\n%s", f)
	}
	p.Act(Down, "")
	if f := news(200, 260); !strings.Contains(f, "event-260") { // what was held has left the buffer
		t.Fatalf("after a flood:\n%s", f)
	}
}
