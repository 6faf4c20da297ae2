package engine_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"signalbox/engine"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/view"
)

func TestANodeStartsWithoutDNS(t *testing.T) {
	id := strings.Repeat("ab", 32)
	e := start(t, func(c *config.Config) { c.DHT.Join = []string{id + "@no.such.host.invalid:1"} })
	s := until(t, e, "the health names the name", func(s *view.Snapshot) bool {
		return strings.Contains(strings.Join(s.Node.Health.Reasons, "\n"), "no.such.host.invalid has no address")
	})
	if s.Node.State != "ready" {
		t.Errorf("state %s", s.Node.State)
	}
	evs, _ := e.Events(0)
	told := 0
	for _, ev := range evs {
		if ev.Kind == "seed_unresolved" {
			told++
		}
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

func TestANameIsJoinedInTheBackground(t *testing.T) {
	a := start(t, nil)
	in := a.Info()
	b := start(t, func(c *config.Config) {
		c.DHT.Join = []string{in.NodeID + "@" + strings.Replace(in.Listen, "127.0.0.1", "localhost", 1)}
	})
	until(t, b, "a is a peer", func(s *view.Snapshot) bool { return s.DHT.Peers == 1 })
}

func TestOneNodeADirectory(t *testing.T) {
	var cfg config.Config
	start(t, func(c *config.Config) { cfg = *c })
	cfg.AdminSocket = t.TempDir() + "/other.sock"
	_, err := engine.New(cfg, engine.Options{})
	if config.ExitCodeOf(err) != config.ExitCantCreate || !strings.Contains(err.Error(), "already running") {
		t.Errorf("a second node on the directory: %v", err)
	}
}

// TestADirectoryOpenToOthersIsToldOf: with the remedy, and only then.
func TestADirectoryOpenToOthersIsToldOf(t *testing.T) {
	for mode, told := range map[os.FileMode]bool{0o700: false, 0o755: true} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		evs, _ := start(t, func(c *config.Config) { c.StateDir = dir }).Events(0)
		i := slices.IndexFunc(evs, func(ev view.Event) bool { return ev.Kind == "state_dir_open" })
		if told != (i >= 0) || told && (evs[i].Severity != view.Warn || !strings.Contains(evs[i].Message, "chmod 700 "+dir)) {
			t.Errorf("mode %o: %+v", mode, evs)
		}
	}
}

func TestReloadNamesWhatIsInForce(t *testing.T) {
	var cfg config.Config
	e := start(t, func(c *config.Config) { cfg = *c })
	r := do(t, e, control.Command{Kind: control.NodeLogLevel, Target: "debug"})
	cfg.LogLevel, cfg.MaxSessions = "warn", 7
	if err := e.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	evs, _ := e.Events(0)
	if last := evs[len(evs)-1]; !strings.Contains(last.Message, "in force now: log_level; at the next start: max_sessions") {
		t.Errorf("%+v", last)
	}
	do(t, e, control.Command{Kind: control.Undo, Target: r.Undo})
	if err := e.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	evs, _ = e.Events(0)
	if last := evs[len(evs)-1]; !strings.Contains(last.Message, "nothing has changed") {
		t.Errorf("%+v", last)
	}
	if evs, missed := e.Events(^uint64(0)); len(evs) != 0 || missed != 0 {
		t.Errorf("after the last possible number: %d events, %d missed", len(evs), missed)
	}
}
