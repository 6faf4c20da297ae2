// Package view holds the values the outside sees: the snapshot, events,
// audit records and explanations of contract sections 2 and 3. It imports the
// standard library only and none of its values locks or shares memory with
// the engine: once published, a value is read-only for everyone, for ever.
package view

import (
	"strconv"
	"time"
)

// Snapshot is the state of one node at one moment (contract section 3).
// Durations carry their unit in the field name; counters only grow.
type Snapshot struct {
	Seq     uint64    `json:"seq"`
	At      time.Time `json:"at"`
	Node    Node      `json:"node"`
	Kernel  Kernel    `json:"kernel"`
	Shards  []Shard   `json:"shards"`
	Ledger  Ledger    `json:"ledger"`
	Rooms   []Room    `json:"rooms"`
	Links   []Link    `json:"links"`
	Signal  Signal    `json:"signal"`
	DHT     DHT       `json:"dht"`
	Sources []Source  `json:"sources"` // restrictions an operator has put on addresses
	Edge    Edge      `json:"edge"`
	Flight  Flight    `json:"flight"`
	Undo    []Undo    `json:"undo"` // what is in force and can be taken back, newest first
	Endings []Ending  `json:"endings"`
	Audit   AuditFile `json:"audit"`

	Refusals []Refusal `json:"link_refusals"`       // relays that were not let in, newest first
	Forward  *Forward  `json:"forward,omitempty"`   // nil: rooms are on this node
	EventLog *EventLog `json:"event_log,omitempty"` // nil: none is written
	Probes   []Probe   `json:"probes,omitempty"`
	Taps     []Tap     `json:"taps,omitempty"`
}

// Node is the process itself.
type Node struct {
	NodeID           string    `json:"node_id"`
	Fingerprint      string    `json:"fingerprint"`
	TLSFingerprint   string    `json:"tls_fingerprint"`
	Version          string    `json:"version"`
	StartedAt        time.Time `json:"started_at"`
	UptimeS          float64   `json:"uptime_s"`
	State            string    `json:"state"` // starting, ready, draining, stopping
	Health           Health    `json:"health"`
	Listen           []string  `json:"listen"`
	Goroutines       int       `json:"goroutines"`
	HeapBytes        uint64    `json:"heap_bytes"`
	CPUPct           float64   `json:"cpu_pct"`
	CgroupLimitBytes uint64    `json:"cgroup_limit_bytes"`
	SampleUS         float64   `json:"sample_us"` // what building this snapshot cost
	Mallocs          uint64    `json:"mallocs"`   // heap objects allocated since the start
}

// Health is the verdict and, in words, what it rests on.
type Health struct {
	Verdict string   `json:"verdict"` // ok, degraded, failing
	Reasons []string `json:"reasons"`
	Causes  []Cause  `json:"causes"` // the same, with a place to go and a remedy
}

// Cause is one thing that is wrong, worst first.
type Cause struct {
	Severity string `json:"severity"` // warn, alarm
	Pane     string `json:"pane"`     // overview, shards, rooms, routing, events
	Subject  string `json:"subject"`  // e.g. media/3, a room's or participant's name
	Message  string `json:"message"`
	Remedy   string `json:"remedy"`
	Machine  bool   `json:"machine,omitempty"` // receivers lose, but through this machine's fault and not theirs
}

// Kernel is what happens below us.
type Kernel struct {
	UDPRcvbufErrors uint64 `json:"udp_rcvbuf_errors"`
	UDPSndbufErrors uint64 `json:"udp_sndbuf_errors"`
	RcvbufBytes     int    `json:"rcvbuf_bytes"`
	SndbufBytes     int    `json:"sndbuf_bytes"`
	GSO             bool   `json:"gso"`
}

// Shard is one queue and loop of the dispatcher.
type Shard struct {
	Plane      string            `json:"plane"` // media, dht
	Index      int               `json:"index"`
	State      string            `json:"state"` // running, paused, restarting, wedged
	Depth      int               `json:"depth"`
	Capacity   int               `json:"capacity"`
	HighWater  int               `json:"high_water"` // most that ever waited
	Peak       int               `json:"peak"`       // most that waited in the last second or two
	Received   uint64            `json:"received"`
	Processed  uint64            `json:"processed"`
	Dropped    map[string]uint64 `json:"dropped"`
	OldestMS   float64           `json:"oldest_ms"`
	BusyPct    float64           `json:"busy_pct"`
	WaitP50US  float64           `json:"wait_p50_us"`
	WaitP99US  float64           `json:"wait_p99_us"`
	Panics     uint64            `json:"panics"`
	Restarts   uint64            `json:"restarts"`
	Current    string            `json:"current"`
	CurrentMS  float64           `json:"current_ms"` // how long it has been at that
	LastPanic  string            `json:"last_panic,omitempty"`
	HotSources []HotSource       `json:"hot_sources"`
	Bytes      int               `json:"bytes"`

	LastPacketMS float64 `json:"last_packet_ms"` // since the newest message came in; -1: none has yet
}

// Key is the shard's name in commands: plane/index.
func (s *Shard) Key() string { return s.Plane + "/" + strconv.Itoa(s.Index) }

// HotSource is one address and its part of a shard's traffic.
type HotSource struct {
	IP       string  `json:"ip"`
	SharePct float64 `json:"share_pct"`
	RatePPS  float64 `json:"rate_pps"`
	Dropped  uint64  `json:"dropped"`
}

// Ledger is the account of each plane.
type Ledger struct {
	Media      Plane `json:"media"`
	Federation Plane `json:"federation"`
	DHT        Plane `json:"dht"`
}

// Plane closes: copies = delivered + sum(dropped) + queued + unexplained, and
// unexplained is zero.
type Plane struct {
	Received    uint64            `json:"received"`
	Copies      uint64            `json:"copies"`
	Delivered   uint64            `json:"delivered"`
	Dropped     map[string]uint64 `json:"dropped"`
	Queued      uint64            `json:"queued"`
	Unexplained int64             `json:"unexplained"`
}

// Room is a media room.
type Room struct {
	Name         string        `json:"name"`
	Global       bool          `json:"global"`
	Locked       bool          `json:"locked"`
	Tier         string        `json:"tier"`
	PinnedTier   string        `json:"pinned_tier"`
	CreatedAt    time.Time     `json:"created_at"`
	Directives   uint64        `json:"directives"`
	Weakest      string        `json:"weakest"`
	Participants []Participant `json:"participants"`
}

// Participant is one member of a room.
type Participant struct {
	ID            string            `json:"id"`
	Fingerprint   string            `json:"fingerprint"`
	Alias         string            `json:"alias"`
	Remote        string            `json:"remote"`
	Transport     string            `json:"transport"` // quic, ws, wt, federated
	RelayLabel    string            `json:"relay_label"`
	JoinedAt      time.Time         `json:"joined_at"`
	Muted         bool              `json:"muted"`
	Tier          string            `json:"tier"`
	LossPct       float64           `json:"loss_pct"`
	RTTMS         float64           `json:"rtt_ms"`
	JitterMS      float64           `json:"jitter_ms"`
	ReportAgeS    float64           `json:"report_age_s"` // -1: has never reported
	Received      uint64            `json:"received"`
	SeqGaps       uint64            `json:"seq_gaps"`
	Delivered     uint64            `json:"delivered"`
	Dropped       map[string]uint64 `json:"dropped"`
	QueueDepth    int               `json:"queue_depth"`
	QueueCapacity int               `json:"queue_capacity"`
	QueueOldestMS float64           `json:"queue_oldest_ms"`
	Shard         string            `json:"shard"` // the shard this participant's packets pass, media/3
	LastPacketMS  float64           `json:"last_packet_ms"`
	Recovery

	LastDeliveredMS float64 `json:"last_delivered_ms"` // since they were last handed a packet; -1: never
}

// Signal is the signalling plane.
type Signal struct {
	Registered   int    `json:"registered"` // identities
	Calls        Calls  `json:"calls"`
	Offers       uint64 `json:"offers"`
	Answers      uint64 `json:"answers"`
	Hangups      uint64 `json:"hangups"`
	RingTimeouts uint64 `json:"ring_timeouts"`

	Connections      int               `json:"connections"`       // signalling connections, all
	Anonymous        int               `json:"anonymous"`         // those that only ask for their address
	Stalls           uint64            `json:"stalls"`            // clients that did not take what they were told
	Lost             uint64            `json:"lost"`              // times members of rooms, or relays we pass signals on to, did not take what they were told
	Moves            uint64            `json:"moves"`             // identities registered from a second address
	Refused          map[string]uint64 `json:"refused"`           // by cause
	PresentHere      int               `json:"present_here"`      // identities in rooms or registered
	PresentElsewhere int               `json:"present_elsewhere"` // identities other relays told of
	Clients          []SignalClient    `json:"clients"`           // bounded: those in trouble, in calls, the newest
	CallList         []Call            `json:"call_list"`         // bounded: the unanswered first, then the newest
	Auth             Auth              `json:"auth"`
}

// SignalClient is one registered signalling connection.
type SignalClient struct {
	ID            uint64    `json:"id"`
	Fingerprint   string    `json:"fingerprint"`
	Alias         string    `json:"alias"`
	Remote        string    `json:"remote"`
	Since         time.Time `json:"since"`
	Signed        bool      `json:"signed"`  // the registration was signed
	Stalled       bool      `json:"stalled"` // does not read what it is sent
	Current       bool      `json:"current"` // the connection of its identity that is rung
	Calls         int       `json:"calls"`
	QueueDepth    int       `json:"queue_depth"`
	QueueCapacity int       `json:"queue_capacity"`
	Received      uint64    `json:"received"`
	Sent          uint64    `json:"sent"` // and read
}

// Call is one direct call.
type Call struct {
	ID        string  `json:"id"`
	State     string  `json:"state"` // pending, ringing, active
	Room      string  `json:"room"`
	AgeS      float64 `json:"age_s"`
	StateAgeS float64 `json:"state_age_s"`
	Caller    Party   `json:"caller"`
	Callee    Party   `json:"callee"`
	Asked     int     `json:"asked"` // relays that have the offer, while none has answered
}

// Party is one side of a call.
type Party struct {
	Fingerprint string `json:"fingerprint"`
	Alias       string `json:"alias"`
	Relay       string `json:"relay"` // empty: on this node
	Lost        bool   `json:"lost"`  // its connection is gone, and may come back
}

// Auth is the check of tokens at auth_url.
type Auth struct {
	Enabled    bool              `json:"enabled"`
	Checks     map[string]uint64 `json:"checks"`  // by verdict: ok, denied, error, timeout, busy, open
	Breaker    string            `json:"breaker"` // closed, open, half-open; empty: off
	InFlight   int               `json:"in_flight"`
	Waiting    int               `json:"waiting"`
	CacheHits  uint64            `json:"cache_hits"`
	LatencyP50 float64           `json:"latency_p50_ms"`
	LatencyP99 float64           `json:"latency_p99_ms"`
	Replays    uint64            `json:"replays"` // handshakes refused: their key had been used before
	LastError  string            `json:"last_error"`
}

// Calls counts direct calls by state.
type Calls struct {
	Pending int `json:"pending"`
	Ringing int `json:"ringing"`
	Active  int `json:"active"`
}

// DHT is the Kademlia node.
type DHT struct {
	Peers      int               `json:"peers"`
	Fresh      int               `json:"fresh"`
	Stale      int               `json:"stale"`
	Suspect    int               `json:"suspect"`
	Buckets    []Bucket          `json:"buckets"`
	Touch      Touch             `json:"touch"`
	Admission  map[string]uint64 `json:"admission"`
	Lookups    Lookups           `json:"lookups"`
	RPC        RPC               `json:"rpc"`
	Diversity  Diversity         `json:"diversity"`
	Cache      Cache             `json:"cache"`
	Saved      Saved             `json:"saved"`
	Records    Records           `json:"records"`
	PeersTable []Peer            `json:"peers_table"`
	Unresolved []string          `json:"unresolved,omitempty"` // bootstrap peers' names that have no address now

	Reachability Reachability `json:"reachability"`

	Removed map[string]uint64 `json:"removed"` // contacts that left the table, by why
	Served  uint64            `json:"served"`  // requests of others answered
	Trouble map[string]uint64 `json:"trouble"` // messages and links that came to nothing, by why
}

// Bucket is one k-bucket that holds, or has held, contacts; empty buckets are
// left out.
type Bucket struct {
	Index        int     `json:"index"`
	Size         int     `json:"size"`
	Capacity     int     `json:"capacity"`
	Fresh        int     `json:"fresh"`
	Stale        int     `json:"stale"`
	OldestS      float64 `json:"oldest_s"`
	LastRefreshS float64 `json:"last_refresh_s"` // age of the last proof of life; -1: never
	Suspect      int     `json:"suspect"`        // of the stale: they did not answer
}

// Touch counts how a touch ended (spec dht 2.8).
type Touch struct {
	Fast    uint64 `json:"fast"`
	Slow    uint64 `json:"slow"`
	Missing uint64 `json:"missing"`
}

// Lookups is the iterative FIND_NODE.
type Lookups struct {
	Active  int           `json:"active"`
	OK      uint64        `json:"ok"`
	Failed  uint64        `json:"failed"`
	P50MS   float64       `json:"p50_ms"`
	P99MS   float64       `json:"p99_ms"`
	HopsP50 float64       `json:"hops_p50"`
	Trace   []LookupTrace `json:"trace"` // under way and the last ones, newest first; bounded
}

// RPC counts requests this node sent.
type RPC struct {
	Pending int               `json:"pending"`
	Sent    uint64            `json:"sent"`
	OK      uint64            `json:"ok"`
	Timeout uint64            `json:"timeout"`
	Refused uint64            `json:"refused"`
	Stray   map[string]uint64 `json:"stray"` // replies dropped: late, repeated, unknown, wrong_peer, wrong_type, malformed
}

// Diversity says how many parties the table depends on.
type Diversity struct {
	DistinctIPs      int     `json:"distinct_ips"`
	DistinctSubnets  int     `json:"distinct_subnets"`
	LargestSubnetPct float64 `json:"largest_subnet_pct"`
}

// Cache is what strangers make us remember.
type Cache struct {
	Hits    uint64 `json:"hits"`
	Misses  uint64 `json:"misses"`
	Evicted uint64 `json:"evicted"`
	Bytes   uint64 `json:"bytes"`
}

// Saved is what the node keeps on disk for its next start, and what it has
// found from its last.
type Saved struct {
	OK             bool      `json:"ok"`          // the last save has not failed
	At             time.Time `json:"at,omitzero"` // of the last save that did not
	Error          string    `json:"error,omitempty"`
	SavingS        float64   `json:"saving_s"`        // how long the save under way has taken; 0: none
	Saves          uint64    `json:"saves"`           // that did not fail
	Failures       uint64    `json:"failures"`        // that did
	KeptTimes      uint64    `json:"kept_times"`      // saves that left routing.json as it was
	Kept           string    `json:"kept,omitempty"`  // why the last did: empty, no_shrink
	Peers          int       `json:"peers"`           // in routing.json
	Scores         int       `json:"scores"`          // in trust.json
	Restored       int       `json:"restored"`        // peers of the last run
	Redialled      int       `json:"redialled"`       // of those, how many have connected
	RestoredScores int       `json:"restored_scores"` // scores of the last run
	RestoredFrom   string    `json:"restored_from"`   // the file; empty: there was none of use
	RestoredAgeS   float64   `json:"restored_age_s"`  // its age at the start
	Discarded      string    `json:"discarded"`       // why routing.json was not used; empty: it was, or there was none
	TrustDiscarded string    `json:"trust_discarded"` // the same of trust.json
}

// Peer is one contact of the routing table.
type Peer struct {
	ID        string  `json:"id"`
	Addrs     []Addr  `json:"addrs"`
	Bucket    int     `json:"bucket"`
	LastSeenS float64 `json:"last_seen_s"`
	RTTMS     float64 `json:"rtt_ms"`
	Trust     float64 `json:"trust"`
	State     string  `json:"state"`    // fresh, stale, suspect
	Failures  int     `json:"failures"` // probes in a row without an answer
	SinceS    float64 `json:"since_s"`  // in the table
	Links     int     `json:"links"`    // connections to it now
}

// Addr is an address with its type.
type Addr struct {
	Addr string `json:"addr"`
	Type string `json:"type"` // direct, relay, unverified, lan
}

// Source is one restriction on an address.
type Source struct {
	Prefix  string    `json:"prefix"`
	Kind    string    `json:"kind"` // banned, throttled
	RatePPS float64   `json:"rate_pps,omitempty"`
	Until   time.Time `json:"until,omitzero"`
	Dropped uint64    `json:"dropped"`
	Author  string    `json:"author"`
	Reason  string    `json:"reason"`
}

// Edge is the QUIC front door.
type Edge struct {
	Connections  int               `json:"connections"`
	Handshaking  int               `json:"handshaking"`
	Accepted     uint64            `json:"accepted"`
	Refused      map[string]uint64 `json:"refused"` // by cause: conn_cap, prefix_cap, handshake_timeout, alpn, draining, banned
	RetriesSent  uint64            `json:"retries_sent"`
	RetryActive  bool              `json:"retry_active"`
	RxQueueDrops uint64            `json:"rx_queue_drops"`
	ReadTickUS   int64             `json:"read_tick_us"` // how long packets gather before they are read, because many arrive; 0: they do not
}

// Flight is the flight recorder: how far back one can look.
type Flight struct {
	Snapshots int     `json:"snapshots"` // in memory, one a second
	OldestS   float64 `json:"oldest_s"`  // age of the oldest, s
	MemBytes  uint64  `json:"mem_bytes"`
	FileBytes uint64  `json:"file_bytes"`
	Kept      int     `json:"kept"`    // recordings kept because of an anomaly
	Skipped   uint64  `json:"skipped"` // seconds that were not recorded, the recorder being busy
	Error     string  `json:"error"`   // why nothing is written to disk; empty when it is
}

// Undo is one reversible change that is in force.
type Undo struct {
	ID     string    `json:"id"`
	Kind   string    `json:"kind"`
	Target string    `json:"target"`
	Author string    `json:"author"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	Until  time.Time `json:"until,omitzero"`
}

// Ending is one connection that ended, and why.
type Ending struct {
	At        time.Time `json:"at"`
	Kind      string    `json:"kind"` // media, dht, signal, probe, link, other
	Subject   string    `json:"subject"`
	Remote    string    `json:"remote"`
	Reason    string    `json:"reason"`
	LifetimeS float64   `json:"lifetime_s"`
}

// Event severities.
const (
	Info  = "info"
	Warn  = "warn"
	Alarm = "alarm"
)

// Event is must-see news with a sequence number (contract section 2).
type Event struct {
	Seq      uint64         `json:"seq"`
	At       time.Time      `json:"at"`
	Kind     string         `json:"kind"`
	Severity string         `json:"severity"`
	Subject  string         `json:"subject"`
	Message  string         `json:"message"`
	Fields   map[string]any `json:"fields"`
}

// Audit is one line of the audit log: who did what, when, why, until when and
// who took it back. Refused commands are in it too.
type Audit struct {
	At       time.Time      `json:"at"`
	Author   string         `json:"author"`
	Role     string         `json:"role"`
	Kind     string         `json:"kind"`
	Target   string         `json:"target"`
	Args     map[string]any `json:"args,omitempty"`
	Reason   string         `json:"reason"`
	Until    time.Time      `json:"until,omitzero"`
	OK       bool           `json:"ok"`
	Code     string         `json:"code"`
	Message  string         `json:"message"`
	UndoID   string         `json:"undo,omitempty"`
	UndoneBy string         `json:"undone_by,omitempty"`
	UndoneAt time.Time      `json:"undone_at,omitzero"`

	Supersedes string `json:"supersedes,omitempty"` // undo id of the change it took the place of, or lifted
	Restores   string `json:"restores,omitempty"`   // undo id of the change that is in force again
}
