package sshd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"

	gossh "golang.org/x/crypto/ssh"

	"signalbox/engine/control"
)

// Bounds of an authorized_keys file.
const (
	maxFile = 64 << 10
	maxKeys = 256
)

// Grant is what one key is allowed.
type Grant struct {
	Key     gossh.PublicKey
	Role    control.Role
	From    []netip.Prefix // empty: from anywhere
	Comment string
}

// Author is how audit lines name the key.
func (g *Grant) Author() string {
	if g.Comment == "" {
		return "ssh:" + gossh.FingerprintSHA256(g.Key)
	}
	return "ssh:" + g.Comment + " " + gossh.FingerprintSHA256(g.Key)
}

// allows says whether the key may be used from an address.
func (g *Grant) allows(a netip.Addr) bool {
	if len(g.From) == 0 {
		return true
	}
	for _, p := range g.From {
		if p.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

// ErrUnsafe is a key file that others than its owner could have written.
var ErrUnsafe = errors.New("sshd: others than its owner may write to it; chmod go-w")

// ReadKeys reads an authorized_keys file strictly: every line is a key, a
// comment or empty, in OpenSSH's format with the options role=viewer or
// role=operator (default viewer) and from="address,prefix/len" and no others. A
// line that is anything else is an error, and with an error nobody is granted
// anything: a restriction that is not understood must not be ignored.
func ReadKeys(path string) ([]Grant, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("sshd: %w", err)
	}
	st, err := f.Stat()
	var b []byte
	if err == nil {
		b, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("sshd: %w", err)
	}
	switch {
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("sshd: %s is no regular file", path)
	case st.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("%s: %w", path, ErrUnsafe)
	case len(b) > maxFile:
		return nil, fmt.Errorf("sshd: %s is larger than %d bytes", path, maxFile)
	}
	return ParseKeys(b)
}

// ParseKeys reads the text of an authorized_keys file; see ReadKeys.
func ParseKeys(b []byte) ([]Grant, error) {
	var out []Grant
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(make([]byte, 0, 4096), maxFile)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		g, err := parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("sshd: line %d: %w", n, err)
		}
		if len(out) == maxKeys {
			return nil, fmt.Errorf("sshd: more than %d keys", maxKeys)
		}
		out = append(out, g)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("sshd: %w", err)
	}
	return out, nil
}

func parseLine(line string) (Grant, error) {
	key, comment, options, rest, err := gossh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(rest) > 0 {
		return Grant{}, errors.New("this is no public key in OpenSSH's format")
	}
	g := Grant{Key: key, Role: control.Viewer, Comment: printable(comment)}
	if t := key.Type(); t == gossh.KeyAlgoDSA || strings.Contains(t, "cert-v01") { //nolint:staticcheck // named to be refused
		return Grant{}, fmt.Errorf("keys of type %s are not accepted", t)
	}
	for _, o := range options {
		name, value, _ := strings.Cut(o, "=")
		value = strings.Trim(value, `"`)
		switch strings.ToLower(name) {
		case "role":
			if g.Role = control.Role(value); g.Role != control.Viewer && g.Role != control.Operator {
				return Grant{}, fmt.Errorf("role %q: it is viewer or operator", value)
			}
		case "from":
			if g.From, err = prefixes(value); err != nil {
				return Grant{}, err
			}
		default:
			return Grant{}, fmt.Errorf("option %q is not known; there are role and from", name)
		}
	}
	return g, nil
}

// prefixes reads a comma-separated list of addresses and prefixes.
func prefixes(list string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for s := range strings.SplitSeq(list, ",") {
		s = strings.TrimSpace(s)
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, aerr := netip.ParseAddr(s)
			if aerr != nil {
				return nil, fmt.Errorf("from: %q is neither an address nor a prefix; names and patterns are not accepted", s)
			}
			a = a.Unmap()
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// printable keeps a comment from steering a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 64)]
}
