package quicnet

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// The ends of a relayed path prove themselves to each other as those of a
// connection do; whoever is not who was announced is refused, on either side.
func TestSecureDHT(t *testing.T) {
	ids := [][32]byte{testKeys(t, 1).NodeID(), testKeys(t, 2).NodeID(), testKeys(t, 3).NodeID()}
	a, _ := start(t, testConfig(t, 1), nil)
	b, _ := start(t, testConfig(t, 2), nil)
	for name, tt := range map[string]struct {
		fromA, fromB [32]byte // whom they expect
		ok           bool
	}{
		"each other":          {ids[1], ids[0], true},
		"the client wants c":  {ids[2], ids[0], false},
		"the server wants c":  {ids[1], ids[2], false},
		"anyone is not asked": {[32]byte{}, ids[0], false},
	} {
		t.Run(name, func(t *testing.T) {
			ca, cb := pair(t)
			got := make(chan error, 1)
			go func() {
				tc, err := b.SecureDHT(testCtx(t), cb, tt.fromB, false)
				if err == nil {
					_, err = tc.Write([]byte("hello"))
				}
				got <- err
			}()
			tc, err := a.SecureDHT(testCtx(t), ca, tt.fromA, true)
			if err == nil {
				buf := make([]byte, 5)
				if _, err = io.ReadFull(tc, buf); err == nil && string(buf) != "hello" {
					t.Errorf("%q", buf)
				}
			}
			if serr := <-got; (err == nil && serr == nil) != tt.ok {
				t.Errorf("client: %v; server: %v", err, serr)
			}
			if name == "the client wants c" && !errors.Is(err, ErrWrongPeer) {
				t.Error(err)
			}
		})
	}
}

// pair is a byte stream that buffers, as the relayed path does: over net.Pipe
// two ends that write at once wait for each other.
func pair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Close()
		b.Close()
	})
	return a, b
}

// A poke comes from the port we listen on, is no QUIC packet, and is tiny.
func TestPoke(t *testing.T) {
	a, _ := start(t, testConfig(t, 1), nil)
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := a.Poke(netip.MustParseAddrPort(c.LocalAddr().String())); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, from, err := c.ReadFromUDPAddrPort(buf)
	if err != nil || n > 16 || buf[0]&0xc0 != 0 || from.Port() != a.Addr().Port() {
		t.Errorf("%x from %v: %v", buf[:n], from, err)
	}
	if err := a.Poke(netip.AddrPort{}); err == nil {
		t.Error("poked nobody")
	}
}
