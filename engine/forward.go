package engine

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"signalbox/engine/config"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
)

// Times of forward mode. A client waits for its CallAnswer about ten seconds;
// what it is not given by forwardWait it is refused.
const (
	forwardDial  = 4 * time.Second // one attempt to connect
	forwardWait  = 8 * time.Second // a client's wait for a relay that is down
	forwardRetry = 2 * time.Second // between attempts while it is down, and up to a quarter more
	forwardLook  = 30 * time.Second
	forwardQuiet = 10 * time.Second // refusals are told of once in so long, with their number
)

var (
	errForwardSelf = errors.New("it is this node itself")
	errForwardLoop = errors.New("the remote relay forwards to this one")
)

// The states of the remote relay.
const (
	farUnknown = "unknown"
	farUp      = "up"
	farDown    = "down"
)

// forwarder knows the way to the remote relay of forward mode (spec wzp 5.16),
// and whether it is there.
type forwarder struct {
	// Constant after newForwarder.
	e      *Engine
	remote string
	poked  chan struct{} // 1 slot: look now

	// mu guards the rest. A leaf; nothing waits under it.
	mu       sync.Mutex
	state    string
	since    time.Time
	addr     netip.AddrPort // the newest it was reached at, or looked up as
	rtt      time.Duration
	lastErr  string
	attempts uint64
	failures uint64
	refused  uint64
	told     time.Time // of refusals
	untold   uint64
	changed  chan struct{} // closed when the state changes
}

func newForwarder(e *Engine, remote string) *forwarder {
	return &forwarder{
		e: e, remote: remote, poked: make(chan struct{}, 1), state: farUnknown, since: time.Now(), changed: make(chan struct{}),
	}
}

// run keeps looking whether the relay is there: often while it is not, so that
// those who wait for it wait no longer than they must.
func (f *forwarder) run(ctx context.Context) {
	for {
		f.e.guarded("forwarder", func() { f.look(ctx) })
		wait := forwardLook
		if f.is(farDown) {
			wait = forwardRetry + rand.N(forwardRetry/4)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-f.poked:
			t.Stop()
		case <-t.C:
		}
	}
}

// look connects as those do who measure the way (spec wzp 4.7).
func (f *forwarder) look(ctx context.Context) {
	if c, err := f.dial(ctx, "ping"); err == nil {
		c.Close(0, "ping")
	}
}

// dial makes one attempt and remembers how it ended.
func (f *forwarder) dial(ctx context.Context, room string) (*quicnet.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardDial)
	defer cancel()
	start := time.Now()
	addr, err := resolveUDP(ctx, f.remote)
	var c *quicnet.Conn
	if err == nil {
		c, err = f.e.edge.Dial(ctx, quicnet.DialConfig{Addr: addr, ALPN: quicnet.ALPNWZP, ServerName: room})
	}
	if err == nil && sha256.Sum256(c.PeerCertificate()) == f.e.certHash {
		c.Close(0, closeReason)
		err = errForwardSelf
	}
	if err != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return nil, err // it is we who have ended it
	}
	if err != nil && room != "ping" && answered(err) {
		return nil, err // it does not like this room, say: of others that says nothing
	}
	f.note(addr, time.Since(start), err)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// answered says whether the other side has refused, which proves that it is
// there.
func answered(err error) bool {
	end := quicnet.Ended(err)
	return end.Remote && (end.Kind == quicnet.EndTransport || end.Kind == quicnet.EndClosed)
}

// note keeps the outcome of an attempt and tells of changes.
func (f *forwarder) note(addr netip.AddrPort, took time.Duration, err error) {
	state := farUp
	f.mu.Lock()
	f.attempts++
	if addr.IsValid() {
		f.addr = addr
	}
	if err != nil {
		state = farDown
		f.failures++
		f.lastErr = clean(err.Error())
	} else {
		f.rtt = took
	}
	was := f.state
	if state != was {
		f.state, f.since = state, time.Now()
		close(f.changed)
		f.changed = make(chan struct{})
	}
	f.mu.Unlock()
	switch {
	case state == was:
	case state == farDown:
		f.e.event(view.Event{Kind: "forward_down", Severity: view.Alarm, Subject: f.remote, Message: fmt.Sprintf("the remote relay %s cannot be reached: %v; clients are refused until it can", f.remote, err)})
	default:
		f.e.event(view.Event{Kind: "forward_up", Subject: f.remote, Message: fmt.Sprintf("the remote relay %s is there", f.remote)})
	}
}

func (f *forwarder) is(state string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state == state
}

// poke has the relay looked for at once.
func (f *forwarder) poke() {
	select {
	case f.poked <- struct{}{}:
	default:
	}
}

// connect gives a client its own connection to the remote relay. While that is
// down the client waits for it, for a while.
func (f *forwarder) connect(ctx context.Context, from netip.AddrPort, room string) (*quicnet.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardWait)
	defer cancel()
	for {
		f.mu.Lock()
		down, changed, lastErr, addr := f.state == farDown, f.changed, f.lastErr, f.addr
		f.mu.Unlock()
		switch {
		case from == addr:
			return nil, errForwardLoop
		case !down:
			c, err := f.dial(ctx, room)
			switch {
			case err == nil:
				return c, nil
			case answered(err):
				return nil, fmt.Errorf("by the remote relay %s: %w", f.remote, err)
			case ctx.Err() == nil:
				continue // it is down now
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("the remote relay %s is down: %s", f.remote, lastErr)
		}
	}
}

// refuse tells of a client that could not be forwarded, those of a burst in one
// event.
func (f *forwarder) refuse(who netip.AddrPort, err error) {
	f.mu.Lock()
	f.refused++
	now := time.Now()
	if now.Sub(f.told) < forwardQuiet {
		f.untold++
		f.mu.Unlock()
		return
	}
	more := f.untold
	f.told, f.untold = now, 0
	f.mu.Unlock()
	msg := fmt.Sprintf("%s was refused: %v", who, err)
	if more > 0 {
		msg += fmt.Sprintf("; and %d others before", more)
	}
	f.e.event(view.Event{Kind: "forward_refused", Severity: view.Warn, Subject: f.remote, Message: msg})
}

// view is forward mode in the snapshot.
func (f *forwarder) view() *view.Forward {
	legs := f.e.relay.Legs()
	f.mu.Lock()
	defer f.mu.Unlock()
	return &view.Forward{
		Remote: f.remote, State: f.state, Since: f.since.UTC(), RTTMS: f.rtt.Seconds() * 1e3, Refused: f.refused,
		Attempts: f.attempts, Failures: f.failures, LastError: f.lastErr, Legs: legs,
	}
}

// forwardCauses is what forward mode has to say about the node's health.
func forwardCauses(f *view.Forward) []view.Cause {
	if f == nil || f.State != farDown {
		return nil
	}
	return []view.Cause{{
		Severity: view.Alarm, Pane: "overview", Subject: "forward " + f.Remote,
		Message: fmt.Sprintf("the remote relay cannot be reached: %s; %d clients refused", f.LastError, f.Refused),
		Remedy:  "it is tried every few seconds; check remote_relay and that relay",
	}}
}

// checkForward refuses what cannot be meant.
func checkForward(cfg *config.Config) error {
	if _, port, err := net.SplitHostPort(cfg.Legacy.RemoteRelay); err != nil || port == "0" {
		return &config.ExitError{Code: config.ExitConfig, Err: fmt.Errorf("remote_relay %q: wants host:port", cfg.Legacy.RemoteRelay)}
	}
	return nil
}

// remoteHop is the way of a forwarded client's packets to the remote relay.
func remoteHop(f *view.Forward, from *view.Participant, at time.Time) view.Hop {
	h := view.Hop{Name: "remote relay " + f.Remote, Verdict: "ok", Dropped: map[string]uint64{}}
	for i := range f.Legs {
		l := &f.Legs[i]
		if l.Client != from.ID {
			continue
		}
		h.QueueDepth, h.Dropped, h.LastPacketAgo = l.QueueDepth, l.Dropped, l.LastPacketMS
		if life := at.Sub(from.JoinedAt).Seconds(); life > 0 {
			h.RatePPS = float64(l.Delivered) / life
		}
		if l.QueueDepth > l.QueueCapacity/2 || l.QueueOldestMS > frozenAfterMS {
			h.Verdict = fmt.Sprintf("does not take their packets: %d of %d queued, oldest %.0f ms", l.QueueDepth, l.QueueCapacity, l.QueueOldestMS)
		}
	}
	if f.State == farDown {
		h.Verdict = "cannot be reached: " + f.LastError
	}
	return h
}
