package shot

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	gossh "golang.org/x/crypto/ssh"

	"signalbox/engine/bench"
	"signalbox/engine/quicnet"
)

// build makes the program once for all tests here.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "signalbox-test-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "signalbox")
	cmd := exec.Command("go", "build", "-o", bin, "signalbox")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(filepath.Dir(built)) // a temporary directory
	}
	os.Exit(code)
}

var built string // where, once it is

func binary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs the program")
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	built = bin
	return bin
}

// served is a node that runs as its own process.
type served struct {
	Listen, Admin, SSH string
	cmd                *exec.Cmd
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

// hostile is a room's name with everything that breaks screens: sequences,
// bidirectional overrides, wide, combining and invisible characters.
const hostile = "\x1b]0;owned\x07\x1b[2J\u202eevil\u2066日本語e\u0301\u0301\u200b\u200d\ufeff👩‍👩‍👧"

// TestAttachInAPty attaches to a node with a hostile room, and resizes the
// terminal faster than a console draws.
func TestAttachInAPty(t *testing.T) {
	bin := binary(t)
	s := serve(t, bin)
	cl, err := quicnet.NewClient(quicnet.ClientConfig{LocalAddr: netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	caller, err := bench.Join(t.Context(), cl, netip.MustParseAddrPort(s.Listen), "lobby", hostile)
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close()
	var raw lockedBuffer
	term := opened(t, Options{Cmd: []string{bin, "attach", s.Admin}, Raw: &raw})
	onScreen(t, term, "LIVE")
	onScreen(t, term, "evil", "3")
	onScreen(t, term, "room lobby", "enter")
	for i := range 120 {
		if err := term.Resize(20+i*7%300, 5+i*3%80); err != nil {
			t.Fatal(err)
		}
	}
	if err := term.Resize(90, 28); err != nil {
		t.Fatal(err)
	}
	comesTo(t, term, func(text string) bool {
		lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
		return strings.Contains(text, "room lobby") && len(lines) == 28 && strings.Contains(lines[27], "? help") && strings.Contains(lines[27], "q quit")
	})
	for _, bad := range []string{"\x1b]0;owned", "\x1b[2J\u202e", "\u202e", "\u2066", "\u200b", "\ufeff"} {
		if strings.Contains(raw.String(), bad) {
			t.Errorf("%q has reached the terminal", bad)
		}
	}
	if err := term.Press(t.Context(), "q"); err != nil {
		t.Fatal(err)
	}
	if err := term.End(); err != nil {
		t.Error(err)
	}
	if err := s.cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the node has gone with its console: %v", err)
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

func newKey(t *testing.T, options string) (gossh.Signer, string) {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := gossh.NewSignerFromKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return s, options + " " + strings.TrimSpace(string(gossh.MarshalAuthorizedKey(s.PublicKey())))
}

// TestSSHOfTheBinary: an operator's key is let in and may act, a viewer's has
// no keys that act, a stranger's is refused.
func TestSSHOfTheBinary(t *testing.T) {
	bin := binary(t)
	op, opLine := newKey(t, "role=operator")
	viewer, viewerLine := newKey(t, "role=viewer")
	stranger, _ := newKey(t, "")
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte(opLine+"\n"+viewerLine+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, bin, "--ssh", "127.0.0.1:0", "--ssh-authorized-keys", keys)
	if _, err := sshDial(s.SSH, stranger); err == nil {
		t.Error("a stranger was let in")
	}
	look := func(key gossh.Signer, typed, want, never string) {
		t.Helper()
		c, err := sshDial(s.SSH, key)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		sess, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		scr := vt.NewSafeEmulator(100, 30)
		in, err := sess.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		sess.Stdout = scr
		replies := make(chan struct{})
		go func() { // the terminal's own answers
			defer close(replies)
			buf := make([]byte, 1024)
			for {
				n, err := scr.Read(buf)
				if err != nil {
					return
				}
				_, _ = in.Write(buf[:n]) // the session may be over
			}
		}()
		if err := sess.RequestPty("xterm-256color", 30, 100, nil); err != nil {
			t.Fatal(err)
		}
		if err := sess.Shell(); err != nil {
			t.Fatal(err)
		}
		waitText(t, scr, "LIVE")
		if _, err := in.Write([]byte(typed)); err != nil {
			t.Fatal(err)
		}
		waitText(t, scr, want)
		if never != "" && strings.Contains(scr.String(), never) {
			t.Errorf("%q is on screen:\n%s", never, scr.String())
		}
	}
	look(op, "2p", "nothing has been changed yet", "")
	look(viewer, "2pRF?", "the keys that change the node are absent", "nothing has been changed yet")
}

func sshDial(addr string, key gossh.Signer) (*gossh.Client, error) {
	return gossh.Dial("tcp", addr, &gossh.ClientConfig{
		User: "anybody", Auth: []gossh.AuthMethod{gossh.PublicKeys(key)}, Timeout: 10 * time.Second,
		HostKeyCallback: gossh.InsecureIgnoreHostKey(), //nolint:gosec // the test's own node
	})
}

func waitText(t *testing.T, scr *vt.SafeEmulator, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(scr.String(), text) {
		select {
		case <-ctx.Done():
			t.Fatalf("%q never came:\n%s", text, scr.String())
		case <-tick.C:
		}
	}
}
