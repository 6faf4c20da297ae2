// Package config is what an operator can set, where a setting may come from
// and what it must look like: defaults, a TOML file, SIGNALBOX_* variables and
// flags, in rising precedence (contract section 1). Keys written for wzp-relay
// are accepted with the same meaning (spec wzp 6.2).
//
// The package also holds the exit codes, since most of them are first known
// where a setting turns out to be unusable. It reads the environment only as
// far as LoadOptions hands it in, and imports nothing of this module.
package config

import (
	"path/filepath"
	"time"
)

// Config is one complete set of settings. Default makes a usable one without a
// state directory; Load makes a complete and checked one. It is a plain value:
// copying it copies everything but the slices' backing arrays, which nobody
// modifies after Load.
type Config struct {
	StateDir      string        `koanf:"state_dir"`      // identity, audit log; 0700
	Identity      string        `koanf:"identity"`       // identity file; empty: StateDir/identity
	ListenAddr    string        `koanf:"listen_addr"`    // the one UDP port, host:port
	AdvertiseAddr string        `koanf:"advertise_addr"` // told to clients and DHT peers; empty: guessed
	AdminSocket   string        `koanf:"admin_socket"`   // unix socket; empty: StateDir/admin.sock
	MetricsAddr   string        `koanf:"metrics_addr"`   // HTTP host:port; empty: off
	WSOrigins     []string      `koanf:"ws_origins"`     // hosts whose pages may use the bridge, beside our own
	WSAddr        string        `koanf:"ws_addr"`        // WebSocket bridge host:port; empty: off
	WebTransport  bool          `koanf:"webtransport"`   // browsers on the QUIC port too, where WSAddr is set
	WTCert        string        `koanf:"webtransport_cert"`
	WTKey         string        `koanf:"webtransport_key"` // PEM; empty: certificates of our own, which browsers know by hash
	LogLevel      string        `koanf:"log_level"`        // debug, info, warn, error
	LogFormat     string        `koanf:"log_format"`       // auto, text, json
	Theme         string        `koanf:"theme"`            // of the console: auto, dark, light, contrast, 16, mono
	DrainTimeout  time.Duration `koanf:"drain_timeout"`    // over which TERM spreads the closes
	MaxSessions   int           `koanf:"max_sessions"`     // participants on this node

	SSH      SSH      `koanf:"ssh"`
	DHT      DHT      `koanf:"dht"`
	Dispatch Dispatch `koanf:"dispatch"`
	QUIC     QUIC     `koanf:"quic"`
	Relay    Relay    `koanf:"relay"`
	Signal   Signal   `koanf:"signal"`
	Auth     Auth     `koanf:"auth"`
	Flight   Flight   `koanf:"flight"`

	Federation Federation `koanf:"federation"`

	Peers       []Peer       `koanf:"peers"`
	Trusted     []Trusted    `koanf:"trusted"`
	GlobalRooms []GlobalRoom `koanf:"global_rooms"`

	Legacy Legacy `koanf:",squash"`

	// Warnings name every setting that is accepted and has no effect, in words
	// for the operator. Load fills it in.
	Warnings []string `koanf:"-"`

	// MissingFile is the configuration file that was named and is not there.
	MissingFile string `koanf:"-"`
}

// SSH is the console over SSH.
type SSH struct {
	Listen         string `koanf:"listen"`          // host:port; empty: off
	AuthorizedKeys string `koanf:"authorized_keys"` // file in OpenSSH's format
}

// DHT is the Kademlia node.
type DHT struct {
	Join          []string      `koanf:"join"`           // ID@HOST:PORT, see ParseJoin
	CacheBytes    int           `koanf:"cache_bytes"`    // what strangers may make us remember; 0: nothing
	AllowLoopback bool          `koanf:"allow_loopback"` // lifts loopback and IP-diversity rules: tests and demos
	LookupPaths   int           `koanf:"lookup_paths"`   // disjoint paths of a lookup for a record
	SaveInterval  time.Duration `koanf:"save_interval"`  // about how often routing.json and trust.json are written
	Relay         bool          `koanf:"relay"`          // pass on between peers that cannot connect
	RelayPairs    int           `koanf:"relay_pairs"`    // that many pairs at a time
	RelayBPS      int           `koanf:"relay_bps"`      // bytes/s for a pair, each way
}

// Whether relays and users find each other in the DHT. Auto means: as long as
// anybody may come in anyway, which a node that asks for tokens does not let.
const (
	DirectoryAuto = "auto"
	DirectoryOn   = "on"
	DirectoryOff  = "off"
)

// ListUsers says whether users of this node are listed in the DHT, and those
// of others looked for there.
func (c *Config) ListUsers() bool { return c.listed(c.Signal.Directory) }

// DiscoverRelays says whether this node may link to relays that nobody has named
// to it: those the DHT lists, and those that come and prove who they are. Auto
// means more than this: see signalbox/engine, which knows what is named now.
func (c *Config) DiscoverRelays() bool { return c.listed(c.Federation.Discover) }

func (c *Config) listed(mode string) bool {
	return mode == DirectoryOn || mode == DirectoryAuto && c.Legacy.AuthURL == "" && c.Legacy.RemoteRelay == ""
}

// RelayFor is how many pairs of peers the node relays for; 0: it is not willing.
func (d *DHT) RelayFor() int {
	if !d.Relay {
		return 0
	}
	return d.RelayPairs
}

// Dispatch is the sharded dispatcher; every plane gets one of this shape.
type Dispatch struct {
	Shards   int `koanf:"shards"`   // per plane
	Capacity int `koanf:"capacity"` // messages a shard may hold
	Bytes    int `koanf:"bytes"`    // bytes a shard may hold; 0: 4 KiB times Capacity
}

// Retry modes of QUIC: when a stranger must prove its address before we keep
// any state for it.
const (
	RetryAuto   = "auto" // above RetryRate handshakes a second
	RetryAlways = "always"
	RetryNever  = "never"
)

// QUIC is the front door.
type QUIC struct {
	Retry            string        `koanf:"retry"`             // auto, always, never
	RetryRate        float64       `koanf:"retry_rate"`        // handshakes/s above which auto asks for a Retry
	HandshakeTimeout time.Duration `koanf:"handshake_timeout"` // a handshake must be over by then
	MaxConnections   int           `koanf:"max_connections"`   // at the same time
	MaxPerPrefix     int           `koanf:"max_per_prefix"`    // of one IPv4 address or IPv6 /64
	ReadTick         time.Duration `koanf:"read_tick"`         // how long packets may gather before they are read; 0: never
	ReadTickAbove    float64       `koanf:"read_tick_above"`   // packets/s from which they do
}

// Relay bounds what one room and one client may cost.
type Relay struct {
	MaxRooms      int           `koanf:"max_rooms"`
	MaxRoomSize   int           `koanf:"max_room_size"`
	ClientPPS     int           `koanf:"client_pps"`     // packets/s one client may send
	ClientBPS     int           `koanf:"client_bps"`     // bytes/s one client may send
	QueueCapacity int           `koanf:"queue_capacity"` // packets waiting for one receiver
	QueueMaxAge   time.Duration `koanf:"queue_max_age"`  // older ones are worthless and dropped
}

// Flight is the flight recorder.
type Flight struct {
	Keep      time.Duration `koanf:"keep"`       // how far back it reaches
	MemBytes  int           `koanf:"mem_bytes"`  // of memory
	FileBytes int           `koanf:"file_bytes"` // of disk, below the state directory
	Trace     string        `koanf:"trace"`      // execution trace of an anomaly: after, always, off
}

// Execution traces of the flight recorder: of the seconds after an anomaly, at
// no cost before it; or of those around it, for 6 % of the relay's CPU always.
const (
	TraceAfter  = "after"
	TraceAlways = "always"
	TraceOff    = "off"
)

// Signal is the signalling of direct calls, and who may learn who is here.
type Signal struct {
	MaxClients       int           `koanf:"max_clients"`       // signalling connections
	RingTimeout      time.Duration `koanf:"ring_timeout"`      // an offer nobody answers ends
	RequireSignature bool          `koanf:"require_signature"` // refuse registrations that prove nothing
	Directory        string        `koanf:"directory"`         // list who is registered here in the DHT, and look there for who is not: auto, on, off
	ExposePresence   bool          `koanf:"expose_presence"`   // identities on /presence, /peers and /route
	PresenceFrom     []string      `koanf:"presence_from"`     // addresses and prefixes of relays that tell, and are told, who is where
}

// Auth is how tokens are checked at auth_url.
type Auth struct {
	Timeout       time.Duration `koanf:"timeout"`        // one check, all in all
	MaxConcurrent int           `koanf:"max_concurrent"` // checks at the same time
	CacheTTL      time.Duration `koanf:"cache_ttl"`      // how long a good verdict is believed; 0: not at all
}

// Peer is a relay we keep a federation link to (spec wzp 6.2).
type Peer struct {
	URL         string `koanf:"url"` // host:port
	Fingerprint string `koanf:"fingerprint"`
	Label       string `koanf:"label"`
	Unproven    bool   `koanf:"unproven"` // admit although it cannot prove who it is
}

// Trusted is a relay that may link to us (spec wzp 6.2).
type Trusted struct {
	Fingerprint string `koanf:"fingerprint"`
	Label       string `koanf:"label"`
	Unproven    bool   `koanf:"unproven"` // admit although it cannot prove who it is
}

// Federation is how far other relays are trusted.
type Federation struct {
	Discover string `koanf:"discover"` // link to relays that the DHT lists: auto, on, off
	LinkPPS  int    `koanf:"link_pps"` // packets/s one relay may send
	RoomPPS  int    `koanf:"room_pps"` // packets/s one relay may send to one room
	Trunk    bool   `koanf:"trunk"`    // several packets in one datagram, to relays that read them
}

// GlobalRoom is a room shared over federation links.
type GlobalRoom struct {
	Name string `koanf:"name"`
}

// Legacy are the remaining keys of wzp-relay (spec wzp 6.1, 6.2).
// Config.Warnings says which of them have no effect.
type Legacy struct {
	RemoteRelay       string   `koanf:"remote_relay"`
	AuthURL           string   `koanf:"auth_url"`
	MetricsPort       int      `koanf:"metrics_port"` // Load turns it into MetricsAddr
	WSPort            int      `koanf:"ws_port"`      // Load turns it into WSAddr
	ProbeTargets      []string `koanf:"probe_targets"`
	ProbeMesh         bool     `koanf:"probe_mesh"`
	TrunkingEnabled   bool     `koanf:"trunking_enabled"`
	StaticDir         string   `koanf:"static_dir"`
	DebugTap          string   `koanf:"debug_tap"`
	EventLog          string   `koanf:"event_log"`
	JitterTargetDepth int      `koanf:"jitter_target_depth"`
	JitterMaxDepth    int      `koanf:"jitter_max_depth"`
}

// Default returns the settings of a node nobody has configured. StateDir and
// AdminSocket are empty, since they depend on the environment; Load and
// Resolve fill them in.
func Default() Config {
	return Config{
		ListenAddr:   "[::]:4433",
		LogLevel:     "info",
		Theme:        "auto",
		LogFormat:    "auto",
		DrainTimeout: 20 * time.Second,
		MaxSessions:  10_000,
		WebTransport: true,
		DHT:          DHT{LookupPaths: 1, SaveInterval: 10 * time.Minute, CacheBytes: 16 << 20, Relay: true, RelayPairs: 32, RelayBPS: 65_536},
		Dispatch:     Dispatch{Shards: 8, Capacity: 256},
		QUIC: QUIC{
			Retry: RetryAuto, RetryRate: 50, HandshakeTimeout: 10 * time.Second, ReadTick: 500 * time.Microsecond, ReadTickAbove: 4000,
			MaxConnections: 16_384, MaxPerPrefix: 4096,
		},
		Relay: Relay{
			MaxRooms: 10_000, MaxRoomSize: 1000, ClientPPS: 400, ClientBPS: 512_000,
			QueueCapacity: 256, QueueMaxAge: 500 * time.Millisecond,
		},
		Signal: Signal{MaxClients: 10_000, RingTimeout: time.Minute, Directory: DirectoryAuto},
		Auth:   Auth{Timeout: 5 * time.Second, MaxConcurrent: 32, CacheTTL: time.Minute},
		Flight: Flight{Keep: 30 * time.Minute, MemBytes: 64 << 20, FileBytes: 256 << 20, Trace: TraceAfter},

		Federation: Federation{Discover: DirectoryAuto, LinkPPS: 50_000, RoomPPS: 2000, Trunk: true},
	}
}

// IdentityPath is where the identity file is.
func (c *Config) IdentityPath() string {
	if c.Identity != "" {
		return c.Identity
	}
	return filepath.Join(c.StateDir, "identity")
}

// AdminPath is where the admin socket is.
func (c *Config) AdminPath() string {
	if c.AdminSocket != "" {
		return c.AdminSocket
	}
	return filepath.Join(c.StateDir, "admin.sock")
}
