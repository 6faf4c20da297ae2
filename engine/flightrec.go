package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"signalbox/engine/config"
	"signalbox/engine/flight"
	"signalbox/engine/view"
)

// FlightDir is where a node's recordings are, below its state directory.
func FlightDir(stateDir string) string { return filepath.Join(stateDir, "flight") }

// openFlight makes the recorder and tells how the life before this one ended.
func (e *Engine) openFlight() error {
	f, dir := e.cfg.Flight, FlightDir(e.cfg.StateDir)
	crash, err := flight.Begin(dir)
	if err != nil {
		return &config.ExitError{Code: config.ExitCantCreate, Err: err}
	}
	if crash != nil {
		e.event(view.Event{
			Kind: "crash", Severity: view.Warn, Subject: "node",
			Message: fmt.Sprintf("the life before this one did not end by itself; its last sign is of %s: %s", crash.Last.Format(time.RFC3339), crash.Headline()),
			Fields:  map[string]any{"last": crash.Last, "stack": crash.Stack, "file": crash.Kept, "recordings": dir},
		})
	}
	e.flight, err = flight.New(flight.Options{
		Dir: dir, Keep: f.Keep, MemBytes: f.MemBytes, FileBytes: int64(f.FileBytes), Trace: f.Trace, Log: e.log, Event: e.event,
	})
	return err
}

// closeFlight marks that this life ended by itself.
func (e *Engine) closeFlight() {
	if err := flight.End(FlightDir(e.cfg.StateDir)); err != nil {
		e.log.Warn("flight recorder", "err", err)
	}
}

// record gives the newest snapshot to the recorder once a second. The publisher
// calls it.
func (e *Engine) record(now time.Time) {
	if !e.flight.Due(now) {
		return
	}
	evs, _ := e.events.after(e.taken)
	if e.flight.Record(e.snap.Load(), evs) && len(evs) > 0 {
		e.taken = evs[len(evs)-1].Seq
	}
}

// History yields the JSON of the recorded snapshots between two times.
func (e *Engine) History(from, to time.Time, step time.Duration, yield func(js []byte) bool) error {
	return e.flight.History(from, to, step, yield)
}

// Recording writes a part of the flight recording as a file.
func (e *Engine) Recording(w io.Writer, from, to time.Time) error { return e.flight.Write(w, from, to) }

// pastMost bounds what one question about the past decodes.
const pastMost = 600

// Past returns the recorded snapshots between two times (zero: open), at least
// step apart, oldest first, at most 600.
func (e *Engine) Past(ctx context.Context, from, to time.Time, step time.Duration) ([]*view.Snapshot, error) {
	var out []*view.Snapshot
	var bad error
	err := e.flight.History(from, to, step, func(js []byte) bool {
		s := &view.Snapshot{}
		if bad = json.Unmarshal(js, s); bad != nil || ctx.Err() != nil {
			return false
		}
		out = append(out, s)
		return len(out) < pastMost
	})
	return out, errors.Join(err, bad, ctx.Err())
}
