package quicnet

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func refusedKind(t *testing.T, cl *Client, addr netip.AddrPort) EndKind {
	t.Helper()
	_, err := cl.Dial(testCtx(t), addr, ALPNWZP, "room")
	if err == nil {
		t.Fatal("was admitted")
	}
	return Ended(err).Kind
}

func TestCaps(t *testing.T) {
	local := netip.MustParseAddr("127.0.0.1")
	for name, tc := range map[string]struct {
		set        func(*Config)
		cause      string
		otherEnter bool
	}{
		"prefix":             {func(c *Config) { c.MaxPerPrefix = 2 }, "prefix_cap", true},
		"all":                {func(c *Config) { c.MaxConns = 2 }, "conn_cap", false},
		"all, though exempt": {func(c *Config) { c.MaxConns = 2; c.MaxPerPrefix = 1; c.ExemptLoopback = true }, "conn_cap", false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t, 1)
			tc.set(&cfg)
			e, conns := start(t, cfg, nil)
			cl := newClient(t, ClientConfig{LocalAddr: local})
			addr := at(e, "127.0.0.1")
			first := dial(t, cl, addr, "a")
			dial(t, cl, addr, "b")
			next(t, conns)
			next(t, conns)
			if kind := refusedKind(t, cl, addr); kind != EndRefused {
				t.Errorf("ended %v", kind)
			}
			if got := e.Stats().Refused[tc.cause]; got == 0 {
				t.Errorf("refused: %v", e.Stats().Refused)
			}
			other := newClient(t, ClientConfig{LocalAddr: netip.MustParseAddr("127.0.0.5")})
			if tc.otherEnter {
				dial(t, other, addr, "c")
			} else if kind := refusedKind(t, other, addr); kind != EndRefused {
				t.Errorf("other prefix: %v", kind)
			}
			// A seat is free again once the connection and its handler ended.
			first.Close(0, "")
			eventually(t, "seat released", func() bool {
				c, err := cl.Dial(testCtx(t), addr, ALPNWZP, "d")
				return err == nil && c != nil
			})
		})
	}
}

func TestSeatsAreReleased(t *testing.T) {
	e, _ := start(t, testConfig(t, 1), nil)
	cl := newClient(t, ClientConfig{})
	for range 40 { // a probe closes the moment its handshake is done
		dial(t, cl, at(e, "127.0.0.1"), "ping").Close(0, "ping")
	}
	eventually(t, "all seats free", func() bool {
		e.gate.mu.Lock()
		defer e.gate.mu.Unlock()
		return e.gate.seats == 0 && len(e.gate.perPrefix) == 0
	})
	st := e.Stats()
	if st.Handshaking != 0 || st.Connections != 0 {
		t.Errorf("%+v", st)
	}
	for cause, n := range st.Refused {
		// A probe's close can overtake the end of its handshake on our side; we
		// cannot read it then and the handshake runs out, which is what we say.
		if n != 0 && cause != "handshake_timeout" {
			t.Errorf("%s = %d", cause, n)
		}
	}
}

func TestBannedAndDraining(t *testing.T) {
	cfg := testConfig(t, 1)
	banned := netip.MustParseAddr("127.0.0.5")
	cfg.Admit = func(a netip.Addr) bool { return a != banned } // sees IPv4 unmapped
	e, conns := start(t, cfg, nil)
	bad, good := newClient(t, ClientConfig{LocalAddr: banned}), newClient(t, ClientConfig{})
	if kind := refusedKind(t, bad, at(e, "127.0.0.1")); kind != EndRefused {
		t.Errorf("banned: %v", kind)
	}
	open := dial(t, good, at(e, "127.0.0.1"), "room")
	next(t, conns)
	e.SetDraining(true)
	if kind := refusedKind(t, good, at(e, "127.0.0.1")); kind != EndRefused || !e.Draining() {
		t.Errorf("draining: %v", kind)
	}
	if open.Context().Err() != nil {
		t.Error("draining closed an open connection")
	}
	e.SetDraining(false)
	dial(t, good, at(e, "127.0.0.1"), "room")
	if r := e.Stats().Refused; r["banned"] == 0 || r["draining"] == 0 {
		t.Errorf("refused: %v", r)
	}
}

func TestRetryAboveTheRate(t *testing.T) {
	for _, tc := range []struct {
		mode  RetryMode
		least uint64
		most  uint64
	}{{RetryAuto, 3, 6}, {RetryAlways, 5, 10}, {RetryNever, 0, 0}} {
		t.Run(string(tc.mode), func(t *testing.T) {
			cfg := testConfig(t, 1)
			cfg.Retry, cfg.RetryRate, cfg.RetryBurst = tc.mode, 1e-6, 2
			e, _ := start(t, cfg, nil)
			for range 5 {
				// Go's ClientHello fills two Initial packets; each may get a Retry.
				dial(t, newClient(t, ClientConfig{}), at(e, "127.0.0.1"), "room")
			}
			st := e.Stats()
			if st.RetriesSent < tc.least || st.RetriesSent > tc.most {
				t.Errorf("%d Retries, want %d to %d", st.RetriesSent, tc.least, tc.most)
			}
			if st.RetryActive != (tc.most > 0) {
				t.Errorf("RetryActive %v", st.RetryActive)
			}
		})
	}
}

// forgeInitial is an Initial packet of a made-up connection (RFC 9000 section
// 17.2.2) that nobody can decrypt: a server cannot tell without keeping state.
func forgeInitial(t *testing.T) []byte {
	t.Helper()
	p := make([]byte, packetSize)
	if _, err := rand.Read(p); err != nil {
		t.Fatal(err)
	}
	p[0] = 0xc0 | p[0]&3
	binary.BigEndian.PutUint32(p[1:], 1)
	p[5], p[14] = 8, 8 // connection id lengths
	p[23] = 0          // no token
	binary.BigEndian.PutUint16(p[24:], 0x4000|uint16(len(p)-26))
	return p
}

// A flood of forged Initials costs a bounded number of goroutines, leaves when
// the handshake times out, and does not keep a real client out.
func TestForgedInitialFlood(t *testing.T) {
	cfg := testConfig(t, 1)
	cfg.RetryRate, cfg.RetryBurst, cfg.RetryHalfOpen = 1e-6, 64, 32
	cfg.HandshakeTimeout = time.Second
	e, _ := start(t, cfg, nil)
	cl := newClient(t, ClientConfig{})
	// The base includes what a first connection starts for good.
	dial(t, cl, at(e, "127.0.0.1"), "room").Close(0, "")
	eventually(t, "the first connection gone", func() bool { return e.Stats().Connections == 0 })
	base := runtime.NumGoroutine()
	raw, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at(e, "127.0.0.1")))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	half := 0
	for i := range 5000 {
		if _, err := raw.Write(forgeInitial(t)); err != nil {
			t.Fatal(err)
		}
		half = max(half, e.Stats().Handshaking)
		if i == 2500 {
			c, err := cl.Dial(testCtx(t), at(e, "127.0.0.1"), ALPNWZP, "room")
			if err != nil {
				t.Fatalf("a real client during the flood: %v", err)
			}
			c.Close(0, "")
		}
	}
	if half == 0 || half > cfg.RetryHalfOpen+2 {
		t.Errorf("%d half-open handshakes, limit %d", half, cfg.RetryHalfOpen)
	}
	eventually(t, "half-open handshakes gone", func() bool { return e.Stats().Handshaking == 0 })
	eventually(t, "goroutines back to base", func() bool { return runtime.NumGoroutine() <= base+3 })
	st := e.Stats()
	if st.RetriesSent == 0 || !st.RetryActive || st.Refused["handshake_timeout"] == 0 {
		t.Errorf("%+v", st)
	}
}

func TestGarbageIsCounted(t *testing.T) {
	e, _ := start(t, testConfig(t, 1), nil)
	raw, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at(e, "127.0.0.1")))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.Write([]byte{0x40, 1, 2}) // a short header of no connection, too short for a reset
	eventually(t, "counted", func() bool { return e.StrayPackets() == 1 })
}

func TestPanicEndsOneConnection(t *testing.T) {
	cfg := testConfig(t, 1)
	told := make(chan string, 1)
	cfg.OnPanic = func(c *Conn, v any, stack []byte) {
		told <- c.ServerName() + ": " + v.(string) + " " + string(stack)
	}
	e, _ := start(t, cfg, func(c *Conn) {
		if c.ServerName() == "bad" {
			panic("boom")
		}
		<-c.Context().Done()
	})
	cl := newClient(t, ClientConfig{})
	good := dial(t, cl, at(e, "127.0.0.1"), "good")
	bad := dial(t, cl, at(e, "127.0.0.1"), "bad")
	<-bad.Context().Done()
	if got := <-told; !strings.HasPrefix(got, "bad: boom") || !strings.Contains(got, "endpoint_test.go") {
		t.Errorf("told %q", got)
	}
	if good.Context().Err() != nil {
		t.Error("the other connection ended too")
	}
	dial(t, cl, at(e, "127.0.0.1"), "good")
}

func TestCloseAll(t *testing.T) {
	e, conns := start(t, testConfig(t, 1), nil)
	cl := newClient(t, ClientConfig{})
	var open []*Conn
	for range 10 {
		open = append(open, dial(t, cl, at(e, "127.0.0.1"), "room"))
		next(t, conns)
	}
	began := time.Now()
	if n := e.CloseAll(t.Context(), 100*time.Millisecond, "moving"); n != 10 {
		t.Errorf("closed %d", n)
	}
	if d := time.Since(began); d < 90*time.Millisecond {
		t.Errorf("spread over %v", d)
	}
	for _, c := range open {
		<-c.Context().Done()
		if end := Ended(context.Cause(c.Context())); end != (End{Kind: EndClosed, Remote: true, Reason: "moving"}) {
			t.Errorf("ended %+v", end)
		}
	}
	eventually(t, "registry empty", func() bool { return len(e.Conns()) == 0 })
	// A second signal ends the spreading: an hour becomes now.
	dial(t, cl, at(e, "127.0.0.1"), "room")
	next(t, conns)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if n := e.CloseAll(done, time.Hour, "now"); n != 1 {
		t.Errorf("closed %d", n)
	}
}

func TestRunEndsAfterItsHandlers(t *testing.T) {
	e, err := Listen(testConfig(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	entered, release := make(chan struct{}), make(chan struct{})
	var left atomic.Bool
	done := make(chan error, 1)
	go func() {
		done <- e.Run(ctx, func(c *Conn) {
			close(entered)
			<-c.Context().Done()
			<-release
			left.Store(true)
		})
	}()
	c := dial(t, newClient(t, ClientConfig{}), at(e, "127.0.0.1"), "room")
	<-entered
	cancel()
	<-c.Context().Done()
	if end := Ended(context.Cause(c.Context())); end.Kind != EndClosed || end.Reason != closeNormal {
		t.Errorf("client was told %+v", end)
	}
	select {
	case <-done:
		t.Fatal("Run did not wait for the handler")
	default:
	}
	close(release)
	if err := <-done; err != nil || !left.Load() {
		t.Errorf("Run: %v", err)
	}
	if err := e.Run(t.Context(), nil); err == nil {
		t.Error("ran twice")
	}
	if _, err := e.DialDHT(testCtx(t), at(e, "127.0.0.1"), [32]byte{}); !errors.Is(err, ErrClosed) {
		t.Errorf("dialled after Close: %v", err)
	}
}

// After a crash the peer learns at once that its connection is gone, because
// the reset key outlives the process (contract section 5).
func TestStatelessResetAfterRestart(t *testing.T) {
	cfg := testConfig(t, 1)
	cfg.Addr = "127.0.0.1:0"
	old, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	taken := make(chan struct{}, 1)
	ran := make(chan error, 1)
	go func() { ran <- old.Run(t.Context(), func(c *Conn) { taken <- struct{}{}; <-c.Context().Done() }) }()
	c := dial(t, newClient(t, ClientConfig{}), old.Addr(), "room")
	<-taken
	cfg.Addr = old.Addr().String()
	if err := old.dial.sock.Close(); err != nil { // no farewell, as with kill -9
		t.Fatal(err)
	}
	<-ran
	var now *Endpoint
	eventually(t, "the port is free", func() bool {
		now, err = Listen(cfg)
		return err == nil
	})
	defer now.Close()
	eventually(t, "the client notices", func() bool {
		if c.Context().Err() == nil {
			c.SendDatagram(make([]byte, 200))
		}
		return c.Context().Err() != nil
	})
	if end := Ended(context.Cause(c.Context())); end.Kind != EndReset {
		t.Errorf("ended %+v", end)
	}
}

func TestListenErrors(t *testing.T) {
	for _, addr := range []string{"nonsense", "127.0.0.1:99999", "192.0.2.1:0"} {
		cfg := testConfig(t, 1)
		cfg.Addr = addr
		if e, err := Listen(cfg); err == nil {
			t.Errorf("%s: no error", addr)
			e.Close()
		}
	}
	e, _ := start(t, testConfig(t, 1), nil)
	cfg := testConfig(t, 1)
	cfg.Addr = e.Addr().String()
	if _, err := Listen(cfg); err == nil {
		t.Error("the same port twice")
	}
}

func TestDialErrors(t *testing.T) {
	cl := newClient(t, ClientConfig{})
	for _, addr := range []netip.AddrPort{{}, netip.MustParseAddrPort("127.0.0.1:0")} {
		if _, err := cl.Dial(testCtx(t), addr, ALPNWZP, "x"); err == nil {
			t.Errorf("%v: no error", addr)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cl.Dial(ctx, netip.MustParseAddrPort("127.0.0.1:9"), ALPNWZP, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}
