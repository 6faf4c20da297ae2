package pane

import (
	"strings"

	"signalbox/tui/cell"
	"signalbox/tui/style"
)

// Action is what a pane can be told to do.
type Action uint8

// The actions.
const (
	Up Action = iota
	Down
	PageUp
	PageDown
	Top
	Bottom
	Enter  // deeper, or go there
	Back   // one level up
	Filter // show only what matches the text
	Select // put the cursor on the id given
)

// Jump asks the root to open another pane at a subject.
type Jump struct {
	Pane    string // as in view.Cause.Pane; empty: stay
	Subject string
	Handled bool // the action did something here
}

// list is a selection over ids. It follows ids, not row numbers: when rows
// move, the cursor moves with its row; when the row goes, the cursor stays
// where it was.
type list struct {
	ids []string
	sel string
	at  int // where sel was last seen
}

// sync takes the new ids in their order.
func (l *list) sync(ids []string) {
	l.ids = ids
	for i, id := range ids {
		if id == l.sel {
			l.at = i
			return
		}
	}
	l.at = max(0, min(l.at, len(ids)-1))
	l.sel = ""
	if len(ids) > 0 {
		l.sel = ids[l.at]
	}
}

// hold orders new ids by the old order where rows must keep their places; new
// ones go to the end.
func (l *list) hold(ids []string, on bool) []string {
	if !on || len(l.ids) == 0 {
		return ids
	}
	fresh := make(map[string]bool, len(ids))
	for _, id := range ids {
		fresh[id] = true
	}
	out := make([]string, 0, len(ids))
	for _, id := range l.ids {
		if fresh[id] {
			out = append(out, id)
			delete(fresh, id)
		}
	}
	for _, id := range ids {
		if fresh[id] {
			out = append(out, id)
			delete(fresh, id)
		}
	}
	return out
}

func (l *list) move(a Action) bool {
	at := l.at
	switch a {
	case Up:
		at--
	case Down:
		at++
	case PageUp:
		at -= 10
	case PageDown:
		at += 10
	case Top:
		at = 0
	case Bottom:
		at = len(l.ids) - 1
	default:
		return false
	}
	l.put(at)
	return true
}

func (l *list) put(at int) {
	if len(l.ids) == 0 {
		return
	}
	l.at = max(0, min(at, len(l.ids)-1))
	l.sel = l.ids[l.at]
}

func (l *list) pick(id string) bool {
	for i, have := range l.ids {
		if have == id {
			l.put(i)
			return true
		}
	}
	return false
}

// window gives the first and one past the last row to show in n rows, keeping
// the cursor inside. It is computed, not stored, so that drawing stays pure.
func (l *list) window(n int) (from, to int) {
	if n <= 0 {
		return 0, 0
	}
	from = 0
	if l.at >= n {
		from = min(l.at-n/2, len(l.ids)-n)
	}
	from = max(0, min(from, len(l.ids)-n))
	return from, min(len(l.ids), from+n)
}

// col is one column of a table. A column of width 0 takes what is left.
type col struct {
	head  string
	w     int
	right bool
	min   int // the least table width at which the column is shown
}

// cellText is one cell: a text in a style.
type cellText struct {
	s style.Style
	t string
}

func c(s style.Style, t string) cellText { return cellText{s, t} }

// table draws a head and rows of which the selected one is marked by a sign
// and by its ground. row is asked for the cells of an id, in column order.
type table struct {
	cols   []col
	l      *list
	row    func(id string) []cellText
	empty  string // said when there are no rows
	filter string // in force: then there are rows it does not match
	nocurs bool   // the table does not have the cursor
	nohead bool
}

// widths settles the columns for a table of width w: which are shown, and how
// wide the flexible one is.
func (t *table) widths(w int) []int {
	out := make([]int, len(t.cols))
	used, flex := 2, -1
	for i, c := range t.cols {
		if w < c.min {
			out[i] = -1
			continue
		}
		out[i] = c.w
		if c.w == 0 {
			flex = i
		}
		used += c.w + 1
	}
	// On a screen too narrow for all of them columns go from the right, whole:
	// half a number is a wrong number.
	need := used
	if flex >= 0 {
		need += flexLeast
	}
	for i := len(t.cols) - 1; i > 0 && need > w+1; i-- {
		if i != flex && out[i] >= 0 {
			need, used = need-t.cols[i].w-1, used-t.cols[i].w-1
			out[i] = -1
		}
	}
	if flex >= 0 {
		out[flex] = max(4, w-used)
	}
	return out
}

// flexLeast is the least width of a flexible column while there are others to
// give up.
const flexLeast = 10

func (t *table) draw(w, h int, st *style.Set) []string {
	if h <= 0 {
		return nil
	}
	widths := t.widths(w)
	var out []string
	if !t.nohead {
		ln := cell.NewLine(st, w).Space(2)
		for i, c := range t.cols {
			if widths[i] < 0 {
				continue
			}
			place(ln, cellText{style.Dim, c.head}, widths[i], c.right)
		}
		out = append(out, ln.String())
	}
	if len(t.l.ids) == 0 {
		out = append(out, cell.NewLine(st, w).Space(2).Add(style.Dim, t.nothing()).String())
		return cell.Block(out, w, h)
	}
	rows := h - len(out)
	more := ""
	if len(t.l.ids) > rows && rows > 2 {
		rows--
		more = "+"
	}
	from, to := t.l.window(rows)
	for i := from; i < to; i++ {
		out = append(out, t.line(i, w, widths, st))
	}
	if more != "" {
		ln := cell.NewLine(st, w).Space(2).Add(style.Dim, rangeText(from, to, len(t.l.ids)))
		out = append(out, ln.String())
	}
	return cell.Block(out, w, h)
}

func (t *table) line(i, w int, widths []int, st *style.Set) string {
	ln := cell.NewLine(st, w)
	selected := i == t.l.at && !t.nocurs
	ln.Selected(selected)
	if selected {
		ln.Cell(style.Focus, st.Glyph.Cursor, 2)
	} else {
		ln.Space(2)
	}
	cells := t.row(t.l.ids[i])
	for j, c := range t.cols {
		if widths[j] < 0 {
			continue
		}
		var ct cellText
		if j < len(cells) {
			ct = cells[j]
		}
		place(ln, ct, widths[j], c.right)
	}
	return ln.String()
}

func place(ln *cell.Line, c cellText, w int, right bool) {
	if right {
		ln.Right(c.s, c.t, w)
	} else {
		ln.Cell(c.s, c.t, w)
	}
	ln.Space(1)
}

// match tells whether any of the fields contains the filter's text; a filter
// that begins with ! keeps what does not contain it.
func match(filter string, fields ...string) bool {
	want := strings.ToLower(strings.TrimSpace(filter))
	if want == "" || want == "!" {
		return true
	}
	not := strings.HasPrefix(want, "!")
	want = strings.TrimPrefix(want, "!")
	for _, f := range fields {
		if strings.Contains(strings.ToLower(f), want) {
			return !not
		}
	}
	return not
}

// nothing says why there are no rows.
func (t *table) nothing() string {
	if t.filter != "" {
		return "nothing matches the filter; esc takes it away"
	}
	return t.empty
}
