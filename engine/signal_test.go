package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"signalbox/engine"
	"signalbox/engine/bench"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// socket is a client's socket that lasts as long as the test.
func socket(t *testing.T, cfg quicnet.ClientConfig) *quicnet.Client {
	t.Helper()
	cl, err := quicnet.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	return cl
}

func listens(e *engine.Engine) netip.AddrPort { return netip.MustParseAddrPort(e.Info().Listen) }

// phone registers somebody on a socket of their own.
func phone(t *testing.T, e *engine.Engine, id bench.Identity) *bench.Phone {
	t.Helper()
	p, err := bench.Register(t.Context(), socket(t, quicnet.ClientConfig{}), listens(e), id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func someone(alias string) bench.Identity {
	return bench.Identity{Key: bench.NewIdentity(), Alias: alias}
}

// hears waits for the next signal and wants it to be of a kind.
func hears[S wire.Signal](t *testing.T, p *bench.Phone) S {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := p.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m, ok := s.(S)
	if !ok {
		t.Fatalf("heard %T %+v", s, s)
	}
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// connect brings a call between two phones up and returns where each was told
// to meet the other.
func connect(t *testing.T, alice, bob *bench.Phone, id string) (a, b *wire.CallSetup) {
	t.Helper()
	must(t, alice.Call(bob.Fingerprint(), id))
	if o := hears[*wire.DirectCallOffer](t, bob); o.CallID != id || o.CallerFingerprint != alice.Fingerprint() {
		t.Fatalf("offer %+v", o)
	}
	hears[*wire.CallRinging](t, alice)
	must(t, bob.Answer(id, wire.AcceptTrusted))
	hears[*wire.DirectCallAnswer](t, alice)
	return hears[*wire.CallSetup](t, alice), hears[*wire.CallSetup](t, bob)
}

// TestDirectCall is two people from registration to hanging up, and a third
// who is not let in, over IPv4 and IPv6.
func TestDirectCall(t *testing.T) {
	for name, listen := range map[string]string{"IPv4": "127.0.0.1:0", "IPv6": "[::1]:0"} {
		t.Run(name, func(t *testing.T) {
			e := start(t, func(c *config.Config) { c.ListenAddr = listen })
			alice, bob, eve := phone(t, e, someone("Alice")), phone(t, e, someone("Bob")), phone(t, e, someone("Eve"))
			id := "18a5f0c2b3d4e5F6" // in a server name it is in lower case
			setup, other := connect(t, alice, bob, id)
			if setup.RelayAddr != e.Info().Listen || setup.RelayAddr != other.RelayAddr || setup.CallID != id || setup.Room != "call-"+id {
				t.Errorf("setup %+v", setup)
			}
			addr, err := netip.ParseAddrPort(setup.RelayAddr)
			must(t, err)
			var cs []*bench.Caller
			for i, p := range []*bench.Phone{alice, bob} {
				c, err := bench.JoinAs(t.Context(), socket(t, quicnet.ClientConfig{}), addr, setup.Room, fmt.Sprint(i), p.Key(), "")
				must(t, err)
				go func() { _ = c.ReceiveLoop(t.Context(), func(time.Duration) {}) }()
				cs = append(cs, c)
			}
			if c, err := bench.JoinAs(t.Context(), socket(t, quicnet.ClientConfig{}), addr, setup.Room, "eve", eve.Key(), ""); err == nil {
				// The handshake was answered; then she was shown the door.
				if err := c.ReceiveLoop(t.Context(), func(time.Duration) {}); !errors.Is(err, quicnet.ErrClosed) {
					t.Errorf("a third party is in the call's room: %v", err)
				}
			}
			talk(t, cs, 50)
			s := until(t, e, "both hear each other", func(*view.Snapshot) bool { return received(cs) == 100 })
			if c := s.Signal.CallList[0]; c.State != "active" || c.Caller.Alias != "Alice" || c.Callee.Alias != "Bob" || s.Signal.Registered != 3 {
				t.Errorf("%+v", s.Signal)
			}
			must(t, eve.HangUp(id)) // not hers
			must(t, eve.Send(&wire.Reflect{}))
			if r := hears[*wire.ReflectResponse](t, eve); r.ObservedAddr != eve.Conn().LocalAddr().String() && !strings.HasSuffix(r.ObservedAddr, fmt.Sprint(":", eve.Conn().LocalAddr().Port())) {
				t.Errorf("seen as %s", r.ObservedAddr)
			}
			must(t, alice.HangUp(id))
			if h := hears[*wire.Hangup](t, bob); *h.CallID != id || h.Reason != wire.HangupNormal {
				t.Errorf("%+v", h)
			}
			until(t, e, "the call is over", func(s *view.Snapshot) bool {
				return s.Signal.Hangups == 1 && len(s.Signal.CallList) == 0 && s.Signal.Refused["not_a_party"] == 1
			})
			for _, c := range cs {
				c.Close()
			}
		})
	}
}

// TestAdvertisedAddress is what both are told, whatever they dialled.
func TestAdvertisedAddress(t *testing.T) {
	e := start(t, func(c *config.Config) { c.AdvertiseAddr = "[2001:db8::7]:0" })
	alice, bob := phone(t, e, someone("")), phone(t, e, someone(""))
	setup, _ := connect(t, alice, bob, "x")
	if want := fmt.Sprintf("[2001:db8::7]:%d", listens(e).Port()); setup.RelayAddr != want {
		t.Errorf("told %s, want %s", setup.RelayAddr, want)
	}
	cfg := config.Default()
	cfg.StateDir, cfg.ListenAddr, cfg.AdvertiseAddr = t.TempDir(), "127.0.0.1:0", ":4433"
	if _, err := engine.New(cfg, engine.Options{}); err == nil || !strings.Contains(err.Error(), "advertise_addr") {
		t.Errorf("an address nobody can reach: %v", err)
	}
}

// TestWildcardListenerTellsTheClientsView: without advertise_addr, whoever came
// by an address is told that one.
func TestWildcardListenerTellsTheClientsView(t *testing.T) {
	e := start(t, func(c *config.Config) { c.ListenAddr = "[::]:0" })
	dial := func(ip string) *bench.Phone {
		to := netip.AddrPortFrom(netip.MustParseAddr(ip), listens(e).Port())
		p, err := bench.Register(t.Context(), socket(t, quicnet.ClientConfig{}), to, someone(""))
		must(t, err)
		return p
	}
	alice, bob := dial("127.0.0.1"), dial("::1")
	a, b := connect(t, alice, bob, "x")
	port := listens(e).Port()
	if a.RelayAddr != fmt.Sprintf("127.0.0.1:%d", port) || b.RelayAddr != fmt.Sprintf("[::1]:%d", port) {
		t.Errorf("told %s and %s", a.RelayAddr, b.RelayAddr)
	}
}

// TestStalledCallees has fifty clients that grant no streams, or never read,
// while others call each other.
func TestStalledCallees(t *testing.T) {
	e := start(t, nil)
	var deaf []*bench.Phone
	for i := range 50 {
		id := someone(fmt.Sprint("deaf ", i))
		cfg := quicnet.ClientConfig{}
		if i%2 == 0 {
			cfg.MaxStreams = 1 // for the acknowledgement; it grants no more
		}
		cl := socket(t, cfg)
		p, err := bench.Register(t.Context(), cl, listens(e), id)
		must(t, err)
		deaf = append(deaf, p) // and reads nothing from here on
	}
	// What they are sent while nobody accepts it.
	alice := make([]*bench.Phone, len(deaf))
	for i, d := range deaf {
		alice[i] = phone(t, e, someone(""))
		must(t, alice[i].Call(d.Fingerprint(), fmt.Sprint("deaf", i)))
	}
	began := time.Now()
	good, other := phone(t, e, someone("")), phone(t, e, someone(""))
	var took []time.Duration
	for i := range 25 {
		at := time.Now()
		connect(t, good, other, fmt.Sprint("good", i))
		must(t, good.HangUp(fmt.Sprint("good", i)))
		hears[*wire.Hangup](t, other)
		took = append(took, time.Since(at)/4) // four exchanges
	}
	for i := range alice {
		if h := hears[*wire.Hangup](t, alice[i]); h.Reason == wire.HangupTimeout {
			t.Errorf("call %d rang into nothing", i)
		}
	}
	all := time.Since(began)
	slices.Sort(took)
	t.Logf("50 deaf callees: all their calls failed within %v; an exchange of others took p50 %v, max %v", all, took[len(took)/2], took[len(took)-1])
	s := until(t, e, "nothing is left of those calls", func(s *view.Snapshot) bool { return len(s.Signal.CallList) == 0 })
	// The callers themselves read late here, and may count too.
	if s.Signal.Stalls < 50 || s.Signal.RingTimeouts != 0 {
		t.Errorf("%d stalled, %d timed out", s.Signal.Stalls, s.Signal.RingTimeouts)
	}
}

// TestStalledMemberIsToldTheNewest has a member that does not read until its
// stream credit is used up. When it reads again, it comes to know who is there
// now, though nobody joins or leaves any more.
func TestStalledMemberIsToldTheNewest(t *testing.T) {
	e := start(t, nil)
	join := func(alias string, credit int64) *bench.Caller {
		c, err := bench.Join(t.Context(), socket(t, quicnet.ClientConfig{MaxStreams: credit}), listens(e), "den", alias)
		must(t, err)
		return c
	}
	stalled := join("stalled", 3)
	passing := join("passer-by", 0)
	for range 4 { // each is told before the next comes
		told := join("passer-by", 0)
		until(t, e, "one more", func(s *view.Snapshot) bool { return len(s.Rooms) == 1 && len(s.Rooms[0].Participants) == 3 })
		told.Close()
		until(t, e, "one less", func(s *view.Snapshot) bool { return len(s.Rooms) == 1 && len(s.Rooms[0].Participants) == 2 })
	}
	passing.Close()
	join("stays", 0)
	until(t, e, "a signal that was not taken", func(s *view.Snapshot) bool {
		return s.Signal.Lost > 0 && len(s.Rooms[0].Participants) == 2
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for n := 0; ; n++ {
		s, err := stalled.ReadSignal(ctx)
		if err != nil {
			t.Fatalf("after %d signals: %v", n, err)
		}
		if u, ok := s.(*wire.RoomUpdate); ok && u.Count == 2 && u.Participants[1].Alias != nil && *u.Participants[1].Alias == "stays" {
			return
		}
	}
}

// TestSlowStreamsHoldUpNobody opens streams that say a byte and no more.
func TestSlowStreamsHoldUpNobody(t *testing.T) {
	e, conns := start(t, nil), 20
	if os.Getenv("FAULTS") != "" { // as many as reliability asks for: minutes under the race detector
		conns = 500
	}
	base := e.Snapshot().Node.HeapBytes
	var slow []*quicnet.Stream
	for range conns {
		p := phone(t, e, someone("slow"))
		for range 16 {
			st, err := p.Conn().OpenStream()
			must(t, err)
			_, err = st.Write([]byte{0})
			must(t, err)
			slow = append(slow, st)
		}
	}
	alice, bob := phone(t, e, someone("")), phone(t, e, someone(""))
	began := time.Now()
	connect(t, alice, bob, "x")
	t.Logf("a call was set up in %v; heap %d MiB before, %d MiB with them", time.Since(began), base>>20, e.Snapshot().Node.HeapBytes>>20)
	for _, st := range slow { // each is given up: our direction is closed, theirs stopped
		must(t, st.SetReadDeadline(time.Now().Add(patience)))
		if _, err := st.Read(make([]byte, 1)); quicnet.Ended(err).Kind == quicnet.EndOther && err.Error() != "EOF" {
			t.Fatal(err)
		}
	}
	t.Logf("%d slow streams were given up within %v", len(slow), time.Since(began))
}

// TestGarbageIsSkipped: what is no message, or none we know, ends nothing.
func TestGarbageIsSkipped(t *testing.T) {
	e := start(t, nil)
	p := phone(t, e, someone(""))
	for _, raw := range []string{
		"\x00\x00\x00\x09{\"New\":{}}", "\x00\x00\x00\x01{", "\xff\xff\xff\xff", "\x00\x00\x00\x00", "\x00\x10", "", "\x00\x00\x00\x05" + `"New"`,
		"\x00\x00\x40\x00" + strings.Repeat("[", 16384), "\x00\x00\x00\x1e" + `{"DirectCallOffer":{"x":true}}`, "\x00\x00\x00\x06" + `"Hold"`,
	} {
		st, err := p.Conn().OpenStream()
		must(t, err)
		_, err = st.Write([]byte(raw))
		must(t, err)
		must(t, st.Close())
	}
	must(t, p.Send(&wire.Ping{TimestampMS: 9}))
	if m := hears[*wire.Pong](t, p); m.TimestampMS != 9 {
		t.Errorf("%+v", m)
	}
	until(t, e, "all of it is counted", func(s *view.Snapshot) bool {
		return s.Signal.Refused["malformed"] == 9 && s.Signal.Refused["unserved"] == 1
	})
}

// TestReconnectBeforeTheOldConnectionDies: the newest is rung, and the old
// one's end harms nobody.
func TestReconnectBeforeTheOldConnectionDies(t *testing.T) {
	e := start(t, nil)
	alice, id := phone(t, e, someone("")), someone("Bob")
	old := phone(t, e, id)
	connect(t, alice, old, "x")
	bob := phone(t, e, id)
	old.Conn().Close(0, "gone")
	until(t, e, "the old connection is gone", func(s *view.Snapshot) bool { return s.Signal.Connections == 2 })
	must(t, alice.HangUp("x"))
	hears[*wire.Hangup](t, bob)
	connect(t, alice, bob, "y")
	bob.Close()
	hears[*wire.Hangup](t, alice)
}

func TestRingTimeoutReachesBoth(t *testing.T) {
	e := start(t, func(c *config.Config) { c.Signal.RingTimeout = time.Second })
	alice, bob := phone(t, e, someone("")), phone(t, e, someone(""))
	must(t, alice.Call(bob.Fingerprint(), "x"))
	hears[*wire.DirectCallOffer](t, bob)
	hears[*wire.CallRinging](t, alice)
	for _, p := range []*bench.Phone{alice, bob} {
		if h := hears[*wire.Hangup](t, p); h.Reason != wire.HangupTimeout {
			t.Errorf("%v", h.Reason)
		}
	}
}

func TestDrainEndsWhatRings(t *testing.T) {
	e := start(t, nil)
	alice, bob, carol := phone(t, e, someone("")), phone(t, e, someone("")), phone(t, e, someone(""))
	must(t, alice.Call(bob.Fingerprint(), "x"))
	hears[*wire.DirectCallOffer](t, bob)
	hears[*wire.CallRinging](t, alice)
	do(t, e, control.Command{Kind: control.NodeDrain})
	hears[*wire.Hangup](t, alice)
	hears[*wire.Hangup](t, bob)
	must(t, carol.Call(bob.Fingerprint(), "y"))
	hears[*wire.Hangup](t, carol)
}

// TestDrainTellsWhy: whoever is there when the node goes reads that it does.
func TestDrainTellsWhy(t *testing.T) {
	e := start(t, nil)
	cl, err := quicnet.NewClient(quicnet.ClientConfig{LocalAddr: netip.MustParseAddr("127.0.0.1")})
	must(t, err)
	t.Cleanup(func() { must(t, cl.Close()) })
	c, err := cl.Dial(t.Context(), netip.MustParseAddrPort(e.Info().Listen), quicnet.ALPNWZP, "den")
	must(t, err)
	until(t, e, "the connection", func(s *view.Snapshot) bool { return s.Edge.Connections == 1 })
	e.Drain(0)
	<-c.Context().Done()
	if why := quicnet.EndReason(context.Cause(c.Context())); !strings.Contains(why, "draining") {
		t.Errorf("told %q", why)
	}
}

// tokens is an auth service that knows tokens of the form ok-FINGERPRINT.
func tokens(t *testing.T) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct{ Token string }
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		fp, ok := strings.CutPrefix(m.Token, "ok-")
		if err := json.NewEncoder(w).Encode(map[string]any{"valid": ok, "fingerprint": fp}); err != nil {
			t.Logf("the node has gone: %v", err)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestTokens: with auth_url nobody gets in without one, and a token's identity
// takes the place of the key's.
func TestTokens(t *testing.T) {
	e := start(t, func(c *config.Config) { c.Legacy.AuthURL = tokens(t) })
	id := someone("")
	register := func(token string) (*bench.Phone, error) {
		id.Token = token
		return bench.Register(t.Context(), socket(t, quicnet.ClientConfig{}), listens(e), id)
	}
	join := func(token string) error {
		c, err := bench.JoinAs(t.Context(), socket(t, quicnet.ClientConfig{}), listens(e), "lobby", "", id.Key, token)
		if err == nil {
			c.Close()
		}
		return err
	}
	for _, bad := range []string{"", "wrong", "ok-"} {
		if _, err := register(bad); err == nil {
			t.Errorf("registered with %q", bad)
		}
		if err := join(bad); err == nil {
			t.Errorf("joined with %q", bad)
		}
	}
	_, err := register("ok-anna")
	must(t, err)
	must(t, join("ok-bert"))
	s := until(t, e, "the verdicts are counted", func(s *view.Snapshot) bool { return s.Signal.Auth.Checks["ok"] == 2 })
	if s.Signal.Clients[0].Fingerprint != "anna" || s.Signal.Auth.Checks["denied"] != 4 || !s.Signal.Auth.Enabled || s.Signal.Auth.Breaker != "closed" {
		t.Errorf("%+v", s.Signal)
	}
}

// TestHangingAuthStallsNobody: those with a verdict go on calling.
func TestHangingAuthStallsNobody(t *testing.T) {
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(hang) }) // before the server waits for its handlers
	e := start(t, func(c *config.Config) {
		c.Legacy.AuthURL, c.Auth.Timeout = srv.URL, 200*time.Millisecond
	})
	began := time.Now()
	for range 20 {
		id := someone("")
		id.Token = "ok-" + id.Alias
		if _, err := bench.Register(t.Context(), socket(t, quicnet.ClientConfig{}), listens(e), id); err == nil {
			t.Fatal("registered without a verdict")
		}
	}
	s := until(t, e, "the breaker is open and an alarm says so", func(s *view.Snapshot) bool {
		return s.Signal.Auth.Breaker == "open" && slices.ContainsFunc(s.Node.Health.Causes, func(c view.Cause) bool { return c.Pane == "calls" && c.Severity == view.Alarm })
	})
	t.Logf("20 clients were refused within %v: %v", time.Since(began), s.Signal.Auth.Checks)
}

// TestReplayedHandshake: a recorded CallOffer opens nothing twice.
func TestReplayedHandshake(t *testing.T) {
	e := start(t, nil)
	offer, _, err := wire.NewOffer(bench.NewIdentity(), "")
	must(t, err)
	answer := func() error {
		conn, err := socket(t, quicnet.ClientConfig{}).Dial(t.Context(), listens(e), quicnet.ALPNWZP, "lobby")
		must(t, err)
		st, err := conn.OpenStream()
		must(t, err)
		must(t, wire.WriteFrame(st, offer))
		must(t, st.Close())
		in, err := conn.AcceptStream(t.Context())
		if err != nil {
			return err
		}
		_, err = wire.ReadFrame(in, 0)
		return err
	}
	must(t, answer())
	if err := answer(); !errors.Is(err, quicnet.ErrClosed) {
		t.Errorf("the same handshake again: %v", err)
	}
	until(t, e, "it is counted", func(s *view.Snapshot) bool { return s.Signal.Auth.Replays == 1 })
}

// TestSignaturePolicy: who has signed is not displaced by who has not, and
// under the policy everybody signs.
func TestSignaturePolicy(t *testing.T) {
	e := start(t, func(c *config.Config) { c.Signal.RequireSignature = true })
	id := someone("Ann")
	if _, err := bench.Register(t.Context(), socket(t, quicnet.ClientConfig{}), listens(e), id); err == nil || !strings.Contains(err.Error(), "signed") {
		t.Errorf("unsigned: %v", err)
	}
	id.Sign = true
	phone(t, e, id)
	ask := phone(t, e, bench.Identity{})
	must(t, ask.Send(&wire.Reflect{}))
	hears[*wire.ReflectResponse](t, ask)
	until(t, e, "one is registered, one anonymous", func(s *view.Snapshot) bool {
		return s.Signal.Registered == 1 && s.Signal.Anonymous == 1 && s.Signal.Clients[0].Signed
	})
}

// probing opens a probe connection.
func probing(t *testing.T, e *engine.Engine) *quicnet.Conn {
	t.Helper()
	conn, err := socket(t, quicnet.ClientConfig{}).Dial(t.Context(), listens(e), quicnet.ALPNWZP, "_probe")
	must(t, err)
	return conn
}

func tellProbe(t *testing.T, c *quicnet.Conn, s wire.Signal) {
	t.Helper()
	st, err := c.OpenStream()
	must(t, err)
	must(t, wire.WriteFrame(st, s))
	must(t, st.Close())
}

func hearProbe(t *testing.T, c *quicnet.Conn) wire.Signal {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	st, err := c.AcceptStream(ctx)
	must(t, err)
	s, err := wire.ReadFrame(st, 0)
	must(t, err)
	return s
}

// TestProbe: everybody may measure; presence is for those who are named.
func TestProbe(t *testing.T) {
	for _, known := range []bool{false, true} {
		e := start(t, func(c *config.Config) {
			if known {
				c.Signal.PresenceFrom = []string{"127.0.0.0/8"}
			}
		})
		bob := phone(t, e, someone(""))
		c := probing(t, e)
		tellProbe(t, c, &wire.PresenceUpdate{Fingerprints: []string{"elsewhere"}, RelayAddr: "made up"})
		if known {
			got, ok := hearProbe(t, c).(*wire.PresenceUpdate)
			if !ok || !slices.Contains(got.Fingerprints, bob.Fingerprint()) || got.RelayAddr != e.Info().Listen {
				t.Errorf("told %+v", got)
			}
			tellProbe(t, c, &wire.RouteQuery{Fingerprint: "elsewhere", TTL: 3})
			r, ok := hearProbe(t, c).(*wire.RouteResponse)
			if !ok || !r.Found || fmt.Sprint(r.RelayChain) != fmt.Sprint([]string{e.Info().Listen, "127.0.0.1"}) {
				t.Errorf("route %+v", r)
			}
		}
		tellProbe(t, c, &wire.Ping{TimestampMS: 5})
		if m, ok := hearProbe(t, c).(*wire.Pong); !ok || m.TimestampMS != 5 {
			t.Errorf("pong %+v", m)
		}
		if _, ok := e.Presence().Where("elsewhere"); ok != known {
			t.Errorf("known %v, learned %v", known, ok)
		}
	}
}

// TestWhoIsHereOverHTTP is told where the operator allows it, in the words of
// wzp-relay.
func TestWhoIsHereOverHTTP(t *testing.T) {
	for _, shown := range []bool{false, true} {
		e := start(t, func(c *config.Config) {
			c.MetricsAddr, c.Signal.ExposePresence = "127.0.0.1:0", shown
		})
		bob := phone(t, e, someone("Bob"))
		e.Presence().Learn("B", "192.0.2.1:4433", []string{"far"}, 1<<60)
		get := func(path string) string {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+e.Info().Metrics+path, nil)
			must(t, err)
			res, err := http.DefaultClient.Do(req)
			must(t, err)
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			must(t, err)
			if (res.StatusCode == http.StatusOK) != (shown || path == "/healthz") || res.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("%s: %s %s", path, res.Status, res.Header)
			}
			return strings.Join(strings.Fields(string(b)), "")
		}
		get("/healthz")
		for path, want := range map[string]string{
			"/presence":        fmt.Sprintf(`[{"fingerprint":"%s","location":"Local"},{"fingerprint":"far","location":{"Remote":"192.0.2.1:4433"}}]`, bob.Fingerprint()),
			"/presence/far":    `{"fingerprint":"far","location":{"Remote":"192.0.2.1:4433"}}`,
			"/presence/nobody": `{"fingerprint":"nobody","location":null}`,
			"/peers":           `[{"addr":"192.0.2.1:4433","fingerprints":["far"],"rtt_ms":null}]`,
			"/route/far":       fmt.Sprintf(`{"fingerprint":"far","route":"direct_peer","relay_chain":["%s","192.0.2.1:4433"]}`, e.Info().Listen),
			"/route/nobody":    `{"fingerprint":"nobody","route":"not_found","relay_chain":[]}`,
		} {
			if got := get(path); shown && got != want || !shown && strings.Contains(got, "far") {
				t.Errorf("%s: %s, want %s", path, got, want)
			}
		}
	}
}

// TestOperatorEndsCalls: by hanging up, dropping a client, closing the room,
// kicking from it; both hear of it each time.
func TestOperatorEndsCalls(t *testing.T) {
	e := start(t, nil)
	alice, bob := phone(t, e, someone("Alice")), phone(t, e, someone("Bob"))
	for i, end := range []func(id string){
		func(id string) { do(t, e, control.Command{Kind: control.CallHangup, Target: id}) },
		func(id string) { do(t, e, control.Command{Kind: control.RoomClose, Target: "call-" + id}) },
		func(string) {
			do(t, e, control.Command{Kind: control.ParticipantKick, Target: e.Snapshot().Rooms[0].Participants[0].ID})
		},
	} {
		id := fmt.Sprint("c", i)
		setup, _ := connect(t, alice, bob, id)
		_, err := bench.JoinAs(t.Context(), socket(t, quicnet.ClientConfig{}), listens(e), setup.Room, "", alice.Key(), "")
		must(t, err)
		until(t, e, "somebody is in the room", func(s *view.Snapshot) bool { return len(s.Rooms) == 1 && s.Rooms[0].Name == "call-"+id })
		end(id)
		hears[*wire.Hangup](t, alice)
		hears[*wire.Hangup](t, bob)
		until(t, e, "the room is empty", func(s *view.Snapshot) bool { return len(s.Rooms) == 0 && len(s.Signal.CallList) == 0 })
	}
	connect(t, alice, bob, "last")
	if r, err := e.Do(t.Context(), control.Command{Kind: control.CallHangup, Target: "none", Role: control.Operator}); err != nil || r.Code != control.NotFound {
		t.Errorf("%+v %v", r, err)
	}
	do(t, e, control.Command{Kind: control.ClientDrop, Target: bob.Fingerprint()})
	hears[*wire.Hangup](t, alice)
	<-bob.Conn().Context().Done()
	until(t, e, "one is left", func(s *view.Snapshot) bool { return s.Signal.Registered == 1 })
}

// other is another relay, as federation shows it to the hub.
type other struct{ got chan wire.Signal }

func (o other) Route(fp string) []string {
	if fp == "far" {
		return []string{"B"}
	}
	return nil
}

func (o other) Forward(_ string, s wire.Signal) error {
	o.got <- s
	return nil
}

// TestCallToAnotherRelay goes through Engine.Calls as federation will.
func TestCallToAnotherRelay(t *testing.T) {
	e := start(t, nil)
	o := other{make(chan wire.Signal, 16)}
	e.Calls().SetRemote(o)
	alice := phone(t, e, someone("Alice"))
	must(t, alice.Call("far", "x"))
	if m, ok := (<-o.got).(*wire.DirectCallOffer); !ok || m.CallerFingerprint != alice.Fingerprint() {
		t.Fatalf("%+v", m)
	}
	hears[*wire.CallRinging](t, alice)
	e.Calls().FromRelay("B", &wire.DirectCallAnswer{CallID: "x", AcceptMode: wire.AcceptGeneric}, 0)
	hears[*wire.DirectCallAnswer](t, alice)
	if s := hears[*wire.CallSetup](t, alice); s.RelayAddr != e.Info().Listen {
		t.Errorf("%+v", s)
	}
	must(t, alice.HangUp("x"))
	if m, ok := (<-o.got).(*wire.Hangup); !ok || *m.CallID != "x" {
		t.Errorf("%+v", m)
	}
}

// TestCalleeIsFoundInTheDHT: two relays that have never heard of each other and
// share no more than a third node's DHT find each other for a call.
func TestCalleeIsFoundInTheDHT(t *testing.T) {
	third := start(t, nil)
	join := func(c *config.Config) { c.DHT.Join = []string{third.Info().NodeID + "@" + third.Info().Listen} }
	first, second := start(t, join), start(t, join)
	for _, e := range []*engine.Engine{first, second} {
		until(t, e, "it knows two others", func(s *view.Snapshot) bool { return s.DHT.Peers == 2 })
	}
	alice, bob := phone(t, first, someone("Alice")), phone(t, second, someone("Bob"))
	ring := func(id string) bool {
		must(t, alice.Call(bob.Fingerprint(), id))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		s, err := alice.Next(ctx)
		must(t, err)
		_, rings := s.(*wire.CallRinging)
		if _, ends := s.(*wire.Hangup); !rings && !ends {
			t.Fatalf("heard %T", s)
		}
		return rings
	}
	id, n := "x0", 0
	for ; !ring(id); id = fmt.Sprint("x", n) { // the record takes a moment to be where it is looked for
		if n++; n > 200 {
			t.Fatal("never found")
		}
	}
	if o := hears[*wire.DirectCallOffer](t, bob); o.CallID != id || o.CallerFingerprint != alice.Fingerprint() {
		t.Errorf("%+v", o)
	}
	must(t, bob.Answer(id, wire.AcceptGeneric))
	hears[*wire.DirectCallAnswer](t, alice)
	for _, p := range []*bench.Phone{alice, bob} {
		if s := hears[*wire.CallSetup](t, p); s.Room != "call-"+id {
			t.Errorf("%+v", s)
		}
	}
	must(t, bob.HangUp(id))
	if h := hears[*wire.Hangup](t, alice); *h.CallID != id {
		t.Errorf("%+v", h)
	}
	until(t, first, "the link is on screen", func(s *view.Snapshot) bool {
		return len(s.Links) == 1 && s.Links[0].Verified && s.Links[0].Found
	})
}

// TestRoomIsFoundInTheDHT: nor has anybody named one of them to the other for a
// room they share.
func TestRoomIsFoundInTheDHT(t *testing.T) {
	third := start(t, nil)
	join := func(c *config.Config) {
		c.DHT.Join = []string{third.Info().NodeID + "@" + third.Info().Listen}
		c.GlobalRooms = []config.GlobalRoom{{Name: "plaza"}}
	}
	nodes := []*engine.Engine{start(t, join), start(t, join)}
	var cs []*bench.Caller
	for i, e := range nodes {
		c, err := bench.Join(t.Context(), socket(t, quicnet.ClientConfig{}), listens(e), "plaza", fmt.Sprint(i))
		must(t, err)
		go func() { _ = c.ReceiveLoop(t.Context(), func(time.Duration) {}) }()
		go c.ReadSignals(t.Context())
		cs = append(cs, c)
	}
	for i, e := range nodes {
		until(t, e, "both in the room", func(*view.Snapshot) bool { return cs[i].RoomCount.Load() == 2 })
	}
	talk(t, cs, 20)
	until(t, nodes[0], "both hear each other", func(*view.Snapshot) bool { return received(cs) == 40 })
	for _, c := range cs {
		c.Close()
	}
}

// TestATokenKeepsRelaysOut: who asks clients for tokens does not let relays in
// that nobody has named.
func TestATokenKeepsRelaysOut(t *testing.T) {
	for mode, want := range map[string]bool{config.DirectoryAuto: false, config.DirectoryOn: true, config.DirectoryOff: false} {
		c := config.Default()
		c.Legacy.AuthURL, c.Federation.Discover, c.Signal.Directory = "http://127.0.0.1:1/", mode, mode
		if c.DiscoverRelays() != want || c.ListUsers() != want {
			t.Errorf("%s: %v %v", mode, c.DiscoverRelays(), c.ListUsers())
		}
	}
	if c := config.Default(); !c.DiscoverRelays() || !c.ListUsers() {
		t.Error("a node that lets everybody in cannot be found")
	}
}

// TestBrowserInACall: one door for all; a party's token opens the call's room
// to a browser, and nobody else's does.
func TestBrowserInACall(t *testing.T) {
	e := start(t, func(c *config.Config) { c.WSAddr, c.Legacy.AuthURL = "127.0.0.1:0", tokens(t) })
	as := func(name string) bench.Identity {
		return bench.Identity{Key: bench.NewIdentity(), Token: "ok-" + name}
	}
	anna, bert := phone(t, e, as("anna")), phone(t, e, as("bert"))
	must(t, anna.Call("bert", "X"))
	hears[*wire.DirectCallOffer](t, bert)
	must(t, bert.Answer("X", wire.AcceptGeneric))
	hears[*wire.CallSetup](t, bert)
	for name, in := range map[string]bool{"anna": true, "eve": false} {
		c, _, err := websocket.Dial(t.Context(), fmt.Sprintf("ws://%s/ws/call-X", e.Info().WS), nil) //nolint:bodyclose // the library closes it
		must(t, err)
		must(t, c.Write(t.Context(), websocket.MessageText, []byte(`{"type":"auth","token":"ok-`+name+`"}`)))
		_, b, err := c.Read(t.Context())
		for err == nil && !in { // it may be greeted before it is refused
			_, _, err = c.Read(t.Context())
		}
		if in && (err != nil || string(b) != `{"type":"auth_ok"}`) || !in && websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
			t.Errorf("%s: %q %v", name, b, err)
		}
		if in {
			until(t, e, "the browser is in the room", members("call-x", 1))
		}
		_ = c.CloseNow()
	}
}
