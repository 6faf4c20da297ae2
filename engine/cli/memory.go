package cli

import (
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

const cgroupRoot = "/sys/fs/cgroup"

// limitMemory has the collector work harder before the control group's limit
// is reached: at nine tenths of it, unless GOMEMLIMIT says otherwise.
func limitMemory(log *slog.Logger, env map[string]string) {
	if env["GOMEMLIMIT"] != "" {
		return
	}
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return // no control groups here
	}
	if limit := cgroupLimit(cgroupRoot, string(self)); limit > 0 {
		debug.SetMemoryLimit(limit / 10 * 9)
		log.Debug("memory limit from the control group", "cgroup_bytes", limit, "gomemlimit_bytes", limit/10*9)
	}
}

// cgroupLimit is the smallest memory.max from the process's group up to the
// root, in bytes; 0 without one. self is /proc/self/cgroup.
func cgroupLimit(root, self string) int64 {
	group := "/"
	for line := range strings.Lines(self) {
		if p, ok := strings.CutPrefix(line, "0::"); ok { // version 2
			group = path.Clean("/" + strings.TrimSpace(p))
		}
	}
	var least int64
	for {
		b, err := os.ReadFile(filepath.Join(root, group, "memory.max"))
		if err == nil {
			n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64) // "max" is none
			if err == nil && n > 0 && (least == 0 || n < least) {
				least = n
			}
		}
		if group == "/" {
			return least
		}
		group = path.Dir(group)
	}
}
