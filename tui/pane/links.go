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

// federated is the transport of members at other relays.
const federated = "federated"

// Links shows the links to other relays, those in trouble first: who is there
// and proved to be, what passes, and what is lost for which reason.
type Links struct {
	d      *Data
	l      list // by TLS fingerprint
	filter string
}

// NewLinks makes the pane.
func NewLinks() *Links { return &Links{d: &Data{Snap: &view.Snapshot{}}} }

// Apply takes new numbers.
func (p *Links) Apply(d *Data) {
	p.d = d
	order := make([]int, 0, len(d.Snap.Links))
	for i := range d.Snap.Links {
		l := &d.Snap.Links[i]
		if match(p.filter, l.Label, l.State, l.URL, l.Remote, l.TLSFingerprint, strings.Join(l.Rooms, " ")) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := &d.Snap.Links[a], &d.Snap.Links[b]
		lx, _ := judgeLink(d, x)
		ly, _ := judgeLink(d, y)
		return cmp.Or(cmp.Compare(ly, lx), cmp.Compare(x.Label, y.Label))
	})
	ids := make([]string, len(order))
	for i, n := range order {
		ids[i] = linkID(&d.Snap.Links[n])
	}
	p.l.sync(p.l.hold(ids, d.Hold))
}

func linkID(l *view.Link) string { return cmp.Or(l.TLSFingerprint, l.Label) }

func (p *Links) link(id string) *view.Link {
	for i := range p.d.Snap.Links {
		if l := &p.d.Snap.Links[i]; linkID(l) == id {
			return l
		}
	}
	return nil
}

// judgeLink says how bad a link looks, and why.
func judgeLink(d *Data, l *view.Link) (level, string) {
	r := d.Link(l)
	f := fill(l.QueueDepth, l.QueueCapacity)
	switch {
	case l.State == "down" || l.State == "connecting":
		if l.URL == "" && l.LastError == "" {
			return fine, "it dials us, and has not yet"
		}
		return broken, cmp.Or(cell.Clean(l.LastError), "no answer yet")
	case l.State == "muted":
		return watch, "muted by an operator: no media passes"
	case f >= fillWarn:
		return over(f, 0, fillBad), fmt.Sprintf("does not take its packets: our queue to it is %s full", cell.Pct(100*f))
	case r.Drop > 0:
		return watch, fmt.Sprintf("%s/s are dropped, as %s", cell.Rate(r.Drop), reasonWords(lost(l.Dropped)))
	case !l.Verified:
		return watch, "unproven: whoever knows its fingerprint could be it"
	case !l.Signalbox:
		return fine, "of another make: one packet a datagram, no traces"
	}
	return fine, "media passes in full"
}

// lost leaves out what is dropped because it had been here already.
func lost(m map[string]uint64) map[string]uint64 {
	out := map[string]uint64{}
	for k, v := range m {
		if k != "duplicate" && k != "loop" {
			out[k] = v
		}
	}
	return out
}

// Act moves, filters, selects.
func (p *Links) Act(a Action, arg string) Jump {
	switch a {
	case Filter:
		p.filter = arg
		p.Apply(p.d)
		return Jump{Handled: true}
	case Select:
		p.filter = ""
		p.Apply(p.d)
		for i := range p.d.Snap.Links {
			if l := &p.d.Snap.Links[i]; l.Label == arg {
				return Jump{Handled: p.l.pick(linkID(l))}
			}
		}
		return Jump{Handled: strings.HasPrefix(arg, "a relay at ")}
	case Enter:
		if l := p.link(p.l.sel); l != nil && len(l.Rooms) > 0 {
			return Jump{Pane: "rooms", Subject: l.Rooms[0], Handled: true}
		}
		return Jump{Handled: true}
	case Back:
		was := p.filter != ""
		p.filter = ""
		p.Apply(p.d)
		return Jump{Handled: was}
	default:
		return Jump{Handled: p.l.move(a)}
	}
}

// Keys lists what works here.
func (p *Links) Keys() []key.Row {
	none := func() string {
		if p.link(p.l.sel) == nil {
			return "no link is marked"
		}
		return ""
	}
	muted := p.link(p.l.sel) != nil && p.link(p.l.sel).Muted
	kind, word, help := control.LinkMute, "mute", "stop the media with the relay, both ways, for a time"
	if muted {
		kind, word, help = control.LinkUnmute, "unmute", "let media pass with the relay again"
	}
	plan := func(k control.Kind, title string) func() key.Intent {
		return func() key.Intent {
			l := p.link(p.l.sel)
			return key.Intent{Title: title, On: "the link " + cell.Name(l.Label, 30), Cmds: []control.Command{{Kind: k, Target: l.Label}}}
		}
	}
	return []key.Row{
		{Keys: []string{"R"}, Short: "reconnect", Help: "end the connection and dial again at once", Act: true, Disabled: none, Plan: plan(control.LinkReconnect, "reconnect")},
		{Keys: []string{"m"}, Short: word, Help: help, Act: true, Disabled: none, Plan: plan(kind, word+" link")},
		{Keys: []string{"enter"}, Short: "room", Help: "the first room the relay takes part in", Disabled: func() string {
			if l := p.link(p.l.sel); l == nil || len(l.Rooms) == 0 {
				return "it takes part in no room"
			}
			return ""
		}},
	}
}

// Draw shows the links and what is known of the marked one.
func (p *Links) Draw(w, h int, st *style.Set) []string {
	frame := w >= 100 && h >= 30
	low := min(8, h/2)
	if frame {
		low = 10
	}
	up := 0
	for i := range p.d.Snap.Links {
		if s := p.d.Snap.Links[i].State; s == "up" || s == "muted" {
			up++
		}
	}
	b := box{title: "links, in trouble first", note: filterNote(p.filter, len(p.l.ids), len(p.d.Snap.Links)), focus: true}
	if b.note == "" {
		b.note = fmt.Sprintf("%d of %s up", up, plural(len(p.d.Snap.Links), "link"))
	}
	out := section(b, w, h-low, frame, st, func(w, h int) []string { return p.table(w, h, st) })
	l := p.link(p.l.sel)
	d := box{title: "no link marked"}
	if l != nil {
		d.title, d.note = cell.Name(l.Label, 30), cell.Name(cmp.Or(l.Remote, l.URL), 44)
	}
	return cell.Block(append(out, section(d, w, low, frame, st, func(w, h int) []string { return p.about(l, w, h, st) })...), w, h)
}

func (p *Links) table(w, h int, st *style.Set) []string {
	t := table{l: &p.l, filter: p.filter, empty: "no link is configured ([[peers]], [[trusted]])", cols: []col{
		{head: "relay", w: max(14, min(24, w-58))},
		{head: "state", w: 10},
		{head: "proof", w: 8},
		{head: "rtt", w: 6, right: true},
		{head: "in/s", w: 6, right: true},
		{head: "out/s", w: 6, right: true},
		{head: "queue", w: 9, right: true},
		{head: "dup/s", w: 6, right: true, min: 100},
		{head: "drop/s", w: 6, right: true},
		{head: "rooms", w: 5, right: true, min: 100},
		{head: "traffic", w: 24, min: 160},
		{head: "why", w: 0, min: 140},
	}}
	t.row = func(id string) []cellText {
		l := p.link(id)
		if l == nil {
			return nil
		}
		lv, why := judgeLink(p.d, l)
		r := p.d.Link(l)
		proof, ps := "proved", style.Dim
		switch {
		case l.State != "up" && l.State != "muted":
			proof = ""
		case !l.Verified:
			proof, ps = "UNPROVEN", style.Warn
		}
		ds, rtt := style.Dim, ""
		if r.Drop > 0 {
			ds = style.Warn
		}
		if proof != "" {
			rtt = cell.Millis(l.RTTMS)
		}
		return []cellText{
			c(lv.text(), lv.sign(&st.Glyph)+" "+cell.Name(l.Label, 40)), c(lv.text(), cell.Name(l.State, 10)), c(ps, proof), c(style.Text, rtt),
			c(style.Text, cell.Rate(r.In)), c(style.Text, cell.Rate(r.Out)), c(over(fill(l.QueueDepth, l.QueueCapacity), fillWarn, fillBad).text(), fmt.Sprintf("%s/%s", short(l.QueueDepth), short(l.QueueCapacity))),
			c(style.Dim, cell.Rate(r.Dup)), c(ds, cell.Rate(r.Drop)), c(style.Text, short(len(l.Rooms))),
			c(style.Dim, cell.Spark(&st.Glyph, p.d.Hist.Get("link."+id), 24, 0)), c(lv.text(), why),
		}
	}
	return t.draw(w, h, st)
}

// about is the marked link in words and numbers.
func (p *Links) about(l *view.Link, w, h int, st *style.Set) []string {
	label := func(name string) *cell.Line { return cell.NewLine(st, w).Cell(style.Dim, name, 9) }
	if l == nil {
		return p.refusals(label)
	}
	lv, why := judgeLink(p.d, l)
	how := "it dials us"
	if l.URL != "" {
		how = "we dial " + cell.Name(l.URL, 40)
	}
	if l.Found {
		how += ", found in the DHT"
	}
	if l.Direction == "inbound" && l.URL != "" && l.State == "up" {
		how += "; this connection is one it opened"
	}
	members := func(n int, rooms []string) string {
		return fmt.Sprintf("%s in %s: ", plural(n, "member"), plural(len(rooms), "room")) + cell.Clean(strings.Join(rooms, ", "))
	}
	carried := members(l.Members, l.Rooms)
	if len(l.LastRooms) > 0 {
		carried = "none now; had " + members(l.LastMembers, l.LastRooms)
	}
	out := []string{
		label("state").Add(lv.style(), cell.Name(l.State, 10)).Add(style.Text, " for "+cell.Since(p.d.Now, l.Since)+": ").Add(lv.text(), why).String(),
		label("").Add(style.Focus, st.Glyph.Arrow+" ").Add(style.Text, linkRemedy(l, lv)).String(),
		label("way").Add(style.Text, how).Add(style.Dim, "  "+plural(l.Connections, "connection")).String(),
		label("media").Add(style.Text, fmt.Sprintf("in %s  out %s  seen before %s  waiting %d of %d, oldest %s", count(l.Received), count(l.Forwarded), count(l.Deduped), l.QueueDepth, l.QueueCapacity, cell.Millis(l.QueueOldestMS))).String(),
		label("dropped").Add(style.Text, reasonWords(l.Dropped)).String(),
		label("rooms").Add(style.Text, carried).String(),
		label("cert").Add(style.Dim, cell.Name(l.TLSFingerprint, 95)).String(),
	}
	if h > len(out) {
		out = append(out, p.refusals(label)...)
	}
	return out[:min(len(out), h)]
}

// linkRemedy says what to do about a link.
func linkRemedy(l *view.Link, lv level) string {
	switch {
	case l.State == "down" || l.State == "connecting":
		if l.URL == "" {
			return "it has to dial us: look at that relay and at what is between"
		}
		return "R dials it at once; if that fails look at that relay and at UDP to it"
	case l.State == "muted":
		return "m lets media pass again; 6 says who stopped it, and why"
	case !l.Verified:
		return "have it present its certificate, or let us dial it: url in its [[peers]]"
	case lv == broken || lv == watch:
		return "their side or the way there is too slow; R tries another connection"
	}
	return "nothing to do"
}

// refusals are the relays that were not let in.
func (p *Links) refusals(label func(string) *cell.Line) []string {
	var out []string
	for i := range p.d.Snap.Refusals {
		r := &p.d.Snap.Refusals[i]
		text := fmt.Sprintf("%s, %s ago, %d times: %s", cell.Name(r.Remote, 40), cell.Since(p.d.Now, r.At), r.Count, cell.Clean(r.Reason))
		if r.Line != "" {
			text += "; to admit it: " + cell.Clean(r.Line)
		}
		out = append(out, label("refused").Add(style.Warn, text).String())
	}
	return out
}

// LinkRates are per second.
type LinkRates struct{ In, Out, Dup, Drop float64 }

// Link gives a link's rates. What has been here already is not lost.
func (d *Data) Link(l *view.Link) LinkRates {
	if d.Base == nil {
		return LinkRates{}
	}
	for i := range d.Base.Links {
		if b := &d.Base.Links[i]; linkID(b) == linkID(l) {
			return LinkRates{
				In: d.per(l.Received, b.Received), Out: d.per(l.Forwarded, b.Forwarded),
				Dup: d.per(l.Deduped, b.Deduped), Drop: d.per(total(lost(l.Dropped)), total(lost(b.Dropped))),
			}
		}
	}
	return LinkRates{}
}

// federatedCells are the row of a member at another relay, where it is judged.
func federatedCells(m *view.Participant) []cellText {
	out := []cellText{c(style.Text, "  "+callsign(m, 40)+" @"+cell.Name(m.RelayLabel, 24)), c(style.Dim, "elsewhere")}
	for range 10 {
		out = append(out, c(style.Dim, ""))
	}
	return append(out, c(style.Dim, federatedWhy(m)))
}

func federatedWhy(m *view.Participant) string {
	return "at relay " + cell.Name(m.RelayLabel, 24) + ", which judges them"
}
