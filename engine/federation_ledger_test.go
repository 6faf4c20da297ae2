package engine

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"signalbox/engine/ledger"
	"signalbox/relay"
	"signalbox/relay/fed"
	"signalbox/relay/wire"
)

// deafWire is a connection of a link that nobody is at the other end of.
type deafWire struct{}

func (deafWire) RemoteAddr() string { return "192.0.2.1:4433" }
func (deafWire) RTT() time.Duration { return 0 }
func (deafWire) MaxDatagram() int   { return 1200 }
func (deafWire) Close(string)       {}

// linkRig is one peer, its link and what its writer holds.
type linkRig struct {
	fp   string
	l    *fed.Link
	held int
	seq  uint16
}

// TestFederationLedgerCloses: while members talk from several goroutines, links
// come and go, peers flood, repeat and send garbage, and writers take and lose
// what waits, the account of federation and that of the rooms close at every
// look.
func TestFederationLedgerCloses(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 4))
	began := time.Now()
	mono := func() int64 { return int64(time.Since(began)) + 1 }
	cfg := fed.Config{Self: strings.Repeat("00", 32), Rooms: []string{"room-0", "room-1"}, QueueCapacity: 16, RoomPPS: 500}
	peers := make([]*linkRig, 4)
	for i := range peers {
		peers[i] = &linkRig{fp: strings.Repeat(fmt.Sprintf("%02d", i+1), 32)}
		cfg.Peers = append(cfg.Peers, fed.Peer{Fingerprint: peers[i].fp})
	}
	m := fed.New(cfg, 1)
	r := relay.New(relay.Config{QueueCapacity: 16, Now: mono, Global: m.Global})
	stop, talking := make(chan struct{}), sync.WaitGroup{}
	for i := range 3 {
		talking.Go(func() { talkInto(t, r, i, mono, stop) })
	}
	look := func(step int, what string) {
		t.Helper()
		for plane, c := range map[string]int64{"federation": unexplainedOf(m.Counts()), "media": unexplainedOf(r.Counts())} {
			if c != 0 {
				t.Fatalf("step %d (%s): %d unexplained in %s", step, what, c, plane)
			}
		}
	}
	for step := range 3000 {
		look(step, peers[rnd.IntN(len(peers))].step(rnd, m, mono))
	}
	close(stop)
	talking.Wait()
	for _, p := range peers {
		if p.l != nil {
			p.l.Down("the end", mono())
			look(0, "the end")
		}
	}
	c := m.Counts()
	for _, why := range []string{"queue_head", "link_down", "duplicate", "malformed", "unknown_room", "link_rate", "write_error"} {
		if c.Dropped.Map()[why] == 0 {
			t.Errorf("nothing was dropped as %s", why)
		}
	}
	if c.Queued != 0 || c.Delivered == 0 || c.Received == 0 {
		t.Errorf("nothing was tried: %+v", c)
	}
}

func unexplainedOf(c ledger.Counts) int64 { return c.Unexplained() }

// talkInto has one member after the other talk until stop.
func talkInto(t *testing.T, r *relay.Relay, shard int, mono func() int64, stop <-chan struct{}) {
	for seq := uint16(0); ; seq++ {
		p, err := r.Join(relay.JoinRequest{Room: fmt.Sprintf("room-%d", shard%2), Fingerprint: fmt.Sprint(shard), Now: time.Now()})
		if err != nil {
			t.Error(err)
			return
		}
		for range 50 {
			pkt := wire.AppendHeader(nil, wire.Header{Codec: wire.Opus24k, Seq: seq, Timestamp: uint32(shard)})
			seq++
			r.Forward(shard, p, pkt, mono())
			r.FlushShard(shard)
			p.Done(len(p.Take(nil, 8, mono())), 0, 0)
		}
		p.Leave(mono())
		select {
		case <-stop:
			return
		default:
		}
	}
}

// step does one random thing with the peer and says what.
func (p *linkRig) step(rnd *rand.Rand, m *fed.Mesh, mono func() int64) string {
	if p.l == nil {
		hello := "v=1"
		p.l, _ = m.Up(fed.Up{Fingerprint: p.fp, Verified: true, Hello: &wire.FederationHello{Signalbox: &hello}, Transport: deafWire{}}, mono())
		p.held = 0
		return "up"
	}
	room := fmt.Sprintf("room-%d", rnd.IntN(2))
	switch rnd.IntN(8) {
	case 0:
		if rnd.IntN(5) == 0 {
			p.l.Down("cut", mono())
			p.l = nil
			return "down"
		}
	case 1:
		p.l.Handle(&wire.GlobalRoomActive{Room: room, Participants: []wire.RoomParticipant{{Fingerprint: p.fp}}}, mono())
		return "active"
	case 2:
		m.Mute(p.fp, rnd.IntN(4) == 0)
		return "mute"
	case 3, 4:
		if p.held > 0 {
			bad := rnd.IntN(p.held + 1)
			p.l.Done(p.held-bad, bad/2, bad-bad/2)
		}
		p.held = len(p.l.Take(nil, 24, mono()))
		return "write"
	default:
		for range rnd.IntN(300) {
			if rnd.IntN(10) > 0 {
				p.seq++ // or the same packet again
			}
			pkt := wire.AppendHeader(nil, wire.Header{Codec: wire.Opus24k, Seq: p.seq, Timestamp: uint32(p.fp[0]) << 16})
			name := room
			switch rnd.IntN(20) {
			case 0:
				pkt = pkt[:5]
			case 1:
				name = "nowhere"
			}
			p.l.Receive(wire.AppendFederated(nil, wire.RoomHash(name), pkt), mono())
		}
		return "flood"
	}
	return "nothing"
}
