package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
)

const publishEvery = 250 * time.Millisecond

// Run serves until ctx ends or Drain's deadline has passed, and returns after
// every goroutine of the node has gone. A node runs once.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e.runMu.Lock()
	if e.runCtx != nil {
		e.runMu.Unlock()
		return errors.New("engine: Run was called twice")
	}
	e.runCtx = ctx
	e.runMu.Unlock()

	g, gctx := errgroup.WithContext(ctx)
	for _, p := range e.parts() {
		g.Go(func() error {
			as(gctx, p.role)
			return p.run(gctx)
		})
	}
	e.runWZP(gctx, g)
	g.Go(func() error {
		select {
		case <-gctx.Done():
		case <-e.quit:
			cancel()
		}
		return nil
	})
	e.auditLater(view.Audit{At: e.started, Author: byNode, Role: byNode, Kind: auditStart, OK: true, Code: string(control.OK), Message: "started: nothing is in force", Reason: noReason})
	e.event(view.Event{Kind: "ready", Message: "listening on " + e.info.Listen})
	close(e.ready)
	e.wake <- struct{}{} // so that the next snapshot says so at once
	err := g.Wait()
	cancel()
	e.wg.Wait()
	e.publish(time.Now())
	e.closeFlight()
	if cerr := e.closeAll(); err == nil {
		err = cerr
	}
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

// part is something that runs as long as the node does.
type part struct {
	role string
	run  func(context.Context) error
}

func (e *Engine) parts() []part {
	return []part{
		{"media shards", e.media.Run},
		{"dht shards", e.dhtq.Run},
		{"dht", e.dht.Run},
		{"edge", e.runEdge},
		{"admin socket", e.serveAdmin},
		{"metrics", e.serveMetrics},
		{"browsers", e.serveWeb},
		{"publisher", loop(e.publishLoop)},
		{"directory", loop(e.directoryLoop)},
		{"federation", loop(e.federate)},
		{"saver", loop(e.saver.loop)},
		{"names", loop(e.nameLoop)},
		{"signalling", loop(e.signalLoop)},
		{"flight recorder", e.flight.Run},
	}
}

// loop is a part that ends with its context and cannot fail.
func loop(f func(context.Context)) func(context.Context) error {
	return func(ctx context.Context) error { f(ctx); return nil }
}

// as labels the goroutine, and those it starts, with what they are for: bundles
// list goroutines by it.
func as(ctx context.Context, role string) {
	pprof.SetGoroutineLabels(pprof.WithLabels(ctx, pprof.Labels("role", role)))
}

// runEdge takes connections. A socket that has died is for the supervisor to
// mend, by starting us again.
func (e *Engine) runEdge(ctx context.Context) error {
	err := e.edge.Run(ctx, func(c *quicnet.Conn) { e.accept(ctx, c) })
	if err == nil {
		return nil
	}
	e.log.Error("the UDP socket has died", "err", err)
	return &config.ExitError{Code: config.ExitTempFail, Err: fmt.Errorf("the UDP socket %s has died: %w", e.info.Listen, err)}
}

// spawn runs f for as long as Run lives; false when it does not.
func (e *Engine) spawn(f func(context.Context)) bool {
	e.runMu.Lock()
	ctx := e.runCtx
	if ctx == nil || ctx.Err() != nil {
		e.runMu.Unlock()
		return false
	}
	e.wg.Add(1)
	e.runMu.Unlock()
	go func() {
		defer e.wg.Done()
		defer e.contain("background", func() {})
		f(ctx)
	}()
	return true
}

// accept decides by ALPN and server name what a connection is (spec wzp 1.3).
// It returns when the connection is done with.
func (e *Engine) accept(ctx context.Context, c *quicnet.Conn) {
	if c.ALPN() == quicnet.ALPNDHT {
		as(ctx, "dht link")
		e.serveDHT(ctx, c)
		return
	}
	if e.relay.Banned(c.RemoteAddr().Addr()) {
		c.Close(0, closeReason)
		e.endings.add(view.Ending{At: time.Now().UTC(), Kind: "other", Remote: c.RemoteAddr().String(), Reason: "source banned"})
		return
	}
	if c.ALPN() == quicnet.ALPNH3 { // offered only where there are sessions
		e.sessions.Handle(c)
		return
	}
	switch sni := c.ServerName(); sni {
	case "ping":
		e.servePing(ctx, c)
	case "version":
		e.serveVersion(ctx, c)
	case "_signal":
		as(ctx, "signalling client")
		e.serveSignal(ctx, c)
	case "_probe":
		e.serveProbe(ctx, c)
	case sniFederation:
		as(ctx, "federation link")
		e.serveFederation(ctx, c)
	default:
		as(ctx, "room member")
		if strings.HasPrefix(sni, rawPrefix) {
			c.Close(0, closeReason)
			return
		}
		if e.relay.Forwarding(sni) {
			e.serveForwarded(ctx, c)
			return
		}
		e.serveMedia(ctx, c)
	}
}

// servePing lets the client measure its handshake and read our certificate; it
// closes when it has (spec wzp 4.7).
func (e *Engine) servePing(ctx context.Context, c *quicnet.Conn) {
	select {
	case <-c.Context().Done():
	case <-ctx.Done():
	case <-time.After(3 * time.Second):
	}
	c.Close(0, "")
}

// serveVersion writes the build to one unidirectional stream (spec wzp 4.7).
func (e *Engine) serveVersion(ctx context.Context, c *quicnet.Conn) {
	st, err := c.OpenUniStream()
	if err == nil {
		if err = st.SetWriteDeadline(time.Now().Add(signalTimeout)); err == nil {
			if _, err = st.Write([]byte(BuildID())); err == nil {
				err = st.Close()
			}
		}
	}
	if err != nil {
		e.log.Debug("version not sent", "remote", c.RemoteAddr().String(), "err", err)
	}
	select { // the client reads, then closes; 100 ms at the least
	case <-c.Context().Done():
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
	c.Close(0, "")
}

// setDraining turns admission off or on.
func (e *Engine) setDraining(on bool) {
	e.draining.Store(on)
	e.relay.SetDraining(on)
	e.hub.SetDraining(on, e.mono())
	e.edge.SetDraining(on)
	e.enlist(!on)
	kind, msg := "drain", "draining: nobody new is admitted"
	if !on {
		kind, msg = "undrain", "admitting again"
	}
	e.event(view.Event{Kind: kind, Severity: view.Warn, Message: msg})
}

// Drain stops admitting, closes the connections spread over the deadline and
// ends Run. It returns at once; a second call ends Run now.
func (e *Engine) Drain(deadline time.Duration) {
	if e.stopping.Swap(true) {
		e.quitOnce.Do(func() { close(e.quit) })
		return
	}
	e.setDraining(true)
	e.saver.poke()
	started := e.spawn(func(ctx context.Context) {
		e.edge.CloseAll(ctx, deadline, drainReason)
		e.quitOnce.Do(func() { close(e.quit) })
	})
	if !started {
		e.quitOnce.Do(func() { close(e.quit) })
	}
}

// panicked books a contained panic of one of our goroutines.
func (e *Engine) panicked(role string, r any) { e.panickedAt(role, r, debug.Stack()) }

func (e *Engine) panickedAt(role string, r any, stack []byte) {
	e.event(view.Event{
		Kind: "panic", Severity: view.Alarm, Subject: role, Message: fmt.Sprintf("contained panic: %v", r),
		Fields: map[string]any{"stack": string(stack)},
	})
}

// endReason says in words how a connection ended.
func endReason(err error) string {
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return "closed by us"
	default:
		return quicnet.EndReason(err)
	}
}
