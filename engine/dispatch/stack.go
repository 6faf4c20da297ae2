package dispatch

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"strings"
	"time"
)

// loopLabel marks the goroutine of a run, so that its stack can be told from
// those of all others: of a loop that is stuck nothing else says where.
const loopLabel = "dispatch loop"

// mark labels the calling goroutine as the run's loop.
func (r *run[T]) mark() {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(loopLabel, r.name())))
}

func (r *run[T]) name() string { return fmt.Sprintf("%p", r) }

// stacksEvery is how often all goroutines are asked where they are. That stops
// the world for as long as there are many of them: a machine too busy to serve
// its shards in time must not be made busier by the news of it.
const stacksEvery = 10 * time.Second

// stacks is where the loops were when they were last asked. Owned by the watchdog.
type stacks struct {
	at    int64             // when; 0: never
	loops map[string]string // by name, innermost first
}

// stackOf is where r has been stuck since then; empty when it was asked too
// lately to tell.
func (d *Dispatcher[T]) stackOf(r *run[T], since int64) string {
	if now := d.now(); d.stacks.at == 0 || now-d.stacks.at >= int64(stacksEvery) {
		d.stacks = stacks{now, loopStacks()}
	}
	if d.stacks.at < since {
		return ""
	}
	return d.stacks.loops[r.name()]
}

// loopStacks is where the loops of all dispatchers are now.
func loopStacks() map[string]string {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return nil
	}
	out := map[string]string{}
	for group := range strings.SplitSeq(b.String(), "\n\n") {
		_, frames, ok := strings.Cut(group, "\n# labels: ")
		if !ok {
			continue
		}
		labels, frames, _ := strings.Cut(frames, "\n")
		_, name, _ := strings.Cut(labels, fmt.Sprintf("%q:", loopLabel))
		// What a handler starts has the label too, but not the loop below it.
		if name, _, ok = strings.Cut(strings.TrimPrefix(name, `"`), `"`); ok && strings.Contains(frames, ").loop+") {
			out[name] = cut(tidyFrames(frames))
		}
	}
	return out
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
