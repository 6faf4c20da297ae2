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

// openChanges opens the box of differences.
func (m *Model) openChanges() {
	var then, now *view.Snapshot
	var name string
	m.openBox(&box{title: "what has changed", width: 110, rows: func(w int, st *style.Set) []string {
		then, name = m.compared()
		now = m.data().Snap
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
		return out
	}, foot: func() string {
		return fmt.Sprintf("since %s, %s; M marks, esc closes", name, cell.Seconds(now.At.Sub(then.At).Seconds()))
	}})
}

// compared is what the box compares with, and how that came.
func (m *Model) compared() (*view.Snapshot, string) {
	if m.mark != nil {
		return m.mark, "the mark at " + m.mark.At.Format("15:04:05")
	}
	if w := m.feed.Well(); w != nil && m.data().Snap.Node.Health.Verdict != "ok" && w.At.Before(m.data().Now) {
		return w, "it was last well, " + w.At.Format("15:04:05")
	}
	s := m.feed.Oldest(m.data().Now.Add(-time.Minute))
	return s, s.At.Format("15:04:05")
}
