package shot

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"signalbox/engine/attach"
)

// build makes the program once for all tests here.
var build = sync.OnceValues(func() (string, error) { return buildWith("") })

// buildWith makes the program, in a directory of its own; overlay, if any, is a
// file of sources that stand in for others.
func buildWith(overlay string) (string, error) {
	dir, err := os.MkdirTemp("", "signalbox-test-")
	if err != nil {
		return "", err
	}
	builtIn = append(builtIn, dir)
	bin := filepath.Join(dir, "signalbox")
	cmd := exec.Command("go", "build", "-overlay", overlay, "-o", bin, "signalbox")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, dir := range builtIn {
		_ = os.RemoveAll(dir) // temporary
	}
	os.Exit(code)
}

var builtIn []string // the directories of programs

func binary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs the program")
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// served is a node that runs as its own process.
type served struct {
	Listen, Admin, SSH, WS string
	cmd                    *exec.Cmd
}

// lives fails the test if the node has ended.
func (s *served) lives(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Fatalf("the node has gone: %v", err)
	}
	if _, err := s.api(t).Snapshot(t.Context()); err != nil {
		t.Fatalf("the node does not answer: %v", err)
	}
}

func (s *served) api(t *testing.T) *attach.API {
	t.Helper()
	a := attach.NewAPI(s.Admin)
	t.Cleanup(a.Close)
	return a
}

func serve(t *testing.T, bin string, args ...string) *served {
	t.Helper()
	cmd := exec.Command(bin, append([]string{"serve", "--listen", "127.0.0.1:0", "--insecure-allow-loopback", "--state-dir", t.TempDir()}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("no ready line: %v", err)
	}
	s := &served{cmd: cmd}
	if err := json.Unmarshal(line, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// onScreen presses keys and waits for a text.
func onScreen(t *testing.T, term *Terminal, text string, keys ...string) {
	t.Helper()
	if err := term.Press(t.Context(), append(keys, "until:"+text)...); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(term.Text(), text) {
		t.Fatalf("%q is not on screen after %v:\n%s", text, keys, term.Text())
	}
}

// comesTo waits for a screen that is as it should be, all of it at once: while
// frames of several sizes are under way a part of it says nothing.
func comesTo(t *testing.T, term *Terminal, right func(text string) bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !right(term.Text()); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("the screen does not come to what it should be:\n%s", term.Text())
		}
	}
}

func opened(t *testing.T, o Options) *Terminal {
	t.Helper()
	if o.Cols == 0 {
		o.Cols, o.Rows = 100, 30
	}
	o.Patience = 20 * time.Second
	o.Settle = 60 * time.Millisecond
	term, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return term
}

// TestRunInAPty starts the node with its console, looks at every pane, asks for
// a plan, cancels it, and leaves.
func TestRunInAPty(t *testing.T) {
	bin := binary(t)
	term := opened(t, Options{Cmd: []string{bin, "run", "--listen", "127.0.0.1:0", "--insecure-allow-loopback", "--state-dir", t.TempDir()}})
	defer func() {
		if err := term.End(); err != nil {
			t.Error(err)
		}
	}()
	onScreen(t, term, "LIVE")
	for key, text := range map[string]string{
		"2": "media/0", "3": "rooms, worst first", "4": "buckets", "5": "events, newest first", "6": "in force", "7": "signalling", "8": "links", "d": "below us",
	} {
		onScreen(t, term, text, key)
		if err := term.Press(t.Context(), "esc"); err != nil {
			t.Fatal(err)
		}
	}
	onScreen(t, term, "nothing has been changed yet", "2", "p")
	onScreen(t, term, "nothing was changed", "esc")
	if err := term.Press(t.Context(), "q", "wait:10s"); err != nil {
		t.Fatal(err)
	}
	if !term.Ended() {
		t.Errorf("q does not end it:\n%s", term.Text())
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
