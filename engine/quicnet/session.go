package quicnet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
)

// Numbers of WebTransport over HTTP/3 (draft-ietf-webtrans-http3). Browsers of
// different years look for different settings.
const (
	settingDraft02  = 0x2b603742 // ENABLE_WEBTRANSPORT
	settingDraft07  = 0xc671706a // WEBTRANSPORT_MAX_SESSIONS
	settingDraft13  = 0x14e9cd29 // WT_MAX_SESSIONS
	settingDraft15  = 0x2c7cf000 // WT_ENABLED
	streamBidi      = 0x41       // first of a bidirectional stream
	streamUni       = 0x54       // first of a unidirectional stream
	capsuleClose    = 0x2843     // WT_CLOSE_SESSION
	closeReasonMax  = 1024
	codeSessionGone = 0x170d7b68 // WT_SESSION_GONE
	codeRejected    = 0x3994bd84 // WT_BUFFERED_STREAM_REJECTED
	h3NoError       = 0x100
	h3Internal      = 0x102
)

const (
	sessionTime   = 10 * time.Second       // a browser's connection without a session ends then
	settingsTime  = 5 * time.Second        // for the browser's SETTINGS to arrive
	sessionLinger = 500 * time.Millisecond // for the news of a session's end to arrive
	closeTime     = 100 * time.Millisecond // to write those news
	headerMax     = 16 << 10
	h3Queue       = 32 // datagrams http3 keeps for a session
)

// SessionsConfig is how browsers' connections are treated.
type SessionsConfig struct {
	// Allow decides on a request before there is a session: the HTTP status to
	// refuse it with, 0 lets it in.
	Allow func(*http.Request) int

	// Serve has the session; it ends when Serve returns.
	Serve func(context.Context, *Session)

	// Idle is how long a connection may be without a session; default 10 s.
	Idle time.Duration

	// OnPanic is told of a panic in Serve, which ends that connection only.
	OnPanic func(c *Conn, value any, stack []byte)

	Log *slog.Logger // nil logs nothing
}

// Sessions are WebTransport sessions on connections of ALPNH3, one on each. A
// session has datagrams and one stream, the first the browser opens; whatever
// else it opens is refused unread.
type Sessions struct {
	// Constant after NewSessions.
	cfg SessionsConfig
	srv *http3.Server
}

// NewSessions makes the HTTP/3 side of browsers' connections.
func NewSessions(cfg SessionsConfig) *Sessions {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	def(&cfg.Idle, sessionTime)
	s := &Sessions{cfg: cfg}
	s.srv = &http3.Server{
		Handler: http.HandlerFunc(s.request), MaxHeaderBytes: headerMax, EnableDatagrams: true,
		AdditionalSettings: map[uint64]uint64{settingDraft02: 1, settingDraft07: 1, settingDraft13: 1, settingDraft15: 1},
	}
	return s
}

// visit is what we know of a browser's connection.
type visit struct {
	// Constant after Handle.
	c      *Conn
	h3     *http3.RawServerConn
	stream chan sessionStream // 1 slot: the first of the session

	// Any goroutine (atomic).
	session atomic.Bool // there is, or was, a session
}

// sessionStream is a stream and the session it says it belongs to.
type sessionStream struct {
	st      *quic.Stream
	session uint64
}

// Handle serves one connection of ALPNH3 until it has ended.
func (s *Sessions) Handle(c *Conn) {
	h3, err := s.srv.NewRawServerConn(c.qc)
	if err != nil {
		s.cfg.Log.Debug("webtransport", "remote", c.RemoteAddr().String(), "err", err)
		c.Close(h3Internal, "")
		return
	}
	v := &visit{c: c, h3: h3, stream: make(chan sessionStream, 1)}
	c.track.visit.Store(v)
	idle := time.AfterFunc(s.cfg.Idle, func() {
		if !v.session.Load() {
			c.Close(h3NoError, "no session")
		}
	})
	defer idle.Stop()
	// A stream's goroutine ends when what is on it has been read, or with the
	// connection; the credit for streams bounds their number.
	var streams sync.WaitGroup
	streams.Go(func() {
		for {
			st, err := c.qc.AcceptUniStream(context.Background()) // ends with the connection
			if err != nil {
				return
			}
			streams.Go(func() { v.uni(st) })
		}
	})
	for {
		st, err := c.qc.AcceptStream(context.Background())
		if err != nil {
			break
		}
		streams.Go(func() { v.bidi(st) })
	}
	streams.Wait()
}

// uni takes a unidirectional stream: those of HTTP/3 itself are wanted.
func (v *visit) uni(st *quic.ReceiveStream) {
	kind, err := quicvarint.Peek(st)
	switch {
	case err != nil, kind == streamUni:
		st.CancelRead(codeRejected) // Peek does not take a reset's error, and the stream would stay
	default:
		v.h3.HandleUnidirectionalStream(st)
	}
}

// bidi takes a bidirectional stream, a request or one of a session.
func (v *visit) bidi(st *quic.Stream) {
	refuse := func() {
		st.CancelRead(codeRejected)
		st.CancelWrite(codeRejected)
	}
	if st.SetReadDeadline(time.Now().Add(sessionTime)) != nil { // headers too are in by then
		return
	}
	kind, err := quicvarint.Peek(st)
	switch {
	case err != nil:
		refuse()
		return
	case kind != streamBidi:
		v.h3.HandleRequestStream(st)
		return
	}
	r := quicvarint.NewReader(st)
	_, err = quicvarint.Read(r) // the kind
	id, err2 := quicvarint.Read(r)
	if errors.Join(err, err2) != nil {
		refuse()
		return
	}
	select {
	case v.stream <- sessionStream{st, id}:
	default:
		refuse()
	}
}

// request is one HTTP/3 request: there is nothing to be had but a session.
func (s *Sessions) request(w http.ResponseWriter, r *http.Request) {
	t := trackOf(r.Context())
	if t == nil || t.visit.Load() == nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	v := t.visit.Load()
	if r.Method != http.MethodConnect || r.Proto != "webtransport" && r.Proto != "webtransport-h3" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if status := s.cfg.Allow(r); status != 0 {
		w.WriteHeader(status)
		return
	}
	if v.session.Swap(true) {
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	// One session, one connection: who comes again comes through the gate.
	defer time.AfterFunc(sessionLinger, func() { v.c.Close(h3NoError, "") })
	st, err := establish(w, v.c)
	if err != nil {
		s.cfg.Log.Debug("webtransport", "remote", v.c.RemoteAddr().String(), "err", err)
		return
	}
	ctx, cancel := context.WithCancelCause(v.c.Context())
	sess := &Session{v: v, st: st, req: r, ctx: ctx, cancel: cancel}
	var reading sync.WaitGroup
	reading.Go(sess.readCapsules)
	defer reading.Wait()
	defer sess.Close(0, "")
	defer func() {
		if p := recover(); p != nil {
			v.c.Close(h3Internal, "internal error")
			s.cfg.OnPanic(v.c, p, debug.Stack())
		}
	}()
	s.cfg.Serve(ctx, sess)
}

// establish says yes, when the browser has said that it can do what it asks for.
func establish(w http.ResponseWriter, c *Conn) (*http3.Stream, error) {
	hello, ok := w.(http3.Settingser)
	taker, ok2 := w.(http3.HTTPStreamer)
	if !ok || !ok2 {
		return nil, fmt.Errorf("not HTTP/3: %T", w)
	}
	late := time.NewTimer(settingsTime)
	defer late.Stop()
	select {
	case <-hello.ReceivedSettings():
	case <-c.Context().Done():
		return nil, context.Cause(c.Context())
	case <-late.C:
		w.WriteHeader(http.StatusBadRequest)
		return nil, errors.New("no SETTINGS in time")
	}
	if !hello.Settings().EnableDatagrams {
		w.WriteHeader(http.StatusBadRequest)
		return nil, ErrNoDatagrams
	}
	w.WriteHeader(http.StatusOK)
	st, err := taker.HTTPStream()
	if err != nil {
		return nil, err
	}
	return st, st.SetReadDeadline(time.Time{}) // the one for its headers
}

// Session is a WebTransport session. All methods may be called from any
// goroutine.
type Session struct {
	// Constant after its making.
	v      *visit
	st     *http3.Stream // of the request: capsules and datagrams
	req    *http.Request
	ctx    context.Context
	cancel context.CancelCauseFunc

	// Any goroutine (atomic).
	taken atomic.Uint64 // datagrams ReceiveDatagram has returned
	lost  atomic.Uint64 // the most that RxDropped has told of http3's queue

	closing sync.Once
}

// Request is what opened the session.
func (s *Session) Request() *http.Request { return s.req }

// Conn is the connection the session is on. Its datagrams and streams are not
// to be touched.
func (s *Session) Conn() *Conn { return s.v.c }

// readCapsules waits for the browser to close the session.
func (s *Session) readCapsules() {
	defer s.st.CancelRead(codeSessionGone)
	for p := http3.NewCapsuleParser(s.st); ; {
		kind, r, err := p.Next()
		if err == nil && kind == capsuleClose && r.Remaining() >= 4 {
			b := make([]byte, min(r.Remaining(), 4+closeReasonMax))
			n, _ := io.ReadFull(r, b) // a shorter reason will do
			reason := printable(string(b[min(4, n):n]))
			s.cancel(closedError{fmt.Errorf("closed by the browser: %s", reason)})
			return
		}
		if err == nil {
			err = r.Discard()
		}
		if err != nil {
			s.cancel(closedError{err}) // the stream's end is the session's
			return
		}
	}
}

// ReceiveDatagram returns the session's next datagram; the caller owns it. ctx is
// Serve's or one made of it, so that it ends with the session.
func (s *Session) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	p, err := s.st.ReceiveDatagram(ctx)
	if err != nil {
		return nil, s.why(err)
	}
	s.taken.Add(1)
	return p, nil
}

// SendDatagram is Conn.SendDatagram for the session.
func (s *Session) SendDatagram(p []byte) error {
	err := s.st.SendDatagram(p)
	if tl, ok := errors.AsType[*quic.DatagramTooLargeError](err); ok {
		return &TooLargeError{Size: len(p), Limit: int(tl.MaxDatagramPayloadSize) - 1} // a byte or more names the session
	}
	if err != nil {
		return s.why(err)
	}
	return nil
}

// Stream waits for the browser's stream: the first it opens.
func (s *Session) Stream(ctx context.Context) (*Stream, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.ctx.Done():
			return nil, s.why(context.Cause(s.ctx))
		case st := <-s.v.stream:
			if st.session == uint64(s.st.StreamID()) {
				return &Stream{st.st}, nil
			}
			st.st.CancelRead(codeRejected)
			st.st.CancelWrite(codeRejected)
		}
	}
}

// RxDropped counts datagrams that were received and dropped before
// ReceiveDatagram could return them: in quic-go's queues, in http3's, or because
// they were for no session. For http3's queue it is exact once it has been full
// again, or the session has ended. It only grows.
func (s *Session) RxDropped() uint64 {
	came, taken, spare := s.v.c.track.parsed.Load(), s.taken.Load(), uint64(h3Queue+1) // one may be on its way into the queue
	if s.ctx.Err() != nil {
		spare = 0
	}
	if came > taken+spare {
		grow(&s.lost, came-taken-spare)
	}
	return s.lost.Load() + s.v.c.RxDropped()
}

// grow raises n to v if that is more.
func grow(n *atomic.Uint64, v uint64) {
	for old := n.Load(); old < v; old = n.Load() {
		if n.CompareAndSwap(old, v) {
			return
		}
	}
}

// Close ends the session with a code and a reason, which the browser sees. Only
// the first call counts.
func (s *Session) Close(code uint32, reason string) {
	s.closing.Do(func() {
		reason = reason[:min(len(reason), closeReasonMax)]
		b := binary.BigEndian.AppendUint32(nil, code)
		if s.st.SetWriteDeadline(time.Now().Add(closeTime)) != nil ||
			http3.WriteCapsule(quicvarint.NewWriter(s.st), capsuleClose, append(b, reason...)) != nil || s.st.Close() != nil {
			s.st.CancelWrite(codeSessionGone)
		}
		// The browser answers with its end of the stream. To ask it to stop would
		// overtake what was just written, and it would never know why.
		if s.st.SetReadDeadline(time.Now().Add(sessionLinger)) != nil {
			s.st.CancelRead(codeSessionGone)
		}
		s.cancel(context.Canceled)
		select {
		case st := <-s.v.stream: // nobody came for it
			st.st.CancelRead(codeSessionGone)
			st.st.CancelWrite(codeSessionGone)
		default:
		}
	})
}

// why is the cause of the session's end, if it has ended.
func (s *Session) why(err error) error {
	if s.ctx.Err() != nil {
		return connError(context.Cause(s.ctx))
	}
	return connError(err)
}
