package flight

import (
	"log/slog"
	"os"
	"runtime/trace"
	"time"
)

// When an execution trace is made (Options.Trace).
const (
	traceAfter  = "after"
	traceAlways = "always"
)

// The window of the trace: what is kept at the least, and at the most.
const (
	traceFor   = 3 * time.Second
	traceBytes = 8 << 20
)

// tracer holds the runtime's execution trace of the last seconds in memory.
// Its one owner is Run.
type tracer struct {
	fr   *trace.FlightRecorder
	due  <-chan time.Time // the trace that began after an anomaly is long enough
	path string           // where that goes
}

// start begins tracing. Another recorder of this process may be at work; then
// there is none of ours.
func (t *tracer) start(log *slog.Logger) {
	fr := trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: traceFor, MaxBytes: traceBytes})
	if err := fr.Start(); err != nil {
		log.Warn("flight recorder: no execution trace", "err", err)
		return
	}
	t.fr = fr
}

// after traces the seconds from now on, to be written to path when due.
func (t *tracer) after(path string, log *slog.Logger) {
	if t.on() {
		return
	}
	if t.start(log); t.on() {
		t.path, t.due = path, time.After(traceFor)
	}
}

func (t *tracer) stop() {
	if t.fr != nil {
		t.fr.Stop()
	}
	t.fr, t.due = nil, nil
}

func (t *tracer) on() bool { return t.fr != nil && t.fr.Enabled() }

func (t *tracer) write(f *os.File) error {
	_, err := t.fr.WriteTo(f)
	return err
}
