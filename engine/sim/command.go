package sim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/tui"
	"signalbox/tui/style"
)

// Command is `signalbox demo`.
func Command() *cobra.Command {
	var o Options
	var headless bool
	var theme, tape string
	c := &cobra.Command{
		Use:   "demo",
		Short: "A small fleet on loopback inside this process, with the console",
		Long: `Starts three nodes, DHT peers and callers on loopback inside this process and
opens the console on the first node. Needs no configuration and no root, and
leaves nothing behind. Scenarios plant a fault to find.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return run(c, o, headless, theme, tape) },
	}
	c.Flags().StringVar(&o.Scenario, "scenario", "calm", "what is played: "+strings.Join(Scenarios(), ", "))
	c.Flags().Uint64Var(&o.Seed, "seed", 1, "same seed, same identities")
	c.Flags().StringVar(&theme, "theme", "", "colours of the console: "+strings.Join(style.Themes(), ", "))
	c.Flags().BoolVar(&headless, "headless", false, "no console; prints the admin socket and runs until interrupted")
	c.Flags().StringVar(&tape, "tape", "", "write what reaches the console to this file")
	if c.Flags().MarkHidden("tape") != nil { // for the pictures
		panic("sim: the flag is not there")
	}
	return c
}

func run(c *cobra.Command, o Options, headless bool, colours, tape string) error {
	theme, err := style.ParseTheme(colours)
	if err != nil {
		return config.Exit(config.ExitUsage, "%w", err)
	}
	if _, ok := scenarios[o.Scenario]; !ok {
		return config.Exit(config.ExitUsage, "no scenario %q; there are %s", o.Scenario, strings.Join(Scenarios(), ", "))
	}
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	f, err := Start(ctx, o)
	if err != nil {
		return err
	}
	if headless {
		_, err = fmt.Fprintf(c.OutOrStdout(), "{\"event\":\"ready\",\"listen\":%q,\"admin\":%q}\n", f.Main.Info().Listen, f.Main.Info().Admin)
		if err == nil {
			<-ctx.Done()
		}
	} else {
		err = console(ctx, f, tui.RunOptions{Options: tui.Options{Title: "demo " + o.Scenario, Theme: theme}, Env: os.Environ()}, tape)
	}
	f.Stop()
	if werr := f.Wait(); err == nil {
		err = werr
	}
	return err
}

// console shows the fleet's first node until it is closed, on a tape if one is
// named.
func console(ctx context.Context, f *Fleet, o tui.RunOptions, tape string) (err error) {
	if tape != "" {
		file, cerr := os.Create(tape)
		if cerr != nil {
			return fmt.Errorf("sim: %w", cerr)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		o.Tape = file
	}
	return tui.Run(ctx, f.Main.Seat("demo", control.Operator), o)
}
