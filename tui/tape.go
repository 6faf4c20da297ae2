package tui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui/style"
)

// A tape is everything that reached a console: what its terminal sent, what its
// node answered, and when. Played to the same program it gives the same frames;
// played to a later one it shows what has changed. It is lines of JSON.
type entry struct {
	At   int64  `json:"t"` // Unix ns
	Kind string `json:"k"`

	Open    *opening        `json:"open,omitempty"`
	Key     *tea.Key        `json:"key,omitempty"`
	Mouse   *tea.Mouse      `json:"mouse,omitempty"`
	Text    string          `json:"text,omitempty"` // pasted
	Size    *Size           `json:"size,omitempty"`
	Light   bool            `json:"light,omitempty"`
	Profile byte            `json:"profile,omitempty"`
	Snap    json.RawMessage `json:"snap,omitempty"`
	Events  []view.Event    `json:"events,omitempty"`
	Missed  uint64          `json:"missed,omitempty"`
	Call    string          `json:"call,omitempty"`   // of the source, by its method
	Answer  json.RawMessage `json:"answer,omitempty"` // and what it gave
	Err     string          `json:"err,omitempty"`
}

// Kinds of entries: the first, what comes from the terminal, from the clock,
// from the node, and what commands of the console brought.
const (
	tapeOpen    = "open"
	tapeTick    = "tick"
	tapeKey     = "key"
	tapeClick   = "click"
	tapeWheel   = "wheel"
	tapePaste   = "paste"
	tapeSize    = "size"
	tapeGround  = "ground"
	tapeProfile = "profile"
	tapeReport  = "report" // of the cursor's place
	tapeSnap    = "snap"
	tapeEvents  = "events"
	tapeAnswer  = "answer" // of a call of the source
	tapePrime   = "prime"
	tapePlan    = "plan"
	tapeDone    = "done"
	tapePast    = "past"
	tapeShow    = "show"
)

// opening is with what options a taped console was opened.
type opening struct {
	NoColor bool         `json:"no_color,omitempty"`
	Theme   style.Theme  `json:"theme,omitempty"`
	Role    control.Role `json:"role,omitempty"`
	Title   string       `json:"title,omitempty"`
}

// tapeable is a Source with all that a tape can hold.
type tapeable interface {
	Source
	Past
	Records
}

// recorder stands between a console and its source, and between the terminal
// and the console. The console's clock is that of the message it handles.
type recorder struct {
	// Constant after newRecorder.
	src tapeable

	// Owned by the console's loop.
	m *Model

	mu   sync.Mutex // guards the rest; held while a line is written, which only the demo asks for
	w    io.Writer
	now  time.Time
	seq  uint64
	snap *view.Snapshot
	err  error
}

var errNoTape = errors.New("tui: this source cannot be taped")

// newRecorder makes a console that tapes itself.
func newRecorder(src Source, o Options, w io.Writer) (*recorder, error) {
	t, ok := src.(tapeable)
	if !ok {
		return nil, errNoTape
	}
	r := &recorder{src: t, w: w, now: time.Now()}
	o.Now = r.clock
	r.write(&entry{Kind: tapeOpen, Open: &opening{o.NoColor, o.Theme, o.Role, o.Title}})
	r.refresh()
	r.m = New(r, o)
	return r, r.err
}

func (r *recorder) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// write appends a line; once that fails the tape is at its end.
func (r *recorder) write(e *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.At = r.now.UnixNano()
	b, err := json.Marshal(e)
	if err == nil && r.err == nil {
		_, err = r.w.Write(append(b, '\n'))
	}
	r.err = errors.Join(r.err, err)
}

// refresh takes the node's newest snapshot, as it will be read from the tape.
func (r *recorder) refresh() {
	s := r.src.Snapshot()
	if s == nil || r.snap != nil && s.Seq == r.seq {
		return
	}
	js, err := json.Marshal(s)
	again := &view.Snapshot{}
	if err == nil {
		err = json.Unmarshal(js, again)
	}
	r.write(&entry{Kind: tapeSnap, Snap: js})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq, r.snap, r.err = s.Seq, again, errors.Join(r.err, err)
}

// Init implements tea.Model.
func (r *recorder) Init() tea.Cmd { return r.m.Init() }

// View implements tea.Model.
func (r *recorder) View() tea.View { return r.m.View() }

// Update implements tea.Model: the entry follows what the message has made the
// source say.
func (r *recorder) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	r.mu.Lock()
	r.now = time.Now()
	r.mu.Unlock()
	e := entryOf(msg)
	if e != nil && (e.Kind == tapeTick || e.Kind == tapeSize) {
		r.refresh()
	}
	_, cmd := r.m.Update(msg)
	if e != nil {
		r.write(e)
	}
	return r, cmd
}

// entryOf is what a message is on a tape; nil: it means nothing to a console.
func entryOf(msg tea.Msg) *entry {
	switch msg := msg.(type) {
	case tickMsg:
		return &entry{Kind: tapeTick}
	case tea.KeyPressMsg:
		k := tea.Key(msg)
		return &entry{Kind: tapeKey, Key: &k}
	case tea.MouseClickMsg:
		return &entry{Kind: tapeClick, Mouse: new(msg.Mouse())}
	case tea.MouseWheelMsg:
		return &entry{Kind: tapeWheel, Mouse: new(msg.Mouse())}
	case tea.PasteMsg:
		return &entry{Kind: tapePaste, Text: msg.Content}
	case tea.WindowSizeMsg:
		return &entry{Kind: tapeSize, Size: &Size{msg.Width, msg.Height}}
	case tea.BackgroundColorMsg:
		return &entry{Kind: tapeGround, Light: !msg.IsDark()}
	case tea.ColorProfileMsg:
		return &entry{Kind: tapeProfile, Profile: byte(msg.Profile)}
	case tea.CursorPositionMsg:
		return &entry{Kind: tapeReport}
	}
	if kind := kindOf(msg); kind != "" {
		return &entry{Kind: kind}
	}
	return nil
}

// kindOf names what a command of the console has brought.
func kindOf(msg tea.Msg) string {
	switch msg.(type) {
	case primeMsg:
		return tapePrime
	case planMsg:
		return tapePlan
	case doneMsg:
		return tapeDone
	case pastMsg:
		return tapePast
	case answerMsg:
		return tapeShow
	}
	return ""
}

// Snapshot implements Source.
func (r *recorder) Snapshot() *view.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snap
}

// Events implements Source.
func (r *recorder) Events(after uint64) ([]view.Event, uint64) {
	evs, missed := r.src.Events(after)
	if len(evs) == 0 && missed == 0 {
		return nil, 0
	}
	var again []view.Event
	js, err := json.Marshal(evs)
	if err == nil {
		err = json.Unmarshal(js, &again)
	}
	r.write(&entry{Kind: tapeEvents, Events: evs, Missed: missed, Err: errText(err)})
	return again, missed
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// answered writes what a call gave, and returns it as it will be read.
func answered[T any](r *recorder, call string, v T, err error) (again T, _ error) {
	js, jerr := json.Marshal(v)
	if jerr == nil {
		jerr = json.Unmarshal(js, &again)
	}
	r.mu.Lock()
	r.now = time.Now()
	r.mu.Unlock()
	r.write(&entry{Kind: tapeAnswer, Call: call, Answer: js, Err: errText(errors.Join(err, jerr))})
	return again, err
}

// Do implements Source.
func (r *recorder) Do(ctx context.Context, c control.Command) (control.Result, error) {
	res, err := r.src.Do(ctx, c)
	return answered(r, "do", res, err)
}

// History implements Past.
func (r *recorder) History(ctx context.Context, from, to time.Time, step time.Duration) ([]*view.Snapshot, error) {
	snaps, err := r.src.History(ctx, from, to, step)
	return answered(r, "history", snaps, err)
}

// Explain implements Records.
func (r *recorder) Explain(ctx context.Context, from, to string) (view.Explanation, error) {
	x, err := r.src.Explain(ctx, from, to)
	return answered(r, "explain", x, err)
}

// Trail implements Records.
func (r *recorder) Trail(ctx context.Context) ([]view.Audit, error) {
	recs, err := r.src.Trail(ctx)
	return answered(r, "trail", recs, err)
}

// tapeErr says what went wrong with the tape.
func (r *recorder) tapeErr() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return fmt.Errorf("tui: tape: %w", r.err)
	}
	return nil
}
