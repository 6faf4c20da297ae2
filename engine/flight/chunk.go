package flight

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"time"

	"signalbox/engine/view"
)

// keyEvery is how many snapshots share a key.
const keyEvery = 30

// chunk is a key and what follows it, encoded. Its bytes are only appended to,
// under the recorder's lock, so a slice of them taken under it stays valid.
type chunk struct {
	bytes       []byte
	first, last int64 // Unix ms of the first and the last snapshot
	snapshots   int
}

// chunks is what a recording holds in memory, oldest first.
type chunks struct {
	list  []*chunk
	bytes int
}

// add appends one frame. A key starts a chunk.
func (c *chunks) add(kind byte, at int64, enc []byte) {
	if kind == kindKey {
		c.list = append(c.list, &chunk{first: at, last: at})
	}
	if len(c.list) == 0 {
		return // events before the first snapshot are in the event ring still
	}
	last := c.list[len(c.list)-1]
	last.bytes = append(last.bytes, enc...)
	c.bytes += len(enc)
	if kind != kindEvents {
		last.last = at
		last.snapshots++
	}
}

// forget drops chunks that ended before the time given, and the oldest ones
// until the rest fits; the newest stays.
func (c *chunks) forget(before int64, most int) {
	n := 0
	for n < len(c.list)-1 && (c.list[n].last < before || c.bytes > most) {
		c.bytes -= len(c.list[n].bytes)
		n++
	}
	if n > 0 {
		c.list = append([]*chunk(nil), c.list[n:]...)
	}
}

// between copies the chunks that touch a span of time; zero is open.
func (c *chunks) between(from, to time.Time) [][]byte {
	var out [][]byte
	for _, k := range c.list {
		if !from.IsZero() && k.last < ms(from) || !to.IsZero() && k.first > ms(to) {
			continue
		}
		out = append(out, slices.Clip(k.bytes))
	}
	return out
}

// span is a request for what lies between two times at a distance of step.
type span struct {
	from, to int64 // 0: open
	step     int64
	next     int64 // the earliest time of the next one
}

func newSpan(from, to time.Time, step time.Duration) span {
	s := span{step: step.Milliseconds()}
	if !from.IsZero() {
		s.from = ms(from)
	}
	if !to.IsZero() {
		s.to = ms(to)
	}
	return s
}

// wants says whether a snapshot of that time is asked for. Snapshots are a
// second apart, more or less, hence the slack of half of one.
func (s *span) wants(at int64) bool {
	if at < s.from || s.to != 0 && at > s.to || at < s.next {
		return false
	}
	s.next = at + s.step - min(s.step/2, 500)
	return true
}

// walk decodes frames until r ends and hands each wanted snapshot's JSON to
// yield, and events, if evs is given, to it. more is false when yield was.
// Frames of kinds this version does not know are passed over.
func (u *unpacker) walk(r *bufio.Reader, s *span, yield func(at int64, js []byte) bool, evs func([]view.Event)) (more bool, err error) {
	for {
		f, err := readFrame(r)
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return true, err
		}
		switch f.kind {
		case kindEvents:
			if evs == nil {
				continue
			}
			list, err := u.events(f)
			if err != nil {
				return true, err
			}
			evs(list)
		case kindKey, kindDelta:
			want := s.wants(f.at)
			if !want && f.kind == kindDelta {
				continue
			}
			js, err := u.snapshot(f)
			if err != nil {
				return true, err
			}
			if want && !yield(f.at, js) {
				return false, nil
			}
		}
	}
}
