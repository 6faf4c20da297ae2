package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"signalbox/engine/config"
	"signalbox/engine/state"
	"signalbox/engine/view"
)

const (
	wantBuffer = 7 << 20 // what quic-go asks the kernel for, each way
	wantFiles  = 4096
	wantMemory = 256 << 20
)

// checkUDPBuffers compares the kernel's limits with what a busy node needs.
func checkUDPBuffers(dir string) []finding {
	var out []finding
	for _, name := range []string{"rmem_max", "wmem_max"} {
		f := finding{Check: "udp buffers"}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			f.Detail = "net.core." + name + " cannot be read here; not checked"
			out = append(out, f)
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		f.Detail = fmt.Sprintf("net.core.%s is %d", name, n)
		if err != nil || n < wantBuffer {
			f.Status = warned
			f.Detail += fmt.Sprintf(", below %d: bursts are lost in the kernel", wantBuffer)
			f.Remedy = fmt.Sprintf("sysctl -w net.core.%s=%d", name, wantBuffer)
		}
		out = append(out, f)
	}
	return out
}

func checkFiles() finding {
	f := finding{Check: "open files"}
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		f.Status, f.Detail = warned, err.Error()
		return f
	}
	f.Detail = fmt.Sprintf("limit %d", l.Cur)
	if l.Cur < wantFiles {
		f.Status, f.Remedy = warned, fmt.Sprintf("ulimit -n %d, or LimitNOFILE=65536 in the unit", wantFiles)
	}
	return f
}

// checkClock looks for clocks that would make certificates and records of
// others invalid.
func checkClock(now time.Time) finding {
	f := finding{Check: "clock", Detail: now.UTC().Format(time.RFC3339)}
	if y := now.Year(); y < 2025 || y > 2100 {
		f.Status, f.Detail, f.Remedy = failed, f.Detail+" cannot be right", "set the clock; timedatectl set-ntp true"
		return f
	}
	if !clockSynchronised() {
		f.Status, f.Detail, f.Remedy = warned, f.Detail+", not synchronised", "timedatectl set-ntp true"
	}
	return f
}

func checkMemory(env map[string]string) finding {
	f := finding{Check: "memory", Detail: "no limit of a control group"}
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return f
	}
	limit := cgroupLimit(cgroupRoot, string(self))
	if limit == 0 {
		return f
	}
	f.Detail = fmt.Sprintf("control group's limit %d MiB; the collector aims at nine tenths", limit>>20)
	if env["GOMEMLIMIT"] != "" {
		f.Detail = fmt.Sprintf("control group's limit %d MiB, GOMEMLIMIT %s", limit>>20, env["GOMEMLIMIT"])
	}
	if limit < wantMemory {
		f.Status, f.Remedy = warned, fmt.Sprintf("MemoryMax=%dM or more in the unit", wantMemory>>20)
	}
	return f
}

// checkStateDir looks at the state directory, or at where it would be made.
func checkStateDir(dir string) finding {
	f := finding{Check: "state directory"}
	st, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		parent := filepath.Dir(dir)
		for {
			if _, err := os.Stat(parent); err == nil || parent == filepath.Dir(parent) {
				break
			}
			parent = filepath.Dir(parent)
		}
		f.Detail = dir + " will be made"
		if !writable(parent) {
			f.Status, f.Detail, f.Remedy = failed, fmt.Sprintf("%s cannot be made: no right to write to %s", dir, parent), "give --state-dir"
		}
		return f
	}
	if err != nil {
		return finding{"state directory", failed, err.Error(), "give --state-dir"}
	}
	f.Detail = fmt.Sprintf("%s, mode %04o", dir, st.Mode().Perm())
	switch {
	case !st.IsDir():
		f.Status, f.Detail, f.Remedy = failed, dir+" is no directory", "give --state-dir"
	case !writable(dir):
		f.Status, f.Detail, f.Remedy = failed, "no right to write to "+dir, "run doctor as the node's user, or give it the directory"
	case st.Mode().Perm()&0o077 != 0:
		f.Status, f.Remedy = warned, "chmod 700 "+dir
	}
	return f
}

// checkIdentity reads the identity the way a node does, if there is one.
func checkIdentity(path string) finding {
	f := finding{Check: "identity", Detail: path + " will be made"}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return f
	}
	k, err := state.LoadKeys(path)
	if err != nil {
		return finding{"identity", failed, err.Error(), ""}
	}
	f.Detail = fmt.Sprintf("%s, fingerprint %s", path, k.Fingerprint())
	return f
}

// checkPort tries to listen where the node would, unless it does.
func checkPort(listen string, running *view.Snapshot) finding {
	f := finding{Check: "udp port", Detail: listen + " is free"}
	want, err := config.ParseListen(listen)
	if err != nil {
		return finding{"udp port", failed, err.Error(), ""}
	}
	if running != nil && slices.ContainsFunc(running.Node.Listen, func(s string) bool { return samePort(s, want) }) {
		f.Detail = strings.Join(running.Node.Listen, " ") + " is in use by the running node"
		return f
	}
	c, err := net.ListenPacket("udp", listen)
	if err == nil {
		err = c.Close()
	}
	switch {
	case err == nil:
	case errors.Is(err, syscall.EADDRINUSE):
		f.Status, f.Detail, f.Remedy = failed, listen+" is in use by another process", fmt.Sprintf("find it with: ss -ulpn 'sport = :%d', or give --listen", want.Port())
	default:
		f.Status, f.Detail, f.Remedy = failed, err.Error(), "give --listen"
	}
	return f
}

func samePort(s string, want netip.AddrPort) bool {
	ap, err := netip.ParseAddrPort(s)
	return err == nil && ap.Port() == want.Port()
}

// checkAdvertised shows which address others would be told.
func checkAdvertised(cfg *config.Config) finding {
	f := finding{Check: "advertise"}
	if cfg.AdvertiseAddr != "" {
		f.Detail = cfg.AdvertiseAddr
		return f
	}
	// Connecting a UDP socket sends nothing: it asks the kernel for the route.
	c, err := net.Dial("udp", "192.0.2.1:9")
	if err != nil {
		f.Status, f.Detail, f.Remedy = warned, "no route to the outside: the address others reach us at cannot be guessed", "give --advertise"
		return f
	}
	ap, err := netip.ParseAddrPort(c.LocalAddr().String())
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return finding{"advertise", warned, err.Error(), "give --advertise"}
	}
	f.Detail = "guessed as " + ap.Addr().String()
	if ap.Addr().IsPrivate() {
		f.Detail += ", which is reached from this network only"
	}
	return f
}
