// Package attach is the admin API on a unix socket: HTTP/1.1 with JSON
// (contract section 2), the server beside the engine and the client behind
// attach, ctl and doctor. A client of it can do what the console in the node's
// own process can do, and a slow one costs only itself: it skips snapshots, is
// told how many events it missed, and is cut off when it does not read at all.
package attach

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/view"
)

// Node is what the server serves.
type Node interface {
	Snapshot() *view.Snapshot
	Events(after uint64) (evs []view.Event, missed uint64)
	Do(ctx context.Context, c control.Command) (control.Result, error)
	Explain(from, to string) view.Explanation
	Audit() []view.Audit
}

// Describer is a Node that tells of its build and its settings, without secrets.
type Describer interface {
	About() any // for JSON
}

// Historian is a Node that remembers its snapshots. Zero times leave that end
// open; steps below what was kept give what was kept.
type Historian interface {
	// History yields the JSON of each, oldest first, until yield is false.
	History(from, to time.Time, step time.Duration, yield func(js []byte) bool) error
	// Recording writes them as a file of the flight recorder.
	Recording(w io.Writer, from, to time.Time) error
}

// The server's limits.
const (
	maxConns       = 64
	maxStreams     = 8        // that follow: /v1/stream, /v1/events?follow=1, profiles
	maxBody        = 64 << 10 // of a command
	writeTimeout   = 10 * time.Second
	headerTimeout  = 5 * time.Second
	idleTimeout    = 60 * time.Second
	profileTimeout = 2 * time.Minute
	commandTimeout = 30 * time.Second
	eventPoll      = 100 * time.Millisecond

	defaultInterval = 250 * time.Millisecond
	minInterval     = 50 * time.Millisecond
	maxInterval     = time.Minute
)

// Server serves one node's admin API.
type Server struct {
	// Constant after NewServer.
	node    Node
	log     *slog.Logger
	who     func(net.Conn) peer // asks the kernel; tests replace it
	write   time.Duration       // writeTimeout; tests shorten it
	streams chan struct{}       // holds one token per stream that may still begin
	mux     *http.ServeMux

	mu      sync.Mutex // leaf: one encoding at a time is what we want
	encoded []byte     // the snapshot of seq, and a newline
	seq     uint64
}

// NewServer makes a server; nil for log discards.
func NewServer(n Node, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{node: n, log: log, who: identify, write: writeTimeout, streams: make(chan struct{}, maxStreams), mux: http.NewServeMux()}
	for range maxStreams {
		s.streams <- struct{}{}
	}
	s.mux.HandleFunc("GET /v1/snapshot", s.snapshot)
	s.mux.HandleFunc("GET /v1/stream", s.following(s.stream))
	s.mux.HandleFunc("GET /v1/events", s.events)
	s.mux.HandleFunc("POST /v1/commands", s.command)
	s.mux.HandleFunc("GET /v1/explain", s.explain)
	s.mux.HandleFunc("GET /v1/audit", s.audit)
	s.mux.HandleFunc("GET /v1/recording", s.recording)
	s.mux.HandleFunc("GET /v1/history", s.history)
	s.mux.HandleFunc("GET /v1/about", s.about)
	s.mux.HandleFunc("GET /debug/pprof/", s.profile(pprof.Index))
	s.mux.HandleFunc("GET /debug/pprof/cmdline", s.profile(pprof.Cmdline))
	s.mux.HandleFunc("GET /debug/pprof/profile", s.profile(pprof.Profile))
	s.mux.HandleFunc("GET /debug/pprof/symbol", s.profile(pprof.Symbol))
	s.mux.HandleFunc("GET /debug/pprof/trace", s.profile(pprof.Trace))
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, control.NotFound, "there is no %s %s here; see /v1/snapshot", r.Method, r.URL.Path)
	})
	return s
}

// Serve answers on l until ctx ends, then closes l and every connection and
// returns nil once no handler runs any more. It is called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g gate
	lim := newLimited(l, maxConns)
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if g.enter() {
				defer g.leave()
				s.serve(w, r)
			}
		}),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, s.who(c))
		},
		ConnState: lim.state,
		ErrorLog:  slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() {
		if err := srv.Close(); err != nil {
			s.log.Debug("admin socket", "err", err)
		}
	})
	defer stop()
	err := srv.Serve(lim)
	ended := ctx.Err() != nil
	cancel()
	g.shut()
	if ended && (errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed)) {
		return nil
	}
	return err
}

// gate counts handlers, so that Serve can wait for the last one.
type gate struct {
	mu   sync.Mutex // leaf
	done bool
	wg   sync.WaitGroup
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.done {
		g.wg.Add(1)
	}
	return !g.done
}

func (g *gate) leave() { g.wg.Done() }

// shut admits nobody any more and waits for those inside.
func (g *gate) shut() {
	g.mu.Lock()
	g.done = true
	g.mu.Unlock()
	g.wg.Wait()
}

// serve asks who it is before anything else.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.deadline(w, s.write)
	p, _ := r.Context().Value(peerKey{}).(peer)
	if p.role == "" {
		s.log.Warn("admin socket: peer refused", "author", p.author, "reason", p.refusal)
		s.fail(w, control.Denied, "%s may not use this socket: %s", p.author, p.refusal)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// deadline gives the peer that long to take what follows.
func (s *Server) deadline(w http.ResponseWriter, d time.Duration) {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d)); err != nil {
		s.log.Debug("admin socket: deadline", "err", err)
	}
}

// following admits as many followers as there are tokens.
func (s *Server) following(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-s.streams:
			defer func() { s.streams <- struct{}{} }()
			h(w, r)
		default:
			w.Header().Set("Retry-After", "5")
			s.fail(w, control.Busy, "%d clients are following already; close one", maxStreams)
		}
	}
}

// profile allows a profile the time it takes.
func (s *Server) profile(h http.HandlerFunc) http.HandlerFunc {
	return s.following(func(w http.ResponseWriter, r *http.Request) {
		s.deadline(w, profileTimeout)
		h(w, r)
	})
}

// status is the HTTP status of a code.
func status(c control.Code) int {
	switch c {
	case control.OK:
		return http.StatusOK
	case control.NotFound:
		return http.StatusNotFound
	case control.Denied:
		return http.StatusForbidden
	case control.Busy:
		return http.StatusServiceUnavailable
	case control.Gone:
		return http.StatusGone
	default:
		return http.StatusBadRequest
	}
}

// fail answers with a refusal in the shape of a command's result.
func (s *Server) fail(w http.ResponseWriter, code control.Code, format string, args ...any) {
	s.reply(w, status(code), control.Fail(code, format, args...))
}

// reply writes v as one line of JSON.
func (s *Server) reply(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		s.log.Error("admin socket: encode", "err", err)
		http.Error(w, `{"ok":false,"code":"invalid","message":"the answer cannot be encoded","plan":[]}`, http.StatusInternalServerError)
		return
	}
	s.raw(w, code, "application/json", append(b, '\n'))
}

func (s *Server) raw(w http.ResponseWriter, code int, kind string, b []byte) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(code)
	if _, err := w.Write(b); err != nil {
		s.log.Debug("admin socket: write", "err", err)
	}
}

// line returns the newest snapshot as one line of JSON, encoded once however
// many read it.
func (s *Server) line(snap *view.Snapshot) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.encoded != nil && s.seq == snap.Seq {
		return s.encoded, nil
	}
	b, err := json.Marshal(snap)
	if err != nil {
		return nil, err
	}
	s.encoded, s.seq = append(b, '\n'), snap.Seq
	return s.encoded, nil
}
