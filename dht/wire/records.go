package wire

import (
	"cmp"
	"encoding/binary"

	"signalbox/dht/record"
	"signalbox/dht/table"
)

// The messages of records (package record). A record travels as its signed
// encoding and is judged by whoever takes it; here it is bytes of bounded
// length.
//
//	STORE   header | record
//	STORED  header
//	GET     header | key [32]
//	VALUES  header | count u8 | count x record | the contacts, as in NODES
//	record  length u16 | bytes
//
// VALUES carries contacts beside the records, so that a lookup that has found
// some can go on to peers closer to the key.
const (
	Store Type = 6 + iota
	Stored
	Get
	Values
)

// Bounds of the records in one message.
const (
	MaxValues  = record.MaxPerKey
	valuesLen  = 1 + MaxValues*(2+record.MaxLen)
	MaxMessage = MaxNodesMessage + valuesLen // VALUES is the longest
)

// The refusals of a STORE.
const (
	CodeNotPublisher Code = 16 + iota // a record is taken over its publisher's own link only
	CodeInvalid                       // malformed, or the signature is wrong
	CodeStale                         // a newer record of the publisher is here
	CodeClock                         // expired, or issued in the future, by our clock
	CodeFull                          // the key, its network, or the sender's share is full
	CodeFar                           // many peers are closer to the key than we
	CodeNotKept                       // this node keeps no records of others
)

// AppendStore appends a STORE to dst.
func AppendStore(dst []byte, request uint64, rec []byte) []byte {
	return appendRecord(appendHeader(dst, Store, request), rec)
}

// AppendStored appends a STORED to dst.
func AppendStored(dst []byte, request uint64) []byte { return appendHeader(dst, Stored, request) }

// AppendGet appends a GET to dst.
func AppendGet(dst []byte, request uint64, key *table.ID) []byte {
	return append(appendHeader(dst, Get, request), key[:]...)
}

// BeginValues appends the start of a VALUES with the first MaxValues of recs
// to dst; the contacts follow through the writer.
func BeginValues(dst []byte, request uint64, recs [][]byte) NodesWriter {
	recs = recs[:min(len(recs), MaxValues)]
	dst = append(appendHeader(dst, Values, request), byte(len(recs)))
	for _, r := range recs {
		dst = appendRecord(dst, r)
	}
	dst = append(dst, 0)
	return NodesWriter{dst, len(dst) - 1}
}

func appendRecord(dst, rec []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(rec))), rec...)
}

// recordName is the name of a type of this file.
func recordName(t Type) string {
	switch t {
	case Store:
		return "STORE"
	case Stored:
		return "STORED"
	case Get:
		return "GET"
	case Values:
		return "VALUES"
	default:
		return "UNKNOWN"
	}
}

// records reads the body of a message of this file; false for another type.
func (r *reader) records(t Type, m *Message) bool {
	switch t {
	case Store:
		m.Record = r.record()
	case Stored:
	case Get:
		copy(m.Target[:], r.take(table.IDLen))
	case Values:
		m.Values = r.values()
		m.Nodes = r.nodes()
	default:
		return false
	}
	return true
}

// record reads one record into memory of its own.
func (r *reader) record() []byte {
	var n int
	if f := r.take(2); f != nil {
		n = int(binary.BigEndian.Uint16(f))
	}
	if r.err == nil && (n == 0 || n > record.MaxLen) {
		r.err = ErrBounds
	}
	return append([]byte(nil), r.take(n)...)
}

func (r *reader) values() [][]byte {
	count := int(r.byte())
	if count > MaxValues {
		r.err = cmp.Or(r.err, ErrBounds)
	}
	if r.err != nil || len(r.b) < count*3 {
		r.err = cmp.Or(r.err, ErrTruncated)
		return nil
	}
	out := make([][]byte, count)
	for i := range out {
		if out[i] = r.record(); r.err != nil {
			return nil
		}
	}
	return out
}
