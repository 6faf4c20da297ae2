package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sort"
	"time"

	"github.com/spf13/cobra"

	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/flight"
	"signalbox/engine/view"
	"signalbox/tui"
)

func (a *app) replayCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "replay FILE|DIR",
		Short: "The console on a recorded flight-recorder file",
		Long: `Opens a recording of the flight recorder: a file of a node's flight directory,
all of that directory (STATE_DIR/flight) as one recording, or flight.sbr out of a
bundle. It begins at its end; [ and ] step by a second, { and } by thirty, ( and )
by five minutes, :at 03:12 goes there, space plays. Nothing can be changed there.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.replay(c, args[0]) },
	}
	addThemeFlag(c)
	return c
}

func (a *app) replay(c *cobra.Command, path string) error {
	theme, err := a.theme(c)
	if err != nil {
		return err
	}
	rec, err := flight.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return config.Exit(config.ExitIO, "replay: %w", err)
	case err != nil:
		return config.Exit(config.ExitFailure, "replay: %w", err)
	}
	if torn := rec.Torn(); torn != nil {
		a.printf(a.Err, "signalbox: replay: what follows %d snapshots cannot be read: %v\n", rec.Len(), torn)
	}
	if !terminal(a.Out) {
		first, last := rec.Span()
		_, err := fmt.Fprintf(a.Out, "%d snapshots, %d events, %s to %s\n", rec.Len(), len(rec.Events()), first.Format(time.RFC3339), last.Format(time.RFC3339))
		return err
	}
	src, err := newPlayer(rec)
	if err != nil {
		return config.Exit(config.ExitFailure, "replay: %w", err)
	}
	return tui.Run(c.Context(), src, tui.RunOptions{
		Options: tui.Options{Title: "replay", Theme: theme, Role: control.Viewer, Recorded: true}, In: a.In, Out: a.Out, Env: a.Env,
	})
}

// player is a recording as a console sees a node: its present is its end.
type player struct {
	rec  *flight.Recording
	last *view.Snapshot
}

func newPlayer(rec *flight.Recording) (*player, error) {
	snaps, err := rec.History(time.Time{}, time.Time{}, 0, 1)
	if len(snaps) == 0 {
		return nil, errors.Join(flight.ErrEmpty, err)
	}
	return &player{rec: rec, last: snaps[0]}, nil
}

// Snapshot returns the last one of the recording.
func (p *player) Snapshot() *view.Snapshot { return p.last }

// Events returns the recorded events.
func (p *player) Events(after uint64) ([]view.Event, uint64) {
	evs := p.rec.Events()
	return evs[sort.Search(len(evs), func(i int) bool { return evs[i].Seq > after }):], 0
}

// Do refuses: what is over cannot be changed.
func (p *player) Do(context.Context, control.Command) (control.Result, error) {
	return control.Fail(control.Denied, "this is a recording"), nil
}

// Span is the time of the first and of the last snapshot.
func (p *player) Span() (first, last time.Time) { return p.rec.Span() }

// History returns the snapshots between two times.
func (p *player) History(_ context.Context, from, to time.Time, step time.Duration) ([]*view.Snapshot, error) {
	return p.rec.History(from, to, step, 600)
}
