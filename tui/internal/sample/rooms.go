package sample

import (
	"fmt"
	"math"
	"time"

	"signalbox/engine/view"
)

var people = []string{"ada", "bastien", "chiara", "dmitri", "esra", "farid", "grace", "hana", "iker", "jun", "kofi", "lea", "mads", "noor"}

func rooms(sc Scene, sec float64, at time.Time) []view.Room {
	spec := []struct {
		name string
		n    int
		tier string
	}{
		{"town hall", 9, "Good"},
		{"standup-eu", 5, "Studio48k"},
		{"radio night", 12, "Studio32k"},
		{"dev-lobby", 3, "Studio64k"},
		{"ops-war-room", 4, "Good"},
		{"class-7b", 7, "Good"},
		{"probe-a", 1, "Studio64k"},
	}
	var out []view.Room
	for k, sp := range spec {
		r := view.Room{Name: sp.name, Global: k == 2, Locked: k == 1 && sc != Healthy, Tier: sp.tier, CreatedAt: at.Add(-time.Duration(40*(k+1)) * time.Minute), Directives: uint64(3 * k)}
		for i := range sp.n {
			r.Participants = append(r.Participants, person(k, i, sec, at))
		}
		out = append(out, r)
	}
	switch sc {
	case BadRoom, HotShard:
		spoil(sc, &out[0], sec)
	case Hostile:
		hostile(out)
	case Healthy, Empty:
	}
	return out
}

func person(room, i int, sec float64, at time.Time) view.Participant {
	w := wave(sec, float64(3*room+i))
	p := view.Participant{
		ID: fmt.Sprintf("p%02d%02d-9c%02x", room, i, 17*i+room), Fingerprint: fmt.Sprintf("%04x:%04x:%04x", 7919*(i+1)%65536, 104729*(room+1)%65536, 31*i),
		Alias: people[(5*room+i)%len(people)], Remote: fmt.Sprintf("198.51.100.%d:%d", 10+8*room+i, 40000+i), Transport: "quic",
		JoinedAt: at.Add(-time.Duration(7+3*i+room) * time.Minute), Tier: "Studio48k", LossPct: 0.2 + 0.9*w*w, RTTMS: 18 + 30*w, JitterMS: 2 + 5*w, ReportAgeS: math.Mod(sec+float64(i)*0.3, 1),
		Received: uint64(50 * (sec + 3000)), SeqGaps: uint64(0.1 * (sec + 3000)), Delivered: uint64(400 * (sec + 3000)), Dropped: map[string]uint64{},
		QueueDepth: int(3 * w), QueueCapacity: 64, QueueOldestMS: 4 * w, Shard: fmt.Sprintf("media/%d", []int{0, 1, 2, 4, 6, 7}[(room+i)%6]), LastPacketMS: 12,
	}
	if i == 3 && room == 2 {
		p.Transport, p.RelayLabel = "federated", "relay-fra"
	}
	return p
}

// spoil makes the first room bad: bastien cannot take what we send, ada's
// uplink loses, chiara is muted, dmitri has gone silent.
func spoil(sc Scene, r *view.Room, sec float64) {
	b := &r.Participants[1]
	r.Tier, r.Weakest = "Catastrophic", b.ID
	b.Tier, b.LossPct, b.RTTMS, b.JitterMS = "Catastrophic", 17.5+3*math.Sin(sec/5), 312, 61
	b.QueueDepth, b.QueueOldestMS = 61, 480
	b.Dropped = map[string]uint64{"queue_head": uint64(43 * (sec + 800)), "queue_age": 812}
	if sc == HotShard {
		r.Tier, b.Tier, b.LossPct, b.RTTMS, b.QueueDepth, b.Dropped = "Degraded", "Degraded", 7.4, 140, 4, map[string]uint64{}
		r.Participants[4].Shard = "media/3"
		r.Participants[4].Remote = "203.0.113.77:50122"
	}
	a := &r.Participants[0]
	a.SeqGaps = uint64(3 * (sec + 3000))
	r.Participants[2].Muted = true
	r.Participants[3].LastPacketMS, r.Participants[3].Received, r.Participants[3].SeqGaps = 14200, 151000, 3
}

func hostile(rs []view.Room) {
	names := []string{"\x1b[31mred\x1b[0m\x07", "a\u202eb\u2066c\u200fd", "日本語の部屋は長い名前", "e\u0301\u0302\u0303\u0304\u0305\u0306", "\u200b\u200b", "👨‍👩‍👧‍👦🇩🇪👍🏽", string([]byte{0xff, 0xc3, 0x28})}
	for i := range rs {
		rs[i].Name = names[i%len(names)]
		rs[i].Tier = names[(i+1)%len(names)]
		for j := range rs[i].Participants {
			p := &rs[i].Participants[j]
			p.Alias, p.Remote, p.Tier, p.Shard = names[(i+j)%len(names)], names[(i+j+1)%len(names)], names[(i+j+2)%len(names)], names[(i+j+3)%len(names)]
			p.LossPct, p.RTTMS, p.JitterMS, p.QueueDepth = math.NaN(), math.Inf(1), -4, -3
			p.Dropped = map[string]uint64{names[j%len(names)]: math.MaxUint64}
		}
	}
}

func routing(sc Scene, sec float64) view.DHT {
	d := view.DHT{
		Touch: view.Touch{Fast: uint64(480 * (sec + 9000)), Slow: 1210, Missing: 88}, Admission: map[string]uint64{"admitted": 412, "already_known": 90211, "bucket_full": 77, "subnet_limit": 31},
		Lookups: view.Lookups{Active: 2, OK: 4410, Failed: 31, P50MS: 84, P99MS: 612, HopsP50: 3}, RPC: view.RPC{Pending: 4, Sent: 88123, OK: 87010, Timeout: 1113, Refused: 2},
		Diversity: view.Diversity{DistinctIPs: 143, DistinctSubnets: 97, LargestSubnetPct: 6.4}, Cache: view.Cache{Hits: 71234, Misses: 8123, Evicted: 412, Bytes: 3 << 20},
		Saved: view.Saved{OK: true, Saves: 12, Peers: 171, Scores: 160, Restored: 158, Redialled: 149, RestoredFrom: "routing.json"},
	}
	d.RPC.Stray = map[string]uint64{"late": 41, "repeated": 0, "unknown": 2, "wrong_peer": 0, "wrong_type": 0, "malformed": 0}
	d.Reachability = view.Reachability{Verdict: "nat", Observers: 7, Relayed: 2, PunchedOK: 31, PunchedFailed: 4, Relaying: view.Relaying{Pairs: 3, Capacity: 64}}
	d.Records = view.Records{Rooms: 3, Presences: 118, Foreign: 77, Kept: 912, Refused: map[string]uint64{"stale": 9}}
	sizes := []int{20, 20, 20, 20, 20, 20, 18, 14, 9, 6, 3, 2, 0, 1}
	for i, n := range sizes {
		b := view.Bucket{Index: 255 - i, Size: n, Capacity: 20, Fresh: n, LastRefreshS: math.Mod(float64(37*i)+sec/4, 280), OldestS: 600}
		if i >= 8 {
			b.LastRefreshS = 300 + float64(60*i)
		}
		if sc != Healthy && i >= 9 {
			b.LastRefreshS, b.Stale, b.Fresh = 4000, n, 0
		}
		d.Buckets = append(d.Buckets, b)
		for k := range n {
			p := view.Peer{
				Links: (k + 1) % 2, SinceS: 86400 - float64(300*i+k),
				ID: fmt.Sprintf("%02x%02x7d1e%056x", i, k, 1e6*i+k), Bucket: 255 - i, LastSeenS: b.LastRefreshS + float64(11*k), RTTMS: 12 + float64((i*31+k*7)%140), Trust: 0.5 + float64(k%5)/10, State: "fresh",
				Addrs: []view.Addr{{Addr: fmt.Sprintf("192.0.2.%d:4433", (i*20+k)%250), Type: "direct"}},
			}
			if p.LastSeenS > 900 {
				p.State = "stale"
				d.Stale++
			} else if sc != Healthy && i == 2 && k == 7 {
				p.State, p.Trust, p.Failures, p.Links = "suspect", 0.1, 2, 0
				p.Addrs = append(p.Addrs, view.Addr{Addr: "203.0.113.9:443", Type: "relay"})
				d.Suspect++
			} else {
				d.Fresh++
			}
			d.Peers++
			if sc == Hostile {
				p.Addrs[0].Addr = "\x1b]52;c;AAAA\x07" + p.Addrs[0].Addr
			}
			d.PeersTable = append(d.PeersTable, p)
		}
	}
	d.Lookups.Trace = lookups(sc, d.PeersTable)
	return d
}

// lookups are one under way, an operator's, and some that are over.
func lookups(sc Scene, peers []view.Peer) (out []view.LookupTrace) {
	for i, tr := range []view.LookupTrace{
		{Label: "room radio night", For: "operator", State: view.LookupActive, Paths: 2, AgeS: 0.4, TookMS: 412},
		{Label: "who publishes: room", For: "record", State: view.LookupDone, Stop: "enough", Paths: 1, AgeS: 9, TookMS: 187, Found: 6},
		{Label: "bucket 247", For: "refresh", State: view.LookupDone, Stop: "slow_left", Paths: 1, AgeS: 51, TookMS: 1612, Found: 20},
		{Label: "our own id", For: "self", State: view.LookupDone, Stop: "converged", Paths: 1, AgeS: 208, TookMS: 344, Found: 20},
		{For: "lookup", State: view.LookupFailed, Stop: "no_peers", Paths: 1, AgeS: 800, TookMS: 5031},
	} {
		tr.Seq, tr.Target = uint64(4443-i), fmt.Sprintf("%064x", 0x9e3779b97f4a7c15*uint64(i+1))
		for k := range 7 + 3*(i%2) {
			m := &peers[(i*29+k*17)%len(peers)]
			q := view.LookupQuery{
				Peer: m.ID, Addr: m.Addrs[0].Addr, Hop: 1 + k/3, Path: k % tr.Paths, Bits: 1 + 3*k, StartMS: float64(20 * k), TookMS: 20 + float64(k*13%90), RTTMS: 18 + float64(k*7%40),
				Outcome: view.QueryAnswered, Known: k < 4, Reports: k % 5, Told: 20, New: max(0, 18-3*k),
			}
			switch {
			case tr.Stop == "no_peers" || k == 5 && i != 3:
				q.Outcome, q.Addr, q.RTTMS, q.Told, q.New, q.TookMS = "unreachable", "", 0, 0, 0, 5000
				tr.Failed++
			case k == 2 && (i == 0 || i == 2):
				q.Outcome, q.Addr, q.RTTMS, q.Told, q.New, q.TookMS = view.QuerySlow, "", 0, 0, 0, 380
				tr.Slow++
				tr.Waiting++
			case i == 0 && k > 5:
				q.Outcome, q.Addr, q.RTTMS, q.Told, q.New, q.TookMS = view.QueryWaiting, "", 0, 0, 0, 12
				tr.Waiting++
			default:
				tr.Answered++
				tr.Closest, tr.Bits, tr.Hops = m.ID, q.Bits, q.Hop
			}
			tr.Asked++
			if sc == Hostile {
				q.Addr, q.Outcome = "\x1b]52;c;AAAA\x07", "\x1b[2J"
			}
			tr.Queries = append(tr.Queries, q)
		}
		if sc == Hostile {
			tr.Label, tr.Stop, tr.State = "\u202e\x1b[31mroom", "\x1b[H", "\x07"
		}
		out = append(out, tr)
	}
	return out
}

// Events is the news of a scene, oldest first.
func Events(sc Scene) []view.Event {
	at := Start.Add(12 * 24 * time.Hour)
	list := []view.Event{
		{Kind: "room_joined", Severity: view.Info, Subject: "dev-lobby", Message: "hana joined dev-lobby"},
		{Kind: "bucket_refreshed", Severity: view.Info, Subject: "bucket 251", Message: "bucket 251 refreshed, 20 of 20 alive"},
		{Kind: "tier_changed", Severity: view.Info, Subject: "radio night", Message: "tier Studio48k to Studio32k, weakest esra"},
	}
	switch sc {
	case Empty:
		return nil
	case HotShard:
		list = append(list,
			view.Event{Kind: "shard_drops", Severity: view.Alarm, Subject: "media/3", Message: "first drop of a burst: shard_full, 203.0.113.77 holds 71 % of the queue", Fields: map[string]any{"depth": 1024, "ip": "203.0.113.77"}},
			view.Event{Kind: "shard_panic", Severity: view.Warn, Subject: "media/5", Message: "a panic was contained, the packet quarantined, the loop restarted"},
			view.Event{Kind: "shard_wedged", Severity: view.Alarm, Subject: "media/5", Message: "no progress for 2 s"})
	case BadRoom:
		list = append(list, view.Event{Kind: "tier_changed", Severity: view.Warn, Subject: "town hall", Message: "tier Good to Catastrophic, weakest bastien"})
	case Hostile:
		list = append(list, view.Event{Kind: "x\x1b[2J", Severity: "odd\u202e", Subject: "日本\x00語", Message: "line one\nline two\r\x1b[1;1Hgone", Fields: map[string]any{"\x1b": "\x07"}})
	case Healthy:
	}
	for i := range list {
		list[i].Seq, list[i].At = uint64(i+1), at.Add(time.Duration(i*7-30)*time.Second)
	}
	return list
}
