package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"signalbox/dht/snapshot"
	dhttable "signalbox/dht/table"
	"signalbox/engine"
	"signalbox/engine/attach"
	"signalbox/engine/control"
	"signalbox/engine/state"
	"signalbox/engine/view"
)

// process is the real binary, serving.
type process struct {
	info engine.Info
	dir  string
	cmd  *exec.Cmd
	api  *attach.API
	logs string
}

// launch starts bin on listen with the state directory dir.
func launch(t *testing.T, bin, dir, listen string, more ...string) *process {
	t.Helper()
	p := &process{dir: dir, logs: filepath.Join(dir, "log")}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"serve", "--state-dir", dir, "--admin", filepath.Join(dir, "a.sock"), "--listen", listen, "--insecure-allow-loopback"}, more...)
	p.cmd = exec.CommandContext(t.Context(), bin, args...)
	p.cmd.Env = os.Environ()
	if len(more) == 0 { // who joins nobody is the one that is killed
		p.cmd.Env = append(p.cmd.Env, "SIGNALBOX_DHT_SAVE_INTERVAL=100ms")
	}
	logs, err := os.Create(p.logs)
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	p.cmd.Stderr = logs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &p.info)
	}
	if err != nil {
		p.fatal(t, fmt.Sprintf("no ready line: %v", err))
	}
	go func() {
		_, _ = io.Copy(io.Discard, out) // ends with the process
	}()
	p.api = attach.NewAPI(p.info.Admin)
	return p
}

func (p *process) fatal(t *testing.T, why string) {
	t.Helper()
	b, err := os.ReadFile(p.logs)
	t.Fatalf("%s\n%s%v", why, b, err)
}

// kill ends the process as the kernel does when memory runs out.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = p.cmd.Wait() // says that it was killed
	p.api.Close()
}

// until waits for a snapshot that satisfies cond.
func (p *process) until(t *testing.T, what string, cond func(*view.Snapshot) bool) *view.Snapshot {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(deadline) {
		s, err := p.api.Snapshot(t.Context())
		if err != nil {
			p.fatal(t, err.Error())
		}
		if cond(s) {
			return s
		}
		<-tick.C
	}
	p.fatal(t, "gave up waiting until "+what)
	return nil
}

// hammer asks for saves, one after the other, until the process is gone.
func (p *process) hammer(ctx context.Context, saves *atomic.Uint64) {
	for ctx.Err() == nil {
		if _, err := p.api.Do(ctx, control.Command{Kind: control.NodeSave, Reason: "test"}); err != nil {
			return
		}
		saves.Add(1)
	}
}

// number reads an environment variable.
func number(t *testing.T, name string, usual int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return usual
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A node that is killed over and over, in the middle of saving, always finds a
// whole routing.json, all of it, and is back in the network by nothing else.
// KILL_TEST_CYCLES says how often, KILL_TEST_CONTACTS with how many others; the
// defaults keep the suite quick (make kill: 100 and 30).
func TestKilledWhileSaving(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the real binary; -short leaves it out")
	}
	kills, others := number(t, "KILL_TEST_CYCLES", 4), number(t, "KILL_TEST_CONTACTS", 4)
	dir := t.TempDir()
	bin := filepath.Join(dir, "signalbox")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "signalbox").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	victim := launch(t, bin, filepath.Join(dir, "v"), "127.0.0.1:0")
	listen, path := victim.info.Listen, filepath.Join(dir, "v", "routing.json")
	self, err := dhttable.ParseID(victim.info.NodeID)
	if err != nil {
		t.Fatal(err)
	}
	accompany(t, bin, dir, victim, self, others)
	var saves atomic.Uint64
	midway, rejoin := 0, time.Duration(0)
	for k := range kills {
		victim.until(t, "the table is full", func(s *view.Snapshot) bool {
			return s.DHT.Peers == others && s.DHT.Saved.Peers == others && s.DHT.Saved.Scores > 0 && s.DHT.Saved.Saves > s.DHT.Saved.KeptTimes
		})
		var wg sync.WaitGroup
		wg.Go(func() { victim.hammer(t.Context(), &saves) })
		<-time.After(time.Duration(rand.IntN(100_000)) * time.Microsecond) // no moment is safer than another
		victim.kill(t)
		wg.Wait()
		if _, err := os.Stat(path + ".new"); err == nil {
			midway++
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		whole(t, path, self, others)
		began := time.Now()
		victim = launch(t, bin, filepath.Join(dir, "v"), listen) // nobody to join through
		s := victim.until(t, "it is back", func(s *view.Snapshot) bool { return s.DHT.Peers > 0 })
		rejoin = max(rejoin, time.Since(began))
		v := s.DHT.Saved
		if v.Restored != others || v.RestoredScores == 0 || v.RestoredFrom != "routing.json" || v.Discarded != "" || v.TrustDiscarded != "" {
			t.Fatalf("after kill %d: %+v", k+1, v)
		}
	}
	victim.kill(t)
	ents, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(ents) > 12 {
		t.Errorf("the kills have left %d files: %v", len(ents), err)
	}
	t.Logf("%d kills with %d contacts, %d saves asked for, %d killed with a file half written, 0 lost or damaged, slowest start and rejoin %v", kills, others, saves.Load(), midway, rejoin)
}

// accompany launches nodes that join through the victim, until so many of them
// have a place in its table.
func accompany(t *testing.T, bin, dir string, victim *process, self dhttable.ID, others int) {
	t.Helper()
	full := map[int]int{} // by bucket
	for i, places := 0, 0; places < others; i++ {
		p := launch(t, bin, filepath.Join(dir, strconv.Itoa(i)), "127.0.0.1:0", "--dht-join", victim.info.NodeID+"@"+victim.info.Listen)
		t.Cleanup(func() { p.kill(t) })
		id, err := dhttable.ParseID(p.info.NodeID)
		if err != nil {
			t.Fatal(err)
		}
		bucket := dhttable.BucketIndex(&self, &id)
		if full[bucket] < dhttable.DefaultK {
			full[bucket]++
			places++
		}
	}
}

// whole checks that the file is there, undamaged, with all its peers.
func whole(t *testing.T, path string, self dhttable.ID, peers int) {
	t.Helper()
	b, err := state.ReadFile(path, snapshot.MaxFile)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := snapshot.DecodeRouting(b, self, time.Now())
	if err != nil || len(got) != peers {
		t.Fatalf("%d peers, %v, of\n%s", len(got), err, b)
	}
}
