package pane

import (
	"fmt"

	"signalbox/tui/cell"
	"signalbox/tui/style"
)

// box is a titled section. Where there is room it is a frame; in little room
// it is a title rule, since a frame costs two columns and a row.
type box struct {
	title string
	note  string // at the right of the title
	focus bool
	alarm style.Style // style of the title when something is wrong in it
}

// framed tells whether a section of this size gets a full frame.
func framed(w, h int) bool { return w >= 56 && h >= 5 }

// inner is the room inside a section.
func inner(w, h int, frame bool) (int, int) {
	if frame {
		return max(0, w-4), max(0, h-2)
	}
	return w, max(0, h-1)
}

// draw puts rows, drawn for the inner size, into the section.
func (b box) draw(rows []string, w, h int, frame bool, st *style.Set) []string {
	if h <= 0 || w <= 0 {
		return make([]string, max(h, 0))
	}
	iw, ih := inner(w, h, frame)
	rows = cell.Block(rows, iw, ih)
	out := make([]string, 0, h)
	out = append(out, b.top(w, frame, st))
	if !frame {
		return append(out, rows...)
	}
	edge := b.edge()
	side := st.On(edge, false) + st.Glyph.V + st.Off()
	for _, r := range rows {
		out = append(out, side+" "+r+" "+side)
	}
	if h > 1 {
		ln := cell.NewLine(st, w).Add(edge, st.Glyph.BL).Fill(edge, st.Glyph.H, w-2).Add(edge, st.Glyph.BR)
		out = append(out, ln.String())
	}
	return out
}

func (b box) edge() style.Style {
	if b.focus {
		return style.Focus
	}
	return style.Border
}

func (b box) top(w int, frame bool, st *style.Set) string {
	edge, title := b.edge(), style.Title
	if b.alarm != style.Text {
		title = b.alarm
	}
	ln := cell.NewLine(st, w)
	if frame {
		ln.Add(edge, st.Glyph.TL+st.Glyph.H+" ")
	} else {
		ln.Add(edge, st.Glyph.H+" ")
	}
	ln.Add(title, cell.Fit(cell.Clean(b.title), max(0, ln.Left()-3), "…")).Space(1)
	note := cell.Clean(b.note)
	if nw := cell.Width(note); note != "" && ln.Left() >= nw+6 {
		ln.Fill(edge, st.Glyph.H, ln.Left()-nw-4).Space(1).Add(style.Dim, note).Space(1)
	}
	if frame {
		ln.Fill(edge, st.Glyph.H, ln.Left()-1).Add(edge, st.Glyph.TR)
	} else {
		ln.Fill(edge, st.Glyph.H, ln.Left())
	}
	return ln.String()
}

func rangeText(from, to, n int) string {
	return fmt.Sprintf("%d to %d of %d", from+1, to, n)
}

// filterNote says what a filter leaves.
func filterNote(filter string, shown, all int) string {
	if filter == "" {
		return ""
	}
	return fmt.Sprintf("filter %q: %d of %d", cell.Fit(cell.Clean(filter), 24, "…"), shown, all)
}
