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

// Do carries out a command in the seat's name.
func (s *Seat) Do(ctx context.Context, c control.Command) (control.Result, error) {
	c.Author, c.Role = s.author, s.role
	return s.e.Do(ctx, c)
}
