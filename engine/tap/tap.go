// Package tap is wzp-relay's debug tap (spec wzp 5.6): it writes what passes
// through a room, header by header, while an operator looks for a fault. Taps
// are put on and taken off at run time.
//
// It can cost neither the room nor the node: a packet of a room without a tap
// costs one load and one comparison of names, a tapped one a leaf lock and a
// place in a bounded queue. Each tap writes so many lines a second at most; the
// rest is counted in its STATS line, which covers every packet.
package tap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/relay"
	"signalbox/relay/wire"
)

// Bounds of the taps.
const (
	maxTaps    = 16
	queueCap   = 1024
	linesPerS  = 100 // of one tap
	maxSenders = 1024
	statsEvery = 5 * time.Second
	maxAliases = 16 // in a line
)

// All is the name of the tap on every room.
const All = "*"

// The errors of Add and Remove.
var (
	ErrNone = errors.New("there is no such tap")
	ErrTwin = errors.New("there is a tap on that already")
	ErrMany = fmt.Errorf("there are %d taps, as many as there may be", maxTaps)
)

// State is one tap as it is shown.
type State struct {
	Room    string
	ToFile  bool
	Author  string
	Since   time.Time
	Lines   uint64
	Skipped uint64 // packets and signals that were not written
}

// Set is the taps of a node.
type Set struct {
	// Constant after New.
	log   *slog.Logger
	file  *slog.Logger
	queue chan record

	// Any goroutine (atomic).
	taps atomic.Pointer[[]*tap] // copy on write under mu; nil: none
	lost atomic.Uint64          // the queue was full

	mu sync.Mutex // guards writes of taps
}

// tap is one of them.
type tap struct {
	// Constant after Add.
	room, author string
	since        time.Time
	out          *slog.Logger

	// mu guards the rest. A leaf, held for a few dozen nanoseconds.
	mu      sync.Mutex
	second  int64 // of the budget
	left    int
	lines   uint64
	skipped uint64
	stats   stats
	seqs    map[string]uint16 // by participant
	update  *wire.RoomUpdate  // the last one written
	tier    string            // the last directive written
}

// stats is what one STATS line tells.
type stats struct {
	in, out, gaps uint64
	skipped       uint64
	codecs        uint16
}

// record is one line on its way to the writer.
type record struct {
	out   *slog.Logger
	msg   string
	attrs []slog.Attr
}

// New makes a set whose taps write to log, or to file.
func New(log, file *slog.Logger) *Set {
	return &Set{log: log, file: file, queue: make(chan record, queueCap)}
}

// Add puts a tap on a room, or on All.
func (s *Set) Add(room, author string, toFile bool, now time.Time) error {
	out := s.log
	if toFile {
		out = s.file
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.list()
	switch {
	case slices.ContainsFunc(old, func(t *tap) bool { return t.room == room }):
		return ErrTwin
	case len(old) >= maxTaps:
		return ErrMany
	}
	next := append(slices.Clone(old), &tap{room: room, author: author, since: now, out: out, second: -1, seqs: map[string]uint16{}})
	s.taps.Store(&next)
	return nil
}

// Remove takes a tap off.
func (s *Set) Remove(room string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.list()
	next := slices.DeleteFunc(slices.Clone(old), func(t *tap) bool { return t.room == room })
	switch len(next) {
	case len(old):
		return ErrNone
	case 0:
		s.taps.Store(nil)
	default:
		s.taps.Store(&next)
	}
	return nil
}

func (s *Set) list() []*tap {
	if p := s.taps.Load(); p != nil {
		return *p
	}
	return nil
}

// On says whether there is a tap on the room.
func (s *Set) On(room string) bool {
	return slices.ContainsFunc(s.list(), func(t *tap) bool { return t.room == room })
}

// States lists the taps.
func (s *Set) States() []State {
	out := []State{}
	for _, t := range s.list() {
		t.mu.Lock()
		out = append(out, State{Room: t.room, ToFile: t.out == s.file, Author: t.author, Since: t.since, Lines: t.lines, Skipped: t.skipped})
		t.mu.Unlock()
	}
	return out
}

// Packet shows a packet before it is forwarded. now is monotonic, ns.
func (s *Set) Packet(p *relay.Participant, pkt []byte, now int64) {
	taps := s.taps.Load()
	if taps == nil {
		return
	}
	for _, t := range *taps {
		if t.room == All || t.room == p.RoomName() {
			s.packet(t, p, pkt, now)
		}
	}
}

func (s *Set) packet(t *tap, p *relay.Participant, pkt []byte, now int64) {
	m, err := wire.Parse(pkt)
	if err != nil {
		return // it is dropped and counted as malformed
	}
	fan := p.Hearers()
	t.mu.Lock()
	t.stats.in++
	t.stats.out += uint64(fan)
	t.stats.codecs |= 1 << m.Codec
	last, known := t.seqs[p.ID()]
	if known && m.Seq != last+1 {
		t.stats.gaps++
	}
	if known || len(t.seqs) < maxSenders {
		t.seqs[p.ID()] = m.Seq
	}
	write := t.spendLocked(now)
	t.mu.Unlock()
	if !write {
		return
	}
	s.put(t, "TAP",
		slog.String("room", p.RoomName()), slog.String("dir", "in"), slog.String("addr", p.Remote().String()), slog.Int("seq", int(m.Seq)),
		slog.String("codec", m.Codec.String()), slog.Uint64("ts", uint64(m.Timestamp)), slog.Int("fec_block", int(m.FECBlock)), slog.Int("fec_sym", int(m.FECSymbol)),
		slog.Bool("repair", m.Repair), slog.Int("len", len(m.Payload)), slog.Int("fan_out", fan))
}

// Signal shows what the members of a room are told. What many are told is
// written once.
func (s *Set) Signal(room string, sig wire.Signal, now int64) {
	for _, t := range s.list() {
		if t.room != All && t.room != room {
			continue
		}
		switch m := sig.(type) {
		case *wire.RoomUpdate:
			if t.fresh(now, func() bool { old := t.update; t.update = m; return old != m }) {
				s.put(t, "TAP SIGNAL", slog.String("room", room), slog.String("signal", "RoomUpdate"), slog.Int("count", int(m.Count)), slog.String("aliases", aliases(m)))
			}
		case *wire.QualityDirective:
			reason := ""
			if m.Reason != nil {
				reason = *m.Reason
			}
			key := room + " " + m.RecommendedProfile.Codec.String() + " " + reason
			if t.fresh(now, func() bool { old := t.tier; t.tier = key; return old != key }) {
				s.put(t, "TAP SIGNAL", slog.String("room", room), slog.String("signal", "QualityDirective"), slog.String("codec", m.RecommendedProfile.Codec.String()), slog.String("reason", relay.Sanitize(reason)))
			}
		}
	}
}

func (t *tap) fresh(now int64, changed func() bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return changed() && t.spendLocked(now)
}

func aliases(m *wire.RoomUpdate) string {
	var names []string
	for i := range m.Participants {
		if len(names) == maxAliases {
			names = append(names, "…")
			break
		}
		if a := m.Participants[i].Alias; a != nil {
			names = append(names, relay.Sanitize(*a))
		}
	}
	return strings.Join(names, ", ")
}

// Event shows a join or leave.
func (s *Set) Event(room, kind, message string, now int64) {
	for _, t := range s.list() {
		if (t.room == All || t.room == room) && t.fresh(now, func() bool { return true }) {
			s.put(t, "TAP EVENT", slog.String("room", room), slog.String("event", kind), slog.String("detail", message))
		}
	}
}

// spendLocked takes one line out of the tap's budget, and counts it if there is
// none left. t.mu is held.
func (t *tap) spendLocked(now int64) bool {
	if sec := now / int64(time.Second); sec != t.second {
		t.second, t.left = sec, linesPerS
	}
	if t.left == 0 {
		t.skipped++
		t.stats.skipped++
		return false
	}
	t.left--
	t.lines++
	return true
}

// put queues a line; one that does not fit is counted as skipped instead.
func (s *Set) put(t *tap, msg string, attrs ...slog.Attr) {
	select {
	case s.queue <- record{t.out, msg, append([]slog.Attr{slog.String("target", "debug_tap")}, attrs...)}:
	default:
		s.lost.Add(1)
		t.mu.Lock()
		t.lines--
		t.skipped++
		t.stats.skipped++
		t.mu.Unlock()
	}
}

// Run writes until ctx ends.
func (s *Set) Run(ctx context.Context) {
	tick := time.NewTicker(statsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-s.queue:
			r.out.LogAttrs(ctx, slog.LevelInfo, r.msg, r.attrs...) //nolint:sloglint // one of the messages of this package
		case <-tick.C:
			s.tell(ctx)
		}
	}
}

// tell writes the STATS line of every tap that has seen something.
func (s *Set) tell(ctx context.Context) {
	for _, t := range s.list() {
		t.mu.Lock()
		st := t.stats
		t.stats = stats{}
		t.mu.Unlock()
		if st.in == 0 && st.skipped == 0 {
			continue
		}
		avg := 0.0
		if st.in > 0 {
			avg = float64(st.out) / float64(st.in)
		}
		t.out.LogAttrs(ctx, slog.LevelInfo, "TAP STATS",
			slog.String("target", "debug_tap"), slog.String("room", t.room), slog.String("period", statsEvery.String()), slog.Uint64("in_pkts", st.in), slog.Uint64("out_pkts", st.out),
			slog.Float64("fan_out_avg", avg), slog.Uint64("seq_gaps", st.gaps), slog.String("codecs_seen", codecs(st.codecs)), slog.Uint64("skipped", st.skipped))
	}
}

func codecs(seen uint16) string {
	var names []string
	for c := range wire.Codec(16) {
		if seen&(1<<c) != 0 {
			names = append(names, c.String())
		}
	}
	return strings.Join(names, ",")
}
