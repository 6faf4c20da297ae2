package tui

import (
	"cmp"
	"fmt"
	"strings"

	"signalbox/engine/control"
	"signalbox/tui/cell"
	"signalbox/tui/pane"
	"signalbox/tui/style"
)

// promptRows are the inside of the prompt, w cells wide, at most h rows.
func (m *Model) promptRows(w, h int, st *style.Set) []string {
	p := m.prompt
	if p.stage == choosing {
		return m.choiceRows(w, h, st)
	}
	tail := m.promptTail(w, st)
	if h < tightRows {
		tail = m.tightTail(w, st)
	}
	out := []string{m.promptHead(w, st)}
	room := max(1, h-len(out)-len(tail))
	var plan []string
	for _, ln := range p.plan {
		for i, part := range cell.Wrap(ln, w-4, 3) {
			mark := "  "
			if i == 0 {
				mark = st.Glyph.Info + " "
			}
			plan = append(plan, cell.NewLine(st, w).Space(2).Add(style.Focus, mark).Add(style.Text, part).String())
		}
	}
	if len(plan) > room {
		from := min(p.scroll, len(plan)-room+1)
		last := min(from+room-1, len(plan))
		plan = append(append([]string(nil), plan[from:last]...), cell.NewLine(st, w).Space(4).Add(style.Dim, fmt.Sprintf("rows %d to %d of %d: j and k move", from+1, last, len(plan))).String())
	}
	return append(append(out, plan...), tail...)
}

func (m *Model) promptHead(w int, st *style.Set) string {
	p := m.prompt
	ln := cell.NewLine(st, w)
	switch p.stage {
	case planning:
		ln.Add(style.Dim, "asking the node what it would do; nothing is changed by asking")
	case ready:
		ln.Add(style.Strong, "the node would do this; nothing has been changed yet:")
	case applying:
		ln.Add(style.Warn, "sent; waiting for the node to say that it is done")
	default:
		ln.Add(style.Bad, st.Glyph.Bad+" not done")
	}
	return ln.String()
}

// tightRows is how many rows a prompt takes to be shown with all it has. Where
// there are fewer the plan comes first: nobody applies what is not in sight.
const tightRows = 12

// tightTail is what a small screen has below the plan: what went wrong, what is
// being typed, the buttons.
func (m *Model) tightTail(w int, st *style.Set) []string {
	p := m.prompt
	var out []string
	if p.say != "" {
		out = append(out, cell.NewLine(st, w).Add(style.Warn, cell.Fit(p.say, w, "…")).String())
	}
	switch {
	case p.stage == refused, p.in.PlanOnly:
		return append(out, cell.NewLine(st, w).Add(style.TabBadge, " Close ").Add(style.Dim, "  enter or esc").String())
	case p.field == reasonField:
		out = append(out, cell.NewLine(st, w).Add(style.Dim, "reason ").Add(style.Text, tailOf(p.reason, w-9)).Add(style.Focus, "_").String())
	case p.in.Type != "":
		return append(out, cell.NewLine(st, w).Add(style.Warn, "type "+p.in.Type+": ").Add(style.Strong, p.typed).Add(style.Focus, "_").String())
	}
	return append(out, cell.NewLine(st, w).Add(style.Key, "y").Add(style.Text, " applies  ").Add(style.Key, "n").Add(style.Text, " cancels  ").Add(style.Key, "e").Add(style.Dim, " reason").String())
}

// promptTail is everything below the plan: target, expiry, reason, buttons.
func (m *Model) promptTail(w int, st *style.Set) []string {
	p := m.prompt
	label := func(name string) *cell.Line { return cell.NewLine(st, w).Cell(style.Dim, name, 8) }
	var out []string
	if p.say != "" {
		s := style.Warn
		if p.stage == refused {
			s = style.Bad
		}
		for _, ln := range cell.Wrap(p.say, w-2, 3) {
			out = append(out, cell.NewLine(st, w).Space(2).Add(s, ln).String())
		}
	}
	out = append(out, cell.Blank(w), label("target").Add(style.Strong, m.targets()).String())
	if p.expires() {
		k := "t"
		if p.in.Type != "" {
			k = "ctrl+t"
		}
		out = append(out, label("for").Add(style.Text, expiries[p.ttl].word+"  ").Add(style.Key, k).Add(style.Dim, " changes it").String())
	}
	if p.stage == refused || p.in.PlanOnly {
		return append(out, cell.Blank(w), cell.NewLine(st, w).Space(2).Add(style.TabBadge, " Close ").Add(style.Dim, "  enter or esc").String())
	}
	reason := label("reason")
	switch {
	case p.field == reasonField:
		reason.Add(style.Text, cell.Fit(tailOf(p.reason, w-12), w-12, "")).Add(style.Focus, "_").Add(style.Dim, "  enter: done")
	case p.reason != "":
		reason.Add(style.Text, p.reason)
	case p.in.Type != "":
		reason.Add(style.Dim, "none; ").Add(style.Key, "tab").Add(style.Dim, " to write one, for the audit log")
	default:
		reason.Add(style.Dim, "none; ").Add(style.Key, "e").Add(style.Dim, " to write one, for the audit log")
	}
	out = append(out, reason.String())
	if p.in.Type != "" {
		ln := label("confirm").Add(style.Warn, "type "+p.in.Type+" ").Add(style.Dim, "and enter: ").Add(style.Strong, p.typed)
		if p.field == typeField {
			ln.Add(style.Focus, "_")
		}
		return append(out, ln.String(), cell.Blank(w), cell.NewLine(st, w).Space(2).Add(style.Key, "esc").Add(style.Dim, " cancel").String())
	}
	return append(out, cell.Blank(w), m.buttons(w, st))
}

// tailOf keeps the end of a text being typed in sight.
func tailOf(s string, w int) string {
	r := []rune(s)
	for len(r) > 0 && cell.Width(string(r)) > w {
		r = r[1:]
	}
	return string(r)
}

func (m *Model) buttons(w int, st *style.Set) string {
	p := m.prompt
	ln := cell.NewLine(st, w).Space(2)
	button := func(on bool, text string) {
		if on {
			ln.Add(style.TabBadge, st.Glyph.Cursor+text+" ")
		} else {
			ln.Add(style.Text, " "+text+" ")
		}
		ln.Space(2)
	}
	button(p.focus == 0, "Cancel")
	button(p.focus == applyBtn, "Apply")
	hint := "y applies, n or esc cancels"
	if p.stage == planning {
		hint = "waiting for the plan"
	}
	return ln.Space(1).Add(style.Dim, hint).String()
}

func (m *Model) targets() string {
	cmds := m.prompt.commands(true)
	names := make([]string, len(cmds))
	for i, c := range cmds {
		names[i] = cmp.Or(cell.Clean(c.Target), pane.ThisNode)
		if c.Kind == control.Undo {
			names[i] = m.undone(c.Target)
		}
	}
	return strings.Join(names, " ")
}

// undone is what an undo takes back, with the id that the audit log has.
func (m *Model) undone(id string) string {
	for _, u := range m.data().Snap.Undo {
		if u.ID == id {
			return cell.Clean(u.Kind+" "+cmp.Or(u.Target, pane.ThisNode)) + ", " + id
		}
	}
	return cell.Clean(id)
}

func (m *Model) choiceRows(w, h int, st *style.Set) []string {
	ch := m.prompt.in.Choose
	out := []string{cell.NewLine(st, w).Add(style.Strong, ch.Ask).String()}
	from := max(0, min(m.prompt.choice-(h-4)/2, len(ch.Labels)-(h-3)))
	for i := from; i < len(ch.Labels) && len(out) < h-2; i++ {
		ln := cell.NewLine(st, w).Selected(i == m.prompt.choice)
		if i == m.prompt.choice {
			ln.Cell(style.Focus, st.Glyph.Cursor, 2)
		} else {
			ln.Space(2)
		}
		out = append(out, ln.Add(style.Text, ch.Labels[i]).String())
	}
	return append(out, cell.Blank(w), cell.NewLine(st, w).Add(style.Key, "enter").Add(style.Dim, " shows the plan   ").Add(style.Key, "esc").Add(style.Dim, " cancels").String())
}
