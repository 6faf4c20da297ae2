package engine

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/tap"
	"signalbox/engine/view"
	"signalbox/relay"
	"signalbox/relay/wire"
)

// tapTTL is after what a tap an operator has put on comes off by itself.
const tapTTL = 10 * time.Minute

// openTaps makes the taps, and puts on the one of debug_tap, which stays.
func (e *Engine) openTaps() {
	e.tapFile = tap.NewFile(filepath.Join(e.cfg.StateDir, "tap.log"))
	e.taps = tap.New(e.log, slog.New(slog.NewTextHandler(e.tapFile, nil)))
	e.events.tap = func(ev *view.Event) {
		if ev.Kind == "join" || ev.Kind == "leave" {
			e.taps.Event(ev.Subject, ev.Kind, ev.Message, e.mono())
		}
	}
	if room := e.cfg.Legacy.DebugTap; room != "" {
		if err := e.taps.Add(room, "debug_tap", false, e.started); err != nil {
			e.log.Warn("debug_tap", "room", clean(room), "err", err)
		}
	}
}

func (e *Engine) runTaps(ctx context.Context) {
	e.taps.Run(ctx)
	if err := e.tapFile.Close(); err != nil {
		e.log.Warn("debug tap", "err", err)
	}
}

func (e *Engine) tapViews() []view.Tap {
	states := e.taps.States()
	out := make([]view.Tap, len(states))
	for i, st := range states {
		to := "log"
		if st.ToFile {
			to = "file"
		}
		out[i] = view.Tap{Room: clean(st.Room), Author: st.Author, Since: st.Since.UTC(), To: to, Lines: st.Lines, Skipped: st.Skipped}
	}
	return out
}

// tapSignal shows a signal to a client to the taps on its room.
func (e *Engine) tapSignal(p *relay.Participant, s wire.Signal) {
	e.taps.Signal(p.RoomName(), s, e.mono())
}

// tapName says on what a tap is.
func tapName(room string) string {
	if room == tap.All {
		return "all rooms"
	}
	return "room " + clean(room)
}

func planTap(e *Engine, c control.Command) (change, control.Result) {
	to, _ := c.Args["to"].(string)
	toFile := to == "file"
	switch {
	case c.Target == "" || len(c.Target) > 253:
		return change{}, control.Fail(control.Invalid, "the target is the name of a room, or * for all")
	case to != "" && to != "log" && !toFile:
		return change{}, control.Fail(control.Invalid, "args.to is log or file, not %q", clean(to))
	case e.taps.On(c.Target):
		return change{}, control.Fail(control.Invalid, "there is a tap on %s already", tapName(c.Target))
	}
	where := "the log"
	if toFile {
		where = "tap.log in the state directory"
	}
	return change{
		plan: []string{
			fmt.Sprintf("writes the packet headers and signals of %s to %s, up to 100 lines a second; no payload", tapName(c.Target), where),
			"addresses and names of its members will be readable there",
		},
		apply: func(context.Context) error {
			return e.taps.Add(c.Target, cmp.Or(c.Author, "operator"), toFile, time.Now())
		},
		undo: func() error { return e.taps.Remove(c.Target) },
		ttl:  tapTTL,
	}, none()
}

func planUntap(e *Engine, c control.Command) (change, control.Result) {
	if !e.taps.On(c.Target) {
		return change{}, control.Fail(control.NotFound, "there is no tap on %s", tapName(c.Target))
	}
	return change{
		plan:  []string{"takes the tap off " + tapName(c.Target)},
		apply: func(context.Context) error { return e.taps.Remove(c.Target) },
	}, none()
}
