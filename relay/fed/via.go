package fed

import (
	"slices"
	"strconv"
	"strings"
)

// Signalboxes tell each other more than 5.13 provides for, in members of the
// same messages that others ignore.
//
// A hello says what its sender reads and with whom it is linked:
//
//	v=1 near=0011223344556677,8899aabbccddeeff
//
// A list says whose members they are, in the order of the list:
//
//	version:count:path;version:count:path
//
// where path is the relays from the sender to the members' own, the sender left
// out, joined by >; empty: the sender's own members. A relay is named by the
// first 16 digits of its fingerprint.
const (
	helloVersion = "v=1"
	idLen        = 16
	maxNear      = 256
	maxPath      = 8
	maxGroups    = 256
)

// relayID is the short name of a relay.
func relayID(fingerprint string) string { return fingerprint[:min(len(fingerprint), idLen)] }

func formatHello(near []string) string {
	if len(near) == 0 {
		return helloVersion
	}
	return helloVersion + " near=" + strings.Join(near[:min(len(near), maxNear)], ",")
}

// parseHello is false for what is not from a signalbox that we understand.
func parseHello(s string) (near map[string]bool, ok bool) {
	for w := range strings.FieldsSeq(s) {
		if w == helloVersion {
			ok = true
		}
		list, found := strings.CutPrefix(w, "near=")
		if !found {
			continue
		}
		near = map[string]bool{}
		for id := range strings.SplitSeq(list, ",") {
			if len(id) == idLen && len(near) < maxNear {
				near[id] = true
			}
		}
	}
	return near, ok
}

// span is one group in a list: whose, and how many of the list are its.
type span struct {
	version uint64
	count   int
	path    []string // from the sender, which is left out, to the members' relay
}

func formatVia(spans []span) string {
	var b strings.Builder
	for i, s := range spans {
		if i > 0 {
			b.WriteByte(';')
		}
		b.WriteString(strconv.FormatUint(s.version, 36))
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(s.count))
		b.WriteByte(':')
		b.WriteString(strings.Join(s.path, ">"))
	}
	return b.String()
}

// parseVia is false unless the spans cover exactly members of a list.
func parseVia(s string, members int) ([]span, bool) {
	if s == "" {
		return nil, members == 0
	}
	var out []span
	for part := range strings.SplitSeq(s, ";") {
		if len(out) == maxGroups {
			return nil, false
		}
		f := strings.Split(part, ":")
		if len(f) != 3 {
			return nil, false
		}
		v, err := strconv.ParseUint(f[0], 36, 64)
		n, nerr := strconv.Atoi(f[1])
		if err != nil || nerr != nil || n < 0 || n > members {
			return nil, false
		}
		members -= n
		sp := span{version: v, count: n}
		if f[2] != "" {
			sp.path = strings.Split(f[2], ">")
		}
		if len(sp.path) >= maxPath || slices.ContainsFunc(sp.path, func(id string) bool { return len(id) != idLen }) {
			return nil, false
		}
		out = append(out, sp)
	}
	return out, members == 0
}
