package tui

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"signalbox/tui/internal/sample"
)

func (b *bench) click(x, y int) {
	b.t.Helper()
	b.msg(tea.MouseClickMsg{X: x, Y: y, Button: tea.MouseLeft})
}

func (b *bench) mouseOn() {
	b.press(":")
	b.typeText("mouse")
	b.press("enter")
}

func (b *bench) lines() []string { return strings.Split(b.m.frame, "\n") }

// TestMouseIsAskedFor: the terminal's own selection works until then.
func TestMouseIsAskedFor(t *testing.T) {
	b := newBench(t, sample.HotShard, 80, 24, 5, Options{})
	b.click(12, 1)
	if b.m.cur != 0 || b.m.View().MouseMode != tea.MouseModeNone {
		t.Fatal("it listens without being asked")
	}
	b.mouseOn()
	if b.m.View().MouseMode != tea.MouseModeCellMotion {
		t.Fatal("it does not listen")
	}
	b.mouseOn()
	if b.m.View().MouseMode != tea.MouseModeNone {
		t.Fatal("it does not stop")
	}
}

// TestClickOpensPanes: whatever the width, a click on any letter of a name opens
// that pane.
func TestClickOpensPanes(t *testing.T) {
	for _, w := range []int{40, 80, 120, 200} {
		b := newBench(t, sample.HotShard, w, 24, 5, Options{NoColor: true})
		b.mouseOn()
		for i := range b.m.tabs {
			for off := range 3 + len(b.m.tabs[i].name) {
				b.m.open((i + 1) % len(b.m.tabs))
				b.m.paint(b.now)
				bar := []rune(strings.Split(text(b), "\n")[1])
				at := len([]rune(string(bar)[:strings.Index(string(bar), " "+string(rune('1'+i)))]))
				if off >= b.m.tabWidth(i, b.m.tabLimit()) {
					break
				}
				if b.click(at+off, 1); b.m.cur != i {
					t.Fatalf("width %d, column %d: pane %d is open, not %d:\n%s", w, at+off, b.m.cur, i, string(bar))
				}
			}
		}
		b.press("3")
		if b.click(w-1, 1); b.m.cur != 2 {
			t.Errorf("width %d: a click beside the names opens %d", w, b.m.cur)
		}
	}
}

// TestClickMarksTheRow: in every pane, wherever one clicks: the row clicked is
// marked, or the mark stays where it was. The node hears nothing of it.
func TestClickMarksTheRow(t *testing.T) {
	for _, sc := range []sample.Scene{sample.HotShard, sample.BadRoom} {
		for pane := range 8 {
			for _, keys := range [][]string{nil, {"G"}} {
				b := newBench(t, sc, 80, 24, 5, Options{})
				b.mouseOn()
				b.press(string(rune('1' + pane)))
				b.press(keys...)
				clickEverywhere(t, b)
				if len(b.src.Commands()) != 0 {
					t.Errorf("pane %d: the node was told %+v", pane, b.src.Commands())
				}
			}
		}
	}
}

// clickEverywhere clicks on every row but the marked one.
func clickEverywhere(t *testing.T, b *bench) {
	t.Helper()
	marked := 0
	for y := 2; y < 23; y++ {
		rows := b.lines()
		was, x := b.m.cursorIn(rows)
		if was < 0 || was == y {
			continue
		}
		want, stays := beginning(rows[y], x), beginning(rows[was], x)
		b.click(x+4, y)
		rows = b.lines()
		now, x := b.m.cursorIn(rows)
		if now < 0 {
			t.Fatalf("after a click on row %d nothing is marked:\n%s", y, text(b))
		}
		switch got := beginning(rows[now], x); {
		case got == want:
			marked++
		case got != stays || now != was:
			t.Fatalf("a click on row %d, %q, marks row %d, %q (before: %d, %q):\n%s", y, want, now, got, was, stays, text(b))
		}
	}
	if name := b.m.tabs[b.m.cur].name; name == "shards" && marked < 10 {
		t.Errorf("%s: clicks marked %d rows:\n%s", name, marked, text(b))
	}
}

// TestClickOnTheMarkedRowEnters, and the wheel is the arrows; over a prompt a
// click is nothing.
func TestClickOnTheMarkedRowEnters(t *testing.T) {
	b := newBench(t, sample.BadRoom, 80, 24, 5, Options{})
	b.mouseOn()
	b.press("3", "g")
	y, x := b.m.cursorIn(b.lines())
	b.msg(tea.MouseWheelMsg{Button: tea.MouseWheelDown})
	if now, _ := b.m.cursorIn(b.lines()); now != y+1 {
		t.Fatalf("the wheel moved the mark from row %d to %d", y, now)
	}
	b.msg(tea.MouseWheelMsg{Button: tea.MouseWheelUp})
	b.click(x, y)
	if !strings.Contains(text(b), "esc: rooms") {
		t.Fatalf("the room is not entered:\n%s", text(b))
	}
	b.press("K")
	before := b.m.frame
	for y := range 24 {
		for x := 0; x < 80; x += 3 {
			b.click(x, y)
		}
	}
	if b.m.frame != before {
		t.Errorf("clicks changed the prompt:\n%s", text(b))
	}
	if c := b.src.Commands(); len(c) != 1 || !c[0].DryRun {
		t.Errorf("clicks sent %+v", c)
	}
}
