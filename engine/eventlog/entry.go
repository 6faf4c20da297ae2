package eventlog

import (
	"bytes"
	"encoding/json"
	"time"

	"signalbox/relay"
	"signalbox/relay/wire"
)

// The events of the federation (spec wzp 5.20).
const (
	IngressMalformed  = "federation_ingress_malformed" // Len
	Ingress           = "federation_ingress"           // Packet
	DedupDrop         = "dedup_drop"                   // Seq, Peer
	RoomNotFound      = "room_not_found"               // Seq, Peer
	RateLimitDrop     = "rate_limit_drop"              // Room, Seq
	LocalDeliverError = "local_deliver_error"          // Room, Seq, Reason
	LocalDeliver      = "local_deliver"                // Room, Seq, ToCount
)

// Num is a number that may be absent.
type Num struct {
	N  uint64
	Ok bool
}

// Of is a number that is there.
func Of[T ~int | ~uint8 | ~uint16 | ~uint32 | ~uint64](n T) Num { return Num{uint64(n), true} }

// Entry is one line. What is empty is left out of it.
type Entry struct {
	At           time.Time // zero: when Emit was called
	Event        string
	Room         string
	Src          string
	Seq          Num
	Codec        string // as JSON names it
	FECBlock     Num
	FECSym       Num
	Repair       Num // 0 false, else true
	Len          Num // bytes of payload
	ToCount      Num
	Peer         string // label
	Reason       string
	Action       string
	Participants Num
}

// Packet is the entry of a packet that came over the link to peer.
func Packet(event, peer string, p *wire.Packet) Entry {
	repair := Of(0)
	if p.Repair {
		repair = Of(1)
	}
	return Entry{
		Event: event, Peer: peer, Seq: Of(p.Seq), Codec: p.Codec.String(), FECBlock: Of(p.FECBlock), FECSym: Of(p.FECSymbol), Repair: repair, Len: Of(len(p.Payload)),
	}
}

// line is an Entry in the order of its keys, which scripts cut by.
type line struct {
	TS           string  `json:"ts"`
	Event        string  `json:"event"`
	Room         string  `json:"room,omitempty"`
	Src          string  `json:"src,omitempty"`
	Seq          *uint64 `json:"seq,omitempty"`
	Codec        string  `json:"codec,omitempty"`
	FECBlock     *uint64 `json:"fec_block,omitempty"`
	FECSym       *uint64 `json:"fec_sym,omitempty"`
	Repair       *bool   `json:"repair,omitempty"`
	Len          *uint64 `json:"len,omitempty"`
	ToCount      *uint64 `json:"to_count,omitempty"`
	Peer         string  `json:"peer,omitempty"`
	Reason       string  `json:"reason,omitempty"`
	Action       string  `json:"action,omitempty"`
	Participants *uint64 `json:"participants,omitempty"`
}

const stamp = "2006-01-02T15:04:05.000000Z"

// append writes the entry's line, its end included. Text is from the network.
func (e *Entry) append(out *bytes.Buffer) error {
	num := func(n Num) *uint64 {
		if !n.Ok {
			return nil
		}
		return &n.N
	}
	l := line{
		TS: e.At.UTC().Format(stamp), Event: relay.Sanitize(e.Event), Room: relay.Sanitize(e.Room), Src: relay.Sanitize(e.Src), Seq: num(e.Seq), Codec: e.Codec,
		FECBlock: num(e.FECBlock), FECSym: num(e.FECSym), Len: num(e.Len), ToCount: num(e.ToCount), Peer: relay.Sanitize(e.Peer),
		Reason: relay.Sanitize(e.Reason), Action: relay.Sanitize(e.Action), Participants: num(e.Participants),
	}
	if e.Repair.Ok {
		repair := e.Repair.N != 0
		l.Repair = &repair
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(&l)
}
