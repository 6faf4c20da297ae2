package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/coder/websocket"
)

// socket is a browser that came by WebSocket.
type socket struct{ c *websocket.Conn }

// upgrade runs one visit by WebSocket.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	var pings atomic.Int64
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: protocols, OriginPatterns: s.opt.Origins, CompressionMode: websocket.CompressionDisabled,
		OnPingReceived: func(context.Context, []byte) bool { return pings.Add(1) <= pingsPerS },
	})
	if err != nil {
		s.opt.Log.Debug("web: upgrade refused", "remote", r.RemoteAddr, "err", err)
		return // Accept has answered
	}
	c.SetReadLimit(frameMax)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s.host(ctx, cancel, &socket{c}, cmp.Or(c.Subprotocol(), Opus), Visitor{
		Room: strings.ToLower(r.PathValue("room")), Remote: remote(r.RemoteAddr), Transport: "ws", Alias: r.URL.Query().Get("alias"),
	}, func() { pings.Store(0) })
}

// receive implements pipe. Text is not for us.
func (p *socket) receive(ctx context.Context) ([]byte, error) {
	for {
		kind, b, err := p.c.Read(ctx)
		if err != nil {
			return nil, err
		}
		if kind == websocket.MessageBinary {
			return b, nil
		}
	}
}

// token implements pipe. A read that is given up cuts the connection before
// anything can be said, so it goes on until end has closed it with a code.
func (p *socket) token(ctx context.Context) ([]byte, error) {
	type message struct {
		kind websocket.MessageType
		b    []byte
		err  error
	}
	first := make(chan message, 1)
	go func() {
		kind, b, err := p.c.Read(context.WithoutCancel(ctx))
		first <- message{kind, b, err}
	}()
	select {
	case m := <-first:
		switch {
		case m.err != nil:
			return nil, fmt.Errorf("%w: %w", errSilent, m.err)
		case m.kind != websocket.MessageText:
			return nil, ErrToken
		}
		return m.b, nil
	case <-ctx.Done():
		return nil, errSilent
	}
}

// media implements pipe.
func (p *socket) media(ctx context.Context, b []byte) error {
	return p.put(ctx, websocket.MessageBinary, b)
}

// text implements pipe.
func (p *socket) text(ctx context.Context, b []byte) error {
	return p.put(ctx, websocket.MessageText, b)
}

func (p *socket) put(ctx context.Context, kind websocket.MessageType, b []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	return p.c.Write(ctx, kind, b)
}

// end implements pipe.
func (p *socket) end(refused bool, why string) {
	code := websocket.StatusNormalClosure
	if refused {
		code = closeRefused
	}
	if p.c.Close(code, why[:min(len(why), maxWhy)]) != nil {
		_ = p.c.CloseNow() // gone already
	}
}
