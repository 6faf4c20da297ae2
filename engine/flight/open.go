package flight

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"signalbox/engine/view"
)

// Recording is a file of this package, or a directory of them, opened for
// reading. Only its index and its events are in memory; snapshots are read when
// asked for.
type Recording struct {
	// Constant after Open.
	chunks []where
	times  []int64 // Unix ms of every snapshot, ascending
	events []view.Event
	torn   error // why it ends before its end, nil when it does not
}

// where is a chunk in a file.
type where struct {
	path        string
	from, to    int64 // offsets
	first, last int64 // Unix ms
}

// ErrEmpty is a recording without a single whole snapshot.
var ErrEmpty = errors.New("flight: the recording holds no snapshot")

// maxEvents bounds what a file makes us remember.
const maxEvents = 20_000

// Open reads the index of a recording: of a file, or of the segments in a
// recorder's directory as one. Whatever is whole is usable: a torn or damaged
// tail is told by Torn.
func Open(path string) (*Recording, error) {
	if st, err := os.Stat(path); err != nil || !st.IsDir() {
		return openFile(path)
	}
	all := &Recording{}
	segments, _ := list(path, segmentPrefix)
	for _, s := range segments {
		one, err := openFile(s.path)
		if err != nil { // one that holds nothing, or nothing of ours, leaves a gap
			all.torn = errors.Join(all.torn, err)
			continue
		}
		all.append(one)
	}
	if len(all.times) == 0 {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(ErrEmpty, all.torn))
	}
	for i := range all.events { // a node that began anew has counted from one again
		all.events[i].Seq = uint64(i + 1)
	}
	return all, nil
}

// append adds what comes after. What is said to be earlier is of a clock that was
// set back: there is one order only, so it is left out.
func (rec *Recording) append(later *Recording) {
	if n := len(rec.times); n > 0 && later.times[0] < rec.times[n-1] {
		rec.torn = errors.Join(rec.torn, fmt.Errorf("%s: %w: it begins before the one before it ends", later.chunks[0].path, ErrDamaged))
		return
	}
	rec.chunks = append(rec.chunks, later.chunks...)
	rec.times = append(rec.times, later.times...)
	rec.remember(later.events)
	rec.torn = errors.Join(rec.torn, later.torn)
}

func (rec *Recording) remember(evs []view.Event) {
	rec.events = append(rec.events, evs...)
	if n := len(rec.events) - maxEvents; n > 0 {
		rec.events = slices.Delete(rec.events, 0, n)
	}
}

func openFile(path string) (_ *Recording, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", path, ErrNotRecording)
	}
	rec := &Recording{}
	if err := rec.index(bufio.NewReaderSize(f, 1<<16)); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i := range rec.chunks {
		rec.chunks[i].path = path
	}
	return rec, nil
}

// index walks the frames and notes where chunks are.
func (rec *Recording) index(r *bufio.Reader) error {
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(r, head); err != nil || string(head) != magic {
		return ErrNotRecording
	}
	u, err := newUnpacker()
	if err != nil {
		return err
	}
	defer u.close()
	at := int64(len(magic))
	for {
		f, err := readFrame(r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			rec.torn = err
			break
		}
		size := int64(frameHead + bodyHead + len(f.raw))
		if err := rec.note(u, f, at, size); err != nil {
			rec.torn = err
			break
		}
		at += size
	}
	if len(rec.times) == 0 {
		return errors.Join(ErrEmpty, rec.torn)
	}
	return nil
}

func (rec *Recording) note(u *unpacker, f frame, at, size int64) error {
	switch f.kind {
	case kindEvents:
		evs, err := u.events(f)
		if err != nil {
			return err
		}
		rec.remember(evs)
	case kindKey:
		rec.chunks = append(rec.chunks, where{from: at, first: f.at})
		rec.times = append(rec.times, f.at)
	case kindDelta:
		if len(rec.chunks) == 0 {
			return fmt.Errorf("%w: it begins with a difference", ErrDamaged)
		}
		rec.times = append(rec.times, f.at)
	}
	if n := len(rec.chunks); n > 0 {
		c := &rec.chunks[n-1]
		c.to = at + size
		if f.kind != kindEvents {
			c.last = f.at
		}
	}
	return nil
}

// Torn says why the recording ends early; nil when it is whole.
func (rec *Recording) Torn() error { return rec.torn }

// Span is the time of the first and of the last snapshot.
func (rec *Recording) Span() (first, last time.Time) {
	return time.UnixMilli(rec.times[0]).UTC(), time.UnixMilli(rec.times[len(rec.times)-1]).UTC()
}

// Len is the number of snapshots.
func (rec *Recording) Len() int { return len(rec.times) }

// Events are the recorded events, oldest first.
func (rec *Recording) Events() []view.Event { return rec.events }

// History returns the snapshots between two times (zero: open), at least step
// apart, at most limit of them, the newest if there are more.
func (rec *Recording) History(from, to time.Time, step time.Duration, limit int) ([]*view.Snapshot, error) {
	u, err := newUnpacker()
	if err != nil {
		return nil, err
	}
	defer u.close()
	s := newSpan(from, to, step)
	var out []*view.Snapshot
	for _, c := range rec.chunks {
		if c.last < s.from || s.to != 0 && c.first > s.to {
			continue
		}
		if err := c.read(u, &s, func(snap *view.Snapshot) {
			if out = append(out, snap); len(out) > limit {
				out = out[1:]
			}
		}); err != nil {
			return out, err
		}
	}
	return out, nil
}

// read yields the chunk's snapshots that the span wants.
func (c *where) read(u *unpacker, s *span, yield func(*view.Snapshot)) (err error) {
	f, err := os.Open(c.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var bad error
	_, err = u.walk(bufio.NewReader(io.NewSectionReader(f, c.from, c.to-c.from)), s, func(_ int64, js []byte) bool {
		snap := &view.Snapshot{}
		if bad = json.Unmarshal(js, snap); bad != nil {
			return false
		}
		yield(snap)
		return true
	}, nil)
	return errors.Join(err, bad)
}
