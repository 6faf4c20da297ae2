package dispatch

import (
	"hash/maphash"
	"net/netip"
)

// SourceKey is the canonical form of a source address, by which shards,
// shares and restrictions go: IPv4 as it is, IPv4 mapped into IPv6 unmapped,
// IPv6 the /64 it is in, since a /64 is what one customer has. Zones are
// dropped.
func SourceKey(a netip.Addr) netip.Addr {
	if a = a.Unmap(); !a.Is6() {
		return a
	}
	b := a.As16()
	clear(b[8:])
	return netip.AddrFrom16(b)
}

// hashSource hashes the canonical form without building it. The hash is keyed
// because the sender picks the address: unkeyed, a stranger could aim at the
// shard of a victim. The two families hash different lengths, so an IPv4
// address and the IPv6 prefix of the same bits do not meet.
func hashSource(seed maphash.Seed, a netip.Addr) uint64 {
	b := a.As16()
	if a.Is4() || a.Is4In6() {
		return maphash.Bytes(seed, b[12:16])
	}
	return maphash.Bytes(seed, b[:8])
}

// shardIndex maps the hash's high half to 0..n-1; the share table uses the
// low half, so that sources of one shard still spread over its slots.
func shardIndex(h uint64, n int) int { return int((h >> 32) * uint64(n) >> 32) }

// shareSlots is the width of a share table's row.
const shareSlots = 128

// shareTable counts what each source has waiting in a lane, in fixed memory:
// two rows of hashed counters, of which the smaller is believed. A source
// shares both its counters with a given other one in 1 of 16,384 cases, and
// since the hash is keyed nobody can arrange it.
type shareTable [2][shareSlots]share

type share struct {
	n     uint32 // messages
	bytes uint32
}

// slots packs a source's two slots into one word, kept with the message.
func slots(h uint64) uint16 { return uint16(h) & (shareSlots<<8 - 1) &^ shareSlots }

func (t *shareTable) pair(s uint16) (a, b *share) {
	return &t[0][s&(shareSlots-1)], &t[1][s>>8&(shareSlots-1)]
}

func (t *shareTable) held(s uint16) (n int, bytes int) {
	a, b := t.pair(s)
	return int(min(a.n, b.n)), int(min(a.bytes, b.bytes))
}

func (t *shareTable) add(s uint16, size int32) {
	a, b := t.pair(s)
	a.n++
	b.n++
	a.bytes += uint32(size)
	b.bytes += uint32(size)
}

func (t *shareTable) remove(s uint16, size int32) {
	a, b := t.pair(s)
	a.n--
	b.n--
	a.bytes -= uint32(size)
	b.bytes -= uint32(size)
}
