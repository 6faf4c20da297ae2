package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/state"
	"signalbox/engine/view"
)

// Bounds of the audit log in memory; the file has all of it.
const (
	auditKept    = 1024    // records
	auditTail    = 1 << 20 // bytes of the file read at the start
	auditWaiting = 1024    // records that wait for a disk that does not answer
)

// Who did what no operator did.
const (
	byExpiry  = "expiry"
	byRestart = "restart"
	byNode    = "node"
)

// auditStart is the line that says that nothing is in force any more: what
// operators have put in force does not outlive the process.
const auditStart = "node.start"

// auditLog appends one JSON object a line to the audit file and keeps the
// newest records for the console. A file that cannot be written is reported
// once per command through the returned error; the record is kept in memory.
type auditLog struct {
	// Constant after construction.
	path string

	mu      sync.Mutex // leaf; guards the rest
	recs    []view.Audit
	failure string       // why the last line was not written; empty: it was
	waiting []view.Audit // written soon by writeWaiting
	writing bool         // somebody is at that
	lost    int          // records the file never had
}

// keep notes a record in memory.
func (l *auditLog) keep(a view.Audit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.recs) >= auditKept {
		l.recs = append(l.recs[:0], l.recs[len(l.recs)-auditKept/2:]...)
	}
	l.recs = append(l.recs, a)
}

// write appends a record to the file. It waits for the disk.
func (l *auditLog) write(a view.Audit) error {
	err := state.AppendJSONLine(l.path, a)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failure, l.lost = err.Error(), l.lost+1
		return fmt.Errorf("engine: write audit log: %w", err)
	}
	l.failure = ""
	return nil
}

func (l *auditLog) add(a view.Audit) error {
	a.At = a.At.UTC()
	l.keep(a)
	return l.write(a)
}

// later keeps a record and leaves the writing to writeWaiting, which the caller
// starts if it is told to.
func (l *auditLog) later(a view.Audit) (start bool) {
	a.At = a.At.UTC()
	l.keep(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) >= auditWaiting {
		l.lost++
		return false
	}
	l.waiting = append(l.waiting, a)
	start = !l.writing
	l.writing = true
	return start
}

// writeWaiting writes what waits until nothing does.
func (l *auditLog) writeWaiting() error {
	var errs error
	for {
		l.mu.Lock()
		if len(l.waiting) == 0 {
			l.writing, l.waiting = false, nil
			l.mu.Unlock()
			return errs
		}
		a := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.mu.Unlock()
		if err := l.write(a); err != nil {
			errs = err // they all fail the same way
		}
	}
}

// auditLater books what happens without a command, for callers that must not
// wait for the disk.
func (e *Engine) auditLater(a view.Audit) {
	if !e.audit.later(a) {
		return
	}
	write := func(context.Context) { e.auditFailed(e.audit.writeWaiting()) }
	if !e.spawn(write) {
		write(context.Background()) // nobody runs whom that could keep waiting
	}
}

func (e *Engine) auditFailed(err error) {
	if err != nil {
		e.event(view.Event{Kind: "audit_failed", Severity: view.Alarm, Message: err.Error()})
	}
}

// undone marks the record that created undo id as taken back.
func (l *auditLog) undone(id, by string, at time.Time) { l.mark(id, by, at.UTC()) }

// again marks it as in force again.
func (l *auditLog) again(id string) { l.mark(id, "", time.Time{}) }

func (l *auditLog) mark(id, by string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.markLocked(id, by, at)
}

func (l *auditLog) markLocked(id, by string, at time.Time) {
	for i := len(l.recs) - 1; i >= 0 && id != ""; i-- {
		if l.recs[i].UndoID == id {
			l.recs[i].UndoneBy, l.recs[i].UndoneAt = by, at
			return
		}
	}
}

// list returns the kept records, newest first.
func (l *auditLog) list() []view.Audit {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]view.Audit, 0, len(l.recs))
	for _, v := range slices.Backward(l.recs) {
		out = append(out, v)
	}
	return out
}

// state says how the file fares.
func (l *auditLog) state() view.AuditFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	return view.AuditFile{Error: clean(l.failure), Unwritten: l.lost}
}

// restore reads the newest records of earlier runs. The file alone says what
// was taken back by whom: lines are only ever appended.
func (l *auditLog) restore(now time.Time) error {
	b, err := readTail(l.path, auditTail)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failure = err.Error()
		return fmt.Errorf("engine: read audit log: %w", err)
	}
	bad := 0
	for line := range bytes.Lines(b) {
		var a view.Audit
		if json.Unmarshal(line, &a) != nil {
			bad++
			continue
		}
		l.replay(a)
	}
	for i := range l.recs {
		if a := &l.recs[i]; a.UndoID != "" && a.UndoneBy == "" {
			a.UndoneBy, a.UndoneAt = byRestart, now.UTC()
		}
	}
	l.recs = slices.Clone(l.recs[max(0, len(l.recs)-auditKept/2):])
	if bad > 0 {
		return fmt.Errorf("engine: %d lines of %s are not records and were passed over", bad, l.path)
	}
	return nil
}

// replay takes over one line of the file. mu is held.
func (l *auditLog) replay(a view.Audit) {
	a.UndoneBy, a.UndoneAt = "", time.Time{}
	switch {
	case a.Kind == auditStart:
		for i := range l.recs {
			if r := &l.recs[i]; r.UndoID != "" && r.UndoneBy == "" {
				r.UndoneBy, r.UndoneAt = byRestart, a.At
			}
		}
	case a.OK && a.Kind == string(control.Undo):
		l.markLocked(a.Target, a.Author, a.At)
	}
	l.markLocked(a.Supersedes, a.Author, a.At)
	l.markLocked(a.Restores, "", time.Time{})
	l.recs = append(l.recs, a)
}

// readTail reads the whole lines among the last limit bytes of a regular file.
func readTail(path string, limit int64) (b []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, &state.FileError{Path: path, Problem: "is not a regular file"}
	}
	from := max(0, st.Size()-limit)
	b, err = io.ReadAll(io.NewSectionReader(f, from, limit))
	if i := bytes.IndexByte(b, '\n'); from > 0 && i >= 0 {
		b = b[i+1:]
	}
	return b, err
}
