package quicnet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"signalbox/engine/view"
)

// closeNormal is what clients are told when nothing is wrong (spec wzp 1.6).
const closeNormal = "normal close"

// Endpoint is the node's UDP socket with everything that arrives on it.
type Endpoint struct {
	// Constant after Listen.
	cfg  Config
	dial *dialer
	ln   *quic.Listener
	gate *gate

	// Any goroutine (atomic).
	running   atomic.Bool
	closeOnce sync.Once
	closeErr  error // written in closeOnce
}

// Listen binds the address. Clients are answered from now on, but wait until
// Run takes them.
func Listen(cfg Config) (*Endpoint, error) {
	cfg.setDefaults()
	sock, err := openSocket(cfg.Addr, &cfg)
	if err != nil {
		return nil, err
	}
	if sock.rcvbuf < 2*cfg.SocketBuffer { // the kernel reports twice what it was asked for
		cfg.Log.Warn("the kernel grants a smaller UDP receive buffer than wanted; raise net.core.rmem_max",
			"wanted_bytes", cfg.SocketBuffer, "granted_bytes", sock.rcvbuf/2)
	}
	t := &totals{}
	g := newGate(&cfg, t)
	tr := &quic.Transport{
		Conn: sock, ConnectionIDLength: connectionIDs, VerifySourceAddress: g.verify, ConnContext: g.admit, Tracer: edgeTrace{t},
	}
	if cfg.ResetKey != [32]byte{} {
		key := quic.StatelessResetKey(cfg.ResetKey)
		tr.StatelessResetKey = &key
	}
	if cfg.TokenKey != [32]byte{} {
		key := quic.TokenGeneratorKey(cfg.TokenKey)
		tr.TokenGeneratorKey = &key
	}
	qc := quicConfig(cfg.HandshakeTimeout, quietKeepAlive)
	qc.EnableStreamResetPartialDelivery = cfg.H3Cert != nil // WebTransport wants it; others ignore that it is offered
	ln, err := tr.Listen(serverTLS(&cfg), qc)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("quicnet: listen on %s: %w", cfg.Addr, err), sock.Close())
	}
	return &Endpoint{
		cfg: cfg, gate: g, ln: ln,
		dial: &dialer{sock: sock, tr: tr, conf: quicConfig(cfg.HandshakeTimeout, keepAlive), quiet: qc, totals: t, reg: newRegistry()},
	}, nil
}

// Addr is the bound address.
func (e *Endpoint) Addr() netip.AddrPort { return canonical(e.dial.sock.LocalAddr()) }

// Run hands every new connection to handler, in a goroutine of its own; the
// connection is closed when handler returns. Run ends when ctx does, closes
// what is open and returns after the last handler has; nil, unless the socket
// died. The endpoint is closed then. An endpoint runs once.
func (e *Endpoint) Run(ctx context.Context, handler func(*Conn)) error {
	if e.running.Swap(true) {
		return errors.New("quicnet: Run was called twice")
	}
	var handlers, taking sync.WaitGroup
	failed := make(chan error, e.cfg.Acceptors)
	for range e.cfg.Acceptors {
		taking.Go(func() { failed <- e.acceptLoop(&handlers, handler) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cerr := e.Close() // ends the acceptors and the connections
	taking.Wait()
	handlers.Wait()
	if ctx.Err() != nil || errors.Is(err, quic.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, cerr)
}

// acceptLoop only hands off.
func (e *Endpoint) acceptLoop(handlers *sync.WaitGroup, handler func(*Conn)) error {
	for {
		qc, err := e.ln.Accept(context.Background()) // ends with the listener
		if err != nil {
			return err
		}
		t := trackOf(qc.Context())
		if t == nil || !t.opened() {
			continue
		}
		handlers.Go(func() { e.serve(qc, t, handler) })
	}
}

func (e *Endpoint) serve(qc *quic.Conn, t *track, handler func(*Conn)) {
	defer t.unref()
	c := newConn(qc, t, e.dial.reg.nextID(), false)
	if !e.dial.reg.add(c) {
		c.Close(0, closeNormal)
		return
	}
	defer e.dial.reg.remove(c)
	defer func() {
		if v := recover(); v != nil {
			c.Close(0, "internal error")
			e.cfg.OnPanic(c, v, debug.Stack())
			return
		}
		c.Close(0, "") // as when the original drops its handle (spec wzp 1.6)
	}()
	handler(c)
}

// SetDraining turns admission off or on: while draining, every attempt is
// refused with CONNECTION_REFUSED. Open connections are left alone.
func (e *Endpoint) SetDraining(on bool) { e.gate.draining.Store(on) }

// Draining says whether admission is off.
func (e *Endpoint) Draining() bool { return e.gate.draining.Load() }

// CloseIf closes the connections that match, dialled ones included, and returns
// how many.
func (e *Endpoint) CloseIf(match func(*Conn) bool, reason string) int {
	return e.dial.reg.closeIf(match, reason)
}

// CloseAll closes the connections that are open now with code 0 and reason,
// evenly over spread so that they do not all return to the next relay at the
// same moment; when ctx ends, the rest at once. It returns how many it closed.
func (e *Endpoint) CloseAll(ctx context.Context, spread time.Duration, reason string) int {
	return e.dial.reg.closeAll(ctx, spread, false, reason)
}

// Conns returns the open connections, dialled ones included, in no order.
func (e *Endpoint) Conns() []*Conn { return e.dial.reg.list(false) }

// Close closes everything at once and frees the address. Run returns soon
// after. Only the first call acts; all return its result.
func (e *Endpoint) Close() error {
	e.closeOnce.Do(func() {
		e.gate.draining.Store(true)
		err := e.ln.Close()
		e.closeErr = errors.Join(err, e.dial.close())
	})
	return e.closeErr
}

// Stats is the edge's part of the snapshot.
func (e *Endpoint) Stats() view.Edge {
	t := e.dial.totals
	v := view.Edge{
		Connections: e.dial.reg.count(), Handshaking: int(e.gate.handshaking.Load()), Accepted: e.gate.accepted.Load(),
		Refused: make(map[string]uint64, numCauses), RetriesSent: t.retries.Load(), RetryActive: e.gate.retryActive(),
		RxQueueDrops: t.rxDropped.Load(), ReadTickUS: e.dial.sock.pulse.inForce().Microseconds(),
	}
	for i := range e.gate.refused {
		v.Refused[causeNames[i]] = e.gate.refused[i].Load()
	}
	return v
}

// StrayPackets counts packets that belong to no connection and opened none:
// garbage, late packets of old connections, what did not fit the queue of
// unanswered attempts.
func (e *Endpoint) StrayPackets() uint64 { return e.dial.totals.stray.Load() }

// SendErrors counts packets the kernel refused to send for a passing reason;
// to their connections they were lost on the way.
func (e *Endpoint) SendErrors() uint64 { return e.dial.sock.sendErrors.Load() }

// Kernel is what happens to our packets below us. It reads files, so it is for
// once a second. A socket that it finds dead is closed, which ends Run.
func (e *Endpoint) Kernel() view.Kernel {
	e.dial.sock.check()
	return e.dial.sock.kernel()
}
