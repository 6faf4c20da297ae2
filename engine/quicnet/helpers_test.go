package quicnet

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"testing"
	"time"

	"signalbox/engine/state"
)

const patience = 20 * time.Second // only a failing test waits this long

// eventually polls a condition that other goroutines bring about.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never came true: %s", what)
		}
	}
}

func testCtx(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func testKeys(t *testing.T, b byte) *state.Keys {
	t.Helper()
	k, err := state.NewKeys([32]byte{b})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testConfig(t *testing.T, b byte) Config {
	t.Helper()
	k := testKeys(t, b)
	tc, err := k.TLSCertificate()
	if err != nil {
		t.Fatal(err)
	}
	dc, err := k.DHTCertificate()
	if err != nil {
		t.Fatal(err)
	}
	return Config{Addr: "[::]:0", TLSCert: tc, DHTCert: dc, ResetKey: k.Reset, TokenKey: k.Token}
}

// start runs an endpoint until the test ends; conns gets what handler was
// given. The default handler holds the connection until it ends.
func start(t *testing.T, cfg Config, handler func(*Conn)) (*Endpoint, <-chan *Conn) {
	t.Helper()
	e, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan *Conn, 256)
	if handler == nil {
		handler = func(c *Conn) { <-c.Context().Done() }
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- e.Run(ctx, func(c *Conn) {
			conns <- c
			handler(c)
		})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
	return e, conns
}

func newClient(t *testing.T, cfg ClientConfig) *Client {
	t.Helper()
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// at is the endpoint's port on an address of this machine.
func at(e *Endpoint, ip string) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), e.Addr().Port())
}

func next(t *testing.T, conns <-chan *Conn) *Conn {
	t.Helper()
	select {
	case c := <-conns:
		return c
	case <-time.After(patience):
		t.Fatal("no connection was accepted")
		return nil
	}
}

func dial(t *testing.T, c *Client, addr netip.AddrPort, sni string) *Conn {
	t.Helper()
	conn, err := c.Dial(testCtx(t), addr, ALPNWZP, sni)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// echo sends everything back: datagrams, and streams to their end.
func echo(c *Conn) {
	go func() {
		for {
			s, err := c.AcceptStream(c.Context())
			if err != nil {
				return
			}
			go func() {
				defer s.Close()
				io.Copy(s, s)
			}()
		}
	}()
	for {
		p, err := c.ReceiveDatagram(c.Context())
		if err != nil {
			return
		}
		if c.SendDatagram(p) != nil {
			return
		}
	}
}

func wantEcho(t *testing.T, c *Conn) {
	t.Helper()
	ctx := testCtx(t)
	msg := bytes.Repeat([]byte("media"), 30)
	if err := c.SendDatagram(msg); err != nil {
		t.Fatal(err)
	}
	got, err := c.ReceiveDatagram(ctx)
	if err != nil || !bytes.Equal(got, msg) {
		t.Fatalf("datagram: %d bytes, %v", len(got), err)
	}
	s, err := c.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("signal"), 50_000) // above both flow control windows
	go func() {
		s.Write(big)
		s.Close()
	}()
	got, err = io.ReadAll(s)
	if err != nil || !bytes.Equal(got, big) {
		t.Fatalf("stream: %d bytes, %v", len(got), err)
	}
}
