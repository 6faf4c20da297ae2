package relay

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"signalbox/engine/view"
)

// ErrForwarded refuses those who would talk to nobody: with Config.Forwarding
// the room is at the other relay.
var ErrForwarded = errors.New("this node forwards to another relay, which is where the rooms are")

// Far is the other relay, as a forwarded client's leg to it has it.
type Far struct {
	Remote      netip.AddrPort
	MaxDatagram func() int
}

// JoinPair seats a client that is forwarded, and its leg: the client's place at
// the other relay (5.16). What the one sends goes to the other and to nobody
// else, by the same way as in any room: Admit, Forward, a ring, a writer, and
// all of it in the account. The client stands in the roster of its room, where
// levers find it; the leg stands in none, is no session, and has no budget but
// that of the queues. When either leaves, both have left.
func (r *Relay) JoinPair(q JoinRequest, far Far) (client, leg *Participant, err error) {
	client, err = r.join(q, &far)
	if err != nil {
		return nil, nil, err
	}
	return client, client.pair[0], nil
}

// newLeg makes the other half of p.
func (r *Relay) newLeg(q JoinRequest, far *Far, p *Participant) *Participant {
	q.Remote, q.MaxDatagram, q.Transport = far.Remote, far.MaxDatagram, "federated"
	leg := r.newParticipant(q, far.Remote.Addr().Unmap())
	leg.leg = true
	leg.budget = newBudget(int(^uint(0)>>1), int(^uint(0)>>1), r.cfg.Now()) // what a room of many sends to one
	leg.pair, p.pair = []*Participant{p}, []*Participant{leg}
	return leg
}

// Forwarding says whether the room of that name is at another relay. Rooms of
// calls that were set up here are here.
func (r *Relay) Forwarding(name string) bool {
	return r.cfg.Forwarding && !strings.HasPrefix(name, callPrefix)
}

// Legs is the state of all legs, by the number of their client.
func (r *Relay) Legs() []view.Leg {
	r.mu.Lock()
	var legs []*Participant
	for _, p := range r.live {
		if p.leg {
			legs = append(legs, p)
		}
	}
	r.mu.Unlock()
	slices.SortFunc(legs, func(a, b *Participant) int { return cmp.Compare(a.num, b.num) })
	mono := r.cfg.Now()
	out := make([]view.Leg, len(legs))
	for i, p := range legs {
		v := p.view(mono)
		out[i] = view.Leg{
			ID: v.ID, Client: p.pair[0].id, Room: p.room.name, Shard: v.Shard, Received: v.Received, Delivered: v.Delivered, Dropped: v.Dropped,
			QueueDepth: v.QueueDepth, QueueCapacity: v.QueueCapacity, QueueOldestMS: v.QueueOldestMS, LastPacketMS: v.LastPacketMS,
		}
	}
	return out
}

// Hearers is how many a packet of p goes to now.
func (p *Participant) Hearers() int {
	if p.pair != nil {
		return len(p.pair)
	}
	return max(0, len(p.room.roster.Load().members)-1)
}
