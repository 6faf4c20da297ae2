package state

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// SeedSize is the length of the seed in bytes (spec wzp 6.4).
	SeedSize = 32

	// maxIdentityFile is far above 64 characters and trailing whitespace: what
	// is larger is not an identity file and is not read.
	maxIdentityFile = 4096

	dirMode  fs.FileMode = 0o700
	fileMode fs.FileMode = 0o600
)

// IdentityError says that the identity file cannot be used, and what to do
// about it. The file has not been touched. It means exit code 78 (contract
// sections 1 and 5).
type IdentityError struct {
	Path    string
	Problem string
	Remedy  string
	Err     error // the cause; may be nil
}

// Error is one line for the operator: where, what, and the way out.
func (e *IdentityError) Error() string {
	s := "identity file " + e.Path + ": " + e.Problem
	if e.Err != nil {
		s += " (" + e.Err.Error() + ")"
	}
	return s + "; " + e.Remedy
}

// Unwrap returns the cause.
func (e *IdentityError) Unwrap() error { return e.Err }

// ExitCode is the process exit code this error calls for.
func (e *IdentityError) ExitCode() int { return 78 }

const restoreRemedy = "restore it from a backup, or move it away to start as a new node with a new identity"

// LoadSeed reads the identity file, or creates it when there is none: 64 hex
// characters and optional trailing whitespace. A file that is there is never
// replaced, whatever is in it. Errors about the file are *IdentityError.
func LoadSeed(path string) (seed [SeedSize]byte, created bool, err error) {
	seed, err = readSeed(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return seed, false, err
	}
	seed, err = createSeed(path)
	if errors.Is(err, fs.ErrExist) { // another process was faster: its seed counts
		seed, err = readSeed(path)
		return seed, false, err
	}
	return seed, err == nil, err
}

// readSeed returns an error that is fs.ErrNotExist only if nothing is at path.
func readSeed(path string) (seed [SeedSize]byte, err error) {
	b, mode, err := readFile(path, maxIdentityFile)
	if err != nil {
		return seed, identityReadError(path, err)
	}
	if mode.Perm()&0o077 != 0 {
		return seed, &IdentityError{
			Path: path, Problem: fmt.Sprintf("mode %04o lets others read the secret", mode.Perm()),
			Remedy: fmt.Sprintf("run: chmod 600 %s (and consider the identity known to whoever could read it)", path),
		}
	}
	if len(b) == 0 {
		return seed, &IdentityError{Path: path, Problem: "the file is empty", Remedy: restoreRemedy}
	}
	text := trimRightSpace(b)
	if len(text) != hex.EncodedLen(SeedSize) {
		return seed, &IdentityError{
			Path: path, Problem: fmt.Sprintf("holds %d characters instead of %d hexadecimal ones", len(text), hex.EncodedLen(SeedSize)), Remedy: restoreRemedy,
		}
	}
	if _, err := hex.Decode(seed[:], text); err != nil {
		// The cause names an offending byte of a secret, so it is left out.
		return [SeedSize]byte{}, &IdentityError{Path: path, Problem: "holds characters that are not hexadecimal", Remedy: restoreRemedy}
	}
	return seed, nil
}

func identityReadError(path string, err error) error {
	var fe *FileError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return err
	case errors.As(err, &fe):
		return &IdentityError{Path: path, Problem: fe.Problem, Remedy: "put the identity there as a plain file of mode 0600"}
	case errors.Is(err, fs.ErrPermission):
		return &IdentityError{Path: path, Problem: "cannot be read", Remedy: "give it to the user the node runs as, mode 0600", Err: err}
	default:
		return &IdentityError{Path: path, Problem: "cannot be read", Remedy: restoreRemedy, Err: err}
	}
}

// createSeed writes a new random seed. The finished file appears under its
// name in one step and never in place of another: link(2) fails where
// rename(2) would replace.
func createSeed(path string) (seed [SeedSize]byte, err error) {
	fail := func(err error) ([SeedSize]byte, error) {
		if errors.Is(err, fs.ErrExist) {
			return [SeedSize]byte{}, err
		}
		return [SeedSize]byte{}, &IdentityError{
			Path: path, Problem: "cannot be created", Remedy: "make its directory writable for the user the node runs as", Err: err,
		}
	}
	if _, err := rand.Read(seed[:]); err != nil {
		return fail(err)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return fail(err)
	}
	tmp, err := writeTemp(dir, []byte(hex.EncodeToString(seed[:])+"\n"))
	if err != nil {
		return fail(err)
	}
	err = os.Link(tmp, path)
	if rerr := os.Remove(tmp); err == nil {
		err = rerr
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fail(err)
	}
	return seed, nil
}

// writeTemp writes data to a new file of mode 0600 in dir, on disk when it
// returns.
func writeTemp(dir string, data []byte) (string, error) {
	f, err := os.CreateTemp(dir, ".identity-*") // O_EXCL, 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func trimRightSpace(b []byte) []byte {
	for len(b) > 0 {
		switch b[len(b)-1] {
		case ' ', '\t', '\r', '\n', '\v', '\f':
			b = b[:len(b)-1]
		default:
			return b
		}
	}
	return b
}
