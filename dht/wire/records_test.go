package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"signalbox/dht/record"
	"signalbox/dht/table"
)

func values(req uint64, recs [][]byte, list ...Node) []byte {
	w := BeginValues(nil, req, recs)
	for _, n := range list {
		w.Add(&n.ID, n.Addrs, nil)
	}
	return w.Bytes()
}

func TestRecordsRoundTrip(t *testing.T) {
	key := table.ID{1, 2, 3}
	rec := bytes.Repeat([]byte{7}, record.MaxLen)
	node := Node{table.ID{9}, []table.Addr{addr("1.2.3.4:5", table.Direct)}}
	full := Node{ID: table.ID{8}}
	for range MaxAddrs {
		full.Addrs = append(full.Addrs, addr("[2001:db8::1]:65535", table.Relay))
	}
	var recs [][]byte
	for range MaxValues {
		recs = append(recs, rec)
	}
	var contacts []Node
	for range MaxContacts {
		contacts = append(contacts, full)
	}
	tests := []struct {
		name  string
		bytes []byte
		want  Message
		reply bool
	}{
		{"store", AppendStore(nil, 7, rec), Message{Type: Store, Request: 7, Record: rec}, false},
		{"stored", AppendStored(nil, 7), Message{Type: Stored, Request: 7}, true},
		{"get", AppendGet(nil, 7, &key), Message{Type: Get, Request: 7, Target: key}, false},
		{"nothing", values(7, nil), Message{Type: Values, Request: 7, Values: [][]byte{}, Nodes: []Node{}}, true},
		{"values", values(7, [][]byte{{1}, rec}, node), Message{Type: Values, Request: 7, Values: [][]byte{{1}, rec}, Nodes: []Node{node}}, true},
		{"too many values", values(7, append(recs, rec)), Message{Type: Values, Request: 7, Values: recs, Nodes: []Node{}}, true},
		{"largest", values(7, recs, contacts...), Message{Type: Values, Request: 7, Values: recs, Nodes: contacts}, true},
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
			if IsReply(tt.bytes) != tt.reply || m.Type.String() == "UNKNOWN" {
				t.Error("misclassified")
			}
			for i := range tt.bytes {
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
	if n := len(tests[len(tests)-1].bytes); n != MaxMessage {
		t.Errorf("the largest message has %d bytes, MaxMessage is %d", n, MaxMessage)
	}
}

// The bytes are a promise to other versions.
func TestRecordVectors(t *testing.T) {
	key := table.ID{0xaa}
	node := Node{table.ID{0xbb}, []table.Addr{addr("1.2.3.4:5", table.Direct)}}
	zeros := hex.EncodeToString(make([]byte, table.IDLen-1))
	for name, tt := range map[string]struct {
		b    []byte
		want string
	}{
		"store":  {AppendStore(nil, 1, []byte{9, 8}), "0106" + "0000000000000001" + "0002" + "0908"},
		"stored": {AppendStored(nil, 1), "0107" + "0000000000000001"},
		"get":    {AppendGet(nil, 1, &key), "0108" + "0000000000000001" + "aa" + zeros},
		"values": {values(1, [][]byte{{9}}, node), "0109" + "0000000000000001" + "01" + "0001" + "09" + "01" + "bb" + zeros + "01" + "01" + "01020304" + "0005"},
	} {
		if got := hex.EncodeToString(tt.b); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, tt.want)
		}
	}
}

func TestRecordsRefused(t *testing.T) {
	head := func(t Type, body ...byte) []byte { return append(appendHeader(nil, t, 1), body...) }
	for name, tt := range map[string]struct {
		b    []byte
		want error
	}{
		"empty record":          {head(Store, 0, 0), ErrBounds},
		"long record":           {append(head(Store, 1+record.MaxLen>>8, 0xff), make([]byte, 2000)...), ErrBounds},
		"record without end":    {head(Store, 0, 5, 1, 2), ErrTruncated},
		"many values":           {append(head(Values, MaxValues+1), make([]byte, 2000)...), ErrBounds},
		"values without end":    {head(Values, MaxValues), ErrTruncated},
		"empty value":           {head(Values, 1, 0, 0, 0), ErrBounds},
		"no contacts":           {head(Values, 1, 0, 1, 1), ErrTruncated},
		"many contacts":         {append(head(Values, 0, MaxContacts+1), make([]byte, 2000)...), ErrBounds},
		"a reply with a body":   {head(Stored, 1), ErrTrailing},
		"longer than any other": {make([]byte, MaxMessage+1), ErrTooLarge},
	} {
		var m Message
		if err := Decode(tt.b, &m); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

// FuzzDecodeRecords: what decodes encodes to the same bytes.
func FuzzDecodeRecords(f *testing.F) {
	key := table.ID{1}
	f.Add(AppendStore(nil, 1, []byte{1, 2, 3}))
	f.Add(AppendStored(nil, 1))
	f.Add(AppendGet(nil, 1, &key))
	f.Add(values(1, [][]byte{{1}, {2, 3}}, Node{key, []table.Addr{addr("1.2.3.4:5", table.Direct)}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Message
		if Decode(b, &m) != nil {
			return
		}
		var again []byte
		switch m.Type {
		case Store:
			again = AppendStore(nil, m.Request, m.Record)
		case Stored:
			again = AppendStored(nil, m.Request)
		case Get:
			again = AppendGet(nil, m.Request, &m.Target)
		case Values:
			again = values(m.Request, m.Values, m.Nodes...)
		default:
			return
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}
