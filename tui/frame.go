package tui

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/key"
	"signalbox/tui/pane"
	"signalbox/tui/style"
)

// render makes one frame of exactly m.h rows of m.w cells.
func (m *Model) render(now time.Time) string {
	st := m.set()
	if m.tooSmallToAct() {
		return strings.Join(m.tooSmall(st), "\n")
	}
	d := m.data()
	body := m.h - 3
	rows := make([]string, 0, m.h)
	rows = append(rows, m.header(d.Snap, now, st), m.tabBar(d.Snap, st))
	rows = append(rows, m.body(body, st)...)
	rows = append(rows, m.footer(st))
	return strings.Join(rows, "\n")
}

func (m *Model) body(h int, st *style.Set) []string {
	rows := cell.Block(m.tabs[m.cur].Draw(m.w, h, st), m.w, h)
	switch {
	case m.prompt != nil:
		w, room := min(m.w-8, 84), h-4
		if m.w < 60 || h < 14 {
			w, room = min(m.w, 84), h-2
		}
		inside := m.promptRows(w-4, room, st)
		return over(rows, frameAround(m.prompt.in.Title+": "+m.prompt.in.On, inside, w, st), m.w, h)
	case m.mode == helping:
		w := min(m.w-4, 92)
		return over(rows, frameAround("keys that work here", m.helpBox(w-4, h-2, st), w, st), m.w, h)
	case m.mode == boxed:
		w := min(m.w-4, m.box.width)
		return over(rows, frameAround(m.box.title, m.boxRows(w-4, h-4, st), w, st), m.w, h)
	case m.mode == commanding:
		w := min(m.w-4, 100)
		return over(rows, frameAround("command", m.lineRows(w-4, h-4, st), w, st), m.w, h)
	}
	return rows
}

// frameAround puts rows of w-4 cells into a frame of w.
func frameAround(title string, rows []string, w int, st *style.Set) []string {
	g := &st.Glyph
	ln := cell.NewLine(st, w).Add(style.Focus, g.TL+g.H+" ").Add(style.Title, cell.Fit(cell.Clean(title), w-6, "…")).Space(1)
	ln.Fill(style.Focus, g.H, ln.Left()-1).Add(style.Focus, g.TR)
	out := []string{ln.String()}
	side := st.On(style.Focus, false) + g.V + st.Off()
	for _, r := range rows {
		out = append(out, side+" "+r+" "+side)
	}
	return append(out, cell.NewLine(st, w).Add(style.Focus, g.BL).Fill(style.Focus, g.H, w-2).Add(style.Focus, g.BR).String())
}

// over lays a box over the middle of rows, a blank column at either side of
// it so that neither runs into the other.
func over(rows, box []string, w, h int) []string {
	if len(box) == 0 {
		return rows
	}
	bw := ansi.StringWidth(box[0])
	left, top := max(0, (w-bw)/2), max(0, (h-len(box))/3)
	out := append([]string(nil), rows...)
	for i, b := range box {
		if top+i >= len(out) {
			break
		}
		under := out[top+i]
		l := ansi.Truncate(under, max(0, left-1), "") + "\x1b[m"
		l += cell.Blank(left - ansi.StringWidth(l))
		r := ansi.TruncateLeft(under, left+bw+1, "")
		r = cell.Blank(w-left-bw-ansi.StringWidth(r)) + r + "\x1b[m"
		out[top+i] = l + b + r
	}
	return out
}

// header is the first row: who, how, how much; at the right whether what is
// shown is now.
func (m *Model) header(s *view.Snapshot, now time.Time, st *style.Set) string {
	right := cell.NewLine(st, m.w)
	m.sign(right, now, st)
	rw := m.w - right.Left()
	ln := cell.NewLine(st, m.w-rw-1)
	name := "signalbox"
	if m.opt.Title != "" {
		w := 16
		if m.w >= 100 {
			w = 24
		}
		name += " " + cell.Name(m.opt.Title, w)
	}
	ln.Add(style.Focus, name).Space(1)
	people := 0
	for i := range s.Rooms {
		people += s.Rooms[i].Local()
	}
	ss := style.OK
	if s.Node.State != "ready" {
		ss = style.Warn
	}
	drops := m.data().DropRate()
	ds, dt := style.Dim, "drops 0/s"
	if drops > 0 {
		ds, dt = style.Bad, "drops "+cell.Rate(drops)+"/s"
	}
	parts := []struct {
		s style.Style
		t string
	}{
		{style.Strong, cell.Fit(cell.Clean(s.Node.NodeID), 8, "")},
		{ss, cell.Name(s.Node.State, 9)},
		{ds, dt},
		{style.Text, "up " + cell.Seconds(s.Node.UptimeS)},
		{style.Text, fmt.Sprintf("%d in %s", people, view.Plural(len(s.Rooms), "room"))},
		{style.Dim, cell.Name(s.Node.Version, 24)},
	}
	for _, p := range parts {
		if ln.Left() < cell.Width(p.t)+1 {
			break // what is less important does not take its place
		}
		ln.Add(p.s, p.t).Space(2)
	}
	return ln.String() + " " + trimmed(right, rw)
}

// trimmed is a row's text without its padding.
func trimmed(ln *cell.Line, w int) string { return ansi.Truncate(ln.String(), w, "") }

// sign tells LIVE, FROZEN, STALE or GONE, in words; and of a slow link.
func (m *Model) sign(ln *cell.Line, now time.Time, st *style.Set) {
	g := &st.Glyph
	if n := m.pace.slow(now); n > 0 {
		ln.Add(style.Warn, fmt.Sprintf("link slow, %d skipped", n)).Space(2)
	}
	switch age := m.stale(); {
	case m.frozen != nil && m.past != nil:
		ln.Add(style.WarnBadge, m.pastSign(g))
	case m.frozen != nil:
		ln.Add(style.WarnBadge, " "+g.Pause+" FROZEN "+frozenFor(now.Sub(m.frozenAt))+" ")
		live := m.feed.Data().Snap.Node.Health
		if live.Verdict != m.frozen.Snap.Node.Health.Verdict {
			text, s := pane.Verdict(&live, g)
			ln.Space(1).Add(style.Text, "now").Add(s, text)
		}
	case m.gone:
		ln.Add(style.BadBadge, " "+g.Warn+" GONE "+cell.Seconds(age.Truncate(100*time.Millisecond).Seconds())+", retrying ")
	case age > 0:
		ln.Add(style.BadBadge, " "+g.Warn+" STALE "+cell.Seconds(age.Truncate(100*time.Millisecond).Seconds())+" ")
	default:
		ln.Add(style.OK, g.Dot+" LIVE")
	}
	ln.Space(2).Add(style.Dim, string(m.opt.Role))
}

// frozenFor counts whole seconds, so that a frozen picture repaints once a
// second at most.
func frozenFor(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%ds", int(d.Seconds()))
	}
	return cell.Seconds(d.Truncate(time.Second).Seconds())
}

// verdictWidth is the widest badge of pane.Verdict.
const verdictWidth = 12

// tabBar is the second row: the panes, each with what is wrong in it, and at
// the right the verdict. Where that is too much, the names of the panes that
// are not open are cut short; the verdict never is.
func (m *Model) tabBar(s *view.Snapshot, st *style.Set) string {
	badge, bs := m.data().Verdict(&st.Glyph)
	if m.cur == 0 {
		badge = "" // the overview says it larger
	}
	ln := cell.NewLine(st, m.w)
	m.drawTabs(ln, s, m.tabLimit(), st)
	if w := cell.Width(badge); w > 0 && ln.Left() >= w {
		ln.Space(ln.Left()-w).Add(bs, badge)
	}
	return ln.String()
}

// tabLimit is how long a name may be for all panes to fit beside the verdict,
// whatever that is: names keep their length.
func (m *Model) tabLimit() int {
	limits := []int{20, 5, 4, 3}
	for _, limit := range limits {
		width := 0
		for i := range m.tabs {
			width += m.tabWidth(i, limit)
		}
		if width <= m.w-verdictWidth {
			return limit
		}
	}
	return 0
}

// tabName is a pane's name in the tab bar; that of the open one is whole.
func (m *Model) tabName(i, limit int) string {
	name := m.tabs[i].name
	if i != m.cur {
		name = name[:min(limit, len(name))]
	}
	if name != "" {
		name = " " + name
	}
	return fmt.Sprintf(" %d%s", i+1, name)
}

// tabWidth is the columns of a pane's name and of its sign.
func (m *Model) tabWidth(i, limit int) int { return len(m.tabName(i, limit)) + 1 }

// drawTabs draws the panes' names.
func (m *Model) drawTabs(ln *cell.Line, s *view.Snapshot, limit int, st *style.Set) {
	for i, t := range m.tabs {
		bad, warn := 0, 0
		for j := range s.Node.Health.Causes {
			if c := &s.Node.Health.Causes[j]; c.Pane == t.name && i > 0 {
				if c.Severity == view.Alarm {
					bad++
				} else {
					warn++
				}
			}
		}
		look := style.Dim
		if i == m.cur {
			look = style.TabBadge
		}
		ln.Add(look, m.tabName(i, limit))
		switch { // one column, whatever happens: tabs do not move
		case bad > 0:
			ln.Add(style.Bad, st.Glyph.Bad)
		case warn > 0:
			ln.Add(style.Warn, st.Glyph.Warn)
		default:
			ln.Add(look, " ")
		}
	}
}

// footer is the last row: what was just said, or the keys.
func (m *Model) footer(st *style.Set) string {
	ln := cell.NewLine(st, m.w)
	if m.mode == filtering {
		ln.Add(style.Key, "/").Add(style.Text, m.filter).Add(style.Focus, "_")
		return ln.Space(3).Add(style.Dim, "enter keeps it, esc clears it, !text shows the others").String()
	}
	if m.prompt != nil || m.mode == helping || m.mode == boxed || m.mode == commanding {
		if m.notice != "" {
			return ln.Add(m.noticeStyle, m.notice).String()
		}
		return ln.Add(style.Dim, "the box has the keys; ").Add(style.Key, "esc").Add(style.Dim, " closes it").String()
	}
	own, global := m.rows()
	right := cell.NewLine(st, m.w)
	for _, r := range global[max(0, len(global)-2):] {
		right.Add(style.Key, r.Name()).Add(style.Dim, " "+r.Short+"  ")
	}
	rw := m.w - right.Left()
	ln = cell.NewLine(st, m.w-rw)
	if m.notice != "" {
		return ln.Add(m.noticeStyle, m.notice).String() + trimmed(right, rw)
	}
	bare := false // on a narrow screen a key by itself is better than none: ? has its words
	for i, r := range append(own, global[:len(global)-2]...) {
		fits := ln.Left() >= cell.Width(r.Name())+cell.Width(r.Short)+3
		bare = bare || !fits && m.w < narrow && r.Short != ""
		switch {
		case bare && (i >= len(own) || r.Why() != ""):
		case bare:
			r.Short = ""
			m.footKey(ln, &r)
		case fits && r.Short != "":
			m.footKey(ln, &r)
		}
	}
	return ln.String() + trimmed(right, rw)
}

// narrow is a screen on which the footer has no words for every key.
const narrow = 60

func (m *Model) footKey(ln *cell.Line, r *key.Row) {
	words, gap, keys := "", 1, style.Key
	if r.Short != "" {
		words, gap = " "+r.Short, 2
	}
	if ln.Left() < cell.Width(r.Name()+words)+1 {
		return
	}
	look := style.Text
	if r.Why() != "" {
		look, keys = style.Dim, style.Dim
	}
	ln.Add(keys, r.Name()).Add(look, words).Space(gap)
}

const (
	helpKeys  = 12 // columns for the keys
	helpLines = 8  // rows for what one does
)

func (m *Model) helpBox(w, h int, st *style.Set) []string {
	var out []string
	for _, r := range m.helpRows() {
		ln := cell.NewLine(st, w)
		if r.head != "" {
			out = append(out, ln.Add(style.Title, r.head).String())
			continue
		}
		words, look, keys := r.text, style.Text, r.keys
		if r.why != "" {
			words, look = r.text+"  (now: "+r.why+")", style.Dim
		}
		for _, part := range cell.Wrap(words, w-helpKeys-3, helpLines) {
			out = append(out, cell.NewLine(st, w).Space(2).Cell(style.Key, keys, helpKeys).Space(1).Add(look, part).String())
			keys = ""
		}
	}
	if len(out) > h {
		m.help = min(m.help, len(out)-h+1)
		at := m.help
		out = append(out[at:at+h-1:at+h-1], cell.NewLine(st, w).Add(style.Dim, "j and k move, esc closes").String())
	}
	return out
}

// tooSmallToAct says that there is no room for panes and prompts.
func (m *Model) tooSmallToAct() bool { return m.w < minW || m.h < minH }

// tooSmall names the size there is and the size it takes.
func (m *Model) tooSmall(st *style.Set) []string {
	say := []string{"signalbox", fmt.Sprintf("too small: %dx%d", m.w, m.h), fmt.Sprintf("it takes %dx%d", minW, minH), "q quits"}
	badge, bs := m.data().Verdict(&st.Glyph)
	var rows []string
	for i, t := range say {
		s := style.Text
		if i == 0 {
			s = style.Strong
		}
		rows = append(rows, cell.NewLine(st, m.w).Add(s, t).String())
	}
	if m.h > len(rows) {
		rows = append(rows, cell.NewLine(st, m.w).Add(bs, badge).String())
	}
	return cell.Block(rows, m.w, m.h)
}
