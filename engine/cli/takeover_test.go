package cli

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signalbox/engine/bench"
	"signalbox/engine/config"
	"signalbox/engine/quicnet"
	"signalbox/engine/state"
	"signalbox/engine/view"
)

func put(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

// formerIdentity is an identity file as wzp-relay writes it, and who that is.
func formerIdentity(t *testing.T, home, digit string, mode os.FileMode) (file, fingerprint string) {
	t.Helper()
	seed := strings.Repeat(digit, 64)
	b, err := hex.DecodeString(seed)
	if err != nil {
		t.Fatal(err)
	}
	k, err := state.NewKeys([32]byte(b))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := k.TLSCertificate()
	if err != nil {
		t.Fatal(err)
	}
	return put(t, filepath.Join(home, ".wzp", "relay-identity"), seed, mode), state.TLSFingerprint(cert.Certificate[0])
}

func freeUDP(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().String()
}

func freeTCP(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// tokenServer believes every token that begins with ok-.
func tokenServer(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct{ Token string }
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		fp, ok := strings.CutPrefix(m.Token, "ok-")
		if err := json.NewEncoder(w).Encode(map[string]any{"valid": ok, "fingerprint": fp}); err != nil {
			t.Logf("the node has gone: %v", err)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// everyKey is a configuration with every key of wzp-relay but remote_relay
// (spec wzp 6.2).
func everyKey(listen, auth string, metrics, ws int, static, peer, peerFP string) string {
	return fmt.Sprintf(`listen_addr = %q
max_sessions = 3
jitter_target_depth = 50
jitter_max_depth = 250
log_level = "info"
auth_url = %q
metrics_port = %d
probe_targets = [%q]
probe_mesh = true
trunking_enabled = true
ws_port = %d
static_dir = %q
debug_tap = "general"

[[peers]]
url = %q
fingerprint = %q
label = "Relay B"

[[trusted]]
fingerprint = %q
label = "Relay B too"

[[global_rooms]]
name = "general"
`, listen, auth, metrics, peer, ws, static, peer, peerFP, peerFP)
}

func listener(t *testing.T, room string, s *server) *bench.Caller {
	t.Helper()
	cl, err := quicnet.NewClient(quicnet.ClientConfig{LocalAddr: netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	key := bench.NewIdentity()
	c, err := bench.JoinAs(t.Context(), cl, netip.MustParseAddrPort(s.ready.Listen), room, "", key, "ok-"+hex.EncodeToString(key[:4]))
	if err != nil {
		t.Fatal(err)
	}
	go c.ReadSignals(t.Context())
	go func() { _ = c.ReceiveLoop(t.Context(), func(time.Duration) {}) }()
	return c
}

func page(t *testing.T, url string) string {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestTakesOverFromWZPRelay: its identity file and a configuration with every key
// it has make a node that is the same relay to everybody, and does what the keys
// say or tells that it does not. What it cannot take is told with the command
// that mends it.
func TestTakesOverFromWZPRelay(t *testing.T) {
	homeA, homeB, homeC := t.TempDir(), t.TempDir(), t.TempDir()
	idA, fpA := formerIdentity(t, homeA, "a", 0o644)
	idB, fpB := formerIdentity(t, homeB, "b", 0o600)
	addrA, addrB, metrics, ws := freeUDP(t), freeUDP(t), freeTCP(t), freeTCP(t)
	static := filepath.Join(homeA, "web")
	put(t, filepath.Join(static, "index.html"), "the old page", 0o644)
	fileA := put(t, filepath.Join(homeA, "relay.toml"), everyKey(addrA, tokenServer(t), metrics, ws, static, addrB, fpB), 0o644)
	fileB := put(t, filepath.Join(homeB, "relay.toml"), fmt.Sprintf("listen_addr = %q\n[[trusted]]\nfingerprint = %q\n[[global_rooms]]\nname = \"general\"\n", addrB, fpA), 0o644)
	fileC := put(t, filepath.Join(homeC, "relay.toml"), fmt.Sprintf("listen_addr = %q\nremote_relay = %q\n", freeUDP(t), addrA), 0o644)

	mend := "chmod 600 " + idA
	if r := execute(t, homeA, "doctor", "-c", fileA, "-i", idA); !strings.Contains(r.out, mend) {
		t.Fatalf("doctor says nothing of %q:\n%s", mend, r.out)
	}
	if r := execute(t, homeA, "serve", "-c", fileA, "-i", idA); r.code != config.ExitConfig || !strings.Contains(r.err, mend) {
		t.Errorf("an identity that others may read: %+v", r)
	}
	if r := execute(t, homeA, "doctor", "-c", fileA); !strings.Contains(r.out, "--identity "+idA) {
		t.Errorf("doctor says nothing of the identity that is left behind:\n%s", r.out)
	}
	if err := os.Chmod(idA, 0o600); err != nil {
		t.Fatal(err)
	}

	b := startAs(t, homeB, "serve", "-c", fileB, "-i", idB)
	a := startAs(t, homeA, "serve", "-c", fileA, "-i", idA)
	c := startAs(t, homeC, "serve", "-c", fileC)
	if a.ready.TLSFingerprint != fpA || a.ready.Listen != addrA {
		t.Errorf("%+v, want to be %s at %s", a.ready, fpA, addrA)
	}
	said := a.errs.String()
	for _, key := range []string{"jitter_target_depth", "jitter_max_depth", "trunking_enabled"} {
		if !strings.Contains(said, key+" has no effect") {
			t.Errorf("nothing of %s in %s", key, said)
		}
	}
	until(t, "the link", func() bool {
		var s view.Snapshot
		return json.Unmarshal([]byte(a.ctl("snapshot").out), &s) == nil && len(s.Links) == 1 && s.Links[0].State == "up" && s.Links[0].Label == "Relay B"
	})

	talker, here, there, behind := listener(t, "general", a), listener(t, "general", a), listener(t, "general", b), listener(t, "general", c)
	for _, l := range []*bench.Caller{talker, here, there, behind} {
		until(t, "all four are listed", func() bool { return l.RoomCount.Load() == 4 })
	}
	if err := talker.Send(1, 60, nil); err != nil {
		t.Fatal(err)
	}
	for _, l := range []*bench.Caller{here, there, behind} {
		until(t, "the packet", func() bool { return l.Received.Load() == 1 })
	}
	full(t, a)
	until(t, "the probe", func() bool {
		return strings.Contains(page(t, fmt.Sprintf("http://127.0.0.1:%d/metrics", metrics)), fmt.Sprintf("wzp_probe_up{target=%q} 1", addrB))
	})
	if got := page(t, fmt.Sprintf("http://127.0.0.1:%d/", ws)); got != "the old page" {
		t.Errorf("static_dir serves %q", got)
	}
	until(t, "the tap", func() bool { return strings.Contains(a.errs.String(), "TAP") })
}

// full wants nobody to get in any more, with a token or without one.
func full(t *testing.T, s *server) {
	t.Helper()
	cl, err := quicnet.NewClient(quicnet.ClientConfig{LocalAddr: netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	c, err := bench.JoinAs(t.Context(), cl, netip.MustParseAddrPort(s.ready.Listen), "other", "", bench.NewIdentity(), "no")
	if err == nil {
		c.Close()
		t.Error("a token that is not good lets somebody in")
	}
	if c, err = bench.JoinAs(t.Context(), cl, netip.MustParseAddrPort(s.ready.Listen), "other", "", bench.NewIdentity(), "ok-4"); err == nil {
		defer c.Close()
		until(t, "the fourth is sent away", func() bool { return !c.Alive() })
	}
}
