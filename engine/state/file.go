package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
)

// FileError says that what is at a path is not a file we read.
type FileError struct {
	Path     string
	Problem  string
	TooLarge bool // the only problem is its size
}

func (e *FileError) Error() string { return e.Path + ": " + e.Problem }

// ReadFile reads a regular file of at most limit bytes. It opens once and
// judges what it has opened, follows no symbolic link and does not wait for
// the writer of a FIFO. What is no such file is a *FileError.
func ReadFile(path string, limit int64) ([]byte, error) {
	b, _, err := readFile(path, limit)
	return b, err
}

func readFile(path string, limit int64) (b []byte, mode fs.FileMode, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, 0, &FileError{Path: path, Problem: "is a symbolic link"}
	}
	if errors.Is(err, syscall.ENXIO) {
		return nil, 0, &FileError{Path: path, Problem: "is a socket or device"}
	}
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !st.Mode().IsRegular() {
		return nil, 0, &FileError{Path: path, Problem: "is not a regular file but " + kindOf(st.Mode())}
	}
	// The size is checked on what was read: a file may grow after Stat.
	b, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, 0, err
	}
	if int64(len(b)) > limit {
		return nil, 0, &FileError{Path: path, Problem: fmt.Sprintf("is larger than %d bytes", limit), TooLarge: true}
	}
	return b, st.Mode(), nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case m&fs.ModeDevice != 0:
		return "a device"
	case m&fs.ModeSocket != 0:
		return "a socket"
	default:
		return "something else"
	}
}

// EnsureDir makes sure of the state directory: created 0700 with its parents
// if missing; if there, it must be a directory that only its owner may write
// to, for whoever can write to it can swap the identity.
func EnsureDir(path string) error {
	if err := os.MkdirAll(path, dirMode); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	st, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if !st.IsDir() {
		return &FileError{Path: path, Problem: "is not a directory"}
	}
	if st.Mode().Perm()&0o022 != 0 {
		return &FileError{Path: path, Problem: fmt.Sprintf("mode %04o lets others write to the state directory; run: chmod 700 %s", st.Mode().Perm(), path)}
	}
	return nil
}

// OpenToOthers says what is wrong with a state directory, and the remedy, whose
// files others may list: they are 0600 themselves, so it is no reason not to
// start. Empty: nothing is.
func OpenToOthers(path string) string {
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm()&0o077 == 0 {
		return ""
	}
	return fmt.Sprintf("state directory %s has mode %04o: others may see what is in it; run: chmod 700 %s", path, st.Mode().Perm(), path)
}

// WriteFile replaces the file at path by data, mode 0600. After a crash the
// file is entirely the old one or entirely the new one: the data, then the
// name, reach the disk before it returns. It waits for the disk, so it is for
// background goroutines only.
func WriteFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(fileMode))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), f.Cleanup())
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), f.Cleanup())
	}
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// AppendJSONLine appends v as one line of JSON to the file at path, which is
// created 0600 if missing, and waits until it is on disk. A line left
// unfinished by a crash is closed first, so it cannot swallow the new one.
func AppendJSONLine(path string, v any) (err error) {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("append to %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, fileMode)
	if err != nil {
		return fmt.Errorf("append: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("append: %w", err)
	}
	if !st.Mode().IsRegular() {
		return &FileError{Path: path, Problem: "is not a regular file"}
	}
	out := make([]byte, 0, len(line)+2)
	if size := st.Size(); size > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], size-1); err != nil {
			return fmt.Errorf("append to %s: %w", path, err)
		}
		if last[0] != '\n' {
			out = append(out, '\n')
		}
	}
	out = append(append(out, line...), '\n')
	// One write in append mode, so lines of two writers never mix.
	if _, err := f.Write(out); err != nil {
		return fmt.Errorf("append to %s: %w", path, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("append to %s: %w", path, err)
	}
	return nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // file systems that cannot sync a directory keep it in order themselves
	}
	return errors.Join(err, d.Close())
}
