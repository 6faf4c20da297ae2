// Package bench drives a node with clients written against the wire
// specification only, and reports what came out of it: loss beside latency,
// and the node's own CPU per delivered packet.
package bench

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"signalbox/engine/quicnet"
	"signalbox/relay/wire"
)

const joinTimeout = 15 * time.Second

// Caller is one wzp client: it joins a room as any client would, verifies the
// relay's signature and exchanges media packets.
type Caller struct {
	// Constant after Join.
	conn  *quicnet.Conn
	key   ed25519.PrivateKey
	alias string

	// Owned by the sending goroutine.
	seq   uint16
	sent  int
	start time.Time

	// Any goroutine (atomic).
	Received  atomic.Uint64 // datagrams that arrived
	Corrupt   atomic.Uint64 // datagrams that are not, byte for byte, what was sent
	Reordered atomic.Uint64 // datagrams older than one of the same sender before
	Signals   atomic.Uint64 // RoomUpdates and QualityDirectives read
	LastTier  atomic.Value  // string: codec of the newest directive
	RoomCount atomic.Uint32 // members in the newest RoomUpdate
}

// Join connects to addr and joins room under alias, as somebody new.
func Join(ctx context.Context, cl *quicnet.Client, addr netip.AddrPort, room, alias string) (*Caller, error) {
	return JoinAs(ctx, cl, addr, room, alias, NewIdentity(), "")
}

// NewIdentity is the key of somebody new.
func NewIdentity() ed25519.PrivateKey {
	var seed [32]byte
	rand.Read(seed[:])
	return wire.IdentityKey(seed)
}

// JoinAs is Join as the owner of a key, with a token if there is one.
func JoinAs(ctx context.Context, cl *quicnet.Client, addr netip.AddrPort, room, alias string, key ed25519.PrivateKey, token string) (*Caller, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	conn, err := cl.Dial(ctx, addr, quicnet.ALPNWZP, room)
	if err != nil {
		return nil, fmt.Errorf("bench: dial %s: %w", addr, err)
	}
	c := &Caller{conn: conn, key: key, alias: alias, start: time.Now()}
	if err := c.handshake(ctx, token); err != nil {
		conn.Close(0, "handshake")
		return nil, err
	}
	return c, nil
}

func (c *Caller) handshake(ctx context.Context, token string) error {
	offer, _, err := wire.NewOffer(c.key, c.alias)
	if err != nil {
		return err
	}
	if token != "" {
		if err := sendSignal(c.conn, &wire.AuthToken{Token: token}); err != nil {
			return err
		}
	}
	if err := sendSignal(c.conn, offer); err != nil {
		return err
	}
	sig, err := c.ReadSignal(ctx)
	if err != nil {
		return fmt.Errorf("bench: read answer: %w", err)
	}
	ans, ok := sig.(*wire.CallAnswer)
	if !ok {
		return fmt.Errorf("bench: the relay's first stream carries %T, not a CallAnswer", sig)
	}
	return wire.VerifyAnswer(ans)
}

// sendSignal sends one message on a stream of its own (spec wzp 3.1).
func sendSignal(conn *quicnet.Conn, s wire.Signal) error {
	st, err := conn.OpenStream()
	if err != nil {
		return fmt.Errorf("bench: open stream: %w", err)
	}
	st.CancelRead(0)
	if err := wire.WriteFrame(st, s); err != nil {
		return fmt.Errorf("bench: send %s: %w", s.Variant(), err)
	}
	if st.Close() != nil { // the relay had all it wanted and has told us to stop
		st.CancelWrite(0)
	}
	return nil
}

// ReadSignal accepts one stream and reads its message.
func (c *Caller) ReadSignal(ctx context.Context) (wire.Signal, error) { return readSignal(ctx, c.conn) }

func readSignal(ctx context.Context, conn *quicnet.Conn) (wire.Signal, error) {
	st, err := conn.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	sig, err := wire.ReadFrame(st, wire.MaxFrame)
	st.CancelRead(0)
	if st.Close() != nil { // the sender has told us to stop already (spec wzp 3.1)
		st.CancelWrite(0)
	}
	return sig, err
}

// ReadSignals reads signals until ctx ends, keeping the newest.
func (c *Caller) ReadSignals(ctx context.Context) {
	for {
		s, err := c.ReadSignal(ctx)
		if err != nil {
			return
		}
		c.Signals.Add(1)
		switch m := s.(type) {
		case *wire.RoomUpdate:
			c.RoomCount.Store(m.Count)
		case *wire.QualityDirective:
			c.LastTier.Store(m.RecommendedProfile.Codec.String())
		}
	}
}

// The bench payload: u64 sender tag, u64 Unix nanoseconds, then a pattern that
// depends on both, so that a receiver can check every byte.
const payloadHead = 16

func fillPayload(dst []byte, tag, at uint64) {
	binary.BigEndian.PutUint64(dst, tag)
	binary.BigEndian.PutUint64(dst[8:], at)
	x := byte(tag*31 + at*17)
	for i := payloadHead; i < len(dst); i++ {
		dst[i] = x + byte(i)
	}
}

// appendPacket builds the packet that tag sent at that time under seq. A
// receiver builds it again from what it got and compares every byte.
func appendPacket(dst []byte, seq uint16, tag, at uint64, size int, rep *wire.QualityReport) []byte {
	dst = wire.AppendHeader(dst, wire.Header{Codec: wire.Opus24k, HasReport: rep != nil, Seq: seq, Timestamp: uint32(seq) * 20})
	n := len(dst)
	dst = append(dst, make([]byte, size)...)
	fillPayload(dst[n:], tag, at)
	if rep != nil {
		dst = wire.AppendReport(dst, *rep)
	}
	return dst
}

// check says when and by whom pkt was sent, and whether it is what was sent.
// buf is scratch space.
func check(pkt, buf []byte) (seq uint16, tag uint64, at int64, ok bool) {
	p, err := wire.Parse(pkt)
	if err != nil || len(p.Payload) < payloadHead {
		return 0, 0, 0, false
	}
	tag, sent := binary.BigEndian.Uint64(p.Payload), binary.BigEndian.Uint64(p.Payload[8:])
	var rep *wire.QualityReport
	if p.HasReport {
		rep = &p.Report
	}
	want := appendPacket(buf[:0], p.Seq, tag, sent, len(p.Payload), rep)
	return p.Seq, tag, int64(sent), bytes.Equal(pkt, want)
}

// Send sends one media packet of size payload bytes, with a quality report if
// rep is given.
func (c *Caller) Send(tag uint64, size int, rep *wire.QualityReport) error {
	size = max(size, payloadHead)
	buf := make([]byte, 0, wire.HeaderSize+size+wire.ReportSize)
	buf = appendPacket(buf, c.seq, tag, uint64(time.Now().UnixNano()), size, rep)
	c.seq++
	c.sent++
	return c.conn.SendDatagram(buf)
}

// ReceiveLoop reads datagrams until ctx or the connection ends and hands each
// one's age to seen.
func (c *Caller) ReceiveLoop(ctx context.Context, seen func(age time.Duration)) error {
	newest := map[uint64]uint16{}
	buf := make([]byte, 0, 2048)
	for {
		pkt, err := c.conn.ReceiveDatagram(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		now := time.Now().UnixNano()
		c.Received.Add(1)
		seq, tag, at, ok := check(pkt, buf)
		if !ok {
			c.Corrupt.Add(1)
			continue
		}
		if last, known := newest[tag]; known && int16(seq-last) <= 0 {
			c.Reordered.Add(1)
		}
		newest[tag] = seq
		seen(time.Duration(now - at))
	}
}

// Sent is how many packets Send has handed over.
func (c *Caller) Sent() int { return c.sent }

// Close leaves as a client does.
func (c *Caller) Close() { c.conn.Close(0, closeReason) }

const closeReason = "normal close"

// Alive says whether the relay has not closed the connection.
func (c *Caller) Alive() bool { return !errors.Is(c.conn.Context().Err(), context.Canceled) }

// Conn is the connection, for who sends packets of its own. Send and
// ReceiveLoop are not used beside it.
func (c *Caller) Conn() *quicnet.Conn { return c.conn }
