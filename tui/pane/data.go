// Package pane holds the console's panes. A pane is a plain struct: it is
// given new numbers, moved about, and asked to draw itself into a rectangle.
// Drawing is pure: the same state gives the same rows, each exactly as wide as
// asked. Panes do no I/O and know no clock but the one in Data.
package pane

import (
	"math"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/view"
)

// Data is everything a pane may show. It is read-only for panes.
type Data struct {
	Snap   *view.Snapshot // latest, never nil
	Second *view.Snapshot // the first of the latest's second: for figures that nobody reads four times a second
	Base   *view.Snapshot // an earlier one to take rates from; nil at first
	Dt     float64        // seconds between the two
	Events []view.Event   // oldest first, bounded
	Missed uint64         // events the ring lost before we read them
	Log    []Entry        // what this console sent, oldest first
	Now    time.Time      // the moment shown: the snapshot's
	Hold   bool           // rows keep their places: a key was just pressed or a prompt is open
	Role   control.Role
	Gone   bool // the node does not answer: all this is what it last said
	Hist   *History

	cur    map[string]*view.Shard       // of Snap
	shards map[string]*view.Shard       // of Base
	parts  map[string]*view.Participant // of Base
	links  map[string]*view.Link        // of Base
}

// Entry is one command this console sent, and what came of it.
type Entry struct {
	At      time.Time
	Title   string
	On      string
	Cmd     control.Command
	Planned bool // only the plan was asked for, and nothing was applied
	Pending bool // sent, no answer yet
	Result  control.Result
	Err     string // the way to the node failed
	Took    time.Duration
}

const (
	samplesKept = 24   // about 6 s at 4 Hz
	rateWindow  = 2.0  // seconds a rate is taken over
	eventsKept  = 2000 // newest events kept by a console
	pastEvery   = 10 * time.Second
	pastKept    = 8
)

// Feed turns consecutive snapshots into Data. It has one owner.
type Feed struct {
	samples []*view.Snapshot // oldest first
	past    []*view.Snapshot // one every ten seconds, oldest first
	well    *view.Snapshot   // the latest with nothing wrong; nil: none was seen
	hist    *History
	events  []view.Event
	missed  uint64
	lastSeq uint64 // of the newest event
}

// NewFeed makes an empty feed.
func NewFeed() *Feed { return &Feed{hist: newHistory()} }

// AfterSeq is the sequence number of the newest event seen.
func (f *Feed) AfterSeq() uint64 { return f.lastSeq }

// AddEvents appends news. The slice handed out before is left as it was.
func (f *Feed) AddEvents(evs []view.Event, missed uint64) {
	f.missed += missed
	for _, e := range evs {
		f.lastSeq = max(f.lastSeq, e.Seq)
	}
	if len(f.events)+len(evs) > 2*eventsKept {
		f.events = append([]view.Event(nil), f.events[len(f.events)-eventsKept:]...)
	}
	f.events = append(f.events, evs...)
}

// Push takes a snapshot in. It reports whether it was a new one.
func (f *Feed) Push(s *view.Snapshot) bool {
	if n := len(f.samples); n > 0 {
		last := f.samples[n-1]
		if last == s || last.Seq == s.Seq && last.At.Equal(s.At) {
			return false
		}
		if !last.Node.StartedAt.Equal(s.Node.StartedAt) || s.At.Before(last.At) {
			// Another life of the node: its counters began anew.
			f.samples, f.past, f.hist, f.events, f.lastSeq = nil, nil, newHistory(), nil, 0
		}
	}
	if len(f.samples) >= samplesKept {
		f.samples = append(f.samples[:0:0], f.samples[1:]...)
	}
	f.samples = append(f.samples, s)
	if s.Node.Health.Verdict == "ok" && s.Node.State == "ready" {
		f.well = s
	}
	f.remember(s)
	f.hist.push(f.data())
	return true
}

// remember keeps a snapshot every ten seconds for a minute and a bit.
func (f *Feed) remember(s *view.Snapshot) {
	if n := len(f.past); n > 0 && s.At.Sub(f.past[n-1].At) < pastEvery {
		return
	}
	f.past = append(f.past, s)
	if len(f.past) > pastKept {
		f.past = append(f.past[:0:0], f.past[1:]...)
	}
}

// Well is the latest state with nothing wrong, nil when none was seen.
func (f *Feed) Well() *view.Snapshot { return f.well }

// SetWell tells of a state with nothing wrong from before this feed.
func (f *Feed) SetWell(s *view.Snapshot) { f.well = s }

// Oldest returns the oldest sample at or after a time that the charts' clock
// still knows whole, the first there is otherwise.
func (f *Feed) Oldest(after time.Time) *view.Snapshot {
	for _, s := range f.past {
		if !s.At.Before(after) {
			return s
		}
	}
	return f.Data().Snap
}

// Prime puts what the node remembers before what this feed has seen, so that
// charts do not begin empty. Snapshots are oldest first.
func (f *Feed) Prime(before []*view.Snapshot) {
	if len(f.samples) == 0 || len(f.past) >= pastKept {
		return
	}
	seen := f.samples
	g := NewFeed()
	for _, s := range before {
		if s.At.Before(seen[0].At) && s.Node.StartedAt.Equal(seen[0].Node.StartedAt) {
			g.Push(s)
		}
	}
	for _, s := range seen {
		g.Push(s)
	}
	if f.well == nil {
		f.well = g.well
	}
	f.samples, f.past, f.hist = g.samples, g.past, g.hist
}

// Data returns the present state, sharing nothing that will change later but
// the history, which Freeze copies.
func (f *Feed) Data() *Data {
	d := f.data()
	d.Events, d.Missed, d.Hist = f.events[max(0, len(f.events)-eventsKept):], f.missed, f.hist
	return d
}

func (f *Feed) data() *Data {
	n := len(f.samples)
	if n == 0 {
		s := &view.Snapshot{}
		return &Data{Snap: s, Second: s, Hist: f.hist}
	}
	d := &Data{Snap: f.samples[n-1], Second: f.samples[n-1], Hist: f.hist}
	d.Now = d.Snap.At
	for i := n - 2; i >= 0 && f.samples[i].At.Unix() == d.Now.Unix(); i-- {
		d.Second = f.samples[i]
	}
	for i := n - 2; i >= 0; i-- {
		d.Base = f.samples[i]
		d.Dt = d.Snap.At.Sub(d.Base.At).Seconds()
		if d.Dt >= rateWindow {
			break
		}
	}
	d.index()
	return d
}

func (d *Data) index() {
	d.cur = make(map[string]*view.Shard, len(d.Snap.Shards))
	for i := range d.Snap.Shards {
		d.cur[d.Snap.Shards[i].Key()] = &d.Snap.Shards[i]
	}
	if d.Base == nil {
		return
	}
	d.shards = make(map[string]*view.Shard, len(d.Base.Shards))
	for i := range d.Base.Shards {
		d.shards[d.Base.Shards[i].Key()] = &d.Base.Shards[i]
	}
	d.parts = map[string]*view.Participant{}
	for i := range d.Base.Rooms {
		for j := range d.Base.Rooms[i].Participants {
			p := &d.Base.Rooms[i].Participants[j]
			d.parts[p.ID] = p
		}
	}
	d.links = make(map[string]*view.Link, len(d.Base.Links))
	for i := range d.Base.Links {
		d.links[d.Base.Links[i].Label] = &d.Base.Links[i]
	}
}

// Frozen returns a copy whose history no longer moves.
func (d *Data) Frozen() *Data {
	c := *d
	c.Hist = d.Hist.clone()
	return &c
}

// per is the rate of a counter; a counter that went back has no rate.
func (d *Data) per(now, before uint64) float64 {
	if d.Base == nil || d.Dt <= 0 || now < before {
		return 0
	}
	return float64(now-before) / d.Dt
}

// PlaneRates are per second.
type PlaneRates struct{ In, Copies, Out, Drop float64 }

func (d *Data) plane(now, before *view.Plane) PlaneRates {
	return PlaneRates{
		In: d.per(now.Received, before.Received), Copies: d.per(now.Copies, before.Copies),
		Out: d.per(now.Delivered, before.Delivered), Drop: d.per(total(lost(now.Dropped)), total(lost(before.Dropped))),
	}
}

// Planes returns the three planes' names, accounts and rates, in order.
func (d *Data) Planes() (names [3]string, acc [3]*view.Plane, rates [3]PlaneRates) {
	l := &d.Snap.Ledger
	names = [3]string{"media", "federation", "dht"}
	acc = [3]*view.Plane{&l.Media, &l.Federation, &l.DHT}
	if d.Base != nil {
		b := &d.Base.Ledger
		for i, p := range []*view.Plane{&b.Media, &b.Federation, &b.DHT} {
			rates[i] = d.plane(acc[i], p)
		}
	}
	return names, acc, rates
}

// DropRate is what all planes drop per second.
func (d *Data) DropRate() float64 {
	_, _, r := d.Planes()
	return r[0].Drop + r[1].Drop + r[2].Drop
}

// Unexplained is the sum of what no plane can account for.
func (d *Data) Unexplained() int64 {
	l := &d.Snap.Ledger
	return abs(l.Media.Unexplained) + abs(l.Federation.Unexplained) + abs(l.DHT.Unexplained)
}

// ShardRates are per second.
type ShardRates struct{ In, Done, Drop float64 }

// Shard gives a shard's rates.
func (d *Data) Shard(s *view.Shard) ShardRates {
	b := d.shards[s.Key()]
	if b == nil {
		return ShardRates{}
	}
	return ShardRates{In: d.per(s.Received, b.Received), Done: d.per(s.Processed, b.Processed), Drop: d.per(total(s.Dropped), total(b.Dropped))}
}

// PartRates are per second.
type PartRates struct{ In, Out, Gap, Drop float64 }

// Part gives a participant's rates.
func (d *Data) Part(p *view.Participant) PartRates {
	b := d.parts[p.ID]
	if b == nil {
		return PartRates{}
	}
	return PartRates{
		In: d.per(p.Received, b.Received), Out: d.per(p.Delivered, b.Delivered),
		Gap: d.per(p.SeqGaps, b.SeqGaps), Drop: d.per(total(p.Dropped), total(b.Dropped)),
	}
}

// shardOf finds a shard by its key, nil when there is none.
func (d *Data) shardOf(k string) *view.Shard { return d.cur[k] }

// shardReason and partReason name the drop reason that grows fastest now, or
// the largest so far when nothing grows.
func (d *Data) shardReason(s *view.Shard) string {
	if b := d.shards[s.Key()]; b != nil {
		return growing(s.Dropped, b.Dropped)
	}
	return topReason(s.Dropped)
}

func (d *Data) partReason(p *view.Participant) string {
	if b := d.parts[p.ID]; b != nil {
		return growing(p.Dropped, b.Dropped)
	}
	return topReason(p.Dropped)
}

func growing(now, before map[string]uint64) string {
	delta := make(map[string]uint64, len(now))
	for k, v := range now {
		if v > before[k] {
			delta[k] = v - before[k]
		}
	}
	if len(delta) == 0 {
		return topReason(now)
	}
	return topReason(delta)
}

func total(m map[string]uint64) uint64 {
	var n uint64
	for _, v := range m {
		n += v
	}
	return n
}

func abs(n int64) int64 {
	if n < 0 {
		if n == math.MinInt64 {
			return math.MaxInt64
		}
		return -n
	}
	return n
}
