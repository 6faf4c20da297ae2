// Package record is what the DHT stores: small signed statements of a relay
// about itself, which expire. There are two kinds: "I serve this room" and
// "this fingerprint is registered with me". A record is a claim of its
// publisher, no more: that it names a relay which is there is proven by
// connecting to the relay under the TLS fingerprint in it, and whether it
// serves the room, or has the user, is for that relay to show.
//
//	version u8 | kind u8 | key [32] | public key [32] | sequence u64
//	issued u64, milliseconds since 1970 | ttl u16, seconds
//	TLS fingerprint [32] | identity fingerprint [16]
//	count u8 | count x address | signature [64]
//	address    4 or 6 u8 | ip [4] or [16] | port u16
//
// All integers are big-endian. The encoding is canonical: a record has one
// form, and a form that decodes encodes to itself. The signature is Ed25519
// over a tag, which names the use and the version, and everything before it.
// A record without addresses is a withdrawal.
//
// Times are wall clock, since they have to mean the same on other machines,
// and bounded both ways: a record lives MaxTTL at most, and one issued more
// than MaxSkew in the future is refused (reliability.md D6).
package record

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"time"

	"signalbox/dht/table"
)

// Version is the first byte of every record.
const Version = 1

// Bounds.
const (
	MaxAddrs = 8
	MaxTTL   = time.Hour
	MaxSkew  = 5 * time.Minute

	fixedLen  = 1 + 1 + table.IDLen + ed25519.PublicKeySize + 8 + 8 + 2 + 32 + 16 + 1
	addrLen6  = 1 + 16 + 2
	MaxLen    = fixedLen + MaxAddrs*addrLen6 + ed25519.SignatureSize // 349 bytes
	minLen    = fixedLen + ed25519.SignatureSize
	maxIssued = 1 << 47 // milliseconds; far beyond any date, and safe to add to
)

// signTag separates these signatures from everything else the key signs.
const signTag = "signalbox dht record, version 1\x00"

// Kind says what a record's key names.
type Kind uint8

// The kinds. Numbers are never given another meaning.
const (
	Room     Kind = 1 + iota // key is a RoomKey: the publisher serves the room
	Presence                 // key is a PresenceKey: the fingerprint is registered with the publisher
	endKinds
)

// String is the name shown in snapshots.
func (k Kind) String() string {
	switch k {
	case Room:
		return "room"
	case Presence:
		return "presence"
	default:
		return "unknown"
	}
}

// Errors of Decode and Check.
var (
	ErrMalformed = errors.New("record: malformed")
	ErrVersion   = errors.New("record: unknown version")
	ErrKind      = errors.New("record: unknown kind")
	ErrTTL       = errors.New("record: lifetime out of bounds")
	ErrAddress   = errors.New("record: invalid address")
	ErrExpired   = errors.New("record: expired")
	ErrFuture    = errors.New("record: issued in the future")
	ErrSignature = errors.New("record: wrong signature")
)

// Record is one statement. Its publisher is the node whose id is the SHA-256
// of Public: nobody else can have signed it.
type Record struct {
	Kind     Kind
	Key      table.ID
	Public   [ed25519.PublicKeySize]byte
	Sequence uint64 // of one publisher and key, the greatest holds
	Issued   time.Time
	TTL      time.Duration // whole seconds
	TLS      [32]byte      // SHA-256 of the relay's certificate
	Identity [16]byte      // the relay's identity fingerprint
	Addrs    []netip.AddrPort
}

// Signed is a record with its encoding, as it travels. It is not modified.
type Signed struct {
	Record
	Raw []byte
	// By is the publisher's id.
	By table.ID
}

// RoomKey is the key of a global room, by its canonical name.
func RoomKey(name string) table.ID { return keyOf("signalbox dht room\x00", name) }

// PresenceKey is the key of a user's fingerprint, in any of its spellings.
func PresenceKey(fp string) table.ID {
	return keyOf("signalbox dht presence\x00", strings.ToLower(strings.ReplaceAll(fp, ":", "")))
}

func keyOf(tag, name string) table.ID { return sha256.Sum256([]byte(tag + name)) }

// PublisherID is the id of the node that holds a key.
func PublisherID(public []byte) table.ID { return sha256.Sum256(public) }

// Withdrawn reports whether the publisher takes back what it said before.
func (r *Record) Withdrawn() bool { return len(r.Addrs) == 0 }

// Expires is when the record ends.
func (r *Record) Expires() time.Time { return r.Issued.Add(r.TTL) }

// Fresh checks the times against now.
func (r *Record) Fresh(now time.Time) error {
	switch {
	case r.Issued.After(now.Add(MaxSkew)):
		return ErrFuture
	case !now.Before(r.Expires()):
		return ErrExpired
	}
	return nil
}

// Sign encodes r as a statement of key's owner. Public is filled in, the times
// are cut to what the encoding can carry. An error says which field is out of
// bounds.
func Sign(r Record, key ed25519.PrivateKey) (*Signed, error) {
	copy(r.Public[:], key.Public().(ed25519.PublicKey)) // the method's documented type
	r.Issued, r.TTL = time.UnixMilli(r.Issued.UnixMilli()), r.TTL.Truncate(time.Second)
	if err := r.check(); err != nil {
		return nil, err
	}
	raw := r.appendTo(make([]byte, 0, MaxLen))
	raw = append(raw, ed25519.Sign(key, tagged(raw))...)
	return &Signed{Record: r, Raw: raw, By: PublisherID(r.Public[:])}, nil
}

// Verify checks the signature of what Decode has read.
func (s *Signed) Verify() error {
	body := len(s.Raw) - ed25519.SignatureSize
	if !ed25519.Verify(s.Public[:], tagged(s.Raw[:body]), s.Raw[body:]) {
		return ErrSignature
	}
	return nil
}

func tagged(body []byte) []byte {
	return append(append(make([]byte, 0, len(signTag)+MaxLen), signTag...), body...)
}

// check applies the bounds that hold whatever the time.
func (r *Record) check() error {
	switch ms := r.Issued.UnixMilli(); {
	case r.Kind == 0 || r.Kind >= endKinds:
		return ErrKind
	case r.TTL < time.Second || r.TTL > MaxTTL, ms < 0, ms > maxIssued:
		return ErrTTL
	case len(r.Addrs) > MaxAddrs:
		return ErrAddress
	}
	for _, a := range r.Addrs {
		if !a.IsValid() || a != table.Canonical(a) || !table.Storable(a) {
			return ErrAddress
		}
	}
	return nil
}

func (r *Record) appendTo(b []byte) []byte {
	b = append(b, Version, byte(r.Kind))
	b = append(append(b, r.Key[:]...), r.Public[:]...)
	b = binary.BigEndian.AppendUint64(b, r.Sequence)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Issued.UnixMilli()))
	b = binary.BigEndian.AppendUint16(b, uint16(r.TTL/time.Second))
	b = append(append(b, r.TLS[:]...), r.Identity[:]...)
	b = append(b, byte(len(r.Addrs)))
	for _, a := range r.Addrs {
		b = appendAddr(b, a)
	}
	return b
}

func appendAddr(b []byte, a netip.AddrPort) []byte {
	if ip := a.Addr(); ip.Is4() {
		raw := ip.As4()
		b = append(append(b, 4), raw[:]...)
	} else {
		raw := ip.As16()
		b = append(append(b, 6), raw[:]...)
	}
	return binary.BigEndian.AppendUint16(b, a.Port())
}

// Decode reads a record and keeps a copy of b. Neither the signature nor the
// times are checked: see Verify and Fresh.
func Decode(b []byte) (*Signed, error) {
	switch {
	case len(b) < minLen || len(b) > MaxLen:
		return nil, ErrMalformed
	case b[0] != Version:
		return nil, ErrVersion
	}
	s := &Signed{Raw: append([]byte(nil), b...)}
	s.Kind = Kind(b[1])
	b = b[2:]
	take := func(dst []byte) { b = b[copy(dst, b):] } // minLen covers all of them
	take(s.Key[:])
	take(s.Public[:])
	s.Sequence = binary.BigEndian.Uint64(b)
	issued := binary.BigEndian.Uint64(b[8:])
	s.TTL = time.Duration(binary.BigEndian.Uint16(b[16:])) * time.Second
	b = b[18:]
	take(s.TLS[:])
	take(s.Identity[:])
	count := int(b[0])
	b = b[1 : len(b)-ed25519.SignatureSize]
	if issued > maxIssued {
		return nil, ErrTTL
	}
	if count > MaxAddrs {
		return nil, ErrAddress
	}
	s.Issued = time.UnixMilli(int64(issued))
	for range count {
		a, n := readAddr(b)
		if n == 0 {
			return nil, ErrAddress
		}
		s.Addrs, b = append(s.Addrs, a), b[n:]
	}
	if len(b) > 0 {
		return nil, ErrMalformed
	}
	s.By = PublisherID(s.Public[:])
	return s, s.check()
}

// readAddr reads one address and its length; 0 when there is none.
func readAddr(b []byte) (netip.AddrPort, int) {
	if len(b) == 0 {
		return netip.AddrPort{}, 0
	}
	n := 0
	switch b[0] {
	case 4:
		n = 4
	case 6:
		n = 16
	default:
		return netip.AddrPort{}, 0
	}
	if len(b) < 1+n+2 {
		return netip.AddrPort{}, 0
	}
	ip, _ := netip.AddrFromSlice(b[1 : 1+n])
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[1+n:])), 1 + n + 2
}
