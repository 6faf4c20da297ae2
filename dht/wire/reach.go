package wire

import (
	"encoding/binary"
	"net/netip"

	"signalbox/dht/table"
)

// The messages of reachability. Two of them travel through a third peer that
// both ends are linked to, the go-between; none names its sender, who is known
// from the connection.
//
//	ADDRESS      header | counter u64 | count u8 | count x address
//	ADDRESS_ACK  header | result u8 | seen
//	INTRODUCE    header | purpose u8 | target [32]                   to the go-between
//	CALL         header | purpose u8 | peer [32] | channel u64 | seen   from the go-between
//	ANSWER       header | result u8 | channel u64 | seen             to either
//	RELAY        header | offset u32 | ack u32 | bytes               the request id is the channel
//	RELAY_END    header | result u8                                  the request id is the channel
//	seen         0 u8, or 1 u8 and an address: where a peer is seen by the sender
const (
	Address Type = 10 + iota
	AddressAck
	Introduce
	Call
	Answer
	Relay
	RelayEnd
)

// Bounds of the relayed path.
const (
	MaxRelayData   = 2048 // bytes in one RELAY
	RelayHeaderLen = HeaderLen + 8
)

// Purpose says what two peers are to be brought together for.
type Purpose uint8

// The purposes.
const (
	ForPunch    Purpose = 1 + iota // both send at once, so that both NATs let the other in
	ForDialBack                    // somebody the asker has never dialled is to dial it
	ForRelay                       // a link relayed by the go-between
	numPurposes
)

// Result is the answer to a request of this file.
type Result uint8

// The results. None of them is held against the answering peer.
const (
	ResultOK         Result = iota
	ResultBusy              // asked too often, or too much under way
	ResultNoLink            // the answering peer has no direct link to the other
	ResultRefused           // not willing, or blocked
	ResultBadAddress        // no usable address: of the wrong family or scope
	ResultOld               // a newer ADDRESS has been taken
	ResultDiversity         // the address would break the limits the peer was admitted under
	ResultForeign           // another address of the family the peer is connected from
	ResultLinked            // the two are linked, or have been lately
	ResultLost              // RELAY_END: bytes are missing, or too many came
	ResultIdle              // RELAY_END: nothing was sent for long
	NumResults
)

var resultNames = [NumResults]string{
	"ok", "busy", "no_link", "refused", "bad_address", "old", "diversity", "foreign", "linked", "lost", "idle",
}

// String is the name for logs and counters.
func (r Result) String() string {
	if r < NumResults {
		return resultNames[r]
	}
	return "unknown"
}

// Reach are the fields of a Message of this file.
type Reach struct {
	Counter uint64         // ADDRESS: rising on one connection
	Addrs   []table.Addr   // ADDRESS
	Result  Result         // ADDRESS_ACK, ANSWER, RELAY_END
	Seen    netip.AddrPort // ADDRESS_ACK, CALL, ANSWER: invalid when there is none
	Purpose Purpose        // INTRODUCE, CALL
	Peer    table.ID       // INTRODUCE, CALL: the other one
	Channel uint64         // CALL, ANSWER
	Offset  uint32         // RELAY
	Ack     uint32         // RELAY
	Data    []byte         // RELAY
}

var reachNames = [...]string{"ADDRESS", "ADDRESS_ACK", "INTRODUCE", "CALL", "ANSWER", "RELAY", "RELAY_END"}

func reachName(t Type) string {
	if t < Address || t > RelayEnd {
		return "UNKNOWN"
	}
	return reachNames[t-Address]
}

// AppendAddress appends an ADDRESS with the first MaxAddrs of addrs to dst.
func AppendAddress(dst []byte, request, counter uint64, addrs []table.Addr) []byte {
	addrs = addrs[:min(len(addrs), MaxAddrs)]
	dst = binary.BigEndian.AppendUint64(appendHeader(dst, Address, request), counter)
	dst = append(dst, byte(len(addrs)))
	for _, a := range addrs {
		dst = appendAddr(dst, a)
	}
	return dst
}

// AppendAddressAck appends an ADDRESS_ACK to dst.
func AppendAddressAck(dst []byte, request uint64, result Result, seen netip.AddrPort) []byte {
	return appendSeen(append(appendHeader(dst, AddressAck, request), byte(result)), seen)
}

// AppendIntroduce appends an INTRODUCE to dst.
func AppendIntroduce(dst []byte, request uint64, purpose Purpose, target *table.ID) []byte {
	return append(append(appendHeader(dst, Introduce, request), byte(purpose)), target[:]...)
}

// AppendCall appends a CALL to dst.
func AppendCall(dst []byte, request uint64, purpose Purpose, peer *table.ID, channel uint64, seen netip.AddrPort) []byte {
	dst = append(append(appendHeader(dst, Call, request), byte(purpose)), peer[:]...)
	return appendSeen(binary.BigEndian.AppendUint64(dst, channel), seen)
}

// AppendAnswer appends an ANSWER to dst.
func AppendAnswer(dst []byte, request uint64, result Result, channel uint64, seen netip.AddrPort) []byte {
	dst = append(appendHeader(dst, Answer, request), byte(result))
	return appendSeen(binary.BigEndian.AppendUint64(dst, channel), seen)
}

// AppendRelay appends a RELAY with the first MaxRelayData bytes of data to dst.
func AppendRelay(dst []byte, channel uint64, offset, ack uint32, data []byte) []byte {
	dst = binary.BigEndian.AppendUint32(appendHeader(dst, Relay, channel), offset)
	return append(binary.BigEndian.AppendUint32(dst, ack), data[:min(len(data), MaxRelayData)]...)
}

// AppendRelayEnd appends a RELAY_END to dst.
func AppendRelayEnd(dst []byte, channel uint64, why Result) []byte {
	return append(appendHeader(dst, RelayEnd, channel), byte(why))
}

// RelayFields reads a RELAY whose header has been read. data is part of b.
func RelayFields(b []byte) (offset, ack uint32, data []byte, err error) {
	switch {
	case len(b) < RelayHeaderLen:
		return 0, 0, nil, ErrTruncated
	case len(b) > RelayHeaderLen+MaxRelayData:
		return 0, 0, nil, ErrTooLarge
	}
	b = b[HeaderLen:]
	return binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), b[8:], nil
}

func appendSeen(dst []byte, seen netip.AddrPort) []byte {
	if !seen.IsValid() {
		return append(dst, 0)
	}
	return appendAddr(append(dst, 1), table.Addr{AddrPort: table.Canonical(seen), Type: table.Unverified})
}

// reach reads the body of a message of this file; false for another type.
func (r *reader) reach(t Type, m *Reach) bool {
	switch t {
	case Address:
		m.Counter = r.uint64()
		m.Addrs = r.addrs(int(r.byte()))
	case AddressAck:
		m.Result, m.Seen = r.result(), r.seen()
	case Introduce:
		m.Purpose = r.purpose()
		copy(m.Peer[:], r.take(table.IDLen))
	case Call:
		m.Purpose = r.purpose()
		copy(m.Peer[:], r.take(table.IDLen))
		m.Channel, m.Seen = r.uint64(), r.seen()
	case Answer:
		m.Result, m.Channel, m.Seen = r.result(), r.uint64(), r.seen()
	case Relay:
		m.Offset, m.Ack = r.uint32(), r.uint32()
		if r.err == nil && len(r.b) > MaxRelayData {
			r.err = ErrTooLarge
		}
		m.Data = append([]byte(nil), r.take(len(r.b))...)
	case RelayEnd:
		m.Result = r.result()
	default:
		return false
	}
	return true
}

func (r *reader) uint64() uint64 {
	if f := r.take(8); f != nil {
		return binary.BigEndian.Uint64(f)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if f := r.take(4); f != nil {
		return binary.BigEndian.Uint32(f)
	}
	return 0
}

// result takes results of later versions as ResultRefused: none of them is OK.
func (r *reader) result() Result {
	if v := Result(r.byte()); v < NumResults {
		return v
	}
	return ResultRefused
}

func (r *reader) purpose() Purpose {
	p := Purpose(r.byte())
	if r.err == nil && (p == 0 || p >= numPurposes) {
		r.err = ErrBounds
	}
	return p
}

func (r *reader) seen() netip.AddrPort {
	switch r.byte() {
	case 0:
		return netip.AddrPort{}
	case 1:
		return r.addr().AddrPort
	default:
		if r.err == nil {
			r.err = ErrBounds
		}
		return netip.AddrPort{}
	}
}

// addrs reads n addresses, none being allowed.
func (r *reader) addrs(n int) []table.Addr {
	if r.err == nil && n > MaxAddrs {
		r.err = ErrBounds
	}
	if r.err != nil || n == 0 {
		return nil
	}
	out := make([]table.Addr, n)
	for i := range out {
		out[i] = r.addr()
	}
	return out
}
