package pane

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/key"
	"signalbox/tui/style"
)

// Events is the must-see news, newest first.
type Events struct {
	d      *Data
	l      list
	filter string
	least  level
	open   bool
	follow bool   // the operator has the cursor at the top
	seen   uint64 // the newest event when it was last there: the list goes no further
	newer  int    // events after it
}

// NewEvents makes the pane.
func NewEvents() *Events { return &Events{d: &Data{Snap: &view.Snapshot{}}, follow: true} }

// Apply takes new numbers. A cursor that was put at the top stays at the top,
// so that news is seen; anywhere else nothing moves, and what has come since is
// counted only.
func (p *Events) Apply(d *Data) {
	p.d = d
	following := p.follow && !d.Hold && !p.open
	ids := p.matching()
	if len(ids) > 0 && (following || p.seen == 0 || p.newer == len(ids)) { // the last: all that was held has left the buffer
		p.newer, p.seen = 0, d.Events[len(d.Events)-1].Seq
		ids = p.matching()
	}
	if following {
		p.l.sel, p.l.at = "", 0
	}
	p.l.sync(ids[p.newer:])
}

// matching lists the events that the filter lets through, newest first, and
// counts those after the newest seen.
func (p *Events) matching() []string {
	ids := make([]string, 0, len(p.d.Events))
	p.newer = 0
	for i := len(p.d.Events) - 1; i >= 0; i-- {
		e := &p.d.Events[i]
		if severity(e.Severity) < p.least || !match(p.filter, e.Kind, e.Subject, e.Message, e.Severity) {
			continue
		}
		if e.Seq > p.seen {
			p.newer++
		}
		ids = append(ids, strconv.FormatUint(e.Seq, 10))
	}
	return ids
}

func (p *Events) event(id string) *view.Event {
	seq, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(p.d.Events, seq, func(e view.Event, s uint64) int {
		switch {
		case e.Seq < s:
			return -1
		case e.Seq > s:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return &p.d.Events[i]
}

// Act moves, opens one event, filters.
func (p *Events) Act(a Action, arg string) Jump {
	switch a {
	case Filter:
		p.filter = arg
		p.Apply(p.d)
		return Jump{Handled: true}
	case Select:
		p.follow, p.seen = false, 0
		p.Apply(p.d)
		return Jump{Handled: p.l.pick(arg)}
	case Enter:
		p.open = !p.open && p.event(p.l.sel) != nil
		return Jump{Handled: true}
	case Back:
		was := p.open || p.filter != "" || p.least != fine
		if p.open {
			p.open = false
		} else {
			p.filter, p.least = "", fine
			p.Apply(p.d)
		}
		return Jump{Handled: was}
	default:
		moved := p.l.move(a)
		if p.follow = p.l.at == 0; p.follow && !p.open {
			p.seen = 0
			p.Apply(p.d)
		}
		return Jump{Handled: moved}
	}
}

// Keys lists what works here.
func (p *Events) Keys() []key.Row {
	none := func() string {
		if p.event(p.l.sel) == nil {
			return "no event is marked"
		}
		return ""
	}
	return []key.Row{
		{Keys: []string{"enter"}, Short: "all of it", Help: "the whole event with its fields", Disabled: none},
		{Keys: []string{"s"}, Short: "severity", Help: "show all, or warnings and alarms, or alarms only", Run: func() {
			p.least = (p.least + 1) % (broken + 1)
			p.Apply(p.d)
		}},
	}
}

// Draw lists the events, or shows one.
func (p *Events) Draw(w, h int, st *style.Set) []string {
	frame := w >= 100 && h >= 30
	low := 0
	if p.open {
		low = min(12, h/2)
	}
	title := "events, newest first" + [...]string{"", ": warnings and alarms", ": alarms"}[p.least]
	b := box{title: title, note: filterNote(p.filter, len(p.l.ids), len(p.d.Events)), focus: true}
	if b.note == "" {
		b.note = plural(len(p.l.ids), "event")
		if p.newer > 0 && (!p.follow || p.open) {
			b.note = fmt.Sprintf("%d newer, g follows; %s", p.newer, b.note)
		}
		if p.d.Missed > 0 {
			b.note += fmt.Sprintf(", %d missed", p.d.Missed)
		}
	}
	out := section(b, w, h-low, frame, st, func(w, h int) []string { return p.table(w, h, st) })
	if low == 0 {
		return cell.Block(out, w, h)
	}
	e := p.event(p.l.sel)
	return cell.Block(append(out, section(box{title: "event", note: "esc: close"}, w, low, frame, st, func(w, h int) []string {
		if e == nil {
			return nil
		}
		return eventRows(e, w, h, st)
	})...), w, h)
}

func (p *Events) table(w, h int, st *style.Set) []string {
	t := table{l: &p.l, empty: "nothing to show: no event matches, or nothing has happened yet", cols: []col{
		{head: "utc", w: 8}, {head: "severity", w: 9}, {head: "kind", w: 16, min: 76}, {head: "subject", w: max(12, min(28, w/6))}, {head: "message", w: 0},
	}}
	t.row = func(id string) []cellText {
		e := p.event(id)
		if e == nil {
			return nil
		}
		lv := severity(e.Severity)
		sign := lv.sign(&st.Glyph)
		if lv == fine {
			sign = st.Glyph.Info
		}
		return []cellText{
			c(style.Dim, e.At.UTC().Format("15:04:05")), c(lv.text(), sign+" "+cell.Name(e.Severity, 7)), c(style.Dim, e.Kind),
			c(lv.text(), cell.Clean(e.Subject)), c(lv.text(), e.Message),
		}
	}
	return t.draw(w, h, st)
}

func eventRows(e *view.Event, w, h int, st *style.Set) []string {
	lv := severity(e.Severity)
	out := []string{cell.NewLine(st, w).Add(style.Dim, e.At.UTC().Format("2006-01-02 15:04:05.000")+fmt.Sprintf("  number %d  ", e.Seq)).
		Add(lv.style(), strings.TrimSpace(lv.sign(&st.Glyph)+" "+cell.Clean(e.Severity))).Add(style.Text, "  "+e.Kind+"  ").Add(style.Strong, e.Subject).String()}
	for _, ln := range cell.Wrap(e.Message, w, max(1, h-3)) {
		out = append(out, cell.NewLine(st, w).Add(style.Text, ln).String())
	}
	keys := make([]string, 0, len(e.Fields))
	for k := range e.Fields {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		out = append(out, cell.NewLine(st, w).Cell(style.Dim, k, 20).Space(1).Add(style.Text, fmt.Sprint(e.Fields[k])).String())
	}
	return out[:min(len(out), max(h, 0))]
}
