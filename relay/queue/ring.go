// Package queue is the queue before one writer: a participant's, or a
// federation link's. It is bounded in items, bytes and age, it is always the
// oldest item that goes, and it accounts for every item it was given. The
// writer may wait; whoever fills the queue never does.
package queue

import (
	"sync"

	"signalbox/engine/ledger"
)

// entry is one item waiting.
type entry[T any] struct {
	item T
	at   int64 // when it was put here, monotonic ns
}

// Ring is one writer's queue. Times are monotonic ns.
type Ring[T any] struct {
	// Constant after New.
	maxAge   int64 // ns
	maxBytes int
	size     func(T) int

	// mu guards the rest. A leaf: nothing is locked under it.
	mu         sync.Mutex
	buf        []entry[T]
	head, n    int
	bytes      int   // of the n waiting
	inFlight   int   // taken by the writer and not yet reported
	inFlightAt int64 // when the oldest of those was put here
	closed     bool

	offered   uint64 // items pushed, counted apart from what became of them
	delivered uint64
	dropped   ledger.Drops
}

// New makes a queue of so many items and bytes, in which nothing waits longer
// than maxAge ns. size tells an item's bytes, the same at every call.
func New[T any](capacity, maxBytes int, maxAge int64, size func(T) int) *Ring[T] {
	return &Ring[T]{buf: make([]entry[T], capacity), maxBytes: maxBytes, maxAge: maxAge, size: size}
}

// Push queues one copy and makes room for it if it must. It returns false, and
// has counted nothing, when the ring is closed.
func (q *Ring[T]) Push(item T, now int64) bool {
	size := q.size(item)
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	q.offered++
	q.expire(now)
	switch {
	case size > q.maxBytes:
		q.dropped[ledger.TooLarge]++
		q.mu.Unlock()
		return true
	case q.n == len(q.buf):
		q.pop()
		q.dropped[ledger.QueueHead]++
	}
	for q.bytes+size > q.maxBytes {
		q.pop()
		q.dropped[ledger.QueueHead]++
	}
	i := q.head + q.n
	if i >= len(q.buf) {
		i -= len(q.buf)
	}
	q.buf[i] = entry[T]{item, now}
	q.n++
	q.bytes += size
	q.mu.Unlock()
	return true
}

// pop takes the oldest out. An emptied ring starts over at slot 0, so that a
// receiver that keeps up uses few slots and those stay in the cache. mu is
// held and n > 0.
func (q *Ring[T]) pop() entry[T] {
	e := q.buf[q.head]
	var none T
	q.buf[q.head].item = none
	q.bytes -= q.size(e.item)
	q.n--
	if q.head++; q.head == len(q.buf) || q.n == 0 {
		q.head = 0
	}
	return e
}

// expire drops what has waited longer than it is worth. mu is held.
func (q *Ring[T]) expire(now int64) {
	for q.n > 0 && now-q.buf[q.head].at > q.maxAge {
		q.pop()
		q.dropped[ledger.QueueAge]++
	}
}

// Take appends up to limit items to out, oldest first. They count as queued
// until Done.
func (q *Ring[T]) Take(out []T, limit int, now int64) []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expire(now)
	for range min(limit, q.n) {
		e := q.pop()
		if q.inFlight == 0 {
			q.inFlightAt = e.at
		}
		q.inFlight++
		out = append(out, e.item)
	}
	return out
}

// Done books what became of items taken. More than are in flight, or any
// after Close, are not ours to book.
func (q *Ring[T]) Done(sent, tooLarge, failed int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.delivered += q.landed(sent)
	q.dropped[ledger.TooLarge] += q.landed(tooLarge)
	q.dropped[ledger.WriteError] += q.landed(failed)
}

// landed takes up to n items out of flight and says how many. The caller holds mu.
func (q *Ring[T]) landed(n int) uint64 {
	n = max(0, min(n, q.inFlight))
	q.inFlight -= n
	return uint64(n)
}

// Close ends the ring and returns its final account. What waits, and what a
// writer still holds, is dropped for the reason. Only the first call drops.
func (q *Ring[T]) Close(why ledger.Reason) ledger.Counts {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.dropped[why] += uint64(q.n + q.inFlight)
	clear(q.buf)
	q.head, q.n, q.bytes, q.inFlight = 0, 0, 0, 0
	return q.countsLocked()
}

func (q *Ring[T]) countsLocked() ledger.Counts {
	return ledger.Counts{Copies: q.offered, Delivered: q.delivered, Queued: uint64(q.n + q.inFlight), Dropped: q.dropped}
}

// AddTo adds the ring's account at this moment to c.
func (q *Ring[T]) AddTo(c *ledger.Counts) {
	q.mu.Lock()
	own := q.countsLocked()
	q.mu.Unlock()
	c.Add(&own)
}

// View is what an observer sees of a ring at one moment.
type View struct {
	Depth, Capacity int
	Oldest          int64 // age in ns of the oldest, one in a writer's hands included
	Delivered       uint64
	Dropped         ledger.Drops
}

// View returns the ring's state.
func (q *Ring[T]) View(now int64) View {
	q.mu.Lock()
	defer q.mu.Unlock()
	v := View{Depth: q.n, Capacity: len(q.buf), Delivered: q.delivered, Dropped: q.dropped}
	switch {
	case q.inFlight > 0:
		v.Oldest = max(0, now-q.inFlightAt)
	case q.n > 0:
		v.Oldest = max(0, now-q.buf[q.head].at)
	}
	return v
}
