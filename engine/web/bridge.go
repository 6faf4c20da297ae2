package web

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/coder/websocket"

	"signalbox/engine/quicnet"
	"signalbox/relay"
	"signalbox/relay/wire"
)

// pipe is one browser's connection, however it came. One goroutine receives,
// one other sends.
type pipe interface {
	// receive returns the browser's next media message.
	receive(ctx context.Context) ([]byte, error)
	// token returns the browser's first message, which is no media.
	token(ctx context.Context) ([]byte, error)
	// media sends one message of media; errTooLarge if it never will.
	media(ctx context.Context, b []byte) error
	// text sends one signal.
	text(ctx context.Context, b []byte) error
	// end closes the connection; a browser that does not answer is not waited
	// for.
	end(refused bool, why string)
}

// visit is one browser's stay.
type visit struct {
	// Constant after host.
	pipe  pipe
	proto string
	place Place
	told  chan string // 1 slot: the node wants it to end, and why

	// Owned by the reader.
	seq   uint16
	stamp uint32
}

// host runs one visit to its end. tick is called once a second.
func (s *Server) host(ctx context.Context, cancel context.CancelFunc, p pipe, proto string, visitor Visitor, tick func()) {
	v := &visit{pipe: p, proto: proto, told: make(chan string, 1)}
	visitor.Raw, visitor.Labelled = proto == Raw, proto == Voice
	// Only the connection's own goroutines write to it: the writer says goodbye, if
	// it is not stuck.
	visitor.Close = func(reason string) {
		select {
		case v.told <- reason:
			time.AfterFunc(farewellTime, cancel)
		default: // told already
		}
	}
	if err := s.greet(ctx, v, &visitor); err != nil {
		p.end(true, err.Error())
		return
	}
	var err error
	if v.place, err = s.opt.Door.Enter(visitor); err != nil {
		p.end(true, err.Error())
		return
	}
	written := make(chan error, 1)
	go func() {
		err := v.write(ctx, tick)
		if told, ok := errors.AsType[toldError](err); ok {
			p.end(false, told.Error())
		}
		written <- err
		cancel()
	}()
	err = v.read(ctx)
	cancel()
	werr := <-written
	why := reason(cmp.Or(err, werr), werr)
	v.place.Leave(why)
	p.end(false, why)
}

// toldError is the end of a visit by the node's will.
type toldError string

func (e toldError) Error() string { return cmp.Or(string(e), "closed by us") }

// reason says in words why a visit ended.
func reason(err, werr error) string {
	var ce websocket.CloseError
	if told, ok := errors.AsType[toldError](werr); ok {
		return told.Error()
	}
	switch {
	case errors.As(err, &ce):
		return fmt.Sprintf("closed by the browser: %d", ce.Code)
	case werr != nil && errors.Is(werr, context.DeadlineExceeded):
		return "it no longer reads"
	case errors.Is(err, context.Canceled):
		return "closed by us"
	case errors.Is(err, io.EOF):
		return "the connection was lost"
	case errors.Is(err, quicnet.ErrClosed):
		return "closed by the browser"
	case err != nil:
		return err.Error()
	default:
		return "ended"
	}
}

// greet checks the token where one is wanted and says that all is well (spec
// wzp 5.17).
func (s *Server) greet(ctx context.Context, v *visit, who *Visitor) error {
	if s.opt.Door.WantsToken() {
		if err := s.token(ctx, v.pipe, who); err != nil {
			if !errors.Is(err, ErrToken) && !errors.Is(err, errSilent) {
				err = errors.Join(err, v.say(ctx, map[string]string{"type": "auth_error", "error": err.Error()}))
			}
			return err
		}
	}
	return v.say(ctx, map[string]string{"type": "auth_ok"})
}

func (s *Server) token(ctx context.Context, p pipe, who *Visitor) error {
	ctx, cancel := context.WithTimeout(ctx, tokenTime)
	defer cancel()
	b, err := p.token(ctx)
	if err != nil {
		return err
	}
	var m struct{ Type, Token string }
	if json.Unmarshal(b, &m) != nil || m.Type != "auth" || m.Token == "" {
		return ErrToken
	}
	fingerprint, alias, err := s.opt.Door.Check(ctx, m.Token)
	who.Fingerprint = fingerprint
	if alias != "" { // the name behind a token is not the page's to choose
		who.Alias = alias
	}
	return err
}

func (v *visit) say(ctx context.Context, m any) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return v.pipe.text(ctx, b)
}

// read moves the browser's messages into the room.
func (v *visit) read(ctx context.Context) error {
	for {
		b, err := v.pipe.receive(ctx)
		if err != nil {
			return err
		}
		if len(b) == 0 {
			continue
		}
		if v.proto != Media && v.proto != Voice {
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
func (v *visit) write(ctx context.Context, tick func()) error {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	buf := make([][]byte, 0, burst)
	for {
		select {
		case <-ctx.Done():
			return nil
		case why := <-v.told:
			return toldError(why)
		case <-second.C:
			tick()
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
// is; one that tells voices apart is told whose they are.
func (v *visit) signals(ctx context.Context) error {
	for sig := v.place.Signal(); sig != nil; sig = v.place.Signal() {
		if v.proto == Raw {
			continue
		}
		b, err := wire.Marshal(sig)
		if err != nil {
			return err
		}
		if err := v.pipe.text(ctx, bytes.TrimSpace(b)); err != nil {
			return err
		}
		if _, ok := sig.(*wire.RoomUpdate); ok && v.proto == Voice {
			if err := v.say(ctx, voices{Type: "voices", You: v.place.You, Voices: v.place.Voices()}); err != nil {
				return err
			}
		}
	}
	return nil
}

// voices tells whose the labels are.
type voices struct {
	Type   string       `json:"type"`
	You    uint32       `json:"you"`
	Voices []VoiceEntry `json:"voices"`
}

// media sends a burst. What failed is booked before the visit ends.
func (v *visit) media(ctx context.Context, buf [][]byte) error {
	large := 0
	for i, pkt := range buf {
		body, ok := v.unwrap(pkt)
		if !ok { // a codec the browser has not asked for is not for it, and no loss
			continue
		}
		switch err := v.pipe.media(ctx, body); {
		case errors.Is(err, quicnet.ErrTooLarge):
			large++
		case err != nil:
			v.place.Done(i-large, large, len(buf)-i)
			return err
		}
	}
	v.place.Done(len(buf)-large, large, 0)
	return nil
}

// unwrap is what the browser gets of a packet.
func (v *visit) unwrap(pkt []byte) ([]byte, bool) {
	if v.proto == Media {
		return pkt, true
	}
	bare := pkt
	if v.proto == Voice {
		bare = pkt[min(len(pkt), relay.LabelSize):]
	}
	p, err := wire.Parse(bare)
	if err != nil || v.proto != Raw && (p.Repair || !p.Codec.Opus() || len(p.Payload) == 0) {
		return nil, false
	}
	if v.proto == Voice {
		return pkt, true
	}
	return p.Payload, true
}
