package flight

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"signalbox/engine/view"
)

// Files of a recording directory. Segments come and go with time and space;
// what an anomaly made us keep stays, a few of them.
const (
	segmentFor    = 5 * time.Minute // a segment is closed after so long
	segmentPrefix = "segment-"
	anomalyPrefix = "anomaly-"
	suffix        = ".sbr"
	traceSuffix   = ".trace"
	anomaliesKept = 8
	anomalySpan   = 5 * time.Minute // how far back an anomaly's file reaches
	anomalyEvery  = time.Minute     // anomalies that follow sooner are in the last one's neighbourhood
	stamp         = "20060102T150405.000Z"
	retryAfter    = 30 * time.Second // after a failure to write
)

// files writes the recording to disk. Its one owner is Run.
type files struct {
	opt     *Options
	f       *os.File
	begun   int64 // Unix ms of the segment's first frame
	retryAt int64
	lastOne time.Time // of the last anomaly kept

	// Any goroutine (atomic).
	total     atomic.Int64
	anomalies atomic.Int64
	failed    atomic.Pointer[string]
}

// open counts what an earlier life has left.
func (w *files) open() {
	if w.opt.Dir == "" {
		return
	}
	if err := os.MkdirAll(w.opt.Dir, 0o700); err != nil {
		w.fail(err, time.Now().UnixMilli())
		return
	}
	w.sweep()
}

// write appends one frame; a segment begins with a key only.
func (w *files) write(kind byte, at int64, enc []byte) {
	if w.opt.Dir == "" || at < w.retryAt {
		return
	}
	if kind == kindKey && (w.f == nil || at-w.begun >= segmentFor.Milliseconds()) {
		if err := w.roll(at); err != nil {
			w.fail(err, at)
			return
		}
	}
	if w.f == nil {
		return
	}
	if _, err := w.f.Write(enc); err != nil {
		w.fail(err, at)
		return
	}
	w.total.Add(int64(len(enc)))
	if w.failed.Swap(nil) != nil {
		w.opt.Event(view.Event{Kind: "flight.file", Subject: "flight", Message: "the flight recorder writes to disk again"})
	}
}

// roll closes the segment and begins the next.
func (w *files) roll(at int64) error {
	w.close()
	w.sweep()
	path := filepath.Join(w.opt.Dir, segmentPrefix+time.UnixMilli(at).UTC().Format(stamp)+suffix)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(magic); err != nil {
		return errors.Join(err, f.Close())
	}
	w.f, w.begun = f, at
	return nil
}

func (w *files) close() {
	if w.f == nil {
		return
	}
	if err := w.f.Close(); err != nil {
		w.opt.Log.Warn("flight recorder: close", "err", err)
	}
	w.f = nil
}

// fail gives the files up for a while and says so once.
func (w *files) fail(err error, at int64) {
	w.close()
	w.retryAt = at + retryAfter.Milliseconds()
	text := err.Error()
	if w.failed.Swap(&text) == nil {
		w.opt.Event(view.Event{Kind: "flight.file", Severity: view.Warn, Subject: "flight", Message: "the flight recorder cannot write to disk, memory goes on: " + text})
	}
}

// sweep removes segments that are too old or too many, and anomalies above
// their number.
func (w *files) sweep() {
	segments, total := list(w.opt.Dir, segmentPrefix)
	oldest := time.Now().Add(-w.opt.Keep - segmentFor)
	for len(segments) > 0 && (total > w.opt.FileBytes*3/4 || segments[0].mod.Before(oldest)) {
		if err := os.Remove(segments[0].path); err != nil {
			w.opt.Log.Warn("flight recorder: remove", "err", err)
		}
		total -= segments[0].size
		segments = segments[1:]
	}
	kept, size := list(w.opt.Dir, anomalyPrefix)
	for len(kept) > 0 && (size > w.opt.FileBytes/4 || len(kept) > 2*anomaliesKept) { // a recording and a trace each
		if err := os.Remove(kept[0].path); err != nil {
			w.opt.Log.Warn("flight recorder: remove", "err", err)
		}
		size -= kept[0].size
		kept = kept[1:]
	}
	w.total.Store(total + size)
	recordings := 0
	for _, f := range kept {
		if strings.HasSuffix(f.path, suffix) {
			recordings++
		}
	}
	w.anomalies.Store(int64(recordings))
}

type file struct {
	path string
	size int64
	mod  time.Time
}

// list returns our files of one kind, oldest first by name, and their size.
func list(dir, prefix string) (out []file, total int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			out = append(out, file{filepath.Join(dir, e.Name()), info.Size(), info.ModTime()})
			total += info.Size()
		}
	}
	slices.SortFunc(out, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return out, total
}

// keep writes what led to an anomaly into a file of its own, with the
// execution trace of the last seconds beside it.
func (r *Recorder) keep(at time.Time, why view.Event) {
	w := &r.files
	if w.opt.Dir == "" || at.Sub(w.lastOne) < anomalyEvery {
		return
	}
	w.lastOne = at
	base := filepath.Join(w.opt.Dir, anomalyPrefix+at.UTC().Format(stamp))
	err := writeFile(base+suffix, func(f *os.File) error { return r.Write(f, at.Add(-anomalySpan), at) })
	switch {
	case err != nil:
	case r.opt.Trace == traceAlways && r.tracer.on():
		err = writeFile(base+traceSuffix, r.tracer.write)
	case r.opt.Trace == traceAfter:
		r.tracer.after(base+traceSuffix, r.opt.Log)
	}
	w.sweep()
	if err != nil {
		w.fail(err, ms(at))
		return
	}
	w.opt.Event(view.Event{
		Kind: "flight.kept", Subject: "flight", Message: fmt.Sprintf("recording kept because of %s %s: signalbox replay %s", why.Kind, why.Subject, base+suffix),
		Fields: map[string]any{"file": base + suffix, "because": why.Seq},
	})
}

// traced writes the trace that an anomaly has started.
func (r *Recorder) traced() {
	err := writeFile(r.tracer.path, r.tracer.write)
	r.tracer.stop()
	r.files.sweep()
	if err != nil {
		r.opt.Log.Warn("flight recorder: execution trace", "err", err)
	}
}

func writeFile(path string, fill func(*os.File) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(fill(f), f.Close())
}
