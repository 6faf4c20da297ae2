package attach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"signalbox/engine/control"
	"signalbox/engine/view"
)

const (
	keptEvents = 4096
	retryFirst = 100 * time.Millisecond
	retryMost  = 5 * time.Second
)

// Calm is how long a Client may hear nothing new of a node that is well.
const Calm = 750 * time.Millisecond

var streamPath = fmt.Sprintf("/v1/stream?calm_ms=%d", Calm.Milliseconds())

// Status says how the connection to the node is.
type Status struct {
	Connected bool
	Age       time.Duration // since the newest snapshot arrived here
	Attempts  int           // to connect again, since the connection was lost
	Err       error         // why it was lost; nil while connected
}

// Client follows one node in the background: it always has the newest snapshot
// and the events since it was dialled, and connects again when it loses the
// node, also to a node that was started anew. It is what the console takes for
// an engine: Snapshot and Events never wait.
type Client struct {
	// Constant after Dial.
	api  *API
	stop context.CancelFunc
	done chan struct{} // closed when the follower has ended

	// Any goroutine (atomic).
	snap     atomic.Pointer[view.Snapshot]
	received atomic.Pointer[time.Time]

	mu       sync.Mutex   // leaf
	events   []view.Event // sequence numbers ascending
	base     uint64       // added to the node's sequence numbers: they restart with the node, ours go on
	last     uint64       // newest of our sequence numbers
	err      error
	attempts int
	up       bool
}

// Dial asks the node for its first snapshot and begins to follow it. The
// caller closes the Client.
func Dial(path string) (*Client, error) {
	c := &Client{api: NewAPI(path), done: make(chan struct{})}
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	s, err := c.api.Snapshot(ctx)
	if err != nil {
		c.api.Close()
		return nil, err
	}
	c.take(s)
	c.up = true
	ctx, c.stop = context.WithCancel(context.Background())
	go c.follow(ctx)
	return c, nil
}

// Close ends the following and returns once it has.
func (c *Client) Close() error {
	c.stop()
	<-c.done
	c.api.Close()
	return nil
}

// API is for the questions that are asked one at a time.
func (c *Client) API() *API { return c.api }

// Snapshot returns the newest snapshot: never nil, never modified. Its age is
// in Status.
func (c *Client) Snapshot() *view.Snapshot { return c.snap.Load() }

// Events returns what has happened after a sequence number, and how many
// events are lost to us since then.
func (c *Client) Events(after uint64) ([]view.Event, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if after >= c.last {
		return nil, 0
	}
	i := sort.Search(len(c.events), func(i int) bool { return c.events[i].Seq > after })
	out := append([]view.Event(nil), c.events[i:]...)
	return out, c.last - after - uint64(len(out))
}

// Do sends a command to the node.
func (c *Client) Do(ctx context.Context, cmd control.Command) (control.Result, error) {
	res, err := c.api.Do(ctx, cmd)
	if err == nil && res.EventSeq > 0 {
		c.mu.Lock()
		res.EventSeq += c.base
		c.mu.Unlock()
	}
	return res, err
}

// History asks the node for the recorded snapshots between two times (zero:
// open), at least step apart, oldest first.
func (c *Client) History(ctx context.Context, from, to time.Time, step time.Duration) ([]*view.Snapshot, error) {
	return c.api.History(ctx, from, to, step)
}

// Explain asks the node why to does not hear from.
func (c *Client) Explain(ctx context.Context, from, to string) (view.Explanation, error) {
	return c.api.Explain(ctx, from, to)
}

// Trail asks the node for its audit records, newest first.
func (c *Client) Trail(ctx context.Context) ([]view.Audit, error) { return c.api.Audit(ctx) }

// Lost says why there is no connection to the node; nil while there is one.
func (c *Client) Lost() error {
	if st := c.Status(); !st.Connected {
		return st.Err
	}
	return nil
}

// Status says how the connection is.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Status{Connected: c.up, Age: time.Since(*c.received.Load()), Attempts: c.attempts, Err: c.err}
}

// take makes s the newest snapshot. A node that was started anew counts its
// events from one again, so they are moved behind those we have.
func (c *Client) take(s *view.Snapshot) {
	old := c.snap.Load()
	if old != nil && !old.Node.StartedAt.Equal(s.Node.StartedAt) {
		c.mu.Lock()
		c.base = c.last
		c.mu.Unlock()
	}
	now := time.Now()
	c.received.Store(&now)
	c.snap.Store(s)
}

// follow keeps a session with the node until ctx ends.
func (c *Client) follow(ctx context.Context) {
	defer close(c.done)
	wait := retryFirst
	for ctx.Err() == nil {
		began := time.Now()
		err := c.session(ctx)
		c.lost(err)
		if time.Since(began) > retryMost { // it was a good one
			wait = retryFirst
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait/2 + rand.N(wait)):
		}
		wait = min(2*wait, retryMost)
	}
}

// session follows both streams until one of them ends.
func (c *Client) session(ctx context.Context) error {
	s, err := c.api.Snapshot(ctx)
	if err != nil {
		return err
	}
	c.take(s)
	c.mu.Lock()
	c.up, c.err, c.attempts = true, nil, 0
	after := c.last - c.base
	c.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return ended(c.api.Lines(ctx, streamPath, c.snapshotLine(s.Node.StartedAt)))
	})
	g.Go(func() error {
		return ended(c.api.Lines(ctx, "/v1/events?follow=1&after="+strconv.FormatUint(after, 10), c.eventLine))
	})
	return g.Wait()
}

// errEnded is a stream that ended without saying why.
var errEnded = errors.New("the node has closed the connection")

func ended(err error) error {
	if err == nil {
		return errEnded
	}
	return err
}

func (c *Client) lost(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up, c.err = false, err
	c.attempts++
}

func (c *Client) snapshotLine(started time.Time) func([]byte) error {
	var d decoder
	return func(line []byte) error {
		s, err := d.decode(line)
		if err != nil {
			return fmt.Errorf("attach: snapshot: %w", err)
		}
		if !s.Node.StartedAt.Equal(started) {
			return errEnded // cannot happen on one connection; a new session sorts it out
		}
		c.take(s)
		return nil
	}
}

func (c *Client) eventLine(line []byte) error {
	var ev view.Event
	if err := json.Unmarshal(line, &ev); err != nil {
		return fmt.Errorf("attach: event: %w", err)
	}
	if ev.Seq == 0 { // what was missed shows as a gap in the numbers
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ev.Seq += c.base
	if ev.Seq <= c.last {
		return nil
	}
	if len(c.events) >= keptEvents {
		c.events = append(c.events[:0], c.events[keptEvents/4:]...)
	}
	c.events = append(c.events, ev)
	c.last = ev.Seq
	return nil
}
