package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"signalbox/engine"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/state"
	"signalbox/engine/view"
)

// brief runs a node until stop is called, which returns once it has ended.
func brief(t *testing.T, disk state.Disk, change func(*config.Config)) (e *engine.Engine, stop func()) {
	t.Helper()
	cfg := config.Default()
	cfg.ListenAddr, cfg.DHT.AllowLoopback = "127.0.0.1:0", true
	cfg.StateDir = filepath.Join(t.TempDir(), "state")
	if change != nil {
		change(&cfg)
	}
	e, err := engine.New(cfg, engine.Options{Disk: disk})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	<-e.Ready()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return e, stop
}

func save(t *testing.T, e *engine.Engine) control.Result {
	t.Helper()
	res, err := e.Do(t.Context(), control.Command{Kind: control.NodeSave, Role: control.Operator, Author: "test", Reason: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestSaveCommandAndRestart(t *testing.T) {
	seed, stopSeed := brief(t, nil, nil)
	join := func(c *config.Config) { c.DHT.Join = []string{seed.Info().NodeID + "@" + seed.Info().Listen} }
	brief(t, nil, join)
	brief(t, nil, join)
	dir := filepath.Join(t.TempDir(), "state")
	e, stop := brief(t, nil, func(c *config.Config) { join(c); c.StateDir = dir })
	if res := save(t, e); e.Snapshot().DHT.Peers == 0 && (!res.OK || !strings.Contains(res.Message, "no peer is known")) {
		t.Errorf("%+v", res)
	}
	until(t, e, "the table is full", func(s *view.Snapshot) bool { return s.DHT.Peers == 3 })
	dry, err := e.Do(t.Context(), control.Command{Kind: control.NodeSave, Role: control.Operator, DryRun: true})
	if err != nil || !dry.OK || !strings.Contains(dry.Plan[0], "routing.json") {
		t.Errorf("%+v, %v", dry, err)
	}
	res := save(t, e)
	if !res.OK || !strings.Contains(res.Message, filepath.Join(dir, "routing.json")+" (3 peers)") {
		t.Errorf("%+v", res)
	}
	until(t, e, "the save is shown", func(s *view.Snapshot) bool {
		v := s.DHT.Saved
		return v.OK && v.Peers == 3 && v.Saves > 0 && !v.At.IsZero() && v.Restored == 0 && v.RestoredFrom == ""
	})
	stop()
	stopSeed()
	// Again, without the seed or anybody else to join through.
	e, _ = brief(t, nil, func(c *config.Config) { c.StateDir = dir })
	s := until(t, e, "it is back by what it remembers", func(s *view.Snapshot) bool { return s.DHT.Peers >= 2 && s.DHT.Saved.Redialled >= 2 })
	if v := s.DHT.Saved; v.Restored != 3 || v.RestoredFrom != "routing.json" || v.Discarded != "" {
		t.Errorf("%+v", v)
	}
	res = save(t, e) // two are known, three were restored
	if !res.OK || !strings.Contains(res.Message, "fewer than the 3 restored peers") {
		t.Errorf("%+v", res)
	}
}

// failing is a disk that fails, or does not answer.
type failing struct {
	state.OS
	mu    sync.Mutex // guards the fields below
	err   error
	block chan struct{}
}

func (d *failing) set(err error, block chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err, d.block = err, block
}

func (d *failing) Create(path string, data []byte) error {
	d.mu.Lock()
	err, block := d.err, d.block
	d.mu.Unlock()
	if block != nil {
		<-block
		err = syscall.EIO // the test is over, and so is its directory
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	return d.OS.Create(path, data)
}

// reliability.md T19 on a real node: the failure is on screen within a second,
// the node stays ready, the old file is untouched, the next save clears it.
func TestFailingDiskIsShown(t *testing.T) {
	disk := &failing{}
	dir := filepath.Join(t.TempDir(), "state")
	seed, _ := brief(t, nil, nil)
	e, stop := brief(t, disk, func(c *config.Config) {
		c.StateDir = dir
		c.DHT.Join = []string{seed.Info().NodeID + "@" + seed.Info().Listen}
	})
	until(t, e, "connected", func(s *view.Snapshot) bool { return s.DHT.Peers == 1 })
	if res := save(t, e); !res.OK {
		t.Fatal(res)
	}
	old, err := os.ReadFile(filepath.Join(dir, "routing.json"))
	if err != nil {
		t.Fatal(err)
	}
	disk.set(syscall.ENOSPC, nil)
	res := save(t, e)
	if res.OK || res.Code != control.Busy || !strings.Contains(res.Message, "no space left") {
		t.Errorf("%+v", res)
	}
	failed := time.Now()
	s := until(t, e, "the failure is shown", func(s *view.Snapshot) bool {
		for _, c := range s.Node.Health.Causes {
			if c.Subject == "saved state" && strings.Contains(c.Message, "no space left") {
				return true
			}
		}
		return false
	})
	took := s.At.Sub(failed)
	t.Logf("shown %v after the failure", took)
	if s.Node.State != "ready" || s.Node.Health.Verdict != "degraded" || s.DHT.Saved.OK {
		t.Errorf("%+v %+v", s.Node.Health, s.DHT.Saved)
	}
	events, _ := e.Events(0)
	n := 0
	for _, ev := range events {
		if ev.Kind == "save_failed" {
			n++
		}
	}
	if n == 0 {
		t.Error("no event")
	}
	if now, err := os.ReadFile(filepath.Join(dir, "routing.json")); err != nil || !bytes.Equal(now, old) {
		t.Error("the old file has changed", err)
	}
	disk.set(nil, nil)
	if res := save(t, e); !res.OK {
		t.Errorf("%+v", res)
	}
	until(t, e, "the failure is over", func(s *view.Snapshot) bool { return s.DHT.Saved.OK && s.Node.Health.Verdict == "ok" })
	// A disk that hangs: peers are answered, and the end is in time.
	block := make(chan struct{})
	disk.set(nil, block)
	go func() { save(t, e) }()
	until(t, e, "the save hangs", func(s *view.Snapshot) bool { return s.DHT.Saved.SavingS > 0 })
	ping, err := seed.Do(t.Context(), control.Command{Kind: control.PeerPing, Target: e.Info().NodeID, Role: control.Operator})
	if err != nil || !ping.OK || !strings.Contains(ping.Message, "answered in ") {
		t.Errorf("%+v, %v", ping, err)
	}
	began := time.Now()
	stop()
	if took := time.Since(began); took > patience/3 {
		t.Error("the end took", took)
	}
	close(block)
}

// ours counts the goroutines that run this module's code, but for the tests'.
func ours() (n int, stacks string) {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var out []string
	for g := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(g, "signalbox/") && !strings.Contains(g, "testing.tRunner") && !strings.Contains(g, "_test.go") {
			out = append(out, g)
		}
	}
	return len(out), strings.Join(out, "\n\n")
}

// Target K: a node that ends under traffic leaves no goroutine behind.
func TestShutdownJoinsEverything(t *testing.T) {
	before, _ := ours()
	seed, stopSeed := brief(t, nil, nil)
	var stops []func()
	for range 4 {
		e, stop := brief(t, nil, func(c *config.Config) {
			c.DHT.Join = []string{seed.Info().NodeID + "@" + seed.Info().Listen}
			c.DHT.SaveInterval = 100 * time.Millisecond
		})
		until(t, e, "connected", func(s *view.Snapshot) bool { return s.DHT.Peers > 0 })
		stops = append(stops, stop)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 { // lookups without end
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := seed.Do(ctx, control.Command{Kind: control.RoutingRefresh, Target: "all", Role: control.Operator}); err != nil {
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	until(t, seed, "lookups run", func(s *view.Snapshot) bool { return s.DHT.Lookups.OK > 20 })
	began := time.Now()
	stopSeed()
	for _, stop := range stops {
		stop()
	}
	took := time.Since(began)
	cancel()
	wg.Wait()
	// Run has returned: what is left may be ending, but must end.
	deadline := time.Now().Add(patience)
	after, stacks := ours()
	for after > before && time.Now().Before(deadline) {
		runtime.Gosched()
		after, stacks = ours()
	}
	if after > before {
		t.Errorf("%d goroutines before, %d after:\n%s", before, after, stacks)
	}
	t.Logf("five nodes ended in %v", took)
	if took > patience {
		t.Error("the end took", took)
	}
}
