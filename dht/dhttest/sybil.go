package dhttest

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"

	"signalbox/dht"
	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// Sybils are many identities of one party. They answer as nodes do, and tell
// of nobody but each other.
type Sybils struct {
	swarm *Swarm
	peers []*Peer // constant after AddSybils
}

// AddSybils makes count identities, spread evenly over the addresses of the
// subnets. With near, their ids are ground to lie around that id: one in each
// of the buckets 0 to depth, by turns.
func (s *Swarm) AddSybils(count int, subnets []netip.Prefix, near *table.ID, depth int) (*Sybils, error) {
	y := &Sybils{swarm: s}
	for i := range count {
		base := subnets[i%len(subnets)].Addr().As4()
		host := i / len(subnets)
		base[3] = byte(1 + host%254)
		id := draw(s, RandomID)
		if near != nil {
			id = IDInBucket(*near, i%(depth+1), id)
		}
		p := s.newPeer(Spec{ID: id, Addr: netip.AddrPortFrom(netip.AddrFrom4(base), uint16(4000+host/254))})
		y.peers = append(y.peers, p)
	}
	for _, p := range y.peers {
		if err := s.enter(p, &sybil{y}, func(ctx context.Context) error { <-ctx.Done(); return nil }); err != nil {
			return nil, err
		}
	}
	return y, nil
}

// IDInBucket is noise moved into bucket i of self.
func IDInBucket(self table.ID, i int, noise table.ID) table.ID {
	id := noise
	copy(id[:i/8], self[:i/8])
	bit := byte(0x80) >> (i % 8)
	after := bit - 1
	id[i/8] = self[i/8]&^(bit|after) | ^self[i/8]&bit | noise[i/8]&after
	return id
}

// Attack has every Sybil connect to the victim, and keep at it: who lost its
// link dials again. It returns when all have tried.
func (y *Sybils) Attack(ctx context.Context, victim *Peer) (connected int) {
	order := draw(y.swarm, func(r *rand.Rand) []int { return r.Perm(len(y.peers)) })
	for _, i := range order {
		p := y.peers[i]
		if p.linkedTo(victim) {
			connected++
			continue
		}
		if _, err := (dialer{p}).Dial(ctx, victim.ID, victim.Addr); err == nil {
			connected++
		}
	}
	return connected
}

// Ask has every linked Sybil ask the victim something, to look alive.
func (y *Sybils) Ask(victim *Peer) {
	for _, p := range y.peers {
		for _, l := range p.ownLinks() {
			if l.remote == victim {
				_ = l.Send(wire.AppendPing(nil, 1)) // a closed link is dialled again by Attack
			}
		}
	}
}

// Owns reports whether id is one of them.
func (y *Sybils) Owns(id table.ID) bool {
	return slices.ContainsFunc(y.peers, func(p *Peer) bool { return p.ID == id })
}

// sybil is the host of one identity.
type sybil struct{ y *Sybils }

func (*sybil) Connected(dht.Link)    {}
func (*sybil) Disconnected(dht.Link) {}

// Handle answers requests.
func (b *sybil) Handle(_ int, l dht.Link, payload []byte, _ int64) {
	var m wire.Message
	if wire.Decode(payload, &m) != nil {
		return
	}
	var reply []byte
	switch m.Type {
	case wire.Ping:
		reply = wire.AppendPong(nil, m.Request)
	case wire.FindNode:
		w := wire.BeginNodes(nil, m.Request)
		for _, p := range Closest(b.y.peers, m.Target, wire.MaxContacts, nil) {
			w.Add(&p.ID, []table.Addr{{AddrPort: p.Addr, Type: table.Direct}}, nil)
		}
		reply = w.Bytes()
	default:
		return
	}
	_ = l.Send(reply) // a closed link needs no answer
}
