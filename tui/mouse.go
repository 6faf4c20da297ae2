package tui

import (
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"signalbox/tui/pane"
	"signalbox/tui/style"
)

// The mouse is off until :mouse asks for it, for while a console listens to it
// the terminal's own selection and pasting need the shift key. It does what keys
// do, and it never acts on the node: prompts are answered by keys.

// toggleMouse begins or ends to listen to the mouse.
func (m *Model) toggleMouse() {
	if m.mouse = !m.mouse; m.mouse {
		m.say(style.Dim, "mouse on: a click opens or marks, another enters; shift selects text")
		return
	}
	m.say(style.Dim, "mouse off: the terminal selects text")
}

// onWheel is the arrow keys, wherever keys go.
func (m *Model) onWheel(w tea.MouseWheelMsg, now time.Time) tea.Cmd {
	switch w.Button {
	case tea.MouseWheelUp:
		return m.onKey(tea.KeyPressMsg{Code: tea.KeyUp}, now)
	case tea.MouseWheelDown:
		return m.onKey(tea.KeyPressMsg{Code: tea.KeyDown}, now)
	default:
		return nil
	}
}

// onClick opens the pane whose name was clicked, or marks the row; on the row
// that is marked it is enter. Over boxes and prompts it is nothing.
func (m *Model) onClick(c tea.MouseClickMsg, now time.Time) tea.Cmd {
	if !m.mouse || c.Button != tea.MouseLeft || m.prompt != nil || m.mode != normal || m.w == 0 || m.tooSmallToAct() {
		return nil
	}
	rows := strings.Split(m.frame, "\n")
	if c.Y == 1 {
		if i := m.tabAt(c.X); i >= 0 {
			return m.onKey(tea.KeyPressMsg{Code: rune('1' + i), Text: string(rune('1' + i))}, now)
		}
		return nil
	}
	y, _ := m.cursorIn(rows)
	switch {
	case y < 0 || c.Y < 2 || c.Y >= len(rows)-1:
		return nil
	case y == c.Y:
		return m.onKey(tea.KeyPressMsg{Code: tea.KeyEnter}, now)
	}
	m.lastKey = now
	m.walk(rows, c.Y)
	m.apply()
	m.paint(now)
	return m.fetch()
}

// tabAt is the pane whose name stands at a column of the tab bar; -1: none.
func (m *Model) tabAt(x int) int {
	limit := m.tabLimit()
	for i := range m.tabs {
		if x -= m.tabWidth(i, limit); x < 0 {
			return i
		}
	}
	return -1
}

// cursorIn finds the marked row in drawn rows: its row and column, or -1.
func (m *Model) cursorIn(rows []string) (y, x int) {
	st := m.set()
	mark := st.On(style.Focus, true) + st.Glyph.Cursor
	for y, r := range rows {
		if before, _, ok := strings.Cut(r, mark); ok {
			return y, ansi.StringWidth(before)
		}
	}
	return -1, 0
}

// walk moves the cursor to the row at y, as often as rows lie between, for a
// list may scroll under it. Where that is no row of the list it stays.
func (m *Model) walk(rows []string, y int) {
	at, x := m.cursorIn(rows)
	want := beginning(rows[y], x)
	down := at < y
	there, back, n := pane.Up, pane.Down, at-y
	if down {
		there, back, n = pane.Down, pane.Up, y-at
	}
	moved := 0
	for range n {
		m.act(there, "")
		next := m.body(m.h-3, m.set())
		next = append(rows[:2:2], next...)
		if slices.Equal(next[2:], rows[2:len(next)]) {
			break // the end of the list
		}
		rows, moved = next, moved+1
		if at, x = m.cursorIn(rows); at < 0 || at == y || down == (at > y) {
			break
		}
	}
	if at < 0 || beginning(rows[at], x) != want {
		for range moved {
			m.act(back, "")
		}
	}
}

// beginning is how a row of a list whose cursor is at column x begins.
func beginning(row string, x int) string { return ansi.Strip(ansi.Cut(row, x+2, x+14)) }
