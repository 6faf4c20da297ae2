package pane

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/key"
	"signalbox/tui/style"
)

// Routing shows the routing table: how fresh, how full, on how many parties
// it depends, and every contact.
type Routing struct {
	d      *Data
	l      list
	filter string
}

// NewRouting makes the pane.
func NewRouting() *Routing { return &Routing{d: &Data{Snap: &view.Snapshot{}}} }

// Apply takes new numbers. Contacts that are in trouble come first, then by
// bucket and id, an order that does not move with every touch.
func (p *Routing) Apply(d *Data) {
	p.d = d
	peers := d.Snap.DHT.PeersTable
	order := make([]int, 0, len(peers))
	for i := range peers {
		if match(p.filter, peers[i].ID, peers[i].State, addrWords(&peers[i]), fmt.Sprintf("bucket %d", peers[i].Bucket)) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := &peers[a], &peers[b]
		return cmp.Or(cmp.Compare(peerLevel(y), peerLevel(x)), cmp.Compare(x.Bucket, y.Bucket), cmp.Compare(x.ID, y.ID))
	})
	ids := make([]string, len(order))
	for i, n := range order {
		ids[i] = peers[n].ID
	}
	p.l.sync(p.l.hold(ids, d.Hold))
}

func peerLevel(p *view.Peer) level {
	switch p.State {
	case "suspect":
		return broken
	case "stale":
		return watch
	}
	return fine
}

func addrWords(p *view.Peer) string {
	parts := make([]string, len(p.Addrs))
	for i, a := range p.Addrs {
		parts[i] = cell.Clean(a.Addr) + " " + cell.Clean(a.Type)
	}
	return strings.Join(parts, ", ")
}

func (p *Routing) peer(id string) *view.Peer {
	for i := range p.d.Snap.DHT.PeersTable {
		if p.d.Snap.DHT.PeersTable[i].ID == id {
			return &p.d.Snap.DHT.PeersTable[i]
		}
	}
	return nil
}

// Act moves, filters, selects.
func (p *Routing) Act(a Action, arg string) Jump {
	switch a {
	case Filter:
		p.filter = arg
		p.Apply(p.d)
		return Jump{Handled: true}
	case Select:
		p.filter = ""
		p.Apply(p.d)
		return Jump{Handled: p.l.pick(arg)}
	case Back:
		was := p.filter != ""
		p.filter = ""
		p.Apply(p.d)
		return Jump{Handled: was}
	}
	return Jump{Handled: p.l.move(a)}
}

// Keys lists what works here.
func (p *Routing) Keys() []key.Row {
	none := func() string {
		if p.peer(p.l.sel) == nil {
			return "no contact is marked"
		}
		return ""
	}
	cmd := func(k control.Kind, title string, ttl bool) func() key.Intent {
		return func() key.Intent {
			return key.Intent{Title: title, On: cell.Name(p.l.sel, 24), Cmds: []control.Command{{Kind: k, Target: p.l.sel}}, TTL: ttl}
		}
	}
	return []key.Row{
		{Keys: []string{"P"}, Short: "ping", Help: "send the contact one ping and wait for its answer", Act: true, Disabled: none, Plan: cmd(control.PeerPing, "ping peer", false)},
		{Keys: []string{"e"}, Short: "evict", Help: "take the contact out of the table; it may come back", Act: true, Disabled: none, Plan: cmd(control.PeerEvict, "evict peer", false)},
		{Keys: []string{"B"}, Short: "block", Help: "take the contact out and keep it out for a time", Act: true, Disabled: none, Plan: cmd(control.PeerBlock, "block peer", true)},
		{Keys: []string{"f"}, Short: "refresh", Help: "look up ids in one bucket, or in all, to freshen it", Act: true, Plan: p.refresh},
		{Keys: []string{"S"}, Short: "save", Help: "write peers and trust to the state directory now", Act: true, Plan: func() key.Intent {
			return key.Intent{Title: "save", On: "peers and trust", Cmds: []control.Command{{Kind: control.NodeSave}}}
		}},
	}
}

func (p *Routing) refresh() key.Intent {
	in := key.Intent{Title: "refresh", On: "the routing table", Cmds: []control.Command{{Kind: control.RoutingRefresh, Target: "all"}}}
	ch := &key.Choice{Ask: "which buckets?", Labels: []string{"all"}, Values: []any{"all"}}
	if m := p.peer(p.l.sel); m != nil {
		ch.Labels = append(ch.Labels, fmt.Sprintf("bucket %d, of the marked contact", m.Bucket))
		ch.Values = append(ch.Values, fmt.Sprint(m.Bucket))
	}
	in.Choose = ch
	return in
}

// Draw shows the map, what it means in words, and the contacts.
func (p *Routing) Draw(w, h int, st *style.Set) []string {
	frame := w >= 100 && h >= 30
	title := fmt.Sprintf("buckets: %d of %d used", usedBuckets(p.d.Snap.DHT.Buckets), idBits)
	var top []string
	if w >= 150 {
		lw := (w - 2) * 2 / 5
		th := min(max(p.mapRows(lw-4)+3, 9), h/3)
		top = cell.Beside(p.mapBox(title, lw, th, frame, st), p.wordsBox(w-2-lw, th, frame, st), 2)
	} else {
		mh := min(p.mapRows(w)+2, max(4, h/3))
		wh := 7
		if frame {
			mh, wh = min(p.mapRows(w-4)+3, h/3), 9
		}
		if h < 18 {
			mh, wh = min(4, h), min(3, max(0, h-4))
		}
		top = append(p.mapBox(title, w, mh, frame, st), p.wordsBox(w, wh, frame, st)...)
	}
	rest := h - len(top)
	if rest < 2 {
		return cell.Block(top, w, h)
	}
	b := box{title: "contacts, in trouble first", note: filterNote(p.filter, len(p.l.ids), len(p.d.Snap.DHT.PeersTable)), focus: true}
	if b.note == "" {
		b.note = fmt.Sprintf("%d fresh, %d stale, %d suspect", p.d.Snap.DHT.Fresh, p.d.Snap.DHT.Stale, p.d.Snap.DHT.Suspect)
	}
	return cell.Block(append(top, section(b, w, rest, frame && rest >= 5, st, func(w, h int) []string { return p.table(w, h, st) })...), w, h)
}

func usedBuckets(bs []view.Bucket) int {
	n := 0
	for i := range bs {
		if bs[i].Size > 0 {
			n++
		}
	}
	return n
}

// mapRows is how many rows the map would like.
func (p *Routing) mapRows(w int) int {
	return len(ageStrips(p.d.Snap.DHT.Buckets, w, 100, true, mono))
}

// mono measures: it draws nothing that is shown.
var mono = style.New(style.Config{NoColor: true})

func (p *Routing) mapBox(title string, w, h int, frame bool, st *style.Set) []string {
	b := box{title: title, note: "age of the last proof of life"}
	return section(b, w, h, frame && h >= 5, st, func(w, h int) []string {
		rows := ageStrips(p.d.Snap.DHT.Buckets, w, max(1, h-1), h >= 3, st)
		if len(rows) < h {
			rows = append(rows, ageLegend(w, st))
		}
		return rows
	})
}

func (p *Routing) wordsBox(w, h int, frame bool, st *style.Set) []string {
	if h <= 0 {
		return nil
	}
	t := &p.d.Snap.DHT
	return section(box{title: "what that means"}, w, h, frame && h >= 5, st, func(w, h int) []string {
		label := func(name string) *cell.Line { return cell.NewLine(st, w).Cell(style.Dim, name, 11) }
		lv, words := diversity(t)
		refused := admissionWords(t.Admission)
		sv, kept := savedWords(&t.Saved, p.d.Snap.At)
		lk := over(failPct(t.Lookups.OK, t.Lookups.Failed), 10, 40)
		rp := over(failPct(t.RPC.OK, t.RPC.Timeout), 10, 40)
		return []string{
			label("diversity").Add(lv.text(), strings.TrimSpace(lv.sign(&st.Glyph)+" "+words)).String(),
			label("lookups").Add(lk.text(), fmt.Sprintf("%s ok, %s failed", cell.Count(float64(t.Lookups.OK)), cell.Count(float64(t.Lookups.Failed)))).
				Add(style.Text, fmt.Sprintf(", %d active, p50 %s, p99 %s, %.0f hops", t.Lookups.Active, cell.Millis(t.Lookups.P50MS), cell.Millis(t.Lookups.P99MS), t.Lookups.HopsP50)).String(),
			label("requests").Add(rp.text(), fmt.Sprintf("%s ok, %s timed out", cell.Count(float64(t.RPC.OK)), cell.Count(float64(t.RPC.Timeout)))).
				Add(style.Text, fmt.Sprintf(", %s refused, %d waiting", cell.Count(float64(t.RPC.Refused)), t.RPC.Pending)).String(),
			label("admission").Add(style.Text, refused).String(),
			label("saved").Add(sv.text(), kept).String(),
			label("touches").Add(style.Text, fmt.Sprintf("%s fast (no lock), %s slow, %s of unknown peers", cell.Count(float64(t.Touch.Fast)), cell.Count(float64(t.Touch.Slow)), cell.Count(float64(t.Touch.Missing)))).String(),
			label("cache").Add(style.Text, fmt.Sprintf("%s hits, %s misses, %s evicted, %s in use", cell.Count(float64(t.Cache.Hits)), cell.Count(float64(t.Cache.Misses)), cell.Count(float64(t.Cache.Evicted)), cell.Bytes(t.Cache.Bytes))).String(),
		}
	})
}

// savedWords say what is on disk for the next start, and what the last run
// left for this one.
func savedWords(v *view.Saved, now time.Time) (level, string) {
	lv, out := fine, "not yet"
	if !v.At.IsZero() {
		out = fmt.Sprintf("%s ago, %d peers", cell.Seconds(max(0, now.Sub(v.At).Seconds())), v.Peers)
	}
	if v.Kept != "" {
		out += " (kept: " + cell.Clean(v.Kept) + ")"
	}
	if v.Error != "" {
		lv, out = broken, out+"; fails: "+cell.Clean(v.Error)
	}
	if v.RestoredFrom != "" {
		out += fmt.Sprintf("; %d of %d of the last run are back", v.Redialled, v.Restored)
	}
	if v.Discarded != "" {
		lv, out = max(lv, watch), out+"; the last run's was not used: "+cell.Clean(v.Discarded)
	}
	return lv, out
}

func failPct(ok, failed uint64) float64 {
	if ok+failed == 0 {
		return 0
	}
	return 100 * float64(failed) / float64(ok+failed)
}

// diversity says on how many parties the table depends.
func diversity(t *view.DHT) (level, string) {
	v := &t.Diversity
	facts := fmt.Sprintf("%d peers, %d IPs, %d subnets, largest %s", t.Peers, v.DistinctIPs, v.DistinctSubnets, cell.Pct(v.LargestSubnetPct))
	switch {
	case t.Peers == 0:
		return watch, "nobody is known: this node is alone"
	case v.LargestSubnetPct >= 50 && t.Peers >= 4:
		return broken, facts + ": whoever runs it decides what we see"
	case v.LargestSubnetPct >= 33 && t.Peers >= 4:
		return watch, facts + ": much rests on one party"
	case t.Peers < 8:
		return watch, facts + ": few peers, the table is thin"
	}
	return fine, facts + ": no one can cut us off"
}

func admissionWords(m map[string]uint64) string {
	if len(reasons(m)) == 0 {
		return "nobody has asked to be in the table yet"
	}
	return reasonWords(m)
}

func (p *Routing) table(w, h int, st *style.Set) []string {
	t := table{l: &p.l, empty: "no contact matches; with no filter: the table is empty", cols: []col{
		{head: "peer", w: min(64, max(18, w/4))},
		{head: "state", w: 9},
		{head: "bucket", w: 6, right: true},
		{head: "seen", w: 7, right: true},
		{head: "rtt", w: 6, right: true},
		{head: "trust", w: 5, right: true},
		{head: "addresses", w: 0},
	}}
	byID := make(map[string]*view.Peer, len(p.d.Snap.DHT.PeersTable))
	for i := range p.d.Snap.DHT.PeersTable {
		byID[p.d.Snap.DHT.PeersTable[i].ID] = &p.d.Snap.DHT.PeersTable[i]
	}
	t.row = func(id string) []cellText {
		m := byID[id]
		if m == nil {
			return nil
		}
		lv := peerLevel(m)
		return []cellText{
			c(lv.text(), lv.sign(&st.Glyph)+" "+cell.Name(m.ID, 64)), c(lv.text(), cell.Name(m.State, 9)), c(style.Text, fmt.Sprint(m.Bucket)),
			c(over(m.LastSeenS, freshS, 3600).text(), cell.Seconds(m.LastSeenS)), c(style.Text, cell.Millis(m.RTTMS)),
			c(over(1-m.Trust, 0.6, 0.8).text(), fmt.Sprintf("%.2f", m.Trust)), c(style.Text, addrWords(m)),
		}
	}
	return t.draw(w, h, st)
}
