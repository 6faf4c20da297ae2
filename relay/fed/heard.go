package fed

import "signalbox/relay/wire"

// Step is a point on a packet's way in, as wzp-relay's event log knows it
// (5.20).
type Step uint8

// The steps, and which fields of Heard they have beside Peer.
const (
	HeardMalformed Step = iota // Bytes
	HeardPacket                // Packet
	HeardDuplicate             // Packet, Room
	HeardUnknown               // Packet
	HeardRate                  // Packet; Room, unless it was the link's own rate
	HeardDelivered             // Packet, Room, To
	HeardClosed                // Packet, Room
)

// Heard is one packet of a link at one step.
type Heard struct {
	Step   Step
	Peer   string       // its label, or what else people call it
	Room   string       // canonical
	Packet *wire.Packet // valid while it is told; nil when malformed
	Bytes  int          // of the datagram
	To     int          // members it was handed to
}

// tell is for who keeps an event log; most keep none.
func (l *Link) tell(step Step, room *room, pkt *wire.Packet, n int) {
	if l.mesh.cfg.Heard == nil {
		return
	}
	h := Heard{Step: step, Peer: l.peer.name()}
	if room != nil {
		h.Room = room.name
	}
	if step == HeardMalformed {
		h.Bytes = n
	} else {
		p := *pkt // a copy, that the reader's own stays on its stack
		h.Packet, h.To = &p, n
	}
	l.mesh.cfg.Heard(h)
}
