package tui

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/key"
	"signalbox/tui/pane"
	"signalbox/tui/style"
)

// Records is a Source that can be asked questions.
type Records interface {
	// Explain answers why to does not hear from. It may wait.
	Explain(ctx context.Context, from, to string) (view.Explanation, error)
	// Trail returns who did what, newest first. It may wait.
	Trail(ctx context.Context) ([]view.Audit, error)
}

func (m *Model) records() Records {
	r, _ := m.src.(Records)
	return r
}

// answerMsg brings the answer to a question of the console, to be shown.
type answerMsg struct{ show func() }

// question asks in the background and shows what comes.
func (m *Model) question(ask func(ctx context.Context) (show func(), err error)) tea.Cmd {
	ctx, limit := m.ctx, m.opt.Timeout
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		show, err := ask(ctx)
		if err != nil {
			show = func() { m.say(style.Bad, "no answer: "+cell.Clean(err.Error())) }
		}
		return answerMsg{show}
	}
}

// explain shows hop by hop how packets fare between two participants, or how a
// call stands.
func (m *Model) explain(args []string) tea.Cmd {
	if len(args) != 1 && len(args) != 2 {
		m.say(style.Warn, "explain FROM TO: two participants, by id, alias or fingerprint; or explain CALL, by its id")
		return nil
	}
	src := m.records()
	return m.question(func(ctx context.Context) (func(), error) {
		from, to := args[0], append(args, "")[1]
		x, err := src.Explain(ctx, from, to)
		title := "why " + m.nameOf(to) + " hears " + m.nameOf(from) + " or not"
		if to == "" {
			title = "how call " + cell.Name(from, 24) + " stands"
		}
		return func() {
			m.openBox(&box{
				title: title, width: 110,
				rows: func(w int, st *style.Set) []string { return hopRows(&x, w, st) },
				foot: func() string { return "as of " + m.opt.Now().UTC().Format("15:04:05") + "; esc closes" },
			})
		}, err
	})
}

// noRecords says why nobody can be asked.
func (m *Model) noRecords() string {
	if m.records() == nil {
		return "nobody can be asked here"
	}
	return ""
}

// nobodyToExplain says why x does nothing.
func (m *Model) nobodyToExplain() string {
	if why := m.noRecords(); why != "" || m.markedMember() != "" || m.markedCall() != "" {
		return why
	}
	if from, _ := pane.WeakPair(m.data()); from == "" {
		return "nobody is in a room with somebody else"
	}
	return ""
}

// explainKey is x: about the marked member one is to say who does not hear
// them; the marked call is explained; elsewhere it asks about the weakest of the worst room.
func (m *Model) explainKey() key.Row {
	r := key.Row{Keys: []string{"x"}, Disabled: m.nobodyToExplain, Help: "explain why the weakest of the worst room does not hear, or is not heard"}
	line := func() string { l, _ := m.explainLine(); return l }
	if m.markedMember() != "" {
		r.Help, r.Line = "explain why somebody does not hear the marked member: say who", line
		return r
	}
	if m.markedCall() != "" {
		r.Help = "explain how the marked call stands, here and at the other relay"
	}
	r.Send = line
	return r
}

// nameOf is what an operator calls a participant.
func (m *Model) nameOf(id string) string {
	s := m.data().Snap
	for i := range s.Rooms {
		for j := range s.Rooms[i].Participants {
			if p := &s.Rooms[i].Participants[j]; p.ID == id && p.Alias != "" {
				return cell.Name(p.Alias, 24)
			}
		}
	}
	return cell.Name(id, 24)
}

// markedMember is the participant under the cursor of the open pane.
func (m *Model) markedMember() string {
	if p, ok := m.tabs[m.cur].screen.(interface{ Member() string }); ok {
		return p.Member()
	}
	return ""
}

// markedCall is the call under the cursor of the open pane.
func (m *Model) markedCall() string {
	if p, ok := m.tabs[m.cur].screen.(interface{ Call() string }); ok {
		return p.Call()
	}
	return ""
}

// hopRows draws an explanation: the verdict, then each station.
func hopRows(x *view.Explanation, w int, st *style.Set) []string {
	var out []string
	for _, ln := range cell.Wrap(cell.Clean(x.Verdict), w-1, 4) {
		out = append(out, cell.NewLine(st, w).Add(style.Strong, ln).String())
	}
	if x.Remedy != "" {
		for i, ln := range cell.Wrap(cell.Clean(x.Remedy), w-3, 3) {
			out = append(out, cell.NewLine(st, w).Add(style.Text, [...]string{st.Glyph.Arrow + " ", "  "}[min(i, 1)]+ln).String())
		}
	}
	out = append(out, cell.NewLine(st, w).String())
	for i := range x.Hops {
		h := &x.Hops[i]
		s, sign := style.OK, st.Glyph.Check
		if h.Verdict != "ok" && h.Verdict != "" {
			s, sign = style.Warn, st.Glyph.Warn
		}
		ln := cell.NewLine(st, w).Add(s, sign+" ").Cell(style.Strong, cell.Clean(h.Name), 28).Space(1)
		out = append(out, ln.Add(style.Text, cell.Clean(h.Verdict)).String())
		ln = cell.NewLine(st, w).Space(2).Add(style.Dim, fmt.Sprintf("%s/s, last packet %s ago, %d waiting", cell.Rate(h.RatePPS), cell.Millis(h.LastPacketAgo), h.QueueDepth))
		for _, r := range sortedReasons(h.Dropped) {
			ln.Add(style.Bad, fmt.Sprintf("  %s %s", r, cell.Count(float64(h.Dropped[r]))))
		}
		out = append(out, ln.String())
	}
	return out
}

func sortedReasons(m map[string]uint64) []string {
	var out []string
	for k, n := range m {
		if n > 0 {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// auditTrail shows the node's audit records.
func (m *Model) auditTrail([]string) tea.Cmd {
	src := m.records()
	return m.question(func(ctx context.Context) (func(), error) {
		recs, err := src.Trail(ctx)
		at := m.opt.Now().UTC()
		return func() {
			m.openBox(&box{
				title: "who did what, newest first", width: 150,
				rows: func(w int, st *style.Set) []string { return trailRows(recs, w, st) },
				foot: func() string {
					return fmt.Sprintf("%s at %s; esc closes", view.Plural(len(recs), "record"), at.Format("15:04:05"))
				},
			})
		}, err
	})
}

func trailRows(recs []view.Audit, w int, st *style.Set) []string {
	var out []string
	for i := range recs {
		a := &recs[i]
		s, sign := style.OK, st.Glyph.Check
		if !a.OK {
			s, sign = style.Bad, st.Glyph.Bad
		}
		ln := cell.NewLine(st, w).Add(style.Dim, a.At.UTC().Format("01-02 15:04:05 ")).Add(s, sign+" ")
		ln.Add(style.Strong, cell.Name(a.Kind, 20)+" ")
		if a.Target != "" {
			ln.Add(style.Text, cell.Name(a.Target, 32)+" ")
		}
		ln.Add(style.Dim, "by "+cell.Name(a.Author, 30))
		if a.Reason != "" {
			ln.Add(style.Text, "  "+cell.Clean(a.Reason))
		}
		out = append(out, ln.String())
		if more := trailMore(a); more != "" {
			out = append(out, cell.NewLine(st, w).Space(17).Add(style.Dim, more).String())
		}
	}
	if len(out) == 0 {
		out = append(out, cell.NewLine(st, w).Add(style.Dim, "nobody has changed anything").String())
	}
	return out
}

// trailMore says what became of a change.
func trailMore(a *view.Audit) string {
	var parts []string
	if !a.OK {
		parts = append(parts, "refused, "+cell.Name(a.Code, 12)+": "+cell.Clean(a.Message))
	}
	if !a.Until.IsZero() {
		parts = append(parts, "until "+a.Until.UTC().Format(time.TimeOnly))
	}
	if a.UndoneBy != "" {
		parts = append(parts, "taken back by "+cell.Name(a.UndoneBy, 24)+" at "+a.UndoneAt.UTC().Format(time.TimeOnly))
	}
	return strings.Join(parts, "; ")
}
