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

// Log shows what is in force on the node and can be taken back, and every
// command this console sent with what came of it.
type Log struct {
	d      *Data
	l      list // undo ids in force
	filter string
}

// NewLog makes the pane.
func NewLog() *Log { return &Log{d: &Data{Snap: &view.Snapshot{}}} }

// Apply takes new numbers.
func (p *Log) Apply(d *Data) {
	p.d = d
	var ids []string
	for i := range d.Snap.Undo {
		u := &d.Snap.Undo[i]
		if match(p.filter, u.Kind, u.Target, u.Author, u.Reason) {
			ids = append(ids, u.ID)
		}
	}
	p.l.sync(p.l.hold(ids, d.Hold))
}

func (p *Log) undo(id string) *view.Undo {
	for i := range p.d.Snap.Undo {
		if p.d.Snap.Undo[i].ID == id {
			return &p.d.Snap.Undo[i]
		}
	}
	return nil
}

// Act moves and filters.
func (p *Log) Act(a Action, arg string) Jump {
	switch a {
	case Filter:
		p.filter = arg
		p.Apply(p.d)
		return Jump{Handled: true}
	case Select:
		return Jump{Handled: p.l.pick(arg)}
	case Back:
		was := p.filter != ""
		p.filter = ""
		p.Apply(p.d)
		return Jump{Handled: was}
	default:
		return Jump{Handled: p.l.move(a)}
	}
}

// UndoIntent is the command that takes u back.
func UndoIntent(u *view.Undo) key.Intent {
	return key.Intent{
		Title: "undo", On: fmt.Sprintf("%s on %s, by %s", cell.Name(u.Kind, 24), Target(u.Target, 32), cell.Name(u.Author, 20)),
		Cmds: []control.Command{{Kind: control.Undo, Target: u.ID}},
	}
}

// Keys lists what works here.
func (p *Log) Keys() []key.Row {
	return []key.Row{
		{Keys: []string{"u"}, Short: "undo marked", Help: "take back the marked change", Act: true, Disabled: func() string {
			if p.undo(p.l.sel) == nil {
				return "nothing is in force"
			}
			return ""
		}, Plan: func() key.Intent {
			if u := p.undo(p.l.sel); u != nil {
				return UndoIntent(u)
			}
			return key.Intent{}
		}},
	}
}

// Draw shows both lists.
func (p *Log) Draw(w, h int, st *style.Set) []string {
	frame := w >= 100 && h >= 30
	top := min(len(p.l.ids)+3, h/2)
	if frame {
		top = min(max(len(p.l.ids), 1)+5, h/2)
	}
	top = max(min(3, h), top)
	b := box{title: "in force, newest first", note: filterNote(p.filter, len(p.l.ids), len(p.d.Snap.Undo)), focus: true}
	if b.note == "" {
		b.note = "u: undo the marked one"
	}
	out := section(b, w, top, frame && top >= 3, st, func(w, h int) []string { return p.force(w, h, st) })
	b = box{title: "sent from this console, newest first", note: plural(len(p.d.Log), "command")}
	return cell.Block(append(out, section(b, w, h-top, frame && h-top >= 5, st, func(w, h int) []string { return p.sent(w, h, st) })...), w, h)
}

func (p *Log) force(w, h int, st *style.Set) []string {
	t := table{l: &p.l, filter: p.filter, empty: "nothing an operator has changed is in force", cols: []col{
		{head: "what", w: 18}, {head: "target", w: max(16, w/5)}, {head: "since", w: 7, right: true}, {head: "ends in", w: 8, right: true}, {head: "by", w: 14}, {head: "reason", w: 0},
	}}
	t.row = func(id string) []cellText {
		u := p.undo(id)
		if u == nil {
			return nil
		}
		ends := "never"
		if !u.Until.IsZero() {
			ends = cell.Since(u.Until, p.d.Now)
		}
		return []cellText{
			c(style.Strong, cell.Name(u.Kind, 18)), c(style.Text, Target(u.Target, 60)), c(style.Dim, cell.Since(p.d.Now, u.At)), c(style.Warn, ends),
			c(style.Text, cell.Name(u.Author, 14)), c(style.Dim, cell.Clean(u.Reason)),
		}
	}
	u := p.undo(p.l.sel)
	if u == nil || h < 3 {
		return t.draw(w, h, st)
	}
	why := "no reason was given"
	if u.Reason != "" {
		why = "reason: " + cell.Clean(u.Reason)
	}
	return append(cell.Block(t.draw(w, h-1, st), w, h-1), cell.NewLine(st, w).Space(2).Add(style.Dim, cell.Name(u.Author, 40)+" at "+u.At.UTC().Format("15:04:05")+", "+why).String())
}

func (p *Log) sent(w, h int, st *style.Set) []string {
	var out []string
	for i := len(p.d.Log) - 1; i >= 0 && len(out) < h; i-- {
		e := &p.d.Log[i]
		if !match(p.filter, e.Title, e.On, string(e.Cmd.Kind), e.Cmd.Target, e.Result.Message) {
			continue
		}
		out = append(out, p.entry(e, w, st))
		if e.Cmd.Reason != "" && len(out) < h {
			out = append(out, cell.NewLine(st, w).Space(11).Add(style.Dim, "reason: "+e.Cmd.Reason).String())
		}
	}
	if len(out) == 0 {
		out = append(out, cell.NewLine(st, w).Space(2).Add(style.Dim, "this console has sent nothing; plans that were only looked at are listed too").String())
	}
	return out
}

func (p *Log) entry(e *Entry, w int, st *style.Set) string {
	ln := cell.NewLine(st, w).Space(2).Add(style.Dim, e.At.UTC().Format("15:04:05")+" ")
	s, word := Outcome(e, &st.Glyph)
	ln.Cell(s, word, 14).Add(style.Strong, string(e.Cmd.Kind)+" ").Add(style.Text, Target(e.Cmd.Target, 40)+args(e.Cmd.Args)+"  ")
	msg := e.Result.Message
	if e.Err != "" {
		msg = e.Err
	}
	return ln.Add(style.Dim, msg).Add(style.Dim, "  "+cell.Millis(e.Took.Seconds()*1e3)).String()
}

// ThisNode is what a command without a target acts on.
const ThisNode = "this node"

// Target names what a command acts on.
func Target(s string, w int) string {
	if s == "" {
		return cell.Fit(ThisNode, w, "…")
	}
	return cell.Name(s, w)
}

func args(m map[string]any) string {
	if len(m) == 0 {
		return ""
	}
	var b strings.Builder
	for _, k := range []string{"tier", "pps", "to"} {
		if v, ok := m[k]; ok {
			fmt.Fprintf(&b, " %s=%s", k, cell.Name(fmt.Sprint(v), 16))
		}
	}
	return b.String()
}

// Outcome is how a command ended, as a sign with a word.
func Outcome(e *Entry, g *style.Glyph) (style.Style, string) {
	switch {
	case e.Pending:
		return style.Dim, g.Info + " sent"
	case e.Err != "":
		return style.Bad, g.Bad + " not reached"
	case !e.Result.OK:
		return style.Bad, g.Bad + " " + CodeWord(e.Result.Code)
	case e.Planned:
		return style.Dim, g.Info + " plan only"
	}
	return style.OK, g.Check + " done"
}

// CodeWord says a code in words.
func CodeWord(code control.Code) string {
	switch code {
	case control.OK:
		return "done"
	case control.NotFound:
		return "not found"
	case control.Denied:
		return "denied"
	case control.Busy:
		return "busy"
	case control.Gone:
		return "gone"
	case control.Invalid:
		return "refused"
	}
	return cell.Name(string(code), 12)
}
