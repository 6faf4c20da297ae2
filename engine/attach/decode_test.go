package attach

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"signalbox/engine/view"
)

// many is a snapshot with a bit of everything that a decoder keeps.
func many(seq int) *view.Snapshot {
	s := &view.Snapshot{Seq: uint64(seq), Rooms: []view.Room{{Name: "lobby"}}}
	for i := range 16 {
		dropped := map[string]uint64{}
		for r := range 24 {
			dropped[fmt.Sprint("reason", r)] = uint64(i * (r % 3))
		}
		s.Shards = append(s.Shards, view.Shard{Plane: "media", Index: i, State: "running", Received: uint64(seq * i), Dropped: dropped})
	}
	for i := range 10 {
		l := view.LookupTrace{Seq: uint64(seq/3 + i), Target: "t", AgeS: float64(seq), State: "done"}
		for q := range 16 {
			l.Queries = append(l.Queries, view.LookupQuery{Peer: fmt.Sprint("peer", q)})
		}
		s.DHT.Lookups.Trace = append(s.DHT.Lookups.Trace, l)
	}
	s.DHT.Peers, s.DHT.Lookups.OK = seq, 7
	return s
}

// TestDecoderKeepsWhatIsTheSame: what a decoder reads is what was written, also
// where something appears, changes, shrinks or goes; and what has not changed is
// not read again.
func TestDecoderKeepsWhatIsTheSame(t *testing.T) {
	var d decoder
	read := func(s *view.Snapshot) *view.Snapshot {
		t.Helper()
		line, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		want := &view.Snapshot{}
		if err := json.Unmarshal(line, want); err != nil {
			t.Fatal(err)
		}
		got, err := d.decode(line)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("read\n%+v, want\n%+v", got, want)
		}
		return got
	}
	read(&view.Snapshot{})
	a := read(many(1))
	more := many(2)
	more.Shards[3].Dropped["reason1"]++
	b := read(more)
	same := func(x, y map[string]uint64) bool { return reflect.ValueOf(x).Pointer() == reflect.ValueOf(y).Pointer() }
	if !same(a.Shards[4].Dropped, b.Shards[4].Dropped) || same(a.Shards[3].Dropped, b.Shards[3].Dropped) {
		t.Error("counters that have not changed are read again, or others are not")
	}
	if &a.DHT.Lookups.Trace[0].Queries[0] != &b.DHT.Lookups.Trace[0].Queries[0] {
		t.Error("a lookup that is over is read again")
	}
	few := many(3)
	few.Shards, few.DHT.Lookups.Trace = few.Shards[:2], few.DHT.Lookups.Trace[5:]
	few.Shards[1].Dropped = nil
	read(few)
	read(many(9))
	read(&view.Snapshot{})
	for _, bad := range []string{"", "{", `{"shards":[{"dropped":[]}]}`, `{"dht":{"lookups":{"trace":[{"queries":{}}]}}}`} {
		if s, err := d.decode([]byte(bad)); err == nil {
			t.Errorf("%q is read as %+v", bad, s)
		}
	}
	read(many(10))
}

func BenchmarkDecode(b *testing.B) {
	var lines [][]byte
	for i := range 8 {
		line, err := json.Marshal(many(i))
		if err != nil {
			b.Fatal(err)
		}
		lines = append(lines, line)
	}
	b.Run("whole", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if err := json.Unmarshal(lines[i%8], &view.Snapshot{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("kept", func(b *testing.B) {
		var d decoder
		for i := 0; b.Loop(); i++ {
			if _, err := d.decode(lines[i%8]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
