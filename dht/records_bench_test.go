package dht

import (
	"crypto/ed25519"
	"net/netip"
	"testing"
	"time"

	"signalbox/dht/record"
	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// sink is a link that swallows what is sent.
type sink struct {
	id   table.ID
	addr netip.AddrPort
	sent int
}

func (d *sink) PeerID() table.ID           { return d.id }
func (d *sink) RemoteAddr() netip.AddrPort { return d.addr }
func (d *sink) Generation() uint64         { return 1 }
func (d *sink) Send([]byte) error          { d.sent++; return nil }
func (d *sink) Close(string)               {}

// What a STORE and a GET cost the peer that is asked.
func BenchmarkRecordRequests(b *testing.B) {
	key := testKey(1)
	n, err := New(Config{ID: testID(1), Dialer: &memNode{}, RequestRate: 1e9, RequestBurst: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	n.records.memory.Open()
	defer n.records.memory.Close()
	l := &sink{id: record.PublisherID(key.Public().(ed25519.PublicKey)), addr: netip.MustParseAddrPort("1.2.3.4:5")}
	n.Connected(l)
	st := Statement{Kind: record.Room, Key: record.RoomKey("ops"), Addrs: []netip.AddrPort{l.addr}}
	stores := make([][]byte, 20000)
	for i := range stores {
		s, err := record.Sign(st.record(uint64(i), time.Now(), time.Hour), key)
		if err != nil {
			b.Fatal(err)
		}
		stores[i] = wire.AppendStore(nil, uint64(i), s.Raw)
	}
	i := 0
	b.Run("store", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if i == len(stores) {
				b.Skip("out of records")
			}
			n.Handle(0, l, stores[i], int64(i))
			i++
		}
	})
	b.Run("refused", func(b *testing.B) { // an old one: the signature is not looked at
		b.ReportAllocs()
		for b.Loop() {
			n.Handle(0, l, stores[0], 0)
		}
	})
	get := wire.AppendGet(nil, 1, &st.Key)
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n.Handle(0, l, get, 0)
		}
	})
	if l.sent == 0 {
		b.Error("no answers")
	}
}
