package engine_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/view"
)

// promised is the snapshot of contract section 3: every name, and an example
// of its type. "*" stands for any name.
const promised = `{"seq":1,"at":"",
 "node":{"node_id":"","fingerprint":"","tls_fingerprint":"","version":"","started_at":"","uptime_s":1,"state":"",
  "health":{"verdict":"","reasons":[""]},"listen":[""],"goroutines":1,"heap_bytes":1,"cpu_pct":1,"cgroup_limit_bytes":1},
 "kernel":{"udp_rcvbuf_errors":1,"udp_sndbuf_errors":1,"rcvbuf_bytes":1,"sndbuf_bytes":1,"gso":true},
 "shards":[{"plane":"","index":1,"state":"","depth":1,"capacity":1,"high_water":1,"received":1,"processed":1,"dropped":{"*":1},
  "oldest_ms":1,"busy_pct":1,"wait_p50_us":1,"wait_p99_us":1,"panics":1,"restarts":1,"current":"",
  "hot_sources":[{"ip":"","share_pct":1,"rate_pps":1}]}],
 "ledger":{"media":{"received":1,"copies":1,"delivered":1,"dropped":{"*":1},"queued":1,"unexplained":1},
  "federation":{"received":1,"copies":1,"delivered":1,"dropped":{"*":1},"queued":1,"unexplained":1},
  "dht":{"received":1,"copies":1,"delivered":1,"dropped":{"*":1},"queued":1,"unexplained":1}},
 "rooms":[{"name":"","global":true,"locked":true,"tier":"","pinned_tier":"","created_at":"","directives":1,"weakest":"",
  "participants":[{"id":"","fingerprint":"","alias":"","remote":"","transport":"","relay_label":"","joined_at":"","muted":true,
   "tier":"","loss_pct":1,"rtt_ms":1,"jitter_ms":1,"report_age_s":1,"received":1,"seq_gaps":1,"delivered":1,"dropped":{"*":1},
   "queue_depth":1,"queue_capacity":1,"queue_oldest_ms":1}]}],
 "links":[{"label":"","tls_fingerprint":"","direction":"","state":"","since":"","rtt_ms":1,"verified":true,"rooms":[""],
  "received":1,"forwarded":1,"deduped":1,"dropped":{"*":1},"queue_depth":1,"last_error":""}],
 "signal":{"registered":1,"calls":{"pending":1,"ringing":1,"active":1},"offers":1,"answers":1,"hangups":1,"ring_timeouts":1},
 "dht":{"peers":1,"fresh":1,"stale":1,"suspect":1,
  "buckets":[{"index":1,"size":1,"capacity":1,"fresh":1,"stale":1,"oldest_s":1,"last_refresh_s":1}],
  "touch":{"fast":1,"slow":1,"missing":1},"admission":{"*":1},"lookups":{"active":1,"ok":1,"failed":1,"p50_ms":1,"p99_ms":1,"hops_p50":1},
  "rpc":{"pending":1,"sent":1,"ok":1,"timeout":1,"refused":1},"diversity":{"distinct_ips":1,"distinct_subnets":1,"largest_subnet_pct":1},
  "cache":{"hits":1,"misses":1,"evicted":1,"bytes":1},
  "peers_table":[{"id":"","addrs":[{"addr":"","type":""}],"bucket":1,"last_seen_s":1,"rtt_ms":1,"trust":1,"state":""}]},
 "endings":[{"at":"","kind":"","subject":"","remote":"","reason":"","lifetime_s":1}]}`

// keeps compares a value with what is promised and returns what is missing or
// of another type. A list that is empty says nothing about its elements.
func keeps(path string, want, got any) (broken []string) {
	if reflect.TypeOf(want) != reflect.TypeOf(got) {
		return []string{fmt.Sprintf("%s is %T, not %T", path, got, want)}
	}
	switch want := want.(type) {
	case map[string]any:
		m := got.(map[string]any)
		for k, w := range want {
			if k == "*" {
				for name, g := range m {
					broken = append(broken, keeps(path+"."+name, w, g)...)
				}
				continue
			}
			g, ok := m[k]
			if !ok {
				broken = append(broken, path+"."+k+" is missing")
				continue
			}
			broken = append(broken, keeps(path+"."+k, w, g)...)
		}
	case []any:
		for i, g := range got.([]any) {
			broken = append(broken, keeps(fmt.Sprintf("%s[%d]", path, i), want[0], g)...)
		}
	}
	return broken
}

// breaks is keeps for a snapshot.
func breaks(t *testing.T, v any) []string {
	t.Helper()
	return against(t, "snapshot", promised, v)
}

// against is keeps for anything that has a JSON form.
func against(t *testing.T, name, promised string, v any) []string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var want, got any
	if err := json.Unmarshal([]byte(promised), &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	return keeps(name, want, got)
}

// fill gives every list and map one element, and leaves everything else at
// zero: what is promised is there even when there is nothing to tell.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for f, fv := range v.Fields() {
			if f.IsExported() {
				fill(fv)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	}
}

func TestSnapshotIsWhatIsPromised(t *testing.T) {
	var s view.Snapshot
	fill(reflect.ValueOf(&s).Elem())
	for i := range s.Shards {
		s.Shards[i].Dropped = map[string]uint64{"x": 0}
	}
	for _, b := range breaks(t, &s) {
		if !strings.Contains(b, "dropped is <nil>") && !strings.Contains(b, "admission is <nil>") { // maps: a node's never are
			t.Error(b)
		}
	}

	e := start(t, func(c *config.Config) { c.GlobalRooms = []config.GlobalRoom{{Name: "den"}} })
	for _, b := range breaks(t, until(t, e, "a first snapshot", func(*view.Snapshot) bool { return true })) {
		t.Errorf("of an empty node: %s", b)
	}
	cs, _ := callers(t, e, "den", 2)
	talk(t, cs, 30)
	busy := until(t, e, "two that hear each other", func(s *view.Snapshot) bool {
		return s.Ledger.Media.Delivered > 0 && len(s.Rooms) == 1 && len(s.Rooms[0].Participants) == 2
	})
	for _, b := range breaks(t, busy) {
		t.Errorf("of a busy node: %s", b)
	}
	reasons := []string{
		"shard_full", "shard_paused", "shard_panic", "source_banned", "source_throttled", "client_rate", "malformed", "muted", "room_gone",
		"queue_head", "queue_age", "too_large", "gone", "write_error", "link_down", "link_rate", "duplicate", "unknown_room", "loop", "draining", "rx_queue", "kernel",
	}
	for _, p := range []view.Plane{busy.Ledger.Media, busy.Ledger.Federation, busy.Ledger.DHT} {
		for _, r := range reasons {
			if _, ok := p.Dropped[r]; !ok {
				t.Errorf("reason %s is not there from the start", r)
			}
		}
	}
}

// TestAnswersAndEventsAreWhatIsPromised: every key of contract section 2 is
// there, whether there is anything to say or not.
func TestAnswersAndEventsAreWhatIsPromised(t *testing.T) {
	const answer = `{"ok":true,"code":"","message":"","plan":[""],"undo":"","event_seq":1}`
	const event = `{"seq":1,"at":"","kind":"","severity":"","subject":"","message":"","fields":{}}`
	e := start(t, nil)
	for name, c := range map[string]control.Command{
		"with an undo":    {Kind: control.ShardPause, Target: "media/1"},
		"without an undo": {Kind: control.NodeSave},
		"a plan":          {Kind: control.ShardFlush, Target: "media/1", DryRun: true},
		"refused":         {Kind: control.RoomClose, Target: "nowhere"},
		"nonsense":        {Kind: "node.frobnicate"},
	} {
		c.Author, c.Role = "test", control.Operator
		r, err := e.Do(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range against(t, "answer "+name, answer, r) {
			t.Error(b)
		}
	}
	evs, _ := e.Events(0)
	for _, ev := range evs {
		for _, b := range against(t, "event "+ev.Kind, event, ev) {
			t.Error(b)
		}
	}
	if len(evs) < 3 {
		t.Errorf("only %d events", len(evs))
	}
}
