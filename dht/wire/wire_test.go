package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"signalbox/dht/table"
)

func addr(s string, typ table.AddrType) table.Addr {
	return table.Addr{AddrPort: netip.MustParseAddrPort(s), Type: typ}
}

func nodes(req uint64, list ...Node) []byte {
	w := BeginNodes(nil, req)
	for _, n := range list {
		w.Add(&n.ID, n.Addrs, nil)
	}
	return w.Bytes()
}

func TestRoundTrip(t *testing.T) {
	id := table.ID{1, 2, 3}
	many := Node{ID: table.ID{9}}
	for range MaxAddrs {
		many.Addrs = append(many.Addrs, addr("[2001:db8::1]:65535", table.Relay))
	}
	var full []Node
	for range MaxContacts {
		full = append(full, many)
	}
	tests := []struct {
		name  string
		bytes []byte
		want  Message
		reply bool
	}{
		{"ping", AppendPing(nil, 7), Message{Type: Ping, Request: 7}, false},
		{"pong", AppendPong(nil, 1<<63), Message{Type: Pong, Request: 1 << 63}, true},
		{"find", AppendFindNode(nil, 7, &id), Message{Type: FindNode, Request: 7, Target: id}, false},
		{"no nodes", nodes(7), Message{Type: Nodes, Request: 7, Nodes: []Node{}}, true},
		{
			"nodes", nodes(7, Node{id, []table.Addr{addr("1.2.3.4:5", table.Direct), addr("[::1]:6", table.Lan)}}, many),
			Message{Type: Nodes, Request: 7, Nodes: []Node{{id, []table.Addr{addr("1.2.3.4:5", table.Direct), addr("[::1]:6", table.Lan)}}, many}},
			true,
		},
		{"largest", nodes(7, full...), Message{Type: Nodes, Request: 7, Nodes: full}, true},
		{"error", AppendError(nil, 7, CodeBusy, "wait"), Message{Type: Error, Request: 7, Code: CodeBusy, Text: "wait"}, true},
		{"error, hostile text", AppendError(nil, 7, CodeBusy, "a\x1b[2Jb\u202e"), Message{Type: Error, Request: 7, Code: CodeBusy, Text: "a?[2Jb?"}, true},
		{"error, long text", AppendError(nil, 7, CodeBusy, strings.Repeat("x", 999)), Message{Type: Error, Request: 7, Code: CodeBusy, Text: strings.Repeat("x", MaxText)}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m Message
			if err := Decode(tt.bytes, &m); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(m, tt.want) {
				t.Errorf("got %+v, want %+v", m, tt.want)
			}
			if IsReply(tt.bytes) != tt.reply {
				t.Error("misclassified")
			}
			for i := range tt.bytes { // every prefix is refused, none panics
				if err := Decode(tt.bytes[:i], &m); err == nil {
					t.Fatalf("the first %d bytes decode", i)
				}
			}
			if len(tt.bytes) < MaxMessage {
				if err := Decode(append(bytes.Clone(tt.bytes), 0), &m); !errors.Is(err, ErrTrailing) {
					t.Errorf("with a byte more: %v", err)
				}
			}
		})
	}
	if n := len(tests[5].bytes); n != MaxNodesMessage {
		t.Errorf("the largest message has %d bytes, MaxNodesMessage is %d", n, MaxNodesMessage)
	}
}

func TestRefused(t *testing.T) {
	head := func(t Type, body ...byte) []byte { return append(appendHeader(nil, t, 1), body...) }
	id := make([]byte, table.IDLen)
	one := func(rest ...byte) []byte { return append(head(Nodes, 1), append(bytes.Clone(id), rest...)...) }
	mapped := append([]byte{byte(table.Direct) | ipv6Flag}, make([]byte, 18)...)
	mapped[11], mapped[12] = 0xff, 0xff
	for name, tt := range map[string]struct {
		b    []byte
		want error
	}{
		"empty":             {nil, ErrTruncated},
		"oversize":          {make([]byte, MaxMessage+1), ErrTooLarge},
		"version":           {append([]byte{2}, head(Ping)[1:]...), ErrVersion},
		"type 0":            {head(0), ErrType},
		"type 99":           {head(99), ErrType},
		"too many contacts": {append(head(Nodes, MaxContacts+1), make([]byte, 2000)...), ErrBounds},
		"count without end": {head(Nodes, MaxContacts), ErrTruncated},
		"no address":        {one(0), ErrBounds},
		"too many addrs":    {one(MaxAddrs + 1), ErrBounds},
		"address type":      {one(1, byte(table.NumAddrTypes), 1, 2, 3, 4, 0, 1), ErrAddress},
		"mapped address":    {one(append([]byte{1}, mapped...)...), ErrAddress},
		"text length":       {append(head(Error, 1, 255), make([]byte, 255)...), ErrBounds},
	} {
		var m Message
		if err := Decode(tt.b, &m); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

func TestNodesWriterIsBounded(t *testing.T) {
	w := BeginNodes(nil, 1)
	a := []table.Addr{addr("1.2.3.4:5", table.Direct)}
	id := table.ID{1}
	if w.Add(&id, nil, nil) || w.Add(&id, a, func(table.Addr) bool { return false }) || w.Len() != 0 {
		t.Error("a contact without address was added")
	}
	for range MaxContacts {
		w.Add(&id, a, nil)
	}
	if w.Add(&id, a, nil) || w.Len() != MaxContacts {
		t.Error("not bounded")
	}
}

// FuzzDecode: nothing panics, and what decodes encodes to the same bytes, but
// for the text of an ERROR, which is cleaned.
func FuzzDecode(f *testing.F) {
	id := table.ID{1}
	f.Add(AppendPing(nil, 1))
	f.Add(AppendFindNode(nil, 1, &id))
	f.Add(AppendError(nil, 1, CodeBusy, "x"))
	f.Add(nodes(1, Node{id, []table.Addr{addr("1.2.3.4:5", table.Direct), addr("[2001:db8::1]:6", table.Relay)}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Message
		if Decode(b, &m) != nil {
			return
		}
		var again []byte
		switch m.Type {
		case Ping:
			again = AppendPing(nil, m.Request)
		case Pong:
			again = AppendPong(nil, m.Request)
		case FindNode:
			again = AppendFindNode(nil, m.Request, &m.Target)
		case Nodes:
			again = nodes(m.Request, m.Nodes...)
		default: // Error is not canonical; FuzzReach and FuzzDecodeRecords have the others
			return
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}
