package tui

import (
	"fmt"
	"time"

	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/pane"
	"signalbox/tui/style"
)

// setMark keeps the moment shown, to compare with later.
func (m *Model) setMark() {
	m.mark = m.data().Snap
	m.say(style.Text, "marked "+m.mark.At.Format("15:04:05")+"; D shows what has changed since")
}

// compare opens the box of differences; where nothing was marked, with the
// oldest moment this console remembers.
func (m *Model) compare() { m.mode, m.help = comparing, 0 }

// compared is what the box compares with, and how that came.
func (m *Model) compared() (*view.Snapshot, string) {
	if m.mark != nil {
		return m.mark, "the mark at " + m.mark.At.Format("15:04:05")
	}
	s := m.feed.Oldest(m.data().Now.Add(-time.Minute))
	return s, s.At.Format("15:04:05")
}

// compareBox is the inside of the box, h rows at most.
func (m *Model) compareBox(w, h int, st *style.Set) []string {
	then, name := m.compared()
	now := m.data().Snap
	if now.At.Before(then.At) {
		then, now = now, then
		name = then.At.Format("15:04:05") + " to " + name
	}
	var out []string
	for _, c := range pane.Changes(then, now) {
		out = append(out, cell.NewLine(st, w).Add(style.Dim, c.Sign+" ").Add(c.Style, cell.Fit(c.Text, w-2, "…")).String())
	}
	if len(out) == 0 {
		out = append(out, cell.NewLine(st, w).Add(style.Dim, "nothing an operator would care about").String())
	}
	m.help = min(m.help, max(0, len(out)-(h-2)))
	out = out[m.help:]
	out = out[:min(len(out), h-2)]
	foot := fmt.Sprintf("since %s, %s; M marks, j and k move, esc closes", name, cell.Seconds(now.At.Sub(then.At).Seconds()))
	return append(out, cell.NewLine(st, w).String(), cell.NewLine(st, w).Add(style.Dim, foot).String())
}
