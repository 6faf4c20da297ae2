package tui

import (
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"signalbox/tui/internal/sample"
)

// bench is a console on a table: a model with a clock and a source of its own.
type bench struct {
	t   *testing.T
	m   *Model
	src *sample.Source
	now time.Time
}

// newBench opens a console of a size after secs seconds of a scene, looked at
// once a second, so that charts have something to show.
func newBench(t *testing.T, sc sample.Scene, w, h, secs int, opt Options) *bench {
	t.Helper()
	b := &bench{t: t, src: sample.NewSource(sc, 0), now: sample.Start}
	opt.Now = func() time.Time { return b.now }
	b.m = New(b.src, opt)
	for range secs {
		b.now = b.now.Add(time.Second)
		b.src.Step(4)
		b.m.poll(b.now)
	}
	b.m.lastKey = b.now.Add(-time.Hour)
	b.msg(tea.WindowSizeMsg{Width: w, Height: h})
	return b
}

// msg delivers a message and runs what commands come of it, except the clock.
func (b *bench) msg(msg tea.Msg) {
	b.t.Helper()
	_, cmd := b.m.Update(msg)
	b.run(cmd)
}

func (b *bench) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case planMsg, doneMsg, pastMsg, answerMsg:
		b.msg(msg)
	case tea.BatchMsg:
		for _, c := range msg {
			b.run(c)
		}
	}
}

var named = map[string]rune{
	"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "up": tea.KeyUp, "down": tea.KeyDown, "left": tea.KeyLeft,
	"right": tea.KeyRight, "space": tea.KeySpace, "backspace": tea.KeyBackspace, "f3": tea.KeyF3,
}

// press sends keys by the names the model sees.
func (b *bench) press(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		b.msg(keyPress(k))
	}
}

func keyPress(k string) tea.KeyPressMsg {
	if code, ok := named[k]; ok {
		m := tea.KeyPressMsg{Code: code}
		if k == "space" {
			m.Text = " "
		}
		return m
	}
	return tea.KeyPressMsg{Code: []rune(k)[0], Text: k}
}

// tick lets one quarter of a second pass in the console, steps in the node.
func (b *bench) tick(steps int) {
	b.t.Helper()
	b.now = b.now.Add(tickEvery)
	b.src.Step(steps)
	b.m.onTick(b.now)
}
