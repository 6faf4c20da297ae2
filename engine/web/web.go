// Package web is the browsers' door: the WebSocket bridge GET /ws/<room>,
// WebTransport sessions /wt/<room> on the node's QUIC port and, beside the
// bridge, a page that uses both or files of a static directory (spec wzp 5.17,
// 5.18).
//
// A browser is a member of a room like any other: it comes through the same
// Door, its packets have the same header, budget and shard, and it has a ring
// of its own that drops the oldest when it does not keep up. What its messages
// are it chooses by subprotocol (Protocols): Opus frames, whole media packets,
// or bytes that only others like it receive.
//
// Goroutines: per browser one reader, the HTTP handler's own, and one writer.
// The package holds no lock while it reads or writes.
package web

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"signalbox/relay/wire"
)

// The subprotocols. A browser that asks for none gets Opus.
const (
	// Opus: a binary message is the Opus data of one 20 ms packet, either way;
	// we write and strip the media header. Signals come as text.
	Opus = "wzp.opus"
	// Media: a binary message is a whole media packet (spec wzp 2.1), either
	// way. Signals come as text.
	Media = "wzp.media"
	// Raw: a binary message is passed on as it is to the room's other raw
	// members and to nobody else. The original's bridge spoke this, with PCM.
	Raw = "wzp.raw"
	// Voice: as Media, and to the browser four bytes come before each packet that
	// tell the sender (relay.LabelSize). Text says, beside the signals, whose
	// those numbers are. Our own page speaks this.
	Voice = "wzp.voice"
)

var protocols = []string{Voice, Opus, Media, Raw}

// Limits (reliability.md B1 to B3).
const (
	tokenTime    = 5 * time.Second
	writeTime    = 5 * time.Second
	farewellTime = time.Second // for a browser that is sent away to be told why
	frameMax     = 4 << 10     // bytes of one message
	pingsPerS    = 5
	headerTime   = 5 * time.Second
	perHost      = 64 // connections of one address
	burst        = 24
	frameMS      = 20
	closeRefused = websocket.StatusPolicyViolation
	closeCode    = uint32(closeRefused) // by WebTransport
	maxWhy       = 120                  // bytes of a reason told to a browser
)

// Why somebody is refused.
var (
	ErrToken  = errors.New("web: the first message must be a token")
	errSilent = errors.New("web: no message in time")
)

// Visitor is who wants to join what.
type Visitor struct {
	Room        string
	Raw         bool
	Labelled    bool   // wants to know whose each packet is
	Transport   string // ws, wt
	Fingerprint string // of the token; empty without one
	Alias       string // of the token, or else the page's own choice
	Remote      netip.AddrPort
	Close       func(reason string)
	RxDropped   func() uint64 // media lost before it could be received, so far; nil: none ever is
}

// Door lets visitors in.
type Door interface {
	// WantsToken says whether a visitor must show a token first.
	WantsToken() bool
	// Check returns whose token it is.
	Check(ctx context.Context, token string) (fingerprint, alias string, err error)
	// Enter joins the room, by the same rules as for everybody.
	Enter(v Visitor) (Place, error)
}

// Place is a seat and the channels that tell its owner to look: Media receives
// when there is something to Take, Signals when there may be a signal.
type Place struct {
	Seat
	Media, Signals <-chan struct{}

	You    uint32 // the visitor's own label
	Voices func() []VoiceEntry
}

// VoiceEntry is who a label stands for.
type VoiceEntry struct {
	ID          uint32 `json:"id"`
	Alias       string `json:"alias"`
	Fingerprint string `json:"fingerprint"`
	Transport   string `json:"transport"`
}

// Seat is a visitor's place in a room. Take and Done are those of
// relay.Participant.
type Seat interface {
	// Packet takes one media packet of the visitor, whole, which it keeps, and
	// accounts for it.
	Packet(pkt []byte)
	Take(buf [][]byte, limit int) [][]byte
	Done(sent, tooLarge, failed int)
	// Signal returns the next signal for the visitor, nil when there is none.
	Signal() wire.Signal
	// Leave gives the place up.
	Leave(reason string)
}

// Options configure a Server.
type Options struct {
	Door    Door
	Origins []string // host patterns of pages that may connect beside our own
	Static  string   // directory served at /; empty: our own page
	Log     *slog.Logger

	Transport *Transport // the way in by WebTransport; nil: there is none
	Port      uint16     // where the bridge listens
}

// Server is the bridge.
type Server struct {
	// Constant after New.
	opt Options
	mux *http.ServeMux

	mu    sync.Mutex // leaf; guards hosts
	hosts map[netip.Addr]int
}

// New makes a bridge.
func New(opt Options) *Server {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{opt: opt, mux: http.NewServeMux(), hosts: map[netip.Addr]int{}}
	s.mux.HandleFunc("GET /ws/{room}", s.upgrade)
	s.mux.HandleFunc("GET /webtransport.json", s.tellTransport)
	if opt.Static != "" {
		s.mux.Handle("GET /", noDots(http.FileServer(http.Dir(opt.Static))))
	} else {
		s.mux.Handle("GET /", page())
	}
	return s
}

// noDots keeps hidden files out of sight.
func noDots(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for part := range strings.SplitSeq(path.Clean("/"+r.URL.Path), "/") {
			if strings.HasPrefix(part, ".") {
				http.NotFound(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// Serve answers on l until ctx ends, and returns after every visitor has gone.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var visitors sync.WaitGroup
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			visitors.Add(1)
			defer visitors.Done()
			s.mux.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: headerTime, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(s.opt.Log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() {
		if err := srv.Close(); err != nil {
			s.opt.Log.Debug("web: close", "err", err)
		}
	})
	defer stop()
	defer visitors.Wait()
	if t := s.opt.Transport; t != nil {
		watching, halt := context.WithCancel(ctx)
		defer halt()
		visitors.Go(func() {
			t.Certs.watch(watching, func(err error) { s.opt.Log.Warn("webtransport: the old certificate stays", "err", err) })
		})
	}
	err := srv.Serve(&limited{Listener: l, s: s})
	if errors.Is(err, http.ErrServerClosed) || ctx.Err() != nil {
		return nil
	}
	return err
}

// limited refuses connections of an address that has too many.
type limited struct {
	net.Listener
	s *Server
}

// Accept returns the next connection that may come in.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		gone, ok := l.s.seat(remote(c.RemoteAddr().String()).Addr())
		if !ok {
			_ = c.Close() // nothing was said yet
			continue
		}
		return &counted{Conn: c, gone: gone}, nil
	}
}

// seat counts one more of an address, if it may have one more, until release is
// called.
func (s *Server) seat(host netip.Addr) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hosts[host] >= perHost {
		return nil, false
	}
	s.hosts[host]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.hosts[host]--; s.hosts[host] <= 0 {
			delete(s.hosts, host)
		}
	}), true
}

// counted is a connection that gives its place back.
type counted struct {
	net.Conn
	gone func()
}

// Close closes the connection.
func (c *counted) Close() error {
	c.gone()
	return c.Conn.Close()
}

func remote(s string) netip.AddrPort {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
