package quicnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"
)

// cause says why an attempt to connect came to nothing.
type cause uint8

const (
	causeConnCap cause = iota
	causePrefixCap
	causeHandshakeTimeout
	causeALPN
	causeDraining
	causeBanned
	causeTLS         // certificate, server name or another TLS error
	causeAcceptQueue // handshakes finished faster than we could take them
	causeHandshake   // any other end before the handshake was done
	numCauses
)

var causeNames = [numCauses]string{
	"conn_cap", "prefix_cap", "handshake_timeout", "alpn", "draining", "banned", "tls", "accept_queue", "handshake_failed",
}

var errRefused = errors.New("quicnet: refused")

// A connection's phases.
const (
	phaseHandshake int32 = iota
	phaseOpen
	phaseEnded
)

// retryShown is how long after the last Retry the edge is shown as asking for
// them.
const retryShown = 5 * time.Second

// seat is a connection's place in the counts.
type seat struct {
	prefix  netip.Addr
	counted bool // in the prefix's count too
}

// gate decides who may connect and counts who tried.
type gate struct {
	// Constant after newGate.
	retry          RetryMode
	halfOpen       int
	maxConns       int
	maxPerPrefix   int
	exemptLoopback bool
	admitAddr      func(netip.Addr) bool
	limiter        *rate.Limiter
	totals         *totals
	start          time.Time

	// mu guards; a leaf.
	mu        sync.Mutex
	seats     int
	perPrefix map[netip.Addr]int

	// Any goroutine (atomic).
	draining    atomic.Bool
	handshaking atomic.Int64
	accepted    atomic.Uint64
	refused     [numCauses]atomic.Uint64
	lastRetry   atomic.Int64 // nanoseconds since start; 0: never
}

func newGate(cfg *Config, t *totals) *gate {
	return &gate{
		retry: cfg.Retry, halfOpen: cfg.RetryHalfOpen, maxConns: cfg.MaxConns, maxPerPrefix: cfg.MaxPerPrefix,
		exemptLoopback: cfg.ExemptLoopback, admitAddr: cfg.Admit, totals: t, start: time.Now(),
		limiter: rate.NewLimiter(rate.Limit(cfg.RetryRate), cfg.RetryBurst), perPrefix: map[netip.Addr]int{},
	}
}

// verify is quic.Transport.VerifySourceAddress: true asks for a Retry.
func (g *gate) verify(net.Addr) bool {
	need := false
	switch g.retry {
	case RetryAlways:
		need = true
	case RetryNever:
	default:
		// Every attempt takes a token, also when half-open ones decide, so that
		// the rate is measured on all of them.
		need = !g.limiter.Allow() || g.handshaking.Load() >= int64(g.halfOpen)
	}
	if need {
		g.lastRetry.Store(int64(time.Since(g.start)))
	}
	return need
}

// retryActive says whether newcomers are being asked to prove their address.
func (g *gate) retryActive() bool {
	if g.retry == RetryAlways {
		return true
	}
	last := g.lastRetry.Load()
	return last != 0 && time.Since(g.start)-time.Duration(last) < retryShown
}

// admit is quic.Transport.ConnContext: an error refuses the attempt with
// CONNECTION_REFUSED before there is any state for it.
func (g *gate) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	addr := canonical(info.RemoteAddr).Addr()
	why, ok := causeDraining, false
	switch {
	case g.draining.Load():
	case !g.admitAddr(addr):
		why = causeBanned
	default:
		var s seat
		if s, why, ok = g.take(addr); ok {
			return g.track(ctx, s), nil
		}
	}
	g.refused[why].Add(1)
	return nil, errRefused
}

// track seats a connection until both it and its handler have ended.
func (g *gate) track(ctx context.Context, s seat) context.Context {
	t := &track{totals: g.totals, gate: g, seat: s}
	t.refs.Store(1)
	g.handshaking.Add(1)
	context.AfterFunc(ctx, func() { t.ended(context.Cause(ctx)) })
	return context.WithValue(ctx, trackKey{}, t)
}

func (g *gate) take(addr netip.Addr) (seat, cause, bool) {
	s := seat{prefix: prefixKey(addr)}
	s.counted = !(g.exemptLoopback && addr.IsLoopback())
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.seats >= g.maxConns {
		return s, causeConnCap, false
	}
	if s.counted {
		if g.perPrefix[s.prefix] >= g.maxPerPrefix {
			return s, causePrefixCap, false
		}
		g.perPrefix[s.prefix]++
	}
	g.seats++
	return s, 0, true
}

func (g *gate) release(s seat) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seats--
	if !s.counted {
		return
	}
	if g.perPrefix[s.prefix]--; g.perPrefix[s.prefix] <= 0 {
		delete(g.perPrefix, s.prefix)
	}
}

// opened marks a connection as accepted and keeps its seat for the handler,
// which gives it up by unref; false when the connection has ended meanwhile.
func (t *track) opened() bool {
	for {
		n := t.refs.Load()
		if n == 0 {
			return false
		}
		if t.refs.CompareAndSwap(n, n+1) {
			break
		}
	}
	if !t.phase.CompareAndSwap(phaseHandshake, phaseOpen) {
		t.unref()
		return false
	}
	t.gate.handshaking.Add(-1)
	t.gate.accepted.Add(1)
	return true
}

// ended is called once, when the connection's context is done.
func (t *track) ended(err error) {
	if t.phase.CompareAndSwap(phaseHandshake, phaseEnded) {
		t.gate.handshaking.Add(-1)
		if why, failed := t.failure(err); failed {
			t.gate.refused[why].Add(1)
		}
	}
	t.unref()
}

func (t *track) unref() {
	if t.refs.Add(-1) == 0 {
		t.gate.release(t.seat)
	}
}

// failure says why a handshake failed. A client whose application closed before
// we took the connection has not failed: that is what a round-trip probe does
// (spec wzp 4.7). If its close overtakes the end of the handshake it arrives as
// the transport error APPLICATION_ERROR (RFC 9000 section 10.2.3).
func (t *track) failure(err error) (cause, bool) {
	var tr *quic.TransportError
	switch e := Ended(err); {
	case t.alpn.Load():
		return causeALPN, true
	case e.Kind == EndHandshake, e.Kind == EndIdle:
		return causeHandshakeTimeout, true
	case e.Kind == EndClosed, e.Remote && e.Code == uint64(quic.ApplicationErrorErrorCode):
		return 0, false
	case e.Kind == EndRefused && t.gate.draining.Load():
		return causeDraining, true
	case e.Kind == EndRefused:
		return causeAcceptQueue, true
	case errors.As(err, &tr) && tr.ErrorCode.IsCryptoError():
		return causeTLS, true
	default:
		return causeHandshake, true
	}
}

// canonical is an address with IPv4 in IPv6 unmapped.
func canonical(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := u.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// prefixKey is what one party can be held to have: an IPv4 address, an IPv6 /64.
func prefixKey(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil { // no address has fewer than 64 of 128 bits
		return a
	}
	return p.Masked().Addr()
}
