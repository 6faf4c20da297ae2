// Package table is the routing table of the DHT: k-buckets of contacts, their
// typed addresses, the admission rules that keep one party from filling it,
// and the touch that proves a contact alive.
//
// The package is passive: it starts no goroutine, reads no clock (methods take
// now, monotonic nanoseconds since any fixed moment, negative allowed) and
// does no I/O. Readers load an immutable snapshot through one atomic pointer
// and take no lock; writers are serialised by a mutex and replace the snapshot.
// Decisions are deterministic: they depend on the contents only, never on map
// order.
package table

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/bits"
)

// IDLen is the length of an ID in bytes.
const IDLen = 32

// NumBuckets is the number of k-buckets: one per bit of an ID.
const NumBuckets = IDLen * 8

// ID names a node: the SHA-256 of its Ed25519 public key (design.md,
// Identity). Its text form is 64 lower-case hexadecimal characters.
type ID [IDLen]byte

// ErrID says that a text is not an ID.
var ErrID = errors.New("table: an id is 64 hexadecimal characters")

// ParseID reads the text form.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*IDLen {
		return ID{}, ErrID
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, ErrID
	}
	return id, nil
}

// String is the text form.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Short is the first eight characters of the text form, for people.
func (id ID) Short() string { return hex.EncodeToString(id[:4]) }

// IsZero reports whether id is all zeros, which names no node.
func (id ID) IsZero() bool { return id == ID{} }

// Distance is the XOR metric, to be read as a big-endian number (spec dht 1.1).
func Distance(a, b ID) ID {
	for i := range a {
		a[i] ^= b[i]
	}
	return a
}

// Closer compares the distances of a and b to target: negative when a is
// closer, zero only when a == b.
func Closer(target, a, b *ID) int {
	for i := 0; i < IDLen; i += 8 {
		t := binary.BigEndian.Uint64(target[i:])
		x := binary.BigEndian.Uint64(a[i:]) ^ t
		y := binary.BigEndian.Uint64(b[i:]) ^ t
		if x < y {
			return -1
		}
		if x > y {
			return 1
		}
	}
	return 0
}

// BucketIndex is the index of the first bit in which id differs from self:
// 0 is the far half of the space, 255 the next neighbour. NumBuckets means
// that they are equal: self has no bucket.
func BucketIndex(self, id *ID) int {
	for i := 0; i < IDLen; i += 8 {
		x := binary.BigEndian.Uint64(self[i:]) ^ binary.BigEndian.Uint64(id[i:])
		if x != 0 {
			return i*8 + bits.LeadingZeros64(x)
		}
	}
	return NumBuckets
}

// headOf returns the 64 bits of id that begin at bit i, zero-filled past the
// end. All ids of bucket i share the bits before i, so comparing heads
// compares the ids except where the heads are equal.
func headOf(id *ID, i int) uint64 {
	w, off := i/64*8, uint(i%64)
	h := binary.BigEndian.Uint64(id[w:]) << off
	if w+8 < IDLen && off > 0 {
		h |= binary.BigEndian.Uint64(id[w+8:]) >> (64 - off)
	}
	return h
}
