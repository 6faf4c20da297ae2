package shot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

// Options say what to run and what to do to it.
type Options struct {
	Cmd        []string      // program and arguments
	Env        []string      // added to this process's own, later ones win
	Cols, Rows int           // of the terminal
	Keys       []string      // pressed in turn; see Capture
	Settle     time.Duration // the screen counts as drawn when it has not changed for this long; 0 is 150 ms
	Patience   time.Duration // a screen that never rests is taken as it is after this long; 0 is 5 s
	Light      bool          // the terminal has a light ground, and says so
	Raw        io.Writer     // given what the program writes, as it is; nil: nobody
}

const (
	escape          = 300 * time.Millisecond
	defaultSettle   = 150 * time.Millisecond
	defaultPatience = 5 * time.Second
	grace           = 10 * time.Second // for the program to end after TERM
)

// named are the keys that have a name, as an xterm sends them.
var named = map[string]string{
	"enter": "\r", "esc": "\x1b", "tab": "\t", "shift+tab": "\x1b[Z", "space": " ", "backspace": "\x7f",
	"up": "\x1b[A", "down": "\x1b[B", "right": "\x1b[C", "left": "\x1b[D",
	"home": "\x1b[H", "end": "\x1b[F", "pgup": "\x1b[5~", "pgdown": "\x1b[6~",
}

// keyBytes is what the terminal sends for a key: a name, ctrl+letter, or the
// text itself.
func keyBytes(key string) string {
	if s, ok := named[key]; ok {
		return s
	}
	if c, ok := strings.CutPrefix(key, "ctrl+"); ok && len(c) == 1 {
		return string(rune(c[0] & 0x1f))
	}
	return key
}

// Capture runs a program in a pseudo-terminal, presses o.Keys and returns the
// screen it then shows: lines separated by newlines, styled by SGR sequences.
// The terminal answers the program's questions (cursor position, modes,
// colours) as a real one does. After every key it waits until the screen has
// settled. A key is a name (enter, esc, down, ctrl+d), "wait:300ms",
// "until:TEXT" (the screen shows it, or Patience is over), or literal text. The program is ended by TERM, and killed if that is not enough.
func Capture(ctx context.Context, o Options) (frame string, err error) {
	t, err := Start(ctx, o)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, t.End()) }()
	if err := t.Press(ctx, o.Keys...); err != nil {
		return "", err
	}
	return t.Screen(), nil
}

// Terminal is a running program and the screen it draws on.
type Terminal struct {
	// Constant after Start.
	opt    Options
	cmd    *exec.Cmd
	tty    *os.File
	screen *vt.SafeEmulator // locks itself
	ended  chan struct{}    // closed when the program has closed its side
	loops  sync.WaitGroup

	mu sync.Mutex // leaf
	// Guarded by mu.
	changed time.Time // when the screen, or a key, last changed it
	drawn   bool      // something was drawn at all
}

// Start runs a program in a pseudo-terminal and waits until it has drawn
// something. o.Keys are not pressed.
func Start(ctx context.Context, o Options) (*Terminal, error) {
	if err := checkSize(o.Cols, o.Rows); err != nil {
		return nil, err
	}
	if len(o.Cmd) == 0 {
		return nil, errors.New("shot: no program to run")
	}
	if o.Settle == 0 {
		o.Settle = defaultSettle
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	t, err := startTerminal(o)
	if err != nil {
		return nil, err
	}
	if err := t.settle(ctx, o); err != nil {
		return nil, errors.Join(err, t.End())
	}
	return t, nil
}

// Press presses keys in turn; see Capture.
func (t *Terminal) Press(ctx context.Context, keys ...string) error {
	for _, k := range keys {
		if err := t.press(ctx, k, t.opt); err != nil {
			return err
		}
	}
	return nil
}

// Screen is what the screen shows, styled; Text the same without styles.
func (t *Terminal) Screen() string { return t.screen.Render() }

// Text is what the screen shows, without styles.
func (t *Terminal) Text() string { return textOf(t.screen) }

// textOf is a screen without styles. The emulator's own String does not lock.
func textOf(screen *vt.SafeEmulator) string { return uv.TrimSpace(ansi.Strip(screen.Render())) }

// Pid is the program's process id.
func (t *Terminal) Pid() int { return t.cmd.Process.Pid }

// Ended tells whether the program has closed its side.
func (t *Terminal) Ended() bool { return t.hasEnded() }

// Resize changes the terminal's size, of which the program is told.
func (t *Terminal) Resize(cols, rows int) error {
	if err := checkSize(cols, rows); err != nil {
		return err
	}
	t.touch(false)
	t.screen.Resize(cols, rows)
	if err := pty.Setsize(t.tty, &pty.Winsize{Rows: uint16(rows), Cols: uint16(cols)}); err != nil {
		return fmt.Errorf("shot: resize: %w", err)
	}
	return nil
}

func startTerminal(o Options) (*Terminal, error) {
	cmd := exec.Command(o.Cmd[0], o.Cmd[1:]...)
	cmd.Env = append(environment(os.Environ()), o.Env...)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: uint16(o.Rows), Cols: uint16(o.Cols)})
	if err != nil {
		return nil, fmt.Errorf("shot: %w", err)
	}
	t := &Terminal{opt: o, cmd: cmd, tty: tty, screen: vt.NewSafeEmulator(o.Cols, o.Rows), ended: make(chan struct{}), changed: time.Now()}
	on := sheetOf(o.Light)
	t.screen.SetDefaultForegroundColor(on.ink)
	t.screen.SetDefaultBackgroundColor(on.ground)
	t.loops.Go(t.read)
	t.loops.Go(t.answer)
	return t, nil
}

// environment is env with the terminal described as what it is: a true-colour
// xterm, whatever this process itself runs in.
func environment(env []string) []string {
	own := []string{"TERM", "COLORTERM", "NO_COLOR", "CLICOLOR_FORCE", "TMUX", "STY", "TERM_PROGRAM", "SSH_TTY", "SSH_CONNECTION"}
	env = slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		k, _, _ := strings.Cut(kv, "=")
		return slices.Contains(own, k)
	})
	return append(env, "TERM=xterm-256color", "COLORTERM=truecolor")
}

// read puts on the screen what the program writes.
func (t *Terminal) read() {
	defer close(t.ended)
	buf := make([]byte, 32<<10)
	for {
		n, err := t.tty.Read(buf)
		if n > 0 {
			if t.opt.Raw != nil {
				_, _ = t.opt.Raw.Write(buf[:n]) // a listener; the screen goes on without it
			}
			if _, err := t.screen.Write(buf[:n]); err != nil {
				return
			}
			t.touch(true)
		}
		if err != nil {
			return // EIO is how a pseudo-terminal says that the program has gone
		}
	}
}

// answer gives the program the terminal's replies. It goes on reading when the
// program has gone: the screen waits for each reply to be taken.
func (t *Terminal) answer() {
	buf := make([]byte, 4<<10)
	gone := false
	for {
		n, err := t.screen.Read(buf)
		if n > 0 && !gone {
			_, werr := t.tty.Write(buf[:n])
			gone = werr != nil
		}
		if err != nil {
			return
		}
	}
}

func (t *Terminal) touch(drawn bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed = time.Now()
	t.drawn = t.drawn || drawn
}

// quiet is how long nothing has changed, and whether there is a picture yet.
func (t *Terminal) quiet() (time.Duration, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Since(t.changed), t.drawn
}

// press presses one key and waits for what it does to the screen.
func (t *Terminal) press(ctx context.Context, key string, o Options) error {
	if s, ok := strings.CutPrefix(key, "wait:"); ok {
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("shot: key %q: %w", key, err)
		}
		if err := t.pause(ctx, d); err != nil {
			return err
		}
		return t.settle(ctx, o)
	}
	if text, ok := strings.CutPrefix(key, "until:"); ok {
		return t.until(ctx, text, o)
	}
	t.touch(false)
	if _, err := io.WriteString(t.tty, keyBytes(key)); err != nil {
		return fmt.Errorf("shot: key %q: %w", key, err)
	}
	if key == "esc" { // what follows at once would be read as one key with it
		if err := t.pause(ctx, escape); err != nil {
			return err
		}
	}
	return t.settle(ctx, o)
}

// settle waits until the screen has rested for o.Settle, until the program has
// ended, or until patience does.
func (t *Terminal) settle(ctx context.Context, o Options) error {
	began := time.Now()
	for {
		rest, drawn := t.quiet()
		left := o.Patience - time.Since(began)
		if drawn && rest >= o.Settle || left <= 0 || t.hasEnded() {
			return nil
		}
		if err := t.pause(ctx, max(time.Millisecond, min(left, o.Settle-rest, 50*time.Millisecond))); err != nil {
			return err
		}
	}
}

// until waits for a text, as long as patience lasts.
func (t *Terminal) until(ctx context.Context, text string, o Options) error {
	for began := time.Now(); !strings.Contains(t.Text(), text) && time.Since(began) < o.Patience && !t.hasEnded(); {
		if err := t.pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return t.settle(ctx, o)
}

func (t *Terminal) hasEnded() bool {
	select {
	case <-t.ended:
		return true
	default:
		return false
	}
}

// pause waits for d, less if the program ends.
func (t *Terminal) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.ended:
	case <-ctx.Done():
		return fmt.Errorf("shot: %w", ctx.Err())
	}
	return nil
}

// Code is the program's exit code once End has returned, -1 if a signal ended it.
func (t *Terminal) Code() int { return t.cmd.ProcessState.ExitCode() }

// End ends the program and the loops. That the program was ended by a signal
// is no error.
func (t *Terminal) End() error {
	var errs []error
	if err := t.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		errs = append(errs, err)
	}
	kill := time.AfterFunc(grace, func() { _ = t.cmd.Process.Kill() }) // it has gone if this fails
	var exit *exec.ExitError
	if err := t.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		errs = append(errs, err)
	}
	kill.Stop()
	errs = append(errs, t.tty.Close())
	// The emulator's own Close races with its Read; closing its pipe does not.
	if pipe, ok := t.screen.InputPipe().(io.Closer); ok {
		errs = append(errs, pipe.Close())
	}
	t.loops.Wait()
	return errors.Join(errs...)
}
