package tui

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/exp/teatest/v2"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui/internal/sample"
)

// shown waits until the program has written a text.
func shown(t *testing.T, tm *teatest.TestModel, text string) {
	t.Helper()
	teatest.WaitFor(t, tm.Output(), func(b []byte) bool { return bytes.Contains(b, []byte(text)) }, teatest.WithDuration(20*time.Second))
}

// TestProgramPlansAndActs drives the whole program by its messages: a key asks
// for a plan, another carries it out, a third leaves.
func TestProgramPlansAndActs(t *testing.T) {
	src := sample.NewSource(sample.HotShard, 40)
	tm := teatest.NewTestModel(t, New(src, Options{}), teatest.WithInitialTermSize(100, 30))
	shown(t, tm, "media/5")
	tm.Type("2")
	tm.Send(keyPress("R"))
	shown(t, tm, "nothing has been changed yet")
	tm.Type("y")
	shown(t, tm, "done: restart shard")
	tm.Type("q")
	m, ok := tm.FinalModel(t, teatest.WithFinalTimeout(20*time.Second)).(*Model)
	if !ok || m.Fault() != "" {
		t.Fatalf("fault %q", m.Fault())
	}
	cmds := src.Commands()
	if len(cmds) != 2 || !cmds[0].DryRun || cmds[1].DryRun || cmds[1].Kind != control.ShardRestart {
		t.Errorf("sent %+v", cmds)
	}
}

// TestProgramOfAViewer has no key that acts.
func TestProgramOfAViewer(t *testing.T) {
	src := sample.NewSource(sample.HotShard, 40)
	tm := teatest.NewTestModel(t, New(src, Options{Role: control.Viewer}), teatest.WithInitialTermSize(100, 30))
	shown(t, tm, "viewer")
	tm.Type("2RFpbty?")
	shown(t, tm, "the keys that change the node are absent")
	tm.Type("?q")
	tm.WaitFinished(t, teatest.WithFinalTimeout(20*time.Second))
	if cmds := src.Commands(); len(cmds) != 0 {
		t.Errorf("sent %+v", cmds)
	}
}

// broken is a source whose rooms make a pane panic.
type broken struct {
	*sample.Source
	mu  sync.Mutex
	now bool
}

func (b *broken) Snapshot() *view.Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.now {
		panic("planted in a pane's numbers")
	}
	return b.Source.Snapshot()
}

// TestAPanicEndsOneConsole: two consoles look at one node; the one that fails
// says so and ends, the other goes on.
func TestAPanicEndsOneConsole(t *testing.T) {
	src := sample.NewSource(sample.HotShard, 40)
	bad := &broken{Source: src}
	other := teatest.NewTestModel(t, New(src, Options{}), teatest.WithInitialTermSize(80, 24))
	in, keep := io.Pipe()
	defer keep.Close()
	ended := make(chan error, 1)
	go func() {
		ended <- Run(context.Background(), bad, RunOptions{In: in, Out: io.Discard, Env: []string{"TERM=xterm"}, Width: 80, Height: 24})
	}()
	shown(t, other, "media/5")
	bad.mu.Lock()
	bad.now = true
	bad.mu.Unlock()
	err := <-ended
	if !errors.Is(err, ErrFault) || !strings.Contains(err.Error(), "the node is not affected") || !strings.Contains(err.Error(), "planted") {
		t.Errorf("it says %v", err)
	}
	other.Type("3")
	shown(t, other, "rooms, worst first")
	other.Type("q")
	other.WaitFinished(t, teatest.WithFinalTimeout(20*time.Second))
}

// TestResizeStorm: sizes come faster than frames; the last one counts.
func TestResizeStorm(t *testing.T) {
	src := sample.NewSource(sample.BadRoom, 40)
	tm := teatest.NewTestModel(t, New(src, Options{}), teatest.WithInitialTermSize(80, 24))
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		tm.Send(tea.WindowSizeMsg{Width: 1 + r.IntN(500), Height: 1 + r.IntN(200)})
	}
	tm.Send(tea.WindowSizeMsg{Width: 90, Height: 28})
	tm.Type("q")
	m := tm.FinalModel(t, teatest.WithFinalTimeout(60*time.Second)).(*Model)
	wantSize(t, m.frame, 90, 28)
}

// TestRandomSizes draws every pane, the boxes and the plan at random sizes in
// every theme: nothing is wider or higher than the screen.
func TestRandomSizes(t *testing.T) {
	r := rand.New(rand.NewPCG(40, 12))
	b := newBench(t, sample.Hostile, 80, 24, 5, Options{})
	for i := range 60 {
		w, h := 40+r.IntN(461), 12+r.IntN(189)
		b.m.w, b.m.h = w, h
		b.m.theme = "auto"
		if i%2 == 1 {
			b.m.theme = "contrast"
		}
		for _, k := range []string{"1", "2", "enter", "esc", "3", "enter", "4", "5", "6", "7", "8", "d", "esc", "D", "esc", "W", "esc", "?", "esc", "2", "p", "esc", ":", "esc", "3", "x", "esc", "space", "space"} {
			b.press(k)
			wantSize(t, b.m.frame, w, h)
		}
		b.press("esc", "esc")
	}
}
