package dhttest

import (
	"context"
	"sync"
	"time"
)

// queue holds what is under way: a heap by time, then by order of entry.
type queue struct {
	wake chan struct{} // capacity 1: something earlier than awaited has come

	mu       sync.Mutex // a leaf; guards the fields below
	heap     []event
	seq      uint64
	messages int   // among heap, and being delivered
	until    int64 // what the loop waits for; 0: it is not waiting
	free     []*parcel
}

type event struct {
	at  int64
	seq uint64
	to  *link   // a message for to's owner, when parcel is given
	p   *parcel // a message, or
	f   func()  // anything else
}

// parcel is a message under way; they are used again.
type parcel struct {
	n   int
	buf [1 << 12]byte
}

func (a *event) before(b *event) bool { return a.at < b.at || a.at == b.at && a.seq < b.seq }

func (q *queue) push(e event) {
	q.seq++
	e.seq = q.seq
	q.heap = append(q.heap, e)
	for i := len(q.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !q.heap[i].before(&q.heap[up]) {
			break
		}
		q.heap[i], q.heap[up] = q.heap[up], q.heap[i]
		i = up
	}
}

func (q *queue) pop() event {
	top, last := q.heap[0], len(q.heap)-1
	q.heap[0] = q.heap[last]
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		down := 2*i + 1
		if down >= last {
			return top
		}
		if down+1 < last && q.heap[down+1].before(&q.heap[down]) {
			down++
		}
		if !q.heap[down].before(&q.heap[i]) {
			return top
		}
		q.heap[i], q.heap[down] = q.heap[down], q.heap[i]
		i = down
	}
}

// add enters an event; a message is copied.
func (q *queue) add(e event, payload []byte) {
	q.mu.Lock()
	if payload != nil {
		q.messages++
		if n := len(q.free); n > 0 {
			e.p, q.free = q.free[n-1], q.free[:n-1]
		} else {
			e.p = new(parcel)
		}
		e.p.n = copy(e.p.buf[:], payload)
	}
	q.push(e)
	early := q.until != 0 && e.at < q.until
	q.mu.Unlock()
	if early {
		select {
		case q.wake <- struct{}{}:
		default: // it has been woken already
		}
	}
}

// take moves what is due at now to dst and says when the next is.
func (q *queue) take(dst []event, now int64) ([]event, int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range dst {
		if p := dst[i].p; p != nil {
			q.messages--
			if len(q.free) < cap(q.free) {
				q.free = append(q.free, p)
			}
		}
	}
	clear(dst)
	dst = dst[:0]
	for len(q.heap) > 0 && q.heap[0].at <= now {
		dst = append(dst, q.pop())
	}
	q.until = 0
	if len(dst) == 0 {
		q.until = now + int64(time.Hour)
		if len(q.heap) > 0 {
			q.until = q.heap[0].at
		}
	}
	return dst, q.until
}

// at has f called in d, by the network's goroutine; f must not wait.
func (s *Swarm) at(d time.Duration, f func()) {
	s.queue.add(event{at: s.round(s.Now() + int64(d)), f: f}, nil)
}

// round brings a time to the grain.
func (s *Swarm) round(t int64) int64 {
	g := int64(s.cfg.Grain)
	return (t + g - 1) / g * g
}

// deliver is the network's loop.
func (s *Swarm) deliver(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var due []event
	for {
		var next int64
		if due, next = s.queue.take(due, s.Now()); len(due) == 0 {
			timer.Reset(time.Duration(next - s.Now()))
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			case <-s.queue.wake:
			}
			continue
		}
		for i := range due {
			if e := &due[i]; e.f != nil {
				e.f()
			} else {
				s.arrive(e.to, e.p.buf[:e.p.n])
			}
		}
	}
}
