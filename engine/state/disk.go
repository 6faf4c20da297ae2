package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Disk is what replacing a file and keeping its predecessor needs of a file
// system; a test puts a broken one in its place.
type Disk interface {
	// Read is ReadFile.
	Read(path string, limit int64) ([]byte, error)
	// Create makes path anew, mode 0600, with data that have reached the disk.
	// On error nothing of it is left.
	Create(path string, data []byte) error
	// Link gives the file at path another name, in place of what had it.
	Link(path, name string) error
	// Rename moves a file in place of another, at once.
	Rename(from, to string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
}

// Names beside a file that Replace keeps.
const (
	// PreviousSuffix names the contents before the last Replace.
	PreviousSuffix = ".prev"
	// unfinishedSuffix names contents that are being written. The name is
	// fixed, so that a process killed again and again leaves one, not many.
	unfinishedSuffix = ".new"
)

// Replace puts data at path as WriteFile does. With keep, what was there stays
// as path.prev. After an error, or a crash at any moment, path is entirely the
// old file or entirely the new one.
func Replace(d Disk, path string, data []byte, keep bool) error {
	fail := func(err error) error { return fmt.Errorf("write %s: %w", path, err) }
	if err := d.Create(path+unfinishedSuffix, data); err != nil {
		return fail(err)
	}
	if keep {
		if err := d.Link(path, path+PreviousSuffix); err != nil && !noLinks(err) {
			return fail(err)
		}
	}
	if err := d.Rename(path+unfinishedSuffix, path); err != nil {
		return fail(err)
	}
	if err := d.SyncDir(filepath.Dir(path)); err != nil {
		return fail(err)
	}
	return nil
}

// noLinks tells a file system without hard links, or nothing to link to, from
// one in trouble: the former is no reason not to save.
func noLinks(err error) bool {
	for _, e := range []error{fs.ErrNotExist, syscall.EPERM, syscall.ENOTSUP, syscall.ENOSYS, syscall.EMLINK} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// OS is the operating system's Disk.
type OS struct{}

// Read implements Disk.
func (OS) Read(path string, limit int64) ([]byte, error) { return ReadFile(path, limit) }

// Create implements Disk. What a crash has left at path is removed first, and
// never written through: it might be a link.
func (OS) Create(path string, data []byte) (err error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// Link implements Disk.
func (OS) Link(path, name string) error {
	// Between the two steps the file at path is whole, so nothing is lost.
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Link(path, name)
}

// Rename implements Disk.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// SyncDir implements Disk.
func (OS) SyncDir(dir string) error { return syncDir(dir) }
