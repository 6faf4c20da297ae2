package tui

import (
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"signalbox/tui/cell"
	"signalbox/tui/pane"
	"signalbox/tui/style"
)

// Update takes one message. A panic in a source or a pane ends the console,
// never the node: it is kept as the console's fault, and the program quits.
func (m *Model) Update(msg tea.Msg) (self tea.Model, cmd tea.Cmd) {
	if m.fault != "" {
		return m, tea.Quit
	}
	defer func() {
		if r := recover(); r != nil {
			m.fault = fmt.Sprintf("the console failed and has closed; the node is not affected: %v\n%s", r, firstFrames(debug.Stack()))
			m.frame = ""
			self, cmd = m, tea.Quit
		}
	}()
	return m, m.handle(msg)
}

// firstFrames keeps the part of a stack that names the culprit.
func firstFrames(stack []byte) string {
	lines := strings.Split(string(stack), "\n")
	return strings.Join(lines[:min(len(lines), 24)], "\n")
}

func (m *Model) handle(msg tea.Msg) tea.Cmd {
	now := m.opt.Now()
	switch msg := msg.(type) {
	case tickMsg:
		cmd := m.onTick(now)
		return tea.Batch(tick(), cmd, m.fetch())
	case tea.WindowSizeMsg:
		m.w, m.h = msg.Width, msg.Height
		m.poll(now)
		m.apply()
		m.paint(now)
	case tea.BackgroundColorMsg:
		m.light = !msg.IsDark()
		m.paint(now)
	case tea.ColorProfileMsg:
		if !m.opt.NoColor {
			m.profile = msg.Profile
		}
		m.paint(now)
	case primeMsg:
		if msg.fault != nil {
			panic(msg.fault)
		}
		m.feed.Prime(msg.snaps)
		m.apply()
		m.paint(now)
	case tea.CursorPositionMsg:
		if m.pace.answered(); m.leaving {
			return tea.Quit
		}
	case tea.KeyPressMsg:
		return m.onKey(msg, now)
	case tea.MouseWheelMsg:
		return m.onWheel(msg, now)
	case tea.MouseClickMsg:
		return m.onClick(msg, now)
	case tea.PasteMsg:
		m.onPaste(msg.Content)
		m.paint(now)
	case pastMsg:
		m.onPast(msg)
		m.apply()
		m.paint(now)
		return m.fetch()
	case answerMsg:
		msg.show()
		m.apply()
		m.paint(now)
	case planMsg:
		m.onPlan(msg)
		m.apply()
		m.paint(now)
	case doneMsg:
		m.onDone(msg)
		m.apply()
		m.paint(now)
	}
	return nil
}

// onTick polls the source and, when something changed and the terminal keeps
// up, makes a frame.
func (m *Model) onTick(now time.Time) tea.Cmd {
	m.play(now)
	if m.poll(now) || m.frozen != nil || m.stale() > 0 || m.notice != "" && now.After(m.noticeUntil) || m.pace.skipped > 0 {
		m.dirty = true
	}
	if m.w == 0 || !m.dirty || m.leaving {
		return nil
	}
	if !m.pace.may(now) {
		if m.pace.again(now) {
			return tea.RequestCursorPosition
		}
		return nil
	}
	m.apply()
	before := m.frame
	m.paint(now)
	if m.frame == before {
		return nil // nothing will be sent: there is nothing to acknowledge
	}
	m.pace.made(now)
	return tea.RequestCursorPosition
}

// poll reads the source and reports whether there was anything new.
func (m *Model) poll(now time.Time) bool {
	s := m.src.Snapshot()
	if s == nil {
		return false
	}
	news := m.feed.Push(s)
	if news {
		m.fresh = now
	}
	if r, ok := m.src.(remote); ok {
		was := m.gone
		m.gone = r.Lost() != nil
		news = news || m.gone != was
	}
	evs, missed := m.src.Events(m.feed.AfterSeq())
	m.feed.AddEvents(evs, missed)
	return news || len(evs) > 0
}

// paint makes the frame.
func (m *Model) paint(now time.Time) {
	if m.w == 0 || m.h == 0 {
		return
	}
	if m.notice != "" && now.After(m.noticeUntil) {
		m.notice = ""
	}
	m.frame = m.render(now)
	m.dirty = false
}

// phantom is the key a terminal's cursor report may be mistaken for: a
// modified F3 looks the same.
func phantom(k tea.KeyPressMsg) bool { return k.Code == tea.KeyF3 }

func (m *Model) onKey(k tea.KeyPressMsg, now time.Time) tea.Cmd {
	if phantom(k) {
		return nil
	}
	m.lastKey = now
	name := k.String()
	if name == "alt+esc" { // two of them that a slow line brought together
		name = "esc"
	}
	var cmd tea.Cmd
	switch {
	case m.tooSmallToAct() && (name == "q" || name == "ctrl+c"):
		return m.leave()
	case m.tooSmallToAct() && name != "esc": // nobody acts on what is not on the screen
	case name == "ctrl+c" && m.prompt == nil && m.mode == normal:
		return m.leave()
	case m.prompt != nil:
		cmd = m.promptKey(name, k.Text)
	case m.mode == filtering:
		m.filterKey(name, k.Text)
	case m.mode == commanding:
		cmd = m.lineKey(name, k.Text)
	case m.mode == helping, m.mode == boxed:
		m.helpKey(name)
	default:
		cmd = m.paneKey(name)
	}
	m.apply()
	m.paint(now)
	return tea.Batch(cmd, m.fetch())
}

func (m *Model) onPaste(text string) {
	switch {
	case m.prompt != nil:
		m.prompt.write(text)
	case m.mode == filtering:
		m.setFilter(m.filter + cell.Clean(text))
	case m.mode == commanding:
		m.line.write(cell.Clean(text))
	}
}

// filterKey edits the filter; the pane follows every letter.
func (m *Model) filterKey(name, text string) {
	switch name {
	case "enter":
		m.mode = normal
	case "esc", "ctrl+c":
		m.mode = normal
		m.setFilter("")
	case "backspace":
		m.setFilter(dropLast(m.filter))
	case "ctrl+u":
		m.setFilter("")
	case "up", "down":
		m.act(moves[name], "")
	default:
		m.setFilter(m.filter + cell.Clean(text))
	}
}

func (m *Model) setFilter(text string) {
	m.filter = cell.Fit(text, 60, "")
	m.act(pane.Filter, m.filter)
}

func dropLast(s string) string {
	r := []rune(s)
	return string(r[:max(0, len(r)-1)])
}

func (m *Model) helpKey(name string) {
	switch name {
	case "esc", "?", "q", "enter", "ctrl+c":
		m.mode = normal
	case "j", "down":
		m.help++
	case "k", "up":
		m.help = max(0, m.help-1)
	case "g", "home":
		m.help = 0
	case "G", "end":
		m.help = 1 << 16
	}
}

// act tells the open pane to do something and follows where it points.
func (m *Model) act(a pane.Action, arg string) bool {
	j := m.tabs[m.cur].Act(a, arg)
	if j.Pane == "" {
		return j.Handled
	}
	for i := range m.tabs {
		if m.tabs[i].name == j.Pane {
			m.open(i)
			m.apply()
			if !m.tabs[i].Act(pane.Select, j.Subject).Handled {
				m.say(style.Dim, fmt.Sprintf("%s is not listed here any more", cell.Name(j.Subject, 40)))
			}
			return true
		}
	}
	return j.Handled
}

func (m *Model) open(i int) {
	m.cur = (i + len(m.tabs)) % len(m.tabs)
	m.filter = ""
}
