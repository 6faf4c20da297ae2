package state

import (
	"bytes"
	"errors"
	"path/filepath"
	"syscall"
	"testing"
)

// A file system that is really full.
func TestReplaceOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("cannot mount a small tmpfs here (needs root and the right to mount): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "routing.json")
	old := bytes.Repeat([]byte("old "), 2<<10)
	if err := Replace(OS{}, path, old, true); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := Replace(OS{}, path, make([]byte, 128<<10), true); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("the disk is not full: %v", err)
		}
		if !bytes.Equal(mustRead(t, path), old) {
			t.Fatal("the old file has changed")
		}
	}
	if err := Replace(OS{}, path, []byte("new"), true); err != nil {
		t.Fatalf("the failed saves have left no room: %v", err)
	}
	if string(mustRead(t, path)) != "new" || !bytes.Equal(mustRead(t, path+PreviousSuffix), old) {
		t.Error("wrong files")
	}
}
