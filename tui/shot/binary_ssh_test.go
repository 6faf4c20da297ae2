package shot

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	gossh "golang.org/x/crypto/ssh"

	"signalbox/engine/view"
)

// visit is a session over SSH with a terminal of its own.
type visit struct {
	t    *testing.T
	sess *gossh.Session
	in   io.Writer
	scr  *vt.SafeEmulator
	raw  *lockedBuffer // what was sent to the terminal

	mu sync.Mutex // leaf: who types, and the terminal's own answers
}

// Write types.
func (v *visit) Write(b []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.in.Write(b)
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

// keysFile lists who may come in.
func keysFile(t *testing.T, lines ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func sshDial(addr string, key gossh.Signer) (*gossh.Client, error) {
	return gossh.Dial("tcp", addr, &gossh.ClientConfig{
		User: "anybody", Auth: []gossh.AuthMethod{gossh.PublicKeys(key)}, Timeout: 10 * time.Second,
		HostKeyCallback: gossh.InsecureIgnoreHostKey(), //nolint:gosec // the test's own node
	})
}

// visitOf opens a session of 100 by 30.
func visitOf(t *testing.T, addr string, key gossh.Signer) *visit {
	t.Helper()
	c, err := sshDial(addr, key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the node may have closed it
	v := &visit{t: t, scr: vt.NewSafeEmulator(100, 30), raw: &lockedBuffer{}}
	if v.sess, err = c.NewSession(); err != nil {
		t.Fatal(err)
	}
	if v.in, err = v.sess.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	v.sess.Stdout = io.MultiWriter(v.scr, v.raw)
	answered := make(chan struct{})
	go func() { // the terminal's own answers
		defer close(answered)
		buf := make([]byte, 1024)
		for {
			n, err := v.scr.Read(buf)
			if err != nil {
				return
			}
			_, _ = v.Write(buf[:n]) // the session may be over
		}
	}()
	t.Cleanup(func() {
		if pipe, ok := v.scr.InputPipe().(io.Closer); ok {
			_ = pipe.Close() // a pipe's Close never fails
			<-answered
		}
	})
	if err := v.sess.RequestPty("xterm-256color", 30, 100, nil); err != nil {
		t.Fatal(err)
	}
	if err := v.sess.Shell(); err != nil {
		t.Fatal(err)
	}
	v.sees("LIVE")
	return v
}

// types sends keys.
func (v *visit) types(keys string) {
	v.t.Helper()
	if _, err := v.Write([]byte(keys)); err != nil {
		v.t.Fatal(err)
	}
}

// resized tells of a new size.
func (v *visit) resized(cols, rows int) {
	v.t.Helper()
	v.scr.Resize(cols, rows)
	if err := v.sess.WindowChange(rows, cols); err != nil {
		v.t.Fatal(err)
	}
}

// sees waits for a text on the screen.
func (v *visit) sees(text string) {
	v.t.Helper()
	v.comes(func(scr string) bool { return strings.Contains(scr, text) }, text)
}

func (v *visit) comes(right func(scr string) bool, what string) {
	v.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !right(textOf(v.scr)); <-tick.C {
		if time.Now().After(end) {
			v.t.Fatalf("%q never came:\n%s", what, textOf(v.scr))
		}
	}
}

// TestSSHOfTheBinary: an operator's key is let in and may act, a stranger's is
// refused.
func TestSSHOfTheBinary(t *testing.T) {
	bin := binary(t)
	op, opLine := newKey(t, "role=operator")
	stranger, _ := newKey(t, "")
	s := serve(t, bin, "--ssh", "127.0.0.1:0", "--ssh-authorized-keys", keysFile(t, opLine))
	if _, err := sshDial(s.SSH, stranger); err == nil {
		t.Error("a stranger was let in")
	}
	v := visitOf(t, s.SSH, op)
	v.types("2p")
	v.sees("nothing has been changed yet")
	v.types("y")
	v.sees("done: ")
	if a := acted(t, s); len(a) != 1 || a[0].Kind != "shard.pause" || !strings.HasPrefix(a[0].Author, "ssh:") {
		t.Errorf("the audit log has %d: %+v", len(a), a)
	}
}

// acted is what the node has on record of others than itself.
func acted(t *testing.T, s *served) []view.Audit {
	t.Helper()
	a, err := s.api(t).Audit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(a, func(r view.Audit) bool { return r.Author == "node" })
}

// TestAViewerCannotAct: over SSH a viewer tries every key that acts, in every
// pane, and every lever by the palette. The node is asked nothing, not even for
// a plan; what only looks works.
func TestAViewerCannotAct(t *testing.T) {
	bin := binary(t)
	viewer, line := newKey(t, "role=viewer")
	s := serve(t, bin, "--ssh", "127.0.0.1:0", "--ssh-authorized-keys", keysFile(t, line))
	v := visitOf(t, s.SSH, viewer)
	v.sees("viewer")
	for pane, acts := range map[string]string{"1": "NSVu", "2": "tbRprFcA", "3": "LTCoKmbt", "4": "tPfeEBUS", "6": "u", "7": "HKb", "8": "Rm"} {
		v.types(pane)
		for _, k := range acts {
			v.types(string(k))
			v.types("y")
		}
	}
	closed := func() {
		t.Helper()
		v.comes(func(scr string) bool { return !strings.Contains(scr, "esc closes") }, "the line is closed")
	}
	for _, lever := range []string{"shard.pause media/0", "shard.flush media/0", "source.ban 127.0.0.1", "room.close default", "peer.evict abc", "node.drain", "node.save", "node.log_level debug", "undo u-1"} {
		name, _, _ := strings.Cut(lever, " ")
		v.types("2:")
		v.sees("tab takes the marked one")
		v.types(lever + "\r")
		v.sees(name + " acts on the node, and viewers only look")
		v.types("\x1b")
		closed()
	}
	v.types(":drain --plan\r")
	v.sees("no command drain")
	v.types("\x1b")
	closed()
	v.types("2?")
	v.sees("the keys that change the node are absent")
	if raw := v.raw.String(); strings.Contains(raw, "nothing has been changed yet") {
		t.Error("a plan was shown to a viewer")
	}
	after, err := s.api(t).Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a := acted(t, s); len(a) > 0 || len(after.Undo) > 0 || after.Node.State != "ready" {
		t.Errorf("a viewer has acted: %+v, in force %+v, state %s", a, after.Undo, after.Node.State)
	}
	for i := range after.Shards {
		if after.Shards[i].State != "running" {
			t.Errorf("shard %s is %s", after.Shards[i].Key(), after.Shards[i].State)
		}
	}
}

// TestSSHResizeStorm: a visitor's window changes faster than frames are made,
// between the least and the most that there is; the last size counts.
func TestSSHResizeStorm(t *testing.T) {
	bin := binary(t)
	op, opLine := newKey(t, "role=operator")
	s := serve(t, bin, "--ssh", "127.0.0.1:0", "--ssh-authorized-keys", keysFile(t, opLine))
	v := visitOf(t, s.SSH, op)
	v.types("2")
	for i := range 150 {
		v.resized(40+i*73%461, 12+i*31%189)
	}
	for _, size := range [][2]int{{40, 12}, {500, 200}, {90, 28}} {
		v.resized(size[0], size[1])
		v.comes(func(scr string) bool { return whole(scr, size[0], size[1]) }, "a whole frame")
	}
	s.lives(t)
}

// whole reports whether a screen shows one frame of the console, of this size.
func whole(scr string, cols, rows int) bool {
	lines := strings.Split(strings.TrimRight(scr, "\n"), "\n")
	if len(lines) != rows || !strings.HasPrefix(lines[0], "signalbox") || !strings.HasSuffix(strings.TrimRight(lines[0], " "), "operator") {
		return false
	}
	foot := strings.TrimRight(lines[rows-1], " ")
	head := len([]rune(strings.TrimRight(lines[0], " ")))
	return head > cols-4 && head <= cols && strings.HasSuffix(foot, "? help  q quit") && len([]rune(foot)) > cols-4
}

// exitOf waits until a session ends and returns its status.
func (v *visit) exitOf() int {
	v.t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- v.sess.Wait() }()
	select {
	case err := <-ended:
		var exit *gossh.ExitError
		switch {
		case errors.As(err, &exit):
			return exit.ExitStatus()
		case err != nil:
			v.t.Fatal(err)
		}
		return 0
	case <-time.After(20 * time.Second):
		v.t.Fatalf("the session does not end:\n%s", textOf(v.scr))
		return -1
	}
}
