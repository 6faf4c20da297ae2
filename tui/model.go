// Package tui is the console: one Bubble Tea model over panes that are plain
// structs. It reads a node through Source alone, so that it cannot tell a node
// in this process from one at the other end of a socket, and it changes
// nothing without showing the node's own plan first.
//
// Only the model has Update. Source.Snapshot and Source.Events are expected to
// return at once; Source.Do runs in a command with a timeout. A frame is built
// in Update and kept, so View costs nothing; how often it is built is paced by
// what the terminal acknowledges (pace.go).
package tui

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui/key"
	"signalbox/tui/pane"
	"signalbox/tui/style"
)

// Source is a node as the console sees it.
type Source interface {
	// Snapshot returns the latest state, at once; never nil, never modified.
	Snapshot() *view.Snapshot
	// Events returns the must-see news after a sequence number, oldest first,
	// and how many the ring no longer had.
	Events(after uint64) (evs []view.Event, missed uint64)
	// Do plans or carries out one command. The error is for a broken way to
	// the node; a refusal is a Result.
	Do(ctx context.Context, c control.Command) (control.Result, error)
}

// remote is a Source that can lose its node.
type remote interface {
	Lost() error // why there is no connection; nil while there is one
}

// Options are the console's settings. The zero value is a coloured operator's
// console with block glyphs.
type Options struct {
	NoColor bool             // the terminal has no colours, whatever the theme; see NoColor
	Theme   style.Theme      // empty: what the terminal asks for
	Role    control.Role     // empty means operator; viewers have no keys that act
	Title   string           // beside the name in the header, e.g. a demo's node
	Glyphs  style.Glyphs     // blocks, or ASCII
	Now     func() time.Time // nil means time.Now
	Stale   time.Duration    // no new snapshot for so long is said; 0 means 1 s
	Timeout time.Duration    // of one command; 0 means 10 s
	// Recorded says that the source is a recording: it never goes on, so it is
	// not stale, and the console begins in the past, at its end.
	Recorded bool
}

// screen is what the model needs of a pane.
type screen interface {
	Apply(d *pane.Data)
	Draw(w, h int, st *style.Set) []string
	Keys() []key.Row
	Act(a pane.Action, arg string) pane.Jump
}

// tab is a pane with its name.
type tab struct {
	name string
	screen
}

const (
	tickEvery  = 250 * time.Millisecond  // 4 Hz: state is polled
	holdRows   = 1500 * time.Millisecond // after a key rows keep their places
	noticeFor  = 5 * time.Second
	logKept    = 500
	minW, minH = 40, 12
)

// mode is where keys go.
type mode uint8

const (
	normal mode = iota
	filtering
	helping
	boxed
	commanding
)

// Model is the root model. Only the Bubble Tea loop touches it.
type Model struct {
	// Constant after New.
	src Source
	opt Options
	ctx context.Context // ends commands under way when the console ends

	// What is shown.
	tabs     []tab
	cur      int
	w, h     int
	feed     *pane.Feed
	frozen   *pane.Data // nil: live
	frozenAt time.Time
	past     *past          // nil: not looking back
	mark     *view.Snapshot // nil: none was set
	box      *box           // in mode boxed
	line     commandLine    // in mode commanding
	fresh    time.Time      // when a new snapshot last came
	gone     bool           // the connection to the node is lost
	light    bool           // the terminal's ground, as it says
	profile  colorprofile.Profile
	theme    style.Theme // as chosen; Auto follows the two above
	mouse    bool        // is listened to
	sets     map[style.Config]*style.Set

	// Where keys go.
	mode    mode
	filter  string
	help    int // rows scrolled
	prompt  *prompt
	asked   int // number of the newest request to the node
	lastKey time.Time

	log         []pane.Entry
	notice      string
	noticeStyle style.Style
	noticeUntil time.Time

	pace    pacer
	leaving bool // it closes when the terminal has answered
	dirty   bool
	frame   string
	fault   string // why the console gave up; empty while it works
}

// New makes a console over a source.
func New(src Source, opt Options) *Model {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Role == "" {
		opt.Role = control.Operator
	}
	if opt.Stale <= 0 {
		opt.Stale = time.Second
	}
	if opt.Timeout <= 0 {
		opt.Timeout = 10 * time.Second
	}
	m := &Model{
		profile: colorprofile.ANSI256, theme: opt.Theme,
		src: src, opt: opt, ctx: context.Background(), feed: pane.NewFeed(), sets: map[style.Config]*style.Set{}, fresh: opt.Now(),
		tabs: []tab{
			{"overview", pane.NewOverview()},
			{"shards", pane.NewShards()},
			{"rooms", pane.NewRooms()},
			{"routing", pane.NewRouting()},
			{"events", pane.NewEvents()},
			{"log", pane.NewLog()},
			{"calls", pane.NewCalls()},
			{"links", pane.NewLinks()},
		},
	}
	if opt.NoColor {
		m.profile = colorprofile.ASCII
	}
	return m
}

// Fault says why the console gave up, empty while it works.
func (m *Model) Fault() string { return m.fault }

type tickMsg struct{}

func tick() tea.Cmd { return tea.Tick(tickEvery, func(time.Time) tea.Msg { return tickMsg{} }) }

// Init starts the clock and asks whether the terminal's ground is light.
func (m *Model) Init() tea.Cmd {
	cmds := []tea.Cmd{tick(), m.prime()}
	if !m.opt.NoColor {
		cmds = append(cmds, tea.RequestBackgroundColor)
	}
	return tea.Batch(cmds...)
}

// View returns the frame made by the last Update that was allowed to make one.
func (m *Model) View() tea.View {
	v := tea.NewView(m.frame)
	v.AltScreen = true
	v.WindowTitle = "signalbox"
	if m.mouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	return v
}

// data is what panes are given: live, or frozen, with what this console knows.
func (m *Model) data() *pane.Data {
	d := m.frozen
	if d == nil {
		d = m.feed.Data()
	}
	c := *d
	c.Log, c.Role, c.Gone = m.log, m.opt.Role, m.gone && m.frozen == nil
	c.Hold = m.prompt != nil || m.mode == filtering || m.opt.Now().Sub(m.lastKey) < holdRows
	return &c
}

// apply gives the open pane its numbers.
func (m *Model) apply() { m.tabs[m.cur].Apply(m.data()) }

// stale tells how old the numbers are when they are too old, or when no more
// will come; 0 otherwise.
func (m *Model) stale() time.Duration {
	age := m.opt.Now().Sub(m.fresh)
	if m.opt.Recorded || age <= m.opt.Stale && !m.gone {
		return 0
	}
	return max(age, time.Nanosecond)
}

// set is the look for the present state. Stale numbers are subdued, a frozen
// picture has double frames.
func (m *Model) set() *style.Set {
	c := style.Config{
		Theme: m.theme.On(m.profile, m.light), Light: m.light, Glyphs: m.opt.Glyphs,
		Dimmed: m.frozen == nil && m.stale() > 0, Double: m.frozen != nil,
	}
	s := m.sets[c]
	if s == nil {
		s = style.New(c)
		m.sets[c] = s
	}
	return s
}

func (m *Model) say(s style.Style, text string) {
	m.notice, m.noticeStyle, m.noticeUntil = text, s, m.opt.Now().Add(noticeFor)
	m.dirty = true
}
