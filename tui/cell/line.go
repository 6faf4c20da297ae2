package cell

import (
	"strings"

	"signalbox/tui/style"
)

// Line is one row being written, from the left, never wider than its width.
// What does not fit is cut and marked. Text is cleaned on the way in.
type Line struct {
	set      *style.Set
	b        strings.Builder
	w, max   int
	selected bool
}

// NewLine starts a row of exactly width cells.
func NewLine(set *style.Set, width int) *Line { return &Line{set: set, max: max(width, 0)} }

// Selected draws everything from here on, the padding too, on the ground of
// the selected row.
func (l *Line) Selected(on bool) *Line { l.selected = on; return l }

// Left is how many cells are still free.
func (l *Line) Left() int { return l.max - l.w }

// Add writes text in a style.
func (l *Line) Add(s style.Style, text string) *Line {
	text = Fit(l.clean(text), l.Left(), l.set.Glyph.Ellipsis)
	l.put(s, text, Width(text))
	return l
}

// clean is Clean; where the glyphs are ASCII, so is all text.
func (l *Line) clean(s string) string {
	s = Clean(s)
	if l.set.Glyph.Ellipsis == "…" || plain(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r <= '~':
			return r
		case r == '…':
			return '~'
		case r == 'µ':
			return 'u'
		}
		return '?'
	}, s)
}

// Cell writes text into a column of w cells, at its left.
func (l *Line) Cell(s style.Style, text string, w int) *Line {
	w = min(w, l.Left())
	text = Fit(l.clean(text), w, l.set.Glyph.Ellipsis)
	n := Width(text)
	l.put(s, text, n)
	return l.Space(w - n)
}

// Right writes text into a column of w cells, at its right.
func (l *Line) Right(s style.Style, text string, w int) *Line {
	w = min(w, l.Left())
	text = Fit(l.clean(text), w, l.set.Glyph.Ellipsis)
	n := Width(text)
	l.Space(w - n)
	l.put(s, text, n)
	return l
}

// Space writes n blanks.
func (l *Line) Space(n int) *Line {
	if n = min(n, l.Left()); n > 0 {
		l.put(style.Text, strings.Repeat(" ", n), n)
	}
	return l
}

// Fill repeats a one-cell glyph n times.
func (l *Line) Fill(s style.Style, glyph string, n int) *Line {
	if n = min(n, l.Left()); n > 0 {
		l.put(s, strings.Repeat(glyph, n), n)
	}
	return l
}

// Raw appends a finished row, already styled, of known width. It is cut out
// altogether when it does not fit.
func (l *Line) Raw(row string, w int) *Line {
	if w <= l.Left() {
		l.b.WriteString(row)
		l.w += w
	}
	return l
}

// String pads the row to its width and returns it.
func (l *Line) String() string {
	l.Space(l.Left())
	return l.b.String()
}

func (l *Line) put(s style.Style, text string, n int) {
	if n == 0 {
		return
	}
	on := l.set.On(s, l.selected)
	l.b.WriteString(on)
	l.b.WriteString(text)
	if on != "" {
		l.b.WriteString(l.set.Off())
	}
	l.w += n
}

// Blank is an empty row.
func Blank(w int) string { return strings.Repeat(" ", max(w, 0)) }

// Block cuts or fills rows of width w to exactly h rows.
func Block(rows []string, w, h int) []string {
	if h <= 0 || w <= 0 {
		return make([]string, max(h, 0))
	}
	out := make([]string, 0, h)
	out = append(out, rows[:min(len(rows), h)]...)
	for len(out) < h {
		out = append(out, Blank(w))
	}
	return out
}

// Beside joins two blocks of equal height with gap blanks between them.
func Beside(left, right []string, gap int) []string {
	n := min(len(left), len(right))
	out := make([]string, n)
	for i := range n {
		out[i] = left[i] + Blank(gap) + right[i]
	}
	return out
}
