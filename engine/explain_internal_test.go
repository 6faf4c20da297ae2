package engine

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"signalbox/engine/view"
	"signalbox/relay"
)

// talking is a node of two in one room of whom each sends 50 packets a second:
// now, and two seconds before.
func talking() *recent {
	at := time.Unix(1e6, 0)
	make1 := func(at time.Time, n uint64) *view.Snapshot {
		person := func(id, alias, remote string) view.Participant {
			return view.Participant{
				ID: id, Alias: alias, Remote: remote, JoinedAt: at.Add(-time.Hour), Received: n, Delivered: n,
				Dropped: map[string]uint64{"client_rate": 7}, QueueCapacity: 256, Shard: "media/3", LastPacketMS: 12, LastDeliveredMS: 13,
			}
		}
		return &view.Snapshot{
			At:     at,
			Node:   view.Node{State: "ready"},
			Shards: []view.Shard{{Plane: "media", Index: 3, State: "running", Capacity: 256, Received: 2 * n, LastPacketMS: 9}},
			Rooms:  []view.Room{{Name: "r", Participants: []view.Participant{person("p1", "Sender", "10.0.0.1:9"), person("p2", "Ear", "10.0.0.2:9")}}},
		}
	}
	return &recent{base: make1(at, 1000), s: make1(at.Add(2*time.Second), 1100)}
}

func TestExplainSpeaksOfNow(t *testing.T) {
	sender := func(r *recent) *view.Participant { return &r.s.Rooms[0].Participants[0] }
	for name, c := range map[string]struct {
		change func(r *recent)
		want   string
	}{
		"nothing, but for a refusal long ago": {func(*recent) {}, "packets of Sender reach Ear"},
		"banned": {func(r *recent) {
			r.s.Sources = []view.Source{{Prefix: "10.0.0.0/24", Kind: "throttled", RatePPS: 5}, {Prefix: "10.0.0.1/32", Kind: "banned", Author: "ann", Reason: "noise"}}
			sender(r).Dropped["source_banned"] = 100
		}, "sender Sender: their source 10.0.0.1/32 is banned by ann (noise): all they send is dropped, 50 packets/s now"},
		"throttled": {func(r *recent) {
			r.s.Sources = []view.Source{{Prefix: "10.0.0.0/8", Kind: "throttled", RatePPS: 1, Author: "ann", Reason: "noise"}}
			sender(r).Dropped["source_throttled"] = 98
		}, "throttled to 1 packets/s by ann (noise): 49 of their 50 packets/s are dropped"},
		"a throttle that drops nothing": {func(r *recent) {
			r.s.Sources = []view.Source{{Prefix: "10.0.0.1/32", Kind: "throttled", RatePPS: 100}}
		}, "packets of Sender reach Ear"},
		"muted":          {func(r *recent) { sender(r).Muted = true; sender(r).Dropped["muted"] = 100 }, "an operator has muted them: 50 packets/s dropped now"},
		"over budget":    {func(r *recent) { sender(r).Dropped["client_rate"] = 47 }, "sends above its budget: 20 of their 50 packets/s are refused"},
		"paused shard":   {func(r *recent) { r.s.Shards[0].State = "paused"; sender(r).Dropped["shard_paused"] = 100 }, "shard media/3: is paused by an operator: 50 packets/s of theirs are dropped"},
		"full shard":     {func(r *recent) { sender(r).Dropped["shard_full"] = 20 }, "shard media/3: is full"},
		"pin and lock":   {func(r *recent) { r.s.Rooms[0].PinnedTier, r.s.Rooms[0].Locked = "Degraded", true }, "room r is pinned to tier Degraded; room r is locked"},
		"slow receiver":  {func(r *recent) { r.s.Rooms[0].Participants[1].Dropped["queue_head"] = 30 }, "receiver Ear: takes its packets too slowly: 15/s"},
		"nothing handed": {func(r *recent) { r.s.Rooms[0].Participants[1].Delivered = 1000 }, "receiver Ear: was handed nothing in the last 2.0 s"},
		"not here": {func(r *recent) {
			r.s.Rooms[0].Participants, r.s.Rooms[0].Locked = r.s.Rooms[0].Participants[:1], true
			r.s.Sources = []view.Source{{Prefix: "10.0.0.2/32", Kind: "banned"}}
		}, `no participant here is "Ear": they are not connected to this node; what may keep them out: 10.0.0.2/32 is banned, room r is locked`},
	} {
		r := talking()
		c.change(r)
		if x := explain(r, "Sender", "Ear"); !strings.Contains(x.Verdict, c.want) {
			t.Errorf("%s: %q, want %q", name, x.Verdict, c.want)
		} else if broken := slices.ContainsFunc(x.Hops, func(h view.Hop) bool { return h.Verdict != "ok" }); broken != (x.Remedy != "") {
			t.Errorf("%s: the remedy is %q", name, x.Remedy)
		} else if name == "banned" && x.Remedy != "lift it: source.clear 10.0.0.1/32" {
			t.Errorf("%s: the remedy is %q", name, x.Remedy)
		}
	}
	x := explain(talking(), "Sender", "Ear")
	for i, want := range []view.Hop{{LastPacketAgo: 12, RatePPS: 50}, {LastPacketAgo: 9, RatePPS: 100}, {LastPacketAgo: 12, RatePPS: 100}, {LastPacketAgo: 13, RatePPS: 50}} {
		if h := x.Hops[i]; h.LastPacketAgo != want.LastPacketAgo || h.RatePPS != want.RatePPS {
			t.Errorf("hop %+v, want %+v", h, want)
		}
	}
}

func TestHealthNamesARestrictionThatDropsNow(t *testing.T) {
	j := newJudge()
	r := talking()
	for _, s := range []*view.Snapshot{r.base, r.s} {
		s.Sources = []view.Source{{Prefix: "10.0.0.1/32", Kind: "banned", Author: "ann", Reason: "noise"}}
		s.Rooms[0].Participants[1].Dropped = nil
		s.Rooms[0].Participants[0].Dropped = map[string]uint64{"source_banned": s.Rooms[0].Participants[0].Received}
		j.verdict(s)
	}
	if h := r.s.Node.Health; h.Verdict != "degraded" || !strings.Contains(h.Reasons[0], "r/Sender: an operator has banned their address") {
		t.Errorf("%+v", h)
	}
	lifted := *r.s
	lifted.Sources = nil
	if j.verdict(&lifted); lifted.Node.Health.Verdict != "ok" {
		t.Errorf("as soon as it is lifted: %+v", lifted.Node.Health)
	}
	later := talking().s
	later.At, later.Sources = r.s.At.Add(5*time.Second), r.s.Sources
	later.Rooms[0].Participants[0].Dropped = r.s.Rooms[0].Participants[0].Dropped
	later.Rooms[0].Participants[1].Dropped = nil
	if j.verdict(later); later.Node.Health.Verdict != "ok" {
		t.Errorf("when nothing more is dropped: %+v", later.Node.Health)
	}
}

func TestHealthNamesContactsThatDoNotAnswer(t *testing.T) {
	j := newJudge()
	for _, c := range []struct {
		peers, suspect int
		verdict        string
	}{{15, 11, "degraded"}, {15, 3, "ok"}, {2, 2, "ok"}} {
		s := &view.Snapshot{DHT: view.DHT{Peers: c.peers, Suspect: c.suspect}}
		if j.verdict(s); s.Node.Health.Verdict != c.verdict {
			t.Errorf("%+v: %+v", c, s.Node.Health)
		}
	}
}

func TestWhatTheShardRefusesIsOnTheSendersRow(t *testing.T) {
	e := bare(t)
	remote := netip.MustParseAddrPort("10.0.0.9:1")
	p, err := e.relay.Join(relay.JoinRequest{Room: "r", Remote: remote, Now: time.Now(), Close: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Leave(e.mono())
	if err := e.media.Pause(e.media.ShardOf(remote.Addr())); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		e.submit(e.mono(), remote.Addr(), p, make([]byte, 20))
	}
	if got := e.relay.Rooms(time.Now())[0].Participants[0].Dropped["shard_paused"]; got != 5 {
		t.Errorf("%d on the row", got)
	}
	c, r := e.media.Counts(), e.relay.Counts()
	if c.Add(&r); c.Dropped.Total() != 5 || c.Unexplained() != 0 || c.Received != 5 {
		t.Errorf("in the ledger: %+v", c)
	}
}
