package tui

import (
	"context"
	"fmt"
	"sort"
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

const (
	pastWindow = time.Minute // what the charts of a past moment show
	pastStep   = time.Second
	primeReach = 4 * time.Minute
	pastJump   = 30 * time.Second
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
	return []key.Row{
		{Keys: []string{"["}, Short: "back", Help: "look back by a second: every pane shows that moment", Run: func() { m.look(-pastStep) }},
		{Keys: []string{"]"}, Help: "and forward by a second", Run: func() { m.look(pastStep) }},
		{Keys: []string{"{"}, Help: "look back by thirty seconds", Run: func() { m.look(-pastJump) }},
		{Keys: []string{"}"}, Help: "and forward by thirty seconds", Run: func() { m.look(pastJump) }},
		{Keys: []string{"."}, Help: "back to the present, or to the end of a recording", Run: m.live},
	}
}

// look moves the moment shown; the source is asked by the next command.
func (m *Model) look(by time.Duration) {
	newest := m.feed.Data().Snap.At
	if m.past == nil {
		from := newest
		if m.frozen != nil {
			from = m.frozen.Now
		}
		m.past = &past{at: from, want: from}
	}
	m.past.want = m.past.want.Add(by)
	if !m.past.want.Before(newest) {
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
	return fmt.Sprintf(" %s %s %s -%s ", sign, word, m.frozen.Now.Format("15:04:05"), frozenFor(max(0, d)))
}
