package quicnet

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
)

// serverTLS chooses the configuration by the protocol the client offers, in
// the client's order of preference.
func serverTLS(cfg *Config) *tls.Config {
	// Tickets are off: no client of ours resumes, and a resumed DHT session
	// would not show its certificate again.
	wzp := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{ALPNWZP},
		Certificates: []tls.Certificate{cfg.TLSCert}, SessionTicketsDisabled: true,
	}
	dht := dhtServerTLS(cfg.DHTCert, ALPNDHT)
	// Another relay is asked who it is. Those of the original have nothing to
	// show, which is not held against them here; clients are not even asked.
	relay := wzp.Clone()
	relay.ClientAuth = tls.RequestClientCert
	h3 := wzp.Clone()
	h3.NextProtos, h3.Certificates = []string{ALPNH3}, nil
	if cfg.H3Cert != nil {
		h3.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cfg.H3Cert() }
	}
	choose := func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if !validServerName(h.ServerName) {
			return nil, errors.New("server name is no printable ASCII of at most 253 characters")
		}
		for _, p := range h.SupportedProtos {
			switch p {
			case ALPNWZP:
				if lowerASCII(h.ServerName) == RelayServerName {
					return relay, nil
				}
				return wzp, nil
			case ALPNDHT:
				return dht, nil
			case ALPNH3:
				if cfg.H3Cert != nil {
					return h3, nil
				}
			}
		}
		if t := trackOf(h.Context()); t != nil {
			t.alpn.Store(true)
		}
		return wzp, nil // fails with no_application_protocol, as spec wzp 1.1 says
	}
	base := wzp.Clone()
	base.GetConfigForClient = choose
	return base
}

// dhtServerTLS is the accepting end of a DHT link.
func dhtServerTLS(cert tls.Certificate, alpn string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpn},
		Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true,
		// Any certificate, for the key in it is the identity; crypto/tls checks
		// that the peer holds that key, we check its kind.
		ClientAuth:       tls.RequireAnyClientCert,
		VerifyConnection: func(cs tls.ConnectionState) error { _, err := peerKey(cs); return err },
	}
}

// clientTLS is for dialling. Who the wzp server is clients do not check (spec
// wzp 1.1), but who dials a relay whose certificate is known does; a DHT server
// must prove the id the dialler expects.
func clientTLS(d DialConfig) (*tls.Config, error) {
	c := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{d.ALPN}, ServerName: d.ServerName,
		InsecureSkipVerify: true, //nolint:gosec // no authority signs these certificates; keys are compared below
	}
	if len(d.Cert.Certificate) > 0 {
		cert := d.Cert
		// Not through Certificates: crypto/tls would leave out a certificate
		// that does not match the authorities the server names.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	if d.ALPN != ALPNDHT && d.ALPN != alpnRelayed {
		if d.ExpectCert != [32]byte{} {
			c.VerifyConnection = func(cs tls.ConnectionState) error { return pinned(cs, d.ExpectCert) }
		}
		return c, nil
	}
	if len(d.Cert.Certificate) == 0 {
		return nil, errors.New("quicnet: a DHT link needs a client certificate")
	}
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		key, err := peerKey(cs)
		if err != nil {
			return err
		}
		if id := PeerID(key); d.ExpectID != [32]byte{} && id != d.ExpectID {
			return fmt.Errorf("%w: it is %x, not %x", ErrWrongPeer, id[:8], d.ExpectID[:8])
		}
		return nil
	}
	return c, nil
}

// pinned compares the certificate that was shown; crypto/tls has checked that
// the server holds its key.
func pinned(cs tls.ConnectionState, want [32]byte) error {
	if len(cs.PeerCertificates) == 0 {
		return fmt.Errorf("%w: no certificate", ErrWrongPeer)
	}
	if got := sha256.Sum256(cs.PeerCertificates[0].Raw); got != want {
		return fmt.Errorf("%w: its certificate is %x, the pinned one %x", ErrWrongPeer, got[:8], want[:8])
	}
	return nil
}

// PeerID is the DHT id of a key: SHA-256 of it.
func PeerID(key ed25519.PublicKey) [32]byte { return sha256.Sum256(key) }

func peerKey(cs tls.ConnectionState) (ed25519.PublicKey, error) {
	if len(cs.PeerCertificates) == 0 {
		return nil, fmt.Errorf("%w: no certificate", ErrWrongPeer)
	}
	key, ok := cs.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: the certificate's key is not Ed25519", ErrWrongPeer)
	}
	return key, nil
}

// validServerName keeps out what no client of the original can send and no
// terminal should see; crypto/tls itself takes any bytes.
func validServerName(s string) bool {
	if len(s) > maxServerName {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// lowerASCII folds a server name as rustls does (spec wzp 1.3).
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
