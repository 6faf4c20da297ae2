package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/user"
	"sync"

	"github.com/spf13/cobra"

	"signalbox/engine"
	"signalbox/engine/attach"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/tui"
	"signalbox/tui/style"
)

// console shows a node in this terminal until it is closed.
func (a *app) console(ctx context.Context, src tui.Source, o tui.Options) error {
	return tui.Run(ctx, src, tui.RunOptions{Options: o, In: a.In, Out: a.Out, Env: a.Env})
}

func (a *app) runCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "run",
		Short: "The node and its console in this terminal",
		Long: `Runs the node with its console in this terminal; leaving the console, or closing
the terminal, drains and ends the node. The log goes to signalbox.log in the
state directory. Where standard output is no terminal this is serve.`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{ownSignals: "run"},
		RunE:        func(c *cobra.Command, _ []string) error { return a.run(c) },
	}
	addNodeFlags(c)
	return c
}

// run runs the node behind its console.
func (a *app) run(c *cobra.Command) (err error) {
	if mesh, merr := c.Flags().GetBool("mesh-status"); merr == nil && mesh {
		return a.meshStatus(c)
	}
	if !terminal(a.Out) {
		a.printf(a.Err, "signalbox: standard output is no terminal: running as serve\n")
		return a.serve(c)
	}
	cfg, _, err := a.load(c, true)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		a.printf(a.Err, "signalbox: warning: %s\n", w)
	}
	file, err := openLogFile(cfg.StateDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	level := &slog.LevelVar{}
	n, err := a.newNode(c, cfg, a.newLogger(file, cfg, level), level)
	if err != nil {
		return err
	}
	n.gone = func() bool { return !terminal(a.Out) }
	return a.behind(c.Context(), n)
}

// behind runs the node and, once it is ready, the console before it.
func (a *app) behind(ctx context.Context, n *node) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var consoles sync.WaitGroup
	consoleCtx, closeConsole := context.WithCancel(ctx)
	err := n.run(ctx, func(engine.Info) error {
		consoles.Go(func() {
			err := a.console(consoleCtx, n.eng.Seat(author(), control.Operator), tui.Options{Theme: style.Theme(n.cfg.Theme)})
			switch {
			case consoleCtx.Err() != nil: // the node has ended first
			case n.gone():
				n.left <- terminalGone
			case err != nil:
				// The calls on this node are worth more than its screen.
				n.log.Error("console", "err", err)
				a.printf(a.Err, "signalbox: %v\nsignalbox: the node goes on; signalbox attach shows it, ctrl-c ends it\n", err)
			default:
				n.left <- "the console was left"
			}
		})
		return nil
	})
	closeConsole()
	consoles.Wait()
	return err
}

// author is who sits at this terminal.
func author() string {
	u, err := user.Current()
	if err != nil {
		return "uid:unknown"
	}
	return "uid:" + u.Username
}

// addThemeFlag gives c the flag for the console's colours.
func addThemeFlag(c *cobra.Command) {
	for _, k := range config.Keys() {
		if k.Name == "theme" {
			c.Flags().Var(&text{arg: k.Arg}, k.Flag, k.Help)
		}
	}
}

// theme is the one that the flag names, else the environment.
func (a *app) theme(c *cobra.Command) (style.Theme, error) {
	t, err := style.ParseTheme(cmp.Or(c.Flag("theme").Value.String(), a.env["SIGNALBOX_THEME"]))
	if err != nil {
		return t, &config.ExitError{Code: config.ExitUsage, Err: err}
	}
	return t, nil
}

func (a *app) attachCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "attach [SOCKET]",
		Short: "The console on a running node, over its admin socket",
		Args:  cobra.MaximumNArgs(1),
	}
	addSocketFlags(c)
	addThemeFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		theme, err := a.theme(c)
		if err != nil {
			return err
		}
		if !terminal(a.Out) {
			return config.Exit(config.ExitUsage, "attach wants a terminal; for scripts there is ctl")
		}
		path, err := a.socket(c, args)
		if err != nil {
			return err
		}
		cl, err := attach.Dial(path)
		if err != nil {
			return err
		}
		err = a.console(c.Context(), cl, tui.Options{Title: path, Theme: theme, Stale: 2 * attach.Calm})
		if cerr := cl.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("attach: %w", cerr)
		}
		return err
	}
	return c
}
