package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"signalbox/engine/config"
)

// openTerminal makes a pseudo terminal: what is typed on and shown by master
// is what a program has on tty.
func openTerminal(t *testing.T, rows, cols uint16) (master, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	}
	if err == nil {
		tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Skip(err)
	}
	return master, tty
}

// TestRunInATerminal starts the node with its console in a pseudo terminal and
// leaves the console.
func TestRunInATerminal(t *testing.T) {
	master, tty := openTerminal(t, 40, 120)
	home := t.TempDir()
	code := make(chan int, 1)
	go func() {
		code <- Execute(t.Context(), []string{"run", "--listen", "127.0.0.1:0", "--insecure-allow-loopback"}, IO{
			In: tty, Out: tty, Err: tty, Env: []string{"HOME=" + home, "TERM=xterm-256color"}, Signals: make(chan os.Signal),
		})
		_ = tty.Close()
	}()
	var screen lockedBuffer
	go func() { _, _ = io.Copy(&screen, master) }()
	until(t, "the console is drawn", func() bool { return strings.Contains(screen.String(), "signalbox") })
	if r := execute(t, home, "ctl", "status"); r.code != 0 {
		t.Errorf("the node behind the console: %+v", r)
	}
	if _, err := master.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	if c := <-code; c != config.ExitOK {
		t.Errorf("exit code %d: %s", c, screen.String())
	}
	until(t, "the drain is told", func() bool { return strings.Contains(screen.String(), "draining") })
	b, err := os.ReadFile(filepath.Join(home, ".local/state/signalbox/signalbox.log"))
	if err != nil || !bytes.Contains(b, []byte("listening on")) {
		t.Errorf("log %q, %v", b, err)
	}
}
