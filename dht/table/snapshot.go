package table

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
)

// snapshot is the membership at one moment. It is immutable once published;
// the contacts it points to are shared between snapshots.
//
// There is no hash index beside the buckets: the bucket index is one XOR and a
// count of leading zeros away, and a bucket's heads (64 bits of each id, side
// by side in memory) are scanned faster than 32 bytes are hashed. A write
// copies this array and one bucket, whatever the size of the table.
type snapshot struct {
	buckets [NumBuckets]*bucket // nil: empty
	used    [IDLen / 8]uint64   // bit i, most significant first: bucket i is not empty
	size    int
}

// bucket holds contacts ordered by id.
type bucket struct {
	heads    []uint64 // headOf(contacts[j].id, index)
	contacts []*Contact
}

// find returns the contact named id, nil when there is none.
func (s *snapshot) find(self, id *ID) *Contact {
	i := BucketIndex(self, id)
	if i == NumBuckets {
		return nil
	}
	b := s.buckets[i]
	if b == nil {
		return nil
	}
	h := headOf(id, i)
	for j, x := range b.heads {
		if x == h && b.contacts[j].id == *id {
			return b.contacts[j]
		}
	}
	return nil
}

// contacts returns the members of bucket i.
func (s *snapshot) contacts(i int) []*Contact {
	if b := s.buckets[i]; b != nil {
		return b.contacts
	}
	return nil
}

// all calls f for every contact, bucket by bucket, until f returns false.
func (s *snapshot) all(f func(*Contact) bool) {
	for w := range s.used {
		for m := s.used[w]; m != 0; {
			i := bits.LeadingZeros64(m)
			m &^= 1 << (63 - i)
			for _, c := range s.buckets[w*64+i].contacts {
				if !f(c) {
					return
				}
			}
		}
	}
}

// closest appends the n contacts closest to target to dst, ascending.
//
// Buckets are visited in the order of their distance to target, which is
// exact: let d = self XOR target. A bucket i where d has a 1 is closer than
// every deeper bucket, one where d has a 0 is farther than every deeper one.
// So: the 1-buckets from the far half inwards, then the 0-buckets back out.
// Only contacts of one bucket need sorting among themselves.
func (s *snapshot) closest(dst []*Contact, self, target *ID, n int) []*Contact {
	var keys [MaxK]uint64
	end := len(dst) + n
	var d [IDLen / 8]uint64
	for w := range d {
		d[w] = binary.BigEndian.Uint64(self[w*8:]) ^ binary.BigEndian.Uint64(target[w*8:])
		for m := d[w] & s.used[w]; m != 0 && len(dst) < end; {
			i := bits.LeadingZeros64(m)
			m &^= 1 << (63 - i)
			dst = s.buckets[w*64+i].nearest(dst, &keys, target, w*64+i, end-len(dst))
		}
	}
	for w := len(d) - 1; w >= 0; w-- {
		for m := ^d[w] & s.used[w]; m != 0 && len(dst) < end; {
			i := 63 - bits.TrailingZeros64(m)
			m &= m - 1
			dst = s.buckets[w*64+i].nearest(dst, &keys, target, w*64+i, end-len(dst))
		}
	}
	return dst
}

// nearest appends the limit contacts of bucket i closest to target, ascending:
// an insertion sort that never holds more than limit. keys is scratch.
func (b *bucket) nearest(dst []*Contact, keys *[MaxK]uint64, target *ID, i, limit int) []*Contact {
	th, start := headOf(target, i), len(dst)
	for j, c := range b.contacts {
		key := b.heads[j] ^ th
		m := len(dst) - start
		if m == limit {
			if !before(target, key, c, keys[m-1], dst[start+m-1]) {
				continue
			}
			m--
		} else {
			dst = append(dst, nil)
		}
		for ; m > 0 && before(target, key, c, keys[m-1], dst[start+m-1]); m-- {
			keys[m], dst[start+m] = keys[m-1], dst[start+m-1]
		}
		keys[m], dst[start+m] = key, c
	}
	return dst
}

func before(target *ID, key uint64, c *Contact, key2 uint64, c2 *Contact) bool {
	if key != key2 {
		return key < key2
	}
	return Closer(target, &c.id, &c2.id) < 0
}

// with returns a copy of s without the contacts of drop and with add, which
// may be nil.
func (s *snapshot) with(add *Contact, drop ...*Contact) *snapshot {
	next := *s
	for _, c := range drop {
		old := next.buckets[c.bucket]
		j := slices.Index(old.contacts, c)
		if len(old.contacts) == 1 {
			next.buckets[c.bucket] = nil
			next.used[c.bucket/64] &^= 1 << (63 - c.bucket%64)
		} else {
			next.buckets[c.bucket] = &bucket{
				slices.Concat(old.heads[:j], old.heads[j+1:]),
				slices.Concat(old.contacts[:j], old.contacts[j+1:]),
			}
		}
		next.size--
	}
	if add == nil {
		return &next
	}
	old := next.buckets[add.bucket]
	if old == nil {
		old = &bucket{}
	}
	j, _ := slices.BinarySearchFunc(old.contacts, add, func(a, b *Contact) int {
		return bytes.Compare(a.id[:], b.id[:])
	})
	next.buckets[add.bucket] = &bucket{
		slices.Concat(old.heads[:j], []uint64{headOf(&add.id, add.bucket)}, old.heads[j:]),
		slices.Concat(old.contacts[:j], []*Contact{add}, old.contacts[j:]),
	}
	next.used[add.bucket/64] |= 1 << (63 - add.bucket%64)
	next.size++
	return &next
}
