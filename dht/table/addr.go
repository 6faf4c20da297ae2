package table

import (
	"net/netip"
	"slices"
)

// MaxAddrs bounds the addresses of one contact (spec dht 2.4). The per-family
// cap keeps the number below it in practice: three IPv4 and three IPv6.
const MaxAddrs = 8

// AddrType says how far an address can be trusted to reach its node. The order
// from Direct on is the order in which addresses are dialled.
type AddrType uint8

// The address types of spec dht 2.3, best first. The numbers go over the wire.
const (
	Relay      AddrType = iota // a peer's that relays for the node; never dialled for it
	Direct                     // we have reached the node there ourselves
	Unverified                 // seen as a source, or told by others
	Lan                        // local scope: only of use in the same network
	NumAddrTypes
)

// String is the name shown in the snapshot.
func (t AddrType) String() string {
	switch t {
	case Relay:
		return "relay"
	case Direct:
		return "direct"
	case Unverified:
		return "unverified"
	case Lan:
		return "lan"
	default:
		return "unknown"
	}
}

// Addr is one address of a contact.
type Addr struct {
	AddrPort netip.AddrPort
	Type     AddrType
}

// Canonical unmaps IPv4-in-IPv6 and drops the zone, so that one address has
// one form in lists, limits and comparisons (spec dht 2.2).
func Canonical(ap netip.AddrPort) netip.AddrPort {
	a := ap.Addr()
	if a.Is4() {
		return ap
	}
	return netip.AddrPortFrom(a.Unmap().WithZone(""), ap.Port())
}

// Storable reports whether a canonical address can name a node at all: not
// unspecified, not multicast, reserved or broadcast, not port 0, and no IPv6
// address that a translator would turn into one of these or into one of local
// scope.
func Storable(ap netip.AddrPort) bool {
	a := ap.Addr()
	if !ap.IsValid() || ap.Port() == 0 || !nameable(a) {
		return false
	}
	in, ok := embedded(a)
	return !ok || nameable(in) && !LocalScope(in)
}

func nameable(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !thisNet.Contains(a) && !reserved.Contains(a)
}

var (
	thisNet   = netip.MustParsePrefix("0.0.0.0/8")
	reserved  = netip.MustParsePrefix("240.0.0.0/4") // and 255.255.255.255
	cgnat     = netip.MustParsePrefix("100.64.0.0/10")
	siteLocal = netip.MustParsePrefix("fec0::/10")

	// Where IPv6 carries an IPv4 address, and at which byte: IPv4-compatible
	// and mapped, translated (RFC 6052, 8215, 2765), 6to4, ISATAP's is looked
	// for apart, Teredo's is inverted.
	compatible = netip.MustParsePrefix("::/96")
	mapped     = netip.MustParsePrefix("::ffff:0:0/96")
	translated = netip.MustParsePrefix("::ffff:0:0:0/96")
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")
	sixToFour  = netip.MustParsePrefix("2002::/16")
	teredo     = netip.MustParsePrefix("2001::/32")
)

// embedded returns the IPv4 address that a is a form of, if it is one. A
// packet to a may end at that address.
func embedded(a netip.Addr) (netip.Addr, bool) {
	if a.Is4() || !a.IsValid() {
		return netip.Addr{}, false
	}
	b := a.As16()
	at := -1
	switch {
	case a.IsLoopback(), a.IsUnspecified():
	case compatible.Contains(a), mapped.Contains(a), translated.Contains(a), nat64.Contains(a), nat64Local.Contains(a):
		at = 12
	case sixToFour.Contains(a):
		at = 2
	case teredo.Contains(a):
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}), true
	case b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP
		at = 12
	}
	if at < 0 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(b[at : at+4])), true
}

// LocalScope reports whether a canonical IP only means something in its own
// network: loopback, RFC 1918, link-local, 100.64/10, fc00::/7, fec0::/10
// (spec dht 2.3).
func LocalScope(a netip.Addr) bool {
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || cgnat.Contains(a) || siteLocal.Contains(a)
}

// Subnet is the unit of the subnet limit: /24 for IPv4, /48 for IPv6.
func Subnet(a netip.Addr) netip.Prefix {
	n := 48
	if a.Is4() {
		n = 24
	}
	p, err := a.Prefix(n)
	if err != nil { // only for the zero Addr, which is never stored
		return netip.Prefix{}
	}
	return p
}

// normalise brings an offered address into the form in which it is stored:
// canonical, with Lan forced on local scope. Where loopback is allowed it
// counts as an ordinary address, so that a fleet on one host can work.
func normalise(ap netip.AddrPort, typ AddrType, allowLoopback bool) (Addr, bool) {
	ap = Canonical(ap)
	if !Storable(ap) || typ >= NumAddrTypes {
		return Addr{}, false
	}
	switch a := ap.Addr(); {
	case allowLoopback && a.IsLoopback():
		if typ == Lan {
			typ = Direct
		}
	case LocalScope(a):
		typ = Lan
	}
	return Addr{ap, typ}, true
}

// addrList is the immutable address list of a contact, ordered by type.
type addrList struct {
	list      []Addr
	nonLocal  bool // at least one address is not loopback (spec dht 2.5)
	published bool // the peer has said itself where it is, see Replace
}

func newAddrList(list []Addr) *addrList {
	l := &addrList{list: slices.Clone(list)}
	for _, a := range l.list {
		l.nonLocal = l.nonLocal || !a.AddrPort.Addr().IsLoopback()
	}
	return l
}

// merge returns the list with a put in its place (spec dht 2.4, main) and
// whether that is a change. A changed list lives in buf, whose capacity must be
// MaxAddrs+1 or more for merge not to allocate. a must be normalised.
func (l *addrList) merge(buf []Addr, a Addr) ([]Addr, bool) {
	// A node with a real address is not given a loopback one: that is how a
	// stranger would make us talk to ourselves (spec dht 2.5).
	if l.nonLocal && a.AddrPort.Addr().IsLoopback() {
		return l.list, false
	}
	// Nor does the port a packet happened to come from displace what the peer
	// has published for that very IP.
	if l.published && a.Type == Unverified && slices.ContainsFunc(l.list, func(x Addr) bool { return x.AddrPort.Addr() == a.AddrPort.Addr() }) {
		return l.list, false
	}
	return mergeAddr(buf, l.list, a)
}

func mergeAddr(buf, cur []Addr, a Addr) ([]Addr, bool) {
	dup := -1
	for i := range cur {
		if cur[i].AddrPort == a.AddrPort {
			if cur[i].Type == a.Type {
				return cur, false
			}
			dup = i
			break
		}
	}
	out, placed := buf[:0], false
	for i := range cur {
		if i == dup {
			continue
		}
		// The newest of a type stands first, except Lan, which goes last.
		if !placed && a.Type != Lan && cur[i].Type >= a.Type {
			out, placed = append(out, a), true
		}
		out = append(out, cur[i])
	}
	if !placed {
		out = append(out, a)
	}
	out = capFamilies(out)
	return out, !slices.Equal(out, cur)
}

// capFamilies keeps, for IPv4 and IPv6 each, the first Relay, the first Direct
// or else the first Unverified, and the last Lan.
func capFamilies(list []Addr) []Addr {
	var relay, other [2]bool
	n := 0
	for i, a := range list {
		f := family(a)
		keep := false
		switch a.Type {
		case Relay:
			keep, relay[f] = !relay[f], true
		case Direct, Unverified: // Direct stands before Unverified
			keep, other[f] = !other[f], true
		default:
			keep = !slices.ContainsFunc(list[i+1:], func(b Addr) bool { return b.Type == Lan && family(b) == f })
		}
		if keep {
			list[n] = a
			n++
		}
	}
	return list[:min(n, MaxAddrs)]
}

func family(a Addr) int {
	if a.AddrPort.Addr().Is4() {
		return 0
	}
	return 1
}
