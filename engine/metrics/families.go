package metrics

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"signalbox/engine/ledger"
	"signalbox/engine/view"
)

// oneOf emits 1 for the state that holds and 0 for the others, each always.
func oneOf(emit put, now string, all ...string) {
	for _, s := range all {
		emit(truth(s == now), s)
	}
}

// byName emits a map in the order of its keys, up to the bound.
func byName(emit put, m map[string]uint64) {
	names := slices.Sorted(maps.Keys(m))
	for _, n := range names[:min(len(names), maxNames)] {
		emit(float64(m[n]), n)
	}
}

func nodeFamilies() []family {
	return []family{
		{"signalbox_build_info", "1, with the build's commit.", gauge, []string{"version"}, func(s *view.Snapshot, emit put) { emit(1, s.Node.Version) }},
		{"signalbox_node_state", "1 for the state the node is in.", gauge, []string{"state"}, func(s *view.Snapshot, emit put) {
			oneOf(emit, s.Node.State, "starting", "ready", "draining", "stopping")
		}},
		{"signalbox_health", "1 for the verdict on the node's health.", gauge, []string{"verdict"}, func(s *view.Snapshot, emit put) {
			oneOf(emit, s.Node.Health.Verdict, "ok", "degraded", "failing")
		}},
		gaugeOf("signalbox_uptime_seconds", "Since the node started.", func(s *view.Snapshot) float64 { return s.Node.UptimeS }),
		gaugeOf("signalbox_snapshot_age_seconds", "Age of the snapshot these figures are from.", func(s *view.Snapshot) float64 { return max(0, time.Since(s.At).Seconds()) }),
		gaugeOf("signalbox_snapshot_build_seconds", "What building the snapshot took.", func(s *view.Snapshot) float64 { return s.Node.SampleUS / 1e6 }),
		gaugeOf("signalbox_cgroup_memory_limit_bytes", "Memory limit of the control group; 0 is none.", func(s *view.Snapshot) float64 { return float64(s.Node.CgroupLimitBytes) }),
		{"signalbox_kernel_udp_errors_total", "Datagrams the kernel lost for want of buffer, by direction.", counter, []string{"direction"}, func(s *view.Snapshot, emit put) {
			emit(float64(s.Kernel.UDPRcvbufErrors), "in")
			emit(float64(s.Kernel.UDPSndbufErrors), "out")
		}},
		{"signalbox_kernel_udp_buffer_bytes", "Size of the UDP socket's buffer, by direction.", gauge, []string{"direction"}, func(s *view.Snapshot, emit put) {
			emit(float64(s.Kernel.RcvbufBytes), "in")
			emit(float64(s.Kernel.SndbufBytes), "out")
		}},
		gaugeOf("signalbox_kernel_gso", "1 if the kernel splits large sends into datagrams.", func(s *view.Snapshot) float64 { return truth(s.Kernel.GSO) }),
		gaugeOf("signalbox_quic_connections", "QUIC connections.", func(s *view.Snapshot) float64 { return float64(s.Edge.Connections) }),
		gaugeOf("signalbox_quic_handshaking", "QUIC connections whose handshake is under way.", func(s *view.Snapshot) float64 { return float64(s.Edge.Handshaking) }),
		gaugeOf("signalbox_quic_read_tick_seconds", "How long packets gather before they are read, because many arrive; 0: they do not.", func(s *view.Snapshot) float64 { return float64(s.Edge.ReadTickUS) / 1e6 }),
		counterOf("signalbox_quic_accepted_total", "QUIC connections accepted.", func(s *view.Snapshot) float64 { return float64(s.Edge.Accepted) }),
		{"signalbox_quic_refused_total", "QUIC connections refused, by cause.", counter, []string{"cause"}, func(s *view.Snapshot, emit put) { byName(emit, s.Edge.Refused) }},
		counterOf("signalbox_quic_retries_total", "Retry packets sent: a stranger had to prove its address.", func(s *view.Snapshot) float64 { return float64(s.Edge.RetriesSent) }),
		gaugeOf("signalbox_quic_retry_active", "1 while strangers must prove their address.", func(s *view.Snapshot) float64 { return truth(s.Edge.RetryActive) }),
		{"signalbox_restrictions", "Restrictions on addresses in force, by kind.", gauge, []string{"kind"}, func(s *view.Snapshot, emit put) {
			n := map[string]float64{}
			for i := range s.Sources {
				n[s.Sources[i].Kind]++
			}
			emit(n["banned"], "banned")
			emit(n["throttled"], "throttled")
		}},
	}
}

// shardReasons are the reasons for which a shard itself drops.
var shardReasons = []ledger.Reason{
	ledger.ShardFull, ledger.ShardPaused, ledger.ShardPanic, ledger.ShardFlushed, ledger.ShardReplaced, ledger.Draining,
}

// perShard is a family with one series per shard.
func perShard(name, help string, c family, f func(v *view.Shard) float64) family {
	return family{name, help, c.kind, []string{"plane", "shard"}, func(s *view.Snapshot, emit put) {
		eachShard(s, func(v *view.Shard, idx string) { emit(f(v), v.Plane, idx) })
	}}
}

// eachShard visits the first shards of each plane, up to the bound.
func eachShard(s *view.Snapshot, f func(v *view.Shard, index string)) {
	for i := range s.Shards {
		if v := &s.Shards[i]; v.Index < maxShards {
			f(v, strconv.Itoa(v.Index))
		}
	}
}

func shardFamilies() []family {
	g, c := family{kind: gauge}, family{kind: counter}
	return []family{
		perShard("signalbox_shard_depth", "Messages waiting in the shard.", g, func(v *view.Shard) float64 { return float64(v.Depth) }),
		perShard("signalbox_shard_capacity", "Messages the shard may hold.", g, func(v *view.Shard) float64 { return float64(v.Capacity) }),
		perShard("signalbox_shard_oldest_seconds", "Age of the oldest message waiting.", g, func(v *view.Shard) float64 { return v.OldestMS / 1e3 }),
		perShard("signalbox_shard_busy_ratio", "Part of the time the shard's loop works.", g, func(v *view.Shard) float64 { return v.BusyPct / 100 }),
		perShard("signalbox_shard_wait_p50_seconds", "Median time a message waited.", g, func(v *view.Shard) float64 { return v.WaitP50US / 1e6 }),
		perShard("signalbox_shard_wait_p99_seconds", "Time that 99 of 100 messages waited less than.", g, func(v *view.Shard) float64 { return v.WaitP99US / 1e6 }),
		perShard("signalbox_shard_received_total", "Messages offered to the shard.", c, func(v *view.Shard) float64 { return float64(v.Received) }),
		perShard("signalbox_shard_processed_total", "Messages handled by the shard.", c, func(v *view.Shard) float64 { return float64(v.Processed) }),
		perShard("signalbox_shard_panics_total", "Panics contained in the shard's loop.", c, func(v *view.Shard) float64 { return float64(v.Panics) }),
		perShard("signalbox_shard_restarts_total", "Times the shard's loop was started anew.", c, func(v *view.Shard) float64 { return float64(v.Restarts) }),
		{"signalbox_shard_state", "1 for the state the shard is in.", gauge, []string{"plane", "shard", "state"}, func(s *view.Snapshot, emit put) {
			eachShard(s, func(v *view.Shard, idx string) {
				oneOf(func(x float64, st ...string) { emit(x, v.Plane, idx, st[0]) }, v.State, "running", "paused", "restarting", "wedged")
			})
		}},
		{"signalbox_shard_dropped_total", "Messages the shard dropped, by reason.", counter, []string{"plane", "shard", "reason"}, func(s *view.Snapshot, emit put) {
			eachShard(s, func(v *view.Shard, idx string) {
				for _, r := range shardReasons {
					emit(float64(v.Dropped[r.String()]), v.Plane, idx, r.String())
				}
			})
		}},
	}
}

// eachPlane visits the three accounts.
func eachPlane(s *view.Snapshot, f func(name string, p *view.Plane)) {
	f("media", &s.Ledger.Media)
	f("federation", &s.Ledger.Federation)
	f("dht", &s.Ledger.DHT)
}

func perPlane(name, help string, c family, f func(p *view.Plane) float64) family {
	return family{name, help, c.kind, []string{"plane"}, func(s *view.Snapshot, emit put) {
		eachPlane(s, func(plane string, p *view.Plane) { emit(f(p), plane) })
	}}
}

func planeFamilies() []family {
	g, c := family{kind: gauge}, family{kind: counter}
	return []family{
		perPlane("signalbox_received_total", "Packets received.", c, func(p *view.Plane) float64 { return float64(p.Received) }),
		perPlane("signalbox_copies_total", "Copies that had to go somewhere.", c, func(p *view.Plane) float64 { return float64(p.Copies) }),
		perPlane("signalbox_delivered_total", "Copies delivered.", c, func(p *view.Plane) float64 { return float64(p.Delivered) }),
		perPlane("signalbox_queued", "Copies waiting.", g, func(p *view.Plane) float64 { return float64(p.Queued) }),
		perPlane("signalbox_unexplained", "Copies neither delivered, dropped nor waiting. Anything but zero is a defect of signalbox.", g, func(p *view.Plane) float64 { return float64(p.Unexplained) }),
		{"signalbox_dropped_total", "Copies dropped, by reason.", counter, []string{"plane", "reason"}, func(s *view.Snapshot, emit put) {
			eachPlane(s, func(plane string, p *view.Plane) {
				for _, r := range ledger.Names() {
					emit(float64(p.Dropped[r]), plane, r)
				}
			})
		}},
		gaugeOf("signalbox_participants_muted", "Participants an operator has muted.", func(s *view.Snapshot) float64 {
			n := 0.0
			for i := range s.Rooms {
				for k := range s.Rooms[i].Participants {
					n += truth(s.Rooms[i].Participants[k].Muted)
				}
			}
			return n
		}),
	}
}

func dhtFamilies() []family {
	return []family{
		{"signalbox_dht_peers", "Peers in the routing table, by state.", gauge, []string{"state"}, func(s *view.Snapshot, emit put) {
			emit(float64(s.DHT.Fresh), "fresh")
			emit(float64(s.DHT.Stale), "stale")
			emit(float64(s.DHT.Suspect), "suspect")
		}},
		{"signalbox_dht_touches_total", "Touches of the routing table, by the way they took.", counter, []string{"path"}, func(s *view.Snapshot, emit put) {
			emit(float64(s.DHT.Touch.Fast), "fast")
			emit(float64(s.DHT.Touch.Slow), "slow")
			emit(float64(s.DHT.Touch.Missing), "missing")
		}},
		{"signalbox_dht_removals_total", "Contacts that left the routing table, by why.", counter, []string{"reason"}, func(s *view.Snapshot, emit put) { byName(emit, s.DHT.Removed) }},
		counterOf("signalbox_dht_served_total", "Requests of peers answered.", func(s *view.Snapshot) float64 { return float64(s.DHT.Served) }),
		{"signalbox_dht_trouble_total", "DHT messages and links that came to nothing, by why; excused: failures not held against the peer.", counter, []string{"what"}, func(s *view.Snapshot, emit put) { byName(emit, s.DHT.Trouble) }},
		{"signalbox_dht_admissions_total", "Candidates for the routing table, by what became of them.", counter, []string{"result"}, func(s *view.Snapshot, emit put) { byName(emit, s.DHT.Admission) }},
		gaugeOf("signalbox_dht_lookups_active", "Lookups under way.", func(s *view.Snapshot) float64 { return float64(s.DHT.Lookups.Active) }),
		{"signalbox_dht_lookups_total", "Lookups that ended, by how.", counter, []string{"result"}, func(s *view.Snapshot, emit put) {
			emit(float64(s.DHT.Lookups.OK), "ok")
			emit(float64(s.DHT.Lookups.Failed), "failed")
		}},
		{"signalbox_dht_lookup_seconds", "Time lookups took, by quantile.", gauge, []string{"quantile"}, func(s *view.Snapshot, emit put) {
			emit(s.DHT.Lookups.P50MS/1e3, "0.5")
			emit(s.DHT.Lookups.P99MS/1e3, "0.99")
		}},
		gaugeOf("signalbox_dht_rpc_pending", "Requests waiting for their answer.", func(s *view.Snapshot) float64 { return float64(s.DHT.RPC.Pending) }),
		{"signalbox_dht_rpc_total", "Requests this node sent, by result; sent counts all.", counter, []string{"result"}, func(s *view.Snapshot, emit put) {
			emit(float64(s.DHT.RPC.Sent), "sent")
			emit(float64(s.DHT.RPC.OK), "ok")
			emit(float64(s.DHT.RPC.Timeout), "timeout")
			emit(float64(s.DHT.RPC.Refused), "refused")
		}},
		gaugeOf("signalbox_dht_distinct_ips", "Addresses the routing table depends on.", func(s *view.Snapshot) float64 { return float64(s.DHT.Diversity.DistinctIPs) }),
		gaugeOf("signalbox_dht_distinct_subnets", "Subnets the routing table depends on.", func(s *view.Snapshot) float64 { return float64(s.DHT.Diversity.DistinctSubnets) }),
		gaugeOf("signalbox_dht_largest_subnet_ratio", "Part of the routing table in its largest subnet.", func(s *view.Snapshot) float64 { return s.DHT.Diversity.LargestSubnetPct / 100 }),
		{"signalbox_dht_cache_total", "What strangers make us remember, by what became of a question.", counter, []string{"result"}, func(s *view.Snapshot, emit put) {
			emit(float64(s.DHT.Cache.Hits), "hit")
			emit(float64(s.DHT.Cache.Misses), "miss")
			emit(float64(s.DHT.Cache.Evicted), "evicted")
			emit(float64(s.DHT.Records.Expired), "expired")
			emit(float64(s.DHT.Records.Dropped), "dropped")
		}},
		{"signalbox_dht_saves_total", "Saves of what the DHT remembers, by what became of them; kept ones left routing.json as it was.", counter, []string{"result"}, func(s *view.Snapshot, emit put) {
			emit(float64(s.DHT.Saved.Saves-s.DHT.Saved.KeptTimes), "ok")
			emit(float64(s.DHT.Saved.KeptTimes), "kept")
			emit(float64(s.DHT.Saved.Failures), "failed")
		}},
		gaugeOf("signalbox_dht_saved_peers", "Peers in routing.json.", func(s *view.Snapshot) float64 { return float64(s.DHT.Saved.Peers) }),
		{"signalbox_dht_restored_peers", "Peers of the last run: those that were known, and those of them that have connected.", gauge, []string{"what"}, func(s *view.Snapshot, emit put) {
			emit(float64(s.DHT.Saved.Restored), "known")
			emit(float64(s.DHT.Saved.Redialled), "connected")
		}},
		{"signalbox_dht_snapshots_discarded", "1 for a file of the last run that was not used.", gauge, []string{"file"}, func(s *view.Snapshot, emit put) {
			emit(truth(s.DHT.Saved.Discarded != ""), "routing")
			emit(truth(s.DHT.Saved.TrustDiscarded != ""), "trust")
		}},
		gaugeOf("signalbox_dht_cache_bytes", "Size of what strangers make us remember.", func(s *view.Snapshot) float64 { return float64(s.DHT.Cache.Bytes) }),
	}
}

func recordFamilies() []family {
	return []family{
		{"signalbox_dht_records", "Signed records: of our own, by kind, and of others, kept here.", gauge, []string{"of"}, func(s *view.Snapshot, emit put) {
			emit(float64(s.DHT.Records.Rooms), "own_rooms")
			emit(float64(s.DHT.Records.Presences), "own_presences")
			emit(float64(s.DHT.Records.Foreign), "others")
		}},
		{"signalbox_dht_records_published_total", "Copies of our records offered to peers, by outcome.", counter, []string{"result"}, func(s *view.Snapshot, emit put) {
			emit(float64(s.DHT.Records.Published), "taken")
			emit(float64(s.DHT.Records.Unpublished), "not_taken")
		}},
		counterOf("signalbox_dht_records_kept_total", "Records of others taken.", func(s *view.Snapshot) float64 { return float64(s.DHT.Records.Kept) }),
		{"signalbox_dht_records_refused_total", "Records of others refused, by why.", counter, []string{"reason"}, func(s *view.Snapshot, emit put) { byName(emit, s.DHT.Records.Refused) }},
	}
}
