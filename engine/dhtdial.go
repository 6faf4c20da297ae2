package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"

	"signalbox/dht"
	"signalbox/dht/table"
)

// relayedWriteLimit is long: a relayed link is slow by intent.
const relayedWriteLimit = 20 * time.Second

// dialer opens links for the DHT node.
type dialer struct{ e *Engine }

// Dial connects to addr, checks that it is id (unless id is zero) and returns
// once the link is registered. The link lives until it ends or the engine does.
func (d dialer) Dial(ctx context.Context, id table.ID, addr netip.AddrPort) (dht.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, dhtDialLimit)
	defer cancel()
	e := d.e
	if e.relay.Banned(addr.Addr()) {
		return nil, errBanned
	}
	c, err := e.edge.DialDHT(ctx, addr, id)
	if err != nil {
		return nil, err
	}
	l, err := e.newDHTLink(c)
	if err != nil {
		c.Close(0, "no key")
		return nil, err
	}
	up := make(chan struct{})
	if !e.spawn(func(run context.Context) { e.runLink(run, l, l, up) }) {
		l.Close("stopping")
		return nil, errors.New("engine: stopping")
	}
	select {
	case <-up:
		return l, nil
	case <-ctx.Done():
		l.Close("too late")
		return nil, ctx.Err()
	}
}

// Poke opens our NAT for addr.
func (d dialer) Poke(addr netip.AddrPort) error { return d.e.edge.Poke(addr) }

// Secure makes a link of a path that another peer relays: mutual TLS end to
// end, with the certificates of every other link, so that who relays can
// neither read nor forge.
func (d dialer) Secure(ctx context.Context, conn net.Conn, id table.ID, via dht.Link, client bool) (dht.Link, error) {
	e := d.e
	tc, err := e.edge.SecureDHT(ctx, conn, id, client)
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.Background())
	l := e.makeLink(&relayedConn{tc: tc, via: via.RemoteAddr(), life: life, end: end}, id, sourceOf(id), relayedWriteLimit)
	as := &relayedLink{l, via.PeerID()}
	up := make(chan struct{})
	if !e.spawn(func(run context.Context) { e.runLink(run, l, as, up) }) {
		l.Close("stopping")
		return nil, errors.New("engine: stopping")
	}
	select {
	case <-up:
		return as, nil
	case <-ctx.Done():
		l.Close("too late")
		return nil, ctx.Err()
	}
}

// sourceOf is the source a relayed peer has in the dispatcher: one of its own,
// not that of the peer that relays, whose share it would use up. It is in
// fd00::/8, where nobody on the network can be.
func sourceOf(id table.ID) netip.Addr {
	b := [16]byte{0xfd}
	copy(b[1:8], id[:])
	return netip.AddrFrom16(b)
}

// relayedLink is a link that goes through another peer.
type relayedLink struct {
	*dhtLink
	via table.ID
}

// Via is the peer that relays.
func (l *relayedLink) Via() table.ID { return l.via }

// relayedConn is the connection of a relayed link.
type relayedConn struct {
	tc   *tls.Conn
	via  netip.AddrPort
	life context.Context //nolint:containedctx // the life of the connection, as with a QUIC one
	end  context.CancelFunc
}

// RemoteAddr is that of the peer that relays.
func (c *relayedConn) RemoteAddr() netip.AddrPort { return c.via }

// Context is done when the connection was closed.
func (c *relayedConn) Context() context.Context { return c.life }

// Close ends the connection. What is under way in it is given up: waiting for
// the other end to take a farewell is not worth it.
func (c *relayedConn) Close(uint64, string) {
	c.end()
	// The pipe under it never fails to close.
	_ = c.tc.NetConn().Close()
}

func (c *relayedConn) out() (deadlineWriter, error) { return c.tc, nil }

func (c *relayedConn) in(context.Context) (deadlineReader, error) { return c.tc, nil }

// localAddrs is where the node listens, by interface.
func (e *Engine) localAddrs() []netip.AddrPort {
	bound := e.edge.Addr()
	if !bound.Addr().IsUnspecified() {
		return []netip.AddrPort{bound}
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		e.log.Debug("interface addresses", "err", err)
		return nil
	}
	var out []netip.AddrPort
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil && (bound.Addr().Is6() || p.Addr().Is4()) {
			out = append(out, netip.AddrPortFrom(p.Addr().Unmap(), bound.Port()))
		}
	}
	return out
}

// advertised is where the operator says that the node can be reached; a name
// is looked up once, at the start.
func (e *Engine) advertised() netip.AddrPort {
	if e.cfg.AdvertiseAddr == "" {
		return netip.AddrPort{}
	}
	ua, err := net.ResolveUDPAddr("udp", e.cfg.AdvertiseAddr)
	if err != nil {
		e.log.Warn("advertise_addr is not told to DHT peers", "addr", e.cfg.AdvertiseAddr, "err", err)
		return netip.AddrPort{}
	}
	ap := ua.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
