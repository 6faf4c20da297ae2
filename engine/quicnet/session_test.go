package quicnet

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
)

// browsers runs an endpoint that serves sessions; allow may be nil.
func browsers(t *testing.T, idle time.Duration, allow func(*http.Request) int, serve func(context.Context, *Session)) *Endpoint {
	t.Helper()
	cfg := testConfig(t, 1)
	cert := cfg.TLSCert // clients here check none
	cfg.H3Cert = func() (*tls.Certificate, error) { return &cert, nil }
	if allow == nil {
		allow = func(*http.Request) int { return 0 }
	}
	s := NewSessions(SessionsConfig{Allow: allow, Serve: serve, Idle: idle, OnPanic: func(_ *Conn, v any, _ []byte) { t.Logf("panic: %v", v) }})
	e, conns := start(t, cfg, func(c *Conn) {
		if c.ALPN() == ALPNH3 {
			s.Handle(c)
			return
		}
		<-c.Context().Done()
	})
	go func() { // nobody counts them
		for {
			select {
			case <-conns:
			case <-t.Context().Done():
				return
			}
		}
	}()
	return e
}

func visitor(t *testing.T, cl *Client, e *Endpoint, path, origin string) *BrowserSession {
	t.Helper()
	b, err := cl.DialSession(testCtx(t), at(e, "127.0.0.1"), path, origin)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSession(t *testing.T) {
	ended := make(chan error, 1)
	e := browsers(t, 0, nil, func(ctx context.Context, s *Session) {
		if s.Request().URL.RequestURI() != "/wt/room?a=b" || s.Request().Header.Get("Origin") != "http://here" {
			t.Errorf("%s from %s", s.Request().URL, s.Request().Header)
		}
		st, err := s.Stream(ctx)
		if err != nil {
			ended <- err
			return
		}
		line, err := bufio.NewReader(st).ReadString('\n')
		if err != nil || line != "hello\n" {
			t.Errorf("line %q, %v", line, err)
		}
		if _, err := st.Write([]byte("welcome\n")); err != nil {
			t.Error(err)
		}
		if err := s.SendDatagram(make([]byte, 4000)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("a large one: %v", err)
		}
		for {
			p, err := s.ReceiveDatagram(ctx)
			if err != nil {
				ended <- err
				return
			}
			if string(p) == "kick me" {
				s.Close(1008, "kicked")
			} else if err := s.SendDatagram(p); err != nil {
				t.Error(err)
			}
		}
	})
	for _, byUs := range []bool{true, false} {
		b := visitor(t, newClient(t, ClientConfig{}), e, "/wt/room?a=b", "http://here")
		st, err := b.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Write([]byte("hello\n")); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(st).ReadString('\n')
		if err != nil || line != "welcome\n" {
			t.Fatalf("%q, %v", line, err)
		}
		if err := b.SendDatagram([]byte("media")); err != nil {
			t.Fatal(err)
		}
		if p, err := b.ReceiveDatagram(testCtx(t)); err != nil || string(p) != "media" {
			t.Fatalf("%q, %v", p, err)
		}
		if byUs {
			if err := b.SendDatagram([]byte("kick me")); err != nil {
				t.Fatal(err)
			}
			if code, why, err := b.Ended(); code != 1008 || why != "kicked" || err != nil {
				t.Fatalf("%d %q, %v", code, why, err)
			}
			<-ended
		} else {
			if err := b.Close(0, "I left"); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "I left") {
				t.Fatalf("ended with %v", err)
			}
		}
		<-b.Conn().Context().Done() // one session, one connection
	}
	eventually(t, "nobody left", func() bool { return e.Stats().Connections == 0 })
}

func TestSessionsThatAreRefused(t *testing.T) {
	e := browsers(t, 0, func(r *http.Request) int {
		if r.Header.Get("Origin") == "http://evil" {
			return http.StatusForbidden
		}
		return 0
	}, func(ctx context.Context, _ *Session) { <-ctx.Done() })
	cl, addr := newClient(t, ClientConfig{}), at(e, "127.0.0.1")
	if _, err := cl.DialSession(testCtx(t), addr, "/wt/r", "http://evil"); !errors.Is(err, StatusError(http.StatusForbidden)) {
		t.Errorf("another's page: %v", err)
	}
	b := visitor(t, cl, e, "/wt/r", "")
	if err := b.open(testCtx(t), addr, "/wt/r", ""); !errors.Is(err, StatusError(http.StatusTooManyRequests)) {
		t.Errorf("a second one on the connection: %v", err)
	}
	req, err := http.NewRequestWithContext(testCtx(t), http.MethodGet, "https://"+addr.String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := b.h3.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("a page by HTTP/3: %v, %v", resp, err)
	}
	short := browsers(t, 20*time.Millisecond, nil, func(context.Context, *Session) {})
	c, err := cl.Dial(testCtx(t), at(short, "127.0.0.1"), ALPNH3, "x")
	if err != nil {
		t.Fatal(err)
	}
	<-c.Context().Done()
	if why := EndReason(context.Cause(c.Context())); !strings.Contains(why, "no session") {
		t.Errorf("without a session: %s", why)
	}

	plain, _ := start(t, testConfig(t, 1), nil)
	if _, err := cl.Dial(testCtx(t), at(plain, "127.0.0.1"), ALPNH3, "x"); err == nil {
		t.Error("h3 is spoken where there are no sessions")
	}
}

func TestSessionPanicEndsItAlone(t *testing.T) {
	e := browsers(t, 0, nil, func(ctx context.Context, s *Session) {
		if p, err := s.ReceiveDatagram(ctx); err == nil {
			panic(string(p))
		}
	})
	good := visitor(t, newClient(t, ClientConfig{}), e, "/good", "")
	bad := visitor(t, newClient(t, ClientConfig{}), e, "/bad", "")
	if err := bad.SendDatagram([]byte("boom")); err != nil {
		t.Fatal(err)
	}
	<-bad.Conn().Context().Done()
	if good.Conn().Context().Err() != nil {
		t.Error("the other one has ended too")
	}
}

// TestSessionCountsWhatIsLost: what came is taken or counted as dropped, to the
// last datagram.
func TestSessionCountsWhatIsLost(t *testing.T) {
	const sent = 600
	begin := make(chan struct{})
	release := sync.OnceFunc(func() { close(begin) })
	result := make(chan [3]uint64, 1)
	e := browsers(t, 0, nil, func(ctx context.Context, s *Session) {
		<-begin
		taken, before := uint64(0), s.RxDropped()
		for {
			p, err := s.ReceiveDatagram(ctx)
			if err != nil {
				break
			}
			taken++
			now := s.RxDropped()
			if now < before {
				t.Errorf("went from %d to %d", before, now)
			}
			before = now
			if string(p) == "last" {
				break
			}
		}
		live := s.RxDropped()
		s.Close(0, "")
		result <- [3]uint64{taken, live, s.RxDropped()}
	})
	b := visitor(t, newClient(t, ClientConfig{}), e, "/r", "")
	t.Cleanup(release)
	conn := only(t, e)
	came := func() uint64 { return conn.track.parsed.Load() }
	for i := range sent {
		if err := b.SendDatagram([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if i%50 == 49 { // nothing is to be lost before http3's queue
			eventually(t, "these have come", func() bool { return came() == uint64(i+1) })
		}
	}
	release()
	if err := b.SendDatagram([]byte("last")); err != nil {
		t.Fatal(err)
	}
	r := <-result
	if r[0]+r[2] != sent+1 || came() != sent+1 || conn.RxDropped() != 0 || r[1] > r[2] || r[2]-r[1] > h3Queue {
		t.Errorf("came %d: taken %d, dropped %d while it lived, %d in all", came(), r[0], r[1], r[2])
	}
}

// only is the endpoint's one connection.
func only(t *testing.T, e *Endpoint) *Conn {
	t.Helper()
	cs := e.Conns()
	if len(cs) != 1 {
		t.Fatalf("%d connections", len(cs))
	}
	return cs[0]
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestSessionStreamsLeaveNothing opens stream after stream of every kind, and
// session after session: nothing of theirs stays.
func TestSessionStreamsLeaveNothing(t *testing.T) {
	const streams, sessions = 20_000, 300
	e := browsers(t, 0, nil, func(ctx context.Context, _ *Session) { <-ctx.Done() })
	cl := newClient(t, ClientConfig{})
	b := visitor(t, cl, e, "/r", "")
	conn := only(t, e)
	goroutines, memory := runtime.NumGoroutine(), heap()
	id := uint64(b.st.StreamID())
	var g sync.WaitGroup
	var uni, bidi int
	g.Go(func() {
		ctx := testCtx(t)
		for i := range streams / 2 {
			st, err := b.conn.qc.OpenUniStreamSync(ctx)
			if err != nil {
				t.Errorf("uni %d: %v", i, err)
				return
			}
			_, _ = st.Write(append(quicvarint.Append(quicvarint.Append(nil, streamUni), id), "junk"...)) // it may be refused already
			if i%2 == 0 {
				st.CancelWrite(quic.StreamErrorCode(codeRejected))
			} else {
				_ = st.Close()
			}
			uni++
		}
	})
	g.Go(func() {
		ctx := testCtx(t)
		for i := range streams / 2 {
			st, err := b.conn.qc.OpenStreamSync(ctx)
			if err != nil {
				t.Errorf("bidi %d: %v", i, err)
				return
			}
			if i%5 == 0 {
				_, _ = st.Write([]byte{1, 0x40, 0x80, 0}) // a request's headers, of which no more comes
			} else {
				_, _ = st.Write(quicvarint.Append(quicvarint.Append(nil, streamBidi), id+uint64(i%3)*4)) // some of other sessions
			}
			st.CancelRead(0)
			if i%2 == 0 {
				st.CancelWrite(0)
			} else {
				_ = st.Close()
			}
			bidi++
		}
	})
	g.Wait()
	eventually(t, "goroutines as before", func() bool { return runtime.NumGoroutine() <= goroutines+10 })
	grown := int64(heap()) - int64(memory)
	t.Logf("%d uni and %d bidi streams: heap grew by %d KiB, goroutines %d to %d", uni, bidi, grown>>10, goroutines, runtime.NumGoroutine())
	if grown > 8<<20 || conn.Context().Err() != nil {
		t.Errorf("grew by %d bytes, connection %v", grown, context.Cause(conn.Context()))
	}

	for i := range sessions {
		v := visitor(t, cl, e, "/r", "")
		if i%2 == 0 {
			_ = v.Close(0, "")
		}
		v.Conn().Close(0, "") // half of them vanish
	}
	eventually(t, "one left", func() bool { return e.Stats().Connections == 1 })
	eventually(t, "goroutines as before", func() bool { return runtime.NumGoroutine() <= goroutines+10 })
	// quic-go keeps what is left of a connection for some seconds.
	eventually(t, "memory as before, but for 2 MB", func() bool { return int64(heap())-int64(memory) < 2<<20 })
	t.Logf("and %d sessions: heap grew by %d KiB", sessions, (int64(heap())-int64(memory))>>10)
}
