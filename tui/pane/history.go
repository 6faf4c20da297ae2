package pane

import (
	"math"
	"time"

	"signalbox/engine/view"
)

// histKept is how many samples, one a second, a chart can look back.
const histKept = 240

// peopleKept is of how many participants the quality is kept: those of the
// first rooms, which bounds it at 2 MB.
const peopleKept = 500

// History keeps short series, one value a second, for the charts. Charts
// therefore move once a second whatever the frame rate is.
type History struct {
	last   time.Time
	ticks  int
	series map[string]*series
}

type series struct {
	vals []float64
	seen int // tick of the newest value
}

func newHistory() *History { return &History{series: map[string]*series{}} }

func (h *History) clone() *History {
	c := &History{last: h.last, ticks: h.ticks, series: make(map[string]*series, len(h.series))}
	for k, s := range h.series {
		c.series[k] = &series{vals: append([]float64(nil), s.vals...), seen: s.seen}
	}
	return c
}

// Get returns a series, oldest first; nil when there is none.
func (h *History) Get(name string) []float64 {
	if h == nil || h.series[name] == nil {
		return nil
	}
	return h.series[name].vals
}

// push samples the state once a second of the snapshot's own time. Seconds
// without a snapshot become gaps, never zeros.
func (h *History) push(d *Data) {
	at := d.Snap.At
	if d.Base == nil {
		h.last = at
		return
	}
	gap := at.Sub(h.last)
	if gap < time.Second {
		return
	}
	for range min(int(gap/time.Second)-1, histKept) {
		h.ticks++
		for _, s := range h.series {
			s.add(math.NaN())
		}
	}
	h.last = h.last.Add(gap.Truncate(time.Second))
	h.ticks++
	h.sample(d)
	for k, s := range h.series {
		if s.seen != h.ticks {
			delete(h.series, k) // its shard or room is gone
		}
	}
}

func (h *History) sample(d *Data) {
	names, _, rates := d.Planes()
	for i, n := range names {
		h.add(n+".in", rates[i].In)
		h.add(n+".out", rates[i].Out)
		h.add(n+".drop", rates[i].Drop)
	}
	h.add("drop", d.DropRate())
	for i := range d.Snap.Shards {
		s := &d.Snap.Shards[i]
		h.add("shard."+s.Key(), fullest(s))
	}
	for i := range d.Snap.Links {
		l := &d.Snap.Links[i]
		r := d.Link(l)
		h.add("link."+linkID(l), r.In+r.Out)
	}
	people := 0
	for i := range d.Snap.Rooms {
		if i == 256 {
			break // a chart per room is drawn for what fits a screen
		}
		r := &d.Snap.Rooms[i]
		h.add("room."+r.Name, worstLoss(r))
		for j := range r.Participants {
			if p := &r.Participants[j]; people < peopleKept && p.ReportAgeS >= 0 && p.Transport != federated {
				people++
				h.add("loss."+p.ID, p.LossPct)
				h.add("rtt."+p.ID, p.RTTMS)
			}
		}
	}
}

func (h *History) add(name string, v float64) {
	s := h.series[name]
	if s == nil {
		s = &series{}
		h.series[name] = s
	}
	s.add(v)
	s.seen = h.ticks
}

func (s *series) add(v float64) {
	if len(s.vals) >= histKept {
		copy(s.vals, s.vals[1:])
		s.vals[histKept-1] = v
		return
	}
	s.vals = append(s.vals, v)
}

// fullest is how full a shard has been in the last second or so: what waits at
// the moment of a snapshot says little of a queue that fills and empties between
// two of them. What every queue holds now and then counts as nothing, or the bars
// of a calm node would flicker.
func fullest(s *view.Shard) float64 {
	const nothing = 0.02
	if f := fill(max(s.Depth, s.Peak), s.Capacity); f >= nothing {
		return f
	}
	return 0
}

func fill(depth, capacity int) float64 {
	if capacity <= 0 {
		return 0
	}
	return float64(depth) / float64(capacity)
}
