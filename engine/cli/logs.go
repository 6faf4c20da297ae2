package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"signalbox/engine/config"
	"signalbox/engine/state"
)

// newLogger makes the log as the settings ask for it: text on a terminal, JSON
// elsewhere.
func (a *app) newLogger(w io.Writer, cfg config.Config, level *slog.LevelVar) *slog.Logger {
	var lv slog.Level
	if err := lv.UnmarshalText([]byte(cfg.LogLevel)); err == nil { // Load has checked it
		level.Set(lv)
	}
	o := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "text" || (cfg.LogFormat == "auto" && terminal(w)) {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

const maxLogFile = 10 << 20

// logFile is the log beside a console, which has the terminal to itself: a file
// that begins anew at 10 MiB, the one before kept as signalbox.log.1.
type logFile struct {
	// Constant after openLogFile.
	path string

	mu   sync.Mutex // leaf; held across the write, as any log's is
	f    *os.File
	size int64
}

// openLogFile opens the log in the state directory, made if need be.
func openLogFile(dir string) (*logFile, error) {
	if err := state.EnsureDir(dir); err != nil {
		return nil, &config.ExitError{Code: config.ExitCantCreate, Err: err}
	}
	l := &logFile{path: filepath.Join(dir, "signalbox.log")}
	if err := l.open(); err != nil {
		return nil, &config.ExitError{Code: config.ExitCantCreate, Err: err}
	}
	return l, nil
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	l.f, l.size = f, st.Size()
	return nil
}

// Write appends one record.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+int64(len(b)) > maxLogFile {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := l.f.Write(b)
	l.size += int64(n)
	return n, err
}

func (l *logFile) rotate() error {
	if err := l.f.Close(); err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	return l.open()
}

// Close closes the file.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}
