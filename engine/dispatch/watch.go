package dispatch

import (
	"fmt"
	"time"

	"signalbox/engine/view"
)

// watch looks at every loop at a fixed rate, until stop is closed.
func (d *Dispatcher[T]) watch(stop <-chan struct{}) {
	t := time.NewTicker(d.cfg.Watchdog.Every)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
		}
		for _, sh := range d.shards {
			d.check(sh)
		}
		d.rep.kick() // bursts of drops are summed up at this rate too
	}
}

type verdict uint8

const (
	fine verdict = iota
	wedged
	replaced
)

// finding is what the watchdog saw in a shard.
type finding[T any] struct {
	verdict verdict
	stuck   time.Duration
	m       *T // the message in hand, copied; nil: an injected fault, or none
	flush   bool
	left    int // replaced loops still stuck
	run     *run[T]
	since   int64 // when it took the message
}

// check reports a wedged loop once and replaces it in time.
func (d *Dispatcher[T]) check(sh *shard[T]) {
	f := sh.inspect(d.now())
	if f.verdict == fine {
		return
	}
	what := "an injected fault"
	switch {
	case f.flush:
		what = "flush"
	case f.m != nil:
		what = d.describe(f.m)
	}
	ms := f.stuck.Milliseconds()
	fields := map[string]any{"shard": sh.index, "stuck_ms": ms, "message": what, "stuck_loops": f.left}
	if f.verdict == wedged {
		if at := d.stackOf(f.run, f.since); at != "" {
			fields["stack"] = at
		}
		d.post(sh, "shard_wedged", view.Alarm, fmt.Sprintf("no progress for %d ms in one message: %s", ms, what), fields)
		return
	}
	d.post(sh, "shard_replaced", view.Alarm, fmt.Sprintf("loop replaced after %d ms in one message, which is quarantined; queue kept: %s", ms, what), fields)
}

// inspect is the watchdog's part under the shard's lock.
func (sh *shard[T]) inspect(now int64) (f finding[T]) {
	w := &sh.d.cfg.Watchdog
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.rotate(now)
	r := sh.run
	if r == nil || sh.closed {
		return f
	}
	since := r.since.Load()
	if since == 0 || now-since < int64(w.WedgedAfter) {
		return f
	}
	f.stuck, f.since = time.Duration(now-since), since
	if now-since < int64(w.ReplaceAfter) {
		if r.reported == since {
			return f
		}
		r.reported = since
		f.verdict, f.run = wedged, r
		sh.settle()
		f.m, f.flush = sh.current(), r.flushing
		f.left = sh.left
		return f
	}
	sh.freeze()
	if r.since.Load() != since {
		return f // it moved at the last moment, and comes to the lock by itself
	}
	f.verdict = replaced
	f.m, f.flush = sh.current(), r.flushing
	sh.replace()
	f.left = sh.left
	return f
}

// current copies the message in hand as of the last settle; nil when there is
// none or it is an injected fault.
func (sh *shard[T]) current() *T {
	if sh.inHand(sh.lane) == 0 {
		return nil
	}
	e := sh.lanes[sh.lane].at(0)
	if e.fault != 0 {
		return nil
	}
	m := e.m
	return &m
}

// describe asks the handler what a message is, and survives the answer.
func (d *Dispatcher[T]) describe(m *T) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = "undescribable: " + panicText(p)
		}
	}()
	return d.h.Describe(m)
}

func panicText(p any) string {
	s := fmt.Sprint(p)
	if len(s) > 256 {
		s = s[:256]
	}
	return s
}
