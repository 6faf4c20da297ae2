package tui

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui/internal/sample"
)

func text(b *bench) string { return ansi.Strip(b.m.frame) }

func TestLookingBackShowsThatMoment(t *testing.T) {
	b := newBench(t, sample.HotShard, 120, 40, 30, Options{NoColor: true})
	now := b.m.feed.Data().Snap
	b.press("{")
	if b.m.past == nil || b.m.frozen == nil {
		t.Fatal("{ did not look back")
	}
	if got := now.At.Sub(b.m.frozen.Now); got < 29*time.Second || got > 31*time.Second {
		t.Fatalf("the moment shown is %s ago", got)
	}
	if f := text(b); !strings.Contains(f, "PAST "+b.m.frozen.Now.Format("15:04:05")) {
		t.Fatalf("the header does not say so:\n%s", f)
	}
	before := b.m.frozen.Now
	b.press("]", "]")
	if got := b.m.frozen.Now.Sub(before); got != 2*time.Second {
		t.Fatalf("two steps forward are %s", got)
	}
	for range 8 { // the node goes on, the picture does not
		b.tick(1)
	}
	if b.m.frozen.Now.Sub(before) != 2*time.Second {
		t.Fatal("the moment moved by itself")
	}
	if b.m.frozen.Base == nil || len(b.m.frozen.Hist.Get("media.drop")) == 0 && len(b.m.frozen.Hist.Get("in")) == 0 && b.m.frozen.Dt <= 0 {
		t.Fatal("a past moment has no rates")
	}
	for _, e := range b.m.frozen.Events {
		if e.At.After(b.m.frozen.Now) {
			t.Fatalf("an event of the future is shown: %v", e.At)
		}
	}
	b.press("space")
	if b.m.past != nil || b.m.frozen != nil || !strings.Contains(text(b), "LIVE") {
		t.Fatal("space does not lead back to the present")
	}
	b.press("[", "]")
	if b.m.past != nil {
		t.Fatal("forward into the present is not live")
	}
}

func TestLookingBackTooFarSaysSo(t *testing.T) {
	b := newBench(t, sample.HotShard, 100, 30, 5, Options{NoColor: true})
	for range 5 {
		b.press("{")
	}
	if !strings.Contains(text(b), "does not reach back") {
		t.Fatalf("nothing said:\n%s", text(b))
	}
}

// deaf is a source whose past cannot be had.
type deaf struct{ *sample.Source }

func (deaf) History(context.Context, time.Time, time.Time, time.Duration) ([]*view.Snapshot, error) {
	return nil, errors.New("no way\x1b[2J")
}

func TestAFailingPastIsSaid(t *testing.T) {
	b := newBench(t, sample.HotShard, 100, 30, 5, Options{NoColor: true})
	b.m.src = deaf{b.src}
	b.press("[")
	if f := b.m.frame; !strings.Contains(f, "looking back failed: no way") || strings.Contains(f, "\x1b[2J") {
		t.Fatalf("%q", f)
	}
}

// mute hides that a source remembers.
type mute struct{ Source }

func TestWithoutAPastThereAreNoKeysForIt(t *testing.T) {
	b := newBench(t, sample.HotShard, 100, 40, 5, Options{NoColor: true})
	b.m.src = mute{b.src}
	b.press("[", "?")
	if b.m.past != nil || strings.Contains(text(b), "look back") {
		t.Fatal("keys for what is not there")
	}
}

func TestARecordingBeginsAtItsEndAndPlays(t *testing.T) {
	b := newBench(t, sample.BadRoom, 100, 30, 60, Options{NoColor: true, Recorded: true, Role: control.Viewer})
	tick := func() {
		b.now = b.now.Add(tickEvery)
		b.m.onTick(b.now)
		b.run(b.m.fetch())
		b.m.paint(b.now)
	}
	tick()
	if f := text(b); !strings.Contains(f, "REPLAY") || strings.Contains(f, "STALE") {
		t.Fatalf("%s", f)
	}
	end := b.m.frozen.Now
	b.press("{")
	if got := end.Sub(b.m.frozen.Now); got != 30*time.Second {
		t.Fatalf("{ went %s back", got)
	}
	b.press("space")
	for range 4 * 40 { // forty seconds
		tick()
	}
	if !b.m.frozen.Now.Equal(end) || b.m.past.playing {
		t.Fatalf("playing ended %s before the end", end.Sub(b.m.frozen.Now))
	}
}

func TestMarkAndCompare(t *testing.T) {
	b := newBench(t, sample.HotShard, 120, 40, 20, Options{NoColor: true})
	b.press("M")
	for range 40 {
		b.tick(4)
	}
	b.press("D")
	f := text(b)
	if !strings.Contains(f, "what has changed") || !strings.Contains(f, "dropped") {
		t.Fatalf("%s", f)
	}
	b.press("esc")
	if strings.Contains(text(b), "what has changed") {
		t.Fatal("esc leaves the box open")
	}
	wantSize(t, b.m.frame, 120, 40)
}

// TestGoingToAMoment: by steps of five minutes, by the time of day, by how long
// ago, and back; what was never recorded is told and moves nothing.
func TestGoingToAMoment(t *testing.T) {
	b := newBench(t, sample.HotShard, 100, 30, 700, Options{NoColor: true})
	newest := b.m.feed.Data().Snap.At
	at := func(line string) {
		t.Helper()
		b.press(":")
		b.typeText("at " + line)
		b.press("enter")
	}
	ago := func(want time.Duration) {
		t.Helper()
		if b.m.frozen == nil {
			t.Fatalf("nothing of the past is shown:\n%s", text(b))
		}
		if got := newest.Sub(b.m.frozen.Now); got < want-time.Second || got > want+time.Second {
			t.Errorf("%s ago is shown, want %s", got, want)
		}
	}
	b.press("(")
	ago(5 * time.Minute)
	b.press("(", ")")
	ago(5 * time.Minute)
	at("-2m")
	ago(2 * time.Minute)
	at(newest.Add(-time.Minute).UTC().Format("15:04:05"))
	ago(time.Minute)
	at("-10h")
	ago(time.Minute)
	if !strings.Contains(text(b), "does not reach back") {
		t.Errorf("nothing is said:\n%s", text(b))
	}
	for _, line := range []string{"25:00", "-x", "yesterday", ""} {
		at(line)
		ago(time.Minute)
		if !strings.Contains(text(b), "at 03:12") {
			t.Errorf("%q: nothing is said:\n%s", line, text(b))
		}
	}
	at("live")
	if b.m.past != nil || b.m.frozen != nil {
		t.Error("live is not live")
	}
}

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 10, 0, 0, time.UTC)
	for s, want := range map[string]string{
		"00:05": "2026-03-01T00:05:00Z", "23:59:30": "2026-02-28T23:59:30Z", "-90s": "2026-03-01T00:08:30Z", "-1h": "2026-02-28T23:10:00Z",
	} {
		if got, err := parseMoment(s, now); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%s: %v %v, want %s", s, got, err, want)
		}
	}
}
