package quicnet

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// Conn is one QUIC connection whose handshake is done. All methods may be
// called from any goroutine.
type Conn struct {
	// Constant after newConn.
	qc       *quic.Conn
	track    *track
	id       uint64
	alpn     string
	sni      string
	key      ed25519.PublicKey
	cert     []byte
	outbound bool
	born     time.Time

	// Any goroutine (atomic).
	limit   atomic.Int64 // newest known datagram limit; 0: the peer takes none
	limitAt atomic.Int64 // when it was asked, nanoseconds since born
}

// limitFresh is how long a known datagram limit is believed: path MTU
// discovery raises it during the first seconds, rarely later.
const limitFresh = int64(time.Second)

// probe is larger than any limit a peer can announce, so quic-go refuses it
// and tells the limit.
var probe [65536]byte

func newConn(qc *quic.Conn, t *track, id uint64, outbound bool) *Conn {
	cs := qc.ConnectionState().TLS
	c := &Conn{
		qc: qc, track: t, id: id, alpn: cs.NegotiatedProtocol, sni: lowerASCII(cs.ServerName), outbound: outbound, born: time.Now(),
	}
	if c.sni == "" {
		c.sni = DefaultServerName
	}
	if len(cs.PeerCertificates) > 0 {
		c.cert = cs.PeerCertificates[0].Raw
	}
	if key, err := peerKey(cs); err == nil {
		c.key = key
	}
	c.askLimit()
	return c
}

// ID is the connection's generation: unique in this process, rising.
func (c *Conn) ID() uint64 { return c.id }

// ALPN is the negotiated protocol, ALPNWZP or ALPNDHT.
func (c *Conn) ALPN() string { return c.alpn }

// ServerName is the SNI in lower case, DefaultServerName if there was none
// (spec wzp 1.3). On a dialled connection it is what was asked for.
func (c *Conn) ServerName() string { return c.sni }

// RemoteAddr is the peer's present address, IPv4 never mapped into IPv6. It
// changes if the peer moves to another network.
func (c *Conn) RemoteAddr() netip.AddrPort { return canonical(c.qc.RemoteAddr()) }

// LocalAddr is our address on this path.
func (c *Conn) LocalAddr() netip.AddrPort { return canonical(c.qc.LocalAddr()) }

// Outbound says that we dialled.
func (c *Conn) Outbound() bool { return c.outbound }

// PeerKey is the Ed25519 key the peer has proved to hold; nil if it showed no
// certificate or one of another kind. On DHT links it is never nil.
func (c *Conn) PeerKey() ed25519.PublicKey { return c.key }

// PeerID is PeerID of PeerKey; zero without a key.
func (c *Conn) PeerID() [32]byte {
	if c.key == nil {
		return [32]byte{}
	}
	return PeerID(c.key)
}

// PeerCertificate is the peer's leaf certificate in DER, nil if it showed none.
func (c *Conn) PeerCertificate() []byte { return c.cert }

// Context is done when the connection has ended; context.Cause says why, and
// Ended and EndReason take that apart.
func (c *Conn) Context() context.Context { return c.qc.Context() }

// RTT is the smoothed round-trip time, never below zero.
func (c *Conn) RTT() time.Duration { return c.qc.ConnectionStats().SmoothedRTT }

// RxDropped counts what quic-go received and dropped because its queue of 128
// datagrams, or of 256 packets, was full. It only grows.
func (c *Conn) RxDropped() uint64 { return c.track.rxDropped.Load() }

// TxDropped counts datagrams SendDatagram took that were dropped before they
// were sent because the path's limit had sunk. It only grows.
func (c *Conn) TxDropped() uint64 { return c.track.txDropped.Load() }

// Close ends the connection with an application error code and a reason, both
// of which the peer sees, and returns when it has ended. Only the first call
// counts.
func (c *Conn) Close(code uint64, reason string) {
	// CloseWithError is documented to return nil, always.
	_ = c.qc.CloseWithError(quic.ApplicationErrorCode(code), reason)
}

// ReceiveDatagram returns the next datagram; the caller owns it.
func (c *Conn) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	p, err := c.qc.ReceiveDatagram(ctx)
	if err != nil {
		return nil, connError(err)
	}
	return p, nil
}

// SendDatagram copies p and queues it. It waits while 32 datagrams are queued
// and the path takes no more, so only the connection's own writer may call it.
// A datagram above the path's limit is a *TooLargeError.
func (c *Conn) SendDatagram(p []byte) error {
	err := c.qc.SendDatagram(p)
	if err == nil {
		return nil
	}
	var tl *quic.DatagramTooLargeError
	switch {
	case errors.As(err, &tl):
		c.limit.Store(tl.MaxDatagramPayloadSize)
		return &TooLargeError{Size: len(p), Limit: int(tl.MaxDatagramPayloadSize)}
	case c.limit.Load() == 0:
		return ErrNoDatagrams
	}
	return connError(err)
}

// MaxDatagram is how many bytes SendDatagram takes now, at most a second old;
// 0 if the peer takes no datagrams.
func (c *Conn) MaxDatagram() int {
	now := int64(time.Since(c.born))
	if at := c.limitAt.Load(); now-at > limitFresh && c.limitAt.CompareAndSwap(at, now) {
		c.askLimit()
	}
	return int(c.limit.Load())
}

// askLimit has quic-go refuse a datagram for its size, which costs one small
// allocation and sends nothing.
func (c *Conn) askLimit() {
	if tl, ok := errors.AsType[*quic.DatagramTooLargeError](c.qc.SendDatagram(probe[:])); ok {
		c.limit.Store(tl.MaxDatagramPayloadSize)
	}
}

// OpenStream opens a bidirectional stream, or returns ErrNoCredit at once if
// the peer allows no more.
func (c *Conn) OpenStream() (*Stream, error) {
	s, err := c.qc.OpenStream()
	if err != nil {
		return nil, openError(err)
	}
	return &Stream{s}, nil
}

// OpenUniStream opens a unidirectional stream, or returns ErrNoCredit at once
// if the peer allows no more.
func (c *Conn) OpenUniStream() (*SendStream, error) {
	s, err := c.qc.OpenUniStream()
	if err != nil {
		return nil, openError(err)
	}
	return &SendStream{s}, nil
}

// AcceptStream waits for the peer's next bidirectional stream.
func (c *Conn) AcceptStream(ctx context.Context) (*Stream, error) {
	s, err := c.qc.AcceptStream(ctx)
	if err != nil {
		return nil, connError(err)
	}
	return &Stream{s}, nil
}

// AcceptUniStream waits for the peer's next unidirectional stream.
func (c *Conn) AcceptUniStream(ctx context.Context) (*ReceiveStream, error) {
	s, err := c.qc.AcceptUniStream(ctx)
	if err != nil {
		return nil, connError(err)
	}
	return &ReceiveStream{s}, nil
}

func openError(err error) error {
	if _, ok := errors.AsType[*quic.StreamLimitReachedError](err); ok {
		return ErrNoCredit
	}
	return fmt.Errorf("quicnet: open stream: %w", connError(err))
}
