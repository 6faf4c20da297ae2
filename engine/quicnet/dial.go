package quicnet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"
)

// DialConfig says whom to connect to, and as whom.
type DialConfig struct {
	Addr       netip.AddrPort
	ALPN       string          // ALPNWZP or ALPNDHT
	ServerName string          // sent as SNI; empty or an IP address: none is sent
	Cert       tls.Certificate // client certificate; needed for ALPNDHT
	ExpectID   [32]byte        // ALPNDHT: who it must be, ErrWrongPeer otherwise; zero: anyone
	ExpectCert [32]byte        // ALPNWZP: SHA-256 of the certificate it must show, ErrWrongPeer otherwise; zero: anyone
}

// dialer is a transport that connections leave from.
type dialer struct {
	// Constant after its making.
	sock   *socket
	tr     *quic.Transport
	conf   *quic.Config // of ALPNWZP
	quiet  *quic.Config // of ALPNDHT
	totals *totals
	reg    *registry
}

// connect returns when the handshake is done. ctx limits the handshake only.
func (d *dialer) connect(ctx context.Context, dc DialConfig) (*Conn, error) {
	conf, err := clientTLS(dc)
	if err != nil {
		return nil, err
	}
	addr := netip.AddrPortFrom(dc.Addr.Addr().Unmap(), dc.Addr.Port())
	if err := checkRoute(addr); err != nil {
		return nil, fmt.Errorf("quicnet: dial %s: %w", addr, err)
	}
	t := &track{totals: d.totals}
	ctx = context.WithValue(ctx, trackKey{}, t)
	qconf := d.conf
	if dc.ALPN == ALPNDHT {
		qconf = d.quiet
	}
	qc, err := d.tr.Dial(ctx, net.UDPAddrFromAddrPort(addr), conf, qconf)
	if errors.Is(err, quic.ErrTransportClosed) {
		return nil, ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("quicnet: dial %s: %w", addr, err)
	}
	c := newConn(qc, t, d.reg.nextID(), true)
	if !d.reg.add(c) {
		c.Close(0, closeNormal)
		return nil, ErrClosed
	}
	context.AfterFunc(qc.Context(), func() { d.reg.remove(c) })
	return c, nil
}

// checkRoute asks the kernel for a route without sending anything. Our socket
// takes a missing route for a lost packet, so as not to end open connections
// for it; a dialler would then wait for nothing.
func checkRoute(addr netip.AddrPort) error {
	if !addr.IsValid() || addr.Port() == 0 {
		return errors.New("not an address to connect to")
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return err
	}
	return c.Close()
}

func (d *dialer) close() error {
	d.reg.closeAll(context.Background(), 0, true, closeNormal)
	err := d.tr.Close()
	return errors.Join(err, d.sock.Close())
}

// Dial connects from the endpoint's own port, which is what peers know us by.
// Without a certificate, DHT links take the endpoint's.
func (e *Endpoint) Dial(ctx context.Context, dc DialConfig) (*Conn, error) {
	if dc.ALPN == ALPNDHT && len(dc.Cert.Certificate) == 0 {
		dc.Cert = e.cfg.DHTCert
	}
	return e.dial.connect(ctx, dc)
}

// DialDHT opens a DHT link to addr. A peer that is not id is ErrWrongPeer; the
// zero id takes anyone.
func (e *Endpoint) DialDHT(ctx context.Context, addr netip.AddrPort, id [32]byte) (*Conn, error) {
	return e.Dial(ctx, DialConfig{Addr: addr, ALPN: ALPNDHT, ServerName: "signalbox", ExpectID: id})
}

// ClientConfig is how a Client is to behave. Zero values mean the defaults.
type ClientConfig struct {
	LocalAddr    netip.Addr      // invalid: any address, dual stack
	Cert         tls.Certificate // shown where the server asks for one
	SocketBuffer int             // bytes asked of the kernel each way; default 8 MiB
	MaxStreams   int64           // bidirectional streams the server may open; default 100, negative none
	NoDatagrams  bool            // announce that we take no datagrams
}

// Client is a socket of its own with an ephemeral port, for tests and load
// generators. It carries any number of connections.
type Client struct {
	// Constant after NewClient.
	dial    *dialer
	cert    tls.Certificate
	freezer *Gate // nil for most

	closeOnce sync.Once
	closeErr  error // written in closeOnce
}

// NewClient binds an ephemeral port.
func NewClient(cfg ClientConfig) (*Client, error) { return makeClient(cfg, nil) }

func makeClient(cfg ClientConfig, gate *Gate) (*Client, error) {
	addr := ":0"
	if cfg.LocalAddr.IsValid() {
		addr = netip.AddrPortFrom(cfg.LocalAddr, 0).String()
	}
	def(&cfg.SocketBuffer, socketBuffer)
	sock, err := openSocket(addr, &Config{SocketBuffer: cfg.SocketBuffer})
	if err != nil {
		return nil, err
	}
	var pc net.PacketConn = sock
	if gate != nil {
		frozen := &frozenSocket{socket: sock, gate: gate}
		sock.batch = ipv4.NewPacketConn(frozen)
		pc = frozen
	}
	conf := quicConfig(handshakeLimit, keepAlive)
	if cfg.MaxStreams != 0 {
		conf.MaxIncomingStreams = cfg.MaxStreams
	}
	conf.EnableDatagrams = !cfg.NoDatagrams
	return &Client{
		cert: cfg.Cert, freezer: gate,
		dial: &dialer{
			sock: sock, tr: &quic.Transport{Conn: pc, ConnectionIDLength: connectionIDs}, conf: conf, quiet: conf, totals: &totals{}, reg: newRegistry(),
		},
	}, nil
}

// Addr is the bound address.
func (c *Client) Addr() netip.AddrPort { return canonical(c.dial.sock.LocalAddr()) }

// Dial connects with an ALPN and a server name. It returns when the handshake
// is done; ctx limits the handshake only.
func (c *Client) Dial(ctx context.Context, addr netip.AddrPort, alpn, serverName string) (*Conn, error) {
	return c.DialConfig(ctx, DialConfig{Addr: addr, ALPN: alpn, ServerName: serverName})
}

// DialConfig is Dial with all there is to say.
func (c *Client) DialConfig(ctx context.Context, dc DialConfig) (*Conn, error) {
	if len(dc.Cert.Certificate) == 0 {
		dc.Cert = c.cert
	}
	return c.dial.connect(ctx, dc)
}

// RxDropped counts what was received and dropped in queues, over all
// connections.
func (c *Client) RxDropped() uint64 { return c.dial.totals.rxDropped.Load() }

// Close closes all connections and the socket.
func (c *Client) Close() error {
	c.closeOnce.Do(func() {
		if c.freezer != nil {
			c.freezer.end() // nothing may hang in the socket
		}
		c.closeErr = c.dial.close()
	})
	return c.closeErr
}
