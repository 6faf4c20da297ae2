package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// appName is our directory under the user's.
const appName = "signalbox"

// resolve fills in what depends on the environment and turns the ports of
// wzp-relay into addresses.
func (c *Config) resolve(env map[string]string, origins Origins) error {
	var errs []error
	if c.StateDir == "" {
		dir, from := StateDir(env)
		if dir == "" {
			errs = append(errs, &FieldError{Key: "state_dir", Problem: "cannot be guessed: neither $STATE_DIRECTORY nor $XDG_STATE_HOME nor $HOME is set; give --state-dir"})
		}
		c.StateDir, origins["state_dir"] = dir, from
	}
	if c.AdminSocket == "" {
		if run := firstDir(env["RUNTIME_DIRECTORY"]); run != "" {
			c.AdminSocket, origins["admin_socket"] = filepath.Join(run, "admin.sock"), "default of $RUNTIME_DIRECTORY"
		} else if c.StateDir != "" {
			c.AdminSocket, origins["admin_socket"] = filepath.Join(c.StateDir, "admin.sock"), "default of state_dir"
		}
	}
	if c.Identity == "" && c.StateDir != "" {
		c.Identity, origins["identity"] = c.IdentityPath(), "default of state_dir"
	}
	if a, err := normalAddr(c.ListenAddr); err == nil {
		c.ListenAddr = a
	}
	return errors.Join(errs...)
}

// StateDir is where a node keeps its files unless it is told otherwise, and
// which variable said so; empty when nothing does.
func StateDir(env map[string]string) (dir, from string) {
	if d := firstDir(env["STATE_DIRECTORY"]); d != "" {
		return d, "default of $STATE_DIRECTORY"
	}
	// The XDG specification has relative paths ignored.
	if d := env["XDG_STATE_HOME"]; filepath.IsAbs(d) {
		return filepath.Join(d, appName), "default of $XDG_STATE_HOME"
	}
	if d := env["HOME"]; d != "" {
		return filepath.Join(d, ".local", "state", appName), "default of $HOME"
	}
	return "", originDefault
}

// Environ turns os.Environ's form into a map.
func Environ(env []string) map[string]string { return environment(env) }

// firstDir is the first of systemd's colon-separated directories.
func firstDir(s string) string {
	d, _, _ := strings.Cut(s, ":")
	return d
}

// normalAddr completes :4433 to [::]:4433 and checks the port. The host may be
// a name, which is looked up when it is listened on.
func normalAddr(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		if ae, ok := errors.AsType[*net.AddrError](err); ok {
			return "", fmt.Errorf("wants host:port, such as [::]:4433; %q: %s", s, ae.Err)
		}
		return "", err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", fmt.Errorf("%q is no port: 0 to 65535", port)
	}
	if host == "" {
		host = "::"
	}
	if strings.ContainsAny(host, " /@") {
		return "", fmt.Errorf("%q is no host", host)
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

// ParseListen reads a listening address: host:port, or :port for every
// address of both families. A host name is looked up.
func ParseListen(s string) (netip.AddrPort, error) {
	s, err := normalAddr(s)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap, nil
	}
	ua, err := net.ResolveUDPAddr("udp", s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %s: %w", s, err)
	}
	ap := ua.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}

// ParsePrefix reads an address or a prefix, IPv4 never mapped into IPv6.
func ParsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a prefix", s)
	}
	return p.Masked(), nil
}

// ParseJoin reads a bootstrap peer, ID@HOST:PORT: the id in 64 hex characters,
// the host an address or a name.
func ParseJoin(s string) (id, addr string, err error) {
	id, addr, ok := strings.Cut(s, "@")
	if !ok {
		return "", "", fmt.Errorf("wants ID@HOST:PORT, not %q", s)
	}
	if b, err := hex.DecodeString(id); err != nil || len(b) != 32 {
		return "", "", fmt.Errorf("%q is no node id: 64 hex characters, as on the ready line and in the console", id)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return "", "", fmt.Errorf("wants ID@HOST:PORT, not %q", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", fmt.Errorf("%q is no port: 1 to 65535", port)
	}
	return id, addr, nil
}
