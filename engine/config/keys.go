package config

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

// Key describes one setting.
type Key struct {
	Name  string // TOML key, dotted: dispatch.shards
	Flag  string // without dashes; empty: no flag
	Short string // one-letter flag
	Arg   string // what the value is, in capitals, for help; empty for switches
	Help  string // one line
	Lists bool   // the flag may be repeated and adds to what the file says
	kind  kind
}

// Env is the environment variable of the key.
func (k Key) Env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.Name, ".", "_"))
}

// Bool tells whether the setting is a switch.
func (k Key) Bool() bool { return k.kind == kindBool }

const envPrefix = "SIGNALBOX_"

type kind uint8

const (
	kindString kind = iota
	kindBool
	kindInt
	kindFloat
	kindDuration
	kindStrings
	kindTables // [[peers]] and the like
)

// keys is every setting, in the order of config show. Kinds come from Config.
var keys = withKinds([]Key{
	{Name: "state_dir", Flag: "state-dir", Arg: "DIR", Help: "identity, audit log and other files of this node (default $STATE_DIRECTORY, else $XDG_STATE_HOME/signalbox)"},
	{Name: "identity", Flag: "identity", Short: "i", Arg: "FILE", Help: "identity file (default <state-dir>/identity)"},
	{Name: "listen_addr", Flag: "listen", Arg: "ADDR", Help: "the one UDP port, for the relay and the DHT, host:port or :port"},
	{Name: "advertise_addr", Flag: "advertise", Arg: "ADDR", Help: "address told to clients and DHT peers (default guessed)"},
	{Name: "admin_socket", Flag: "admin", Arg: "PATH", Help: "admin socket (default $RUNTIME_DIRECTORY/admin.sock, else <state-dir>/admin.sock)"},
	{Name: "metrics_addr", Flag: "metrics", Arg: "ADDR", Help: "serve /metrics, /healthz and /readyz over HTTP, host:port (default off)"},
	{Name: "ws_origins", Flag: "ws-origin", Arg: "HOST", Help: "host whose pages may use the bridge beside our own; may be a pattern", Lists: true},
	{Name: "ws_addr", Flag: "ws", Arg: "ADDR", Help: "serve the WebSocket bridge GET /ws/<room>, host:port (default off)"},
	{Name: "webtransport", Flag: "webtransport", Help: "where the bridge is on, let browsers in by WebTransport too, on the QUIC port"},
	{Name: "webtransport_cert", Arg: "FILE", Help: "certificate for that, PEM (default our own, which browsers know by hash)"},
	{Name: "webtransport_key", Arg: "FILE", Help: "its key, PEM"},
	{Name: "log_level", Flag: "log-level", Arg: "LEVEL", Help: "what is logged: debug, info, warn or error"},
	{Name: "log_format", Flag: "log-format", Arg: "FORMAT", Help: "how it is logged: auto, text or json; auto is text on a terminal"},
	{Name: "theme", Flag: "theme", Arg: "THEME", Help: "colours of the console: auto, dark, light, contrast, 16 or mono; auto asks the terminal"},
	{Name: "drain_timeout", Flag: "drain-timeout", Arg: "DURATION", Help: "time over which TERM spreads the closes, such as 20s"},
	{Name: "max_sessions", Flag: "max-sessions", Arg: "N", Help: "participants on this node"},
	{Name: "ssh.listen", Flag: "ssh", Arg: "ADDR", Help: "serve the console over SSH, host:port (default off)"},
	{Name: "ssh.authorized_keys", Flag: "ssh-authorized-keys", Arg: "FILE", Help: "file that says who may use the console over SSH"},
	{Name: "dht.join", Flag: "dht-join", Arg: "ID@ADDR", Lists: true, Help: "bootstrap peer, ID@HOST:PORT (repeatable)"},
	{Name: "dht.cache_bytes", Arg: "N", Help: "memory for other nodes' records and for what lookups found; 0: none is kept"},
	{Name: "dht.allow_loopback", Flag: "insecure-allow-loopback", Help: "lift the loopback and IP-diversity rules, for tests and demos"},
	{Name: "dht.lookup_paths", Arg: "N", Help: "disjoint paths of a lookup for a record, 1 to 4: more cost more and depend on fewer"},
	{Name: "dht.save_interval", Arg: "DURATION", Help: "about how often the DHT's peers and trust are written to the state directory"},
	{Name: "dht.relay", Help: "pass on, end-to-end encrypted, between peers that cannot connect"},
	{Name: "dht.relay_pairs", Arg: "N", Help: "pairs of peers at a time it is done for"},
	{Name: "dht.relay_bps", Arg: "N", Help: "bytes a second of one such pair, each way"},
	{Name: "dispatch.shards", Flag: "shards", Arg: "N", Help: "shards of each plane"},
	{Name: "dispatch.capacity", Flag: "shard-capacity", Arg: "N", Help: "messages a shard may hold"},
	{Name: "dispatch.bytes", Arg: "N", Help: "bytes a shard may hold; 0 is 4 KiB times the capacity"},
	{Name: "quic.retry", Arg: "MODE", Help: "auto, always or never: when strangers must prove their address first"},
	{Name: "quic.retry_rate", Arg: "N", Help: "handshakes a second above which auto asks for the proof"},
	{Name: "quic.handshake_timeout", Arg: "DURATION", Help: "by which a handshake must be over"},
	{Name: "quic.max_connections", Arg: "N", Help: "connections at the same time"},
	{Name: "quic.max_per_prefix", Arg: "N", Help: "connections of one IPv4 address or IPv6 /64"},
	{Name: "quic.read_tick", Arg: "DURATION", Help: "how long packets may gather before they are read, to save CPU when many arrive; 0: never"},
	{Name: "quic.read_tick_above", Arg: "N", Help: "packets a second from which they do"},
	{Name: "relay.max_rooms", Arg: "N", Help: "rooms at the same time"},
	{Name: "relay.max_room_size", Arg: "N", Help: "participants in one room"},
	{Name: "relay.client_pps", Arg: "N", Help: "packets a second one client may send"},
	{Name: "relay.client_bps", Arg: "N", Help: "bytes a second one client may send"},
	{Name: "relay.queue_capacity", Arg: "N", Help: "packets that may wait for one receiver"},
	{Name: "relay.queue_max_age", Arg: "DURATION", Help: "after which a waiting packet is worthless"},
	{Name: "flight.keep", Arg: "DURATION", Help: "how far back the flight recorder reaches"},
	{Name: "flight.mem_bytes", Arg: "N", Help: "memory the flight recorder may use"},
	{Name: "flight.file_bytes", Arg: "N", Help: "disk the flight recorder may use, below the state directory"},
	{Name: "flight.trace", Arg: "WHEN", Help: "Go execution trace of an anomaly: after it, always (6 % CPU), or off"},
	{Name: "signal.max_clients", Arg: "N", Help: "signalling connections at the same time"},
	{Name: "signal.ring_timeout", Arg: "DURATION", Help: "after which a call nobody answers ends"},
	{Name: "signal.require_signature", Help: "refuse registrations that are not signed"},
	{Name: "signal.directory", Arg: "MODE", Help: "list in the DHT who is registered here, for all who know them to find, and look there for callees: on, off, or auto, on unless auth_url is set"},
	{Name: "signal.expose_presence", Help: "show identities on /presence, /peers and /route of the metrics address"},
	{Name: "signal.presence_from", Arg: "PREFIX", Help: "addresses of relays that may tell and ask who is where, beside those of [[peers]] and probe_targets"},
	{Name: "auth.timeout", Arg: "DURATION", Help: "for one check of a token at auth_url"},
	{Name: "auth.max_concurrent", Arg: "N", Help: "checks of tokens at the same time"},
	{Name: "auth.cache_ttl", Arg: "DURATION", Help: "how long a good verdict is believed; 0s: not at all"},
	{Name: "federation.discover", Arg: "MODE", Help: "link to relays that the DHT lists for our global rooms or callees, and let such relays link: on, off, or auto, on where the node is part of a DHT, auth_url is not set, and no relays are named"},
	{Name: "federation.link_pps", Arg: "N", Help: "packets a second one linked relay may send"},
	{Name: "federation.room_pps", Arg: "N", Help: "packets a second one linked relay may send to one room"},
	{Name: "federation.trunk", Arg: "BOOL", Help: "send several packets in one datagram to linked signalboxes"},
	{Name: "peers", Help: "relays to link to: url, fingerprint, label, unproven"},
	{Name: "trusted", Help: "relays that may link to us: fingerprint, label, unproven"},
	{Name: "global_rooms", Flag: "global-room", Arg: "NAME", Lists: true, Help: "federated room (repeatable)"},
	{Name: "remote_relay", Flag: "remote", Arg: "ADDR", Help: "forward every media client to this relay, each by a connection of its own"},
	{Name: "auth_url", Flag: "auth-url", Arg: "URL", Help: "where tokens are checked; without it nobody is asked for one"},
	{Name: "metrics_port", Flag: "metrics-port", Arg: "N", Help: "as in wzp-relay: same as --metrics 0.0.0.0:N"},
	{Name: "ws_port", Flag: "ws-port", Arg: "N", Help: "as in wzp-relay: same as --ws 0.0.0.0:N"},
	{Name: "probe_targets", Flag: "probe", Arg: "ADDR", Lists: true, Help: "relay to probe once a second (repeatable)"},
	{Name: "probe_mesh", Flag: "probe-mesh", Help: "as in wzp-relay: without effect, /mesh and --mesh-status show the mesh anyway"},
	{Name: "trunking_enabled", Flag: "trunking", Help: "as in wzp-relay: without effect, its clients cannot read trunks"},
	{Name: "static_dir", Flag: "static-dir", Arg: "DIR", Help: "as in wzp-relay: files served beside the WebSocket bridge"},
	{Name: "debug_tap", Flag: "debug-tap", Arg: "ROOM", Help: "log the packet headers and signals of a room, * for all; room.tap does it while running"},
	{Name: "event_log", Flag: "event-log", Arg: "FILE", Help: "as in wzp-relay: write federation events to a file"},
	{Name: "jitter_target_depth", Arg: "N", Help: "as in wzp-relay: never had an effect"},
	{Name: "jitter_max_depth", Arg: "N", Help: "as in wzp-relay: never had an effect"},
})

// Keys returns every setting, in the order of config show.
func Keys() []Key { return slices.Clone(keys) }

// keyNamed returns the setting of that name.
func keyNamed(name string) (Key, bool) {
	for _, k := range keys {
		if k.Name == name {
			return k, true
		}
	}
	return Key{}, false
}

// withKinds gives every key the kind of its field in Config.
func withKinds(ks []Key) []Key {
	kinds := map[string]kind{}
	structKinds(reflect.TypeFor[Config](), "", kinds)
	for i := range ks {
		ks[i].kind = kinds[ks[i].Name]
	}
	return ks
}

// structKinds collects the leaves of t under their dotted names.
func structKinds(t reflect.Type, prefix string, out map[string]kind) {
	for f := range t.Fields() {
		name, opt, _ := strings.Cut(f.Tag.Get("koanf"), ",")
		switch {
		case name == "-":
		case opt == "squash":
			structKinds(f.Type, prefix, out)
		case f.Type.Kind() == reflect.Struct:
			structKinds(f.Type, prefix+name+".", out)
		default:
			out[prefix+name] = kindOf(f.Type)
		}
	}
}

func kindOf(t reflect.Type) kind {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return kindDuration
	case t == reflect.TypeFor[[]string]():
		return kindStrings
	case t.Kind() == reflect.Slice:
		return kindTables
	case t.Kind() == reflect.Bool:
		return kindBool
	case t.Kind() == reflect.Int:
		return kindInt
	case t.Kind() == reflect.Float64:
		return kindFloat
	default:
		return kindString
	}
}

// tableFields are the keys inside an entry of a list of tables.
func tableFields(name string) map[string]kind {
	out := map[string]kind{}
	switch name {
	case "peers":
		structKinds(reflect.TypeFor[Peer](), "", out)
	case "trusted":
		structKinds(reflect.TypeFor[Trusted](), "", out)
	case "global_rooms":
		structKinds(reflect.TypeFor[GlobalRoom](), "", out)
	}
	return out
}
