package cli

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// asProgram names the variable by which the test binary is the program.
const asProgram = "TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(Execute(context.Background(), os.Args[1:], IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Environ()}))
	}
	os.Exit(m.Run())
}

// TestTerminalIsClosed: run, in a process of its own on a terminal that is its
// controlling one, takes HUP for reload while the terminal is there, and ends as
// after TERM when it is closed.
func TestTerminalIsClosed(t *testing.T) {
	master, tty := openTerminal(t, 40, 120)
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "run", "--listen", "127.0.0.1:0", "--insecure-allow-loopback")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.Env = []string{"HOME=" + home, "TERM=xterm-256color", asProgram + "=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = tty.Close() // the process has it
	code := make(chan int, 1)
	go func() {
		_ = cmd.Wait() // says what the code says
		code <- cmd.ProcessState.ExitCode()
	}()
	var screen lockedBuffer
	shown := make(chan struct{})
	go func() { _, _ = io.Copy(&screen, master); close(shown) }()
	logged := func(what string) func() bool {
		return func() bool {
			b, err := os.ReadFile(filepath.Join(home, ".local/state/signalbox/signalbox.log"))
			return err == nil && strings.Contains(string(b), what)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("on the screen: %q", screen.String())
		}
	})
	until(t, "the node is up", logged("listening on"))
	until(t, "the console is drawn", func() bool { return strings.Contains(screen.String(), "signalbox") })
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(t, "HUP reloads", logged("the configuration was read again"))
	if r := execute(t, home, "ctl", "status"); r.code != 0 || logged("draining")() {
		t.Errorf("HUP on an open terminal: %+v", r)
	}
	if err := master.Close(); err != nil {
		t.Fatal(err)
	}
	<-shown
	until(t, "the node ends", func() bool { return len(code) > 0 })
	if c := <-code; c != 0 {
		t.Errorf("exit code %d", c)
	}
	if !logged("draining")() || !logged(terminalGone)() {
		b, err := os.ReadFile(filepath.Join(home, ".local/state/signalbox/signalbox.log"))
		t.Errorf("it ended without saying that it drains: %v %s", err, b)
	}
}
