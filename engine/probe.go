package engine

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"signalbox/engine/config"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// Bounds of a probe connection. Relays ping once a second and tell their
// presence every tenth time (spec wzp 5.15).
const (
	probeIdle = 30 * time.Second // one that says nothing has gone
	probeRate = 20               // messages a second
)

// serveProbe answers another relay's probe (spec wzp 4.6). Anybody may measure
// the way to us; who is where we tell, and take, from known relays only.
func (e *Engine) serveProbe(ctx context.Context, c *quicnet.Conn) {
	start := time.Now()
	relay, known := e.knownRelay(c.RemoteAddr())
	err := e.answerProbe(ctx, c, relay, known)
	c.Close(0, closeReason)
	e.endings.add(view.Ending{
		At: time.Now().UTC(), Kind: "probe", Subject: relay, Remote: c.RemoteAddr().String(), Reason: endReason(err), LifetimeS: time.Since(start).Seconds(),
	})
}

// knownRelay is who may tell of presence: the relays of [[peers]] and
// probe_targets by their address, and what signal.presence_from names. A relay
// goes by the address we know it under.
func (e *Engine) knownRelay(from netip.AddrPort) (name string, known bool) {
	ip := from.Addr().Unmap()
	for _, p := range e.fed.named.Load().peers {
		if ap, err := netip.ParseAddrPort(p.URL); err == nil && ap.Addr().Unmap() == ip {
			return p.URL, true
		}
	}
	for _, t := range e.cfg.Legacy.ProbeTargets {
		if ap, err := netip.ParseAddrPort(t); err == nil && ap.Addr().Unmap() == ip {
			return t, true
		}
	}
	for _, s := range e.cfg.Signal.PresenceFrom {
		if p, err := config.ParsePrefix(s); err == nil && p.Contains(ip) {
			return ip.String(), true
		}
	}
	return ip.String(), false
}

// answerProbe runs until the connection ends. Messages above the rate wait, and
// hold up nobody else.
func (e *Engine) answerProbe(ctx context.Context, c *quicnet.Conn, relay string, known bool) error {
	pace := time.NewTicker(time.Second / probeRate)
	defer pace.Stop()
	for {
		s, err := readProbe(ctx, c)
		if err != nil {
			return err
		}
		if reply := e.probeReply(s, c, relay, known); reply != nil {
			if err := e.writeSignal(c, reply); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pace.C:
		}
	}
}

func readProbe(ctx context.Context, c *quicnet.Conn) (wire.Signal, error) {
	ctx, cancel := context.WithTimeout(ctx, probeIdle)
	defer cancel()
	return readSignal(ctx, c)
}

// probeReply is the answer to one message; nil: none.
func (e *Engine) probeReply(s wire.Signal, c *quicnet.Conn, relay string, known bool) wire.Signal {
	switch m := s.(type) {
	case *wire.Ping:
		return &wire.Pong{TimestampMS: m.TimestampMS}
	case *wire.PresenceUpdate:
		if !known {
			e.probesRefused.Add(1)
			return nil
		}
		// The address in it is a guess of the other side, and often ours.
		e.presence.Learn(relay, relay, m.Fingerprints, e.mono())
		return &wire.PresenceUpdate{Fingerprints: e.presence.Locals(), RelayAddr: e.reachedAt(c)}
	case *wire.RouteQuery:
		if !known {
			e.probesRefused.Add(1)
			return nil
		}
		_, chain := e.route(m.Fingerprint)
		return &wire.RouteResponse{Fingerprint: m.Fingerprint, Found: len(chain) > 0, RelayChain: chain}
	}
	return nil
}

// route is the way to an identity (spec wzp 5.14): how it is known, and the
// relays on it, ours first.
func (e *Engine) route(fingerprint string) (kind string, chain []string) {
	own := e.reach.advertise
	if own == "" {
		own = e.reach.guessed
	}
	l, ok := e.presence.Where(fingerprint)
	switch {
	case !ok:
		return "not_found", []string{}
	case l.Local:
		return "local", []string{own}
	}
	return "direct_peer", slices.Concat([]string{own}, []string{l.Addr})
}
