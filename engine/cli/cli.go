// Package cli is the command line of contract section 1: the tree of commands,
// their exit codes, signals and what systemd is told. It is the composition
// root: it reads settings, starts an engine, puts a console before it, and
// asks running nodes over their admin socket.
//
// Nothing here is global. Execute takes everything it touches, so a test runs
// the program in its own process.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"charm.land/fang/v2"
	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"

	"signalbox/engine"
	"signalbox/engine/attach"
	"signalbox/engine/config"
)

// IO is everything the program has from its process.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
	Env      []string         // KEY=VALUE
	Extra    []*cobra.Command // of packages this one does not know
	Signals  <-chan os.Signal // nil: the process's own
}

// app is one run of the program.
type app struct {
	// Constant after Execute.
	IO
	env map[string]string

	// Owned by the command that runs.
	begun bool // flags and arguments made sense
}

// Execute runs the program with its arguments, without its name, and returns
// the exit code.
func Execute(ctx context.Context, args []string, std IO) int {
	a := &app{IO: std, env: config.Environ(std.Env)}
	root := a.tree()
	root.SetArgs(args)
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	a.strict(root)
	err := fang.Execute(ctx, root, fang.WithoutVersion(), fang.WithoutManpage(), fang.WithErrorHandler(a.report))
	switch {
	case err == nil:
		return config.ExitOK
	case !a.begun:
		return config.ExitUsage // cobra refused the flags or arguments
	default:
		return exitCode(err)
	}
}

// exitCode is the code an error calls for, the admin socket's included.
func exitCode(err error) int {
	var ee *config.ExitError
	switch {
	case errors.As(err, &ee):
		return ee.Code
	case errors.Is(err, attach.ErrNotRunning):
		return config.ExitUnavailable
	case unwritten(err):
		return config.ExitIO
	case errors.Is(err, os.ErrPermission):
		return config.ExitNoPerm
	default:
		return config.ExitCodeOf(err)
	}
}

// unwritten tells whether what we had to say could not be written.
func unwritten(err error) bool {
	pe, ok := errors.AsType[*os.PathError](err)
	return ok && pe.Op == "write" && pe.Path == os.Stdout.Name()
}

// report prints an error for people, a line for each that was joined. An error
// without words has said what it had to say already.
func (a *app) report(w io.Writer, _ fang.Styles, err error) {
	var ee *config.ExitError
	if errors.As(err, &ee) && ee.Err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) {
		a.printf(w, "signalbox: %s\n", strings.TrimRight(line, "\n"))
	}
	if !a.begun {
		a.printf(w, "signalbox: see signalbox help\n")
	}
}

// printf writes to a stream whose reader may be gone, which ends the program
// by itself where it matters.
func (*app) printf(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}

// tree makes all commands.
func (a *app) tree() *cobra.Command {
	run := a.runCommand()
	root := &cobra.Command{
		Use:   "signalbox",
		Short: "A real-time node and its console in one program",
		Long: `signalbox is a QUIC media relay, a Kademlia node, and the console from which
both are watched and steered while they run.

Without a command it is run: the node and its console in this terminal, nothing
to configure. Where standard output is no terminal it is serve.`,
		Version:          engine.BuildID(),
		RunE:             run.RunE,
		PersistentPreRun: func(c *cobra.Command, _ []string) { a.begin(c) },
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.Flags().BoolP("version", "V", false, "print the build's commit")
	addNodeFlags(root)
	root.AddCommand(run, a.serveCommand(), a.attachCommand(), a.ctlCommand(), a.doctorCommand(),
		a.configCommand(), a.replayCommand(), a.versionCommand(), a.manCommand())
	root.AddCommand(a.Extra...)
	return root
}

// begin is called when the command line made sense. Commands that do not look
// after signals themselves end with their context.
func (a *app) begin(c *cobra.Command) {
	a.begun = true
	if c.Annotations[ownSignals] != "" || c == c.Root() || a.Signals != nil {
		return
	}
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP) // a terminal that is closed
	context.AfterFunc(ctx, stop)                                                                    // a second one ends the process
	c.SetContext(ctx)
}

// ownSignals marks commands that look after signals themselves.
const ownSignals = "signals"

// group makes a command that only has commands below it, and help on them.
func group(c *cobra.Command) *cobra.Command {
	c.AddCommand(&cobra.Command{
		Use: "help [COMMAND]", Short: "Help about a command", Hidden: true,
		Args: helpArgs(c), RunE: helpOn(c),
	})
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath())
		}
		return fmt.Errorf("%q wants a command; see %[1]q --help", c.CommandPath())
	}
	c.RunE = func(*cobra.Command, []string) error { return nil } // Args lets nobody through
	return c
}

// strict has the commands that are not ours refuse what they do not know, as
// ours do. The root's streams are set.
func (a *app) strict(root *cobra.Command) {
	for _, c := range a.Extra {
		if !c.Runnable() {
			group(c)
		}
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "completion":
			group(c)
		case "help":
			c.Args, c.Run = helpArgs(root), nil
			c.RunE = helpOn(root)
		}
	}
}

// helpArgs refuses help on what there is not below a command.
func helpArgs(below *cobra.Command) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if c, rest, err := below.Find(args); err != nil || c == nil || len(args) > 0 && (c == below || len(rest) > 0) {
			return fmt.Errorf("unknown help topic %q", strings.Join(args, " "))
		}
		return nil
	}
}

func helpOn(below *cobra.Command) func(*cobra.Command, []string) error {
	return func(_ *cobra.Command, args []string) error {
		c, _, err := below.Find(args)
		if err != nil {
			return err
		}
		c.InitDefaultHelpFlag()
		return c.Help()
	}
}

// terminal tells whether a stream is one.
func terminal(s any) bool {
	f, ok := s.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(f.Fd())
}
