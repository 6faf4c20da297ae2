package pane

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/key"
	"signalbox/tui/style"
)

// Routing shows the routing table: how fresh, how full, on how many parties
// it depends, every contact, and every lookup hop by hop.
type Routing struct {
	d       *Data
	peers   list
	lookups list
	hops    list
	filter  string
	sort    int // of peerSorts
	reverse bool
	// What is open. contact or lookup: one of them in full; else a list.
	onLookups bool // the list of lookups has the room and the keys
	contact   string
	lookup    string // its number
}

// NewRouting makes the pane.
func NewRouting() *Routing { return &Routing{d: &Data{Snap: &view.Snapshot{}}} }

// LookupSubject is what to select to open the lookup with a number.
func LookupSubject(seq string) string { return "lookup " + seq }

// peerSort is one order of the contacts. Ties are broken by bucket and id, so
// that rows do not change places with every touch.
type peerSort struct {
	name string
	less func(a, b *view.Peer) int
}

var peerSorts = []peerSort{
	{"in trouble first", func(a, b *view.Peer) int { return cmp.Compare(peerLevel(b), peerLevel(a)) }},
	{"by bucket, nearest first", func(a, b *view.Peer) int { return cmp.Compare(b.Bucket, a.Bucket) }},
	{"longest silent first", func(a, b *view.Peer) int { return cmp.Compare(b.LastSeenS, a.LastSeenS) }},
	{"slowest first", func(a, b *view.Peer) int { return cmp.Compare(b.RTTMS, a.RTTMS) }},
	{"least trusted first", func(a, b *view.Peer) int { return cmp.Compare(a.Trust, b.Trust) }},
	{"by address", func(a, b *view.Peer) int { return cmp.Compare(addrWords(a), addrWords(b)) }},
	{"by id", func(a, b *view.Peer) int { return cmp.Compare(a.ID, b.ID) }},
}

// Apply takes new numbers.
func (p *Routing) Apply(d *Data) {
	p.d = d
	peers := d.Snap.DHT.PeersTable
	order := make([]int, 0, len(peers))
	for i := range peers {
		if matchPeer(p.filter, &peers[i]) {
			order = append(order, i)
		}
	}
	by := peerSorts[p.sort].less
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := &peers[a], &peers[b]
		first := by(x, y)
		if p.reverse {
			first = -first
		}
		return cmp.Or(first, cmp.Compare(x.Bucket, y.Bucket), cmp.Compare(x.ID, y.ID))
	})
	ids := make([]string, len(order))
	for i, n := range order {
		ids[i] = peers[n].ID
	}
	p.peers.sync(p.peers.hold(ids, d.Hold))
	p.syncLookups()
}

func matchPeer(filter string, m *view.Peer) bool {
	return match(filter, m.ID, m.State, addrWords(m), fmt.Sprintf("bucket %d", m.Bucket))
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

func (p *Routing) bucket(index int) *view.Bucket {
	for i := range p.d.Snap.DHT.Buckets {
		if p.d.Snap.DHT.Buckets[i].Index == index {
			return &p.d.Snap.DHT.Buckets[i]
		}
	}
	return nil
}

// at is the list that has the keys.
func (p *Routing) at() *list {
	switch {
	case p.lookup != "":
		return &p.hops
	case p.onLookups:
		return &p.lookups
	}
	return &p.peers
}

// marked is the contact that keys act on: the one that is open, or under the
// cursor, be it as a contact or as a hop of a lookup.
func (p *Routing) marked() string {
	switch {
	case p.contact != "":
		return p.contact
	case p.lookup != "":
		return hopPeer(p.hops.sel)
	case p.onLookups:
		return ""
	}
	return p.peers.sel
}

// Act moves, filters, opens and closes.
func (p *Routing) Act(a Action, arg string) Jump {
	switch a {
	case Filter:
		p.filter = arg
		p.Apply(p.d)
		return Jump{Handled: true}
	case Select:
		return Jump{Handled: p.pick(arg)}
	case Back:
		return Jump{Handled: p.back()}
	case Enter:
		return Jump{Handled: p.enter()}
	default:
		if p.contact != "" {
			return Jump{}
		}
		return Jump{Handled: p.at().move(a)}
	}
}

func (p *Routing) pick(arg string) bool {
	p.filter, p.contact, p.lookup = "", "", ""
	seq, isLookup := strings.CutPrefix(arg, "lookup ")
	if isLookup {
		p.onLookups, p.lookup, p.hops = true, seq, list{}
		p.Apply(p.d)
		p.lookups.pick(seq)
		return true
	}
	p.onLookups = false
	p.Apply(p.d)
	return p.peers.pick(arg) || len(arg) < 64 // a cause about the whole table has no row
}

// back leaves the innermost thing that is open.
func (p *Routing) back() bool {
	switch {
	case p.contact != "":
		p.contact = ""
	case p.lookup != "":
		p.lookup = ""
	case p.filter != "":
		p.filter = ""
	case p.onLookups:
		p.onLookups = false
	default:
		return false
	}
	p.Apply(p.d)
	return true
}

func (p *Routing) enter() bool {
	switch {
	case p.contact != "":
		return false
	case p.lookup != "":
		if p.peer(hopPeer(p.hops.sel)) == nil {
			return false
		}
		p.contact = hopPeer(p.hops.sel)
	case p.onLookups:
		if p.lookups.sel == "" {
			return false
		}
		p.lookup, p.hops = p.lookups.sel, list{}
	case p.peers.sel == "":
		return false
	default:
		p.contact = p.peers.sel
	}
	p.Apply(p.d)
	return true
}

// Keys lists what works here.
func (p *Routing) Keys() []key.Row {
	id := p.marked()
	none := func() string {
		if p.peer(id) == nil {
			return "no contact is marked"
		}
		return ""
	}
	nobody := func() string {
		if id == "" {
			return "nobody is marked"
		}
		return ""
	}
	cmd := func(k control.Kind, title string) func() key.Intent {
		return func() key.Intent {
			return key.Intent{Title: title, On: cell.Name(id, 24), Cmds: []control.Command{{Kind: k, Target: id}}}
		}
	}
	return []key.Row{
		{Keys: []string{"enter"}, Short: "open", Help: "all about the marked contact and why it is stale, or a lookup hop by hop"},
		{Keys: []string{"v"}, Short: p.otherList(), Help: "the lookups under way and the last ones, or the contacts", Run: p.swap},
		{Keys: []string{"t"}, Short: "trace", Help: "look up an id, a room or a user, and see whom the node asks", Act: true, Line: p.traceLine},
		{Keys: []string{"P"}, Short: "ping", Help: "send the contact one ping and wait for its answer", Act: true, Disabled: none, Plan: cmd(control.PeerPing, "ping peer")},
		{Keys: []string{"f"}, Short: "refresh", Help: "look up ids in one bucket, or in all, to freshen it", Act: true, Plan: p.refresh},
		{Keys: []string{"e"}, Short: "evict", Help: "take the contact out of the table; it may come back", Act: true, Disabled: none, Plan: cmd(control.PeerEvict, "evict peer")},
		{Keys: []string{"E"}, Help: "evict every contact that does not answer any more; those that live come back", Act: true, Disabled: p.noDead, Plan: p.evictDead},
		{Keys: []string{"B"}, Short: "block", Help: "take the peer out and keep it out for a time", Act: true, Disabled: nobody, Plan: cmd(control.PeerBlock, "block peer")},
		{Keys: []string{"U"}, Help: "let a blocked peer in again", Act: true, Disabled: p.nobodyBlocked, Plan: p.unblock},
		{Keys: []string{"o"}, Short: "order", Help: "order the contacts by the next column: trouble, bucket, silence, rtt, trust, address, id", Run: func() {
			p.sort = (p.sort + 1) % len(peerSorts)
			p.resort()
		}},
		{Keys: []string{"O"}, Help: "turn the order round", Run: func() { p.reverse = !p.reverse; p.resort() }},
		{Keys: []string{"S"}, Help: "write peers and trust to the state directory now", Act: true, Plan: func() key.Intent {
			return key.Intent{Title: "save", On: "peers and trust", Cmds: []control.Command{{Kind: control.NodeSave}}}
		}},
	}
}

// resort orders anew although rows hold their places.
func (p *Routing) resort() {
	p.peers.ids = nil
	p.Apply(p.d)
}

func (p *Routing) otherList() string {
	if p.onLookups {
		return "contacts"
	}
	return "lookups"
}

func (p *Routing) swap() {
	p.onLookups, p.contact, p.lookup = !p.onLookups, "", ""
	p.Apply(p.d)
}

// traceLine begins the command; a marked contact is what one looks up most.
func (p *Routing) traceLine() string { return string(control.RoutingTrace) + " " + p.marked() }

func (p *Routing) blocked() (out []*view.Undo) {
	for i := range p.d.Snap.Undo {
		if u := &p.d.Snap.Undo[i]; u.Kind == string(control.PeerBlock) {
			out = append(out, u)
		}
	}
	return out
}

func (p *Routing) nobodyBlocked() string {
	if len(p.blocked()) == 0 {
		return "nobody is blocked"
	}
	return ""
}

func (p *Routing) unblock() key.Intent {
	ch := &key.Choice{Ask: "whom?"}
	for _, u := range p.blocked() {
		ch.Labels = append(ch.Labels, cell.Name(u.Target, 20)+" blocked by "+cell.Name(u.Author, 24)+" "+cell.Since(p.d.Snap.At, u.At)+" ago  "+cell.Clean(u.Reason))
		ch.Values = append(ch.Values, u.Target)
	}
	return key.Intent{Title: "unblock peer", On: "a blocked peer", Cmds: []control.Command{{Kind: control.PeerUnblock, Target: p.blocked()[0].Target}}, Choose: ch}
}

func (p *Routing) refresh() key.Intent {
	in := key.Intent{Title: "refresh", On: "the routing table", Cmds: []control.Command{{Kind: control.RoutingRefresh, Target: "all"}}}
	ch := &key.Choice{Ask: "which buckets?", Labels: []string{"all"}, Values: []any{"all"}}
	if m := p.peer(p.marked()); m != nil {
		ch.Labels = append(ch.Labels, fmt.Sprintf("bucket %d, of the marked contact", m.Bucket))
		ch.Values = append(ch.Values, fmt.Sprint(m.Bucket))
		ch.Start = 1
	}
	in.Choose = ch
	return in
}

// Draw shows what is open: one contact, one lookup, or the map, what it means
// in words, and a list.
func (p *Routing) Draw(w, h int, st *style.Set) []string {
	switch {
	case p.contact != "":
		return cell.Block(p.drawContact(w, h, st), w, h)
	case p.lookup != "":
		return cell.Block(p.drawLookup(w, h, st), w, h)
	}
	frame := w >= 100 && h >= 30
	title := fmt.Sprintf("buckets: %d of %d used", usedBuckets(p.d.Snap.DHT.Buckets), idBits)
	var top []string
	if w >= 150 {
		lw := (w - 2) * 2 / 5
		th := min(max(p.mapRows(lw-4)+3, len(p.words(w-lw-6, st))+2), h/2)
		top = cell.Beside(p.mapBox(title, lw, th, frame, st), p.wordsBox(w-2-lw, th, frame, st), 2)
	} else {
		mh := min(p.mapRows(w)+2, max(4, h/4))
		wh := 8
		if frame {
			mh, wh = min(p.mapRows(w-4)+3, h/4), min(len(p.words(w-4, st))+2, h/2)
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
	if lh := min(9, rest/3); lh >= 5 && !p.onLookups { // room for both lists
		top = append(top, p.lookupBox(w, lh, frame, false, st)...)
		rest -= lh
	}
	if p.onLookups {
		return cell.Block(append(top, p.lookupBox(w, rest, frame && rest >= 5, true, st)...), w, h)
	}
	b := box{title: "contacts, " + p.orderWords(), note: filterNote(p.filter, len(p.peers.ids), len(p.d.Snap.DHT.PeersTable)), focus: true}
	if b.note == "" {
		b.note = fmt.Sprintf("%d fresh, %d stale, %d suspect", p.d.Snap.DHT.Fresh, p.d.Snap.DHT.Stale, p.d.Snap.DHT.Suspect)
	}
	return cell.Block(append(top, section(b, w, rest, frame && rest >= 5, st, func(w, h int) []string { return p.table(w, h, st) })...), w, h)
}

func (p *Routing) orderWords() string {
	if p.reverse {
		return peerSorts[p.sort].name + ", turned round"
	}
	return peerSorts[p.sort].name
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
var mono = style.New(style.Config{Theme: style.Mono})

func (p *Routing) mapBox(title string, w, h int, frame bool, st *style.Set) []string {
	b := box{title: title, note: "age of the last proof of life"}
	if m := p.peer(p.marked()); m != nil {
		if k := p.bucket(m.Bucket); k != nil {
			b.note = fmt.Sprintf("marked: bucket %d, %s", k.Index, bucketWords(k))
		}
	}
	return section(b, w, h, frame && h >= 5, st, func(w, h int) []string {
		rows := ageStrips(p.d.Snap.DHT.Buckets, w, max(1, h-1), h >= 3, st)
		if len(rows) < h {
			rows = append(rows, ageLegend(w, st))
		}
		return rows
	})
}

func bucketWords(k *view.Bucket) string {
	age := "never proven"
	if k.LastRefreshS >= 0 {
		age = "proven " + cell.Seconds(k.LastRefreshS) + " ago"
	}
	dead := ""
	if k.Suspect > 0 {
		dead = fmt.Sprintf(", %d do not answer", k.Suspect)
	}
	return fmt.Sprintf("%d of %d, %d stale%s, %s", k.Size, k.Capacity, k.Stale, dead, age)
}

func (p *Routing) table(w, h int, st *style.Set) []string {
	t := table{l: &p.peers, filter: p.filter, empty: "the table is empty: nobody is known", cols: []col{
		{head: "peer", w: min(64, max(16, w/5))},
		{head: "state", w: 9},
		{head: "bucket", w: 6, right: true},
		{head: "seen", w: 7, right: true},
		{head: "rtt", w: 6, right: true},
		{head: "trust", w: 5, right: true},
		{head: "links", w: 5, right: true, min: 110},
		{head: "missed", w: 6, right: true, min: 110},
		{head: "since", w: 7, right: true, min: 130},
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
			c(over(1-m.Trust, 0.6, 0.8).text(), fmt.Sprintf("%.2f", m.Trust)), c(style.Text, fmt.Sprint(m.Links)),
			c(over(float64(m.Failures), 1, 2).text(), fmt.Sprint(m.Failures)), c(style.Text, cell.Seconds(m.SinceS)), c(style.Text, addrWords(m)),
		}
	}
	return t.draw(w, h, st)
}
