package shot

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// planted builds the program with a defect: the pane of the log panics when it
// is drawn. The line is put into a copy of the pane's source that stands in for
// it in this build alone, so no program that anybody else runs has it.
func planted(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs the program")
	}
	source, err := filepath.Abs("../pane/log.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	const draw = "func (p *Log) Draw(w, h int, st *style.Set) []string {\n"
	if strings.Count(string(text), draw) != 1 {
		t.Fatalf("%s has no %q", source, draw)
	}
	dir := t.TempDir()
	bad := filepath.Join(dir, "log.go")
	if err := os.WriteFile(bad, []byte(strings.Replace(string(text), draw, draw+"\tpanic(\"planted in a pane\")\n", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]map[string]string{"Replace": {source: bad}})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, b, 0o600); err != nil {
		t.Fatal(err)
	}
	bin, err := buildWith(overlay)
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// TestAPanicInAPaneEndsThatConsoleAlone: three consoles look at one node when a
// pane of one of them panics. It says so and ends; the others go on, and so
// does the node, which lets the unlucky one in again.
func TestAPanicInAPaneEndsThatConsoleAlone(t *testing.T) {
	bin := planted(t)
	op, line := newKey(t, "role=operator")
	s := serve(t, bin, "--ssh", "127.0.0.1:0", "--ssh-authorized-keys", keysFile(t, line))
	unlucky, other := visitOf(t, s.SSH, op), visitOf(t, s.SSH, op)
	attached := opened(t, Options{Cmd: []string{bin, "attach", s.Admin}})

	unlucky.types("6")
	unlucky.sees("the console failed, the node is not affected; connect again")
	if code := unlucky.exitOf(); code != 1 {
		t.Errorf("the session ends with %d", code)
	}
	s.lives(t)
	other.types("2")
	other.sees("media/0")
	onScreen(t, attached, "the node is not affected", "6")
	if text := strings.Join(strings.Fields(attached.Text()), ""); !strings.Contains(text, "plantedinapane") {
		t.Errorf("it does not say why:\n%s", text)
	}
	if err := attached.Press(t.Context(), "wait:10s"); err != nil {
		t.Fatal(err)
	}
	if ended, err := attached.Ended(), attached.End(); !ended || err != nil || attached.Code() < 1 {
		t.Errorf("the attached console: ended %v, code %d, %v", ended, attached.Code(), err)
	}
	s.lives(t)
	other.types("3")
	other.sees("rooms, worst first")
	again := visitOf(t, s.SSH, op)
	again.types("5/ended")
	again.sees("1 of ")
	again.types("\r\r")
	again.sees("planted in a pane") // the event tells why it ended
}

// TestAPanicBehindRun: the console of run fails, and the node in the same
// process goes on, as it says.
func TestAPanicBehindRun(t *testing.T) {
	bin := planted(t)
	dir := t.TempDir()
	admin := filepath.Join(dir, "a.sock")
	term := opened(t, Options{Cmd: []string{bin, "run", "--listen", "127.0.0.1:0", "--insecure-allow-loopback", "--state-dir", dir, "--admin", admin}})
	onScreen(t, term, "LIVE")
	onScreen(t, term, "the node goes on", "6")
	second := opened(t, Options{Cmd: []string{bin, "attach", admin}})
	onScreen(t, second, "LIVE")
	onScreen(t, second, "media/0", "2")
	if err := second.End(); err != nil {
		t.Error(err)
	}
	if term.Ended() {
		t.Fatalf("the node has gone with its console:\n%s", term.Text())
	}
	if err := syscall.Kill(term.Pid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := term.Press(t.Context(), "wait:12s"); err != nil {
		t.Fatal(err)
	}
	if err := term.End(); err != nil {
		t.Error(err)
	}
	if term.Code() != 0 {
		t.Errorf("ctrl-c ends the node with %d:\n%s", term.Code(), term.Text())
	}
}
