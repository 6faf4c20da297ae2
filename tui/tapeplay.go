package tui

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"io"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"signalbox/engine/control"
	"signalbox/engine/view"
)

// maxEntry is the longest line of a tape: the history of some minutes.
const maxEntry = 64 << 20

// tapePatience is how long a player waits for what the console asked in its own
// time: all answers are on the tape, so this is computing alone.
const (
	tapePatience = 10 * time.Second
	settling     = 3 * time.Millisecond
)

// ErrOtherConsole says that a tape cannot be played any further: the console
// does not ask what it asked when the tape was made.
var ErrOtherConsole = errors.New("tui: the tape is of a console that asked otherwise")

// Player plays a tape to a console of today.
type Player struct {
	in   *bufio.Scanner
	m    *Model
	node *tapedNode
	stop context.CancelFunc
	msgs chan tea.Msg // what the console's commands have brought
	held []tea.Msg    // that came before their entry
	n    int          // entries played, that with the first snapshot too

	// Settle waits until the console's commands have got as far as they can,
	// so that they read the clock of their entry. Tests in a bubble set it.
	Settle func()
}

// NewPlayer opens a tape.
func NewPlayer(r io.Reader) (*Player, error) {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 1<<20), maxEntry)
	e, err := scan(in)
	if err != nil {
		return nil, err
	}
	if e.Kind != tapeOpen || e.Open == nil {
		return nil, fmt.Errorf("tui: tape: it begins with %q", e.Kind)
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Player{in: in, stop: stop, msgs: make(chan tea.Msg, 16), node: &tapedNode{answers: map[string]chan *entry{}}, Settle: func() { <-time.After(settling) }}
	p.node.turn(e.At)
	o := Options{NoColor: e.Open.NoColor, Theme: e.Open.Theme, Role: e.Open.Role, Title: e.Open.Title, Now: p.node.clock}
	p.m = New(p.node, o)
	p.m.ctx = ctx
	if err := p.Next(); err != nil { // the snapshot that was there before anything was asked
		stop()
		return nil, err
	}
	p.run(p.m.Init())
	return p, nil
}

// Close ends what the console still waits for.
func (p *Player) Close() { p.stop() }

// Frame is what the console shows.
func (p *Player) Frame() string { return p.m.frame }

// Played is how many entries have been played.
func (p *Player) Played() int { return p.n }

// PlayTo plays until so many entries have been played.
func (p *Player) PlayTo(n int) error {
	for p.n < n {
		if err := p.Next(); err != nil {
			return err
		}
	}
	return nil
}

// Next plays one entry; io.EOF at the end of the tape.
func (p *Player) Next() error {
	e, err := scan(p.in)
	if err != nil {
		return err
	}
	p.n++
	p.node.turn(e.At)
	switch e.Kind {
	case tapeSnap:
		s := &view.Snapshot{}
		if err := json.Unmarshal(e.Snap, s); err != nil {
			return fmt.Errorf("tui: tape: snapshot: %w", err)
		}
		p.node.show(s)
		return nil
	case tapeEvents:
		p.node.news(e)
		return nil
	case tapeAnswer:
		err := p.node.answer(e)
		p.Settle()
		return err
	}
	msg, err := p.message(e)
	if err != nil {
		return err
	}
	_, cmd := p.m.Update(msg)
	if p.m.fault != "" {
		return fmt.Errorf("%w: %s", ErrFault, p.m.fault)
	}
	p.run(cmd)
	if e.Kind != tapeTick && e.Kind != tapeReport {
		p.Settle()
	}
	return nil
}

// message is the message of an entry.
func (p *Player) message(e *entry) (tea.Msg, error) {
	switch {
	case e.Kind == tapeTick:
		return tickMsg{}, nil
	case e.Kind == tapeKey && e.Key != nil:
		return tea.KeyPressMsg(*e.Key), nil
	case e.Kind == tapeClick && e.Mouse != nil:
		return tea.MouseClickMsg(*e.Mouse), nil
	case e.Kind == tapeWheel && e.Mouse != nil:
		return tea.MouseWheelMsg(*e.Mouse), nil
	case e.Kind == tapePaste:
		return tea.PasteMsg{Content: e.Text}, nil
	case e.Kind == tapeSize && e.Size != nil:
		return tea.WindowSizeMsg{Width: e.Size.Width, Height: e.Size.Height}, nil
	case e.Kind == tapeGround && e.Light:
		return tea.BackgroundColorMsg{Color: color.White}, nil
	case e.Kind == tapeGround:
		return tea.BackgroundColorMsg{Color: color.Black}, nil
	case e.Kind == tapeProfile:
		return tea.ColorProfileMsg{Profile: colorprofile.Profile(e.Profile)}, nil
	case e.Kind == tapeReport:
		return tea.CursorPositionMsg{}, nil
	}
	return p.brought(e.Kind)
}

// brought waits for what a command of the console brings.
func (p *Player) brought(kind string) (tea.Msg, error) {
	for i, msg := range p.held {
		if kindOf(msg) == kind {
			p.held = append(p.held[:i:i], p.held[i+1:]...)
			return msg, nil
		}
	}
	late := time.NewTimer(tapePatience)
	defer late.Stop()
	for {
		select {
		case msg := <-p.msgs:
			if kindOf(msg) == kind {
				return msg, nil
			}
			p.held = append(p.held, msg)
		case <-late.C:
			return nil, fmt.Errorf("%w: no %s at entry %d", ErrOtherConsole, kind, p.n)
		}
	}
}

// run runs a command as the program would. What only the program itself or the
// clock would hear of goes nowhere: it is on the tape.
func (p *Player) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	go func() {
		msg := cmd()
		if batch, ok := msg.(tea.BatchMsg); ok {
			for _, c := range batch {
				p.run(c)
			}
			return
		}
		if kindOf(msg) == "" {
			return
		}
		select {
		case p.msgs <- msg:
		case <-p.m.ctx.Done():
		}
	}()
}

func scan(in *bufio.Scanner) (*entry, error) {
	if !in.Scan() {
		if err := in.Err(); err != nil {
			return nil, fmt.Errorf("tui: tape: %w", err)
		}
		return nil, io.EOF
	}
	e := &entry{}
	if err := json.Unmarshal(in.Bytes(), e); err != nil {
		return nil, fmt.Errorf("tui: tape: %w", err)
	}
	return e, nil
}

// tapedNode is the node of a tape: it says what it said then.
type tapedNode struct {
	mu      sync.Mutex // leaf
	now     time.Time
	snap    *view.Snapshot
	evs     []view.Event
	missed  uint64
	answers map[string]chan *entry
}

const answersAhead = 256 // that nobody has asked for yet

func (n *tapedNode) turn(at int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now = time.Unix(0, at)
}

func (n *tapedNode) clock() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now
}

func (n *tapedNode) show(s *view.Snapshot) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.snap = s
}

func (n *tapedNode) news(e *entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.evs, n.missed = append(n.evs, e.Events...), n.missed+e.Missed
}

func (n *tapedNode) queue(call string) chan *entry {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.answers[call] == nil {
		n.answers[call] = make(chan *entry, answersAhead)
	}
	return n.answers[call]
}

func (n *tapedNode) answer(e *entry) error {
	select {
	case n.queue(e.Call) <- e:
		return nil
	default:
		return fmt.Errorf("%w: nobody asks for %s", ErrOtherConsole, e.Call)
	}
}

// Snapshot implements Source.
func (n *tapedNode) Snapshot() *view.Snapshot {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.snap
}

// Events implements Source. What is on the tape was asked for by then.
func (n *tapedNode) Events(uint64) ([]view.Event, uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	evs, missed := n.evs, n.missed
	n.evs, n.missed = nil, 0
	return evs, missed
}

// said waits for the next answer to a call.
func said[T any](ctx context.Context, n *tapedNode, call string) (v T, err error) {
	select {
	case e := <-n.queue(call):
		if err := json.Unmarshal(e.Answer, &v); err != nil {
			return v, fmt.Errorf("tui: tape: %w", err)
		}
		if e.Err != "" {
			return v, errors.New(e.Err)
		}
		return v, nil
	case <-ctx.Done():
		return v, ctx.Err()
	}
}

// Do implements Source.
func (n *tapedNode) Do(ctx context.Context, _ control.Command) (control.Result, error) {
	return said[control.Result](ctx, n, "do")
}

// History implements Past.
func (n *tapedNode) History(ctx context.Context, _, _ time.Time, _ time.Duration) ([]*view.Snapshot, error) {
	return said[[]*view.Snapshot](ctx, n, "history")
}

// Explain implements Records.
func (n *tapedNode) Explain(ctx context.Context, _, _ string) (view.Explanation, error) {
	return said[view.Explanation](ctx, n, "explain")
}

// Trail implements Records.
func (n *tapedNode) Trail(ctx context.Context) ([]view.Audit, error) {
	return said[[]view.Audit](ctx, n, "trail")
}
