package engine_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signalbox/engine/config"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// TestEventLogOfALink: what comes over a link stands in the event log, step by
// step, with the keys of spec wzp 5.20 and in their order.
func TestEventLogOfALink(t *testing.T) {
	ss := sites(t, 2)
	path := filepath.Join(t.TempDir(), "events.jsonl")
	e := ss[0].open(t, func(c *config.Config) {
		c.Trusted = []config.Trusted{{Fingerprint: ss[1].fp, Label: "B"}}
		c.Legacy.EventLog = path
	})
	callers(t, e, "general", 2)
	cl, err := quicnet.NewClient(quicnet.ClientConfig{LocalAddr: netip.MustParseAddr("127.0.4.2")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	cert, err := ss[1].keys.TLSCertificate()
	if err != nil {
		t.Fatal(err)
	}
	link := claim(t, e, cl, quicnet.DialConfig{Cert: cert}, ss[1].fp)
	until(t, e, "the link", func(s *view.Snapshot) bool { return linked(s, "B").State == "up" })
	packet := func(room string, seq uint16) []byte {
		return wire.AppendFederated(nil, wire.RoomHash(room), wire.AppendPacket(nil, wire.Packet{Header: wire.Header{Codec: wire.Opus24k, Seq: seq}, Payload: []byte{1, 2, 3}}))
	}
	for _, dg := range [][]byte{{1, 2, 3}, packet("nobody's", 4), packet("general", 5), packet("general", 5)} {
		if err := link.SendDatagram(dg); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	until(t, e, "seven lines", func(*view.Snapshot) bool {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		for l := range strings.Lines(string(b)) {
			_, after, _ := strings.Cut(l, `,"event":`) // what is before is the time
			got = append(got, strings.TrimSuffix(after, "}\n"))
		}
		return len(got) >= 7
	})
	ingress := func(seq string) string {
		return `"federation_ingress","seq":` + seq + `,"codec":"Opus24k","fec_block":0,"fec_sym":0,"repair":false,"len":3,"peer":"B"`
	}
	want := []string{
		`"federation_ingress_malformed","len":3`,
		ingress("4"), `"room_not_found","seq":4,"peer":"B"`,
		ingress("5"), `"local_deliver","room":"general","seq":5,"to_count":2`,
		ingress("5"), `"dedup_drop","seq":5,"peer":"B"`,
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got:\n%s\nwant:\n%s", g, w)
	}
}
