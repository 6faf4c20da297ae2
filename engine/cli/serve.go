package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"signalbox/engine"
	"signalbox/engine/attach"
	"signalbox/engine/config"
	"signalbox/engine/flight"
	"signalbox/engine/mesh"
	"signalbox/engine/view"
)

func (a *app) serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "The node alone, for systemd",
		Long: `Runs the node without a console. Logs go to standard error; standard output gets
one line of JSON, once everything listens.

TERM and INT drain: nobody new is admitted, clients are told, connections close
spread over drain_timeout. A second one ends the node now. HUP reads the
configuration again, USR1 writes a bundle into the state directory.`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{ownSignals: "serve"},
		RunE:        func(c *cobra.Command, _ []string) error { return a.serve(c) },
	}
	addNodeFlags(c)
	return c
}

// node is a running engine and what the process does for it.
type node struct {
	// Constant after newNode.
	a      *app
	cfg    config.Config
	reload func() (config.Config, error)
	log    *slog.Logger
	eng    *engine.Engine
	door   *sshDoor // nil: none
	notify notifier
	gone   func() bool // whether the terminal that the console is on has been closed; nil: it is on none
	left   chan string // why the console was left; it holds all there will be

	// Owned by watch.
	drains int
	stuck  bool // the stacks have been written
}

// serve runs the node until it has drained.
func (a *app) serve(c *cobra.Command) error {
	if mesh, err := c.Flags().GetBool("mesh-status"); err == nil && mesh {
		return a.meshStatus(c)
	}
	cfg, _, err := a.load(c, true)
	if err != nil {
		return err
	}
	level := &slog.LevelVar{}
	n, err := a.newNode(c, cfg, a.newLogger(a.Err, cfg, level), level)
	if err != nil {
		return err
	}
	return n.run(c.Context(), func(info engine.Info) error {
		line, err := json.Marshal(readyLine{"ready", info})
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(a.Out, "%s\n", line); err != nil {
			return config.Exit(config.ExitIO, "ready line: %w", err)
		}
		return nil
	})
}

// readyLine is the one line on standard output (contract section 1).
type readyLine struct {
	Event string `json:"event"`
	engine.Info
}

func (a *app) newNode(c *cobra.Command, cfg config.Config, log *slog.Logger, level *slog.LevelVar) (*node, error) {
	for _, w := range cfg.Warnings {
		log.Warn("configuration", "detail", w)
	}
	writeExample(log, cfg.MissingFile)
	limitMemory(log, a.env)
	eng, err := engine.New(cfg, engine.Options{Log: log, LogLevel: level})
	if err != nil {
		return nil, err
	}
	if err := flight.CatchCrash(engine.FlightDir(cfg.StateDir)); err != nil {
		log.Warn("a crash will leave its words on standard error only", "err", err)
	}
	door, err := a.openSSH(cfg, eng)
	if err != nil {
		return nil, errors.Join(err, eng.Close())
	}
	return &node{
		a: a, cfg: cfg, log: log, eng: eng, door: door, notify: notifier{log}, left: make(chan string, 1),
		reload: func() (config.Config, error) { cfg, _, err := a.load(c, false); return cfg, err },
	}, nil
}

// run runs the engine, tells whoever wants to know once it is ready, and looks
// after signals until the engine has ended.
func (n *node) run(ctx context.Context, ready func(engine.Info) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sigs, stop := n.a.signals()
	defer stop()
	done := make(chan error, 1)
	go func() { done <- n.both(ctx) }()
	select {
	case err := <-done:
		return err
	case <-n.eng.Ready():
	}
	info := n.eng.Info()
	info.SSH = n.door.addr()
	if err := ready(info); err != nil {
		cancel()
		return errors.Join(err, <-done)
	}
	n.notify.ready()
	return n.watch(ctx, cancel, sigs, done)
}

// both runs the engine and the door before it; what ends one ends the other.
func (n *node) both(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.Go(func() error { defer cancel(); return n.eng.Run(ctx) })
	g.Go(func() error { return n.door.serve(ctx) })
	return g.Wait()
}

// watch looks after signals and the watchdog until the engine has ended.
func (n *node) watch(ctx context.Context, cancel context.CancelFunc, sigs <-chan os.Signal, done <-chan error) error {
	dog, stop := n.notify.watchdog()
	defer stop()
	for {
		select {
		case err := <-done:
			return err
		case s := <-sigs:
			n.handle(ctx, s, cancel)
		case why := <-n.left:
			n.leave(why, cancel)
		case <-dog:
			n.feed(time.Since(n.eng.Snapshot().At))
		}
	}
}

// terminalGone is why a node ends whose console is on a terminal that is closed.
const terminalGone = "its terminal was closed"

// handle does what a signal asks for (contract section 1). HUP is also what the
// kernel sends when the terminal is closed: who sits at it has left.
func (n *node) handle(ctx context.Context, s os.Signal, cancel context.CancelFunc) {
	switch s {
	case syscall.SIGHUP:
		if n.gone != nil && n.gone() {
			n.leave(terminalGone, cancel)
			return
		}
		n.notify.reloading()
		if err := n.reloadNow(); err != nil {
			n.log.Error("reload: the settings in force stay", "err", err)
			n.eng.Event(view.Event{Kind: "reload_failed", Severity: view.Warn, Message: "the settings in force stay: " + err.Error()})
		}
		n.notify.ready()
	case syscall.SIGUSR1:
		go n.bundle(ctx)
	default:
		n.drain(s.String(), cancel)
	}
}

// leave begins to drain unless that is under way: a console that is left and the
// terminal that is closed then are one wish.
func (n *node) leave(why string, cancel context.CancelFunc) {
	if n.drains == 0 {
		n.a.printf(n.a.Err, "signalbox: draining for up to %s; ctrl-c ends it now\n", n.cfg.DrainTimeout)
		n.drain(why, cancel)
	}
}

// drain begins to drain; asked again it ends the node now.
func (n *node) drain(why string, cancel context.CancelFunc) {
	n.drains++
	if n.drains > 1 {
		n.log.Warn("ending now", "because", why)
		cancel()
		return
	}
	n.notify.stopping()
	n.log.Info("draining", "because", why, "deadline_s", n.cfg.DrainTimeout.Seconds())
	n.eng.Drain(n.cfg.DrainTimeout)
}

func (n *node) reloadNow() error {
	cfg, err := n.reload()
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		n.log.Warn("configuration", "detail", w)
	}
	n.cfg.DrainTimeout = cfg.DrainTimeout
	return n.eng.Reload(cfg)
}

// bundle writes a bundle into the state directory, through the node's own
// socket so that it is the bundle ctl makes.
func (n *node) bundle(ctx context.Context) {
	api := attach.NewAPI(n.eng.Info().Admin)
	defer api.Close()
	path := filepath.Join(n.cfg.StateDir, bundleName(time.Now()))
	if err := writeBundle(ctx, api, path); err != nil {
		n.log.Error("bundle", "err", err)
		return
	}
	n.log.Info("bundle written", "path", path)
}

// signals delivers the process's signals, or those of a test.
func (a *app) signals() (<-chan os.Signal, func()) {
	if a.Signals != nil {
		return a.Signals, func() {}
	}
	c := make(chan os.Signal, 8)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	return c, func() { signal.Stop(c) }
}

// meshStatus prints the mesh as the running node sees it. Without one nothing
// is probed: then it is the empty table, which is all that wzp-relay ever prints
// (spec wzp 5.21).
func (a *app) meshStatus(c *cobra.Command) error {
	path, err := a.socket(c, nil)
	if err != nil {
		return err
	}
	api := attach.NewAPI(path)
	defer api.Close()
	var probes []view.Probe
	s, err := api.Snapshot(c.Context())
	switch {
	case err == nil:
		probes = s.Probes
	case !errors.Is(err, attach.ErrNotRunning):
		return err
	}
	_, err = io.WriteString(a.Out, mesh.Table(probes))
	return err
}
