package cli

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"signalbox/engine/bench"
	"signalbox/engine/quicnet"
)

// resident is a process's resident memory in MiB, the most it has had in peak.
func (p *process) resident(t *testing.T) (now, peak int) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "status"))
	if err != nil {
		t.Skip(err)
	}
	field := func(name string) int {
		m := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(b)
		if m == nil {
			t.Fatalf("no %s in\n%s", name, b)
		}
		n, err := strconv.Atoi(string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		return n >> 10
	}
	return field("VmRSS"), field("VmHWM")
}

// TestSlowStreamsCostLittle: 500 connections, each with 16 streams of which a byte
// comes, cost the node 12 KiB a stream at most beside what the connections do, and
// who joins meanwhile gets in. It is the real binary, so that its memory is its
// own. Part of make faults.
func TestSlowStreamsCostLittle(t *testing.T) {
	if os.Getenv("FAULTS") == "" {
		t.Skip("500 sockets and the real binary: FAULTS=full, as make faults does")
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "signalbox")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "signalbox").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p := launch(t, bin, filepath.Join(dir, "node"), "127.0.0.1:0")
	defer p.kill(t)
	addr := netip.MustParseAddrPort(p.info.Listen)
	client := func() *quicnet.Client {
		cl, err := quicnet.NewClient(quicnet.ClientConfig{LocalAddr: netip.MustParseAddr("127.0.0.1")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cl.Close() })
		return cl
	}
	base, _ := p.resident(t)
	var slow []*quicnet.Stream
	var phones []*bench.Phone
	for range 500 {
		ph, err := bench.Register(t.Context(), client(), addr, bench.Identity{Key: bench.NewIdentity()})
		if err != nil {
			t.Fatal(err)
		}
		phones = append(phones, ph)
	}
	idle, _ := p.resident(t)
	for _, ph := range phones {
		for range 16 {
			st, err := ph.Conn().OpenStream()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := st.Write([]byte{0}); err != nil {
				t.Fatal(err)
			}
			slow = append(slow, st)
		}
	}
	began := time.Now()
	c, err := bench.Join(t.Context(), client(), addr, "kitchen", "good")
	if err != nil {
		t.Fatal(err)
	}
	joined := time.Since(began)
	c.Close()
	for _, st := range slow {
		if err := st.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := st.Read(make([]byte, 1)); quicnet.Ended(err).Kind == quicnet.EndOther && err.Error() != "EOF" {
			t.Fatal(err)
		}
	}
	_, peak := p.resident(t)
	t.Logf("%d streams were given up within %v, a good client joined in %v; the node had %d MiB before, %d with the connections and %d at most", len(slow), time.Since(began), joined, base, idle, peak)
	if peak > idle+96 {
		t.Errorf("%d MiB more, want 96 at most", peak-idle)
	}
}
