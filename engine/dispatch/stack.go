package dispatch

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"strings"
)

// loopLabel marks the goroutine of a run, so that its stack can be told from
// those of all others: of a loop that is stuck nothing else says where.
const loopLabel = "dispatch loop"

// mark labels the calling goroutine as the run's loop.
func (r *run[T]) mark() {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(loopLabel, r.name())))
}

func (r *run[T]) name() string { return fmt.Sprintf("%p", r) }

// stack is where the run's loop is now, innermost first; empty when it has
// ended. It is for findings of the watchdog, not for every day.
func (r *run[T]) stack() string {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return ""
	}
	for group := range strings.SplitSeq(b.String(), "\n\n") {
		_, frames, ok := strings.Cut(group, "\n# labels: ")
		if !ok {
			continue
		}
		labels, frames, _ := strings.Cut(frames, "\n")
		// What a handler starts has the label too, but not the loop below it.
		if strings.Contains(labels, fmt.Sprintf("%q:%q", loopLabel, r.name())) && strings.Contains(frames, ").loop+") {
			return cut(tidyFrames(frames))
		}
	}
	return ""
}

// tidyFrames leaves function and place of a profile's frames.
func tidyFrames(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		f := strings.Fields(strings.TrimPrefix(line, "#"))
		if len(f) >= 3 {
			out = append(out, f[1]+" "+f[2])
		}
	}
	return strings.Join(out, "\n")
}

func cut(s string) string {
	if len(s) > stackMax {
		s = s[:stackMax]
	}
	return strings.TrimSpace(s)
}
