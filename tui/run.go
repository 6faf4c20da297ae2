package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
)

// RunOptions say where a console runs.
type RunOptions struct {
	Options
	In  io.Reader // nil means standard input
	Out io.Writer // nil means standard output
	// Env is the terminal's environment, filtered to what describes it (TERM,
	// COLORTERM, LANG, LC_*, NO_COLOR); nil means the process's own.
	Env []string
	// Width and Height start a console whose output is not a terminal.
	Width, Height int
	// Resize delivers sizes of a remote terminal; nil means none come.
	Resize <-chan Size
	// Tape, if any, is written all that reaches the console; see Player. The
	// source must have a Past and Records.
	Tape io.Writer
}

// Size is a terminal's size in cells.
type Size struct{ Width, Height int }

// NoColor reports whether an environment asks for no colours: NO_COLOR with
// any value but the empty one, or a dumb terminal.
func NoColor(env []string) bool {
	for _, e := range env {
		k, v, _ := strings.Cut(e, "=")
		if k == "NO_COLOR" && v != "" || k == "TERM" && v == "dumb" {
			return true
		}
	}
	return false
}

// ErrFault is returned by Run when the console itself failed. The node is not
// affected.
var ErrFault = errors.New("tui: console fault")

// Run shows a console until it is closed or ctx ends; neither is an error.
func Run(ctx context.Context, src Source, o RunOptions) error {
	if NoColor(o.Env) {
		o.NoColor = true
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m, program, err := consoleOf(src, o)
	if err != nil {
		return err
	}
	m.ctx = ctx
	p := tea.NewProgram(program, programOptions(ctx, o)...)
	if o.Resize != nil {
		go func() {
			for {
				select {
				case s := <-o.Resize:
					p.Send(tea.WindowSizeMsg{Width: s.Width, Height: s.Height})
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	_, err = p.Run()
	if r, ok := program.(*recorder); ok && r.tapeErr() != nil {
		return r.tapeErr()
	}
	if m.fault != "" {
		return fmt.Errorf("%w: %s", ErrFault, m.fault)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, tea.ErrInterrupted) {
		return fmt.Errorf("tui: run: %w", err)
	}
	return nil
}

// consoleOf makes the console and what the program runs of it: itself, or what
// tapes it.
func consoleOf(src Source, o RunOptions) (*Model, tea.Model, error) {
	if o.Tape == nil {
		m := New(src, o.Options)
		return m, m, nil
	}
	r, err := newRecorder(src, o.Options, o.Tape)
	if err != nil {
		return nil, nil, err
	}
	return r.m, r, nil
}

func programOptions(ctx context.Context, o RunOptions) []tea.ProgramOption {
	opts := []tea.ProgramOption{tea.WithContext(ctx), tea.WithFPS(10), tea.WithoutSignalHandler()}
	if o.In != nil {
		opts = append(opts, tea.WithInput(o.In))
	}
	if o.Out != nil {
		opts = append(opts, tea.WithOutput(o.Out))
	}
	if o.Env != nil {
		opts = append(opts, tea.WithEnvironment(o.Env))
	}
	if o.Width > 0 && o.Height > 0 {
		opts = append(opts, tea.WithWindowSize(o.Width, o.Height))
	}
	if o.NoColor {
		// NO_COLOR=yes is not understood by the library; ASCII keeps bold and
		// reverse, which carry meaning here.
		opts = append(opts, tea.WithColorProfile(colorprofile.ASCII))
	}
	return opts
}
