package config

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// checker collects what is wrong with a Config.
type checker struct {
	origins Origins
	errs    []error
}

func (c *checker) fail(key, format string, args ...any) {
	c.errs = append(c.errs, &FieldError{key, c.origins[key], fmt.Sprintf(format, args...)})
}

func between[T cmp.Ordered](c *checker, key string, v, lo, hi T) {
	if v < lo || v > hi {
		c.fail(key, "%v is out of range: %v to %v", v, lo, hi)
	}
}

func (c *checker) oneOf(key, v string, allowed ...string) {
	if slices.Contains(allowed, v) {
		return
	}
	c.fail(key, "%q is none of %s%s", v, strings.Join(allowed, ", "), didYouMean(v, append([]string(nil), allowed...)))
}

// addr checks a host:port that may be empty.
func (c *checker) addr(key, v string) {
	if v == "" {
		return
	}
	if _, err := normalAddr(v); err != nil {
		c.fail(key, "%v", err)
	}
}

// Validate checks every setting and tells everything that is wrong at once,
// as joined *FieldErrors.
func (c *Config) Validate() error { return c.validate(Origins{}) }

func (c *Config) validate(o Origins) error {
	k := &checker{origins: o}
	if c.ListenAddr == "" {
		k.fail("listen_addr", "must not be empty")
	}
	k.addr("listen_addr", c.ListenAddr)
	k.addr("advertise_addr", c.AdvertiseAddr)
	k.addr("metrics_addr", c.MetricsAddr)
	k.addr("ws_addr", c.WSAddr)
	if (c.WTCert == "") != (c.WTKey == "") {
		k.fail("webtransport_cert", "goes with webtransport_key: set both or neither")
	}
	k.addr("ssh.listen", c.SSH.Listen)
	k.addr("remote_relay", c.Legacy.RemoteRelay)
	for _, a := range c.Legacy.ProbeTargets {
		k.addr("probe_targets", a)
	}
	k.oneOf("log_level", c.LogLevel, "debug", "info", "warn", "error")
	k.oneOf("log_format", c.LogFormat, "auto", "text", "json")
	k.oneOf("theme", c.Theme, "auto", "dark", "light", "contrast", "16", "mono")
	between(k, "drain_timeout", c.DrainTimeout, 0, time.Hour)
	between(k, "max_sessions", c.MaxSessions, 1, 10_000_000)
	between(k, "metrics_port", c.Legacy.MetricsPort, 0, 65535)
	between(k, "ws_port", c.Legacy.WSPort, 0, 65535)
	if b := c.DHT.CacheBytes; b != 0 {
		between(k, "dht.cache_bytes", b, 1<<16, 4<<30)
	}
	between(k, "dht.lookup_paths", c.DHT.LookupPaths, 1, 4)
	between(k, "dht.save_interval", c.DHT.SaveInterval, 100*time.Millisecond, 24*time.Hour)
	c.validateDispatch(k)
	c.validateLimits(k)
	c.validateNames(k)
	return errors.Join(k.errs...)
}

func (c *Config) validateDispatch(k *checker) {
	between(k, "dispatch.shards", c.Dispatch.Shards, 1, 256)
	between(k, "dispatch.capacity", c.Dispatch.Capacity, 16, 1<<20)
	between(k, "dispatch.bytes", c.Dispatch.Bytes, 0, 1<<30)
	if b := c.Dispatch.Bytes; b > 0 && b < 1<<16 {
		k.fail("dispatch.bytes", "%d is below 65536, less than a few dozen packets", b)
	}
}

func (c *Config) validateLimits(k *checker) {
	k.oneOf("signal.directory", c.Signal.Directory, DirectoryAuto, DirectoryOn, DirectoryOff)
	k.oneOf("federation.discover", c.Federation.Discover, DirectoryAuto, DirectoryOn, DirectoryOff)
	k.oneOf("quic.retry", c.QUIC.Retry, RetryAuto, RetryAlways, RetryNever)
	between(k, "quic.retry_rate", c.QUIC.RetryRate, 1, 1e6)
	between(k, "quic.handshake_timeout", c.QUIC.HandshakeTimeout, 100*time.Millisecond, time.Minute)
	between(k, "quic.max_connections", c.QUIC.MaxConnections, 1, 10_000_000)
	between(k, "quic.max_per_prefix", c.QUIC.MaxPerPrefix, 1, 10_000_000)
	between(k, "quic.read_tick", c.QUIC.ReadTick, 0, 5*time.Millisecond)
	between(k, "quic.read_tick_above", c.QUIC.ReadTickAbove, 100, 1e7)
	between(k, "dht.relay_pairs", c.DHT.RelayPairs, 1, 4096)
	between(k, "dht.relay_bps", c.DHT.RelayBPS, 1024, 100_000_000)
	between(k, "relay.max_rooms", c.Relay.MaxRooms, 1, 10_000_000)
	between(k, "relay.max_room_size", c.Relay.MaxRoomSize, 2, 1_000_000)
	between(k, "relay.client_pps", c.Relay.ClientPPS, 1, 1_000_000)
	between(k, "relay.client_bps", c.Relay.ClientBPS, 1000, 1_000_000_000)
	between(k, "relay.queue_capacity", c.Relay.QueueCapacity, 8, 1<<16)
	between(k, "relay.queue_max_age", c.Relay.QueueMaxAge, time.Millisecond, time.Minute)
	between(k, "signal.max_clients", c.Signal.MaxClients, 1, 1_000_000)
	between(k, "signal.ring_timeout", c.Signal.RingTimeout, time.Second, time.Hour)
	between(k, "auth.timeout", c.Auth.Timeout, 100*time.Millisecond, 10*time.Second)
	between(k, "auth.max_concurrent", c.Auth.MaxConcurrent, 1, 10_000)
	between(k, "auth.cache_ttl", c.Auth.CacheTTL, 0, 24*time.Hour)
	for _, p := range c.Signal.PresenceFrom {
		if _, err := ParsePrefix(p); err != nil {
			k.fail("signal.presence_from", "%v", err)
		}
	}
	between(k, "federation.link_pps", c.Federation.LinkPPS, 50, 10_000_000)
	between(k, "federation.room_pps", c.Federation.RoomPPS, 50, 10_000_000)
	k.oneOf("flight.trace", c.Flight.Trace, TraceAfter, TraceAlways, TraceOff)
	between(k, "flight.keep", c.Flight.Keep, time.Minute, 24*time.Hour)
	between(k, "flight.mem_bytes", c.Flight.MemBytes, 1<<20, 4<<30)
	between(k, "flight.file_bytes", c.Flight.FileBytes, 1<<20, 1<<40)
}

func (c *Config) validateNames(k *checker) {
	for _, j := range c.DHT.Join {
		if _, _, err := ParseJoin(j); err != nil {
			k.fail("dht.join", "%v", err)
		}
	}
	for i, p := range c.Peers {
		if p.Fingerprint == "" {
			k.fail("peers", "entry %d: fingerprint is missing", i+1)
		}
		if _, err := normalAddr(p.URL); err != nil {
			k.fail("peers", "entry %d: url: %v", i+1, err)
		}
	}
	for i, t := range c.Trusted {
		if t.Fingerprint == "" {
			k.fail("trusted", "entry %d: fingerprint is missing", i+1)
		}
	}
	for i, r := range c.GlobalRooms {
		if r.Name == "" {
			k.fail("global_rooms", "entry %d: name is missing", i+1)
		}
	}
	if u := c.Legacy.AuthURL; u != "" {
		if p, err := url.Parse(u); err != nil || p.Host == "" || (p.Scheme != "http" && p.Scheme != "https") {
			k.fail("auth_url", "wants an http or https URL")
		}
	}
	if c.SSH.Listen != "" && c.SSH.AuthorizedKeys == "" {
		k.fail("ssh.authorized_keys", "is needed with ssh.listen: nobody could log in")
	}
}

// warnings names every setting that was given and has no effect.
func (c *Config) warnings(o Origins) []string {
	var out []string
	for _, w := range unserved {
		if from := o[w.key]; from != "" && from != originDefault {
			out = append(out, fmt.Sprintf("%s has no effect: %s (%s)", w.key, w.why, from))
		}
	}
	if c.WTCert != "" && (c.WSAddr == "" || !c.WebTransport) {
		out = append(out, "webtransport_cert has no effect: browsers come by WebTransport only where ws_addr is set and webtransport is true")
	}
	if c.Legacy.StaticDir != "" && c.WSAddr == "" {
		out = append(out, "static_dir has no effect: it is served beside the WebSocket bridge, and ws_addr is off")
	}
	for _, p := range c.Peers {
		out = append(out, unmatchable("peers", cmp.Or(p.Label, p.URL), p.Fingerprint)...)
		if p.Unproven {
			out = append(out, fmt.Sprintf("peers: %s is admitted although it cannot prove who it is", cmp.Or(p.Label, p.URL)))
		}
	}
	for _, t := range c.Trusted {
		out = append(out, unmatchable("trusted", cmp.Or(t.Label, t.Fingerprint), t.Fingerprint)...)
		if t.Unproven {
			out = append(out, fmt.Sprintf("trusted: %s is admitted although it cannot prove who it is", cmp.Or(t.Label, t.Fingerprint)))
		}
	}
	return out
}

// leftBehind warns of wzp-relay's identity where it keeps it (spec wzp 6.4), when
// the node is about to begin with a new one.
func (c *Config) leftBehind(home string) []string {
	theirs := filepath.Join(home, ".wzp", "relay-identity")
	if _, err := os.Lstat(c.Identity); home == "" || c.Identity == "" || !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Lstat(theirs); err != nil {
		return nil
	}
	return []string{fmt.Sprintf("the identity of wzp-relay, %s, is not used, and a new one is made in %s: to be the relay that it was, give --identity %s", theirs, c.Identity, theirs)}
}

// unmatchable warns of a fingerprint that no certificate has.
func unmatchable(key, name, fingerprint string) []string {
	if b, err := hex.DecodeString(strings.ReplaceAll(fingerprint, ":", "")); err == nil && len(b) == 32 {
		return nil
	}
	return []string{fmt.Sprintf("%s: the fingerprint of %s is not 32 bytes in hex, as tls_fingerprint on the ready line is: no relay can match it", key, name)}
}

// unserved are the accepted keys that nothing is made of.
var unserved = []struct{ key, why string }{
	{"trunking_enabled", "towards clients packets travel one to a datagram always, since none of them can read trunks; between signalboxes they travel together without being asked to"},
	{"jitter_target_depth", "wzp-relay ignores it too"},
	{"jitter_max_depth", "wzp-relay ignores it too"},
}
