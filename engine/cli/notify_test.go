package cli

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"signalbox/engine/config"
)

// systemd stands in systemd's place: what it was told, in order.
type systemd struct {
	mu   sync.Mutex
	told []string
}

func (s *systemd) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.told)
}

func newSystemd(t *testing.T, watchdog time.Duration) *systemd {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	s := &systemd{}
	go func() {
		var b [4096]byte
		for {
			n, err := c.Read(b[:])
			if err != nil {
				return
			}
			s.mu.Lock()
			s.told = append(s.told, strings.SplitN(string(b[:n]), "\n", 2)[0])
			s.mu.Unlock()
		}
	}()
	return s
}

func TestSystemdIsTold(t *testing.T) {
	sd := newSystemd(t, 100*time.Millisecond)
	s := startServer(t, "serve")
	until(t, "a sign of life", func() bool { return slices.Contains(sd.heard(), "WATCHDOG=1") })
	s.sigs <- syscall.SIGHUP
	until(t, "the reload", func() bool {
		told := slices.DeleteFunc(sd.heard(), func(m string) bool { return m == "WATCHDOG=1" })
		return slices.Equal(told, []string{"READY=1", "RELOADING=1", "READY=1"})
	})
	s.sigs <- syscall.SIGTERM
	s.sigs <- syscall.SIGTERM
	if code := <-s.code; code != 0 {
		t.Errorf("exit code %d: %s", code, s.errs)
	}
	until(t, "the farewell", func() bool { return slices.Contains(sd.heard(), "STOPPING=1") })
}

func TestAHungNodeLeavesTheWatchdogAlone(t *testing.T) {
	sd := newSystemd(t, time.Hour)
	log := slog.New(slog.DiscardHandler)
	n := &node{cfg: config.Config{StateDir: t.TempDir()}, log: log, notify: notifier{log}}
	n.feed(publisherStuck)
	n.feed(2 * publisherStuck)
	stacks, err := os.ReadFile(filepath.Join(n.cfg.StateDir, stacksName))
	if err != nil || !strings.Contains(string(stacks), "TestAHungNodeLeavesTheWatchdogAlone") {
		t.Errorf("stacks: %v; %d bytes", err, len(stacks))
	}
	n.feed(0) // the only one that may be heard
	until(t, "a sign of life", func() bool { return len(sd.heard()) > 0 })
	if told := sd.heard(); !slices.Equal(told, []string{"WATCHDOG=1"}) {
		t.Errorf("told %q", told)
	}
}
