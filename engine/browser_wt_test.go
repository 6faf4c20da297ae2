package engine_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"signalbox/engine"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
	"signalbox/engine/web"
	"signalbox/relay/wire"
)

// guest is a browser that came by WebTransport.
type guest struct {
	*quicnet.BrowserSession
	in *bufio.Reader
}

// line is the next of the node's lines.
func (g guest) line(t *testing.T) string {
	t.Helper()
	s, err := g.in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(s)
}

// knock opens a session and says something on its stream.
func knock(t *testing.T, e *engine.Engine, cl *quicnet.Client, target, first string) guest {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := cl.DialSession(ctx, netip.MustParseAddrPort(e.Info().Listen), "/wt/"+target, "http://"+e.Info().WS)
	if err != nil {
		t.Fatal(err)
	}
	st, err := b.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write([]byte(first + "\n")); err != nil {
		t.Fatal(err)
	}
	return guest{b, bufio.NewReader(st)}
}

func freezable(t *testing.T, host byte) (*quicnet.Client, *quicnet.Gate) {
	t.Helper()
	cl, gate, err := quicnet.NewFreezableClient(quicnet.ClientConfig{LocalAddr: netip.AddrFrom4([4]byte{127, 0, 6, host})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	return cl, gate
}

// enter joins a room by WebTransport.
func enter(t *testing.T, e *engine.Engine, host byte, room, proto string) (guest, *quicnet.Gate) {
	t.Helper()
	cl, gate := freezable(t, host)
	g := knock(t, e, cl, room+"?alias=guest&protocol="+proto, `{"type":"hello"}`)
	if s := g.line(t); s != `{"type":"auth_ok"}` {
		t.Fatalf("greeted with %s", s)
	}
	return g, gate
}

func bridged(c *config.Config) { c.WSAddr = "127.0.0.1:0" }

// TestEveryWayIn puts a native client and browsers of both kinds into one room.
func TestEveryWayIn(t *testing.T) {
	e := start(t, bridged)
	cs, _ := callers(t, e, "general", 1)
	wt, _ := enter(t, e, 1, "General", web.Voice)
	ws := visit(t, e, "general", web.Media)
	s := until(t, e, "three in the room", members("general", 3))
	ways := map[string]string{}
	for _, p := range s.Rooms[0].Participants {
		ways[p.Transport] = p.ID
	}
	if len(ways) != 3 || ways["wt"] == "" {
		t.Fatalf("transports %v", ways)
	}
	if err := wt.SendDatagram(append(wire.AppendHeader(nil, wire.Header{Seq: 4}), "from the browser"...)); err != nil {
		t.Fatal(err)
	}
	if got := hear(t, ws); string(got[12:]) != "from the browser" {
		t.Fatalf("the other browser has %q", got)
	}
	if err := cs[0].Send(7, 60, nil); err != nil {
		t.Fatal(err)
	}
	whole := hear(t, ws)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got, err := wt.ReceiveDatagram(ctx); err != nil || string(got[4:]) != string(whole) || "p"+fmt.Sprint(int(got[3])) != ways["quic"] {
		t.Fatalf("%x, %v; the other has %x of %s", got, err, whole, ways["quic"])
	}
	told := wt.line(t)
	for !strings.Contains(told, `"type":"voices"`) || !strings.Contains(told, `"transport":"ws"`) {
		told = wt.line(t)
	}
	s = until(t, e, "all delivered", func(s *view.Snapshot) bool { return s.Ledger.Media.Delivered == 4 })
	if s.Ledger.Media.Received != 2 {
		t.Errorf("ledger %+v", s.Ledger.Media)
	}
	if err := wt.Close(0, "bye"); err != nil {
		t.Fatal(err)
	}
	s = until(t, e, "the browser gone", members("general", 2))
	if s.Endings[0].Reason != "closed by the browser" {
		t.Errorf("ending %+v", s.Endings[0])
	}
}

// TestBrowsersByQUICAreHeldToTheRules: rooms of calls, foreign pages, kicks and bans.
func TestBrowsersByQUICAreHeldToTheRules(t *testing.T) {
	e := start(t, bridged)
	for i, room := range []string{"call-7", "_signal", "_raw.x"} {
		cl, _ := freezable(t, byte(10+i))
		g := knock(t, e, cl, room, `{"type":"hello"}`)
		if code, why, err := g.Ended(); code != 1008 || why == "" || err != nil {
			t.Errorf("%s: %d %q, %v", room, code, why, err)
		}
	}
	cl, _ := freezable(t, 20)
	addr := netip.MustParseAddrPort(e.Info().Listen)
	if _, err := cl.DialSession(t.Context(), addr, "/wt/r", "http://evil.example"); !errors.Is(err, quicnet.StatusError(http.StatusForbidden)) {
		t.Errorf("another's page: %v", err)
	}
	g, _ := enter(t, e, 21, "r", web.Opus)
	s := until(t, e, "one in the room", members("r", 1))
	do(t, e, control.Command{Kind: control.ParticipantKick, Target: s.Rooms[0].Participants[0].ID, Reason: "enough"})
	if code, why, err := g.Ended(); code != 0 || !strings.Contains(why, "kicked") || err != nil {
		t.Errorf("kicked: %d %q, %v", code, why, err)
	}
	until(t, e, "nobody left", members("r", 0))
	do(t, e, control.Command{Kind: control.SourceBan, Target: "127.0.6.21", Reason: "enough", TTLS: 60})
	again, _, err := quicnet.NewFreezableClient(quicnet.ClientConfig{LocalAddr: netip.MustParseAddr("127.0.6.21")})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := again.DialSession(ctx, addr, "/wt/r", ""); quicnet.Ended(err).Kind != quicnet.EndRefused {
		t.Errorf("banned: %v", err)
	}
}

func TestTokensOfBrowsersByQUIC(t *testing.T) {
	e := start(t, func(c *config.Config) { c.WSAddr, c.Legacy.AuthURL = "127.0.0.1:0", tokens(t) })
	cl, _ := freezable(t, 30)
	g := knock(t, e, cl, "r", `{"type":"hello"}`)
	if code, why, err := g.Ended(); code != 1008 || !strings.Contains(why, "token") || err != nil {
		t.Errorf("without: %d %q, %v", code, why, err)
	}
	g = knock(t, e, cl, "r", `{"type":"auth","token":"bad"}`)
	if s := g.line(t); !strings.Contains(s, "auth_error") {
		t.Errorf("a bad one: %s", s)
	}
	g = knock(t, e, cl, "r", `{"type":"auth","token":"ok-ada"}`)
	if s := g.line(t); !strings.Contains(s, "auth_ok") {
		t.Errorf("a good one: %s", s)
	}
	until(t, e, "in", members("r", 1))
}

// TestABrowserByQUICThatIsStuckLosesAlone freezes one of two.
func TestABrowserByQUICThatIsStuckLosesAlone(t *testing.T) {
	e := start(t, func(c *config.Config) {
		c.WSAddr = "127.0.0.1:0"
		c.Relay.ClientPPS, c.Relay.ClientBPS = 100_000, 100<<20
	})
	cs, _ := callers(t, e, "general", 2)
	_, gate := enter(t, e, 40, "general", web.Media)
	until(t, e, "three in the room", members("general", 3))
	if err := gate.Freeze(true); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			for range 5 {
				if cs[0].Send(1, 1000, nil) != nil {
					return
				}
			}
			<-tick.C
		}
	}()
	s := until(t, e, "drops of the one that is stuck", func(s *view.Snapshot) bool {
		for i := range s.Rooms[0].Participants {
			if p := &s.Rooms[0].Participants[i]; p.Transport == "wt" && p.Dropped["queue_age"]+p.Dropped["queue_head"] > 100 {
				return true
			}
		}
		return false
	})
	cancel()
	<-done
	for _, p := range s.Rooms[0].Participants {
		if p.Transport == "quic" && p.Dropped["queue_age"]+p.Dropped["queue_head"] != 0 {
			t.Errorf("%s has lost %v", p.ID, p.Dropped)
		}
	}
	if err := gate.Freeze(false); err != nil {
		t.Fatal(err)
	}
}

// TestNoBridgeNoBrowsers: h3 is spoken only where the bridge is on, and can be
// switched off.
func TestNoBridgeNoBrowsers(t *testing.T) {
	for name, change := range map[string]func(*config.Config){
		"no bridge": nil, "switched off": func(c *config.Config) { bridged(c); c.WebTransport = false },
	} {
		e := start(t, change)
		cl, _ := freezable(t, 50)
		if _, err := cl.DialSession(t.Context(), netip.MustParseAddrPort(e.Info().Listen), "/wt/r", ""); err == nil {
			t.Errorf("%s: let in", name)
		}
		if e.Info().WS == "" {
			continue
		}
		resp, err := http.Get("http://" + e.Info().WS + "/webtransport.json") //nolint:noctx // a test
		if err != nil || resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %v, %v", name, resp, err)
			continue
		}
		_ = resp.Body.Close()
	}
}
