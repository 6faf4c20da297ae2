package pane

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/style"
)

// Trust at which the table treats a contact differently (spec dht 7.3).
const (
	trustHolds  = 0.70
	trustYields = 0.35
)

// drawContact shows everything that is known of one contact.
func (p *Routing) drawContact(w, h int, st *style.Set) []string {
	frame := w >= 100 && h >= 30
	m := p.peer(p.contact)
	b := box{title: "contact " + cell.Name(p.contact, 16), note: "esc closes", focus: true}
	if m == nil {
		return section(b, w, h, frame, st, func(w, _ int) []string {
			return []string{cell.NewLine(st, w).Add(style.Warn, st.Glyph.Warn+" it is not in the table any more; the events tell why it left").String()}
		})
	}
	return section(b, w, h, frame, st, func(w, _ int) []string { return p.contactRows(m, w, st) })
}

func (p *Routing) contactRows(m *view.Peer, w int, st *style.Set) []string {
	const lw = 10
	var out []string
	row := func(name string, lv level, words string) {
		for i, part := range cell.Wrap(words, w-lw-1, 2) {
			if i > 0 {
				name = ""
			}
			out = append(out, cell.NewLine(st, w).Cell(style.Dim, name, lw).Add(lv.text(), part).String())
		}
	}
	row("peer", fine, cell.Name(m.ID, 64))
	lv := peerLevel(m)
	why, remedy := whyStale(m)
	sign := st.Glyph.Check
	if lv != fine {
		sign = lv.sign(&st.Glyph)
	}
	row("state", lv, sign+" "+cell.Name(m.State, 10)+": "+why)
	row("to do", fine, remedy)
	for i, a := range m.Addrs {
		name := ""
		if i == 0 {
			name = "addresses"
		}
		row(name, fine, fmt.Sprintf("%s  %s", cell.Name(a.Addr, 48), addrMeaning(a.Type)))
	}
	if k := p.bucket(m.Bucket); k != nil {
		row("bucket", fine, fmt.Sprintf("%d, which holds %s", m.Bucket, bucketWords(k)))
	}
	if rank, ok := p.rank(m); ok {
		row("closeness", fine, fmt.Sprintf("shares %d bits with us; number %d of %d from us", m.Bucket, rank, p.d.Snap.DHT.Peers))
	}
	lv, words := trustWords(m.Trust)
	row("trust", lv, words)
	row("proof", over(m.LastSeenS, freshS, 3600), fmt.Sprintf("last heard %s ago, round trip %s, in the table for %s", cell.Seconds(m.LastSeenS), cell.Millis(m.RTTMS), cell.Seconds(m.SinceS)))
	links := "no connection now: the next request dials"
	if m.Links > 0 {
		links = fmt.Sprintf("%d connected now", m.Links)
	}
	row("links", fine, links)
	ips, nets := p.neighbours(m)
	row("shares", over(float64(nets), 4, 1e9), fmt.Sprintf("its IP with %d and its network with %d other contacts", ips, nets))
	for i := range p.d.Snap.Undo {
		if u := &p.d.Snap.Undo[i]; u.Kind == string(control.PeerBlock) && u.Target == m.ID {
			row("blocked", watch, "by "+cell.Name(u.Author, 24)+": "+cell.Clean(u.Reason))
		}
	}
	return append(out, p.askedRows(m, w, lw, st)...)
}

// whyStale says why a contact is in its state, and what to do.
func whyStale(m *view.Peer) (why, remedy string) {
	silent := cell.Seconds(m.LastSeenS)
	switch {
	case m.State == "suspect" && m.Links > 0:
		return fmt.Sprintf("it has a connection, but its last %d probes had no answer; heard %s ago", m.Failures, silent),
			"P asks it again; if it stays silent while others answer, it is stuck, and e takes it out"
	case m.State == "suspect":
		return fmt.Sprintf("its last %d probes had no answer and there is no connection to it; heard %s ago", m.Failures, silent),
			"nothing: it is probed and leaves after 2 failures when stale, 4 when fresh; P asks at once, e takes it out"
	case m.State == "stale":
		return fmt.Sprintf("nothing was heard of it for %s, longer than 15 min; no probe has failed so far", silent),
			"nothing: silent contacts are probed by themselves, the longest silent first; P asks at once, f looks into its bucket"
	}
	return fmt.Sprintf("heard %s ago", silent), "nothing"
}

func addrMeaning(t string) string {
	switch t {
	case "relay":
		return "relay: reached through a peer that relays"
	case "direct":
		return "direct: we have reached it there ourselves"
	case "unverified":
		return "unverified: seen as a source or told by others; may be a NAT's"
	case "lan":
		return "lan: only in the same local network"
	}
	return cell.Name(t, 16)
}

func trustWords(v float64) (level, string) {
	switch {
	case v < trustYields:
		return watch, fmt.Sprintf("%.2f: it has failed us often; a newcomer takes its place in a full bucket", v)
	case v >= trustHolds:
		return fine, fmt.Sprintf("%.2f: it has answered long and well; no newcomer displaces it while it lives", v)
	}
	return fine, fmt.Sprintf("%.2f: ordinary; 0.50 is neutral", v)
}

// rank is how many contacts are closer to us, plus one.
func (p *Routing) rank(m *view.Peer) (n int, ok bool) {
	self, err := hex.DecodeString(p.d.Snap.Node.NodeID)
	mine := distance(self, m.ID)
	if err != nil || mine == nil {
		return 0, false
	}
	n = 1
	for i := range p.d.Snap.DHT.PeersTable {
		if d := distance(self, p.d.Snap.DHT.PeersTable[i].ID); d != nil && bytes.Compare(d, mine) < 0 {
			n++
		}
	}
	return n, true
}

func distance(self []byte, id string) []byte {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != len(self) || len(b) == 0 {
		return nil
	}
	for i := range b {
		b[i] ^= self[i]
	}
	return b
}

// neighbours counts the other contacts that share an IP, and a /24 or /48,
// with m.
func (p *Routing) neighbours(m *view.Peer) (ips, nets int) {
	mine := addrsOf(m)
	for i := range p.d.Snap.DHT.PeersTable {
		x := &p.d.Snap.DHT.PeersTable[i]
		if x.ID == m.ID {
			continue
		}
		var ip, net bool
		for _, a := range addrsOf(x) {
			for _, b := range mine {
				ip = ip || a == b
				net = net || subnet(a) == subnet(b)
			}
		}
		ips += b2i(ip)
		nets += b2i(net)
	}
	return ips, nets
}

func addrsOf(m *view.Peer) (out []netip.Addr) {
	for _, a := range m.Addrs {
		if ap, err := netip.ParseAddrPort(a.Addr); err == nil {
			out = append(out, ap.Addr().Unmap())
		}
	}
	return out
}

func subnet(a netip.Addr) netip.Prefix {
	n := 48
	if a.Is4() {
		n = 24
	}
	pre, _ := a.Prefix(n) // valid lengths both
	return pre
}

// askedRows say what came of asking the contact in the lookups listed.
func (p *Routing) askedRows(m *view.Peer, w, lw int, st *style.Set) (out []string) {
	name := "lookups"
	traces := p.d.Snap.DHT.Lookups.Trace
	for i := range traces {
		for j := range traces[i].Queries {
			q := &traces[i].Queries[j]
			if q.Peer != m.ID || len(out) == 6 {
				continue
			}
			lv := hopLevel(q)
			sign := st.Glyph.Check
			if lv != fine {
				sign = lv.sign(&st.Glyph)
			}
			out = append(out, cell.NewLine(st, w).Cell(style.Dim, name, lw).Add(lv.text(), sign+" "+cell.Name(q.Outcome, 11)).
				Add(style.Text, fmt.Sprintf(" in %s on hop %d, told of %d", cell.Millis(q.TookMS), q.Hop, q.Told)).
				Add(style.Dim, fmt.Sprintf("  lookup %d of %s, %s ago", traces[i].Seq, traceName(&traces[i], 30), cell.Seconds(traces[i].AgeS))).String())
			name = ""
		}
	}
	return out
}
