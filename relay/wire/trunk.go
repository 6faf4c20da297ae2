package wire

import (
	"encoding/binary"
	"errors"
	"math"
)

// Errors of trunk frames.
var (
	ErrTrunkShort = errors.New("wire: trunk frame is truncated")
	ErrTrunkLarge = errors.New("wire: trunk entry or count does not fit its 16 bits")
)

const (
	trunkCountSize = 2
	trunkEntrySize = 4 // session id and length, before the payload
)

// TrunkEntry is one media packet inside a trunk frame (2.4).
type TrunkEntry struct {
	Session [2]byte // first bytes of the sender's session id
	Payload []byte  // a complete media packet, not checked
}

// TrunkSize is how many bytes a trunk frame of these entries takes.
func TrunkSize(entries []TrunkEntry) int {
	n := trunkCountSize
	for _, e := range entries {
		n += trunkEntrySize + len(e.Payload)
	}
	return n
}

// AppendTrunk appends a trunk frame (2.4). On an error dst is returned as it
// was.
func AppendTrunk(dst []byte, entries []TrunkEntry) ([]byte, error) {
	if len(entries) > math.MaxUint16 {
		return dst, ErrTrunkLarge
	}
	for _, e := range entries {
		if len(e.Payload) > math.MaxUint16 {
			return dst, ErrTrunkLarge
		}
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(entries)))
	for _, e := range entries {
		dst = append(dst, e.Session[0], e.Session[1])
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(e.Payload)))
		dst = append(dst, e.Payload...)
	}
	return dst, nil
}

// DecodeTrunk appends the entries of frame to dst, which a caller reuses to
// allocate nothing. Payloads alias frame. Bytes after the last entry are
// ignored; a truncated frame yields nothing (2.4).
func DecodeTrunk(dst []TrunkEntry, frame []byte) ([]TrunkEntry, error) {
	if len(frame) < trunkCountSize {
		return dst, ErrTrunkShort
	}
	count := int(binary.BigEndian.Uint16(frame))
	rest := frame[trunkCountSize:]
	if count*trunkEntrySize > len(rest) { // before anything grows for a count that is a lie
		return dst, ErrTrunkShort
	}
	was := len(dst)
	for range count {
		if len(rest) < trunkEntrySize {
			return dst[:was], ErrTrunkShort
		}
		n := int(binary.BigEndian.Uint16(rest[2:]))
		e := TrunkEntry{Session: [2]byte(rest)}
		rest = rest[trunkEntrySize:]
		if len(rest) < n {
			return dst[:was], ErrTrunkShort
		}
		e.Payload, rest = rest[:n:n], rest[n:]
		dst = append(dst, e)
	}
	return dst, nil
}
