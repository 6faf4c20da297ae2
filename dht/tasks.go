package dht

import (
	"context"
	"sync"
)

// tasks starts short goroutines on behalf of Run, which outlive neither it nor
// their bound. The context lives here because it is the lifetime they share,
// not that of any one call.
type tasks struct {
	mu      sync.Mutex // guards the fields below; a leaf
	ctx     context.Context
	running bool
	used    bool
	n       int
	brought int // introductions and calls under way, see introduce.go
	punches int // dials through holes, see punch.go
	pumps   int // goroutines of relayed paths, see relayed.go and relaying.go

	wg sync.WaitGroup
}

// open lets tasks start; false when it was called before.
func (t *tasks) open(ctx context.Context) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.used {
		return false
	}
	t.ctx, t.running, t.used = ctx, true, true
	return true
}

// close waits for the running tasks and lets no more start.
func (t *tasks) close() {
	t.mu.Lock()
	t.running = false
	t.mu.Unlock()
	t.wg.Wait()
}

// spawn runs f in a goroutine of Run's. It refuses while the node is not
// running and when maxTasks are under way.
func (n *Node) spawn(name string, f func(ctx context.Context)) error {
	return n.start(name, &n.tasks.n, maxTasks, f)
}

// start is spawn with a count and a bound of its own; count is guarded by the
// tasks' lock.
func (n *Node) start(name string, count *int, bound int, f func(ctx context.Context)) error {
	t := &n.tasks
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.running || t.ctx.Err() != nil {
		return ErrNotRunning
	}
	if *count >= bound {
		return ErrBusy
	}
	*count++
	ctx := t.ctx
	t.wg.Go(func() {
		defer func() {
			t.mu.Lock()
			*count--
			t.mu.Unlock()
		}()
		n.contain(name, func() { f(ctx) })
	})
	return nil
}
