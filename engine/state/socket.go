package state

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxSocketPath is what fits into sockaddr_un with its terminator.
const maxSocketPath = 107

const socketProbe = 500 * time.Millisecond

// ErrSocketInUse says that a living process answers on the socket.
var ErrSocketInUse = errors.New("another process is listening on it; is a node already running with this state directory?")

// ClearStaleSocket makes the way free for listening on a unix socket: it
// removes a socket nobody listens on any more, left by a process that was
// killed, creates the directory 0700 if missing, and refuses everything else:
// a socket in use (ErrSocketInUse), a file that is no socket (*FileError).
func ClearStaleSocket(path string) error {
	if len(path) > maxSocketPath {
		return &FileError{Path: path, Problem: fmt.Sprintf("is %d bytes long, a unix socket's path may have %d; choose a shorter one with --admin", len(path), maxSocketPath)}
	}
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return fmt.Errorf("socket directory: %w", err)
	}
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode()&fs.ModeSocket == 0 {
		return &FileError{Path: path, Problem: "exists and is not a socket; it was left alone"}
	}
	c, err := net.DialTimeout("unix", path, socketProbe)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("socket %s: %w", path, ErrSocketInUse), c.Close())
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("socket %s exists and cannot be probed: %w", path, err)
	}
	// Only what was probed is removed, not what has taken its place since.
	if now, err := os.Lstat(path); err != nil || !os.SameFile(st, now) {
		return errors.Join(fmt.Errorf("socket %s: %w", path, ErrSocketInUse), err)
	}
	return os.Remove(path)
}
