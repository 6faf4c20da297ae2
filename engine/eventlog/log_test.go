package eventlog

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signalbox/relay/wire"
)

// TestLines holds keys, their order and their form (spec wzp 5.20).
func TestLines(t *testing.T) {
	at := time.Date(2026, 4, 13, 7, 8, 9, 1234000, time.FixedZone("", 7200))
	pkt, err := wire.Parse([]byte{0x11, 0, 0, 10, 0, 0, 1, 144, 2, 3, 0, 0, 1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	ingress := Packet(Ingress, "B", &pkt)
	repaired := pkt
	repaired.Repair = true
	for name, tc := range map[string]struct {
		e    Entry
		want string
	}{
		"malformed":        {Entry{Event: IngressMalformed, Len: Of(0)}, `"event":"federation_ingress_malformed","len":0`},
		"ingress":          {ingress, `"event":"federation_ingress","seq":10,"codec":"Codec2_1200","fec_block":2,"fec_sym":3,"repair":false,"len":3,"peer":"B"`},
		"repair":           {Packet(Ingress, "B", &repaired), `"event":"federation_ingress","seq":10,"codec":"Codec2_1200","fec_block":2,"fec_sym":3,"repair":true,"len":3,"peer":"B"`},
		"duplicate":        {Entry{Event: DedupDrop, Seq: Of(uint16(7)), Peer: "B"}, `"event":"dedup_drop","seq":7,"peer":"B"`},
		"no room":          {Entry{Event: RoomNotFound, Seq: Of(0), Peer: "B"}, `"event":"room_not_found","seq":0,"peer":"B"`},
		"rate":             {Entry{Event: RateLimitDrop, Room: "general", Seq: Of(1)}, `"event":"rate_limit_drop","room":"general","seq":1`},
		"failed":           {Entry{Event: LocalDeliverError, Room: "general", Seq: Of(1), Reason: "room_gone"}, `"event":"local_deliver_error","room":"general","seq":1,"reason":"room_gone"`},
		"delivered":        {Entry{Event: LocalDeliver, Room: "general", Seq: Of(1), ToCount: Of(4)}, `"event":"local_deliver","room":"general","seq":1,"to_count":4`},
		"everything":       {Entry{Event: "e", Room: "r", Src: "s", Seq: Of(1), Codec: "c", FECBlock: Of(2), FECSym: Of(3), Repair: Of(1), Len: Of(4), ToCount: Of(5), Peer: "p", Reason: "why", Action: "a", Participants: Of(6)}, `"event":"e","room":"r","src":"s","seq":1,"codec":"c","fec_block":2,"fec_sym":3,"repair":true,"len":4,"to_count":5,"peer":"p","reason":"why","action":"a","participants":6`},
		"from the network": {Entry{Event: LocalDeliver, Room: "a\x1b[31m\u202e\n<b>\""}, `"event":"local_deliver","room":"a[31m<b>\""`},
	} {
		var out bytes.Buffer
		tc.e.At = at
		if err := tc.e.append(&out); err != nil {
			t.Fatal(err)
		}
		if want := `{"ts":"2026-04-13T05:08:09.001234Z",` + tc.want + "}\n"; out.String() != want {
			t.Errorf("%s:\n got %s want %s", name, out.String(), want)
		}
	}
}

// lines reads a file and fails at a line that is not JSON.
func lines(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for l := range strings.Lines(string(b)) {
		if !json.Valid([]byte(l)) || !strings.HasSuffix(l, "\n") {
			t.Fatalf("%s holds %q", path, l)
		}
		out = append(out, l)
	}
	return out
}

func TestRotatesAndKeepsEverythingItTook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(path, []byte("{\"event\":\"of the last run\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(Config{Path: path, Bytes: 1000, Keep: 2, Queue: 64})
	if err != nil {
		t.Fatal(err)
	}
	if got := lines(t, path+".1"); len(got) != 1 || !strings.Contains(got[0], "of the last run") {
		t.Fatalf("the last run's log is %q", got)
	}
	const n = 64
	for i := range n {
		l.Emit(Entry{Event: DedupDrop, Seq: Of(i), Peer: "B"})
	}
	for range 5 {
		l.Emit(Entry{Event: "one too many"})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.Run(ctx)
	l.Emit(Entry{Event: "too late"})
	if st := l.Stats(); st.Written != n || st.Dropped != 6 || st.Rotated < 4 || st.Error != "" {
		t.Errorf("%+v", st)
	}
	if _, err := os.Stat(path + ".3"); err == nil {
		t.Error("more files are kept than were to be")
	}
	kept := 0
	for _, p := range []string{path, path + ".1", path + ".2"} {
		st, err := os.Stat(p)
		if err != nil || st.Size() > 1000 || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", p, st, err)
		}
		kept += len(lines(t, p))
	}
	if last := lines(t, path); !strings.Contains(last[len(last)-1], `"seq":63,`) || kept < 20 {
		t.Errorf("%d kept, the last is %q", kept, last[len(last)-1])
	}
}

// TestFailingDisk takes the directory away under the log and gives it back.
func TestFailingDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	told := 0
	l, err := Open(Config{Path: filepath.Join(dir, "log"), Bytes: 100, Error: func(error) { told++ }})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	e := Entry{At: now, Event: DedupDrop, Seq: Of(1)}
	l.write(&e, now)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l.write(&e, now) // has to turn over, and cannot
	}
	if st := l.Stats(); st.Written != 1 || st.Dropped != 3 || st.Error == "" || told != 1 {
		t.Fatalf("%+v, told %d times", st, told)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l.write(&e, now.Add(retryAfter-1))
	l.write(&e, now.Add(retryAfter))
	l.end()
	if st := l.Stats(); st.Written != 2 || st.Dropped != 4 || st.Error != "" {
		t.Fatalf("%+v", st)
	}
	if got := lines(t, filepath.Join(dir, "log")); len(got) != 1 {
		t.Errorf("%q", got)
	}
	if _, err := Open(Config{Path: filepath.Join(dir, "none", "log")}); err == nil {
		t.Error("a directory that does not exist was opened")
	}
}

func TestNil(t *testing.T) {
	var l *Log
	l.Emit(Entry{Event: "x"})
	l.Run(t.Context())
	if l.On() || l.Stats() != (Stats{}) {
		t.Error("no log has counted")
	}
}
