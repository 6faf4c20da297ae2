package shot

import (
	"context"
	"errors"
	"fmt"
	"image/png"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

// Script is one run of a program in a terminal.
type Script struct {
	Cmd        []string
	Env        []string // added to TERM and COLORTERM
	Cols, Rows int
	Keys       []string      // keys to press, in order; wait:DURATION waits
	Settle     time.Duration // how long the screen must be still at the end; default 300 ms
	Px         int           // font size; default 14
}

// names of keys that are not one character.
var names = map[string]string{
	"enter": "\r", "esc": "\x1b", "tab": "\t", "space": " ", "up": "\x1b[A", "down": "\x1b[B", "right": "\x1b[C", "left": "\x1b[D",
	"ctrl+c": "\x03",
}

// terminal is a running program and the emulator that shows it.
type terminal struct {
	em      *vt.SafeEmulator
	tty     *os.File
	cmd     *exec.Cmd
	written atomic.Int64 // bytes the program has written
}

// Take runs the script and writes a picture of the last screen. The program is
// interrupted afterwards.
func Take(ctx context.Context, w io.Writer, s Script) error {
	if s.Px == 0 {
		s.Px = 14
	}
	if s.Settle == 0 {
		s.Settle = 300 * time.Millisecond
	}
	t, err := open(ctx, s)
	if err != nil {
		return err
	}
	err = t.play(ctx, s)
	if err == nil {
		img, perr := paint(t.em, s.Cols, s.Rows, s.Px)
		if err = perr; err == nil {
			err = png.Encode(w, img)
		}
	}
	return errors.Join(err, t.close())
}

func open(ctx context.Context, s Script) (*terminal, error) {
	cmd := exec.CommandContext(ctx, s.Cmd[0], s.Cmd[1:]...)
	cmd.Env = append(cleanEnv(os.Environ()), "TERM=xterm-256color", "COLORTERM=truecolor")
	cmd.Env = append(cmd.Env, s.Env...)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: uint16(s.Cols), Rows: uint16(s.Rows)})
	if err != nil {
		return nil, fmt.Errorf("shot: start %s: %w", s.Cmd[0], err)
	}
	t := &terminal{em: vt.NewSafeEmulator(s.Cols, s.Rows), tty: tty, cmd: cmd}
	go func() { // what the program writes
		buf := make([]byte, 32<<10)
		for {
			n, err := tty.Read(buf)
			t.written.Add(int64(n))
			if _, werr := t.em.Write(buf[:n]); err != nil || werr != nil {
				return // the program has ended
			}
		}
	}()
	go func() { _, _ = io.Copy(tty, t.em) }() // what the terminal answers
	return t, nil
}

// cleanEnv drops what would make the program think it is inside another
// terminal.
func cleanEnv(env []string) []string {
	out := env[:0:0]
	for _, e := range env {
		k, _, _ := strings.Cut(e, "=")
		switch k {
		case "TMUX", "TERM", "COLORTERM", "NO_COLOR", "SSH_TTY":
		default:
			out = append(out, e)
		}
	}
	return out
}

func (t *terminal) play(ctx context.Context, s Script) error {
	for _, k := range s.Keys {
		if d, ok := strings.CutPrefix(k, "wait:"); ok {
			wait, err := time.ParseDuration(d)
			if err != nil {
				return fmt.Errorf("shot: key %q: %w", k, err)
			}
			if err := pause(ctx, wait); err != nil {
				return err
			}
			continue
		}
		if seq, ok := names[k]; ok {
			k = seq
		}
		if _, err := io.WriteString(t.tty, k); err != nil {
			return fmt.Errorf("shot: press: %w", err)
		}
		if err := pause(ctx, 150*time.Millisecond); err != nil {
			return err
		}
	}
	return t.settle(ctx, s.Settle)
}

// settle waits until the program writes nothing for d, five seconds at most: a
// live screen is never quite still.
func (t *terminal) settle(ctx context.Context, d time.Duration) error {
	last, still := t.written.Load(), time.Duration(0)
	for range 100 {
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
		if n := t.written.Load(); n != last {
			last, still = n, 0
		} else if still += 50 * time.Millisecond; still >= d {
			return nil
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// close interrupts the program and waits for it.
func (t *terminal) close() error {
	err := t.cmd.Process.Signal(syscall.SIGINT)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	stop := time.AfterFunc(5*time.Second, func() { _ = t.cmd.Process.Kill() })
	defer stop.Stop()
	var exit *exec.ExitError
	if werr := t.cmd.Wait(); werr != nil && !errors.As(werr, &exit) {
		err = errors.Join(err, werr)
	}
	return errors.Join(err, t.tty.Close(), t.em.Close())
}
