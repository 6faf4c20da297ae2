package engine

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"signalbox/engine/config"
	"signalbox/engine/ledger"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
	"signalbox/engine/web"
	"signalbox/relay"
	"signalbox/relay/call"
	"signalbox/relay/wire"
)

// rawPrefix begins the names of rooms of browsers that pass raw bytes among
// themselves (web.Raw): nobody else is let into them, since what they carry is
// no media packet to anybody else.
const rawPrefix = "_raw."

var errRawRoom = errors.New("not a name a room can have")

// openTransport makes the certificates for browsers by WebTransport, if they may
// come that way.
func (e *Engine) openTransport() (err error) {
	switch {
	case e.cfg.WSAddr == "" || !e.cfg.WebTransport:
		return nil
	case e.cfg.WTCert != "":
		if e.wtCerts, err = web.FileCerts(e.cfg.WTCert, e.cfg.WTKey); err != nil {
			return fmt.Errorf("webtransport_cert: %w", err)
		}
		return nil
	}
	e.wtCerts, err = web.OwnCerts()
	return err
}

// h3Cert is the certificate of ALPN h3; nil: it is not spoken.
func (e *Engine) h3Cert() func() (*tls.Certificate, error) {
	if e.wtCerts == nil {
		return nil
	}
	return e.wtCerts.Certificate
}

// listenWeb binds the bridge's address, if there is one.
func (e *Engine) listenWeb() error {
	if e.cfg.WSAddr == "" {
		return nil
	}
	l, err := net.Listen("tcp", e.cfg.WSAddr)
	if err != nil {
		return &config.ExitError{Code: config.ExitUnavailable, Err: fmt.Errorf("ws: %w", err)}
	}
	e.web, e.info.WS = l, l.Addr().String()
	opt := web.Options{Door: webDoor{e}, Origins: e.cfg.WSOrigins, Static: e.cfg.Legacy.StaticDir, Log: e.log}
	if at, ok := l.Addr().(*net.TCPAddr); ok {
		opt.Port = uint16(at.Port)
	}
	if e.wtCerts != nil {
		opt.Transport = &web.Transport{Port: e.edge.Addr().Port(), Certs: e.wtCerts}
	}
	e.bridge = web.New(opt)
	if e.wtCerts != nil {
		e.sessions = quicnet.NewSessions(quicnet.SessionsConfig{
			Allow: e.bridge.Allow, Serve: e.bridge.Session, Log: e.log,
			OnPanic: func(_ *quicnet.Conn, v any, stack []byte) { e.panickedAt("browser session", v, stack) },
		})
	}
	return nil
}

func (e *Engine) serveWeb(ctx context.Context) error {
	if e.web == nil {
		return nil
	}
	return e.bridge.Serve(ctx, e.web)
}

// webDoor lets browsers in by the rules for everybody.
type webDoor struct{ e *Engine }

// WantsToken says whether a visitor must show a token first.
func (d webDoor) WantsToken() bool { return d.e.cfg.Legacy.AuthURL != "" }

// Check returns whose token it is.
func (d webDoor) Check(ctx context.Context, token string) (fingerprint, alias string, err error) {
	if d.e.checker == nil {
		return "", "", errors.New("tokens are not checked here")
	}
	id, err := d.e.checker.Check(ctx, token)
	return id.Fingerprint, id.Alias, err
}

// Enter joins the room.
func (d webDoor) Enter(v web.Visitor) (web.Place, error) {
	e, room := d.e, v.Room
	if strings.HasPrefix(strings.ToLower(room), call.RoomPrefix) {
		room = strings.ToLower(room) // the name that others come by (spec wzp 1.3)
	}
	if v.Raw {
		room = rawPrefix + room
	} else if err := roomName(room); err != nil {
		return web.Place{}, err
	} else {
		room = e.roomFor(room)
	}
	p, err := e.join(relay.JoinRequest{
		Room: room, Fingerprint: v.Fingerprint, Alias: v.Alias, Remote: v.Remote, Transport: v.Transport, Labelled: v.Labelled, Now: time.Now(),
		Shard: fmt.Sprintf("%s/%d", planeMedia, e.media.ShardOf(v.Remote.Addr())), Close: v.Close,
	})
	if err != nil {
		e.events.add(view.Event{Kind: "join_refused", Severity: view.Warn, Subject: clean(room), Message: fmt.Sprintf("%s, a browser, was refused: %v", v.Remote, err)})
		return web.Place{}, err
	}
	e.events.add(view.Event{Kind: "join", Subject: clean(room), Message: fmt.Sprintf("%s (%s, a browser) joined", clean(nameOf(v.Alias, p.ID())), v.Remote)})
	return web.Place{
		Seat:  &webSeat{e: e, p: p, src: v.Remote.Addr(), name: nameOf(v.Alias, p.ID()), began: time.Now(), rxDropped: v.RxDropped},
		Media: p.Wake(), Signals: p.SignalWake(), You: uint32(p.Num()), Voices: func() []web.VoiceEntry { return voices(p) },
	}, nil
}

// voices tells whose the labels are that p sees.
func voices(p *relay.Participant) []web.VoiceEntry {
	ms := p.Members()
	list := make([]web.VoiceEntry, len(ms))
	for i, m := range ms {
		list[i] = web.VoiceEntry{ID: uint32(m.Num), Alias: m.Alias, Fingerprint: m.Fingerprint, Transport: m.Transport}
	}
	return list
}

// roomName refuses the names that are doors, or others' rooms (spec wzp 1.3).
func roomName(room string) error {
	switch room {
	case "ping", "version", "_signal", "_federation", "_probe":
		return errRawRoom
	}
	if strings.HasPrefix(room, rawPrefix) {
		return errRawRoom
	}
	return nil
}

// webSeat is a browser's place in a room.
type webSeat struct {
	// Constant after Enter.
	e     *Engine
	p     *relay.Participant
	src   netip.Addr
	name  string
	began time.Time

	rxDropped func() uint64 // nil: none ever is

	// Owned by the reader.
	lost uint64 // of rxDropped, booked
}

// Packet takes one media packet on its way through the media plane.
func (s *webSeat) Packet(pkt []byte) {
	s.bookLoss()
	s.p.Saw(pkt)
	if now := s.e.mono(); s.p.Admit(len(pkt), now) {
		s.e.submit(now, s.src, s.p, pkt)
	}
}

// bookLoss books what was dropped before we could see it.
func (s *webSeat) bookLoss() {
	if s.rxDropped == nil {
		return
	}
	if n := s.rxDropped(); n > s.lost {
		s.p.Lost(ledger.RxQueue, n-s.lost)
		s.lost = n
	}
}

// Take appends what waits for the browser.
func (s *webSeat) Take(buf [][]byte, limit int) [][]byte { return s.p.Take(buf, limit, s.e.mono()) }

// Done reports what became of it.
func (s *webSeat) Done(sent, tooLarge, failed int) { s.p.Done(sent, tooLarge, failed) }

// Signal returns the next signal for the browser.
func (s *webSeat) Signal() wire.Signal {
	sig, ok := s.p.NextSignal()
	if !ok {
		return nil
	}
	return sig
}

// Leave gives the place up.
func (s *webSeat) Leave(reason string) {
	s.bookLoss()
	s.p.Leave(s.e.mono())
	room := s.p.RoomName()
	s.e.endings.add(view.Ending{
		At: time.Now().UTC(), Kind: "media", Subject: clean(room + "/" + s.name), Remote: s.p.Remote().String(),
		Reason: cmp.Or(reason, "ended"), LifetimeS: time.Since(s.began).Seconds(),
	})
	s.e.events.add(view.Event{Kind: "leave", Subject: clean(room), Message: fmt.Sprintf("%s, a browser, left: %s", clean(s.name), reason)})
}
