// Package bench drives a node with clients written against the wire
// specification only, and reports what came out of it: loss beside latency,
// and the node's own CPU per delivered packet.
package bench

import (
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
	Corrupt   atomic.Uint64 // datagrams whose payload is not what was sent
	Signals   atomic.Uint64 // RoomUpdates and QualityDirectives read
	LastTier  atomic.Value  // string: codec of the newest directive
	RoomCount atomic.Uint32 // members in the newest RoomUpdate
}

// Join connects to addr and joins room under alias.
func Join(ctx context.Context, cl *quicnet.Client, addr netip.AddrPort, room, alias string) (*Caller, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	conn, err := cl.Dial(ctx, addr, quicnet.ALPNWZP, room)
	if err != nil {
		return nil, fmt.Errorf("bench: dial %s: %w", addr, err)
	}
	var seed [32]byte
	rand.Read(seed[:])
	c := &Caller{conn: conn, key: wire.IdentityKey(seed), alias: alias, start: time.Now()}
	if err := c.handshake(ctx); err != nil {
		conn.Close(0, "handshake")
		return nil, err
	}
	return c, nil
}

func (c *Caller) handshake(ctx context.Context) error {
	offer, _, err := wire.NewOffer(c.key, c.alias)
	if err != nil {
		return err
	}
	st, err := c.conn.OpenStream()
	if err != nil {
		return fmt.Errorf("bench: open stream: %w", err)
	}
	st.CancelRead(0)
	if err := wire.WriteFrame(st, offer); err != nil {
		return fmt.Errorf("bench: send offer: %w", err)
	}
	if err := st.Close(); err != nil {
		return fmt.Errorf("bench: send offer: %w", err)
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

// ReadSignal accepts one stream and reads its message.
func (c *Caller) ReadSignal(ctx context.Context) (wire.Signal, error) {
	st, err := c.conn.AcceptStream(ctx)
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

func checkPayload(p []byte) (sentAt int64, ok bool) {
	if len(p) < payloadHead {
		return 0, false
	}
	tag, at := binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:])
	x := byte(tag*31 + at*17)
	for i := payloadHead; i < len(p); i++ {
		if p[i] != x+byte(i) {
			return 0, false
		}
	}
	return int64(at), true
}

// Send sends one media packet of size payload bytes, with a quality report if
// rep is given.
func (c *Caller) Send(tag uint64, size int, rep *wire.QualityReport) error {
	buf := make([]byte, 0, wire.HeaderSize+size+wire.ReportSize)
	h := wire.Header{Codec: wire.Opus24k, HasReport: rep != nil, Seq: c.seq, Timestamp: uint32(c.seq) * 20}
	buf = wire.AppendHeader(buf, h)
	payload := make([]byte, max(size, payloadHead))
	fillPayload(payload, tag, uint64(time.Now().UnixNano()))
	buf = append(buf, payload...)
	if rep != nil {
		buf = wire.AppendReport(buf, *rep)
	}
	c.seq++
	c.sent++
	return c.conn.SendDatagram(buf)
}

// ReceiveLoop reads datagrams until ctx or the connection ends and hands each
// one's age to seen.
func (c *Caller) ReceiveLoop(ctx context.Context, seen func(age time.Duration)) error {
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
		p, err := wire.Parse(pkt)
		if err != nil {
			c.Corrupt.Add(1)
			continue
		}
		at, ok := checkPayload(p.Payload)
		if !ok {
			c.Corrupt.Add(1)
			continue
		}
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
