package tui

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/key"
	"signalbox/tui/pane"
	"signalbox/tui/style"
)

// Past is a Source that remembers.
type Past interface {
	// History returns the snapshots between two times (zero: open), at least
	// step apart, oldest first. It may wait.
	History(ctx context.Context, from, to time.Time, step time.Duration) ([]*view.Snapshot, error)
}

// Spanned is a Past that knows from when to when.
type Spanned interface {
	Span() (first, last time.Time)
}

const (
	pastWindow = time.Minute // what the charts of a past moment show
	pastStep   = time.Second
	primeReach = 4 * time.Minute
	pastJump   = 30 * time.Second
	pastLeap   = 5 * time.Minute
)

// past is where the console looks when not at the present.
type past struct {
	at      time.Time // the moment shown
	want    time.Time // the moment asked for; at, when it has come
	loading bool
	playing bool
	next    time.Time // when a recording that plays goes on
}

// pastMsg is a moment of the past, on its way from the source.
type pastMsg struct {
	want  time.Time
	snaps []*view.Snapshot
	err   error
}

// pastKeys look back. They are there where the source remembers.
func (m *Model) pastKeys() []key.Row {
	if _, ok := m.src.(Past); !ok {
		return nil
	}
	end := "back to the present"
	if m.opt.Recorded {
		end = "to the end of the recording"
	}
	rows := []key.Row{
		{Keys: []string{"["}, Short: "back", Help: "look back by a second: every pane shows that moment", Run: func() { m.look(-pastStep) }},
		{Keys: []string{"]"}, Help: "and forward by a second", Run: func() { m.look(pastStep) }},
		{Keys: []string{"{"}, Help: "look back by thirty seconds", Run: func() { m.look(-pastJump) }},
		{Keys: []string{"}"}, Help: "and forward by thirty seconds", Run: func() { m.look(pastJump) }},
		{Keys: []string{"("}, Help: "look back by five minutes; :at 03:12 goes to a time of day", Run: func() { m.look(-pastLeap) }},
		{Keys: []string{")"}, Help: "and forward by five minutes", Run: func() { m.look(pastLeap) }},
		{Keys: []string{"."}, Help: end, Run: m.live},
	}
	if _, ok := m.src.(Spanned); ok {
		rows = append(rows, key.Row{Keys: []string{","}, Help: "to the start of the recording", Run: func() { m.lookAt(m.first()) }})
	}
	return rows
}

// first is when what the source remembers begins, zero where it does not say.
func (m *Model) first() time.Time {
	if s, ok := m.src.(Spanned); ok {
		first, _ := s.Span()
		return first
	}
	return time.Time{}
}

// at is the command that goes to a time.
func (m *Model) at(args []string) tea.Cmd {
	t, err := parseMoment(strings.Join(args, " "), m.feed.Data().Snap.At)
	switch {
	case err != nil:
		m.say(style.Warn, err.Error())
	case t.IsZero():
		m.live()
	default:
		m.lookAt(t)
	}
	return nil
}

var errMoment = errors.New("at 03:12, 03:12:30 (UTC), -10m, or live")

// parseMoment reads a time of day before now, how long before now, or live,
// which is the zero time.
func parseMoment(s string, now time.Time) (time.Time, error) {
	if s == "live" || s == "end" {
		return time.Time{}, nil
	}
	if back, ok := strings.CutPrefix(s, "-"); ok {
		d, err := time.ParseDuration(back)
		if err != nil || d < 0 {
			return time.Time{}, errMoment
		}
		return now.Add(-d), nil
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		clock, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		y, mo, d := now.UTC().Date()
		t := time.Date(y, mo, d, clock.Hour(), clock.Minute(), clock.Second(), 0, time.UTC)
		if t.After(now) { // it was yesterday
			t = t.AddDate(0, 0, -1)
		}
		return t, nil
	}
	return time.Time{}, errMoment
}

// lookAt goes to a moment; one before all that is remembered is told, and nothing
// moves.
func (m *Model) lookAt(t time.Time) {
	first := m.first()
	if !first.IsZero() && t.Before(first) {
		m.say(style.Warn, "the recording does not reach back to "+t.Format("15:04:05")+": it begins at "+first.Format("15:04:05"))
		return
	}
	m.lookTo(t)
}

// looking is the moment that is asked for, or shown.
func (m *Model) looking() time.Time {
	switch {
	case m.past != nil:
		return m.past.want
	case m.frozen != nil:
		return m.frozen.Now
	}
	return m.feed.Data().Snap.At
}

func (m *Model) look(by time.Duration) { m.lookTo(m.looking().Add(by)) }

// lookTo moves the moment shown; the source is asked by the next command.
func (m *Model) lookTo(t time.Time) {
	if m.past == nil {
		now := m.looking()
		m.past = &past{at: now, want: now}
	}
	m.past.want = t
	if newest := m.feed.Data().Snap.At; !t.Before(newest) {
		if !m.opt.Recorded {
			m.live()
			return
		}
		m.past.want, m.past.playing = newest, false
	}
}

// live returns to the present.
func (m *Model) live() {
	if m.opt.Recorded {
		newest := m.feed.Data().Snap.At
		m.past = &past{want: newest}
		return
	}
	if m.past != nil || m.frozen != nil {
		m.past, m.frozen = nil, nil
		m.say(style.Text, "live again")
	}
}

// fetch asks the source for the wanted moment, one question at a time.
func (m *Model) fetch() tea.Cmd {
	src, ok := m.src.(Past)
	if !ok || m.past == nil || m.past.loading || m.past.want.Equal(m.past.at) {
		return nil
	}
	m.past.loading = true
	want, ctx, limit := m.past.want, m.ctx, m.opt.Timeout
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		snaps, err := src.History(ctx, want.Add(-pastWindow), want.Add(pastStep/2), pastStep)
		return pastMsg{want, snaps, err}
	}
}

// primeMsg is what the node remembers of the minutes before this console.
type primeMsg struct {
	snaps []*view.Snapshot
	fault any // a source that failed: the console's fault, told in Update
}

// prime asks the source for the minutes before, so that the charts of a console
// that has just been opened are not empty. Without an answer they fill by
// themselves.
func (m *Model) prime() tea.Cmd {
	src, ok := m.src.(Past)
	if !ok || m.opt.Recorded {
		return nil
	}
	ctx, limit := m.ctx, m.opt.Timeout
	return func() (msg tea.Msg) {
		defer func() {
			if r := recover(); r != nil {
				msg = primeMsg{fault: r}
			}
		}()
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		s := m.src.Snapshot()
		if s == nil {
			return primeMsg{}
		}
		snaps, err := src.History(ctx, s.At.Add(-primeReach), s.At, pastStep)
		if err != nil {
			return primeMsg{}
		}
		return primeMsg{snaps: snaps}
	}
}

// onPast shows a moment that has come, unless we are live again.
func (m *Model) onPast(msg pastMsg) {
	if m.past == nil {
		return
	}
	m.past.loading = false
	switch {
	case msg.err != nil:
		m.say(style.Bad, "looking back failed: "+cell.Clean(msg.err.Error()))
		m.past.want = m.past.at
	case len(msg.snaps) == 0:
		m.say(style.Warn, "the recording does not reach back to "+msg.want.Format("15:04:05"))
		m.past.want = m.past.at
	default:
		m.past.at = msg.want
		m.frozen, m.frozenAt = m.moment(msg.snaps), msg.snaps[len(msg.snaps)-1].At
	}
	if m.past.at.IsZero() { // nothing has ever come: the present is what there is
		m.past = nil
	}
}

// moment makes the panes' data of a stretch of the past that ends with the
// moment shown, with the news up to then.
func (m *Model) moment(snaps []*view.Snapshot) *pane.Data {
	f := pane.NewFeed()
	for _, s := range snaps {
		f.Push(s)
	}
	last := snaps[len(snaps)-1]
	evs := m.feed.Data().Events
	n := sort.Search(len(evs), func(i int) bool { return evs[i].At.After(last.At) })
	f.AddEvents(evs[:n], 0)
	return f.Data()
}

// play lets a recording go on by itself.
func (m *Model) play(now time.Time) {
	switch {
	case m.opt.Recorded && m.past == nil:
		m.live()
	case m.past == nil || !m.past.playing || m.past.loading || now.Before(m.past.next):
	default:
		m.past.next = now.Add(pastStep)
		m.look(pastStep)
	}
}

// pastSign says which moment is shown, for the header.
func (m *Model) pastSign(g *style.Glyph) string {
	d := m.feed.Data().Snap.At.Sub(m.frozen.Now)
	word := "PAST"
	if m.opt.Recorded {
		word = "REPLAY"
	}
	sign := g.Pause
	if m.past.playing {
		sign = g.Dot
	}
	of := ""
	if first := m.first(); !first.IsZero() {
		of = "of " + frozenFor(m.feed.Data().Snap.At.Sub(first)) + " "
	}
	return fmt.Sprintf(" %s %s %s -%s %s", sign, word, m.frozen.Now.Format("15:04:05"), frozenFor(max(0, d)), of)
}
