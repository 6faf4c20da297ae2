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
	every time.Duration // between two snapshots
	n     int
	base  []*view.Snapshot
}

func (c *churning) Snapshot() *view.Snapshot {
	if c.base == nil {
		for i := range 40 {
			c.base = append(c.base, sample.At(sample.BadRoom, i))
		}
	}
	s := *c.base[c.n%len(c.base)]
	s.Seq, s.At = uint64(c.n+1), sample.Start.Add(time.Duration(c.n)*c.every)
	s.Node.StartedAt = sample.Start
	s.Rooms = append([]view.Room(nil), s.Rooms...)
	for i := range s.Rooms {
		r := &s.Rooms[i]
		r.Name = fmt.Sprintf("%s-%d", r.Name, c.n/400)
		r.Participants = append([]view.Participant(nil), r.Participants...)
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

// TestHeapOfAWeek: a console that nobody closes holds no more after seven days
// than after one. The node tells of itself once a second of virtual time and of
// one event each; a frame is made every tenth time, in another pane each minute.
// All 2.4 million ticks of a week at 4 Hz would take minutes and bring nothing
// else: what a console keeps, it keeps by snapshot, by event, by second or by
// key.
func TestHeapOfAWeek(t *testing.T) {
	if testing.Short() {
		t.Skip("a week")
	}
	const day = 24 * 60 * 60
	src := &churning{Source: sample.NewSource(sample.BadRoom, 0), every: time.Second}
	now := sample.Start
	m := New(src, Options{Now: func() time.Time { return now }})
	m.w, m.h = 80, 24
	keys := []string{"1", "2", "j", "3", "enter", "4", "v", "enter", "5", "M", "D", "esc", "6", "7", "8", "d", "esc", "space", "space", ":", "x", "esc", "?", "esc"} // 24: every day ends as it began
	run := func(seconds int) {
		for range seconds {
			src.n++
			now = now.Add(src.every)
			if src.n%10 > 0 {
				m.poll(now)
				continue
			}
			m.pace.answered()
			m.onTick(now)
			if src.n%60 == 0 {
				m.onKey(keyPress(keys[src.n/60%len(keys)]), now)
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
	began := time.Now()
	var days []int64 // KiB after each
	for range 7 {
		run(day)
		days = append(days, heap()>>10)
	}
	first, last := days[0], days[6]
	t.Logf("heap after each day %v KiB; %d snapshots in %s", days, src.n, time.Since(began).Round(time.Second))
	if grown := last - first; grown > 1<<10 {
		t.Errorf("the heap grew by %d KiB", grown)
	}
	if m.frame == "" || m.Fault() != "" {
		t.Errorf("the console has ended: %s", m.Fault())
	}
	runtime.KeepAlive(m)
}
