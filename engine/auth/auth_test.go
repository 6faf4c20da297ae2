package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"signalbox/engine/view"
)

// service is an auth service; say decides the answer.
type service struct {
	*httptest.Server
	asked   atomic.Int64
	conns   sync.Map
	arrived chan struct{} // one for each request, as long as there is room
}

func serve(t *testing.T, say func(token string) (int, string)) *service {
	t.Helper()
	s := &service{arrived: make(chan struct{}, 100)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		select {
		case s.arrived <- struct{}{}:
		default:
		}
		s.conns.Store(r.RemoteAddr, true)
		b, err := io.ReadAll(r.Body)
		var m map[string]string
		if err != nil || json.Unmarshal(b, &m) != nil || len(m) != 1 || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "" || r.Method != http.MethodPost {
			t.Errorf("asked %s %v %s", r.Method, r.Header, b)
		}
		code, body := say(m["token"])
		w.WriteHeader(code)
		if _, err := io.WriteString(w, body); err != nil {
			t.Logf("the checker did not wait: %v", err)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func checker(t *testing.T, cfg Config) *Checker {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name string
		code int
		body string
		want error
		fp   string
	}{
		{"valid", 200, `{"valid":true,"fingerprint":"ab:cd","alias":"Ann\u001b[2J","eth_address":"0x1"}`, nil, "ab:cd"},
		{"valid, nothing else", 200, `{"valid":true}`, ErrDenied, ""},
		{"valid, null", 200, `{"valid":true,"fingerprint":null}`, ErrDenied, ""},
		{"valid, a fingerprint nobody can have", 200, `{"valid":true,"fingerprint":"a\u0007b"}`, ErrDenied, ""},
		{"valid, a long one", 200, `{"valid":true,"fingerprint":"` + strings.Repeat("a", 129) + `"}`, ErrDenied, ""},
		{"not valid", 200, `{"valid":false,"fingerprint":"ab"}`, ErrDenied, ""},
		{"no verdict", 200, `{"fingerprint":"ab"}`, ErrUnavailable, ""},
		{"no JSON", 200, `<html>`, ErrUnavailable, ""},
		{"nothing", 204, ``, ErrUnavailable, ""},
		{"denied by status", 401, `{"valid":true,"fingerprint":"ab"}`, ErrDenied, ""},
		{"broken", 500, `{"valid":true,"fingerprint":"ab"}`, ErrUnavailable, ""},
		{"elsewhere", 302, ``, ErrUnavailable, ""},
		{"endless", 200, `{"valid":true,"x":"` + strings.Repeat("a", 100_000), ErrUnavailable, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, func(string) (int, string) { return c.code, c.body })
			id, err := checker(t, Config{URL: s.URL}).Check(t.Context(), "token")
			if !errors.Is(err, c.want) || id.Fingerprint != c.fp || id.Alias != "" && id.Alias != "Ann[2J" {
				t.Errorf("%+v, %v", id, err)
			}
		})
	}
}

func TestVerdictsAreKept(t *testing.T) {
	s := serve(t, func(token string) (int, string) {
		return 200, fmt.Sprintf(`{"valid":%v,"fingerprint":"ab"}`, token == "good")
	})
	c := checker(t, Config{URL: s.URL, CacheTTL: time.Minute})
	for i := range 10 {
		_, good := c.Check(t.Context(), "good")
		_, bad := c.Check(t.Context(), "bad")
		if good != nil || !errors.Is(bad, ErrDenied) {
			t.Fatal(good, bad)
		}
		c.cache.Wait()
		if n := s.asked.Load(); i > 0 && n != 2 {
			t.Fatalf("asked %d times", n)
		}
	}
	if v := c.View(); v.CacheHits != 18 || v.Checks["ok"] != 10 || v.Checks["denied"] != 10 || v.LatencyP99 <= 0 {
		t.Errorf("%+v", v)
	}
	plain := checker(t, Config{URL: s.URL})
	for range 3 {
		if _, err := plain.Check(t.Context(), "good"); err != nil {
			t.Fatal(err)
		}
		plain.cache.Wait()
	}
	if n := s.asked.Load(); n != 5 {
		t.Errorf("asked %d times without a cache", n)
	}
	conns := 0
	s.conns.Range(func(any, any) bool { conns++; return true })
	if conns > 3 {
		t.Errorf("%d connections for checks one after the other", conns)
	}
}

// TestOneTokenIsCheckedOnce has a hundred clients bring the same token.
func TestOneTokenIsCheckedOnce(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func(string) (int, string) { <-release; return 200, `{"valid":true,"fingerprint":"ab"}` })
	c := checker(t, Config{URL: s.URL})
	var wg sync.WaitGroup
	var ok atomic.Int64
	started := make(chan struct{}, 100)
	for range 100 {
		wg.Go(func() {
			started <- struct{}{}
			if _, err := c.Check(t.Context(), "same"); err == nil {
				ok.Add(1)
			}
		})
	}
	for range 100 {
		<-started
	}
	<-s.arrived
	close(release)
	wg.Wait()
	if ok.Load() != 100 || s.asked.Load() == 100 {
		t.Errorf("%d got in, the service was asked %d times", ok.Load(), s.asked.Load())
	}
}

// TestHangingServiceStallsNobody has a service that never answers: the
// breaker opens, and after that nobody waits; good verdicts still hold.
func TestHangingServiceStallsNobody(t *testing.T) {
	hang := make(chan struct{})
	var hanging atomic.Bool
	s := serve(t, func(string) (int, string) {
		if hanging.Load() {
			<-hang
		}
		return 200, `{"valid":true,"fingerprint":"ab"}`
	})
	t.Cleanup(func() { close(hang) })
	var events []string
	var mu sync.Mutex
	c := checker(t, Config{URL: s.URL, Timeout: 100 * time.Millisecond, CacheTTL: time.Minute, Event: func(e view.Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e.Kind)
	}})
	if _, err := c.Check(t.Context(), "known"); err != nil {
		t.Fatal(err)
	}
	c.cache.Wait()
	hanging.Store(true)
	for i := range breakAfter {
		if _, err := c.Check(t.Context(), fmt.Sprint("t", i)); !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
	}
	asked := s.asked.Load()
	for i := range 1000 {
		if _, err := c.Check(t.Context(), fmt.Sprint("u", i)); !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if s.asked.Load() != asked {
		t.Error("an open breaker asks")
	}
	if _, err := c.Check(t.Context(), "known"); err != nil {
		t.Errorf("a verdict that is kept: %v", err)
	}
	v := c.View()
	if v.Breaker != "open" || v.Checks["timeout"] != breakAfter || v.Checks["open"] != 1000 || v.LastError == "" {
		t.Errorf("%+v", v)
	}
	mu.Lock()
	defer mu.Unlock()
	if fmt.Sprint(events) != "[auth_open]" {
		t.Errorf("events %v", events)
	}
}

// TestFloodOfTokens is bounded in requests and in who waits.
func TestFloodOfTokens(t *testing.T) {
	hang := make(chan struct{})
	var most, now atomic.Int64
	s := serve(t, func(string) (int, string) {
		n := now.Add(1)
		for m := most.Load(); n > m; m = most.Load() {
			if most.CompareAndSwap(m, n) {
				break
			}
		}
		<-hang
		now.Add(-1)
		return 200, `{"valid":false}`
	})
	c := checker(t, Config{URL: s.URL, MaxConcurrent: 4, Timeout: 20 * time.Second})
	var wg sync.WaitGroup
	busy := make(chan struct{}, 500)
	for i := range 500 {
		wg.Go(func() {
			if _, err := c.Check(context.Background(), fmt.Sprint(i)); errors.Is(err, ErrBusy) {
				busy <- struct{}{}
			}
		})
	}
	for range 500 - 4 - 4*waitingEach {
		<-busy
	}
	close(hang)
	wg.Wait()
	if most.Load() > 4 || len(busy) != 0 {
		t.Errorf("%d at the same time, %d more told to come later", most.Load(), len(busy))
	}
}

func TestWhoeverLeavesDoesNotWait(t *testing.T) {
	hang := make(chan struct{})
	s := serve(t, func(string) (int, string) { <-hang; return 200, `{"valid":true,"fingerprint":"ab"}` })
	t.Cleanup(func() { close(hang) })
	c := checker(t, Config{URL: s.URL})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Check(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for _, tok := range []string{"", strings.Repeat("x", maxToken+1)} {
		if _, err := c.Check(t.Context(), tok); !errors.Is(err, ErrDenied) {
			t.Error(err)
		}
	}
}

func TestReplay(t *testing.T) {
	r := NewReplay()
	key := func(n int) (k [32]byte) { copy(k[:], fmt.Sprint(n)); return k }
	if !r.First(key(1), 0) || r.First(key(1), 1) || !r.First(key(2), 1) {
		t.Fatal("a key is taken twice, or not once")
	}
	late := int64(replayAge)
	if r.First(key(1), late) || r.Refused() != 2 {
		t.Error("forgotten after ten minutes")
	}
	for i := range 200_000 {
		r.First(key(10+i), late)
	}
	if n := len(r.new) + len(r.old); n > 2*replayKeys {
		t.Errorf("%d keys are kept", n)
	}
	if r.First(key(10+199_999-replayKeys), late) {
		t.Error("one of the last 32,768 is forgotten")
	}
	if !r.First(key(3), 5*late) {
		t.Error("a fresh key is refused")
	}
}
