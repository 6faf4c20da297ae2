package flight

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"
)

// Files by which a life of the node tells the next how it ended.
const (
	runningFile = "running"
	crashFile   = "crash.txt"
	crashShown  = 8 << 10
)

// Crash is what is known of a life that did not end by itself.
type Crash struct {
	Last  time.Time // the last sign of that life
	Stack string    // what the runtime wrote when it died; empty when it was killed
	Kept  string    // the file that holds it
}

// Headline is the first line of the runtime's last words.
func (c *Crash) Headline() string {
	if c.Stack == "" {
		return "it was killed, or the machine stopped"
	}
	line, _, _ := strings.Cut(c.Stack, "\n")
	return line
}

// Begin marks that a life has begun in dir and returns what is left of one
// before it that did not end well, nil when there is none.
func Begin(dir string) (*Crash, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("flight: %w", err)
	}
	path := filepath.Join(dir, runningFile)
	var crash *Crash
	if st, err := os.Lstat(path); err == nil {
		crash = &Crash{Last: st.ModTime().UTC()}
		if segments, _ := list(dir, segmentPrefix); len(segments) > 0 {
			if last := segments[len(segments)-1].mod.UTC(); last.After(crash.Last) {
				crash.Last = last
			}
		}
		crash.read(dir)
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600); err != nil {
		return crash, fmt.Errorf("flight: %w", err)
	}
	return crash, nil
}

// read takes over the runtime's last words and keeps them under a name of
// their own.
func (c *Crash) read(dir string) {
	f, err := os.Open(filepath.Join(dir, crashFile))
	if err != nil {
		return
	}
	b, err := io.ReadAll(io.LimitReader(f, crashShown))
	if errors.Join(err, f.Close()) != nil || len(bytes.TrimSpace(b)) == 0 {
		return
	}
	c.Stack = string(b)
	c.Kept = filepath.Join(dir, "crash-"+c.Last.Format(stamp)+".txt")
	if os.Rename(filepath.Join(dir, crashFile), c.Kept) != nil {
		c.Kept = filepath.Join(dir, crashFile)
	}
}

// End marks that the life in dir has ended by itself.
func End(dir string) error {
	if err := os.Remove(filepath.Join(dir, runningFile)); err != nil {
		return fmt.Errorf("flight: %w", err)
	}
	return nil
}

// CatchCrash makes the runtime write its last words to a file in dir as well.
// It is a setting of the whole process.
func CatchCrash(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, crashFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("flight: %w", err)
	}
	return errors.Join(debug.SetCrashOutput(f, debug.CrashOptions{}), f.Close()) // the runtime has a copy
}
