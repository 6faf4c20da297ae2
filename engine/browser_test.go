package engine_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"signalbox/engine"
	"signalbox/engine/bench"
	"signalbox/engine/config"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
	"signalbox/engine/web"
)

// visit connects a browser to a room and waits until it is in.
func visit(t *testing.T, e *engine.Engine, room, proto string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), fmt.Sprintf("ws://%s/ws/%s", e.Info().WS, room), &websocket.DialOptions{Subprotocols: []string{proto}}) //nolint:bodyclose // the library closes it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	if kind, b, err := c.Read(t.Context()); err != nil || kind != websocket.MessageText || string(b) != `{"type":"auth_ok"}` {
		t.Fatalf("greeted with %q, %v", b, err)
	}
	return c
}

// hear reads until a binary message comes.
func hear(t *testing.T, c *websocket.Conn) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		kind, b, err := c.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if kind == websocket.MessageBinary {
			return b
		}
	}
}

func members(room string, n int) func(*view.Snapshot) bool {
	return func(s *view.Snapshot) bool {
		for i := range s.Rooms {
			if s.Rooms[i].Name == room {
				return len(s.Rooms[i].Participants) == n
			}
		}
		return n == 0
	}
}

// TestBrowsersAndNativeClientsHearEachOther puts two browsers and a native
// client into one room, and two raw ones beside it.
func TestBrowsersAndNativeClientsHearEachOther(t *testing.T) {
	e := start(t, func(c *config.Config) { c.WSAddr = "127.0.0.1:0" })
	native, _ := callers(t, e, "general", 1)
	opus, media := visit(t, e, "General", web.Opus), visit(t, e, "general", web.Media)
	until(t, e, "three in the room", members("general", 3))

	if err := opus.Write(t.Context(), websocket.MessageBinary, []byte("from the browser")); err != nil {
		t.Fatal(err)
	}
	until(t, e, "the browser's packet delivered to both", func(s *view.Snapshot) bool { return s.Ledger.Media.Delivered == 2 })
	if got := hear(t, media); string(got[12:]) != "from the browser" {
		t.Fatalf("the other browser has %q", got)
	}
	if err := native[0].Send(7, 60, nil); err != nil {
		t.Fatal(err)
	}
	whole := hear(t, media)
	if got := hear(t, opus); string(got) != string(whole[12:]) || len(got) != 60 {
		t.Fatalf("the Opus browser has %x, the other %x", got, whole)
	}

	a, b := visit(t, e, "general", web.Raw), visit(t, e, "general", web.Raw)
	until(t, e, "two raw ones", members("_raw.general", 2))
	pcm := make([]byte, 1920)
	pcm[0], pcm[1919] = 1, 2
	if err := a.Write(t.Context(), websocket.MessageBinary, pcm); err != nil {
		t.Fatal(err)
	}
	if got := hear(t, b); string(got) != string(pcm) {
		t.Fatalf("raw bytes arrive as %d", len(got))
	}
	_ = opus.Close(websocket.StatusNormalClosure, "")
	s := until(t, e, "the browser gone", members("general", 2))
	if s.Endings[0].Kind != "media" {
		t.Fatalf("endings %+v", s.Endings)
	}
}

// TestWhoTheBrowsersDoorSendsAway, over the whole node: a page of another origin,
// a token that does not come, a frame of a megabyte, and whoever is no party of a
// call. All are told by a code; QUIC has the same verdict on the call.
func TestWhoTheBrowsersDoorSendsAway(t *testing.T) {
	open := start(t, func(c *config.Config) { c.WSAddr = "127.0.0.1:0" })
	locked := start(t, func(c *config.Config) { c.WSAddr, c.Legacy.AuthURL = "127.0.0.1:0", tokens(t) })
	door := func(e *engine.Engine, room string) string { return fmt.Sprintf("ws://%s/ws/%s", e.Info().WS, room) }
	_, resp, err := websocket.Dial(t.Context(), door(open, "r"), &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"http://evil.example"}}}) //nolint:bodyclose // the library closes it
	if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("another origin: %v, %v", resp, err)
	}

	ended := func(c *websocket.Conn) (websocket.StatusCode, time.Duration) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for began := time.Now(); ; {
			if _, _, err := c.Read(ctx); err != nil {
				return websocket.CloseStatus(err), time.Since(began)
			}
		}
	}
	late, _, err := websocket.Dial(t.Context(), door(locked, "r"), nil) //nolint:bodyclose // the library closes it
	if err != nil {
		t.Fatal(err)
	}
	code, after := ended(late)
	t.Logf("another origin: 403; no token: %d after %v", code, after.Round(time.Millisecond))
	if code != websocket.StatusPolicyViolation {
		t.Errorf("no token: %d after %v", code, after)
	}
	large := visit(t, open, "r", web.Media)
	_ = large.Write(t.Context(), websocket.MessageBinary, make([]byte, 1<<20)) // the end may come before all of it has gone
	large.SetReadLimit(1 << 20)
	if code, after = ended(large); code != websocket.StatusMessageTooBig {
		t.Errorf("a megabyte: %d after %v", code, after)
	}
	t.Logf("a megabyte in a frame: %d after %v", code, after.Round(time.Millisecond))
	if code, after = ended(visit(t, open, "call-nobodys", web.Media)); code != websocket.StatusPolicyViolation {
		t.Errorf("the room of a call: %d after %v", code, after)
	}
	t.Logf("the room of a call: %d after %v", code, after.Round(time.Millisecond))
	if c, err := bench.Join(t.Context(), socket(t, quicnet.ClientConfig{}), listens(open), "call-nobodys", ""); err == nil {
		until(t, open, "QUIC says no too", func(*view.Snapshot) bool { return !c.Alive() })
	}
	until(t, open, "nobody of them is in a room", func(s *view.Snapshot) bool { return len(s.Rooms) == 0 })
}

// TestABrowserThatDoesNotReadLosesAlone fills the queue of one that has
// stopped reading.
func TestABrowserThatDoesNotReadLosesAlone(t *testing.T) {
	e := start(t, func(c *config.Config) {
		c.WSAddr = "127.0.0.1:0"
		c.Relay.ClientPPS, c.Relay.ClientBPS = 100_000, 100<<20
	})
	native, _ := callers(t, e, "general", 2)
	stuck := visit(t, e, "general", web.Media)
	until(t, e, "three in the room", members("general", 3))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			for range 20 {
				if native[0].Send(1, 1000, nil) != nil {
					return
				}
			}
			<-tick.C
		}
	}()
	until(t, e, "drops of the one that is stuck, or its end", func(s *view.Snapshot) bool {
		for i := range s.Endings {
			if s.Endings[i].Reason == "it no longer reads" {
				return true
			}
		}
		for i := range s.Rooms {
			for j := range s.Rooms[i].Participants {
				if p := &s.Rooms[i].Participants[j]; p.Transport == "ws" && p.Dropped["queue_age"]+p.Dropped["queue_head"] > 0 {
					t.Logf("it has lost %v, with %d of %d waiting", p.Dropped, p.QueueDepth, p.QueueCapacity)
					return true
				}
			}
		}
		return false
	})
	cancel()
	_ = stuck
	if got := native[1].Received.Load(); got == 0 {
		t.Fatal("the others hear nothing")
	}
}

func TestRawRoomsAreForRawBrowsers(t *testing.T) {
	e := start(t, func(c *config.Config) { c.WSAddr = "127.0.0.1:0" })
	visit(t, e, "x", web.Raw)
	until(t, e, "the raw room", members("_raw.x", 1))
	for _, room := range []string{"_raw.x", "_signal", "call-7"} {
		c, _, err := websocket.Dial(t.Context(), fmt.Sprintf("ws://%s/ws/%s", e.Info().WS, room), nil) //nolint:bodyclose // the library closes it
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, _, err = c.Read(t.Context()); err != nil {
				break
			}
		}
		if websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
			t.Errorf("%s: %v", room, err)
		}
	}
}
