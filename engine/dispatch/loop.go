package dispatch

import (
	"encoding/hex"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"signalbox/engine/ledger"
	"signalbox/engine/view"
)

// batchMax is how many messages a loop handles between two flushes. After
// each it yields its processor: without that, one busy shard holds it until
// the scheduler's 10 ms are over, and the other shards' messages wait.
const batchMax = 32

// frozen is the flag in run.word that stops the loop; the rest of the word is
// how many messages of the open batch are done.
const frozen = 1 << 31

// mediaEvery is after how many batches of control waiting media has a turn.
const mediaEvery = 8

// run is one loop in charge of a shard: its generation. A loop that was
// replaced keeps its run and shares nothing else with its successor.
type run[T any] struct {
	// Constant after handOver.
	done chan struct{} // closed when the loop has ended

	// Owned by the loop.
	hand    T // the message in hand: a copy, so the queue's memory is never Handle's
	buf     []entry[T]
	head    int
	n       int
	cursor  int             // messages of the batch done
	handled int             // since the last flush
	idle    int             // times in a row it found nothing
	now     int64           // the clock when the last message or flush was done, ns
	wait    int64           // how long to back off, ns
	waits   [batchMax]uint8 // wait buckets of the batch's messages
	clean   bool            // the guarded section ended by itself

	// Written by the loop, and by the holder of the shard's lock while the
	// loop cannot (atomic).
	word  atomic.Uint32 // messages done | frozen
	since atomic.Int64  // since when it is at what it does, ns; 0: asleep

	// The shard's mu guards.
	flushing bool  // what it does is Handler.Flush
	reported int64 // the since that was reported as wedged
}

type op uint8

const (
	opExit op = iota
	opWork
	opFlush
	opYield
	opPark
	opBackoff
)

// Where the loop saves: how often it looks again before it sleeps, and how many
// messages share a clock read, unless they took this long together.
const (
	idleYields = 3
	clockEvery = 8
	slowAfter  = int64(20 * time.Microsecond)
)

// loop empties the shard until it is closed or another run is in charge.
func (sh *shard[T]) loop(r *run[T]) {
	r.mark()
	over := false
	defer func() {
		if !over { // a handler called runtime.Goexit: this goroutine ends, the run goes on
			go sh.loop(r)
			return
		}
		close(r.done)
	}()
	now := sh.d.now()
	for {
		if r.idle > 0 && r.idle <= idleYields {
			runtime.Gosched() // more may be on its way: cheaper than to sleep and be woken
		}
		switch sh.next(r, now) {
		case opExit:
			over = true
			return
		case opWork:
			sh.work(r)
			now = r.now
		case opFlush:
			full := r.handled >= batchMax
			sh.finish(r)
			if full {
				runtime.Gosched()
			}
			now = r.now
		case opYield:
		case opPark:
			<-sh.wake
			now = sh.d.now()
		case opBackoff:
			t := time.NewTimer(time.Duration(r.wait))
			select {
			case <-sh.wake:
			case <-t.C:
			}
			t.Stop()
			now = sh.d.now()
		}
	}
}

// next closes the loop's batch and decides what it does next.
func (sh *shard[T]) next(r *run[T], now int64) op {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.run != r {
		sh.left--
		return opExit
	}
	sh.closeBatch(r)
	r.flushing = false
	waiting := sh.lanes[Control].n + sh.lanes[Media].n
	stop := sh.closed || sh.wantRestart || sh.paused || waiting == 0
	switch {
	case r.handled > 0 && (stop || r.handled >= batchMax):
		r.flushing = true
		r.since.Store(now)
		return opFlush
	case sh.closed:
		sh.rest(r, now)
		return opExit
	case sh.resumeAt > now:
		r.wait = sh.resumeAt - now
		sh.rest(r, now)
		return opBackoff
	case sh.wantRestart:
		sh.wantRestart = false
		sh.restarts++
		sh.handOver()
		return opExit
	case waiting == 0 && !sh.paused && r.idle < idleYields:
		r.idle++
		return opYield
	case stop:
		r.idle = 0
		sh.rest(r, now)
		sh.parked = true
		return opPark
	}
	r.idle = 0
	sh.openBatch(r, now)
	return opWork
}

// closeBatch books what the loop has done of its batch; the rest of it is
// ordinary queue again.
func (sh *shard[T]) closeBatch(r *run[T]) {
	if sh.batch == 0 {
		return
	}
	r.word.Store(uint32(r.cursor))
	sh.settle()
	for _, b := range r.waits[:r.cursor] {
		sh.stats.cur.waits[b]++
	}
	r.handled += r.cursor
	sh.batch, sh.settled = 0, 0
}

// openBatch takes the next batch, control first.
func (sh *shard[T]) openBatch(r *run[T], now int64) {
	c, m := &sh.lanes[Control], &sh.lanes[Media]
	sh.mediaTurn = false
	switch {
	case c.n == 0:
		sh.lane, sh.controlRun = Media, 0
	case m.n > 0 && sh.controlRun >= mediaEvery:
		sh.lane, sh.controlRun, sh.mediaTurn = Media, 0, true
	default:
		sh.lane = Control
		if m.n > 0 {
			sh.controlRun++
		}
	}
	q := &sh.lanes[sh.lane]
	sh.batch, sh.settled = min(batchMax-r.handled, q.n), 0
	r.buf, r.head, r.n, r.cursor = q.buf, q.head, sh.batch, 0
	r.word.Store(0)
	r.since.Store(now)
	sh.stats.wake(now)
}

// rest notes that the loop does nothing from now on.
func (sh *shard[T]) rest(r *run[T], now int64) {
	r.since.Store(0)
	sh.stats.sleep(now)
}

// work handles the open batch, until it is done or frozen. It takes no lock:
// it reads the batch where it lies and publishes its progress in r.word.
func (sh *shard[T]) work(r *run[T]) {
	r.clean = false
	defer sh.guard(r)
	h, d := sh.d.h, sh.d
	now, slow := r.since.Load(), false
	for i := 0; ; {
		pos := r.head + i
		if pos >= len(r.buf) {
			pos -= len(r.buf)
		}
		e := &r.buf[pos]
		r.hand = e.m
		r.waits[i] = waitBucket(now - e.at)
		if e.fault == 0 {
			h.Handle(sh.index, &r.hand, now)
		} else {
			sh.fault(e.fault)()
		}
		i++
		r.cursor = i
		if i == 1 || i%clockEvery == 0 || i == r.n || slow {
			// A clock read costs as much as all the rest here. While messages
			// take microseconds one read serves several; as soon as they take
			// longer each gets its own, so that the watchdog sees which it is.
			last := now
			now = d.now()
			slow = now-last > slowAfter
			r.since.Store(now)
		}
		if !r.word.CompareAndSwap(uint32(i-1), uint32(i)) || i == r.n {
			break
		}
	}
	var none T
	r.hand, r.now = none, now
	r.clean = true
}

// fault looks up an injected fault.
func (sh *shard[T]) fault(key uint16) func() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.lanes[Control].faults[key]
}

// finish calls the handler's Flush.
func (sh *shard[T]) finish(r *run[T]) {
	r.clean = false
	defer sh.guard(r)
	r.handled = 0
	sh.d.h.Flush(sh.index)
	r.now = sh.d.now()
	r.since.Store(r.now)
	r.clean = true
}

// guard is deferred around the handler: it contains its panic.
func (sh *shard[T]) guard(r *run[T]) {
	if r.clean {
		return
	}
	value := "runtime.Goexit called"
	if p := recover(); p != nil {
		value = panicText(p)
	}
	sh.quarantine(r, value, trimStack(string(debug.Stack())))
}

// quarantine drops the message in hand after a panic and lets the loop go on,
// after a short pause that grows while panics follow each other.
func (sh *shard[T]) quarantine(r *run[T], value, stack string) {
	now := sh.d.now()
	w := &sh.d.cfg.Watchdog
	sh.mu.Lock()
	if sh.run != r { // replaced meanwhile: its message is booked already
		sh.mu.Unlock()
		return
	}
	var m *T
	during := "flush"
	if sh.batch > 0 {
		during = "message"
		m = sh.dropInHand(r)
	}
	r.flushing = false
	r.now = now
	sh.panics++
	sh.restarts++
	sh.lastPanic = value + "\n" + stack
	if sh.backoff = min(2*sh.backoff, int64(w.RestartMax)); sh.backoff == 0 || now-sh.panicAt > int64(time.Second) {
		sh.backoff = int64(w.RestartMin)
	}
	sh.panicAt, sh.resumeAt = now, now+sh.backoff
	n := sh.panics
	sh.rest(r, now)
	sh.mu.Unlock()
	fields := map[string]any{"stack": stack, "shard": sh.index, "panic": value, "during": during, "panics": n}
	if m != nil {
		fields["message"] = sh.d.describe(m)
		if k, ok := sh.d.h.(Keeper[T]); ok {
			fields["input"], fields["input_bytes"] = kept(k, m)
		}
	}
	sh.d.post(sh, "shard_panic", view.Alarm, "handler panicked, contained: "+value, fields)
}

// inputMax bounds what is kept of an input: any datagram is whole.
const inputMax = 2048

// kept is the quarantined input in hex, its first inputMax bytes, and its length.
func kept[T any](k Keeper[T], m *T) (text string, n int) {
	defer func() {
		if p := recover(); p != nil {
			text = "unreadable: " + panicText(p)
		}
	}()
	in := k.Input(m)
	return hex.EncodeToString(in[:min(len(in), inputMax)]), len(in)
}

// dropInHand closes the batch in whose message in hand the handler panicked,
// drops that message and returns a copy of it, nil for an injected fault.
func (sh *shard[T]) dropInHand(r *run[T]) (m *T) {
	q := &sh.lanes[sh.lane]
	sh.closeBatch(r) // r.cursor stands before the message: it is at the head now
	if e := q.at(0); e.fault == 0 {
		c := e.m
		m = &c
	}
	q.shift(1)
	sh.dropped[ledger.ShardPanic]++
	return m
}

const stackMax = 4096

// trimStack keeps the frames below the panic, at most 4 KiB.
func trimStack(s string) string {
	if i := strings.LastIndex(s, "\npanic("); i >= 0 {
		s = s[i+1:]
		for range 2 { // the panic's own frame: two lines
			if _, rest, ok := strings.Cut(s, "\n"); ok {
				s = rest
			}
		}
	}
	return cut(s)
}
