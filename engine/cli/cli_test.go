package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"signalbox/engine/bench"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
)

// result is what one run of the program left.
type result struct {
	code     int
	out, err string
}

// execute runs the program in this process, with a home of its own.
func execute(t *testing.T, home string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := Execute(t.Context(), args, IO{In: strings.NewReader(""), Out: &out, Err: &errs, Env: []string{"HOME=" + home}})
	return result{code, out.String(), errs.String()}
}

func TestExitCodes(t *testing.T) {
	home := t.TempDir()
	bad := filepath.Join(home, "bad.toml")
	if err := os.WriteFile(bad, []byte("lissten_addr = \":1\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	corrupt := filepath.Join(home, "corrupt")
	if err := os.Mkdir(corrupt, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(corrupt, "identity"), []byte("no hex"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		code int
		says string // on standard error
	}{
		{[]string{"--help"}, config.ExitOK, ""},
		{[]string{"help", "serve"}, config.ExitOK, ""},
		{[]string{"--version"}, config.ExitOK, ""},
		{[]string{"version"}, config.ExitOK, ""},
		{[]string{"help", "ctl", "shard"}, config.ExitOK, ""},
		{[]string{"ctl", "help"}, config.ExitOK, ""},
		{[]string{"ctl", "help", "shard"}, config.ExitOK, ""},
		{[]string{"ctl", "help", "shard", "pause"}, config.ExitOK, ""},
		{[]string{"config", "help", "show"}, config.ExitOK, ""},
		{[]string{"ctl", "help", "nope"}, config.ExitUsage, "unknown help topic"},
		{[]string{"config", "check"}, config.ExitOK, ""},
		{[]string{"completion", "bash"}, config.ExitOK, ""},
		{[]string{"serve", "--mesh-status"}, config.ExitOK, ""},
		{[]string{"frobnicate"}, config.ExitUsage, "unknown command"},
		{[]string{"serv"}, config.ExitUsage, "serve"},
		{[]string{"serve", "--nope"}, config.ExitUsage, "unknown flag"},
		{[]string{"serve", "extra"}, config.ExitUsage, "extra"},
		{[]string{"ctl"}, config.ExitUsage, "wants a command"},
		{[]string{"ctl", "frobnicate"}, config.ExitUsage, "unknown command"},
		{[]string{"ctl", "shard", "pause"}, config.ExitUsage, "1 arg"},
		{[]string{"ctl", "source", "throttle", "1.2.3.4", "fast"}, config.ExitUsage, "no number"},
		{[]string{"attach"}, config.ExitUsage, "wants a terminal"},
		{[]string{"serve", "--config", bad}, config.ExitConfig, "did you mean listen_addr?"},
		{[]string{"config", "check", "--config", bad}, config.ExitConfig, "did you mean listen_addr?"},
		{[]string{"serve", "--shards", "many"}, config.ExitUsage, "--shards"},
		{[]string{"serve", "--shards", "0"}, config.ExitConfig, "--shards"},
		{[]string{"completion", "bogus"}, config.ExitUsage, "unknown command"},
		{[]string{"help", "nope"}, config.ExitUsage, "unknown help topic"},
		{[]string{"config", "check", "--config", filepath.Join(home, "none.toml")}, config.ExitConfig, "none.toml"},
		{[]string{"serve", "--listen", "127.0.0.1:0", "--state-dir", corrupt}, config.ExitConfig, "identity"},
		{[]string{"serve", "--listen", "127.0.0.1:0", "--state-dir", "/proc/nowhere"}, config.ExitCantCreate, "nowhere"},
		{[]string{"ctl", "status"}, config.ExitUnavailable, "no node answers"},
		{[]string{"ctl", "bundle", filepath.Join(home, "b.tar.gz")}, config.ExitUnavailable, "no node answers"},
	} {
		r := execute(t, home, tc.args...)
		if r.code != tc.code || !strings.Contains(r.err, tc.says) {
			t.Errorf("%v: exit code %d, want %d: %s", tc.args, r.code, tc.code, r.err)
		}
		if tc.says == "" && (r.err != "" || r.out == "") {
			t.Errorf("%v: printed %q, complained %q", tc.args, r.out, r.err)
		}
	}
	if _, err := os.Stat(filepath.Join(home, "b.tar.gz")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a bundle of nothing was left")
	}
}

func TestMeshStatusIsThatOfWZP(t *testing.T) {
	want := "Relay Mesh Health\n" + strings.Repeat("─", 41) + "\n  (no probe targets configured)\n"
	if r := execute(t, t.TempDir(), "--mesh-status"); r.out != want || r.code != 0 {
		t.Errorf("%+v", r)
	}
}

func TestVersionJSON(t *testing.T) {
	r := execute(t, t.TempDir(), "version", "--json")
	var b build
	if err := json.Unmarshal([]byte(r.out), &b); err != nil || b.Go == "" || b.WireLevel == "" {
		t.Errorf("%v: %s", err, r.out)
	}
}

func TestConfigShow(t *testing.T) {
	r := execute(t, t.TempDir(), "config", "show", "--origin", "--shards", "3")
	if r.code != 0 || !strings.Contains(r.out, "dispatch.shards = 3") || !strings.Contains(r.out, "# flag --shards") {
		t.Errorf("%+v", r)
	}
	r = execute(t, t.TempDir(), "config", "show", "--json")
	var es []config.Entry
	if err := json.Unmarshal([]byte(r.out), &es); err != nil || len(es) != len(config.Keys()) {
		t.Errorf("%v: %d entries", err, len(es))
	}
}

func TestManPages(t *testing.T) {
	dir := t.TempDir()
	if r := execute(t, dir, "man", dir); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	for _, name := range []string{"signalbox.1", "signalbox-ctl-room-close.1", "signalbox.toml.5"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// server is a node in this process that serve runs.
type server struct {
	t     *testing.T
	home  string
	ready readyLine
	sigs  chan os.Signal
	code  chan int
	errs  *lockedBuffer
}

// lockedBuffer is standard error, written by the node while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startServer runs serve, or another command that ends up there, and waits for
// its ready line.
func startServer(t *testing.T, command string, args ...string) *server {
	t.Helper()
	all := append(slices.DeleteFunc([]string{command}, func(s string) bool { return s == "" }), "--listen", "127.0.0.1:0", "--insecure-allow-loopback")
	return startAs(t, t.TempDir(), append(all, args...)...)
}

// startAs runs the program with these very arguments, and this home.
func startAs(t *testing.T, home string, args ...string) *server {
	t.Helper()
	s := &server{t: t, home: home, sigs: make(chan os.Signal), code: make(chan int, 1), errs: &lockedBuffer{}}
	r, w := io.Pipe()
	go func() {
		s.code <- Execute(t.Context(), args, IO{
			In: strings.NewReader(""), Out: w, Err: s.errs, Env: []string{"HOME=" + s.home}, Signals: s.sigs,
		})
		_ = w.Close()
	}()
	t.Cleanup(func() { _, _ = io.Copy(io.Discard, r) }) // until serve has ended, as its context has
	if err := json.NewDecoder(r).Decode(&s.ready); err != nil {
		t.Fatalf("no ready line: %v; %s", err, s.errs)
	}
	return s
}

func (s *server) ctl(args ...string) result {
	s.t.Helper()
	return execute(s.t, s.home, append([]string{"ctl"}, args...)...)
}

// until waits for a condition; the deadline only ends a test that has failed.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("never happened: " + what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestServe(t *testing.T) {
	s := startServer(t, "serve", "--metrics", "127.0.0.1:0", "--static-dir", "/x")
	if s.ready.Event != "ready" || s.ready.Metrics == "" || s.ready.SSH != "" || s.ready.PID != os.Getpid() || strings.HasSuffix(s.ready.Listen, ":0") {
		t.Errorf("ready line %+v", s.ready)
	}
	if !strings.Contains(s.errs.String(), "static_dir has no effect") {
		t.Errorf("no warning in %s", s.errs)
	}
	t.Run("ctl", func(t *testing.T) { ctlWorks(t, s) })
	t.Run("second node", func(t *testing.T) {
		r := execute(t, s.home, "serve", "--listen", "127.0.0.1:0")
		if r.code == 0 || !strings.Contains(r.err, "already running") {
			t.Errorf("%+v", r)
		}
	})
	t.Run("doctor", func(t *testing.T) {
		r := execute(t, s.home, "doctor", "--json", "--listen", s.ready.Listen)
		var d struct {
			Status string
			Checks []struct{ Check, Status, Detail string }
		}
		if err := json.Unmarshal([]byte(r.out), &d); err != nil || r.code > 2 {
			t.Fatalf("%v: %+v", err, r)
		}
		for _, c := range d.Checks {
			if c.Check == "udp port" && (c.Status != "ok" || !strings.Contains(c.Detail, "running node")) {
				t.Errorf("%+v", c)
			}
		}
	})
	t.Run("signals", func(t *testing.T) {
		s.sigs <- syscall.SIGHUP
		until(t, "the reload", func() bool { return strings.Contains(s.ctl("events").out, " reload ") })
		s.sigs <- syscall.SIGUSR1
		state := filepath.Join(s.home, ".local/state/signalbox")
		until(t, "the bundle", func() bool { return strings.Contains(s.errs.String(), "bundle written") })
		if m, err := filepath.Glob(filepath.Join(state, "signalbox-*.tar.gz")); err != nil || len(m) != 1 {
			t.Errorf("bundles %v, %v", m, err)
		}
		s.sigs <- syscall.SIGTERM
		if code := <-s.code; code != config.ExitOK {
			t.Errorf("exit code %d: %s", code, s.errs)
		}
		if r := s.ctl("status"); r.code != config.ExitUnavailable {
			t.Errorf("after the end: %+v", r)
		}
	})
}

// TestExplainKnowsWhoIsThere: 0 for two who are, whatever the verdict; 1 when one
// of them is not.
func TestExplainKnowsWhoIsThere(t *testing.T) {
	s := startServer(t, "serve")
	for _, who := range []string{"Ana", "Bo"} {
		cl, err := quicnet.NewClient(quicnet.ClientConfig{LocalAddr: netip.MustParseAddr("127.0.0.1")})
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		c, err := bench.Join(t.Context(), cl, netip.MustParseAddrPort(s.ready.Listen), "kitchen", who)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	until(t, "both are shown", func() bool { return s.ctl("explain", "Ana", "Bo").code == config.ExitOK })
	for _, more := range [][]string{nil, {"--json"}} {
		if r := s.ctl(append([]string{"explain", "Ana", "Cy"}, more...)...); r.code != config.ExitFailure || !strings.Contains(r.out, "no participant here") {
			t.Errorf("%+v", r)
		}
	}
}

func ctlWorks(t *testing.T, s *server) {
	for _, args := range [][]string{
		{"status"}, {"snapshot"}, {"events"}, {"shard"}, {"room"}, {"participant"}, {"peer"}, {"link"}, {"source"}, {"routing"}, {"node"}, {"audit"},
	} {
		for _, more := range [][]string{nil, {"--json"}} {
			if r := s.ctl(append(args, more...)...); r.code != 0 || r.err != "" || (r.out == "" && args[0] != "events") {
				t.Errorf("%v %v: %+v", args, more, r)
			}
		}
	}
	for _, args := range [][]string{{"explain", "a", "b"}, {"explain", "a"}, {"explain", "a", "b", "--json"}} {
		if r := s.ctl(args...); r.code != config.ExitFailure || !strings.Contains(r.out, "no participant here") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if r := s.ctl("routing", "trace", "nowhere"); r.code != config.ExitFailure || !strings.Contains(r.out, "of room nowhere, ") || !strings.Contains(r.out, "no_peers") {
		t.Errorf("a trace of a node that knows nobody: %+v", r)
	}
	if r := s.ctl("routing", "trace", "0258:ab5d:7c27:9b61:3b75:a4e3:7ce7:1bf9", "--json"); r.code != config.ExitFailure || !strings.Contains(r.out, `"label":"presence of 0258:`) {
		t.Errorf("a trace as JSON: %+v", r)
	}
	var snap view.Snapshot
	if err := json.Unmarshal([]byte(s.ctl("snapshot").out), &snap); err != nil || snap.Node.NodeID != s.ready.NodeID {
		t.Errorf("snapshot of %s: %v", snap.Node.NodeID, err)
	}
	if r := s.ctl("source", "ban", "203.0.113.7", "--dry-run", "--json"); !strings.Contains(r.out, "dry run") || r.code != 0 {
		t.Errorf("dry run: %+v", r)
	}
	var res control.Result
	r := s.ctl("source", "throttle", "203.0.113.7", "100", "--json", "--reason", "too loud", "--ttl", "1m")
	if err := json.Unmarshal([]byte(r.out), &res); err != nil || !res.OK || res.Undo == "" {
		t.Fatalf("%v: %+v", err, r)
	}
	if r := s.ctl("undo", res.Undo); r.code != 0 {
		t.Errorf("undo: %+v", r)
	}
	if r := s.ctl("audit"); !strings.Contains(r.out, "too loud") {
		t.Errorf("audit: %s", r.out)
	}
	if r := s.ctl("room", "close", "nobody"); r.code != config.ExitFailure || !strings.Contains(r.out, "not_found") {
		t.Errorf("refusal: %+v", r)
	}
	if r := s.ctl("room", "pin-tier", "nobody", "x", "--ttl", "-1s"); r.code != config.ExitUsage {
		t.Errorf("invalid: %+v", r)
	}
	path := filepath.Join(s.home, "b.tar.gz")
	if r := s.ctl("bundle", path); r.code != 0 {
		t.Fatalf("bundle: %+v", r)
	}
	if got, want := names(t, path), []string{"snapshot.json", "events.ndjson", "audit.json", "about.json", "goroutines.txt", "goroutines-by-role.txt", "heap.pprof", "flight.sbr", "made-by.txt"}; !slices.Equal(got, want) {
		t.Errorf("bundle holds %v", got)
	}
	if r := s.ctl("bundle", path); r.code != config.ExitCantCreate {
		t.Errorf("a bundle is overwritten: %+v", r)
	}
}

func names(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, h.Name)
	}
}

func TestTwoSignalsEndItNow(t *testing.T) {
	s := startServer(t, "serve", "--drain-timeout", "1h")
	s.sigs <- syscall.SIGTERM
	select {
	case s.sigs <- syscall.SIGINT:
		if code := <-s.code; code != config.ExitOK {
			t.Errorf("exit code %d: %s", code, s.errs)
		}
	case code := <-s.code: // nobody was connected: the drain was over already
		if code != config.ExitOK {
			t.Errorf("exit code %d: %s", code, s.errs)
		}
	}
}

func TestNoTerminalIsServe(t *testing.T) {
	s := startServer(t, "")
	if !strings.Contains(s.errs.String(), "running as serve") {
		t.Errorf("it did not say so: %s", s.errs)
	}
	s.sigs <- syscall.SIGTERM
	if code := <-s.code; code != config.ExitOK {
		t.Errorf("exit code %d", code)
	}
}
