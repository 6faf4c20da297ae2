package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"signalbox/dht"
	"signalbox/dht/table"
	dhtwire "signalbox/dht/wire"
	"signalbox/engine/dispatch"
	"signalbox/engine/ledger"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
)

// A DHT connection carries one unidirectional stream each way. Messages on it
// are a big-endian u32 length and that many bytes.
const (
	dhtMaxMessage = 64 << 10
	dhtSendQueue  = 64
	dhtDialLimit  = 8 * time.Second
	dhtWriteLimit = 5 * time.Second
)

var (
	errLinkFull = errors.New("engine: the link's send queue is full")
	errBanned   = errors.New("the address is banned")
)

// dhtMsg is one message on its way through the dht plane.
type dhtMsg struct {
	link    dht.Link
	payload []byte
}

// dhtHandler is the dht plane's shard loop.
type dhtHandler struct{ e *Engine }

// Handle passes one message to the node. The sender is who its connection
// proved it to be.
func (h dhtHandler) Handle(shard int, m *dhtMsg, now int64) {
	h.e.dhtTaken.add(shard)
	h.e.dht.Handle(shard, m.link, m.payload, now)
}

// Flush has nothing to do: replies go to the links' own writers.
func (h dhtHandler) Flush(int) {}

// Describe names a message for the screen.
func (h dhtHandler) Describe(m *dhtMsg) string {
	id := m.link.PeerID()
	return fmt.Sprintf("a %d byte message of peer %.16s at %s", len(m.payload), id.String(), m.link.RemoteAddr())
}

// Input is the message without its length.
func (h dhtHandler) Input(m *dhtMsg) []byte { return m.payload }

// dhtConn is what a link needs of its connection.
type dhtConn interface {
	RemoteAddr() netip.AddrPort
	Context() context.Context // done when the connection has ended
	Close(code uint64, reason string)
	out() (deadlineWriter, error)
	in(ctx context.Context) (deadlineReader, error)
}

type deadlineWriter interface {
	io.Writer
	SetWriteDeadline(t time.Time) error
}

type deadlineReader interface {
	io.Reader
	SetReadDeadline(t time.Time) error
}

// quicConn is a connection of its own: one stream each way.
type quicConn struct{ *quicnet.Conn }

func (c quicConn) out() (deadlineWriter, error) { return c.OpenUniStream() }

func (c quicConn) in(ctx context.Context) (deadlineReader, error) { return c.AcceptUniStream(ctx) }

// dhtLink is one authenticated connection to a peer.
type dhtLink struct {
	// Constant after newDHTLink.
	c     dhtConn
	id    table.ID
	gen   uint64
	src   netip.Addr    // whose share of the dispatcher its messages take
	limit time.Duration // for one write, and for a message once begun
	queue chan []byte   // never closed; the writer ends with the connection
	full  *atomic.Uint64
}

// PeerID is who the TLS handshake proved the peer to be.
func (l *dhtLink) PeerID() table.ID { return l.id }

// RemoteAddr is where the connection comes from.
func (l *dhtLink) RemoteAddr() netip.AddrPort { return l.c.RemoteAddr() }

// Generation tells this connection from its predecessors and successors.
func (l *dhtLink) Generation() uint64 { return l.gen }

// Send queues a copy of one message and never waits; a full queue is an error,
// counted.
func (l *dhtLink) Send(payload []byte) error {
	if len(payload) > dhtMaxMessage {
		return fmt.Errorf("engine: dht message of %d bytes is above %d", len(payload), dhtMaxMessage)
	}
	select {
	case l.queue <- slices.Clone(payload):
		return nil
	default:
		l.full.Add(1)
		return errLinkFull
	}
}

// Close ends the connection.
func (l *dhtLink) Close(reason string) { l.c.Close(0, reason) }

// banish closes what a ban ends: every connection from the prefix that is not a
// room's, whose packets are dropped where they can be seen. The routing table
// keeps no peer that could be reached in the prefix only. The dialler and the
// edge let none of them in again.
func (e *Engine) banish(p netip.Prefix) {
	inside := func(a netip.Addr) bool { return p.Contains(a.Unmap()) }
	e.edge.CloseIf(func(c *quicnet.Conn) bool {
		return (c.ALPN() == quicnet.ALPNDHT || strings.HasPrefix(c.ServerName(), "_")) && inside(c.RemoteAddr().Addr())
	}, "banned")
	for _, peer := range e.dht.Table().Contacts(nil) {
		addrs := peer.Addrs()
		if len(addrs) > 0 && !slices.ContainsFunc(addrs, func(a table.Addr) bool { return !inside(a.AddrPort.Addr()) }) {
			if err := e.dht.Evict(peer.ID()); err != nil && !errors.Is(err, dht.ErrNotFound) {
				e.log.Debug("banned peer not evicted", "err", err)
			}
		}
	}
}

func (e *Engine) newDHTLink(c *quicnet.Conn) (*dhtLink, error) {
	if len(c.PeerKey()) == 0 {
		return nil, errors.New("engine: dht connection without a client key")
	}
	return e.makeLink(quicConn{c}, table.ID(c.PeerID()), c.RemoteAddr().Addr(), dhtWriteLimit), nil
}

func (e *Engine) makeLink(c dhtConn, id table.ID, src netip.Addr, limit time.Duration) *dhtLink {
	return &dhtLink{c: c, id: id, gen: e.generation.Add(1), src: src, limit: limit, queue: make(chan []byte, dhtSendQueue), full: &e.dhtLinkFull}
}

// serveDHT runs one link until it ends.
func (e *Engine) serveDHT(ctx context.Context, c *quicnet.Conn) {
	l, err := e.newDHTLink(c)
	if err != nil {
		c.Close(0, "no key")
		return
	}
	e.runLink(ctx, l, l, nil)
}

// runLink registers the link before anyone hears of it, reads it until it ends
// and takes it out again by generation. as is the link as the node knows it. up,
// if given, is closed once the link is registered.
func (e *Engine) runLink(ctx context.Context, l *dhtLink, as dht.Link, up chan<- struct{}) {
	start := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e.dht.Connected(as)
	if up != nil {
		close(up)
	}
	writer := make(chan struct{})
	go func() {
		defer close(writer)
		defer e.contain("dht link writer", func() { l.Close("internal error") })
		if err := l.writeLoop(ctx); err != nil {
			l.Close("write failed")
		}
	}()
	why := endReason(e.readLink(ctx, l, as))
	l.Close("bye")
	cancel()
	<-writer
	e.dht.Disconnected(as)
	id := l.id.String()
	e.endings.add(view.Ending{
		At: time.Now().UTC(), Kind: "dht", Subject: id[:16], Remote: l.RemoteAddr().String(), Reason: why, LifetimeS: time.Since(start).Seconds(),
	})
}

// writeLoop owns the outgoing stream.
func (l *dhtLink) writeLoop(ctx context.Context) error {
	st, err := l.c.out()
	if err != nil {
		return err
	}
	buf := make([]byte, 0, 4096)
	for {
		var m []byte
		select {
		case <-ctx.Done():
			return nil
		case <-l.c.Context().Done():
			return nil
		case m = <-l.queue:
		}
		buf = appendMessage(buf[:0], m)
		for more := true; more && len(buf) < 8<<10; {
			select {
			case m = <-l.queue:
				buf = appendMessage(buf, m)
			default:
				more = false
			}
		}
		if err := st.SetWriteDeadline(time.Now().Add(l.limit)); err != nil {
			return err
		}
		if _, err := st.Write(buf); err != nil {
			return err
		}
	}
}

func appendMessage(dst, m []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(m)))
	return append(dst, m...)
}

// readLink moves messages from the peer's stream to its shard: replies on the
// control lane, so that a flood of requests cannot starve what we asked for.
func (e *Engine) readLink(ctx context.Context, l *dhtLink, as dht.Link) error {
	st, err := l.c.in(ctx)
	if err != nil {
		return err
	}
	var head [4]byte
	gate := e.relay.Gate(l.src)
	for {
		if _, err := io.ReadFull(st, head[:]); err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(head[:])
		if n == 0 || n > dhtMaxMessage {
			return fmt.Errorf("engine: dht message claims %d bytes", n)
		}
		payload := make([]byte, n)
		if err := st.SetReadDeadline(time.Now().Add(l.limit)); err != nil {
			return err
		}
		if _, err := io.ReadFull(st, payload); err != nil {
			return err
		}
		if err := st.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
		if why, ok := gate.Admit(e.mono()); !ok {
			e.dhtRefused[why].Add(1)
			e.dht.LocalDrop(e.mono()) // an answer we did not let in is not one they did not give
			if why == ledger.SourceBanned {
				return errBanned
			}
			continue
		}
		lane := dispatch.Media
		if dhtwire.IsControl(payload) {
			lane = dispatch.Control
		}
		if _, ok := e.dhtq.Submit(e.mono(), l.src, lane, len(payload), dhtMsg{link: as, payload: payload}); !ok {
			e.dht.LocalDrop(e.mono()) // our own overload is never charged to a peer
		}
	}
}
