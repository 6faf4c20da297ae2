package tui

import (
	"fmt"
	"slices"

	tea "charm.land/bubbletea/v2"

	"signalbox/engine/control"
	"signalbox/tui/cell"
	"signalbox/tui/key"
	"signalbox/tui/pane"
	"signalbox/tui/style"
)

// moves maps movement keys to actions, the same in every pane.
var moves = map[string]pane.Action{
	"up": pane.Up, "k": pane.Up, "down": pane.Down, "j": pane.Down,
	"pgup": pane.PageUp, "ctrl+u": pane.PageUp, "pgdown": pane.PageDown, "ctrl+d": pane.PageDown,
	"g": pane.Top, "home": pane.Top, "G": pane.Bottom, "end": pane.Bottom,
	"enter": pane.Enter, "esc": pane.Back,
}

// globals are the keys that work in every pane.
func (m *Model) globals() []key.Row {
	rows := []key.Row{
		{Keys: []string{"/"}, Short: "filter", Help: "show only rows with a text in them; !text the others", Run: m.startFilter, Disabled: func() string {
			if m.cur == 0 {
				return "the overview has nothing to filter"
			}
			return ""
		}},
		{Keys: []string{":"}, Short: "command", Help: "type a command, with completion: every lever, every pane, explain, mouse", Run: m.startLine},
		{Keys: []string{"space"}, Short: m.freezeWord(), Help: m.freezeHelp(), Run: m.freeze},
		m.explainKey(),
		{Keys: []string{"M"}, Help: "mark the moment shown, to compare with", Run: m.setMark},
		{Keys: []string{"W"}, Help: "who did what, when and why: the node's audit log", Disabled: m.noRecords, Send: func() string { return "audit" }},
		{Keys: []string{"u"}, Help: "take back the latest change that is in force", Act: true, Disabled: m.noUndo, Plan: m.undoLatest},
		{Keys: []string{"1", "2", "3", "4", "5", "6", "7", "8"}, Show: "1 to 8", Help: "open a pane", Run: func() {}},
		{Keys: []string{"tab", "l", "right"}, Show: "tab l", Help: "next pane", Run: func() { m.open(m.cur + 1) }},
		{Keys: []string{"shift+tab", "h", "left"}, Show: "shift+tab h", Help: "previous pane", Run: func() { m.open(m.cur - 1) }},
		{Keys: []string{"j", "k"}, Show: "j k arrows", Help: "move; g and G to the ends, ctrl+d and ctrl+u by ten", Run: func() {}},
		{Keys: []string{"esc"}, Help: "back: out of a detail, a room, a filter", Run: func() {}},
		{Keys: []string{"?"}, Short: "help", Help: "this help", Run: func() { m.mode, m.help = helping, 0 }},
		{Keys: []string{"q", "ctrl+c"}, Show: "q", Short: "quit", Help: "close the console", Run: func() {}},
	}
	first := []key.Row{
		{Keys: []string{"d"}, Short: "drops", Help: "where packets are dropped and why, from the kernel up", Run: m.showDrops},
		{Keys: []string{"D"}, Short: "changes", Help: "what has changed since the mark, or since the node was last well", Send: func() string { return "changes" }},
	}
	return slices.Concat(first, m.pastKeys(), rows)
}

func (m *Model) freezeWord() string {
	switch {
	case m.opt.Recorded && m.past != nil && m.past.playing:
		return "pause"
	case m.opt.Recorded:
		return "play"
	case m.frozen != nil:
		return "go live"
	}
	return "freeze"
}

func (m *Model) freezeHelp() string {
	if m.opt.Recorded {
		return "play the recording, or stop it"
	}
	return "freeze the picture, or go live; the node goes on"
}

func (m *Model) freeze() {
	if m.past != nil && m.opt.Recorded {
		m.past.playing = !m.past.playing
		return
	}
	if m.frozen != nil {
		m.live()
		return
	}
	m.frozen, m.frozenAt = m.feed.Data().Frozen(), m.opt.Now()
}

func (m *Model) startFilter() { m.mode = filtering }

func (m *Model) noUndo() string {
	if len(m.feed.Data().Snap.Undo) == 0 {
		return "nothing is in force that could be taken back"
	}
	return ""
}

func (m *Model) undoLatest() key.Intent { return pane.UndoIntent(&m.feed.Data().Snap.Undo[0]) }

// rows are the keys valid here and now, the pane's before the global ones. For
// a viewer the keys that act are absent, not refused.
func (m *Model) rows() (own, global []key.Row) {
	return m.allowed(m.tabs[m.cur].Keys()), m.allowed(m.globals())
}

func (m *Model) allowed(rows []key.Row) []key.Row {
	out := rows[:0:0]
	for _, r := range rows {
		if !r.Act || m.opt.Role == control.Operator {
			out = append(out, r)
		}
	}
	return out
}

// paneKey handles a key with no prompt open.
func (m *Model) paneKey(name string) tea.Cmd {
	if name == "q" {
		return m.leave()
	}
	own, global := m.rows()
	for _, r := range append(own, global...) {
		if !r.Matches(name) || (r.Run == nil && r.Plan == nil && r.Line == nil && r.Send == nil) {
			continue
		}
		if _, move := moves[name]; move {
			break // movement is below
		}
		if why := r.Why(); why != "" {
			m.say(style.Warn, name+": "+why)
			return nil
		}
		switch {
		case r.Plan != nil:
			return m.ask(r.Plan())
		case r.Line != nil:
			m.startLine()
			m.line.text = r.Line()
			return nil
		case r.Send != nil:
			m.line.text = r.Send()
			return m.runLine()
		}
		r.Run()
		break
	}
	if len(name) == 1 && name[0] >= '1' && int(name[0]-'1') < len(m.tabs) {
		m.open(int(name[0] - '1'))
		return nil
	}
	if a, ok := moves[name]; ok {
		if a == pane.Back {
			m.filter = ""
		}
		m.act(a, "")
	}
	return nil
}

// helpRows are the lines of the help: keys that work here, then everywhere.
func (m *Model) helpRows() []helpRow {
	own, global := m.rows()
	var out []helpRow
	if m.opt.Role != control.Operator {
		out = append(out, helpRow{text: fmt.Sprintf("role %s: the keys that change the node are absent", cell.Name(string(m.opt.Role), 10))})
	}
	out = append(out, helpRow{head: "in " + m.tabs[m.cur].name})
	for _, r := range own {
		out = append(out, helpRow{keys: r.Name(), text: r.Help, why: r.Why()})
	}
	if len(own) == 0 {
		out = append(out, helpRow{text: "moving and filtering only"})
	}
	out = append(out, helpRow{head: "everywhere"})
	for _, r := range global {
		out = append(out, helpRow{keys: r.Name(), text: r.Help, why: r.Why()})
	}
	return out
}

// helpRow is a head, or a key with what it does and why it cannot now.
type helpRow struct{ head, keys, text, why string }
