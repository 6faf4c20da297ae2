package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"signalbox/relay/wire"
)

// house is a door and one seat behind it.
type house struct {
	token string

	mu      sync.Mutex
	visitor Visitor
	in      [][]byte
	out     [][]byte
	done    [3]int
	left    chan string
	got     chan struct{}
	media   chan struct{}
	signals chan struct{}
	news    []wire.Signal
}

func newHouse(token string) *house {
	return &house{token: token, left: make(chan string, 8), got: make(chan struct{}, 64), media: make(chan struct{}, 1), signals: make(chan struct{}, 1)}
}

func (h *house) WantsToken() bool { return h.token != "" }
func (h *house) Check(_ context.Context, token string) (string, string, error) {
	if token != h.token {
		return "", "", errors.New("not a good token")
	}
	return "ab:cd", "ada", nil
}

func (h *house) Enter(v Visitor) (Place, error) {
	if strings.HasPrefix(v.Room, "call-") {
		return Place{}, errors.New("the room of other people's call")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.visitor = v
	return Place{
		Seat: h, Media: h.media, Signals: h.signals, You: 7,
		Voices: func() []VoiceEntry {
			return []VoiceEntry{{ID: 7, Alias: "me"}, {ID: 9, Alias: "<ada>", Transport: "quic"}}
		},
	}, nil
}

func (h *house) Packet(pkt []byte) {
	h.mu.Lock()
	h.in = append(h.in, pkt)
	h.mu.Unlock()
	h.got <- struct{}{}
}

func (h *house) Take(buf [][]byte, limit int) [][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(limit, len(h.out))
	buf = append(buf, h.out[:n]...)
	h.out = h.out[n:]
	return buf
}

func (h *house) Done(sent, large, failed int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done[0] += sent
	h.done[1] += large
	h.done[2] += failed
}

func (h *house) Signal() wire.Signal {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.news) == 0 {
		return nil
	}
	s := h.news[0]
	h.news = h.news[1:]
	return s
}

func (h *house) Leave(reason string) { h.left <- reason }

// send lets packets wait for the visitor.
func (h *house) send(pkts ...[]byte) {
	h.mu.Lock()
	h.out = append(h.out, pkts...)
	h.mu.Unlock()
	select {
	case h.media <- struct{}{}:
	default:
	}
}

// tell lets a signal wait for the visitor.
func (h *house) tell(s wire.Signal) {
	h.mu.Lock()
	h.news = append(h.news, s)
	h.mu.Unlock()
	select {
	case h.signals <- struct{}{}:
	default:
	}
}

func serve(t *testing.T, opt Options) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(opt).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func dial(t *testing.T, addr, room, proto string, header http.Header) *websocket.Conn {
	t.Helper()
	o := &websocket.DialOptions{HTTPHeader: header}
	if proto != "" {
		o.Subprotocols = []string{proto}
	}
	c, _, err := websocket.Dial(t.Context(), "ws://"+addr+"/ws/"+room, o) //nolint:bodyclose // the library closes it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func want(t *testing.T, c *websocket.Conn, kind websocket.MessageType, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	k, b, err := c.Read(ctx)
	if err != nil || k != kind || string(b) != text {
		t.Fatalf("%v %q, %v; want %q", k, b, err, text)
	}
}

const ok = `{"type":"auth_ok"}`

func put2(t *testing.T, c *websocket.Conn, kind websocket.MessageType, b string) {
	t.Helper()
	if err := c.Write(t.Context(), kind, []byte(b)); err != nil {
		t.Fatal(err)
	}
}

func TestOpusBothWays(t *testing.T) {
	h := newHouse("")
	c := dial(t, serve(t, Options{Door: h}), "General", "", nil)
	want(t, c, websocket.MessageText, ok)
	for i := range 3 {
		put2(t, c, websocket.MessageBinary, fmt.Sprintf("frame %d", i))
		<-h.got
	}
	for i, pkt := range h.in {
		p, err := wire.Parse(pkt)
		if err != nil || p.Codec != wire.Opus24k || int(p.Seq) != i || int(p.Timestamp) != i*20 || string(p.Payload) != fmt.Sprintf("frame %d", i) {
			t.Fatalf("packet %d: %+v, %v", i, p, err)
		}
	}
	if h.visitor.Room != "general" || !h.visitor.Remote.Addr().IsLoopback() {
		t.Fatalf("visitor %+v", h.visitor)
	}
	report := wire.AppendPacket(nil, wire.Packet{Header: wire.Header{Codec: wire.Opus48k, HasReport: true}, Payload: []byte("hi")})
	h.send(report, wire.AppendPacket(nil, wire.Packet{Header: wire.Header{Codec: wire.Codec2x1200}, Payload: []byte("robot")}), report)
	want(t, c, websocket.MessageBinary, "hi")
	want(t, c, websocket.MessageBinary, "hi")
}

func TestMediaIsUntouched(t *testing.T) {
	h := newHouse("")
	c := dial(t, serve(t, Options{Door: h}), "r", Media, nil)
	want(t, c, websocket.MessageText, ok)
	pkt := string(wire.AppendPacket(nil, wire.Packet{Header: wire.Header{Codec: wire.Opus24k, Seq: 7}, Payload: []byte("x")}))
	put2(t, c, websocket.MessageBinary, pkt)
	<-h.got
	if string(h.in[0]) != pkt {
		t.Fatalf("%x", h.in[0])
	}
	h.send([]byte(pkt))
	want(t, c, websocket.MessageBinary, pkt)
}

func TestVoicesAreTold(t *testing.T) {
	h := newHouse("")
	c := dial(t, serve(t, Options{Door: h}), "r?alias=Grace", Voice, nil)
	want(t, c, websocket.MessageText, ok)
	own := wire.AppendPacket(nil, wire.Packet{Header: wire.Header{Codec: wire.Opus24k, Seq: 3}, Payload: []byte("opus")})
	put2(t, c, websocket.MessageBinary, string(own))
	<-h.got
	if p, err := wire.Parse(h.in[0]); err != nil || p.Seq != 3 || string(p.Payload) != "opus" || !h.visitor.Labelled || h.visitor.Alias != "Grace" {
		t.Fatalf("%+v, %v, %+v", p, err, h.visitor)
	}
	pkt := wire.AppendPacket([]byte{0, 0, 0, 9}, wire.Packet{Header: wire.Header{Codec: wire.Opus24k, Seq: 7}, Payload: []byte("x")})
	h.send(pkt, []byte{1, 2}, pkt)
	want(t, c, websocket.MessageBinary, string(pkt))
	want(t, c, websocket.MessageBinary, string(pkt))
	h.tell(&wire.RoomUpdate{Count: 0})
	if _, b, err := c.Read(t.Context()); err != nil || !strings.Contains(string(b), "RoomUpdate") {
		t.Fatalf("%s, %v", b, err)
	}
	want(t, c, websocket.MessageText, `{"type":"voices","you":7,"voices":[{"id":7,"alias":"me","fingerprint":"","transport":""},`+
		`{"id":9,"alias":"\u003cada\u003e","fingerprint":"","transport":"quic"}]}`)
}

// TestSentAway: the browser is told why, once.
func TestSentAway(t *testing.T) {
	h := newHouse("")
	c := dial(t, serve(t, Options{Door: h}), "r", "", nil)
	want(t, c, websocket.MessageText, ok)
	put2(t, c, websocket.MessageBinary, "x")
	<-h.got // so it is in
	for range 3 {
		h.visitor.Close("kicked: enough")
	}
	_, _, err := c.Read(t.Context())
	if ce, ok := errors.AsType[websocket.CloseError](err); !ok || ce.Code != websocket.StatusNormalClosure || ce.Reason != "kicked: enough" {
		t.Errorf("read %v", err)
	}
	if why := <-h.left; why != "kicked: enough" {
		t.Errorf("left: %s", why)
	}
}

func TestTokens(t *testing.T) {
	h := newHouse("good")
	addr := serve(t, Options{Door: h})
	c := dial(t, addr, "r", "", nil)
	put2(t, c, websocket.MessageText, `{"type":"auth","token":"good"}`)
	want(t, c, websocket.MessageText, ok)
	c = dial(t, addr, "r", "", nil)
	put2(t, c, websocket.MessageText, `{"type":"auth","token":"bad"}`)
	want(t, c, websocket.MessageText, `{"error":"not a good token","type":"auth_error"}`)
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != closeRefused {
		t.Fatalf("closed with %v", err)
	}
	for _, first := range []string{"{}", "nonsense", `{"type":"auth"}`} {
		c = dial(t, addr, "r", "", nil)
		put2(t, c, websocket.MessageText, first)
		if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != closeRefused {
			t.Fatalf("%s: %v", first, err)
		}
	}
	c = dial(t, addr, "r", "", nil)
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != closeRefused { // says nothing, and is told so
		t.Fatalf("a silent visitor: %v", err)
	}
}

func TestWhoIsRefused(t *testing.T) {
	h := newHouse("")
	addr := serve(t, Options{Door: h, Origins: []string{"good.example"}})
	for origin, allowed := range map[string]bool{"http://evil.example": false, "http://good.example": true, "http://" + addr: true} {
		c, resp, err := websocket.Dial(t.Context(), "ws://"+addr+"/ws/r", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}}) //nolint:bodyclose // the library closes it
		if (err == nil) != allowed {
			t.Fatalf("%s: %v", origin, err)
		}
		if err != nil && resp.StatusCode != http.StatusForbidden {
			t.Fatalf("%s: status %d", origin, resp.StatusCode)
		}
		if err == nil {
			want(t, c, websocket.MessageText, ok) // it is in, so it will leave
			_ = c.CloseNow()
			<-h.left
		}
	}
	c := dial(t, addr, "call-1", "", nil)
	want(t, c, websocket.MessageText, ok)
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != closeRefused {
		t.Fatalf("the room of a call: %v", err)
	}
	c = dial(t, addr, "r", "", nil)
	want(t, c, websocket.MessageText, ok)
	put2(t, c, websocket.MessageBinary, strings.Repeat("x", frameMax+1))
	if why := <-h.left; !strings.Contains(why, "read limit") && !strings.Contains(why, "limit") {
		t.Fatalf("a large frame: %s", why)
	}
}

func TestStaticFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"index.html": "hello", ".secret": "no"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	addr := serve(t, Options{Door: newHouse(""), Static: dir})
	for target, status := range map[string]int{"/": 200, "/.secret": 404, "/nothing": 404, "/../web.go": 404} {
		resp, err := http.Get("http://" + addr + target) //nolint:noctx // a test
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != status {
			t.Errorf("%s: %d %q, %v", target, resp.StatusCode, b, err)
		}
		_ = resp.Body.Close()
	}
}

// TestOurPage: what the page needs is there, with the headers that keep others
// out of it.
func TestOurPage(t *testing.T) {
	addr := serve(t, Options{Door: newHouse("")})
	for _, file := range []string{"", "app.js", "talk.js", "links.js", "worklets.js", "style.css", "icon.svg"} {
		resp, err := http.Get("http://" + addr + "/" + file) //nolint:noctx // a test
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || len(b) < 100 {
			t.Errorf("%s: %d, %d bytes, %v", file, resp.StatusCode, len(b), err)
		}
		if strings.HasSuffix(file, ".js") && !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/javascript") {
			t.Errorf("%s is %s: no browser runs that", file, resp.Header.Get("Content-Type"))
		}
		if p := resp.Header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || strings.Contains(p, "unsafe") {
			t.Errorf("%s: policy %q", file, p)
		}
	}
}
