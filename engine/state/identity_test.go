package state

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

var hex42 = strings.Repeat("42", SeedSize)

// put returns a function that writes content with the given mode.
func put(content string, mode fs.FileMode) func(t *testing.T, path string) {
	return func(t *testing.T, path string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIdentityAccepted(t *testing.T) {
	for name, content := range map[string]string{
		"bare": hex42, "newline": hex42 + "\n", "crlf and blanks": hex42 + " \t\r\n\n", "upper case": strings.ToUpper(strings.Repeat("4a", 32)),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "identity")
			put(content, 0o600)(t, path)
			seed, created, err := LoadSeed(path)
			if err != nil || created {
				t.Fatalf("created %v, err %v", created, err)
			}
			if got := hex.EncodeToString(seed[:]); got != strings.ToLower(strings.TrimSpace(content)) {
				t.Errorf("seed %s", got)
			}
		})
	}
}

// Each of these files stays as it is and yields an *IdentityError that names
// the path and a way out.
func TestIdentityRefused(t *testing.T) {
	long := hex42 + strings.Repeat("\n", maxIdentityFile)
	for name, tc := range map[string]struct {
		make    func(t *testing.T, path string)
		problem string
	}{
		"empty":            {put("", 0o600), "empty"},
		"whitespace only":  {put("\n\n", 0o600), "0 characters"},
		"short":            {put(hex42[:63], 0o600), "63 characters"},
		"long":             {put(hex42+"4", 0o600), "65 characters"},
		"two lines":        {put(hex42+"\n"+hex42, 0o600), "129 characters"},
		"leading blank":    {put(" "+hex42, 0o600), "65 characters"},
		"not hex":          {put(strings.Repeat("zz", 32), 0o600), "not hexadecimal"},
		"binary":           {put(string([]byte{0, 255, 254}), 0o600), "3 characters"},
		"oversize":         {put(long, 0o600), "larger than"},
		"mode 0644":        {put(hex42, 0o644), "0644"},
		"mode 0640":        {put(hex42, 0o640), "0640"},
		"mode 0604":        {put(hex42, 0o604), "0604"},
		"corrupt and 0644": {put("x", 0o644), "0644"},
		"symlink": {func(t *testing.T, path string) {
			put(hex42, 0o600)(t, path+".real")
			if err := os.Symlink(path+".real", path); err != nil {
				t.Fatal(err)
			}
		}, "symbolic link"},
		"dangling symlink": {func(t *testing.T, path string) {
			if err := os.Symlink(path+".nowhere", path); err != nil {
				t.Fatal(err)
			}
		}, "symbolic link"},
		"fifo": {func(t *testing.T, path string) {
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "FIFO"},
		"directory": {func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "directory"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "identity")
			tc.make(t, path)
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			seed, created, err := LoadSeed(path)
			var ie *IdentityError
			if !errors.As(err, &ie) {
				t.Fatalf("err = %v, want *IdentityError", err)
			}
			if created || seed != [SeedSize]byte{} {
				t.Errorf("created %v, seed %x", created, seed)
			}
			if ie.Path != path || ie.Remedy == "" || ie.ExitCode() != 78 || !strings.Contains(ie.Error(), path) {
				t.Errorf("path %q, remedy %q", ie.Path, ie.Remedy)
			}
			if !strings.Contains(ie.Error(), tc.problem) {
				t.Errorf("%q does not say %q", ie.Error(), tc.problem)
			}
			after, err := os.Lstat(path)
			if err != nil || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) || before.Mode() != after.Mode() {
				t.Errorf("the file was touched: %v", err)
			}
		})
	}
}

func TestIdentityUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads everything")
	}
	path := filepath.Join(t.TempDir(), "identity")
	put(hex42, 0o000)(t, path)
	var ie *IdentityError
	if _, _, err := LoadSeed(path); !errors.As(err, &ie) || !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("err = %v", err)
	}
}

func TestIdentityCreated(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	path := filepath.Join(dir, "identity")
	seed, created, err := LoadSeed(path)
	if err != nil || !created {
		t.Fatalf("created %v, err %v", created, err)
	}
	again, created, err := LoadSeed(path)
	if err != nil || created || again != seed {
		t.Fatalf("second load: created %v, err %v, same %v", created, err, again == seed)
	}
	for p, want := range map[string]fs.FileMode{path: 0o600, dir: 0o700, filepath.Dir(dir): 0o700} {
		st, err := os.Stat(p)
		if err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: mode %v, want %v (%v)", p, st.Mode().Perm(), want, err)
		}
	}
	ents, err := os.ReadDir(dir)
	if err != nil || len(ents) != 1 {
		t.Errorf("left in the directory: %v (%v)", ents, err)
	}
}

func TestIdentityCannotBeCreated(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	put("", 0o600)(t, file)
	var ie *IdentityError
	if _, _, err := LoadSeed(filepath.Join(file, "identity")); !errors.As(err, &ie) {
		t.Fatalf("err = %v", err)
	}
}

// Many processes that start at once on an empty directory become one node.
func TestIdentityCreatedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity")
	var wg sync.WaitGroup
	seeds := make([][SeedSize]byte, 16)
	made := make([]bool, len(seeds))
	for i := range seeds {
		wg.Go(func() {
			var err error
			if seeds[i], made[i], err = LoadSeed(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	creators := 0
	for i := range seeds {
		if seeds[i] != seeds[0] {
			t.Fatal("two identities")
		}
		if made[i] {
			creators++
		}
	}
	if creators != 1 {
		t.Errorf("%d creators", creators)
	}
}

func TestIdentityErrorTellsNoSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity")
	secret := strings.Repeat("a7", 31)
	put(secret+"zz", 0o600)(t, path)
	_, _, err := LoadSeed(path)
	if err == nil || bytes.Contains([]byte(err.Error()), []byte("a7a7")) {
		t.Errorf("err = %v", err)
	}
}
