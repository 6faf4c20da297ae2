package engine

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"signalbox/engine/state"
	"signalbox/engine/view"
)

// auditKept bounds the records kept in memory; the file has all of them.
const auditKept = 1024

// auditLog appends one JSON object a line to the audit file and keeps the
// newest records for the console. A file that cannot be written is reported
// once per command through the returned error; the record is kept in memory.
type auditLog struct {
	// Constant after construction.
	path string

	mu   sync.Mutex // leaf
	recs []view.Audit
}

func (l *auditLog) add(a view.Audit) error {
	a.At = a.At.UTC()
	l.mu.Lock()
	if len(l.recs) >= auditKept {
		l.recs = append(l.recs[:0], l.recs[len(l.recs)-auditKept/2:]...)
	}
	l.recs = append(l.recs, a)
	l.mu.Unlock()
	if err := state.AppendJSONLine(l.path, a); err != nil {
		return fmt.Errorf("engine: write audit log: %w", err)
	}
	return nil
}

// undone marks the record that created undo id as taken back.
func (l *auditLog) undone(id, by string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.recs) - 1; i >= 0; i-- {
		if l.recs[i].UndoID == id {
			l.recs[i].UndoneBy, l.recs[i].UndoneAt = by, at.UTC()
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
