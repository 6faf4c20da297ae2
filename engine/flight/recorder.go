package flight

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/engine/view"
)

// Options configure a Recorder. Zero fields take the defaults.
type Options struct {
	Dir       string        // where files go; empty: memory only
	Keep      time.Duration // how far back memory and files reach: 30 min
	MemBytes  int           // of memory: 64 MiB
	FileBytes int64         // of all files: 256 MiB
	Every     time.Duration // between two snapshots: 1 s
	Trace     string        // execution trace of an anomaly: after, always, off (the default); one recorder of a process can
	Log       *slog.Logger  // nil: discard
	Event     func(view.Event)
}

func (o *Options) defaults() {
	if o.Keep <= 0 {
		o.Keep = 30 * time.Minute
	}
	if o.MemBytes <= 0 {
		o.MemBytes = 64 << 20
	}
	if o.FileBytes <= 0 {
		o.FileBytes = 256 << 20
	}
	if o.Every <= 0 {
		o.Every = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Event == nil {
		o.Event = func(view.Event) {}
	}
}

// Recorder records one node. Record and the readers may be called from any
// goroutine.
type Recorder struct {
	// Constant after New.
	opt  Options
	mail chan sample // capacity 2: one at work, one waiting

	// Owned by the caller of Record.
	due time.Time

	// Any goroutine (atomic).
	skipped atomic.Uint64
	kept    atomic.Uint64

	// Owned by Run.
	pack   *packer
	inKey  int // snapshots since the key, the key included
	files  files
	tracer tracer

	// mu guards mem. Nothing waits under it.
	mu  sync.Mutex
	mem chunks
}

// sample is one second on its way to the recording.
type sample struct {
	snap   *view.Snapshot
	events []view.Event
}

// New makes a recorder; nothing is written before Run.
func New(opt Options) (*Recorder, error) {
	opt.defaults()
	p, err := newPacker()
	if err != nil {
		return nil, err
	}
	return &Recorder{opt: opt, mail: make(chan sample, 2), pack: p, files: files{opt: &opt}}, nil
}

// Due says whether it is time for the next snapshot.
func (r *Recorder) Due(now time.Time) bool { return !now.Before(r.due) }

// Record hands over a snapshot and what has happened since the last one. It
// never waits: when the recorder is busy the second is skipped and counted, and
// false is returned, so that the caller offers the events again. One goroutine
// calls Due and Record.
func (r *Recorder) Record(s *view.Snapshot, evs []view.Event) bool {
	r.due = s.At.Add(r.opt.Every - r.opt.Every/10)
	select {
	case r.mail <- sample{s, evs}:
		return true
	default:
		r.skipped.Add(1)
		return false
	}
}

// Run records until ctx ends and closes the file then. Failing to write costs
// the files, not the memory, and is told once until it works again.
func (r *Recorder) Run(ctx context.Context) error {
	r.files.open()
	if r.opt.Trace == traceAlways {
		r.tracer.start(r.opt.Log)
	}
	defer r.tracer.stop()
	defer r.files.close()
	for {
		select {
		case <-ctx.Done():
			for { // what was taken is written
				select {
				case s := <-r.mail:
					r.take(s)
				default:
					return nil
				}
			}
		case s := <-r.mail:
			r.take(s)
		case <-r.tracer.due:
			r.traced()
		}
	}
}

// take encodes one sample and puts it into memory and the file.
func (r *Recorder) take(s sample) {
	at := ms(s.snap.At)
	js, err := json.Marshal(s.snap)
	if err != nil || len(js) > maxJSON {
		r.skipped.Add(1)
		r.opt.Log.Error("flight recorder: a snapshot cannot be encoded", "bytes", len(js), "err", err)
		return
	}
	kind, payload := byte(kindDelta), []byte(nil)
	if r.inKey == 0 || r.inKey >= keyEvery {
		kind, r.inKey = kindKey, 0
		payload, err = r.pack.key(js)
	} else {
		payload = r.pack.delta.EncodeAll(js, nil)
	}
	if err != nil {
		r.skipped.Add(1)
		r.opt.Log.Error("flight recorder: compress", "err", err)
		return
	}
	r.inKey++
	r.kept.Add(1)
	enc := appendFrame(nil, kind, at, payload)
	r.put(kind, at, enc)
	if ev := r.encodeEvents(s.events); ev != nil {
		enc := appendFrame(nil, kindEvents, at, ev)
		r.put(kindEvents, at, enc)
	}
	r.mu.Lock()
	r.mem.forget(at-r.opt.Keep.Milliseconds(), r.opt.MemBytes)
	r.mu.Unlock()
	if why := anomaly(s.events); why != nil {
		r.keep(s.snap.At, *why)
	}
}

func (r *Recorder) put(kind byte, at int64, enc []byte) {
	r.mu.Lock()
	r.mem.add(kind, at, enc)
	r.mu.Unlock()
	r.files.write(kind, at, enc)
}

func (r *Recorder) encodeEvents(evs []view.Event) []byte {
	if len(evs) == 0 {
		return nil
	}
	b, err := json.Marshal(evs)
	if err != nil {
		r.opt.Log.Error("flight recorder: encode events", "err", err)
		return nil
	}
	return r.pack.plain.EncodeAll(b, nil)
}

// anomaly picks the first event worth keeping the recording for.
func anomaly(evs []view.Event) *view.Event {
	for i := range evs {
		if evs[i].Severity == view.Alarm {
			return &evs[i]
		}
	}
	return nil
}

// History yields the JSON of the snapshots between two times (zero: open), at
// least step apart, oldest first, without a line end. The bytes belong to the
// caller. It decodes as it goes: what is not asked for costs little.
func (r *Recorder) History(from, to time.Time, step time.Duration, yield func(js []byte) bool) error {
	r.mu.Lock()
	list := r.mem.between(from, to)
	r.mu.Unlock()
	u, err := newUnpacker()
	if err != nil {
		return err
	}
	defer u.close()
	s := newSpan(from, to, step)
	for _, b := range list {
		more, err := u.walk(bufio.NewReader(bytes.NewReader(b)), &s, func(_ int64, js []byte) bool { return yield(js) }, nil)
		if err != nil {
			return fmt.Errorf("flight: %w", err)
		}
		if !more {
			return nil
		}
	}
	return nil
}

// Write writes what lies between two times as a recording that Open reads.
func (r *Recorder) Write(w io.Writer, from, to time.Time) error {
	r.mu.Lock()
	list := r.mem.between(from, to)
	r.mu.Unlock()
	if _, err := io.WriteString(w, magic); err != nil {
		return fmt.Errorf("flight: %w", err)
	}
	for _, b := range list {
		if _, err := w.Write(b); err != nil {
			return fmt.Errorf("flight: %w", err)
		}
	}
	return nil
}

// Stats is what the recorder holds and has missed.
func (r *Recorder) Stats() view.Flight {
	r.mu.Lock()
	st := view.Flight{MemBytes: uint64(r.mem.bytes)}
	for _, c := range r.mem.list {
		st.Snapshots += c.snapshots
	}
	if n := len(r.mem.list); n > 0 {
		st.OldestS = float64(r.mem.list[n-1].last-r.mem.list[0].first) / 1000
	}
	r.mu.Unlock()
	st.Skipped, st.FileBytes, st.Kept = r.skipped.Load(), uint64(r.files.total.Load()), int(r.files.anomalies.Load())
	if e := r.files.failed.Load(); e != nil {
		st.Error = *e
	}
	return st
}
