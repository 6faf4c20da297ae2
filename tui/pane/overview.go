package pane

import (
	"fmt"
	"strings"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/key"
	"signalbox/tui/style"
)

// Overview is the first pane: what is wrong, why, and where to go.
type Overview struct {
	d      *Data
	causes list // by subject and message
	moved  bool // the cursor was put where it is; else it is on the gravest cause
}

// NewOverview makes the pane.
func NewOverview() *Overview {
	return &Overview{d: &Data{Snap: &view.Snapshot{}, Second: &view.Snapshot{}}}
}

// Apply takes new numbers.
func (o *Overview) Apply(d *Data) {
	o.d = d
	ids := make([]string, 0, len(d.Snap.Node.Health.Causes))
	seen := map[string]bool{}
	for i := range d.Snap.Node.Health.Causes {
		id := causeID(&d.Snap.Node.Health.Causes[i])
		if !seen[id] {
			ids, seen[id] = append(ids, id), true
		}
	}
	o.causes.sync(o.causes.hold(ids, d.Hold))
	if o.moved = o.moved && len(ids) > 0; !o.moved && !d.Hold {
		o.causes.put(0)
	}
}

func causeID(c *view.Cause) string { return c.Pane + "\x00" + c.Subject + "\x00" + c.Remedy }

func (o *Overview) cause(id string) *view.Cause {
	for i := range o.d.Snap.Node.Health.Causes {
		if c := &o.d.Snap.Node.Health.Causes[i]; causeID(c) == id {
			return c
		}
	}
	return nil
}

// Act moves among the causes; enter goes to where one can be mended.
func (o *Overview) Act(a Action, _ string) Jump {
	if a == Enter {
		if c := o.cause(o.causes.sel); c != nil && c.Pane != "overview" {
			return Jump{Pane: c.Pane, Subject: c.Subject, Handled: true}
		}
		return Jump{}
	}
	handled := o.causes.move(a)
	if handled {
		o.moved = o.causes.at > 0
	}
	return Jump{Handled: handled}
}

// Keys lists what works here.
func (o *Overview) Keys() []key.Row {
	none := func() string {
		if len(o.causes.ids) == 0 {
			return "nothing is wrong"
		}
		return ""
	}
	return []key.Row{
		{Keys: []string{"enter"}, Short: "go there", Help: "open the pane where the marked cause can be seen and mended", Disabled: none},
		{Keys: []string{"N"}, Help: "drain the node: admit nobody and end spread over the deadline, or admit again; asks for a word to be typed", Act: true, Plan: o.drain},
		{Keys: []string{"S"}, Help: "write the files of the state directory now", Act: true, Plan: func() key.Intent { return onNode(control.NodeSave, "save") }},
		{Keys: []string{"V"}, Help: "how much the node logs", Act: true, Plan: o.logLevel},
	}
}

func onNode(k control.Kind, title string) key.Intent {
	return key.Intent{Title: title, On: "this node", Cmds: []control.Command{{Kind: k}}}
}

func (o *Overview) drain() key.Intent {
	if o.d.Snap.Node.State == "draining" {
		return onNode(control.NodeUndrain, "admit again")
	}
	return onNode(control.NodeDrain, "drain")
}

func (o *Overview) logLevel() key.Intent {
	in := onNode(control.NodeLogLevel, "log level")
	in.Choose = &key.Choice{Ask: "how much is to be logged?", Labels: []string{"debug", "info", "warn", "error"}, Values: []any{"debug", "info", "warn", "error"}, Start: 1}
	return in
}

// Draw lays the sections out: the verdict over the whole width, then two
// columns, then the news.
func (o *Overview) Draw(w, h int, st *style.Set) []string {
	frame := w >= 100 && h >= 30
	top := o.verdict(w, o.verdictHeight(w, h, frame), frame, st)
	rest := h - len(top)
	gap := 2
	lw := (w - gap) / 2
	rw := w - gap - lw
	planes := shardRows(o.d)
	switch {
	case frame && rest >= 24:
		left := o.leftColumn(lw, rest, planes, st)
		right := o.rightColumn(rw, rest, st)
		return cell.Block(append(top, cell.Beside(left, right, gap)...), w, h)
	case rest >= 12 && w >= 70:
		mid := min(planes+1, rest-6)
		left := o.shards(lw, mid, false, st)
		led := o.ledger(rw, min(5, mid), false, st)
		right := append(led, o.routing(rw, mid-len(led), false, st)...)
		top = append(top, cell.Beside(left, right, gap)...)
		rest -= mid
		room := o.rooms(w, 3, false, st)
		top = append(top, room...)
		return cell.Block(append(top, o.events(w, rest-len(room), false, st)...), w, h)
	}
	top = append(top, o.shards(w, min(rest, planes+1), false, st)...)
	return cell.Block(top, w, h)
}

func (o *Overview) leftColumn(w, h, planes int, st *style.Set) []string {
	sh := min(planes+2, h/2)
	out := o.shards(w, sh, true, st)
	edge := min(len(o.d.Snap.Links)+7, (h-sh)/2)
	out = append(out, o.rooms(w, h-sh-edge, true, st)...)
	return append(out, o.edge(w, edge, st)...)
}

func (o *Overview) rightColumn(w, h int, st *style.Set) []string {
	chart := 0
	if h >= 28 {
		chart = min(14, h/3)
	}
	led := 6
	rt := min(4+len(ageStrips(o.d.Snap.DHT.Buckets, w-4, 100, false, mono)), (h-chart-led)/2)
	var out []string
	if chart > 0 {
		out = append(out, o.traffic(w, chart, st)...)
	}
	out = append(out, o.ledger(w, led, true, st)...)
	out = append(out, o.routing(w, rt, true, st)...)
	return append(out, o.events(w, h-len(out), true, st)...)
}

// verdictHeight gives the verdict what it needs, within a third of the pane.
func (o *Overview) verdictHeight(w, h int, frame bool) int {
	need := 1
	for i := range o.causes.ids {
		need++
		if i == o.causes.at || w >= 100 {
			need++ // its remedy
		}
	}
	if len(o.causes.ids) == 0 {
		need += max(1, min(3, len(o.d.Snap.Node.Health.Reasons)))
	}
	if frame {
		need += 2
	}
	return max(min(need, h/3), 1)
}

func (o *Overview) verdict(w, h int, frame bool, st *style.Set) []string {
	iw, ih := w, h
	if frame {
		iw, ih = inner(w, h, true)
	}
	rows := []string{o.verdictLine(iw, st)}
	rows = append(rows, o.causeRows(iw, ih-1, st)...)
	if !frame {
		return cell.Block(rows, w, h)
	}
	b := box{title: "verdict", focus: len(o.causes.ids) > 0, note: "enter: go there"}
	if len(o.causes.ids) == 0 {
		b.note = ""
	}
	return b.draw(rows, w, h, true, st)
}

// Verdict is the badge's text and style: of a node that does not answer nobody
// knows how it is.
func (d *Data) Verdict(g *style.Glyph) (string, style.Style) {
	if d.Gone {
		return " " + g.Bad + " GONE ", style.BadBadge
	}
	return Verdict(&d.Snap.Node.Health, g)
}

// Verdict is the badge of a health, in text and style.
func Verdict(h *view.Health, g *style.Glyph) (string, style.Style) {
	switch h.Verdict {
	case "ok":
		return " " + g.OK + " OK ", style.OKBadge
	case "degraded":
		return " " + g.Warn + " DEGRADED ", style.WarnBadge
	case "failing":
		return " " + g.Bad + " FAILING ", style.BadBadge
	case "":
		return " ? NO VERDICT YET ", style.WarnBadge
	}
	return " " + g.Warn + " " + strings.ToUpper(cell.Name(h.Verdict, 12)) + " ", style.WarnBadge
}

func (o *Overview) verdictLine(w int, st *style.Set) string {
	n := &o.d.Snap.Node
	text, s := o.d.Verdict(&st.Glyph)
	ln := cell.NewLine(st, w).Add(s, text).Space(2)
	var alarms, warns int
	for i := range n.Health.Causes {
		if severity(n.Health.Causes[i].Severity) == broken {
			alarms++
		} else {
			warns++
		}
	}
	switch {
	case o.d.Gone:
		ln.Add(style.Strong, "the node does not answer; this is what it said last")
	case alarms+warns == 0 && n.Health.Verdict == "ok":
		ln.Add(style.Text, "nothing needs you")
	default:
		ln.Add(style.Strong, tally(alarms, warns))
	}
	n = &o.d.Second.Node
	facts := fmt.Sprintf("cpu %s  heap %s  goroutines %d  sample %s", cell.Pct(n.CPUPct), cell.Bytes(n.HeapBytes), n.Goroutines, cell.Micros(n.SampleUS))
	if n.CPUPct == 0 && n.HeapBytes == 0 {
		facts = ""
	}
	if fw := cell.Width(facts); fw > 0 && ln.Left() >= fw+2 {
		ln.Space(ln.Left()-fw).Add(style.Dim, facts)
	}
	return ln.String()
}

// causeRows writes the causes, worst first, the marked one with its remedy.
func (o *Overview) causeRows(w, h int, st *style.Set) []string {
	if len(o.causes.ids) == 0 {
		return o.calmRows(w, h, st)
	}
	each := 1
	if w >= 94 && 2*len(o.causes.ids) <= h {
		each = 2
	}
	show := max(1, (h-2+each)/each)
	if each == 2 {
		show = h / 2
	}
	from, to := o.causes.window(min(show, len(o.causes.ids)))
	var out []string
	for i := from; i < to && len(out) < h; i++ {
		c := o.cause(o.causes.ids[i])
		if c == nil {
			continue
		}
		out = append(out, o.causeLine(c, i == o.causes.at, w, st))
		if (each == 2 || i == o.causes.at) && c.Remedy != "" && len(out) < h {
			out = append(out, cell.NewLine(st, w).Space(4).Add(style.Focus, st.Glyph.Arrow+" ").Add(style.Text, c.Remedy).String())
		}
	}
	if hidden := len(o.causes.ids) - (to - from); hidden > 0 && len(out) > 0 && len(out) < h {
		out = append(out, cell.NewLine(st, w).Space(4).Add(style.Dim, fmt.Sprintf("and %d more: move down to see them", hidden)).String())
	}
	return out
}

func (o *Overview) causeLine(c *view.Cause, sel bool, w int, st *style.Set) string {
	lv := max(severity(c.Severity), watch)
	ln := cell.NewLine(st, w).Selected(sel)
	if sel {
		ln.Cell(style.Focus, st.Glyph.Cursor, 2)
	} else {
		ln.Space(2)
	}
	ln.Add(lv.style(), lv.sign(&st.Glyph)+" "+cell.Name(c.Subject, 28)).Space(2)
	where := "[" + paneKey(c.Pane) + "]"
	ln.Cell(style.Text, c.Message, max(0, ln.Left()-len(where)-1))
	return ln.Space(1).Add(style.Key, where).String()
}

// paneKey is the key that opens a pane.
func paneKey(p string) string {
	for i, n := range []string{"overview", "shards", "rooms", "routing", "events", "log", "calls", "links"} {
		if n == p {
			return fmt.Sprint(i + 1)
		}
	}
	return "?"
}

func (o *Overview) calmRows(w, h int, st *style.Set) []string {
	var out []string
	say := func(s style.Style, t string) {
		if len(out) < h {
			out = append(out, cell.NewLine(st, w).Space(2).Add(s, t).String())
		}
	}
	for _, r := range o.d.Snap.Node.Health.Reasons {
		say(style.Text, st.Glyph.Info+" "+r)
	}
	if len(out) > 0 {
		return out
	}
	if n := o.d.Unexplained(); n != 0 {
		say(style.Bad, fmt.Sprintf("%s %d packets are unexplained: the ledger does not close, a defect of ours", st.Glyph.Bad, n))
		return out
	}
	say(style.Dim, "the ledger closes on every plane; no shard is behind; no room is held down")
	return out
}

// tally says how many of each, leaving out what there is none of.
func tally(alarms, warns int) string {
	var parts []string
	if alarms > 0 {
		parts = append(parts, plural(alarms, "alarm"))
	}
	if warns > 0 {
		parts = append(parts, plural(warns, "warning"))
	}
	return strings.Join(parts, ", ")
}

func plural(n int, what string) string { return view.Plural(n, what) }
