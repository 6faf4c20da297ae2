package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"signalbox/engine/mesh"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// Times of the probes (spec wzp 5.15).
const (
	probeEvery   = time.Second
	probeRetry   = 5 * time.Second // and up to a quarter more
	probeDial    = 5 * time.Second
	probeTell    = 10               // every so many pings, who is here
	probeSilence = 10 * time.Second // without a pong the target counts as down
	maxProbes    = 64
)

var errProbeSilent = errors.New("it takes the connection and answers no ping")

// prober measures the way to other relays.
type prober struct {
	e       *Engine
	targets []*probeTarget // constant
}

// probeTarget is one relay.
type probeTarget struct {
	addr string // constant

	// mu guards the rest. A leaf.
	mu       sync.Mutex
	window   mesh.Window // of this connection
	up       bool
	since    time.Time
	sent     uint64
	answered uint64
	lastErr  string
}

func newProber(e *Engine, targets []string) *prober {
	p := &prober{e: e}
	seen := map[string]bool{}
	for _, t := range targets {
		if !seen[t] && len(p.targets) < maxProbes {
			p.targets = append(p.targets, &probeTarget{addr: t, since: e.started})
		}
		seen[t] = true
	}
	if len(seen) > maxProbes {
		e.event(view.Event{Kind: "probes_capped", Severity: view.Warn, Message: fmt.Sprintf("%d probe targets, of which the first %d are probed", len(seen), maxProbes)})
	}
	return p
}

// run probes all targets until ctx ends.
func (p *prober) run(ctx context.Context) {
	var g errgroup.Group
	for _, t := range p.targets {
		g.Go(func() error { p.watch(ctx, t); return nil })
	}
	_ = g.Wait() // they return no error
}

// watch keeps one target probed.
func (p *prober) watch(ctx context.Context, t *probeTarget) {
	for ctx.Err() == nil {
		p.e.guarded("prober", func() {
			err := p.probe(ctx, t)
			if ctx.Err() == nil {
				p.set(t, false, err)
			}
		})
		select {
		case <-ctx.Done():
		case <-time.After(probeRetry + rand.N(probeRetry/4)):
		}
	}
}

// probe is one connection to the target, until it ends.
func (p *prober) probe(ctx context.Context, t *probeTarget) error {
	dctx, stop := context.WithTimeout(ctx, probeDial)
	defer stop()
	addr, err := resolveUDP(dctx, t.addr)
	if err != nil {
		return err
	}
	c, err := p.e.edge.Dial(dctx, quicnet.DialConfig{Addr: addr, ALPN: quicnet.ALPNWZP, ServerName: "_probe"})
	if err != nil {
		return err
	}
	defer c.Close(0, closeReason)
	t.mu.Lock()
	t.window = mesh.Window{}
	t.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error {
		defer p.e.contain("prober", cancel)
		defer cancel()
		return p.hear(ctx, c, t)
	})
	err = p.ping(ctx, c, t)
	cancel()
	c.Close(0, closeReason)
	if herr := g.Wait(); err == nil || errors.Is(err, context.Canceled) {
		err = herr
	}
	return err
}

// ping sends one ping a second until the connection ends, or has answered none
// for too long.
func (p *prober) ping(ctx context.Context, c *quicnet.Conn, t *probeTarget) error {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	began := p.e.mono()
	for n := 1; ; n++ {
		now := p.e.mono()
		t.mu.Lock()
		silent := now-max(t.window.Heard(), began) > int64(probeSilence)
		id := t.window.Sent(uint64(time.Now().UnixMilli()), now)
		t.sent++
		t.mu.Unlock()
		if silent {
			return errProbeSilent
		}
		if err := p.e.writeSignal(c, &wire.Ping{TimestampMS: id}); err != nil {
			return err
		}
		if n%probeTell == 0 {
			if err := p.e.writeSignal(c, &wire.PresenceUpdate{Fingerprints: p.e.presence.Locals(), RelayAddr: p.e.reachedAt(c)}); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// hear reads the answers, and who is there.
func (p *prober) hear(ctx context.Context, c *quicnet.Conn, t *probeTarget) error {
	for {
		s, err := readSignal(ctx, c)
		if err != nil {
			return err
		}
		if m, ok := s.(*wire.PresenceUpdate); ok {
			// The address in it is a guess of the other side, and often ours.
			p.e.presence.Learn(t.addr, t.addr, m.Fingerprints, p.e.mono())
		}
		pong, ok := s.(*wire.Pong)
		if !ok {
			continue
		}
		t.mu.Lock()
		ok = t.window.Pong(pong.TimestampMS, p.e.mono())
		if ok {
			t.answered++
		}
		t.mu.Unlock()
		if ok {
			p.set(t, true, nil)
		}
	}
}

// set notes whether the target answers, and tells of changes.
func (p *prober) set(t *probeTarget, up bool, err error) {
	t.mu.Lock()
	was, never := t.up, t.lastErr == "" && t.answered == 0
	t.up = up
	if was != up {
		t.since = time.Now()
	}
	if err != nil {
		t.lastErr = clean(endReason(err))
	}
	t.mu.Unlock()
	switch {
	case up && !was:
		p.e.event(view.Event{Kind: "probe_up", Subject: t.addr, Message: "relay " + t.addr + " answers probes"})
	case !up && (was || never):
		p.e.event(view.Event{Kind: "probe_down", Severity: view.Warn, Subject: t.addr, Message: fmt.Sprintf("relay %s answers no probes: %s", t.addr, endReason(err))})
	}
}

// view is what the snapshot says of all targets.
func (p *prober) view() []view.Probe {
	now := p.e.mono()
	out := make([]view.Probe, len(p.targets))
	for i, t := range p.targets {
		t.mu.Lock()
		v := view.Probe{Target: t.addr, Up: t.up, Since: t.since.UTC(), Sent: t.sent, Answered: t.answered, LastError: t.lastErr, LossPct: 100}
		if t.up {
			v.RTTMS, v.LossPct, v.JitterMS = t.window.RTT().Seconds()*1e3, t.window.LossPct(now), t.window.Jitter().Seconds()*1e3
		}
		t.mu.Unlock()
		out[i] = v
	}
	return out
}
