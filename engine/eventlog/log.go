// Package eventlog writes wzp-relay's event log (spec wzp 5.20): one JSON
// object a line, its keys always in the same order, absent ones left out.
//
// Whoever has an event hands it to Emit, which never waits: the queue is
// bounded and what does not fit is counted. One writer formats, writes and
// turns the file over before it grows beyond its bound, so that neither memory
// nor disk grows with what the network sends. A disk that fails costs entries,
// which are counted, and nothing else; the writer tries again.
package eventlog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a log.
const (
	queueCap   = 4096
	flushEvery = 100 // entries, as wzp-relay does
	flushAfter = time.Second
	retryAfter = 10 * time.Second
	maxBytes   = 64 << 20
	keepFiles  = 3 // beside the one being written
)

// Config says where a log is and what it may grow to. Zero values mean the
// defaults.
type Config struct {
	Path  string
	Bytes int64       // of one file: 64 MiB
	Keep  int         // older files kept, Path.1 the newest: 3
	Queue int         // entries that may wait: 4096
	Error func(error) // told once per failure of the disk; nil: nobody
}

// Stats is what became of the entries.
type Stats struct {
	Written uint64 // to the file or its buffer
	Dropped uint64 // the queue was full, or the disk failed
	Rotated uint64
	Error   string // why nothing is written; empty when it is
}

// Log is one event log. A nil Log takes everything and writes nothing.
type Log struct {
	// Constant after Open.
	cfg   Config
	queue chan Entry

	// Any goroutine (atomic).
	written, dropped, rotated atomic.Uint64
	done                      atomic.Bool // Run has ended, or is about to

	// Owned by Run, and by Open before it.
	file  *os.File
	out   *bufio.Writer
	size  int64
	since int // entries since the last flush
	retry time.Time
	buf   bytes.Buffer

	// mu guards failed. A leaf.
	mu     sync.Mutex
	failed string
}

// Open makes the file. One of an earlier run is kept as Path.1.
func Open(cfg Config) (*Log, error) {
	if cfg.Bytes <= 0 {
		cfg.Bytes = maxBytes
	}
	if cfg.Keep <= 0 {
		cfg.Keep = keepFiles
	}
	if cfg.Queue <= 0 {
		cfg.Queue = queueCap
	}
	l := &Log{cfg: cfg, queue: make(chan Entry, cfg.Queue)}
	if st, err := os.Stat(cfg.Path); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
		if err := l.shift(); err != nil {
			return nil, err
		}
	}
	return l, l.create()
}

// On says whether there is a log, for those to whom making an entry costs.
func (l *Log) On() bool { return l != nil }

// Emit queues one entry. It never waits: what does not fit is counted.
func (l *Log) Emit(e Entry) {
	if l == nil {
		return
	}
	if e.At.IsZero() {
		e.At = time.Now()
	}
	if l.done.Load() {
		l.dropped.Add(1)
		return
	}
	select {
	case l.queue <- e:
	default:
		l.dropped.Add(1)
	}
}

// Stats is what became of the entries so far.
func (l *Log) Stats() Stats {
	if l == nil {
		return Stats{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{Written: l.written.Load(), Dropped: l.dropped.Load(), Rotated: l.rotated.Load(), Error: l.failed}
}

// Run writes until ctx ends, then what still waits, and closes the file.
func (l *Log) Run(ctx context.Context) {
	if l == nil {
		return
	}
	tick := time.NewTicker(flushAfter)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.end()
			return
		case e := <-l.queue:
			l.write(&e, time.Now())
		case now := <-tick.C:
			l.flush(now)
		}
	}
}

// end writes what waits. Who emits from now on is counted.
func (l *Log) end() {
	l.done.Store(true)
	for range len(l.queue) {
		e := <-l.queue
		l.write(&e, time.Now())
	}
	l.flush(time.Now())
	if l.file != nil {
		l.failOn(l.file.Close(), time.Now())
	}
}

func (l *Log) write(e *Entry, now time.Time) {
	if l.file == nil && !l.reopen(now) {
		l.dropped.Add(1)
		return
	}
	l.buf.Reset()
	if err := e.append(&l.buf); err != nil {
		l.dropped.Add(1)
		return
	}
	if n := int64(l.buf.Len()); l.size > 0 && l.size+n > l.cfg.Bytes && !l.rotate(now) {
		l.dropped.Add(1)
		return
	}
	n, err := l.out.Write(l.buf.Bytes())
	l.size += int64(n)
	if err != nil {
		l.dropped.Add(1)
		l.failOn(err, now)
		return
	}
	l.written.Add(1)
	if l.since++; l.since >= flushEvery {
		l.flush(now)
	}
}

func (l *Log) flush(now time.Time) {
	l.since = 0
	if l.file != nil {
		l.failOn(l.out.Flush(), now)
	}
}

// rotate turns the file over; false when the disk does not let us.
func (l *Log) rotate(now time.Time) bool {
	err := errors.Join(l.out.Flush(), l.file.Close())
	if err == nil {
		err = l.shift()
	}
	if err == nil {
		err = l.create()
	}
	if err != nil {
		l.failOn(err, now)
		return false
	}
	l.rotated.Add(1)
	return true
}

// shift renames Path to Path.1, Path.1 to Path.2; the oldest makes way.
func (l *Log) shift() error {
	older := func(i int) string { return fmt.Sprintf("%s.%d", l.cfg.Path, i) }
	for i := l.cfg.Keep; i > 1; i-- {
		if err := os.Rename(older(i-1), older(i)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("eventlog: %w", err)
		}
	}
	if err := os.Rename(l.cfg.Path, older(1)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("eventlog: %w", err)
	}
	return nil
}

func (l *Log) create() error {
	f, err := os.OpenFile(l.cfg.Path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("eventlog: %w", err)
	}
	l.file, l.out, l.size, l.since = f, bufio.NewWriterSize(f, 64<<10), 0, 0
	return nil
}

// failOn gives the file up until retryAfter has passed.
func (l *Log) failOn(err error, now time.Time) {
	if err == nil {
		return
	}
	if l.file != nil {
		err = errors.Join(err, ignoreClosed(l.file.Close()))
	}
	l.file, l.retry = nil, now.Add(retryAfter)
	l.say(err)
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// reopen tries again, now and then; what was written stays as Path.1.
func (l *Log) reopen(now time.Time) bool {
	if now.Before(l.retry) {
		return false
	}
	err := l.shift()
	if err == nil {
		err = l.create()
	}
	if err != nil {
		l.failOn(err, now)
		return false
	}
	l.say(nil)
	return true
}

func (l *Log) say(err error) {
	l.mu.Lock()
	l.failed = ""
	if err != nil {
		l.failed = err.Error()
	}
	l.mu.Unlock()
	if err != nil && l.cfg.Error != nil {
		l.cfg.Error(err)
	}
}
