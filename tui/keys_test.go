package tui

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui/internal/sample"
	"signalbox/tui/pane"
)

func (b *bench) text() string { return ansi.Strip(b.m.frame) }

func (b *bench) wantText(parts ...string) {
	b.t.Helper()
	for _, p := range parts {
		if !strings.Contains(b.text(), p) {
			b.t.Fatalf("%q is not on screen:\n%s", p, b.text())
		}
	}
}

func (b *bench) wantNoText(p string) {
	b.t.Helper()
	if strings.Contains(b.text(), p) {
		b.t.Fatalf("%q is on screen:\n%s", p, b.text())
	}
}

// TestPlanThenApply: a key asks for the plan only; y sends the same target for
// real, whatever has moved meanwhile.
func TestPlanThenApply(t *testing.T) {
	b := newBench(t, sample.HotShard, 120, 40, 5, Options{})
	b.press("2", "g", "j", "j", "j", "R")
	if c := b.src.Commands(); len(c) != 1 || !c[0].DryRun || c[0].Target != "media/3" || c[0].Kind != control.ShardRestart {
		t.Fatalf("after the key: %+v", c)
	}
	b.wantText("restart shard: media/3", "nothing has been changed yet", "in its", "▸Cancel")
	b.press("j", "down", "5", "g") // none of these reach the pane
	b.tick(9)
	b.press("y")
	c := b.src.Commands()
	if len(c) != 2 || c[1].DryRun || c[1].Target != "media/3" || c[1].Kind != control.ShardRestart {
		t.Fatalf("after y: %+v", c)
	}
	b.wantText("done: restart shard media/3", "u takes it back")
	b.press("6")
	b.wantText("plan only", "✓ done", "shard.restart media/3")
}

func TestCancelHasTheFocus(t *testing.T) {
	for _, key := range []string{"enter", "esc", "n", "q"} {
		b := newBench(t, sample.HotShard, 80, 24, 2, Options{})
		b.press("2", "F", key)
		if c := b.src.Commands(); len(c) != 1 || !c[0].DryRun {
			t.Fatalf("%s sent %+v", key, c)
		}
		b.wantText("cancelled: nothing was changed")
	}
	b := newBench(t, sample.HotShard, 80, 24, 2, Options{})
	b.press("2", "F", "right", "enter")
	if c := b.src.Commands(); len(c) != 2 || c[1].DryRun {
		t.Fatalf("apply by enter sent %+v", c)
	}
}

// TestTargetUnderThePrompt: the room that was marked when the prompt opened is
// the one that is locked, though the order of the rooms has changed.
func TestTargetUnderThePrompt(t *testing.T) {
	b := newBench(t, sample.Healthy, 120, 40, 5, Options{})
	b.press("3", "g", "j")
	b.press("L")
	before := b.src.Commands()[0].Target
	b.src.Play(sample.BadRoom)
	for range 20 {
		b.tick(1)
	}
	b.press("y")
	c := b.src.Commands()
	if got := c[len(c)-1]; got.Target != before || got.DryRun {
		t.Fatalf("planned %q, sent %+v", before, got)
	}
}

// TestRowsKeepTheirPlaces: within 1.5 s of a key rows do not move, afterwards
// they do; the cursor goes with its row.
func TestRowsKeepTheirPlaces(t *testing.T) {
	b := newBench(t, sample.Healthy, 80, 24, 5, Options{})
	b.press("3", "G")
	first := b.row(4)
	b.src.Play(sample.BadRoom)
	b.tick(1)
	if got := b.row(4); !sameRoom(got, first) {
		t.Fatalf("rows moved under the finger: %q was %q", got, first)
	}
	marked := b.marked()
	b.now = b.now.Add(2 * time.Second)
	b.m.pace.answered()
	b.tick(1)
	if got := b.row(4); !strings.Contains(got, "town hall") {
		t.Fatalf("the bad room did not come up: %q", got)
	}
	if got := b.marked(); !sameRoom(got, marked) {
		t.Fatalf("the cursor left its room: %q was %q", got, marked)
	}
}

func (b *bench) row(i int) string { return strings.Split(b.text(), "\n")[i] }

func (b *bench) marked() string {
	for ln := range strings.SplitSeq(b.text(), "\n") {
		if strings.HasPrefix(ln, "▸") {
			return ln
		}
	}
	return ""
}

func sameRoom(a, b string) bool {
	cut := func(s string) string { return strings.TrimLeft(strings.TrimSpace(s), "▸✖▲ ")[:6] }
	return cut(a) == cut(b)
}

func TestViewerCannot(t *testing.T) {
	b := newBench(t, sample.HotShard, 120, 40, 2, Options{Role: control.Viewer})
	for _, tab := range []string{"2", "3", "4", "6", "7"} {
		b.press(tab)
		b.press("p", "r", "R", "F", "A", "L", "C", "T", "P", "e", "B", "f", "u", "K", "m", "b", "t", "H", "c", "y")
	}
	if c := b.src.Commands(); len(c) != 0 {
		t.Fatalf("a viewer sent %+v", c)
	}
	b.press("2", "?")
	b.wantText("the keys that change the node are absent")
	b.wantNoText("resume")
}

func TestFreeze(t *testing.T) {
	b := newBench(t, sample.Healthy, 120, 40, 5, Options{})
	body := func() string { return strings.Join(strings.Split(b.text(), "\n")[2:30], "\n") }
	b.press("2", "space")
	still := body()
	b.src.Play(sample.HotShard)
	for range 8 {
		b.tick(40)
		b.m.pace.answered()
	}
	b.wantText("FROZEN 2s", "now", "FAILING", "═")
	if body() != still {
		t.Fatalf("the frozen picture moved:\n%s\n%s", still, body())
	}
	b.press("space")
	b.wantText("LIVE", "wedged")
	b.wantNoText("═")
}

func TestStale(t *testing.T) {
	b := newBench(t, sample.Healthy, 80, 24, 2, Options{})
	b.wantText("● LIVE")
	for range 14 {
		b.tick(0)
		b.m.pace.answered()
	}
	b.wantText("▲ STALE 3.5s")
	b.tick(1)
	b.wantText("● LIVE")
}

// lostSource is a source whose node can be lost.
type lostSource struct {
	Source
	err error
}

func (s *lostSource) Lost() error { return s.err }

// TestGone has the console say at its next look that the node is gone, long
// before the numbers are too old to be called live.
func TestGone(t *testing.T) {
	b := newBench(t, sample.Healthy, 80, 24, 2, Options{})
	src := &lostSource{Source: b.src}
	b.m.src = src
	b.tick(1)
	b.m.pace.answered()
	b.wantText("● LIVE")
	src.err = errors.New("connection refused")
	b.tick(0)
	b.m.pace.answered()
	b.wantText("▲ GONE", "retrying", "the node does not answer; this is what it said last")
	b.wantNoText("LIVE")
	b.wantNoText("nothing needs you")
	src.err = nil
	b.tick(1)
	b.wantText("● LIVE")
}

func TestFilter(t *testing.T) {
	b := newBench(t, sample.HotShard, 80, 24, 2, Options{})
	b.press("2", "/", "d", "h", "t", "/", "2", "q")
	b.wantText("/dht/2q_", "no shard matches")
	b.press("backspace", "enter")
	b.wantText("dht/2", `filter "dht/2"`)
	b.wantNoText("media/0")
	b.press("esc")
	b.wantText("media/0")
	b.press("/")
	for _, r := range "!media" {
		b.press(string(r))
	}
	b.wantNoText("media/0")
	b.press("esc")
	b.wantText("media/0")
}

func TestTypeToConfirm(t *testing.T) {
	b := newBench(t, sample.HotShard, 120, 40, 2, Options{})
	b.press("2", "g", "A")
	if n := len(b.src.Commands()); n != 8 {
		t.Fatalf("planned %d commands, want one for each media shard", n)
	}
	b.press("y", "enter")
	b.wantText("type flush to go on")
	b.press("backspace")
	for _, r := range "flush" {
		b.press(string(r))
	}
	b.press("enter")
	c := b.src.Commands()
	if len(c) != 16 {
		t.Fatalf("sent %d commands, want 16", len(c))
	}
	for i, cmd := range c[8:] {
		if cmd.DryRun || cmd.Target != c[i].Target {
			t.Errorf("applied %+v, planned %+v", cmd, c[i])
		}
	}
}

// TestExpiryBesideAWord: where a word is typed, t belongs to it.
func TestExpiryBesideAWord(t *testing.T) {
	b := newBench(t, sample.HotShard, 120, 40, 2, Options{})
	b.press("1", "N", "ctrl+t", "ctrl+t")
	b.wantText("ctrl+t changes it", "15 minutes")
	for _, r := range "drain" {
		b.press(string(r))
	}
	b.press("enter")
	c := b.src.Commands()
	if got := c[len(c)-1]; got.Kind != control.NodeDrain || got.TTLS != 900 || got.DryRun {
		t.Fatalf("sent %+v", got)
	}
}

func TestReasonAndExpiry(t *testing.T) {
	b := newBench(t, sample.HotShard, 120, 40, 2, Options{})
	b.press("2", "g", "p", "t", "e")
	for _, r := range "too hot" {
		if r == ' ' {
			b.press("space")
			continue
		}
		b.press(string(r))
	}
	b.press("enter")
	b.wantText("too hot", "5 minutes")
	b.press("y")
	c := b.src.Commands()
	if got := c[len(c)-1]; got.Reason != "too hot" || got.TTLS != 300 || got.DryRun {
		t.Fatalf("sent %+v", got)
	}
}

func TestPinTierChooses(t *testing.T) {
	b := newBench(t, sample.BadRoom, 120, 40, 2, Options{})
	b.press("3", "T")
	if n := len(b.src.Commands()); n != 0 {
		t.Fatalf("asked the node before the tier was chosen: %d", n)
	}
	b.press("j", "enter", "y")
	c := b.src.Commands()
	if len(c) != 2 || c[1].Args["tier"] != "Degraded" || c[1].Target != "town hall" || c[0].Args["tier"] != "Degraded" {
		t.Fatalf("sent %+v", c)
	}
}

func TestMemberLevers(t *testing.T) {
	b := newBench(t, sample.BadRoom, 120, 40, 2, Options{})
	b.press("3", "enter")
	b.wantText("bastien ↓", "[their side] their downlink")
	b.press("b", "y")
	c := b.src.Commands()
	if got := c[len(c)-1]; got.Kind != control.SourceBan || got.Target != "198.51.100.11" {
		t.Fatalf("sent %+v", got)
	}
	b.press("t", "enter", "y")
	c = b.src.Commands()
	if got := c[len(c)-1]; got.Kind != control.SourceThrottle || got.Args["pps"] != 100.0 {
		t.Fatalf("sent %+v", got)
	}
}

func TestUndo(t *testing.T) {
	b := newBench(t, sample.HotShard, 120, 40, 2, Options{})
	b.press("u")
	b.wantText("undo: source.throttle on 203.0.113.77, by ssh:mara")
	b.wantText("target  source.throttle 203.0.113.77, u-")
	b.run(b.m.onKey(tea.KeyPressMsg{Code: tea.KeyEscape, Mod: tea.ModAlt}, b.now))
	if b.m.prompt != nil {
		t.Error("two escapes at once do not cancel")
	}
	b.press("6", "j", "u", "y")
	c := b.src.Commands()
	if got := c[len(c)-1]; got.Kind != control.Undo || got.Target != "u-16" || got.DryRun {
		t.Fatalf("sent %+v", got)
	}
	b = newBench(t, sample.Healthy, 120, 40, 2, Options{})
	b.press("u")
	b.wantText("nothing is in force")
}

func TestRefusalsInWords(t *testing.T) {
	cases := []struct {
		name string
		fail func(control.Command) (control.Result, error)
		want string
	}{
		{"denied", func(control.Command) (control.Result, error) { return control.Fail(control.Denied, "ask mara"), nil }, "you may not do this: ask mara"},
		{"gone at apply", func(c control.Command) (control.Result, error) {
			if c.DryRun {
				return control.Result{OK: true, Code: control.OK, Plan: []string{"restarts it"}}, nil
			}
			return control.Fail(control.Gone, "media/3 was replaced"), nil
		}, "the target has gone since the plan was made"},
		{"broken way", func(control.Command) (control.Result, error) {
			return control.Result{}, errors.New("socket\x1b closed")
		}, "the node was not reached: socket closed"},
		{"late", func(control.Command) (control.Result, error) { return control.Result{}, context.DeadlineExceeded }, "it may or may not have happened"},
		{"panic", func(control.Command) (control.Result, error) { panic("boom") }, "the way to the node failed: boom"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, sample.HotShard, 120, 40, 2, Options{})
			b.src.Fail = tc.fail
			b.press("2", "R", "y")
			b.wantText("not done", tc.want)
			b.press("y", "enter")
			b.wantNoText("not done")
		})
	}
}

// TestLateAnswer: an answer to a question nobody asks any more changes nothing.
func TestLateAnswer(t *testing.T) {
	b := newBench(t, sample.HotShard, 120, 40, 2, Options{})
	b.press("2")
	_, first := b.m.Update(keyPress("R"))
	b.press("esc", "j")
	_, second := b.m.Update(keyPress("p"))
	b.m.Update(first())
	b.m.Update(keyPress("y"))
	b.wantText("asking the node")
	b.run(second)
	b.wantText("pause shard", "the node would do this")
}

// TestGoThere: enter on a cause opens its pane with the subject marked.
func TestGoThere(t *testing.T) {
	b := newBench(t, sample.HotShard, 80, 24, 2, Options{})
	b.press("enter")
	b.wantText("▸ ✖ media/5")
	b.press("1", "j", "j", "enter")
	b.wantText("▸ ✖ town hall")
	b.m.open(2)
	if !b.m.act(pane.Enter, "") {
		t.Error("enter does nothing in rooms")
	}
}

func TestDisabledSaysWhy(t *testing.T) {
	b := newBench(t, sample.HotShard, 80, 24, 2, Options{})
	b.press("2", "g", "r")
	b.wantText("r: media/0 is not paused")
	if c := b.src.Commands(); len(c) != 0 {
		t.Fatalf("sent %+v", c)
	}
}

func TestPhantomF3(t *testing.T) {
	b := newBench(t, sample.HotShard, 80, 24, 2, Options{})
	at := b.m.lastKey
	b.press("f3")
	if b.m.lastKey != at {
		t.Error("a cursor report taken for F3 counts as a key")
	}
}

// TestPacing: one frame is out at a time; a terminal that never answers gets
// two a second; one that answers late is told what was skipped.
func TestPacing(t *testing.T) {
	b := newBench(t, sample.Healthy, 80, 24, 2, Options{})
	frames := func(ticks int) (n int) {
		for range ticks {
			before := b.m.frame
			b.tick(1)
			if b.m.frame != before {
				n++
			}
		}
		return n
	}
	if n := frames(8); n != 1 {
		t.Fatalf("%d frames without an answer, want 1", n)
	}
	b.press("2")
	b.wantText("media/0") // keys are drawn at once
	b.msg(tea.CursorPositionMsg{})
	frames(1)
	b.wantText("link slow, 7 skipped")
	b.m.pace = pacer{}
	frames(13)
	if n := frames(16); n != 8 {
		t.Fatalf("%d frames in 4 s from a deaf terminal, want 8", n)
	}
}

// panicking is a source that fails when asked.
type panicking struct{ *sample.Source }

func (panicking) Snapshot() *view.Snapshot { panic("no snapshot today") }

func TestPanicEndsTheConsoleOnly(t *testing.T) {
	m := New(panicking{sample.NewSource(sample.Healthy, 0)}, Options{})
	_, cmd := m.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
	if cmd == nil || m.Fault() == "" || !strings.Contains(m.Fault(), "no snapshot today") {
		t.Fatalf("fault %q", m.Fault())
	}
	if _, quit := cmd().(tea.QuitMsg); !quit {
		t.Error("the console does not quit")
	}
	if m.View().Content != "" {
		t.Error("half a frame is left")
	}
}

// TestAPanicBeforeTheFirstFrame: the question for the minutes before is asked
// outside Update, and fails the same way.
func TestAPanicBeforeTheFirstFrame(t *testing.T) {
	m := New(panicking{sample.NewSource(sample.Healthy, 0)}, Options{})
	m.Update(m.prime()())
	if !strings.Contains(m.Fault(), "no snapshot today") || !strings.Contains(m.Fault(), "the node is not affected") {
		t.Fatalf("fault %q", m.Fault())
	}
}

func TestNoColorEnvironment(t *testing.T) {
	for env, want := range map[string]bool{"NO_COLOR=1": true, "NO_COLOR=yes": true, "NO_COLOR=": false, "TERM=dumb": true, "TERM=xterm": false} {
		if got := NoColor([]string{env}); got != want {
			t.Errorf("%s: %v", env, got)
		}
	}
}

// TestNothingIsAppliedUnseen opens and answers a plan on a screen that is too
// small to show it.
func TestNothingIsAppliedUnseen(t *testing.T) {
	b := newBench(t, sample.HotShard, 100, 30, 5, Options{NoColor: true})
	b.press("2", "p")
	before := len(b.src.Commands())
	b.msg(tea.WindowSizeMsg{Width: 38, Height: 11})
	b.press("y", "enter", "p", "y")
	if got := b.src.Commands(); len(got) != before {
		t.Fatalf("sent %+v", got[before:])
	}
	b.msg(tea.WindowSizeMsg{Width: 100, Height: 30})
	b.press("y")
	if got := b.src.Commands(); len(got) != before+1 || got[before].DryRun {
		t.Fatalf("the plan is not there any more: %+v", got[before:])
	}
}
