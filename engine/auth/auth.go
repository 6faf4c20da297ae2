// Package auth checks clients' tokens at the operator's HTTP service (spec wzp
// 4.2.3), and remembers which handshake keys have been used.
//
// A service that is slow, gone or hostile costs nobody but those who wait for
// their own verdict: checks are few at a time, each has a deadline, those of
// one token are made once, good verdicts are believed for a while, and after
// repeated failures nobody asks for some seconds (a circuit breaker). Without
// a verdict the answer is no.
package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/sony/gobreaker/v2"
	"golang.org/x/sync/singleflight"

	"signalbox/engine/view"
)

// Why a check ends without an identity.
var (
	ErrDenied      = errors.New("the token is not valid")
	ErrBusy        = errors.New("too many tokens are being checked")
	ErrUnavailable = errors.New("the auth service does not answer")
)

// Bounds.
const (
	maxToken       = 8 << 10
	maxAnswer      = 64 << 10
	maxFingerprint = 128
	maxAlias       = 256
	cacheEntries   = 10_000
	deniedTTL      = 5 * time.Second // a token that is guessed again and again is asked for once
	waitingEach    = 8               // waiting checks for each that may run
	breakAfter     = 5               // failures in a row
	breakFor       = 10 * time.Second
	idleTimeout    = 90 * time.Second
)

// Config is how a Checker asks. Zero values mean the defaults.
type Config struct {
	URL           string
	Timeout       time.Duration    // of one check: 5 s
	MaxConcurrent int              // 32; eight times as many may wait
	CacheTTL      time.Duration    // of good verdicts; 0: none are kept
	Event         func(view.Event) // nil: nobody is told
}

// Identity is what a valid token stands for.
type Identity struct {
	Fingerprint string
	Alias       string
}

// verdict is what the service has said of a token.
type verdict struct {
	id     Identity
	denied bool
}

// Checker checks tokens. All methods may be called from any goroutine.
type Checker struct {
	// Constant after New.
	cfg     Config
	client  *http.Client
	cache   *ristretto.Cache[string, verdict]
	breaker *gobreaker.CircuitBreaker[verdict]
	slots   chan struct{}
	ctx     context.Context //nolint:containedctx // the life of the checker: a shared check outlives who asked first
	cancel  context.CancelFunc

	flights singleflight.Group

	// Any goroutine (atomic).
	waiting   atomic.Int64
	hits      atomic.Uint64
	counts    [numVerdicts]atomic.Uint64
	lastState atomic.Int32
	lastError atomic.Pointer[string]
	times     latencies
}

// The verdicts that are counted.
const (
	vOK = iota
	vDenied
	vError
	vTimeout
	vBusy
	vOpen
	numVerdicts
)

var verdictNames = [numVerdicts]string{"ok", "denied", "error", "timeout", "busy", "open"}

// New makes a checker. Close ends it.
func New(cfg Config) (*Checker, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.MaxConcurrent <= 0 {
		cfg.MaxConcurrent = 32
	}
	if cfg.Event == nil {
		cfg.Event = func(view.Event) {}
	}
	cache, err := ristretto.NewCache(&ristretto.Config[string, verdict]{
		NumCounters: 10 * cacheEntries, MaxCost: cacheEntries, BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, fmt.Errorf("auth: cache: %w", err)
	}
	c := &Checker{cfg: cfg, cache: cache, slots: make(chan struct{}, cfg.MaxConcurrent)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.client = &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConns: cfg.MaxConcurrent, MaxIdleConnsPerHost: cfg.MaxConcurrent,
			MaxConnsPerHost: cfg.MaxConcurrent, IdleConnTimeout: idleTimeout, MaxResponseHeaderBytes: maxAnswer,
			TLSHandshakeTimeout: cfg.Timeout, ForceAttemptHTTP2: true,
		},
		// A token goes to the URL the operator has named, nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.breaker = gobreaker.NewCircuitBreaker[verdict](gobreaker.Settings{
		Name: "auth", MaxRequests: 1, Timeout: breakFor,
		ReadyToTrip:  func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakAfter },
		IsSuccessful: func(err error) bool { return err == nil },
	})
	return c, nil
}

// Close ends checks under way and frees connections.
func (c *Checker) Close() {
	c.cancel()
	c.client.CloseIdleConnections()
	c.cache.Close()
}

// Check asks who the token stands for: an identity, or ErrDenied, ErrBusy or
// ErrUnavailable. It returns when ctx ends.
func (c *Checker) Check(ctx context.Context, token string) (Identity, error) {
	if token == "" || len(token) > maxToken {
		c.counts[vDenied].Add(1)
		return Identity{}, ErrDenied
	}
	sum := sha256.Sum256([]byte(token)) // tokens are not kept
	key := string(sum[:])
	if v, ok := c.cache.Get(key); ok {
		c.hits.Add(1)
		return c.settle(v, nil)
	}
	// Shared by everybody who brings the same token meanwhile.
	ch := c.flights.DoChan(key, func() (any, error) { return c.once(key, token) })
	select {
	case r := <-ch:
		v, _ := r.Val.(verdict)
		return c.settle(v, r.Err)
	case <-ctx.Done():
		return c.settle(verdict{}, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err()))
	}
}

// settle counts one client's verdict.
func (c *Checker) settle(v verdict, err error) (Identity, error) {
	switch {
	case err == nil && !v.denied:
		c.counts[vOK].Add(1)
		return v.id, nil
	case err == nil:
		c.counts[vDenied].Add(1)
		return Identity{}, ErrDenied
	case errors.Is(err, ErrBusy):
		c.counts[vBusy].Add(1)
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		c.counts[vOpen].Add(1)
		err = fmt.Errorf("%w: it is not asked for a while", ErrUnavailable)
	case errors.Is(err, context.DeadlineExceeded):
		c.counts[vTimeout].Add(1)
	default:
		c.counts[vError].Add(1)
	}
	return Identity{}, err
}

// once makes one check, when there is a place for it.
func (c *Checker) once(key, token string) (verdict, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.Timeout)
	defer cancel()
	if c.breaker.State() == gobreaker.StateOpen {
		return verdict{}, gobreaker.ErrOpenState // no waiting for a place either
	}
	if c.waiting.Add(1) > int64(waitingEach*c.cfg.MaxConcurrent) {
		c.waiting.Add(-1)
		return verdict{}, ErrBusy
	}
	select {
	case c.slots <- struct{}{}:
		c.waiting.Add(-1)
	case <-ctx.Done():
		c.waiting.Add(-1)
		return verdict{}, ErrBusy
	}
	defer func() { <-c.slots }()
	v, err := c.breaker.Execute(func() (verdict, error) { return c.ask(ctx, token) })
	c.noteState(err)
	if err != nil {
		return v, err
	}
	ttl := c.cfg.CacheTTL
	if v.denied {
		ttl = min(ttl, deniedTTL)
	}
	if ttl > 0 {
		c.cache.SetWithTTL(key, v, 1, ttl)
	}
	return v, nil
}

// noteState tells of a breaker that opens or closes.
func (c *Checker) noteState(err error) {
	if err != nil {
		text := clean(err.Error(), maxAlias)
		c.lastError.Store(&text)
	}
	now := c.breaker.State()
	before := gobreaker.State(c.lastState.Swap(int32(now)))
	switch {
	case now == before:
	case now == gobreaker.StateOpen:
		c.cfg.Event(view.Event{Kind: "auth_open", Severity: view.Alarm, Subject: "auth", Message: fmt.Sprintf("the auth service has failed %d times in a row and is left alone for %s: nobody without a verdict gets in", breakAfter, breakFor)})
	case now == gobreaker.StateClosed:
		c.cfg.Event(view.Event{Kind: "auth_closed", Subject: "auth", Message: "the auth service answers again"})
	}
}

// answer is what the service says; unknown keys are ignored.
type answer struct {
	Valid       *bool   `json:"valid"`
	Fingerprint *string `json:"fingerprint"`
	Alias       *string `json:"alias"`
}

// ask makes one request. An error is a failure of the service; a verdict, even
// a bad one, is not.
func (c *Checker) ask(ctx context.Context, token string) (verdict, error) {
	body, err := json.Marshal(map[string]string{"token": token})
	if err != nil {
		return verdict{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return verdict{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	start := time.Now()
	res, err := c.client.Do(req)
	if err != nil {
		return verdict{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer func() {
		// What is left is read so that the connection can be used again.
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer)) // or not, if it has broken
		_ = res.Body.Close()                                            // nothing is lost by failing
		c.times.add(time.Since(start))
	}()
	switch {
	case res.StatusCode == http.StatusUnauthorized, res.StatusCode == http.StatusForbidden, res.StatusCode == http.StatusBadRequest:
		return verdict{denied: true}, nil
	case res.StatusCode < 200 || res.StatusCode > 299:
		return verdict{}, fmt.Errorf("%w: it says %s", ErrUnavailable, res.Status)
	}
	var a answer
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&a); err != nil || a.Valid == nil {
		return verdict{}, fmt.Errorf("%w: its answer is no verdict: %w", ErrUnavailable, errors.Join(err, ctx.Err()))
	}
	return a.verdict(), nil
}

// verdict reads an answer. A valid token without an identity is none.
func (a *answer) verdict() verdict {
	if !*a.Valid || a.Fingerprint == nil || !usable(*a.Fingerprint) {
		return verdict{denied: true}
	}
	v := verdict{id: Identity{Fingerprint: *a.Fingerprint}}
	if a.Alias != nil {
		v.id.Alias = clean(*a.Alias, maxAlias)
	}
	return v
}

// usable says whether a fingerprint can be an identity: all maps are keyed on
// it as it is.
func usable(fp string) bool {
	if fp == "" || len(fp) > maxFingerprint || !utf8.ValidString(fp) {
		return false
	}
	for _, r := range fp {
		if !unicode.IsGraphic(r) {
			return false
		}
	}
	return true
}

// clean keeps what a screen may see, up to n bytes.
func clean(s string, n int) string {
	out := make([]rune, 0, min(len(s), n))
	size := 0
	for _, r := range s {
		if !unicode.IsGraphic(r) || r == utf8.RuneError {
			continue
		}
		if size += utf8.RuneLen(r); size > n {
			break
		}
		out = append(out, r)
	}
	return string(out)
}

// View is the checker's part of the snapshot.
func (c *Checker) View() view.Auth {
	v := view.Auth{
		Enabled: true, Checks: map[string]uint64{}, Breaker: c.breaker.State().String(), InFlight: len(c.slots),
		Waiting: int(c.waiting.Load()), CacheHits: c.hits.Load(),
	}
	for i := range c.counts {
		v.Checks[verdictNames[i]] = c.counts[i].Load()
	}
	v.LatencyP50, v.LatencyP99 = c.times.quantiles()
	if e := c.lastError.Load(); e != nil {
		v.LastError = *e
	}
	return v
}
