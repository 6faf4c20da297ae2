package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const nodeID = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func write(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEveryFieldHasAKey(t *testing.T) {
	fields := map[string]kind{}
	structKinds(reflect.TypeFor[Config](), "", fields)
	for _, k := range keys {
		if _, ok := fields[k.Name]; !ok {
			t.Errorf("key %s has no field", k.Name)
		}
		if k.Help == "" {
			t.Errorf("key %s has no help", k.Name)
		}
		delete(fields, k.Name)
	}
	for f := range fields {
		t.Errorf("field %s has no key", f)
	}
}

func TestPrecedence(t *testing.T) {
	file := write(t, "state_dir = \"/from/file\"\nmax_sessions = 1\n[dispatch]\nshards = 2\ncapacity = 100\n[dht]\njoin = [\""+nodeID+"@a:1\"]\n")
	env := []string{"SIGNALBOX_DISPATCH_CAPACITY=200", "SIGNALBOX_MAX_SESSIONS=2", "SIGNALBOX_DRAIN_TIMEOUT=3s", "HOME=/h"}
	c, o, err := Load(LoadOptions{File: file, Env: env, Flags: map[string]any{
		"max_sessions": 3, "dht.join": []string{nodeID + "@b:2"}, "global_rooms": []string{"lobby"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Dispatch.Shards != 2 || c.Dispatch.Capacity != 200 || c.MaxSessions != 3 || c.DrainTimeout != 3*time.Second {
		t.Errorf("got %+v", c)
	}
	if c.Relay != Default().Relay {
		t.Errorf("untouched section changed: %+v", c.Relay)
	}
	if want := []string{nodeID + "@a:1", nodeID + "@b:2"}; !reflect.DeepEqual(c.DHT.Join, want) {
		t.Errorf("dht.join = %v: the flag adds to the file", c.DHT.Join)
	}
	if len(c.GlobalRooms) != 1 || c.GlobalRooms[0].Name != "lobby" {
		t.Errorf("global rooms %+v", c.GlobalRooms)
	}
	for key, want := range map[string]string{
		"dispatch.shards": "file " + file, "dispatch.capacity": "env SIGNALBOX_DISPATCH_CAPACITY",
		"max_sessions": "flag --max-sessions", "listen_addr": "default", "admin_socket": "default of state_dir",
	} {
		if o[key] != want {
			t.Errorf("origin of %s is %q, want %q", key, o[key], want)
		}
	}
	if c.AdminSocket != "/from/file/admin.sock" || c.IdentityPath() != "/from/file/identity" {
		t.Errorf("derived paths %s %s", c.AdminSocket, c.IdentityPath())
	}
}

func TestStateDir(t *testing.T) {
	for _, tc := range []struct {
		env  []string
		want string
	}{
		{[]string{"STATE_DIRECTORY=/var/lib/signalbox:/x", "XDG_STATE_HOME=/xdg", "HOME=/h"}, "/var/lib/signalbox"},
		{[]string{"XDG_STATE_HOME=/xdg", "HOME=/h"}, "/xdg/signalbox"},
		{[]string{"XDG_STATE_HOME=relative", "HOME=/h"}, "/h/.local/state/signalbox"},
	} {
		c, _, err := Load(LoadOptions{Env: tc.env})
		if err != nil || c.StateDir != tc.want {
			t.Errorf("%v: %s, %v", tc.env, c.StateDir, err)
		}
	}
	if _, _, err := Load(LoadOptions{}); err == nil {
		t.Error("no state directory at all is accepted")
	}
	c, _, err := Load(LoadOptions{Env: []string{"HOME=/h", "RUNTIME_DIRECTORY=/run/signalbox"}})
	if err != nil || c.AdminSocket != "/run/signalbox/admin.sock" {
		t.Errorf("admin socket %s, %v", c.AdminSocket, err)
	}
}

func TestEverythingWrongIsToldAtOnce(t *testing.T) {
	file := write(t, "lissten_addr = \"x\"\nmax_sessions = \"many\"\n[dispatch]\nshard = 3\n[[peers]]\nurl = \"a:1\"\nfingerprnt = \"x\"\n")
	_, _, err := Load(LoadOptions{
		File: file, Env: []string{"HOME=/h", "SIGNALBOX_LOG_LEVELS=info", "SIGNALBOX_DRAIN_TIMEOUT=20"},
		Flags: map[string]any{"log_level": "loud", "quic.retry": "alway"},
	})
	if ExitCodeOf(err) != ExitConfig {
		t.Fatalf("exit code %d of %v", ExitCodeOf(err), err)
	}
	for _, want := range []string{
		"lissten_addr: unknown key; did you mean listen_addr?",
		"dispatch.shard: unknown key; did you mean dispatch.shards?",
		`max_sessions: wants a whole number, not "many" (file ` + file,
		"unknown key fingerprnt; did you mean fingerprint?",
		"SIGNALBOX_LOG_LEVELS: unknown variable; did you mean SIGNALBOX_LOG_LEVEL?",
		`drain_timeout: wants a duration with its unit`,
		`log_level: "loud" is none of`,
		`did you mean always?`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in:\n%v", want, err)
		}
	}
	if _, ok := errors.AsType[*FieldError](err); !ok {
		t.Error("no FieldError inside")
	}
}

func TestFileProblems(t *testing.T) {
	for name, file := range map[string]string{
		"missing": filepath.Join(t.TempDir(), "none.toml"),
		"syntax":  write(t, "listen_addr = \n"),
		"huge":    write(t, "# "+strings.Repeat("x", maxFile)),
	} {
		if _, _, err := Load(LoadOptions{File: file, Env: []string{"HOME=/h"}}); ExitCodeOf(err) != ExitConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, _, err := Load(LoadOptions{File: write(t, "a = 1\nlisten_addr = \n"), Env: []string{"HOME=/h"}})
	if err == nil || !strings.Contains(err.Error(), ".toml:2:") {
		t.Errorf("no position in %v", err)
	}
}

// wzpFile is what a configuration of wzp-relay looks like, every key of spec
// wzp 6.2 in it.
const wzpFile = `
listen_addr = "0.0.0.0:4433"
remote_relay = "193.180.213.68:4433"
max_sessions = 100
jitter_target_depth = 50
jitter_max_depth = 250
log_level = "info"
auth_url = "https://user:secret@chat.example/v1/auth/validate"
metrics_port = 9090
probe_targets = ["10.0.0.2:4433", "10.0.0.3:4433"]
probe_mesh = true
trunking_enabled = true
ws_port = 8080
static_dir = "/opt/wzp/web"
debug_tap = "*"

[[peers]]
url = "10.0.0.2:4433"
fingerprint = "7f2a:b391:0c44:9be1:65d0:1c22:aa07:44ee"
label = "Relay B"

[[trusted]]
fingerprint = "aaaa:b391:0c44:9be1:65d0:1c22:aa07:44ee"
unproven = true

[[global_rooms]]
name = "android"
`

func TestWZPFileIsAccepted(t *testing.T) {
	c, _, err := Load(LoadOptions{File: write(t, wzpFile), Env: []string{"HOME=/h"}, Flags: map[string]any{
		"probe_targets": []string{"10.0.0.4:4433"}, "global_rooms": []string{"lobby"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if c.MetricsAddr != "0.0.0.0:9090" || c.WSAddr != "0.0.0.0:8080" || c.MaxSessions != 100 {
		t.Errorf("addresses %q %q", c.MetricsAddr, c.WSAddr)
	}
	if len(c.Peers) != 1 || c.Peers[0].Label != "Relay B" || !c.Trusted[0].Unproven {
		t.Errorf("peers %+v trusted %+v", c.Peers, c.Trusted)
	}
	if len(c.GlobalRooms) != 2 || c.GlobalRooms[1].Name != "lobby" || len(c.Legacy.ProbeTargets) != 3 {
		t.Errorf("flags do not add: %+v %v", c.GlobalRooms, c.Legacy.ProbeTargets)
	}
	all := strings.Join(c.Warnings, "\n")
	for _, key := range []string{"jitter_target_depth", "jitter_max_depth", "trunking_enabled", "trusted: aaaa"} {
		if !strings.Contains(all, key) {
			t.Errorf("no warning about %s in:\n%s", key, all)
		}
	}
	for _, e := range Entries(c, Origins{}) {
		if strings.Contains(e.Text(), "secret") {
			t.Errorf("password shown: %s = %s", e.Key, e.Text())
		}
	}
}

func TestDefaultsGiveNoWarning(t *testing.T) {
	c, _, err := Load(LoadOptions{Env: []string{"HOME=/h"}})
	if err != nil || len(c.Warnings) > 0 {
		t.Errorf("%v %v", err, c.Warnings)
	}
}

func TestParseListen(t *testing.T) {
	for in, want := range map[string]string{
		":4433": "[::]:4433", "[::]:0": "[::]:0", "127.0.0.1:1": "127.0.0.1:1", "[::1]:65535": "[::1]:65535",
	} {
		if got, err := ParseListen(in); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "4433", "1.2.3.4", "h:65536", "h:-1", "h:http", "a b:1", "::1:5:"} {
		if got, err := ParseListen(in); err == nil {
			t.Errorf("%q is taken for %v", in, got)
		}
	}
}

func TestParseJoin(t *testing.T) {
	id, addr, err := ParseJoin(nodeID + "@[::1]:4433")
	if err != nil || addr != "[::1]:4433" || id != nodeID {
		t.Errorf("%s %s, %v", id, addr, err)
	}
	for _, in := range []string{"", nodeID, "@a:1", "xyz@a:1", nodeID[:62] + "@a:1", nodeID + "@a", nodeID + "@a:0", nodeID + "@:1"} {
		if _, _, err := ParseJoin(in); err == nil {
			t.Errorf("%q is accepted", in)
		}
	}
}

func TestExitCodeOf(t *testing.T) {
	inner := &ExitError{Code: ExitNoPerm, Err: os.ErrPermission}
	err := Exit(ExitIO, "open: %w", inner)
	if ExitCodeOf(err) != ExitIO || !errors.Is(err, os.ErrPermission) {
		t.Errorf("%d", ExitCodeOf(err))
	}
	if ExitCodeOf(nil) != ExitOK || ExitCodeOf(os.ErrClosed) != ExitFailure || ExitCodeOf(errors.Join(os.ErrClosed, inner)) != ExitNoPerm {
		t.Error("codes")
	}
}

// TestAnAliasRanksAsHighAsItsPlace puts wzp-relay's ports above and below ours.
func TestAnAliasRanksAsHighAsItsPlace(t *testing.T) {
	file := write(t, "metrics_addr = \"127.0.0.1:1\"\nws_port = 8080\n")
	for _, tc := range []struct {
		env         []string
		flags       map[string]any
		metrics, ws string
		origin      string
	}{
		{nil, nil, "127.0.0.1:1", "0.0.0.0:8080", "file " + file},
		{nil, map[string]any{"metrics_port": 9999}, "0.0.0.0:9999", "0.0.0.0:8080", "flag --metrics-port"},
		{[]string{"SIGNALBOX_METRICS_PORT=9998"}, nil, "0.0.0.0:9998", "0.0.0.0:8080", "SIGNALBOX_METRICS_PORT"},
		{nil, map[string]any{"metrics_port": 9, "metrics_addr": "127.0.0.1:2"}, "127.0.0.1:2", "0.0.0.0:8080", "flag --metrics"},
		{nil, map[string]any{"ws_addr": "127.0.0.1:3"}, "127.0.0.1:1", "127.0.0.1:3", "file " + file},
	} {
		c, o, err := Load(LoadOptions{File: file, Env: append([]string{"HOME=/h"}, tc.env...), Flags: tc.flags})
		if err != nil {
			t.Fatal(err)
		}
		if c.MetricsAddr != tc.metrics || c.WSAddr != tc.ws || !strings.Contains(o["metrics_addr"], tc.origin) {
			t.Errorf("%v %v: metrics %q (%s), ws %q", tc.env, tc.flags, c.MetricsAddr, o["metrics_addr"], c.WSAddr)
		}
	}
}
