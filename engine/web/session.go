package web

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"signalbox/engine/quicnet"
)

// sessionPath is where WebTransport sessions are asked for, before the room.
const sessionPath = "/wt/"

// lineMax is the longest line a browser may send on its stream: a token.
const lineMax = 4 << 10

// Transport is the way in by WebTransport, on the node's QUIC port.
type Transport struct {
	Port  uint16
	Certs *Certs
}

// offer is what a page must know to come by WebTransport.
type offer struct {
	Port   uint16      `json:"port"`
	Path   string      `json:"path"`
	Hashes []offerHash `json:"hashes"`
}

type offerHash struct {
	Algorithm string `json:"algorithm"`
	Value     []byte `json:"value"` // base64
}

// tellTransport serves the offer. Nothing in it is secret.
func (s *Server) tellTransport(w http.ResponseWriter, r *http.Request) {
	if s.opt.Transport == nil {
		http.NotFound(w, r)
		return
	}
	hashes, err := s.opt.Transport.Certs.Hashes()
	if err != nil {
		s.opt.Log.Warn("webtransport", "err", err)
		http.Error(w, "no certificate", http.StatusInternalServerError)
		return
	}
	o := offer{Port: s.opt.Transport.Port, Path: sessionPath, Hashes: []offerHash{}}
	for _, h := range hashes {
		o.Hashes = append(o.Hashes, offerHash{"sha-256", h[:]})
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Access-Control-Allow-Origin", "*")
	if err := json.NewEncoder(w).Encode(o); err != nil {
		s.opt.Log.Debug("webtransport", "err", err)
	}
}

// Allow decides on a request for a session: the status to refuse it with, or 0.
func (s *Server) Allow(r *http.Request) int {
	room, ok := strings.CutPrefix(r.URL.Path, sessionPath)
	switch {
	case !ok || room == "" || strings.Contains(room, "/"):
		return http.StatusNotFound
	case !s.mayCome(r):
		return http.StatusForbidden
	case !slices.Contains(protocols, protocolOf(r)):
		return http.StatusBadRequest
	}
	return 0
}

func protocolOf(r *http.Request) string { return cmp.Or(r.URL.Query().Get("protocol"), Opus) }

// mayCome checks the origin of a page, by the rule for WebSocket: its own host,
// or one of the patterns. The QUIC port is another origin than the page's, so our
// own means the same host at the bridge's port, or at HTTPS's own behind a proxy.
// Who sends none is no browser.
func (s *Server) mayCome(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	port := u.Port()
	if asked, err := url.Parse("https://" + r.Host); err == nil && strings.EqualFold(asked.Hostname(), u.Hostname()) {
		if s.opt.Port != 0 && port == strconv.Itoa(int(s.opt.Port)) || u.Scheme == "https" && (port == "" || port == "443") {
			return true
		}
	}
	for _, pattern := range s.opt.Origins {
		target := u.Host
		if strings.Contains(pattern, "://") {
			target = u.Scheme + "://" + u.Host
		}
		if ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(target)); err == nil && ok {
			return true
		}
	}
	return false
}

// session is a browser that came by WebTransport.
type session struct {
	// Constant after Session.
	s   *quicnet.Session
	ctl *quicnet.Stream // lines of JSON, either way
	in  *bufio.Reader
}

// Session runs one visit by WebTransport. A page opens one stream and writes one
// line of JSON, its token or a greeting; signals come back as lines.
func (s *Server) Session(ctx context.Context, ws *quicnet.Session) {
	from := ws.Conn().RemoteAddr()
	release, ok := s.seat(from.Addr())
	if !ok {
		ws.Close(closeCode, "too many connections from your address")
		return
	}
	defer release()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opening, done := context.WithTimeout(ctx, tokenTime)
	ctl, err := ws.Stream(opening)
	done()
	if err != nil {
		ws.Close(closeCode, errSilent.Error())
		return
	}
	p := &session{s: ws, ctl: ctl, in: bufio.NewReaderSize(ctl, lineMax)}
	first, err := p.line()
	if err != nil {
		ws.Close(closeCode, err.Error())
		return
	}
	if !s.opt.Door.WantsToken() {
		first = nil // a greeting
	}
	r := ws.Request()
	s.host(ctx, cancel, &greeted{p, first}, protocolOf(r), Visitor{
		Room: strings.ToLower(strings.TrimPrefix(r.URL.Path, sessionPath)), Remote: from, Transport: "wt", Alias: r.URL.Query().Get("alias"),
		RxDropped: ws.RxDropped,
	}, func() {})
}

// greeted is a session whose first line has been read.
type greeted struct {
	*session
	first []byte
}

// token implements pipe.
func (p *greeted) token(context.Context) ([]byte, error) { return p.first, nil }

// line reads the browser's one line.
func (p *session) line() ([]byte, error) {
	if err := p.ctl.SetReadDeadline(time.Now().Add(tokenTime)); err != nil {
		return nil, err
	}
	b, err := p.in.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSilent, err)
	}
	p.ctl.CancelRead(0) // nothing else is wanted on it
	return b, nil
}

// receive implements pipe.
func (p *session) receive(ctx context.Context) ([]byte, error) { return p.s.ReceiveDatagram(ctx) }

// media implements pipe. It waits only while quic-go's queue is full.
func (p *session) media(_ context.Context, b []byte) error { return p.s.SendDatagram(b) }

// text implements pipe.
func (p *session) text(_ context.Context, b []byte) error {
	if err := p.ctl.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	_, err := p.ctl.Write(append(slices.Clip(b), '\n'))
	return err
}

// end implements pipe.
func (p *session) end(refused bool, why string) {
	code := uint32(0)
	if refused {
		code = closeCode
	}
	p.s.Close(code, why[:min(len(why), maxWhy)])
}
