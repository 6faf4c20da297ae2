package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// brokenDisk fails at one operation, having done half of it or all.
type brokenDisk struct {
	OS
	at   string // the operation that fails
	half bool   // it has been carried out all the same
	err  error
}

func (b *brokenDisk) broken(op string, do func() error) error {
	if b.at != op {
		return do()
	}
	if b.half {
		if err := do(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: %w", op, b.err)
}

func (b *brokenDisk) Create(path string, data []byte) error {
	return b.broken("create", func() error { return b.OS.Create(path, data) })
}

func (b *brokenDisk) Link(path, name string) error {
	return b.broken("link", func() error { return b.OS.Link(path, name) })
}

func (b *brokenDisk) Rename(from, to string) error {
	return b.broken("rename", func() error { return b.OS.Rename(from, to) })
}

func (b *brokenDisk) SyncDir(dir string) error {
	return b.broken("sync", func() error { return b.OS.SyncDir(dir) })
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := ReadFile(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reliability.md T19: whatever fails, the file is entirely the old one or
// entirely the new one, it is said, and the next save works.
func TestReplaceOnABrokenDisk(t *testing.T) {
	for _, err := range []error{syscall.ENOSPC, syscall.EIO, syscall.EROFS, syscall.EDQUOT} {
		for _, op := range []string{"create", "link", "rename", "sync"} {
			for _, half := range []bool{false, true} {
				path := filepath.Join(t.TempDir(), "routing.json")
				for _, s := range []string{"oldest", "old"} {
					if err := Replace(OS{}, path, []byte(s), true); err != nil {
						t.Fatal(err)
					}
				}
				got := Replace(&brokenDisk{at: op, half: half, err: err}, path, []byte("new"), true)
				if !errors.Is(got, err) {
					t.Errorf("%s %v: the error is %v", op, half, got)
				}
				want := "old"
				if op == "sync" || op == "rename" && half {
					want = "new"
				}
				if b := mustRead(t, path); string(b) != want {
					t.Errorf("%v in %s: %q, want %q", err, op, b, want)
				}
				if err := Replace(OS{}, path, []byte("newer"), true); err != nil {
					t.Errorf("after %s: %v", op, err)
				}
				if b, prev := mustRead(t, path), mustRead(t, path+PreviousSuffix); string(b) != "newer" || string(prev) != want {
					t.Errorf("after %s: %q and %q", op, b, prev)
				}
				if ents, err := os.ReadDir(filepath.Dir(path)); err != nil || len(ents) != 2 {
					t.Errorf("left behind: %v, %v", ents, err)
				}
			}
		}
	}
}

func TestReplaceWithoutHardLinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, s := range []string{"old", "new"} {
		if err := Replace(&brokenDisk{at: "link", err: syscall.EPERM}, path, []byte(s), true); err != nil {
			t.Fatal(err)
		}
	}
	if b := mustRead(t, path); string(b) != "new" {
		t.Errorf("%q", b)
	}
}

// What a crash leaves beside the file is in nobody's way, and not followed.
func TestReplaceOverLeftovers(t *testing.T) {
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "f"), filepath.Join(dir, "victim")
	put("precious", 0o600)(t, victim)
	for _, suffix := range []string{unfinishedSuffix, PreviousSuffix, ""} {
		if err := os.Symlink(victim, path+suffix); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []string{"old", "new"} {
		if err := Replace(OS{}, path, []byte(s), s == "new"); err != nil {
			t.Fatal(err)
		}
	}
	if string(mustRead(t, path)) != "new" || string(mustRead(t, path+PreviousSuffix)) != "old" || string(mustRead(t, victim)) != "precious" {
		t.Error("wrong files")
	}
}
