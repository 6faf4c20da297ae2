package relay

import (
	"sync"

	"signalbox/engine/ledger"
)

// entry is one packet waiting for a receiver.
type entry struct {
	pkt []byte // shared with all other receivers, read-only
	at  int64  // when it was put here, monotonic ns
}

// ring is one receiver's queue: bounded in packets, bytes and age, and it is
// always the oldest packet that goes.
type ring struct {
	// Constant after newRing.
	maxAge   int64 // ns
	maxBytes int

	// mu guards the rest. A leaf: nothing is locked under it.
	mu         sync.Mutex
	buf        []entry
	head, n    int
	bytes      int   // of the n waiting
	inFlight   int   // taken by the writer and not yet reported
	inFlightAt int64 // when the oldest of those was put here
	closed     bool

	offered   uint64 // copies pushed, counted apart from what became of them
	delivered uint64
	dropped   ledger.Drops
}

func newRing(capacity, maxBytes int, maxAge int64) ring {
	return ring{buf: make([]entry, capacity), maxBytes: maxBytes, maxAge: maxAge}
}

// push queues one copy and makes room for it if it must. It returns false, and
// has counted nothing, when the ring is closed.
func (q *ring) push(pkt []byte, now int64) bool {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	q.offered++
	q.expire(now)
	switch {
	case len(pkt) > q.maxBytes:
		q.dropped[ledger.TooLarge]++
		q.mu.Unlock()
		return true
	case q.n == len(q.buf):
		q.pop()
		q.dropped[ledger.QueueHead]++
	}
	for q.bytes+len(pkt) > q.maxBytes {
		q.pop()
		q.dropped[ledger.QueueHead]++
	}
	i := q.head + q.n
	if i >= len(q.buf) {
		i -= len(q.buf)
	}
	q.buf[i] = entry{pkt, now}
	q.n++
	q.bytes += len(pkt)
	q.mu.Unlock()
	return true
}

// pop takes the oldest out. An emptied ring starts over at slot 0, so that a
// receiver that keeps up uses few slots and those stay in the cache. mu is
// held and n > 0.
func (q *ring) pop() entry {
	e := q.buf[q.head]
	q.buf[q.head].pkt = nil
	q.bytes -= len(e.pkt)
	q.n--
	if q.head++; q.head == len(q.buf) || q.n == 0 {
		q.head = 0
	}
	return e
}

// expire drops what has waited longer than it is worth. mu is held.
func (q *ring) expire(now int64) {
	for q.n > 0 && now-q.buf[q.head].at > q.maxAge {
		q.pop()
		q.dropped[ledger.QueueAge]++
	}
}

// take appends up to limit packets to out, oldest first. They count as queued
// until done.
func (q *ring) take(out [][]byte, limit int, now int64) [][]byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expire(now)
	for range min(limit, q.n) {
		e := q.pop()
		if q.inFlight == 0 {
			q.inFlightAt = e.at
		}
		q.inFlight++
		out = append(out, e.pkt)
	}
	return out
}

// done books what became of packets taken. More than are in flight, or any
// after close, are not ours to book.
func (q *ring) done(sent, tooLarge, failed int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	book := func(n int, to *uint64) {
		n = max(0, min(n, q.inFlight))
		q.inFlight -= n
		*to += uint64(n)
	}
	book(sent, &q.delivered)
	book(tooLarge, &q.dropped[ledger.TooLarge])
	book(failed, &q.dropped[ledger.WriteError])
}

// close ends the ring and returns its final account. What waits, and what a
// writer still holds, is dropped as gone.
func (q *ring) close() ledger.Counts {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.dropped[ledger.Gone] += uint64(q.n + q.inFlight)
	clear(q.buf)
	q.head, q.n, q.bytes, q.inFlight = 0, 0, 0, 0
	return q.countsLocked()
}

func (q *ring) countsLocked() ledger.Counts {
	return ledger.Counts{Copies: q.offered, Delivered: q.delivered, Queued: uint64(q.n + q.inFlight), Dropped: q.dropped}
}

// addTo adds the ring's account at this moment to c.
func (q *ring) addTo(c *ledger.Counts) {
	q.mu.Lock()
	own := q.countsLocked()
	q.mu.Unlock()
	c.Add(&own)
}

// ringView is what an observer sees of a ring at one moment.
type ringView struct {
	depth, capacity int
	oldest          int64 // age in ns of the oldest, one in a writer's hands included
	delivered       uint64
	dropped         ledger.Drops
}

func (q *ring) view(now int64) ringView {
	q.mu.Lock()
	defer q.mu.Unlock()
	v := ringView{depth: q.n, capacity: len(q.buf), delivered: q.delivered, dropped: q.dropped}
	switch {
	case q.inFlight > 0:
		v.oldest = max(0, now-q.inFlightAt)
	case q.n > 0:
		v.oldest = max(0, now-q.buf[q.head].at)
	}
	return v
}
