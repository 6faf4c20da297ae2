// Package dispatch is the sharded dispatcher: the one place where packets
// wait between the transport's readers and the code that handles them, and
// the supervision of the loops that empty it.
//
// A shard is a bounded queue and a loop. Which shard a packet goes to is a
// keyed hash of its canonical source address (SourceKey), so order is kept
// per source address and only per source address: a peer that changes its
// address changes its shard, and there is no causal order across the change.
//
// Admission never waits. A packet is taken or refused with a reason, and a
// refused one has been counted when Submit returns. There are two lanes.
// Control goes before media, pushes waiting media out when the queue is full,
// and is refused only when control itself fills its part of the queue.
//
// The account of a shard closes at any moment, under the shard's own lock:
//
//	received = processed + sum(dropped) + depth + in hand
//
// The loop does not take the lock for each message. It takes a batch, works
// on it where it lies, and publishes how far it has come in one atomic word;
// whoever holds the lock reads that word and books the progress (settle). The
// word has one flag, by which a holder of the lock freezes it: the loop
// finishes the message in hand and comes to the lock. Pause, flush, priority,
// restart and the replacement of a wedged loop are all that one mechanism.
//
// Goroutines: one loop per shard, one watchdog and one reporter per
// dispatcher, all started by Run; a loop that has been replaced while stuck
// stays behind until its handler returns, and touches nothing then. Locks: a
// shard's mutex, then nothing; the reporter's mutex, then nothing. Handlers,
// loggers and event sinks are called with no lock held.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/engine/ledger"
	"signalbox/engine/view"
)

// Lane is the class of a message.
type Lane uint8

// The lanes, in order of precedence.
const (
	Control Lane = iota // replies, identity, signalling: before media, never dropped for it
	Media               // media and requests

	numLanes
)

// Handler is what the shards' loops call. Handle and Flush of one shard are
// called by one loop at a time, with one exception: after a wedged loop was
// replaced, its Handle or Flush is still running, beside the successor's.
type Handler[T any] interface {
	// Handle handles one message. m is the loop's own copy of what was
	// submitted and valid until Handle returns; now is the loop's clock, at
	// most 20 us old. It may panic: the message is quarantined and the loop
	// continues with the next.
	Handle(shard int, m *T, now int64)
	// Flush is called after every drained batch, at most 32 messages, and
	// always before the loop goes to sleep.
	Flush(shard int)
	// Describe says in a few words what a message is, for the console. It is
	// called from any goroutine with a copy, while Handle may be running, and
	// must not follow references to what Handle changes.
	Describe(m *T) string
}

// Keeper is a Handler whose messages came as bytes: the first of those that
// made it panic are kept in the event. Input is called as Describe is, and
// nobody changes what it returns.
type Keeper[T any] interface {
	Input(m *T) []byte
}

// Config is what a Dispatcher is made from. Zero values mean the default.
type Config struct {
	Plane         string  // media, dht: the first half of a shard's name
	Shards        int     // 8
	Capacity      int     // messages a shard may hold, both lanes together: 256. Control may take 3/4 of it
	CapacityBytes int     // bytes a shard may hold, as told to Submit: 4 KiB times Capacity
	SourceShare   float64 // the part of a lane one source may hold while others wait: 0.5
	Watchdog      Watchdog
	LogEvery      time.Duration    // interval of the lines that sum up a burst of drops: 5 s
	Log           *slog.Logger     // nil: discard
	Event         func(view.Event) // nil: discard. Called from any goroutine, no lock held
	Epoch         time.Time        // zero of the clock that Submit and Handle speak of; default: New's moment
}

// Watchdog is the supervision's timing.
type Watchdog struct {
	Every        time.Duration // how often the loops are looked at: 250 ms
	WedgedAfter  time.Duration // in one message for this long is wedged: 1.5 s
	ReplaceAfter time.Duration // and for this long, replaced: 5 s
	RestartMin   time.Duration // pause after a first panic: 2 ms
	RestartMax   time.Duration // doubled up to this while panics follow each other: 50 ms
	StopGrace    time.Duration // how long Run waits for loops when it ends: 1 s
}

// The errors of the operator's levers.
var (
	ErrNoShard = errors.New("no such shard")
	ErrStopped = errors.New("the dispatcher is not running")
	ErrRefused = errors.New("the shard did not take the fault")
)

// Dispatcher spreads messages over shards and supervises their loops.
type Dispatcher[T any] struct {
	// Constant after New.
	cfg    Config
	h      Handler[T]
	log    *slog.Logger
	base   time.Time // monotonic zero of every nanosecond count here; 0 itself means never
	seed   maphash.Seed
	shards []*shard[T]
	rep    *reporter

	stacks stacks // owned by the watchdog

	// Any goroutine (atomic).
	ran atomic.Bool
}

// New makes a dispatcher that admits at once and handles when Run is called.
func New[T any](cfg Config, h Handler[T]) *Dispatcher[T] {
	cfg = cfg.withDefaults()
	d := &Dispatcher[T]{
		cfg: cfg, h: h, log: cfg.Log, base: cfg.Epoch, seed: maphash.MakeSeed(),
		shards: make([]*shard[T], cfg.Shards),
		rep:    newReporter(),
	}
	for i := range d.shards {
		d.shards[i] = newShard(d, i)
	}
	return d
}

func (c Config) withDefaults() Config {
	setDefault(&c.Shards, 8)
	setDefault(&c.Capacity, 256)
	setDefault(&c.CapacityBytes, c.Capacity*4096)
	if c.SourceShare <= 0 || c.SourceShare > 1 {
		c.SourceShare = 0.5
	}
	setDefault(&c.LogEvery, 5*time.Second)
	setDefault(&c.Watchdog.Every, 250*time.Millisecond)
	setDefault(&c.Watchdog.WedgedAfter, 1500*time.Millisecond)
	setDefault(&c.Watchdog.ReplaceAfter, 5*time.Second)
	setDefault(&c.Watchdog.RestartMin, 2*time.Millisecond)
	setDefault(&c.Watchdog.RestartMax, 50*time.Millisecond)
	setDefault(&c.Watchdog.StopGrace, time.Second)
	if c.Epoch.IsZero() {
		c.Epoch = time.Now().Add(-1)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Event == nil {
		c.Event = func(view.Event) {}
	}
	return c
}

func setDefault[N int | time.Duration](v *N, def N) {
	if *v <= 0 {
		*v = def
	}
}

// now is monotonic nanoseconds since the epoch.
func (d *Dispatcher[T]) now() int64 { return int64(time.Since(d.base)) }

// Run starts the loops and supervises them until ctx ends; it owns every
// goroutine. When it returns, what still waited has been dropped as draining
// and admission is closed. It can be run once.
func (d *Dispatcher[T]) Run(ctx context.Context) error {
	if d.ran.Swap(true) {
		return fmt.Errorf("dispatch %s: already run", d.cfg.Plane)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for _, sh := range d.shards {
		sh.start()
	}
	wg.Go(func() { d.watch(stop) })
	wg.Go(func() { d.report(stop) })
	<-ctx.Done()
	for _, sh := range d.shards {
		sh.close()
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.Watchdog.StopGrace)
	defer cancel()
	for _, sh := range d.shards {
		sh.join(grace)
	}
	close(stop)
	wg.Wait()
	return nil
}

// Submit offers a message of size bytes from src. It never waits and never
// allocates once the queue has grown to its size. now is the caller's reading
// of the clock, in ns since Config.Epoch: whoever received the message has read
// it already, and a reading costs more than all the rest of an admission. When
// Submit returns false the message has been dropped and counted under the
// reason returned.
func (d *Dispatcher[T]) Submit(now int64, src netip.Addr, lane Lane, size int, m T) (ledger.Reason, bool) {
	h := hashSource(d.seed, src)
	return d.shards[shardIndex(h, len(d.shards))].admit(now, h, src, lane, size, &m, nil)
}

// ShardOf is the index of the shard that src's messages go to.
func (d *Dispatcher[T]) ShardOf(src netip.Addr) int {
	return shardIndex(hashSource(d.seed, src), len(d.shards))
}

// Inject runs f inside a shard's loop, as a message of the control lane: a
// fault for tests and demonstrations, which may panic or block.
func (d *Dispatcher[T]) Inject(shard int, f func()) error {
	sh, err := d.shard(shard)
	if err != nil {
		return err
	}
	var none T
	if reason, ok := sh.admit(d.now(), 0, netip.Addr{}, Control, 0, &none, f); !ok {
		return fmt.Errorf("%w: %s", ErrRefused, reason)
	}
	return nil
}

// Pause stops a shard: its loop takes nothing after the message in hand, its
// queue is kept, and admission refuses with shard_paused.
func (d *Dispatcher[T]) Pause(shard int) error {
	sh, err := d.shard(shard)
	if err != nil {
		return err
	}
	if kept, changed := sh.pause(); changed {
		d.event(sh, "shard_paused", view.Warn, fmt.Sprintf("shard paused, %d messages kept", kept), map[string]any{"depth": kept})
	}
	return nil
}

// Resume lets a paused shard go on.
func (d *Dispatcher[T]) Resume(shard int) error {
	sh, err := d.shard(shard)
	if err != nil {
		return err
	}
	if waiting, changed := sh.resume(); changed {
		d.event(sh, "shard_resumed", view.Info, fmt.Sprintf("shard resumed with %d messages waiting", waiting), map[string]any{"depth": waiting})
	}
	return nil
}

// Flush drops what waits in a shard as shard_flushed; the message in hand is
// finished.
func (d *Dispatcher[T]) Flush(shard int) error {
	sh, err := d.shard(shard)
	if err != nil {
		return err
	}
	n := sh.flush(ledger.ShardFlushed)
	d.event(sh, "shard_flushed", view.Warn, fmt.Sprintf("%d waiting messages dropped", n), map[string]any{"dropped": n})
	return nil
}

// Restart gives a shard a new loop and keeps its queue. A healthy loop hands
// over after the message in hand; a wedged one is replaced at once, its
// message dropped as shard_replaced.
func (d *Dispatcher[T]) Restart(shard int) error {
	sh, err := d.shard(shard)
	if err != nil {
		return err
	}
	replaced, ok := sh.restart()
	if !ok {
		return ErrStopped
	}
	msg := "shard restarted, queue kept"
	if replaced {
		msg = "wedged loop replaced, queue kept, message in hand quarantined"
	}
	d.event(sh, "shard_restarted", view.Warn, msg, map[string]any{"replaced": replaced})
	return nil
}

func (d *Dispatcher[T]) shard(i int) (*shard[T], error) {
	if i < 0 || i >= len(d.shards) {
		return nil, fmt.Errorf("%w: %s/%d", ErrNoShard, d.cfg.Plane, i)
	}
	return d.shards[i], nil
}
