package tui

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"

	"signalbox/engine/view"
	"signalbox/tui/internal/sample"
)

// playing moves on a step each time it is looked at.
type playing struct{ *sample.Source }

func (p playing) Snapshot() *view.Snapshot {
	p.Step(1)
	return p.Source.Snapshot()
}

// crlf is a terminal line discipline: a line feed returns the carriage.
type crlf struct{ w io.Writer }

func (c crlf) Write(b []byte) (int, error) {
	if _, err := c.w.Write(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// TestScreenEqualsFrame runs the whole program on a fake clock and compares
// what the incremental renderer left on an emulated screen with the frame.
func TestScreenEqualsFrame(t *testing.T) {
	for _, sc := range []sample.Scene{sample.HotShard, sample.BadRoom} {
		t.Run(string(sc), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { screenEqualsFrame(t, sc) })
		})
	}
}

func screenEqualsFrame(t *testing.T, sc sample.Scene) {
	const w, h = 80, 24
	em := vt.NewSafeEmulator(w, h)
	go func() { _, _ = io.Copy(io.Discard, em) }()
	defer em.Close()
	m := New(playing{sample.NewSource(sc, 0)}, Options{})
	p := tea.NewProgram(m, tea.WithInput(nil), tea.WithOutput(crlf{em}), tea.WithoutSignals(), tea.WithoutSignalHandler(),
		tea.WithWindowSize(w, h), tea.WithFPS(10), tea.WithEnvironment([]string{"TERM=xterm-256color"}), tea.WithColorProfile(colorprofile.ANSI256))
	ended := make(chan error, 1)
	go func() { _, err := p.Run(); ended <- err }()
	// Ticks come at quarters of a second and are flushed within a tenth: look
	// in between.
	time.Sleep(180 * time.Millisecond)
	for _, keys := range [][]string{{}, {"2", "j"}, {"R"}, {"esc", "3", "enter"}, {"4", "j", "j"}, {"space"}, {"space", "5"}, {"1"}} {
		for _, k := range keys {
			p.Send(keyPress(k))
		}
		time.Sleep(7 * time.Second)
		synctest.Wait()
		want := strings.Split(ansi.Strip(m.frame), "\n")
		for y := range h {
			if got := screenRow(em, y, w); got != want[y] {
				t.Errorf("after %v, row %d:\n screen %q\n frame  %q", keys, y, got, want[y])
			}
		}
	}
	p.Quit()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	time.Sleep(time.Second) // the last tick ends inside the bubble
}

func screenRow(em *vt.SafeEmulator, y, w int) string {
	var b strings.Builder
	for x := range w {
		switch c := em.CellAt(x, y); {
		case c == nil || c.Content == "" && c.Width == 1:
			b.WriteByte(' ')
		default:
			b.WriteString(c.Content)
		}
	}
	return b.String()
}

// TestRunEnds: the end of the context is not an error, a failing source is one
// that names its cause.
func TestRunEnds(t *testing.T) {
	run := func(ctx context.Context, src Source) error {
		in, keep := io.Pipe()
		defer keep.Close()
		return Run(ctx, src, RunOptions{In: in, Out: io.Discard, Env: []string{"TERM=dumb"}, Width: 80, Height: 24})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := run(ctx, sample.NewSource(sample.Healthy, 0)); err != nil {
		t.Errorf("cancelled: %v", err)
	}
	err := run(context.Background(), panicking{sample.NewSource(sample.Healthy, 0)})
	if !errors.Is(err, ErrFault) || !strings.Contains(err.Error(), "no snapshot today") {
		t.Errorf("failing source: %v", err)
	}
}

// TestLeavingWaitsForTheLastAnswer: what the terminal still has to say is heard
// before the console closes, for a second at the most; a second key, and a
// terminal that never answers, are not kept waiting.
func TestLeavingWaitsForTheLastAnswer(t *testing.T) {
	quits := func(cmd tea.Cmd) bool {
		if cmd == nil {
			return false
		}
		_, yes := cmd().(tea.QuitMsg)
		return yes
	}
	open := func(answers bool) *bench {
		b := newBench(t, sample.HotShard, 80, 24, 5, Options{})
		if answers {
			b.msg(tea.CursorPositionMsg{})
		}
		b.tick(4)
		if !b.m.pace.waiting {
			t.Fatal("the console has not asked")
		}
		return b
	}
	synctest.Test(t, func(t *testing.T) {
		b, began := open(true), time.Now()
		_, late := b.m.Update(keyPress("q"))
		_, last := b.m.Update(tea.CursorPositionMsg{})
		if !quits(last) || time.Since(began) > 0 {
			t.Error("the answer does not close it")
		}
		if !quits(late) || time.Since(began) != leaveFor {
			t.Errorf("without an answer it closes after %s", time.Since(began))
		}
		b, began = open(true), time.Now()
		b.m.Update(keyPress("q"))
		_, twice := b.m.Update(keyPress("q"))
		_, never := open(false).m.Update(keyPress("q"))
		if !quits(twice) || !quits(never) || time.Since(began) > 0 {
			t.Error("it waits where nobody will answer, or longer than one wants")
		}
	})
}
