package tap

import (
	"errors"
	"io"
	"os"
)

// fileMax is the size at which a file makes way for a new one; one older is
// kept.
const fileMax = 8 << 20

// File is a log file of bounded size, made when it is first written to. One
// goroutine writes.
type File struct {
	path string
	max  int64
	f    *os.File
	size int64
}

var _ io.WriteCloser = (*File)(nil)

// NewFile is a file at path.
func NewFile(path string) *File { return &File{path: path, max: fileMax} }

// Write appends one line, to a new file if the present one is full. After an
// error the next Write tries again.
func (w *File) Write(line []byte) (int, error) {
	if w.f != nil && w.size+int64(len(line)) > w.max {
		err := w.Close()
		if err = errors.Join(err, os.Rename(w.path, w.path+".1")); err != nil {
			return 0, err
		}
	}
	if w.f == nil {
		f, err := os.OpenFile(w.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return 0, err
		}
		st, err := f.Stat()
		if err != nil {
			return 0, errors.Join(err, f.Close())
		}
		w.f, w.size = f, st.Size()
	}
	n, err := w.f.Write(line)
	w.size += int64(n)
	return n, err
}

// Close closes what is open; a later Write opens it again.
func (w *File) Close() error {
	if w.f == nil {
		return nil
	}
	err := w.f.Close()
	w.f = nil
	return err
}
