package relay

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"signalbox/relay/wire"
)

// rig is a relay on a clock the test moves.
type rig struct {
	*Relay
	t   testing.TB
	now atomic.Int64
}

func newRig(t testing.TB, cfg Config) *rig {
	g := &rig{t: t}
	g.now.Store(1)
	cfg.Now = g.now.Load
	g.Relay = New(cfg)
	return g
}

func (g *rig) advance(d time.Duration) { g.now.Add(int64(d)) }

func request(room, who string, host int) JoinRequest {
	return JoinRequest{
		Room: room, Fingerprint: "fp-" + who, Alias: who, Transport: "quic", Shard: "media/0", Now: time.Unix(1, 0),
		Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(host >> 8), byte(host)}), 4000),
	}
}

func (g *rig) join(room, who string) *Participant {
	g.t.Helper()
	p, err := g.Join(request(room, who, len(who)))
	if err != nil {
		g.t.Fatalf("join %s as %s: %v", room, who, err)
	}
	return p
}

func (g *rig) members(room string, n int) []*Participant {
	g.t.Helper()
	var ps []*Participant
	for i := range n {
		ps = append(ps, g.join(room, fmt.Sprintf("m%d", i)))
	}
	return ps
}

// say forwards one packet and ends the batch.
func (g *rig) say(p *Participant, pkt []byte) {
	g.Forward(0, p, pkt, g.now.Load())
	g.FlushShard(0)
}

// packet is a valid media packet whose payload is a number.
func packet(seq uint16, n uint64) []byte {
	return wire.AppendPacket(nil, wire.Packet{
		Header: wire.Header{Codec: wire.Opus24k, Seq: seq}, Payload: binary.BigEndian.AppendUint64(nil, n),
	})
}

func report(seq uint16, loss, rtt4 uint8) []byte {
	return wire.AppendPacket(nil, wire.Packet{
		Header: wire.Header{Codec: wire.Opus24k, Seq: seq, HasReport: true},
		Report: wire.QualityReport{Loss: loss, RTT4: rtt4, Jitter: 7, CapKbps: 200},
	})
}

// drain takes all that waits and delivers it.
func (g *rig) drain(p *Participant) [][]byte {
	var all [][]byte
	for {
		got := p.Take(nil, 24, g.now.Load())
		if len(got) == 0 {
			return all
		}
		p.Done(len(got), 0, 0)
		all = append(all, got...)
	}
}

func (g *rig) closes() {
	g.t.Helper()
	if c := g.Counts(); c.Unexplained() != 0 {
		g.t.Fatalf("the account does not close: %+v unexplained %d", c, c.Unexplained())
	}
}

// settled also compares the rings' account with the shards' own.
func (g *rig) settled() {
	g.t.Helper()
	g.closes()
	c, refused, early := g.Counts(), g.refused.Load(), g.early.Load()
	if want := g.FanOut() + refused.Total() + early.Total(); c.Copies != want {
		g.t.Fatalf("copies %d, but the shards made %d and refused %d and %d", c.Copies, g.FanOut(), refused.Total(), early.Total())
	}
}

// signals reads all signals that wait.
func signals(p *Participant) (upd *wire.RoomUpdate, dir *wire.QualityDirective) {
	for {
		s, ok := p.NextSignal()
		if !ok {
			return upd, dir
		}
		switch v := s.(type) {
		case *wire.RoomUpdate:
			upd = v
		case *wire.QualityDirective:
			dir = v
		}
	}
}
