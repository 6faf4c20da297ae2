package wire

import (
	"crypto/sha256"
	"encoding/hex"
)

// RoomHashSize is the length of the tag before a federated media packet.
const RoomHashSize = 8

// RoomHash is the tag of a room's media between relays (2.5): the first 8
// bytes of SHA-256 of the canonical name.
func RoomHash(name string) [RoomHashSize]byte {
	sum := sha256.Sum256([]byte(name))
	return [RoomHashSize]byte(sum[:])
}

// HashRoomName is the name under which the browser bridge joins a room (1.3):
// 32 lower-case hex digits.
func HashRoomName(name string) string {
	sum := sha256.Sum256([]byte("featherchat-group:" + name))
	return hex.EncodeToString(sum[:16])
}

// AppendFederated appends a federation datagram: the room's tag and a media
// packet, which is not looked at (2.5).
func AppendFederated(dst []byte, room [RoomHashSize]byte, pkt []byte) []byte {
	dst = append(dst, room[:]...)
	return append(dst, pkt...)
}

// ParseFederated splits a federation datagram and parses its media packet. The
// packet's raw bytes are b[RoomHashSize:]; errors are those of Parse (2.5).
func ParseFederated(b []byte) (room [RoomHashSize]byte, p Packet, err error) {
	if len(b) < RoomHashSize {
		return room, Packet{}, ErrShort
	}
	p, err = Parse(b[RoomHashSize:])
	if err != nil {
		return room, Packet{}, err
	}
	return [RoomHashSize]byte(b), p, nil
}

// Between signalboxes a federation datagram may begin with a tag that is no
// room's. The sender knows that the receiver reads these.
const (
	TagTrunk = ^uint64(0)     // a trunk frame of federation datagrams follows (2.4)
	TagTrace = ^uint64(0) - 1 // four bytes of a trace id and one federation datagram follow
)
