// Package wire is the DHT's message format: messages in a compact, versioned
// binary form whose every length is bounded before anything is allocated for
// it. Messages carry no sender and no signature: the connection has
// authenticated the peer (design.md, Identity).
//
//	header     version u8 | type u8 | request id u64
//	PING       header
//	PONG       header
//	FIND_NODE  header | target [32]
//	NODES      header | count u8 | count x (id [32] | n u8 | n x address)
//	ERROR      header | code u8 | length u8 | text
//	address    type u8, 0x80 set for IPv6 | ip [4] or [16] | port u16
//
// The messages of records are in records.go, those of reachability in reach.go.
// All integers are big-endian. Nothing may follow the last field.
package wire

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"unicode/utf8"

	"signalbox/dht/table"
)

// Version is the first byte of every message; another one is refused.
const Version = 1

// Bounds (reliability.md D3). A peer that exceeds one has sent a malformed
// message.
const (
	HeaderLen   = 10
	MaxContacts = 20             // contacts in one NODES
	MaxAddrs    = table.MaxAddrs // addresses of one contact
	MaxText     = 128            // bytes of an ERROR's text
	addrLen6    = 1 + 16 + 2

	// MaxNodesMessage bounds every message but VALUES; MaxMessage bounds that.
	MaxNodesMessage = HeaderLen + 1 + MaxContacts*(table.IDLen+1+MaxAddrs*addrLen6)
)

const ipv6Flag = 0x80

// Type is the kind of a message.
type Type uint8

// The messages. Numbers are never given another meaning.
const (
	Ping Type = 1 + iota
	Pong
	FindNode
	Nodes
	Error
)

// String is the name for logs.
func (t Type) String() string {
	switch t {
	case Ping:
		return "PING"
	case Pong:
		return "PONG"
	case FindNode:
		return "FIND_NODE"
	case Nodes:
		return "NODES"
	case Error:
		return "ERROR"
	default:
		if t >= Address {
			return reachName(t)
		}
		return recordName(t)
	}
}

// IsReply reports whether messages of type t answer a request.
func (t Type) IsReply() bool {
	return t == Pong || t == Nodes || t == Error || t == Stored || t == Values || t == AddressAck || t == Answer
}

// Code says why a request was refused.
type Code uint8

// The refusals. None of them is held against the refusing peer.
const (
	CodeBusy        Code = 1 + iota // the request quota of the link is used up
	CodeUnsupported                 // the message type is not known here
)

// Errors of Decode.
var (
	ErrTooLarge  = errors.New("wire: message too large")
	ErrTruncated = errors.New("wire: message truncated")
	ErrVersion   = errors.New("wire: unknown version")
	ErrType      = errors.New("wire: unknown message type")
	ErrBounds    = errors.New("wire: count out of bounds")
	ErrAddress   = errors.New("wire: invalid address")
	ErrTrailing  = errors.New("wire: bytes after the message")
)

// Node is one contact in a NODES message: hearsay, until connected to.
type Node struct {
	ID    table.ID
	Addrs []table.Addr
}

// Message is a decoded message; which fields count depends on Type.
type Message struct {
	Type    Type
	Request uint64   // chosen by the requester, echoed by the reply
	Target  table.ID // FIND_NODE, GET: the key
	Nodes   []Node   // NODES, VALUES
	Record  []byte   // STORE
	Values  [][]byte // VALUES
	Code    Code     // ERROR
	Text    string   // ERROR, printable ASCII
	Reach            // ADDRESS to RELAY_END
}

// Header reads the version, type and request id only.
func Header(b []byte) (Type, uint64, error) {
	switch {
	case len(b) > MaxMessage:
		return 0, 0, ErrTooLarge
	case len(b) < HeaderLen:
		return 0, 0, ErrTruncated
	case b[0] != Version:
		return 0, 0, ErrVersion
	}
	return Type(b[1]), binary.BigEndian.Uint64(b[2:]), nil
}

// IsReply says of an undecoded payload whether it answers a request.
func IsReply(b []byte) bool {
	return len(b) >= HeaderLen && b[0] == Version && Type(b[1]).IsReply()
}

// IsControl says of an undecoded payload whether it travels in the control lane:
// what we have asked for and who is where, so that a flood of requests starves
// neither answers nor announces (spec dht 12.1 D).
func IsControl(b []byte) bool {
	return IsReply(b) || len(b) >= HeaderLen && b[0] == Version && Type(b[1]) == Address
}

func appendHeader(dst []byte, t Type, request uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, Version, byte(t)), request)
}

// AppendPing appends a PING to dst.
func AppendPing(dst []byte, request uint64) []byte { return appendHeader(dst, Ping, request) }

// AppendPong appends a PONG to dst.
func AppendPong(dst []byte, request uint64) []byte { return appendHeader(dst, Pong, request) }

// AppendFindNode appends a FIND_NODE to dst.
func AppendFindNode(dst []byte, request uint64, target *table.ID) []byte {
	return append(appendHeader(dst, FindNode, request), target[:]...)
}

// AppendError appends an ERROR to dst; text is cut to MaxText bytes.
func AppendError(dst []byte, request uint64, code Code, text string) []byte {
	text = text[:min(len(text), MaxText)]
	dst = append(appendHeader(dst, Error, request), byte(code), byte(len(text)))
	return append(dst, text...)
}

// NodesWriter builds a NODES message contact by contact without allocating.
type NodesWriter struct {
	buf     []byte
	countAt int
}

// BeginNodes appends the start of a NODES message to dst.
func BeginNodes(dst []byte, request uint64) NodesWriter {
	dst = append(appendHeader(dst, Nodes, request), 0)
	return NodesWriter{dst, len(dst) - 1}
}

// Add appends one contact with those of its addresses for which keep is nil or
// true, the first MaxAddrs of them. It is false, and nothing is added, when
// the message is full or no address is left.
func (w *NodesWriter) Add(id *table.ID, addrs []table.Addr, keep func(table.Addr) bool) bool {
	if w.buf[w.countAt] >= MaxContacts {
		return false
	}
	start := len(w.buf)
	w.buf = append(append(w.buf, id[:]...), 0)
	n := 0
	for _, a := range addrs {
		if n == MaxAddrs {
			break
		}
		if keep == nil || keep(a) {
			w.buf = appendAddr(w.buf, a)
			n++
		}
	}
	if n == 0 {
		w.buf = w.buf[:start]
		return false
	}
	w.buf[start+table.IDLen] = byte(n)
	w.buf[w.countAt]++
	return true
}

// Len is the number of contacts added so far.
func (w *NodesWriter) Len() int { return int(w.buf[w.countAt]) }

// Bytes is the message.
func (w *NodesWriter) Bytes() []byte { return w.buf }

func appendAddr(dst []byte, a table.Addr) []byte {
	ip := a.AddrPort.Addr().Unmap()
	if ip.Is4() {
		b := ip.As4()
		dst = append(append(dst, byte(a.Type)), b[:]...)
	} else {
		b := ip.As16()
		dst = append(append(dst, byte(a.Type)|ipv6Flag), b[:]...)
	}
	return binary.BigEndian.AppendUint16(dst, a.AddrPort.Port())
}

// Decode reads b into m. m keeps no part of b. Addresses come out canonical;
// whether they are worth dialling is not checked here.
func Decode(b []byte, m *Message) error {
	t, req, err := Header(b)
	if err != nil {
		return err
	}
	*m = Message{Type: t, Request: req}
	r := reader{b: b[HeaderLen:]}
	switch t {
	case Ping, Pong:
	case FindNode:
		copy(m.Target[:], r.take(table.IDLen))
	case Nodes:
		m.Nodes = r.nodes()
	case Error:
		m.Code = Code(r.byte())
		n := int(r.byte())
		if n > MaxText {
			return ErrBounds
		}
		m.Text = printable(r.take(n))
	default:
		if !r.records(t, m) && !r.reach(t, &m.Reach) {
			return ErrType
		}
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = ErrTrailing
	}
	return r.err
}

// printable replaces whatever could steer a terminal.
func printable(b []byte) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= utf8.RuneSelf-1 {
			return '?'
		}
		return c
	}, string(b))
}

// reader takes fields off the front of b; after the first failure it yields
// zeros and keeps the error.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if len(r.b) < n {
		r.err = ErrTruncated
		return nil
	}
	f := r.b[:n]
	r.b = r.b[n:]
	return f
}

func (r *reader) byte() byte {
	if f := r.take(1); f != nil {
		return f[0]
	}
	return 0
}

func (r *reader) nodes() []Node {
	count := int(r.byte())
	if count > MaxContacts {
		r.err = ErrBounds
	}
	if r.err != nil || len(r.b) < count*(table.IDLen+1) {
		r.err = cmp.Or(r.err, ErrTruncated)
		return nil
	}
	out := make([]Node, count)
	for i := range out {
		copy(out[i].ID[:], r.take(table.IDLen))
		n := int(r.byte())
		if r.err == nil && (n == 0 || n > MaxAddrs) {
			r.err = ErrBounds
		}
		if r.err != nil {
			return nil
		}
		out[i].Addrs = make([]table.Addr, n)
		for j := range out[i].Addrs {
			out[i].Addrs[j] = r.addr()
		}
	}
	return out
}

func (r *reader) addr() table.Addr {
	t := r.byte()
	n := 4
	if t&ipv6Flag != 0 {
		n = 16
	}
	raw, port := r.take(n), r.take(2)
	if r.err != nil {
		return table.Addr{}
	}
	ip, _ := netip.AddrFromSlice(raw)
	typ := table.AddrType(t &^ ipv6Flag)
	if typ >= table.NumAddrTypes || ip.Is4In6() { // one address has one form
		r.err = ErrAddress
		return table.Addr{}
	}
	return table.Addr{AddrPort: netip.AddrPortFrom(ip, binary.BigEndian.Uint16(port)), Type: typ}
}
