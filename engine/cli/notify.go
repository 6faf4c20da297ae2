package cli

import (
	"io"
	"log/slog"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/google/renameio/v2"
)

// notifier tells systemd how the node is. Without systemd it does nothing.
type notifier struct{ log *slog.Logger }

func (n notifier) send(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.log.Warn("systemd was not told", "state", state, "err", err)
	}
}

func (n notifier) ready()    { n.send(daemon.SdNotifyReady) }
func (n notifier) alive()    { n.send(daemon.SdNotifyWatchdog) }
func (n notifier) stopping() { n.send(daemon.SdNotifyStopping) }

func (n notifier) reloading() {
	n.send(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// watchdog ticks twice as often as systemd wants to hear of us; never when it
// does not.
func (n notifier) watchdog() (<-chan time.Time, func()) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.log.Warn("systemd's watchdog", "err", err)
	}
	if err != nil || every <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(every / 2)
	return t.C, t.Stop
}

// A node whose newest snapshot is older than this hangs. What its goroutines
// were at is then in a file of this name in the state directory.
const (
	publisherStuck = 10 * time.Second
	stacksName     = "stuck.txt"
)

// feed tells systemd's watchdog that we live, unless the newest snapshot is so
// old that we do not: systemd is to find out, and the stacks are written first.
func (n *node) feed(age time.Duration) {
	if age < publisherStuck {
		n.stuck = false
		n.notify.alive()
		return
	}
	if n.stuck {
		return
	}
	n.stuck = true
	path := filepath.Join(n.cfg.StateDir, stacksName)
	err := writeStacks(path)
	n.log.Error("no new snapshot: the watchdog is left alone", "age_s", age.Seconds(), "stacks", path, "err", err)
}

// writeStacks writes all goroutines, those at the same place together, so that
// the file is small however many there are.
func writeStacks(path string) error {
	f, err := renameio.TempFile("", path)
	if err != nil {
		return err
	}
	defer f.Cleanup() //nolint:errcheck // after a success there is nothing left to clean
	if err := pprof.Lookup("goroutine").WriteTo(io.Writer(f), 1); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}
