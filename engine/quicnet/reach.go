package quicnet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/quic-go/quic-go"
)

// alpnRelayed is the protocol of DHT links that another peer relays. It is not
// ALPNDHT, so that a handshake of one kind is none of the other.
const alpnRelayed = "signalbox-dht-relayed/1"

// poke is no QUIC packet: the two bits that every one of them has are clear.
var poke = []byte("\x00punch")

// Poke sends one small packet that means nothing to addr from the endpoint's
// own port, so that a NAT before us lets packets from there in.
func (e *Endpoint) Poke(addr netip.AddrPort) error {
	if !addr.IsValid() || addr.Port() == 0 {
		return errors.New("quicnet: not an address to send to")
	}
	to := netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	_, err := e.dial.tr.WriteTo(poke, net.UDPAddrFromAddrPort(to))
	if errors.Is(err, quic.ErrTransportClosed) {
		return ErrClosed
	}
	return err
}

// SecureDHT runs the mutual handshake of DHT links over a byte stream and
// proves that id is at its other end, ErrWrongPeer otherwise. It owns conn.
func (e *Endpoint) SecureDHT(ctx context.Context, conn net.Conn, id [32]byte, client bool) (*tls.Conn, error) {
	if id == [32]byte{} {
		return nil, errors.Join(fmt.Errorf("%w: nobody in particular", ErrWrongPeer), conn.Close())
	}
	conf, err := clientTLS(DialConfig{ALPN: alpnRelayed, ServerName: "signalbox", Cert: e.cfg.DHTCert, ExpectID: id})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	var tc *tls.Conn
	if client {
		tc = tls.Client(conn, conf)
	} else {
		server := dhtServerTLS(e.cfg.DHTCert, alpnRelayed)
		server.VerifyConnection = conf.VerifyConnection
		tc = tls.Server(conn, server)
	}
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("quicnet: relayed handshake: %w", err), conn.Close())
	}
	return tc, nil
}
