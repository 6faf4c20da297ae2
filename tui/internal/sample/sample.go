// Package sample makes snapshots for the console's tests and pictures: a node
// at work, healthy or in one kind of trouble, at any quarter of a second of
// its life. The same arguments give the same snapshot.
package sample

import (
	"fmt"
	"math"
	"time"

	"signalbox/engine/view"
)

// Scene is a kind of day.
type Scene string

// The scenes.
const (
	Healthy  Scene = "healthy"
	HotShard Scene = "hot-shard" // media/3 overloaded by one source, media/5 wedged
	BadRoom  Scene = "bad-room"  // one room held down by one participant's downlink
	Hostile  Scene = "hostile"   // names that try to break the screen
	Empty    Scene = "empty"     // a node that has just come up
)

// Start is when the node of every scene came up.
var Start = time.Date(2026, 3, 14, 2, 47, 30, 0, time.UTC)

// At is the state at a step; steps are a quarter of a second apart.
func At(sc Scene, step int) *view.Snapshot {
	sec := float64(step) / 4
	at := Start.Add(12*24*time.Hour + time.Duration(sec*float64(time.Second)))
	s := &view.Snapshot{Seq: uint64(step + 1), At: at, Node: node(sc, at)}
	if sc == Empty {
		return s
	}
	s.Shards = shards(sc, sec)
	s.Rooms = rooms(sc, sec, at)
	s.DHT = routing(sc, sec)
	s.DHT.Saved.At = at.Add(-4 * time.Minute)
	s.Ledger = accounts(sc, sec)
	s.Kernel = view.Kernel{RcvbufBytes: 7 << 20, SndbufBytes: 7 << 20, GSO: true}
	s.Edge = view.Edge{Connections: 231, Handshaking: 3, Accepted: 90412, Refused: map[string]uint64{"handshake_timeout": 41, "alpn": 7}}
	s.Signal = signalling(sc, sec, at)
	s.Links = links(sc, sec, at)
	if sc != Healthy {
		s.Sources = []view.Source{{Prefix: "203.0.113.77/32", Kind: "throttled", RatePPS: 100, Author: "ssh:mara"}}
		s.Undo = []view.Undo{
			{ID: "u-17", Kind: "source.throttle", Target: "203.0.113.77", Author: "ssh:mara", Reason: "floods media/3", At: at.Add(-4 * time.Minute), Until: at.Add(56 * time.Minute)},
			{ID: "u-16", Kind: "room.lock", Target: "standup-eu", Author: "uid 1000", Reason: "", At: at.Add(-20 * time.Minute), Until: at.Add(40 * time.Minute)},
		}
	}
	return s
}

func node(sc Scene, at time.Time) view.Node {
	n := view.Node{
		NodeID: "7f3ac2d19be04455aa01", Fingerprint: "b7f1:9c22:04aa", Version: "v0.1.0", StartedAt: Start, UptimeS: at.Sub(Start).Seconds(),
		State: "ready", Health: view.Health{Verdict: "ok"}, Goroutines: 812, HeapBytes: 214 << 20, CPUPct: 31.4, SampleUS: 412,
	}
	switch sc {
	case HotShard:
		n.CPUPct = 64
		n.Health = view.Health{Verdict: "failing", Causes: []view.Cause{
			{Severity: view.Alarm, Pane: "shards", Subject: "media/5", Message: "wedged for 4.2 s on a packet of 198.51.100.9", Remedy: "restart the shard (R); its 211 waiting packets are kept"},
			{Severity: view.Alarm, Pane: "shards", Subject: "media/3", Message: "dropping 1.9k/s: 203.0.113.77 sends 71 % of its traffic", Remedy: "throttle or ban 203.0.113.77 in its room (t, b)"},
			{Severity: view.Warn, Pane: "rooms", Subject: "town hall", Message: "tier Degraded: bastien misses 7.4 % of what we deliver", Remedy: "their downlink; pin the tier (T) to shield the others"},
		}}
	case BadRoom, Hostile:
		n.Health = view.Health{Verdict: "degraded", Causes: []view.Cause{
			{Severity: view.Warn, Pane: "rooms", Subject: "town hall", Message: "tier Catastrophic: bastien's queue is full, their downlink cannot take the room", Remedy: "pin the tier (T) or kick bastien (K); the others are fine"},
			{Severity: view.Warn, Pane: "routing", Subject: "buckets", Message: "3 of 14 buckets have had no proof of life for an hour", Remedy: "refresh the routing table (f)"},
		}}
	case Empty:
		n.State, n.UptimeS, n.Health = "starting", 0.4, view.Health{}
	case Healthy:
	}
	return n
}

func wave(sec, phase float64) float64 {
	return 0.5 + 0.35*math.Sin(sec/17+phase) + 0.15*math.Sin(sec/3.1+2*phase)
}

func shards(sc Scene, sec float64) []view.Shard {
	var out []view.Shard
	for _, plane := range []string{"media", "dht"} {
		for i := range 8 {
			load := wave(sec, float64(i)) * 0.3
			rate := 900.0
			if plane == "dht" {
				load, rate = load*0.3, 60
			}
			s := view.Shard{
				Plane: plane, Index: i, State: "running", Capacity: 1024, Depth: int(load * 1024), HighWater: int(load*1024) + 140 + 31*i,
				Received: uint64(rate * (sec + 90000)), Dropped: map[string]uint64{}, OldestMS: load * 9, BusyPct: load * 100, WaitP50US: 40 + load*400,
				WaitP99US: 300 + load*9000, HotSources: []view.HotSource{{IP: fmt.Sprintf("198.51.100.%d", 10+i), SharePct: 18 - float64(i), RatePPS: 50}},
				Bytes: int(load*1024) * 180,
			}
			s.Processed = s.Received - uint64(s.Depth)
			if load > 0.2 {
				s.Current, s.CurrentMS = fmt.Sprintf("media packet from 198.51.100.%d, room town hall", 10+i), 0.1
			}
			if sc == HotShard {
				trouble(&s, sec)
			}
			if sc == Hostile && i == 2 {
				s.Current, s.State = "\x1b[2Jroom \u202egnp.exe \U0001F468\u200D\U0001F469\u200D\U0001F467 日本語日本語 a\u0301\u0301\u0301", "weird\tstate\u0000 that is long"
				s.LastPanic = "panic: \x1b]0;title\x07 x\n\tgoroutine 1\n" + string([]byte{0xff, 0xfe})
			}
			out = append(out, s)
		}
	}
	return out
}

func trouble(s *view.Shard, sec float64) {
	switch s.Key() {
	case "media/3":
		s.Depth, s.HighWater, s.OldestMS, s.BusyPct, s.WaitP50US, s.WaitP99US = 1009, 1024, 88, 99.2, 31000, 91000
		s.Received = uint64(4100 * (sec + 400))
		s.Dropped = map[string]uint64{"shard_full": uint64(1910 * (sec + 400)), "source_throttled": 48210, "malformed": 3}
		s.HotSources = []view.HotSource{{IP: "203.0.113.77", SharePct: 71, RatePPS: 2911, Dropped: 760112}, {IP: "198.51.100.13", SharePct: 4, RatePPS: 50}}
		s.Current, s.CurrentMS = "media packet from 203.0.113.77, room town hall", 0.2
	case "media/5":
		s.State, s.Depth, s.OldestMS, s.BusyPct, s.WaitP99US = "wedged", 211, 4200, 100, 4.2e6
		s.Current, s.CurrentMS, s.Panics, s.Restarts = "media packet from 198.51.100.9, room standup-eu", 4200, 2, 2
		s.HotSources = []view.HotSource{{IP: "198.51.100.9", SharePct: 22, RatePPS: 50}}
		s.LastPanic = "runtime error: index out of range [12] with length 12\n\ngoroutine 61 [running]:\nsignalbox/relay.(*Relay).Forward(0xc00011c000, 0x5, 0xc000518000)\n\t/build/relay/forward.go:118 +0x2a4\nsignalbox/engine/dispatch.(*shard).handle(0xc000132000)\n\t/build/engine/dispatch/loop.go:77 +0x118\ncreated by signalbox/engine/dispatch.(*Dispatcher).Run\n\t/build/engine/dispatch/dispatch.go:140 +0x91"
	case "dht/6":
		s.State = "paused"
		s.Dropped = map[string]uint64{"shard_paused": uint64(12 * sec)}
	}
}

func accounts(sc Scene, sec float64) view.Ledger {
	var l view.Ledger
	// The integral of the wave, so that rates swing.
	t := sec + 90000 + 1.8*math.Sin(sec/9) + 0.12*math.Sin(sec/1.3)
	l.Media = view.Plane{Received: uint64(7200 * t), Dropped: map[string]uint64{"queue_age": 812, "malformed": 3}, Queued: 1408}
	l.Federation = view.Plane{Received: uint64(410 * t), Dropped: map[string]uint64{"duplicate": 91}, Queued: 12}
	l.DHT = view.Plane{Received: uint64(480 * t), Dropped: map[string]uint64{}, Queued: 9}
	switch sc {
	case HotShard:
		l.Media.Dropped["shard_full"] = uint64(1910 * (sec + 400))
		l.Media.Unexplained = -2
	case BadRoom:
		l.Media.Dropped["queue_head"] = uint64(43 * (sec + 800))
	case Healthy, Hostile, Empty:
	}
	for _, p := range []*view.Plane{&l.Media, &l.Federation, &l.DHT} {
		p.Copies = p.Received * 4
		p.Delivered = p.Copies - p.Queued
		for _, v := range p.Dropped {
			p.Delivered -= v
		}
	}
	return l
}
