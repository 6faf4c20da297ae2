package tui

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"signalbox/engine/view"
	"signalbox/tui/internal/sample"
)

// churning is a node on which everybody leaves and others come, with news all
// the time.
type churning struct {
	*sample.Source
	n int
}

func (c *churning) Snapshot() *view.Snapshot {
	s := *sample.At(sample.BadRoom, c.n%40)
	s.Seq, s.At = uint64(c.n+1), sample.Start.Add(time.Duration(c.n)*tickEvery)
	for i := range s.Rooms {
		r := &s.Rooms[i]
		r.Name = fmt.Sprintf("%s-%d", r.Name, c.n/400)
		for j := range r.Participants {
			r.Participants[j].ID = fmt.Sprintf("%s-%d", r.Participants[j].ID, c.n/200)
		}
	}
	return &s
}

func (c *churning) Events(after uint64) (evs []view.Event, missed uint64) {
	for seq := after + 1; seq <= uint64(c.n); seq++ {
		evs = append(evs, view.Event{Seq: seq, At: sample.Start, Kind: "room_joined", Subject: "somebody", Message: "came and went"})
	}
	return evs, 0
}

// TestHeapOfALongWatch: a console that nobody closes holds no more after a long
// watch than after a short one. A week is 2.4 million ticks; what grows with
// them would show after these as well: everything that a console keeps is
// bounded by less.
func TestHeapOfALongWatch(t *testing.T) {
	if testing.Short() {
		t.Skip("many ticks")
	}
	src := &churning{Source: sample.NewSource(sample.BadRoom, 0)}
	now := sample.Start
	m := New(src, Options{Now: func() time.Time { return now }})
	m.w, m.h = 80, 24
	run := func(ticks int) {
		for range ticks {
			src.n++
			now = now.Add(tickEvery)
			m.pace.answered()
			m.onTick(now)
			if src.n%50 == 0 {
				m.onKey(keyPress(fmt.Sprint(1+src.n/50%8)), now)
			}
		}
	}
	heap := func() int64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	run(6000) // the rings are full: 25 minutes
	before := heap()
	run(24000)
	after := heap()
	t.Logf("heap after %d ticks %d KiB, after %d %d KiB", 6000, before>>10, 30000, after>>10)
	if grown := after - before; grown > 1<<20 {
		t.Errorf("the heap grew by %d KiB", grown>>10)
	}
	runtime.KeepAlive(m)
}
