package tui

import (
	"fmt"

	"signalbox/tui/cell"
	"signalbox/tui/style"
)

// box is a window over the pane with rows to read: it takes the keys until it
// is closed.
type box struct {
	title string
	width int // at most
	// rows makes the text for a width, foot the last line.
	rows func(w int, st *style.Set) []string
	foot func() string
}

// open shows a box.
func (m *Model) openBox(b *box) { m.box, m.mode, m.help = b, boxed, 0 }

// boxRows is the inside of the box, h rows at most.
func (m *Model) boxRows(w, h int, st *style.Set) []string {
	out := m.box.rows(w, st)
	room := max(1, h-2)
	m.help = max(0, min(m.help, len(out)-room))
	foot := m.box.foot()
	if len(out) > room {
		foot = fmt.Sprintf("%d to %d of %d: j and k move.  %s", m.help+1, m.help+room, len(out), foot)
		out = out[m.help : m.help+room]
	}
	return append(out, cell.NewLine(st, w).String(), cell.NewLine(st, w).Add(style.Dim, cell.Fit(foot, w, "…")).String())
}
