//go:build !linux

package cli

import (
	"os"
	"runtime"
)

// writable tries, since there is no common way to ask.
func writable(dir string) bool {
	f, err := os.CreateTemp(dir, ".signalbox-doctor-*")
	if err != nil {
		return false
	}
	return f.Close() == nil && os.Remove(f.Name()) == nil
}

func clockSynchronised() bool { return true }

func checkGSO() finding { return finding{Check: "gso", Detail: "not checked on " + runtime.GOOS} }
