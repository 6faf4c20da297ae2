package web

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"signalbox/relay/wire"
)

// visit is one browser's connection.
type visit struct {
	// Constant after bridge.
	c     *websocket.Conn
	proto string
	place Place

	// Owned by the reader.
	seq   uint16
	stamp uint32
}

// bridge runs one visit from the upgrade to its end.
func (s *Server) bridge(w http.ResponseWriter, r *http.Request) {
	var pings atomic.Int64
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{Opus, Media, Raw}, OriginPatterns: s.opt.Origins, CompressionMode: websocket.CompressionDisabled,
		OnPingReceived: func(context.Context, []byte) bool { return pings.Add(1) <= pingsPerS },
	})
	if err != nil {
		s.opt.Log.Debug("web: upgrade refused", "remote", r.RemoteAddr, "err", err)
		return // Accept has answered
	}
	c.SetReadLimit(frameMax)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	v := &visit{c: c, proto: cmp.Or(c.Subprotocol(), Opus)}
	visitor := Visitor{
		Room: strings.ToLower(r.PathValue("room")), Raw: v.proto == Raw, Remote: remote(r.RemoteAddr),
		Close: func(string) { cancel() }, // only the connection's own goroutines write to it
	}
	if err := s.greet(ctx, c, &visitor); err != nil {
		v.end(closeRefused, err.Error())
		return
	}
	if v.place, err = s.opt.Door.Enter(visitor); err != nil {
		v.end(closeRefused, err.Error())
		return
	}
	written := make(chan error, 1)
	go func() {
		written <- v.write(ctx, &pings)
		cancel()
	}()
	err = v.read(ctx)
	cancel()
	werr := <-written
	why := reason(cmp.Or(err, werr), werr)
	v.place.Leave(why)
	v.end(websocket.StatusNormalClosure, why)
}

// end closes the connection; a browser that does not answer is not waited for.
func (v *visit) end(code websocket.StatusCode, why string) {
	if v.c.Close(code, why[:min(len(why), 120)]) != nil {
		_ = v.c.CloseNow() // gone already
	}
}

// reason says in words why a visit ended.
func reason(err, werr error) string {
	var ce websocket.CloseError
	switch {
	case errors.As(err, &ce):
		return fmt.Sprintf("closed by the browser: %d", ce.Code)
	case werr != nil && errors.Is(werr, context.DeadlineExceeded):
		return "it no longer reads"
	case errors.Is(err, context.Canceled):
		return "closed by us"
	case errors.Is(err, io.EOF):
		return "the connection was lost"
	case err != nil:
		return err.Error()
	default:
		return "ended"
	}
}

// greet checks the token where one is wanted and says that all is well (spec
// wzp 5.17).
func (s *Server) greet(ctx context.Context, c *websocket.Conn, v *Visitor) error {
	if s.opt.Door.WantsToken() {
		if err := s.token(ctx, c, v); err != nil {
			if !errors.Is(err, ErrToken) && !errors.Is(err, errSilent) {
				err = errors.Join(err, say(ctx, c, map[string]string{"type": "auth_error", "error": err.Error()}))
			}
			return err
		}
	}
	return say(ctx, c, map[string]string{"type": "auth_ok"})
}

func (s *Server) token(ctx context.Context, c *websocket.Conn, v *Visitor) error {
	ctx, cancel := context.WithTimeout(ctx, tokenTime)
	defer cancel()
	kind, b, err := c.Read(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errSilent, err)
	}
	var m struct{ Type, Token string }
	if kind != websocket.MessageText || json.Unmarshal(b, &m) != nil || m.Type != "auth" || m.Token == "" {
		return ErrToken
	}
	v.Fingerprint, v.Alias, err = s.opt.Door.Check(ctx, m.Token)
	return err
}

func say(ctx context.Context, c *websocket.Conn, m any) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return put(ctx, c, websocket.MessageText, b)
}

func put(ctx context.Context, c *websocket.Conn, kind websocket.MessageType, b []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	return c.Write(ctx, kind, b)
}

// read moves the browser's messages into the room. Text is not for us.
func (v *visit) read(ctx context.Context) error {
	for {
		kind, b, err := v.c.Read(ctx)
		if err != nil {
			return err
		}
		if kind != websocket.MessageBinary || len(b) == 0 {
			continue
		}
		if v.proto != Media {
			b = v.wrap(b)
		}
		v.place.Packet(b)
	}
}

// wrap puts a media header before a browser's data.
func (v *visit) wrap(b []byte) []byte {
	pkt := wire.AppendHeader(make([]byte, 0, wire.HeaderSize+len(b)), wire.Header{Codec: wire.Opus24k, Seq: v.seq, Timestamp: v.stamp})
	v.seq++
	v.stamp += frameMS
	return append(pkt, b...)
}

// write moves what waits for the browser out to it, signals before media.
func (v *visit) write(ctx context.Context, pings *atomic.Int64) error {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	buf := make([][]byte, 0, burst)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-second.C:
			pings.Store(0)
		case <-v.place.Signals:
			if err := v.signals(ctx); err != nil {
				return err
			}
		case <-v.place.Media:
			for {
				if buf = v.place.Take(buf[:0], burst); len(buf) == 0 {
					break
				}
				if err := v.media(ctx, buf); err != nil {
					return err
				}
			}
		}
	}
}

// signals sends what the room has to say. A raw visitor would not know what it
// is.
func (v *visit) signals(ctx context.Context) error {
	for sig := v.place.Signal(); sig != nil; sig = v.place.Signal() {
		if v.proto == Raw {
			continue
		}
		b, err := wire.Marshal(sig)
		if err != nil {
			return err
		}
		if err := put(ctx, v.c, websocket.MessageText, bytes.TrimSpace(b)); err != nil {
			return err
		}
	}
	return nil
}

// media sends a burst. What failed is booked before the visit ends.
func (v *visit) media(ctx context.Context, buf [][]byte) error {
	for i, pkt := range buf {
		body, ok := v.unwrap(pkt)
		if !ok { // a codec the browser has not asked for is not for it, and no loss
			continue
		}
		if err := put(ctx, v.c, websocket.MessageBinary, body); err != nil {
			v.place.Done(i, 0, len(buf)-i)
			return err
		}
	}
	v.place.Done(len(buf), 0, 0)
	return nil
}

// unwrap is what the browser gets of a packet.
func (v *visit) unwrap(pkt []byte) ([]byte, bool) {
	if v.proto == Media {
		return pkt, true
	}
	p, err := wire.Parse(pkt)
	if err != nil || v.proto == Opus && (p.Repair || !p.Codec.Opus() || len(p.Payload) == 0) {
		return nil, false
	}
	return p.Payload, true
}
