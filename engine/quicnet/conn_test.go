package quicnet

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net/netip"
	"os"
	"testing"
	"time"

	"signalbox/engine/state"
)

func TestEchoOverEveryFamily(t *testing.T) {
	e, conns := start(t, testConfig(t, 1), echo)
	for _, tc := range []struct{ local, to string }{{"127.0.0.1", "127.0.0.1"}, {"127.0.0.5", "127.0.0.1"}, {"::1", "::1"}, {"", "::ffff:127.0.0.1"}} {
		t.Run(tc.local+" to "+tc.to, func(t *testing.T) {
			var cfg ClientConfig
			if tc.local != "" {
				cfg.LocalAddr = netip.MustParseAddr(tc.local)
			}
			cl := newClient(t, cfg)
			c := dial(t, cl, at(e, tc.to), "MyRoom_9.X")
			s := next(t, conns)
			wantEcho(t, c)
			if s.ServerName() != "myroom_9.x" || s.ALPN() != ALPNWZP || s.Outbound() || !c.Outbound() {
				t.Errorf("name %q, ALPN %q", s.ServerName(), s.ALPN())
			}
			ra := s.RemoteAddr()
			if ra.Port() != cl.Addr().Port() || ra.Addr().Is4In6() || (tc.local != "" && ra.Addr() != cfg.LocalAddr) {
				t.Errorf("remote address %v, client is at %v", ra, cl.Addr())
			}
			if s.PeerKey() != nil || s.PeerCertificate() != nil || s.PeerID() != [32]byte{} {
				t.Error("a wzp client has an identity")
			}
			if s.RTT() <= 0 {
				t.Errorf("RTT %v", s.RTT())
			}
		})
	}
}

func TestClientSeesThePinnedCertificate(t *testing.T) {
	cfg := testConfig(t, 1)
	e, _ := start(t, cfg, nil)
	c := dial(t, newClient(t, ClientConfig{}), at(e, "127.0.0.1"), "ping")
	if !bytes.Equal(c.PeerCertificate(), cfg.TLSCert.Certificate[0]) {
		t.Error("another certificate")
	}
	if len(state.TLSFingerprint(c.PeerCertificate())) != 95 {
		t.Error("no fingerprint")
	}
}

func TestServerNames(t *testing.T) {
	e, conns := start(t, testConfig(t, 1), nil)
	cl := newClient(t, ClientConfig{})
	for sent, want := range map[string]string{
		"": DefaultServerName, "127.0.0.1": DefaultServerName, "_signal": "_signal", "call-ABC": "call-abc", "46DE10172c0bd322": "46de10172c0bd322",
	} {
		dial(t, cl, at(e, "127.0.0.1"), sent)
		if got := next(t, conns).ServerName(); got != want {
			t.Errorf("%q arrives as %q, want %q", sent, got, want)
		}
	}
	for _, bad := range []string{"a\x1b[2Jb", "a b", "caf\u00e9", string(bytes.Repeat([]byte("x"), 254))} {
		if _, err := cl.Dial(testCtx(t), at(e, "127.0.0.1"), ALPNWZP, bad); err == nil {
			t.Errorf("%.20q was accepted", bad)
		}
	}
	eventually(t, "refusals counted", func() bool { return e.Stats().Refused["tls"] == 4 })
}

func TestALPNMismatch(t *testing.T) {
	e, _ := start(t, testConfig(t, 1), nil)
	_, err := newClient(t, ClientConfig{}).Dial(testCtx(t), at(e, "127.0.0.1"), "h3", "room")
	if end := Ended(err); end.Kind != EndTransport || end.Code != 0x178 || !end.Remote {
		t.Errorf("ended %+v (%v)", end, err)
	}
	eventually(t, "counted as alpn", func() bool { return e.Stats().Refused["alpn"] == 1 && e.Stats().Handshaking == 0 })
}

func TestDHTMutualAuthentication(t *testing.T) {
	ka, kb := testKeys(t, 1), testKeys(t, 2)
	a, aConns := start(t, testConfig(t, 1), echo)
	b, _ := start(t, testConfig(t, 2), nil)
	for _, id := range [][32]byte{ka.NodeID(), {}} {
		c, err := b.DialDHT(testCtx(t), at(a, "127.0.0.1"), id)
		if err != nil {
			t.Fatal(err)
		}
		s := next(t, aConns)
		if s.ALPN() != ALPNDHT || s.PeerID() != kb.NodeID() || c.PeerID() != ka.NodeID() || !s.PeerKey().Equal(kb.DHT.Public()) {
			t.Error("identities")
		}
		if s.RemoteAddr().Port() != b.Addr().Port() {
			t.Errorf("dialled from %v, not from the endpoint's port %v", s.RemoteAddr(), b.Addr())
		}
		wantEcho(t, c)
	}
	_, err := b.DialDHT(testCtx(t), at(a, "127.0.0.1"), kb.NodeID())
	if !errors.Is(err, ErrWrongPeer) {
		t.Errorf("wrong id: %v", err)
	}
}

func TestDHTRefusesOtherKeysAndNone(t *testing.T) {
	e, conns := start(t, testConfig(t, 1), nil)
	cl := newClient(t, ClientConfig{})
	if _, err := cl.Dial(testCtx(t), at(e, "127.0.0.1"), ALPNDHT, "x"); err == nil {
		t.Error("dialled without a certificate")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	stolen := testConfig(t, 2).DHTCert // another's certificate, without its key
	_, stolen.PrivateKey, err = ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, cert := range map[string]tls.Certificate{
		"ecdsa": {Certificate: [][]byte{der}, PrivateKey: key}, "stolen": stolen, "empty": {Certificate: [][]byte{}, PrivateKey: key},
	} {
		// The client's handshake is done before the server has judged its
		// certificate, so Dial may succeed.
		c, err := cl.DialConfig(testCtx(t), DialConfig{Addr: at(e, "127.0.0.1"), ALPN: ALPNDHT, Cert: cert})
		if err != nil {
			continue
		}
		select {
		case <-c.Context().Done():
		case <-time.After(patience):
			t.Errorf("%s: the connection stays open", name)
		}
	}
	eventually(t, "refusals counted", func() bool { return e.Stats().Refused["tls"] == 2 && e.Stats().Handshaking == 0 })
	if len(conns) != 0 {
		t.Error("a connection was handed over")
	}
}

func TestOversizeDatagram(t *testing.T) {
	e, conns := start(t, testConfig(t, 1), nil)
	dial(t, newClient(t, ClientConfig{}), at(e, "127.0.0.1"), "room")
	s := next(t, conns)
	limit := s.MaxDatagram()
	if limit < 1100 || limit > 1500 {
		t.Fatalf("limit %d", limit)
	}
	err := s.SendDatagram(make([]byte, 4000))
	var tl *TooLargeError
	if !errors.Is(err, ErrTooLarge) || !errors.As(err, &tl) || tl.Size != 4000 || tl.Limit < limit {
		t.Fatalf("err = %v", err)
	}
	if err := s.SendDatagram(make([]byte, tl.Limit)); err != nil {
		t.Errorf("the limit itself: %v", err)
	}
	if s.MaxDatagram() != tl.Limit {
		t.Errorf("limit %d, error said %d", s.MaxDatagram(), tl.Limit)
	}
}

func TestPeerWithoutDatagrams(t *testing.T) {
	e, conns := start(t, testConfig(t, 1), nil)
	dial(t, newClient(t, ClientConfig{NoDatagrams: true}), at(e, "127.0.0.1"), "room")
	s := next(t, conns)
	if s.MaxDatagram() != 0 || !errors.Is(s.SendDatagram([]byte("x")), ErrNoDatagrams) {
		t.Error("datagrams go nowhere in silence")
	}
}

func TestNoStreamCredit(t *testing.T) {
	e, conns := start(t, testConfig(t, 1), nil)
	dial(t, newClient(t, ClientConfig{MaxStreams: -1}), at(e, "127.0.0.1"), "room")
	s := next(t, conns)
	if _, err := s.OpenStream(); !errors.Is(err, ErrNoCredit) {
		t.Errorf("err = %v", err)
	}
	if _, err := s.OpenUniStream(); err != nil {
		t.Errorf("unidirectional: %v", err)
	}
}

func TestStreamsAndDeadlines(t *testing.T) {
	e, conns := start(t, testConfig(t, 1), nil)
	c := dial(t, newClient(t, ClientConfig{}), at(e, "127.0.0.1"), "version")
	s := next(t, conns)
	out, err := s.OpenUniStream()
	if err != nil {
		t.Fatal(err)
	}
	if err := out.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	out.Write([]byte("build"))
	out.Close()
	in, err := c.AcceptUniStream(testCtx(t))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(in); err != nil || string(b) != "build" {
		t.Errorf("%q, %v", b, err)
	}
	st, err := s.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	past := time.Unix(1, 0)
	if err := st.SetReadDeadline(past); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	// The peer never reads: more than its window is not taken.
	if err := st.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := st.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) || n > streamWindow {
		t.Errorf("write: %d, %v", n, err)
	}
	peer, err := c.AcceptStream(testCtx(t))
	if err != nil {
		t.Fatal(err)
	}
	st.CancelWrite(7)
	st.CancelRead(8)
	_, err = io.Copy(io.Discard, peer)
	if end := Ended(err); end.Kind != EndStreamReset || end.Code != 7 || !end.Remote {
		t.Errorf("ended %+v (%v)", end, err)
	}
}

func TestRxQueueOverflowIsCounted(t *testing.T) {
	e, conns := start(t, testConfig(t, 1), nil) // nobody reads
	c := dial(t, newClient(t, ClientConfig{}), at(e, "127.0.0.1"), "room")
	s := next(t, conns)
	eventually(t, "drops counted", func() bool {
		for range 50 {
			if err := c.SendDatagram(make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
		return s.RxDropped() >= 100
	})
	c.Close(0, "")
	<-s.Context().Done() // from here on the counters stand still
	if got := e.Stats().RxQueueDrops; got != s.RxDropped() {
		t.Errorf("total %d, connection %d", got, s.RxDropped())
	}
	for i := range 128 { // what was queued before is still there
		if _, err := s.ReceiveDatagram(testCtx(t)); err != nil {
			t.Fatalf("datagram %d: %v", i, err)
		}
	}
	if _, err := s.ReceiveDatagram(testCtx(t)); Ended(err).Kind != EndClosed {
		t.Errorf("after the last: %v", err)
	}
}

func TestCloseTellsThePeer(t *testing.T) {
	e, conns := start(t, testConfig(t, 1), nil)
	c := dial(t, newClient(t, ClientConfig{}), at(e, "127.0.0.1"), "room")
	s := next(t, conns)
	s.Close(3, "bye\x1b[2J\u202e!")
	<-c.Context().Done()
	end := Ended(context.Cause(c.Context()))
	if end != (End{Kind: EndClosed, Remote: true, Code: 3, Reason: "bye?[2J?!"}) {
		t.Errorf("ended %+v", end)
	}
	if got := EndReason(context.Cause(c.Context())); got != "closed by the peer: bye?[2J?!" {
		t.Error(got)
	}
	if got := EndReason(context.Cause(s.Context())); got != "closed by us: bye?[2J?!" {
		t.Error(got)
	}
	if _, err := c.ReceiveDatagram(testCtx(t)); Ended(err).Kind != EndClosed || !errors.Is(err, ErrClosed) {
		t.Errorf("receive: %v", err)
	}
	if err := c.SendDatagram([]byte("x")); Ended(err).Kind != EndClosed || !errors.Is(err, ErrClosed) {
		t.Errorf("send: %v", err)
	}
	if _, err := c.AcceptStream(testCtx(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	if _, err := c.OpenStream(); !errors.Is(err, ErrClosed) {
		t.Errorf("open: %v", err)
	}
}
