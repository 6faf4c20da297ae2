package dispatch

import (
	"context"
	"math"
	"net/netip"
	"strconv"
	"sync"

	"signalbox/engine/ledger"
)

// shard is one queue and, through run, its loop.
type shard[T any] struct {
	// Constant after newShard.
	d       *Dispatcher[T]
	index   int
	subject string        // media/3
	wake    chan struct{} // one token: look again

	_  [64]byte   // what changes with every message stands together, away from the above
	mu sync.Mutex // leaf: nothing is locked, called or waited for under it

	// mu guards everything below.
	closed      bool
	paused      bool
	parked      bool // the loop sleeps, and the next message wakes it
	wantRestart bool
	mediaTurn   bool  // the open batch is media's guaranteed turn, see cutsShort
	lane        Lane  // the lane of the open batch
	batch       int   // messages in the open batch, at the head of its lane; 0: none
	settled     int   // how many of them are booked and removed
	peak        int   // the most that waited since peakAt
	peakBefore  int   // and in the second or so before
	peakAt      int64 // ns
	highWater   int   // and before that
	received    uint64
	lastAt      int64 // when the newest message was offered, ns; 0: none was
	processed   uint64
	run         *run[T] // the loop in charge; nil before start and after an abandoned end
	lanes       [numLanes]ring[T]

	dropped    ledger.Drops
	controlRun int   // batches control had in a row while media waited
	resumeAt   int64 // restarting until then, ns

	panics    uint64
	restarts  uint64
	left      int // replaced loops that are still stuck
	panicAt   int64
	backoff   int64 // ns
	lastPanic string

	top   topSources
	stats stats
	burst burst
}

func newShard[T any](d *Dispatcher[T], i int) *shard[T] {
	return &shard[T]{
		d: d, index: i, subject: d.cfg.Plane + "/" + strconv.Itoa(i),
		wake: make(chan struct{}, 1),
	}
}

// settle books the progress of the open batch. Every reader of the account,
// and everyone who finds the queue full, comes through here first, which is
// what makes the account exact although the loop books nothing itself while
// it works.
func (sh *shard[T]) settle() {
	if sh.batch == 0 {
		return
	}
	done := int(sh.run.word.Load()&^frozen) - sh.settled
	sh.lanes[sh.lane].shift(done)
	sh.processed += uint64(done)
	sh.settled += done
}

// freeze stops the loop after the message in hand, and settles: from here
// until the loop has come to the lock, nothing moves.
func (sh *shard[T]) freeze() {
	if sh.batch > 0 {
		sh.run.word.Or(frozen)
		sh.settle()
	}
}

// inHand is how many messages of a lane the loop has in hand: 0 or 1. They
// stay at the head of their lane until they are done.
func (sh *shard[T]) inHand(l Lane) int {
	if l == sh.lane && sh.batch > sh.settled {
		return 1
	}
	return 0
}

// depth is what waits, exact after settle.
func (sh *shard[T]) depth() int {
	return sh.lanes[Control].n + sh.lanes[Media].n - sh.inHand(sh.lane)
}

// admit is Submit's part under the shard's lock.
func (sh *shard[T]) admit(now int64, h uint64, src netip.Addr, l Lane, size int, m *T, fn func()) (ledger.Reason, bool) {
	bytes := int32(max(0, min(size, math.MaxInt32)))
	sh.mu.Lock()
	sh.received++
	sh.lastAt = now
	reason, ok := sh.fits(l, slots(h), bytes, fn != nil)
	kick := false
	if ok {
		e := sh.lanes[l].slot(sh.d.cfg.Capacity, bytes, slots(h))
		e.m, e.at = *m, now
		if fn != nil {
			e.fault = sh.lanes[l].addFault(fn)
		}
		if sh.depth() > sh.peak {
			sh.settle()
			sh.peak = max(sh.peak, sh.depth())
		}
		if l == Control && sh.batch > 0 && sh.lane == Media && sh.cutsShort() {
			sh.run.word.Or(frozen)
		}
	} else {
		sh.dropped[reason]++
		kick = sh.burst.open(reason)
	}
	if fn == nil {
		sh.top.note(h, src, !ok)
	}
	wake := ok && sh.parked
	if wake {
		sh.parked = false
	}
	sh.mu.Unlock()
	if wake {
		sh.signal()
	}
	if kick {
		sh.d.rep.kick()
	}
	return reason, ok
}

func (sh *shard[T]) signal() {
	select {
	case sh.wake <- struct{}{}:
	default:
	}
}

// fits says whether a message may join a lane, and makes way for control.
func (sh *shard[T]) fits(l Lane, s uint16, size int32, exempt bool) (ledger.Reason, bool) {
	switch {
	case sh.closed:
		return ledger.Draining, false
	case sh.paused:
		return ledger.ShardPaused, false
	case sh.spare(size) && sh.allowed(l, s, size, exempt):
		return 0, true
	}
	sh.settle() // part of what looks full may be done already
	if !sh.allowed(l, s, size, exempt) {
		return ledger.ShardFull, false
	}
	if sh.spare(size) || l == Control && sh.makeWay(size) {
		return 0, true
	}
	return ledger.ShardFull, false
}

// spare says whether the shard as a whole has room.
func (sh *shard[T]) spare(size int32) bool {
	c, m := &sh.lanes[Control], &sh.lanes[Media]
	return c.n+m.n < sh.d.cfg.Capacity && c.bytes+m.bytes+int(size) <= sh.d.cfg.CapacityBytes
}

// makeWay drops the newest waiting media until a control message fits.
func (sh *shard[T]) makeWay(size int32) bool {
	sh.freeze()
	m := &sh.lanes[Media]
	for !sh.spare(size) {
		if m.n <= sh.inHand(Media) {
			return false
		}
		m.pop()
		sh.dropped[ledger.ShardFull]++
	}
	if sh.burst.open(ledger.ShardFull) {
		sh.d.rep.kick()
	}
	return true
}

// cutsShort says whether control that waits ends the open batch of media after
// the message in hand: at once, or in media's guaranteed turn when half of
// control's places are taken, for by the end of a slow batch all would be.
func (sh *shard[T]) cutsShort() bool {
	c := &sh.lanes[Control]
	return !sh.mediaTurn || c.n > sh.d.cfg.Capacity*3/8 || c.bytes > sh.d.cfg.CapacityBytes/8*3
}

// allowed applies the limits of a lane and of a source's share in it. Media
// may fill the shard; control three quarters of it, pushing media out, so that
// neither can silence the other.
//
// While others wait, a source may hold no more than its share, nor more than
// is still free: so two busy sources get a third each, three a quarter, and
// whoever comes next finds room. Alone it may hold seven eighths. A lane that
// is not under pressure does not ask whose its messages are.
func (sh *shard[T]) allowed(l Lane, s uint16, size int32, exempt bool) bool {
	cfg := &sh.d.cfg
	q := &sh.lanes[l]
	limit, limitBytes := cfg.Capacity, cfg.CapacityBytes
	free, freeBytes := limit-q.n, limitBytes-q.bytes
	if l == Control {
		limit, limitBytes = limit-limit/4, limitBytes-limitBytes/4
		free, freeBytes = limit-q.n, limitBytes-q.bytes
		if free <= 0 || freeBytes < int(size) {
			return false
		}
	} else {
		free -= sh.lanes[Control].n
		freeBytes -= sh.lanes[Control].bytes
	}
	if exempt || !q.watch(limit, limitBytes) {
		return true
	}
	own, ownBytes := q.held.held(s)
	switch {
	case own == 0:
		return true
	case own >= q.n:
		return own < limit-limit/8 && ownBytes+int(size) <= limitBytes-limitBytes/8
	}
	most := int(cfg.SourceShare * float64(limit))
	mostBytes := int(cfg.SourceShare * float64(limitBytes))
	if own >= lightSource {
		most, mostBytes = min(most, free), min(mostBytes, freeBytes)
	}
	return own < most && ownBytes+int(size) <= mostBytes
}

// lightSource is how many messages a source may have waiting before the room
// that is left limits it: a crowd of light sources may fill the lane to the
// last place.
const lightSource = 4

// pause reports how many messages it keeps and whether it changed anything.
func (sh *shard[T]) pause() (kept int, changed bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.paused {
		return 0, false
	}
	sh.paused = true
	sh.freeze()
	return sh.depth(), true
}

func (sh *shard[T]) resume() (waiting int, changed bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !sh.paused {
		return 0, false
	}
	sh.paused = false
	sh.settle()
	if sh.parked {
		sh.parked = false
		sh.signal() // never waits
	}
	return sh.depth(), true
}

// flush drops everything that waits, under one reason.
func (sh *shard[T]) flush(why ledger.Reason) int {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.flushLocked(why)
}

func (sh *shard[T]) flushLocked(why ledger.Reason) int {
	sh.freeze()
	n := 0
	for l := range sh.lanes {
		q := &sh.lanes[l]
		for q.n > sh.inHand(Lane(l)) {
			q.pop()
			n++
		}
	}
	sh.dropped[why] += uint64(n)
	return n
}

// start puts the first loop in charge.
func (sh *shard[T]) start() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.handOver()
}

// handOver starts a loop and puts it in charge.
func (sh *shard[T]) handOver() {
	sh.run = &run[T]{done: make(chan struct{})}
	sh.parked = false
	go sh.loop(sh.run)
}

// restart asks the loop to hand over, or replaces it when it is wedged.
func (sh *shard[T]) restart() (replaced, ok bool) {
	now := sh.d.now()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed || sh.run == nil {
		return false, false
	}
	sh.freeze()
	if since := sh.run.since.Load(); since > 0 && now-since >= int64(sh.d.cfg.Watchdog.WedgedAfter) {
		sh.replace()
		return true, true
	}
	sh.wantRestart, sh.resumeAt = true, 0
	sh.signal()
	return false, true
}

// replace leaves the present loop behind, stuck as it is, quarantines its
// message and puts a new loop in charge of the queue.
func (sh *shard[T]) replace() {
	sh.abandon()
	sh.restarts++
	sh.wantRestart = false
	sh.handOver()
}

// abandon takes the queue away from a stuck loop. Its word stays frozen, so
// when its handler returns it comes to the lock, finds that it is no longer
// in charge, and ends.
func (sh *shard[T]) abandon() {
	sh.freeze()
	if sh.inHand(sh.lane) > 0 {
		q := &sh.lanes[sh.lane]
		q.detach()
		q.shift(1)
		sh.dropped[ledger.ShardReplaced]++
	}
	sh.batch, sh.settled = 0, 0
	sh.left++
	sh.run = nil
}

// close ends admission and asks the loop to end after the message in hand.
func (sh *shard[T]) close() {
	sh.mu.Lock()
	sh.closed = true
	sh.freeze()
	sh.mu.Unlock()
	sh.signal()
}

// join waits for the loop until grace is over and drops what is left.
func (sh *shard[T]) join(grace context.Context) {
	sh.mu.Lock()
	r := sh.run
	sh.mu.Unlock()
	ended := true
	select {
	case <-r.done:
	case <-grace.Done():
		ended = false
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !ended {
		sh.abandon()
	}
	sh.flushLocked(ledger.Draining)
}
