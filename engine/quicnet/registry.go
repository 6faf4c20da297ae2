package quicnet

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// registry is the set of live connections of an endpoint or client.
type registry struct {
	// mu guards; a leaf.
	mu     sync.Mutex
	conns  map[*Conn]struct{}
	closed bool

	// Any goroutine (atomic).
	last atomic.Uint64 // newest connection id
}

func newRegistry() *registry { return &registry{conns: map[*Conn]struct{}{}} }

// nextID numbers connections, from 1.
func (r *registry) nextID() uint64 { return r.last.Add(1) }

// add registers c; false when the endpoint is closing, and c has to go.
func (r *registry) add(c *Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *registry) remove(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

func (r *registry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns)
}

// list returns the live connections; shut lets no more in.
func (r *registry) list(shut bool) []*Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = r.closed || shut
	out := make([]*Conn, 0, len(r.conns))
	for c := range r.conns {
		out = append(out, c)
	}
	return out
}

// closeIf closes the connections that match and returns how many.
func (r *registry) closeIf(match func(*Conn) bool, reason string) int {
	n := 0
	for _, c := range r.list(false) {
		if match(c) {
			c.Close(0, reason)
			n++
		}
	}
	return n
}

// closeAll closes the connections live now, evenly over spread, and the rest
// at once when ctx ends; who leaves meanwhile is not waited for. It returns how
// many there were.
func (r *registry) closeAll(ctx context.Context, spread time.Duration, shut bool, reason string) int {
	conns := r.list(shut)
	if len(conns) == 0 {
		return 0
	}
	step := spread / time.Duration(len(conns))
	var tick <-chan time.Time
	if step > 0 {
		t := time.NewTicker(step)
		defer t.Stop()
		tick = t.C
	}
	for _, c := range conns {
		if c.Context().Err() != nil {
			continue // has left by itself
		}
		if tick != nil {
			select {
			case <-tick:
			case <-ctx.Done():
				tick = nil
			}
		}
		c.Close(0, reason)
	}
	return len(conns)
}
