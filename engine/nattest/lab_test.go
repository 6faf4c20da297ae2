package nattest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"signalbox/engine/view"
)

// lab is a small internet in network namespaces: a router, public hosts on
// networks of their own, and hosts each behind a NAT of its own. Everything is
// gone when the test ends, however it ends.
type lab struct {
	t      *testing.T
	prefix string
	core   string // the router's namespace
	nets   int
	dir    string // state directories; short, since sockets live there
}

// kinds of NAT, by RFC 3489. All but the full cone let in only what answers
// something sent out.
const (
	fullCone  = "full"          // the port is kept, and whoever sends to it comes in
	cone      = ""              // the port is kept, whoever it is sent to (port restricted)
	symmetric = " fully-random" // another port for every destination
)

// TestMain removes what the tests share, and what an earlier run that was
// killed has left.
func TestMain(m *testing.M) {
	sweep()
	code := m.Run()
	if binary != "" {
		os.RemoveAll(filepath.Dir(binary))
	}
	os.Exit(code)
}

// sweep deletes the namespaces of processes that are no more.
func sweep() {
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		return // the tests will say what is missing
	}
	for line := range strings.Lines(string(out)) {
		var pid int
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if _, err := fmt.Sscanf(name, "sb%d-", &pid); err != nil {
			continue
		}
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			exec.Command("ip", "netns", "del", name).Run()
		}
	}
}

var (
	buildOnce sync.Once
	binary    string
	buildErr  error
	numbers   sync.Mutex
	next      int
)

// build makes the real binary, once.
func build(t *testing.T) string {
	t.Helper()
	buildOnce.Do(func() {
		dir, err := os.MkdirTemp("", "sbnat") //nolint:usetesting // outlives the test that comes first
		if err != nil {
			buildErr = err
			return
		}
		binary = filepath.Join(dir, "signalbox")
		cmd := exec.Command("go", "build", "-o", binary, "signalbox")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			buildErr = fmt.Errorf("%w: %s", err, out)
		}
	})
	if buildErr != nil {
		t.Fatal(buildErr)
	}
	return binary
}

// need skips the test where namespaces with NAT cannot be made.
func need(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs most of a minute")
	}
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s (packages iproute2 and nftables)", tool)
		}
	}
	probe := fmt.Sprintf("sbp%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", probe).CombinedOutput(); err != nil {
		t.Skipf("network namespaces cannot be made here: %v: %s", err, out)
	}
	defer exec.Command("ip", "netns", "del", probe).Run()
	for _, c := range [][]string{
		{"ip", "netns", "exec", probe, "ip", "link", "add", "name", "va", "type", "veth", "peer", "name", "vb"},
		{"ip", "netns", "exec", probe, "nft", "add table ip t; add chain ip t c { type nat hook postrouting priority 100; }; add rule ip t c masquerade fully-random"},
		{"ip", "netns", "exec", probe, "sysctl", "-qw", "net.ipv4.ip_forward=1"},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Skipf("a namespace with NAT cannot be made here: %s: %v: %s", strings.Join(c[4:], " "), err, out)
		}
	}
}

func newLab(t *testing.T) *lab {
	t.Helper()
	numbers.Lock()
	next++
	l := &lab{t: t, prefix: fmt.Sprintf("sb%d-%d", os.Getpid(), next)}
	numbers.Unlock()
	dir, err := os.MkdirTemp("", "sbl") //nolint:usetesting // short: sockets live there
	if err != nil {
		t.Fatal(err)
	}
	l.dir = dir
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	l.core = l.namespace("core")
	l.in(l.core, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	return l
}

// run runs a command to its end; it must succeed.
func (l *lab) run(args ...string) {
	l.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		l.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func (l *lab) in(ns string, args ...string) {
	l.t.Helper()
	l.run(append([]string{"ip", "netns", "exec", ns}, args...)...)
}

// namespace makes one; it goes with the test.
func (l *lab) namespace(name string) string {
	l.t.Helper()
	ns := l.prefix + name
	l.run("ip", "netns", "add", ns)
	l.t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", ns).CombinedOutput(); err != nil {
			l.t.Errorf("namespace %s is left behind: %v: %s", ns, err, out)
		}
	})
	l.in(ns, "ip", "link", "set", "lo", "up")
	return ns
}

// wire joins two namespaces by a network whose first address the near one has.
func (l *lab) wire(near, nearIf, far, farIf, network string) {
	l.t.Helper()
	l.run("ip", "link", "add", "name", nearIf, "netns", near, "type", "veth", "peer", "name", farIf, "netns", far)
	l.in(near, "ip", "addr", "add", network+".1/24", "dev", nearIf)
	l.in(far, "ip", "addr", "add", network+".2/24", "dev", farIf)
	l.in(near, "ip", "link", "set", nearIf, "up")
	l.in(far, "ip", "link", "set", farIf, "up")
	l.in(far, "ip", "route", "add", "default", "via", network+".1")
}

// attach gives ns a network of its own on the router and returns its address.
func (l *lab) attach(ns string) string {
	l.t.Helper()
	l.nets++
	network := fmt.Sprintf("11.%d.7", l.nets)
	l.wire(l.core, fmt.Sprintf("v%d", l.nets), ns, "wan", network)
	return network + ".2"
}

// public makes a host that everybody can reach.
func (l *lab) public(name string) *host {
	l.t.Helper()
	h := &host{l: l, name: name, ns: l.namespace(name)}
	h.addr = l.attach(h.ns) + ":4433"
	return h
}

// behind makes a host behind a NAT of its own. All have the same local address.
func (l *lab) behind(name, kind string) *host {
	l.t.Helper()
	gw := l.namespace(name + "gw")
	ip := l.attach(gw)
	h := &host{l: l, name: name, ns: l.namespace(name), nat: ip}
	in := ""
	if kind == fullCone { // the mapping of the one port there is, made for good
		kind, in = "", `
add chain ip nat pre { type nat hook prerouting priority -100; }
add rule ip nat pre iifname "wan" udp dport 4433 dnat to 192.168.1.2:4433
insert rule ip filter through iifname "wan" udp dport 4433 accept`
	}
	l.wire(gw, "lan", h.ns, "eth0", "192.168.1")
	l.in(gw, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	l.in(gw, "nft", `
add table ip nat
add chain ip nat post { type nat hook postrouting priority 100; }
add rule ip nat post oifname "wan" masquerade`+kind+`
add table ip filter
add chain ip filter local { type filter hook input priority 0; }
add rule ip filter local iifname "wan" ct state established,related accept
add rule ip filter local iifname "wan" drop
add chain ip filter through { type filter hook forward priority 0; }
add rule ip filter through iifname "wan" ct state established,related accept
add rule ip filter through iifname "wan" drop`+in)
	return h
}

// shut has the router drop what goes between two NATs, until open is called.
func (l *lab) shut(a, c *host) (open func()) {
	l.t.Helper()
	l.in(l.core, "nft", fmt.Sprintf(`
add table ip shut
add chain ip shut through { type filter hook forward priority 0; }
add rule ip shut through ip saddr %[1]s ip daddr %[2]s drop
add rule ip shut through ip saddr %[2]s ip daddr %[1]s drop`, a.nat, c.nat))
	return func() { l.in(l.core, "nft", "delete table ip shut") }
}

// host is one node in the lab.
type host struct {
	l      *lab
	name   string
	ns     string
	addr   string // public hosts: where it can be reached
	nat    string // others: the IP of the NAT
	id     string
	socket string
}

// serve starts the real binary and waits until it is ready.
func (h *host) serve(join ...*host) {
	t := h.l.t
	t.Helper()
	h.socket = filepath.Join(h.l.dir, h.name+".sock")
	args := []string{
		"netns", "exec", h.ns, build(t), "serve", "--state-dir", filepath.Join(h.l.dir, h.name), "--admin", h.socket,
		"--listen", "0.0.0.0:4433", "--log-level", "debug",
	}
	for _, j := range join {
		args = append(args, "--dht-join", j.id+"@"+j.addr)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(h.l.dir, h.name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel() // kills: "ip netns exec" has become the node itself
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			lines := strings.Split(string(b), "\n")
			t.Logf("%s:\n%s", h.name, strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
		log.Close()
	})
	line := make(chan string, 1)
	go func() {
		s, _ := bufio.NewReader(out).ReadString('\n')
		line <- s
	}()
	select {
	case s := <-line:
		var ready struct {
			NodeID string `json:"node_id"`
		}
		if err := json.Unmarshal([]byte(s), &ready); err != nil || ready.NodeID == "" {
			t.Fatalf("%s: no ready line: %q", h.name, s)
		}
		h.id = ready.NodeID
	case <-time.After(20 * time.Second):
		t.Fatalf("%s is not ready", h.name)
	}
}

// ctl asks the node as an operator would.
func (h *host) ctl(args ...string) ([]byte, error) {
	cmd := exec.Command(build(h.l.t), append([]string{"ctl", "--admin", h.socket}, args...)...)
	return cmd.CombinedOutput()
}

// dht is the node's DHT as ctl shows it.
func (h *host) dht() view.DHT {
	h.l.t.Helper()
	b, err := h.ctl("snapshot")
	if err != nil {
		h.l.t.Fatalf("%s: %v: %s", h.name, err, b)
	}
	var v view.Snapshot
	if err := json.Unmarshal(b, &v); err != nil {
		h.l.t.Fatal(err)
	}
	return v.DHT
}

// eventually waits for ok, which is asked twice a second.
func (l *lab) eventually(what string, ok func() bool, hosts ...*host) {
	l.t.Helper()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	late := time.After(75 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			for _, h := range hosts {
				l.t.Logf("%s: %+v", h.name, h.dht().Reachability)
			}
			l.t.Fatalf("does not come about: %s", what)
		}
	}
}
