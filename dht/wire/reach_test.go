package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"testing"

	"signalbox/dht/table"
)

func reachVectors() []struct {
	name  string
	bytes []byte
	hex   string // of the whole message; empty: too long to write down
	want  Message
} {
	id := table.ID{1, 2, 3}
	idHex := "010203" + "0000000000000000000000000000000000000000000000000000000000"
	v4, v6 := netip.MustParseAddrPort("1.2.3.4:5"), netip.MustParseAddrPort("[2001:db8::1]:6")
	addrs := []table.Addr{{AddrPort: v4, Type: table.Direct}, {AddrPort: v6, Type: table.Unverified}}
	var full []table.Addr
	for range MaxAddrs {
		full = append(full, addr("[2001:db8::1]:65535", table.Lan))
	}
	return []struct {
		name  string
		bytes []byte
		hex   string
		want  Message
	}{
		{
			"address", AppendAddress(nil, 7, 9, addrs),
			"010a" + "0000000000000007" + "0000000000000009" + "02" + "01010203040005" + "8220010db80000000000000000000000010006",
			Message{Type: Address, Request: 7, Reach: Reach{Counter: 9, Addrs: addrs}},
		},
		{
			"no address", AppendAddress(nil, 7, 1, nil), "010a" + "0000000000000007" + "0000000000000001" + "00",
			Message{Type: Address, Request: 7, Reach: Reach{Counter: 1}},
		},
		{"largest address", AppendAddress(nil, 7, 1, append(full, full...)), "", Message{Type: Address, Request: 7, Reach: Reach{Counter: 1, Addrs: full}}},
		{
			"ack", AppendAddressAck(nil, 7, ResultForeign, v4), "010b" + "0000000000000007" + "07" + "01" + "02010203040005",
			Message{Type: AddressAck, Request: 7, Reach: Reach{Result: ResultForeign, Seen: v4}},
		},
		{
			"introduce", AppendIntroduce(nil, 7, ForPunch, &id), "010c" + "0000000000000007" + "01" + idHex,
			Message{Type: Introduce, Request: 7, Reach: Reach{Purpose: ForPunch, Peer: id}},
		},
		{
			"call", AppendCall(nil, 7, ForRelay, &id, 8, netip.AddrPort{}), "010d" + "0000000000000007" + "03" + idHex + "0000000000000008" + "00",
			Message{Type: Call, Request: 7, Reach: Reach{Purpose: ForRelay, Peer: id, Channel: 8}},
		},
		{
			"call, mapped address", AppendCall(nil, 7, ForDialBack, &id, 0, netip.MustParseAddrPort("[::ffff:1.2.3.4]:5")),
			"010d" + "0000000000000007" + "02" + idHex + "0000000000000000" + "01" + "02010203040005",
			Message{Type: Call, Request: 7, Reach: Reach{Purpose: ForDialBack, Peer: id, Seen: v4}},
		},
		{
			"answer", AppendAnswer(nil, 7, ResultNoLink, 1<<63, v6),
			"010e" + "0000000000000007" + "02" + "8000000000000000" + "01" + "8220010db80000000000000000000000010006",
			Message{Type: Answer, Request: 7, Reach: Reach{Result: ResultNoLink, Channel: 1 << 63, Seen: v6}},
		},
		{
			"relay", AppendRelay(nil, 7, 0xfffffffe, 3, []byte("hi")), "010f" + "0000000000000007" + "fffffffe" + "00000003" + "6869",
			Message{Type: Relay, Request: 7, Reach: Reach{Offset: 0xfffffffe, Ack: 3, Data: []byte("hi")}},
		},
		{"relay end", AppendRelayEnd(nil, 7, ResultIdle), "0110" + "0000000000000007" + "0a", Message{Type: RelayEnd, Request: 7, Reach: Reach{Result: ResultIdle}}},
	}
}

func TestReachVectors(t *testing.T) {
	replies := map[Type]bool{AddressAck: true, Answer: true}
	for _, tt := range reachVectors() {
		t.Run(tt.name, func(t *testing.T) {
			if got := hex.EncodeToString(tt.bytes); tt.hex != "" && got != tt.hex {
				t.Errorf("encoded as\n%s, want\n%s", got, tt.hex)
			}
			var m Message
			if err := Decode(tt.bytes, &m); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(m, tt.want) {
				t.Errorf("got %+v, want %+v", m, tt.want)
			}
			if IsControl(tt.bytes) != (replies[m.Type] || m.Type == Address) {
				t.Errorf("the lane of %s", m.Type)
			}
			if IsReply(tt.bytes) != replies[m.Type] {
				t.Error("misclassified")
			}
			if m.Type.String() == "UNKNOWN" {
				t.Error("has no name")
			}
			if m.Type == Relay {
				return // its last field may have any length
			}
			for i := range tt.bytes { // every prefix is refused, none panics
				if err := Decode(tt.bytes[:i], &m); err == nil {
					t.Fatalf("the first %d bytes decode", i)
				}
			}
			if err := Decode(append(bytes.Clone(tt.bytes), 0), &m); !errors.Is(err, ErrTrailing) {
				t.Errorf("with a byte more: %v", err)
			}
		})
	}
}

func TestReachRefused(t *testing.T) {
	head := func(t Type, body ...byte) []byte { return append(appendHeader(nil, t, 1), body...) }
	id := make([]byte, table.IDLen)
	for name, tt := range map[string]struct {
		b    []byte
		want error
	}{
		"too many addresses": {append(head(Address, 0, 0, 0, 0, 0, 0, 0, 1, MaxAddrs+1), make([]byte, 400)...), ErrBounds},
		"address type":       {head(Address, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0x7f, 1, 2, 3, 4, 0, 5), ErrAddress},
		"no purpose":         {append(head(Introduce, 0), id...), ErrBounds},
		"unknown purpose":    {append(head(Introduce, byte(numPurposes)), id...), ErrBounds},
		"flag of an address": {head(AddressAck, 0, 2), ErrBounds},
		"oversize relay":     {append(head(Relay, 0, 0, 0, 0, 0, 0, 0, 0), make([]byte, MaxRelayData+1)...), ErrTooLarge},
		"short relay":        {head(Relay, 0, 0, 0, 0, 0, 0, 0), ErrTruncated},
		"type 17":            {head(RelayEnd+1, 0), ErrType},
	} {
		var m Message
		if err := Decode(tt.b, &m); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	var m Message
	if err := Decode(head(RelayEnd, 200), &m); err != nil || m.Result != ResultRefused {
		t.Error("a result of a later version is not a refusal:", m.Result, err)
	}
}

// The forwarding path reads a RELAY without copying; it must agree with Decode.
func TestRelayFields(t *testing.T) {
	for _, n := range []int{0, 1, MaxRelayData} {
		b := AppendRelay(nil, 1, 2, 3, make([]byte, n))
		off, ack, data, err := RelayFields(b)
		if err != nil || off != 2 || ack != 3 || len(data) != n || len(b) > MaxMessage {
			t.Error(n, off, ack, len(data), err)
		}
		if _, _, _, err := RelayFields(append(b, make([]byte, MaxRelayData+1)...)); !errors.Is(err, ErrTooLarge) {
			t.Error(err)
		}
	}
	if _, _, _, err := RelayFields(nil); !errors.Is(err, ErrTruncated) {
		t.Error(err)
	}
}

func FuzzReach(f *testing.F) {
	for _, v := range reachVectors() {
		f.Add(v.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Message
		if Decode(b, &m) != nil {
			return
		}
		if len(m.Addrs) > MaxAddrs || len(m.Data) > MaxRelayData || m.Seen.Addr().Is4In6() {
			t.Fatalf("out of bounds: %+v", m)
		}
		var again []byte
		switch m.Type {
		case Address:
			again = AppendAddress(nil, m.Request, m.Counter, m.Addrs)
		case Introduce:
			again = AppendIntroduce(nil, m.Request, m.Purpose, &m.Peer)
		case Relay:
			again = AppendRelay(nil, m.Request, m.Offset, m.Ack, m.Data)
			if off, ack, data, err := RelayFields(b); err != nil || off != m.Offset || ack != m.Ack || !bytes.Equal(data, m.Data) {
				t.Fatal("RelayFields disagrees with Decode")
			}
		default:
			return
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x decodes, and encodes as %x", b, again)
		}
	})
}
