package bench

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// ownHeap has this process collect garbage only when memory runs short, until
// the returned function is called: a fleet has gigabytes to look through, and
// while it does, nodes that share the cores answer late. Between the parts of a
// run collect does it instead.
func ownHeap() (undo func()) {
	limit := int64(math.MaxInt64)
	if free := available(); free > 0 {
		self := Node{PID: os.Getpid()}
		limit = int64(self.RSS()) + free/5*4 //nolint:gosec // a machine's memory
	}
	if limit == math.MaxInt64 {
		return func() {} // not Linux: nobody says how much there is
	}
	was, percent := debug.SetMemoryLimit(limit), debug.SetGCPercent(-1)
	return func() {
		debug.SetMemoryLimit(was)
		debug.SetGCPercent(percent)
	}
}

// afterCollect is for what came late meanwhile.
const afterCollect = 5 * time.Second

// collect looks for garbage now, and waits until others have caught up.
func collect(ctx context.Context) error {
	runtime.GC()
	if !pause(ctx, afterCollect) {
		return ctx.Err()
	}
	return nil
}

// available is the memory that can be had, in bytes; 0 if unknown.
func available() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(b), "MemAvailable:")
	var kib int64
	if _, err := fmt.Sscan(after, &kib); err != nil {
		return 0
	}
	return kib << 10
}
