package state

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestWriteFileReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "routing.json")
	put("old", 0o644)(t, path)
	for _, want := range []string{"new", "newer"} {
		if err := WriteFile(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		got, err := ReadFile(path, 100)
		if err != nil || string(got) != want {
			t.Fatalf("%q, %v", got, err)
		}
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	ents, err := os.ReadDir(dir)
	if err != nil || len(ents) != 1 {
		t.Errorf("left behind: %v, %v", ents, err)
	}
}

func TestWriteFileFailsLeavingTheOld(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	if err := os.Mkdir(path, 0o700); err != nil { // a directory cannot be replaced by a file
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("new")); err == nil {
		t.Fatal("no error")
	}
	ents, err := os.ReadDir(dir)
	if err != nil || len(ents) != 1 || !ents[0].IsDir() {
		t.Errorf("left behind: %v, %v", ents, err)
	}
	if err := WriteFile(filepath.Join(dir, "missing", "x"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
}

func TestReadFileCap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	put("12345", 0o600)(t, path)
	if b, err := ReadFile(path, 5); err != nil || len(b) != 5 {
		t.Errorf("%q, %v", b, err)
	}
	var fe *FileError
	if _, err := ReadFile(path, 4); !errors.As(err, &fe) {
		t.Errorf("err = %v", err)
	}
	if _, err := ReadFile(path+".no", 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
}

func TestEnsureDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		if err := EnsureDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	for mode, want := range map[os.FileMode]string{0o700: "", 0o755: "mode 0755", 0o711: "chmod 700 " + dir} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := EnsureDir(dir); err != nil {
			t.Errorf("%o: %v", mode, err)
		}
		if got := OpenToOthers(dir); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%o: says %q", mode, got)
		}
	}
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	var fe *FileError
	if err := EnsureDir(dir); !errors.As(err, &fe) || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("err = %v", err)
	}
	file := filepath.Join(t.TempDir(), "f")
	put("", 0o600)(t, file)
	if err := EnsureDir(file); err == nil {
		t.Error("a file passed for a directory")
	}
}

func TestAppendJSONLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := AppendJSONLine(path, map[string]string{"kind": "x"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b, err := os.ReadFile(path)
	if err != nil || string(b) != strings.Repeat("{\"kind\":\"x\"}\n", 8) {
		t.Fatalf("%q, %v", b, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if err := os.Truncate(path, int64(len(b)-3)); err != nil { // as a crash in the middle of a line leaves it
		t.Fatal(err)
	}
	if err := AppendJSONLine(path, 7); err != nil {
		t.Fatal(err)
	}
	b, err = os.ReadFile(path)
	if err != nil || !strings.HasSuffix(string(b), "\n{\"kind\":\"x\n7\n") {
		t.Errorf("%q, %v", b, err)
	}
	if err := AppendJSONLine(path, make(chan int)); err == nil {
		t.Error("encoded a channel")
	}
}

func TestClearStaleSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run", "admin.sock")
	if err := ClearStaleSocket(path); err != nil {
		t.Fatalf("nothing there: %v", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if err := ClearStaleSocket(path); !errors.Is(err, ErrSocketInUse) {
		t.Errorf("in use: %v", err)
	}
	l.SetUnlinkOnClose(false) // as a killed process leaves it
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ClearStaleSocket(path); err != nil {
		t.Errorf("stale: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	put("precious", 0o600)(t, path)
	var fe *FileError
	if err := ClearStaleSocket(path); !errors.As(err, &fe) {
		t.Errorf("a file: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("the file was touched: %q, %v", b, err)
	}
	if err := ClearStaleSocket(filepath.Join(dir, strings.Repeat("x", 120))); !errors.As(err, &fe) {
		t.Errorf("too long: %v", err)
	}
}
