package tui

import (
	"context"
	"fmt"
	"time"

	tea "charm.land/bubbletea/v2"

	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/pane"
	"signalbox/tui/style"
)

// showDrops opens the box that tells where packets are lost, from the kernel up.
func (m *Model) showDrops() {
	m.openBox(&box{
		title: "where packets are dropped, and why", width: 120,
		rows: func(w int, st *style.Set) []string { return pane.LossRows(m.data(), w, st) },
		foot: func() string {
			return fmt.Sprintf("%s/s dropped now; esc closes", cell.Rate(m.data().DropRate()))
		},
	})
}

// explainLine is the command that explains: for the marked member one is to say
// who; of the marked call, and where nobody is marked, it is whole, about the weakest of the worst room.
func (m *Model) explainLine() (line string, whole bool) {
	if id := m.markedMember(); id != "" {
		return "explain " + id + " ", false
	}
	if id := m.markedCall(); id != "" {
		return "explain " + id, true
	}
	from, to := pane.WeakPair(m.data())
	return "explain " + from + " " + to, true
}

const (
	wellReach = 30 * time.Minute // how far back a recorder is asked for a better time
	wellStep  = 5 * time.Second
)

// compare shows what has changed: since the mark; else since the node was last
// well, which the node's recorder may know if this console does not; else over
// the last minute.
func (m *Model) compare() tea.Cmd {
	src, remembers := m.src.(Past)
	now := m.data()
	if m.mark != nil || now.Snap.Node.Health.Verdict == "ok" || m.feed.Well() != nil || !remembers {
		m.openChanges()
		return nil
	}
	return m.question(func(ctx context.Context) (func(), error) {
		snaps, err := src.History(ctx, now.Snap.At.Add(-wellReach), now.Snap.At, wellStep)
		var well *view.Snapshot
		for _, s := range snaps {
			if s.Node.Health.Verdict == "ok" && s.Node.State == "ready" {
				well = s
			}
		}
		return func() {
			if well != nil {
				m.feed.SetWell(well)
			}
			m.openChanges()
		}, err
	})
}
