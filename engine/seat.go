package engine

import (
	"context"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/view"
)

// Seat is the engine as one operator or viewer sees it: whatever comes through
// it carries that author and role, and nothing a caller says can change them.
type Seat struct {
	e      *Engine
	author string
	role   control.Role
}

// Seat gives author a place with a role.
func (e *Engine) Seat(author string, role control.Role) *Seat {
	return &Seat{e: e, author: author, role: role}
}

// Snapshot returns the newest snapshot.
func (s *Seat) Snapshot() *view.Snapshot { return s.e.Snapshot() }

// Events returns what has happened since.
func (s *Seat) Events(after uint64) ([]view.Event, uint64) { return s.e.Events(after) }

// History returns the snapshots between two times; see Engine.Past.
func (s *Seat) History(ctx context.Context, from, to time.Time, step time.Duration) ([]*view.Snapshot, error) {
	return s.e.Past(ctx, from, to, step)
}

// Explain answers why to does not hear from.
func (s *Seat) Explain(_ context.Context, from, to string) (view.Explanation, error) {
	return s.e.Explain(from, to), nil
}

// Trail returns the newest audit records, newest first.
func (s *Seat) Trail(context.Context) ([]view.Audit, error) { return s.e.Audit(), nil }

// Do carries out a command in the seat's name.
func (s *Seat) Do(ctx context.Context, c control.Command) (control.Result, error) {
	c.Author, c.Role = s.author, s.role
	return s.e.Do(ctx, c)
}
