package engine_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/view"
)

// A state directory on a file system that is really full.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount a small tmpfs here (needs root and the right to mount): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	seed, _ := brief(t, nil, nil)
	e, stop := brief(t, nil, func(c *config.Config) {
		c.StateDir = filepath.Join(dir, "state")
		c.DHT.Join = []string{seed.Info().NodeID + "@" + seed.Info().Listen}
	})
	t.Cleanup(stop)
	until(t, e, "connected", func(s *view.Snapshot) bool { return s.DHT.Peers == 1 })
	if res := save(t, e); !res.OK {
		t.Fatal(res)
	}
	path, filler := filepath.Join(dir, "state", "routing.json"), filepath.Join(dir, "filler")
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filler, make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal("the disk is not full:", err)
	}
	for range 3 {
		res := save(t, e)
		if res.OK || res.Code != control.Busy || !strings.Contains(res.Message, "no space left") {
			t.Errorf("%+v", res)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, old) {
			t.Error("the old file has changed", err)
		}
	}
	s := until(t, e, "it is shown", func(s *view.Snapshot) bool { return strings.Contains(s.DHT.Saved.Error, "no space left") })
	if s.Node.State != "ready" {
		t.Error(s.Node.State)
	}
	if _, err := os.Stat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a failed save has left its file:", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if res := save(t, e); !res.OK {
		t.Errorf("%+v", res)
	}
	until(t, e, "it is over", func(s *view.Snapshot) bool { return s.DHT.Saved.OK && s.Node.Health.Verdict == "ok" })
}
