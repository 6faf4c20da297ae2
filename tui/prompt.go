package tui

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"signalbox/engine/control"
	"signalbox/tui/cell"
	"signalbox/tui/key"
	"signalbox/tui/pane"
	"signalbox/tui/style"
)

// stage is how far a prompt has come.
type stage uint8

const (
	choosing stage = iota // an argument is missing
	planning              // the node has been asked for its plan
	ready                 // the plan is on screen; nothing has been changed
	refused               // the node would not do it
	applying              // sent for real
)

// field is where letters go inside a prompt.
type field uint8

const (
	noField field = iota
	reasonField
	typeField
)

// expiries a restriction can be given; 0 is the node's default for its kind.
var expiries = []struct {
	s    float64
	word string
}{{0, "the node's default"}, {300, "5 minutes"}, {900, "15 minutes"}, {3600, "1 hour"}, {86400, "24 hours"}}

const (
	reasonMax = 120
	applyBtn  = 1
)

// prompt is one command between the key that asked for it and its result. Its
// targets were fixed when the key was pressed.
type prompt struct {
	in     key.Intent
	stage  stage
	choice int
	focus  int // 0 Cancel, applyBtn Apply
	field  field
	reason string
	typed  string
	ttl    int
	seq    int // request whose answer counts
	plan   []string
	say    string // why not, in words
	scroll int
}

// planMsg and doneMsg bring the node's answers, one per command.
type planMsg struct {
	seq int
	res []answer
}

type doneMsg struct {
	seq int
	in  key.Intent
	res []answer
}

type answer struct {
	cmd  control.Command
	res  control.Result
	err  error
	at   time.Time
	took time.Duration
}

// ask opens a prompt. Nothing is changed by it: the node is asked for a plan,
// or the operator for a missing argument first.
func (m *Model) ask(in key.Intent) tea.Cmd {
	if len(in.Cmds) == 0 {
		m.say(style.Warn, "there is nothing to act on")
		return nil
	}
	if in.Type = key.Typed(in.Cmds); in.PlanOnly {
		in.Type = ""
	}
	m.prompt = &prompt{in: in}
	if in.Choose != nil {
		m.prompt.choice = in.Choose.Start
		return nil
	}
	return m.requestPlan()
}

// commands are the intent's, with what the operator added.
func (p *prompt) commands(dry bool) []control.Command {
	out := make([]control.Command, len(p.in.Cmds))
	for i, c := range p.in.Cmds {
		if ch := p.in.Choose; ch != nil {
			v := ch.Values[p.choice]
			if s, ok := v.(string); ok && ch.Arg == "" {
				c.Target = s
			} else {
				c.Args = map[string]any{ch.Arg: v}
			}
		}
		c.Reason, c.DryRun, c.TTLS = strings.TrimSpace(p.reason), dry, 0
		if p.expires() {
			c.TTLS = expiries[p.ttl].s
		}
		out[i] = c
	}
	return out
}

// expires tells whether there is an expiry to choose.
func (p *prompt) expires() bool { return p.in.Cmds[0].Kind.Expires() && !p.in.PlanOnly }

func (m *Model) requestPlan() tea.Cmd {
	p := m.prompt
	m.asked++
	p.seq, p.stage, p.plan, p.say = m.asked, planning, nil, ""
	if p.in.Type != "" {
		p.field = typeField
	}
	seq, cmds := p.seq, p.commands(true)
	return func() tea.Msg { return planMsg{seq, m.send(cmds)} }
}

// send carries commands to the node, in order, until one fails. It runs in
// its own goroutine and touches constants of the model only. The console's
// timeout and end reach the command through its context.
func (m *Model) send(cmds []control.Command) []answer {
	out := make([]answer, 0, len(cmds))
	for _, c := range cmds {
		a := m.sendOne(c)
		out = append(out, a)
		if a.err != nil || !a.res.OK {
			break
		}
	}
	return out
}

func (m *Model) sendOne(c control.Command) (a answer) {
	a = answer{cmd: c, at: m.opt.Now()}
	ctx, cancel := context.WithTimeout(m.ctx, m.opt.Timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			a.err = fmt.Errorf("the way to the node failed: %v", r)
		}
		a.took = m.opt.Now().Sub(a.at)
	}()
	a.res, a.err = m.src.Do(ctx, c)
	return a
}

// onPlan shows the node's plan, if it answers the newest question.
func (m *Model) onPlan(msg planMsg) {
	m.note(msg.res, true)
	p := m.prompt
	if p == nil || p.seq != msg.seq || p.stage != planning {
		return
	}
	p.stage = ready
	var common []string
	for _, a := range msg.res {
		if why := words(a, m.opt.Timeout); why != "" {
			p.stage, p.say, p.field = refused, why, noField
		}
		for i, ln := range a.res.Plan {
			switch {
			case len(p.in.Cmds) == 1:
				p.plan = append(p.plan, cell.Clean(ln))
			case i == 0: // what is done to each, and what is said of all of them once
				p.plan = append(p.plan, cell.Name(a.cmd.Target, 14)+": "+cell.Clean(ln))
			case !slices.Contains(common, ln):
				common = append(common, ln)
			}
		}
	}
	for _, ln := range common {
		p.plan = append(p.plan, cell.Clean(ln))
	}
	if p.stage == ready && len(p.plan) == 0 {
		p.plan = []string{"the node names no particulars"}
	}
}

// onDone closes the prompt on success and explains a failure in it.
func (m *Model) onDone(msg doneMsg) {
	m.note(msg.res, false)
	why := ""
	done := 0
	for _, a := range msg.res {
		if w := words(a, m.opt.Timeout); w != "" {
			why = w
		} else {
			done++
		}
	}
	p := m.prompt
	mine := p != nil && p.seq == msg.seq
	if why != "" {
		if done > 0 {
			why = fmt.Sprintf("%d of %d done, then: %s", done, len(msg.in.Cmds), why)
		}
		if mine {
			p.stage, p.say, p.field = refused, why, noField
			return
		}
		m.say(style.Bad, msg.in.Title+": "+why)
		return
	}
	if mine {
		m.prompt = nil
	}
	text := "done: " + msg.in.Title + " " + msg.in.On
	if n := len(msg.res); n > 0 {
		// What a command has found out is more than that it was done.
		if res := &msg.res[n-1].res; n == 1 && res.Message != "" && !slices.Contains(res.Plan, res.Message) {
			text = cell.Clean(res.Message)
		}
		if msg.res[n-1].res.Undo != "" {
			text += "   u takes it back"
		}
		if ref := msg.res[n-1].res.Ref; ref != "" && mine {
			m.follow(ref)
		}
	}
	m.say(style.OK, text)
}

// follow opens the lookup that a command has started.
func (m *Model) follow(ref string) {
	for i := range m.tabs {
		if m.tabs[i].name == "routing" {
			m.open(i)
			m.tabs[i].Act(pane.Select, pane.LookupSubject(ref))
		}
	}
}

// words says why an answer is not a success; empty when it is one.
func words(a answer, timeout time.Duration) string {
	switch {
	case errors.Is(a.err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %s: it may or may not have happened, look before you repeat it", timeout)
	case errors.Is(a.err, context.Canceled):
		return "the console is closing: it may or may not have happened"
	case a.err != nil:
		return "the node was not reached: " + cell.Clean(a.err.Error())
	case a.res.OK:
		return ""
	}
	meaning := map[control.Code]string{
		control.NotFound: "not found", control.Denied: "you may not do this", control.Busy: "the node is busy, nothing was changed",
		control.Gone: "the target has gone since the plan was made, nothing was changed", control.Invalid: "refused",
	}[a.res.Code]
	if meaning == "" {
		meaning = pane.CodeWord(a.res.Code)
	}
	if a.res.Message == "" {
		return meaning
	}
	return meaning + ": " + cell.Clean(a.res.Message)
}

// note writes the command log.
func (m *Model) note(res []answer, planned bool) {
	for _, a := range res {
		e := pane.Entry{At: a.at, Cmd: a.cmd, Planned: planned, Result: a.res, Took: a.took}
		if a.err != nil {
			e.Err = words(a, m.opt.Timeout)
		}
		m.log = append(m.log, e)
	}
	if len(m.log) > logKept {
		m.log = append([]pane.Entry(nil), m.log[len(m.log)-logKept:]...)
	}
}

// promptKey handles a key while a prompt is open.
func (m *Model) promptKey(name, text string) tea.Cmd {
	p := m.prompt
	switch {
	case name == "esc" || name == "ctrl+c":
		m.cancel()
		return nil
	case p.stage == choosing:
		return m.chooseKey(name)
	case p.stage == refused, p.in.PlanOnly:
		switch name {
		case "j", "down", "k", "up":
			return m.buttonKey(name)
		}
		if name == "enter" || name == "q" || name == "n" || name == "space" {
			m.prompt = nil
		}
		return nil
	case p.field != noField:
		return m.fieldKey(name, text)
	}
	return m.buttonKey(name)
}

// cancel closes the prompt. What has been sent already goes on, and says so.
func (m *Model) cancel() {
	if m.prompt.stage == applying {
		m.say(style.Warn, "it was sent already; its result will be in the log")
	} else {
		m.say(style.Dim, "cancelled: nothing was changed")
	}
	m.prompt = nil
}

func (m *Model) chooseKey(name string) tea.Cmd {
	p := m.prompt
	n := len(p.in.Choose.Labels)
	switch name {
	case "j", "down", "tab":
		p.choice = min(p.choice+1, n-1)
	case "k", "up", "shift+tab":
		p.choice = max(p.choice-1, 0)
	case "g", "home":
		p.choice = 0
	case "G", "end":
		p.choice = n - 1
	case "q", "n":
		m.cancel()
	case "enter":
		return m.requestPlan()
	}
	return nil
}

func (m *Model) buttonKey(name string) tea.Cmd {
	p := m.prompt
	switch name {
	case "y":
		return m.applyNow()
	case "n", "q":
		m.cancel()
	case "left", "right", "h", "l", "tab", "shift+tab":
		p.focus = applyBtn - p.focus
	case "enter":
		if p.focus == applyBtn {
			return m.applyNow()
		}
		m.cancel()
	case "e":
		p.field = reasonField
	case "t", "ctrl+t":
		return m.nextExpiry()
	case "j", "down":
		p.scroll++
	case "k", "up":
		p.scroll = max(0, p.scroll-1)
	}
	p.scroll = min(p.scroll, len(p.plan))
	return nil
}

// nextExpiry asks for the plan again with the next of the expiries.
func (m *Model) nextExpiry() tea.Cmd {
	p := m.prompt
	if !p.expires() || p.stage == applying {
		return nil
	}
	p.ttl = (p.ttl + 1) % len(expiries)
	return m.requestPlan()
}

func (m *Model) fieldKey(name, text string) tea.Cmd {
	p := m.prompt
	switch name {
	case "ctrl+t": // a bare t belongs to the word
		return m.nextExpiry()
	case "tab", "shift+tab":
		switch {
		case p.in.Type == "":
			p.field = noField
		case p.field == typeField:
			p.field = reasonField
		default:
			p.field = typeField
		}
	case "enter":
		if p.field == reasonField {
			p.field = noField
			if p.in.Type != "" {
				p.field = typeField
			}
			return nil
		}
		return m.applyNow()
	case "backspace":
		p.set(dropLast(p.text()))
	case "ctrl+u":
		p.set("")
	default:
		p.write(text)
	}
	return nil
}

func (p *prompt) text() string {
	if p.field == typeField {
		return p.typed
	}
	return p.reason
}

func (p *prompt) set(s string) {
	switch p.field {
	case typeField:
		p.typed = s
	case reasonField:
		p.reason = s
	case noField:
	}
}

// write appends text to the field that has the keys.
func (p *prompt) write(s string) {
	if s = cell.Clean(s); p.field != noField && s != "" {
		p.set(cell.Fit(p.text()+s, reasonMax, ""))
	}
}

// applyNow sends the commands whose plan is on screen, for the same targets.
func (m *Model) applyNow() tea.Cmd {
	p := m.prompt
	switch {
	case p.stage == applying, p.in.PlanOnly:
		return nil
	case p.stage != ready:
		m.say(style.Warn, "the node's plan has not come yet: nothing was sent")
		return nil
	case p.in.Type != "" && p.typed != p.in.Type:
		p.say = fmt.Sprintf("type %s to go on", p.in.Type)
		return nil
	}
	p.stage, p.say = applying, ""
	m.asked++
	p.seq = m.asked
	seq, in, cmds := p.seq, p.in, p.commands(false)
	return func() tea.Msg { return doneMsg{seq, in, m.send(cmds)} }
}
