package pane

import (
	"fmt"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/key"
	"signalbox/tui/style"
)

// Rooms shows the media rooms, worst first, and inside a room who is weak and
// whose fault it is.
type Rooms struct {
	d      *Data
	l      list // room names
	in     string
	inside bool
	m      list // participant ids of the open room
	filter string
}

// NewRooms makes the pane.
func NewRooms() *Rooms { return &Rooms{d: &Data{Snap: &view.Snapshot{}}} }

// Apply takes new numbers.
func (p *Rooms) Apply(d *Data) {
	p.d = d
	var ids []string
	for _, i := range worstRooms(d) {
		if r := &d.Snap.Rooms[i]; p.inside || matchRoom(p.filter, r) {
			ids = append(ids, r.Name)
		}
	}
	p.l.sync(p.l.hold(ids, d.Hold))
	if p.inside {
		p.syncMembers()
	}
}

func matchRoom(filter string, r *view.Room) bool {
	fields := []string{r.Name, r.Tier, r.PinnedTier}
	if r.Locked {
		fields = append(fields, "locked")
	}
	for i := range r.Participants {
		fields = append(fields, r.Participants[i].Alias, r.Participants[i].Remote, r.Participants[i].ID)
	}
	return match(filter, fields...)
}

func (p *Rooms) syncMembers() {
	var ids []string
	if r := p.room(p.in); r != nil {
		for _, i := range worstMembers(p.d, r) {
			m := &r.Participants[i]
			if match(p.filter, m.Alias, m.ID, m.Remote, m.Tier, m.Transport, m.Shard) {
				ids = append(ids, m.ID)
			}
		}
	}
	p.m.sync(p.m.hold(ids, p.d.Hold))
}

func (p *Rooms) room(name string) *view.Room {
	for i := range p.d.Snap.Rooms {
		if p.d.Snap.Rooms[i].Name == name {
			return &p.d.Snap.Rooms[i]
		}
	}
	return nil
}

func (p *Rooms) member() *view.Participant {
	r := p.room(p.in)
	if r == nil {
		return nil
	}
	for i := range r.Participants {
		if r.Participants[i].ID == p.m.sel {
			return &r.Participants[i]
		}
	}
	return nil
}

// Act moves, goes into a room and out of it, filters, selects.
func (p *Rooms) Act(a Action, arg string) Jump {
	switch a {
	case Filter:
		p.filter = arg
		p.Apply(p.d)
		return Jump{Handled: true}
	case Select:
		return Jump{Handled: p.find(arg)}
	case Enter:
		if !p.inside && p.room(p.l.sel) != nil {
			p.enter(p.l.sel)
		}
		return Jump{Handled: true}
	case Back:
		switch {
		case p.filter != "":
			p.filter = ""
		case p.inside:
			p.inside = false
		default:
			return Jump{}
		}
		p.Apply(p.d)
		return Jump{Handled: true}
	default:
		if p.inside {
			return Jump{Handled: p.m.move(a)}
		}
		return Jump{Handled: p.l.move(a)}
	}
}

func (p *Rooms) enter(name string) {
	p.in, p.inside, p.filter, p.m = name, true, "", list{}
	p.syncMembers()
	if r := p.room(name); r != nil {
		if w := weakest(p.d, r); w != nil {
			p.m.pick(w.ID)
		}
	}
}

// find opens what a cause is about: a room, or a participant by id, alias or
// fingerprint.
func (p *Rooms) find(subject string) bool {
	p.filter, p.inside = "", false
	p.Apply(p.d)
	if p.l.pick(subject) {
		return true
	}
	for i := range p.d.Snap.Rooms {
		r := &p.d.Snap.Rooms[i]
		for j := range r.Participants {
			m := &r.Participants[j]
			if m.ID == subject || m.Alias == subject || subject == r.Name+"/"+m.Alias || subject == r.Name+"/"+m.ID || m.Fingerprint != "" && m.Fingerprint == subject {
				p.l.pick(r.Name)
				p.enter(r.Name)
				return p.m.pick(m.ID)
			}
		}
	}
	return false
}

// Keys lists what works here: on rooms, or inside one on its members.
func (p *Rooms) Keys() []key.Row {
	if p.inside {
		return p.memberKeys()
	}
	return p.roomKeys()
}

func (p *Rooms) roomKeys() []key.Row {
	none := func() string {
		if p.room(p.l.sel) == nil {
			return "no room is marked"
		}
		return ""
	}
	lock := func() key.Intent {
		name := p.l.sel
		if r := p.room(name); r != nil && r.Locked {
			return roomIntent(control.RoomUnlock, "unlock room", name)
		}
		return roomIntent(control.RoomLock, "lock room", name)
	}
	return []key.Row{
		{Keys: []string{"enter"}, Short: "members", Help: "the room's members: who is weak, and whose fault it is", Disabled: none},
		{Keys: []string{"L"}, Short: "lock", Help: "lock or unlock the room: nobody else can join", Act: true, Disabled: none, Plan: lock},
		{Keys: []string{"T"}, Short: "pin tier", Help: "pin the room's tier, or let the judge decide again", Act: true, Disabled: none, Plan: func() key.Intent { return p.pinTier(p.l.sel) }},
		{Keys: []string{"C"}, Short: "close", Help: "close the room; asks for its name to be typed", Act: true, Disabled: none, Plan: func() key.Intent {
			return roomIntent(control.RoomClose, "close room", p.l.sel)
		}},
		{Keys: []string{"o"}, Help: "log the headers of the room's packets, or end that", Act: true, Disabled: none, Plan: func() key.Intent { return p.tap(p.l.sel) }},
	}
}

func roomIntent(k control.Kind, title, name string) key.Intent {
	return key.Intent{Title: title, On: cell.Name(name, 40), Cmds: []control.Command{{Kind: k, Target: name}}}
}

// tap begins a tap of the room, or ends the one there is.
func (p *Rooms) tap(name string) key.Intent {
	for i := range p.d.Snap.Taps {
		if p.d.Snap.Taps[i].Room == name {
			return roomIntent(control.RoomUntap, "end the tap of room", name)
		}
	}
	in := roomIntent(control.RoomTap, "tap room", name)
	in.Choose = &key.Choice{Ask: "where are the lines to go?", Arg: "to", Labels: []string{"the node's log", "tap.log in its state directory"}, Values: []any{"log", "file"}}
	return in
}

func (p *Rooms) pinTier(name string) key.Intent {
	in := roomIntent(control.RoomPinTier, "pin the tier of room", name)
	tiers := []string{"Studio64k", "Studio48k", "Studio32k", "Good", "Degraded", "Catastrophic"}
	ch := &key.Choice{Ask: "which tier?", Arg: "tier"}
	for _, t := range tiers {
		ch.Labels, ch.Values = append(ch.Labels, t), append(ch.Values, t)
	}
	ch.Labels, ch.Values = append(ch.Labels, "let the judge decide"), append(ch.Values, "")
	ch.Start = 3
	in.Choose = ch
	return in
}

// Draw shows the rooms, or the open room's members.
func (p *Rooms) Draw(w, h int, st *style.Set) []string {
	if p.inside {
		return p.drawMembers(w, h, st)
	}
	frame := w >= 100 && h >= 30
	low := min(7, h/3)
	if frame {
		low = 9
	}
	b := box{title: "rooms, worst first", note: filterNote(p.filter, len(p.l.ids), len(p.d.Snap.Rooms)), focus: true}
	if b.note == "" {
		b.note = plural(len(p.d.Snap.Rooms), "room")
	}
	out := section(b, w, h-low, frame, st, func(w, h int) []string { return p.roomTable(w, h, st) })
	r := p.room(p.l.sel)
	d := box{title: "no room marked"}
	if r != nil {
		d.title, d.note = cell.Name(r.Name, 40), "enter: its members"
	}
	return cell.Block(append(out, section(d, w, low, frame, st, func(w, _ int) []string {
		if r == nil {
			return nil
		}
		return p.aboutRoom(r, w, st)
	})...), w, h)
}

func (p *Rooms) roomTable(w, h int, st *style.Set) []string {
	t := table{l: &p.l, filter: p.filter, empty: "no rooms: nobody is in a call", cols: []col{
		{head: "room", w: 0},
		{head: "size", w: 4, right: true},
		{head: "tier", w: 13},
		{head: "loss", w: 5, right: true},
		{head: "rtt", w: 6, right: true, min: 96},
		{head: "drop/s", w: 6, right: true},
		{head: "weakest", w: 14},
		{head: "fault", w: 10},
		{head: "loss, last minutes", w: 24, min: 116},
		{head: "why", w: 62, min: 170},
	}}
	t.row = func(id string) []cellText {
		r := p.room(id)
		if r == nil {
			return nil
		}
		return p.roomCells(r, st)
	}
	return t.draw(w, h, st)
}

func (p *Rooms) roomCells(r *view.Room, st *style.Set) []cellText {
	lv := roomLevel(p.d, r)
	name := lv.sign(&st.Glyph) + " " + cell.Name(r.Name, 200)
	if r.Locked {
		name = lv.sign(&st.Glyph) + " [locked] " + cell.Name(r.Name, 200)
	}
	loss, rtt, drop := worstLoss(r), 0.0, 0.0
	for i := range r.Participants {
		rtt = max(rtt, r.Participants[i].RTTMS)
		drop += p.d.Part(&r.Participants[i]).Drop
	}
	ds := style.Dim
	if drop > 0 {
		ds = style.Warn
	}
	out := []cellText{
		c(lv.text(), name), c(style.Text, short(len(r.Participants))), c(tierLevel(r.Tier).text(), tierWord(r)),
		c(over(loss, lossWarn, lossBad).text(), cell.Pct(loss)), c(over(rtt, rttWarn, rttBad).text(), cell.Millis(rtt)), c(ds, cell.Rate(drop)),
	}
	m := weakest(p.d, r)
	if m == nil {
		return append(out, c(style.Dim, "empty"), c(style.Dim, ""), c(style.Dim, ""), c(style.Dim, "nobody is in it"))
	}
	plv, who, why := judgePart(p.d, m)
	fs, word := plv.text(), who.word()
	if l := lostTo(p.d, r); l != nil && plv == fine {
		fs, word, why = style.Warn, "link", missing(l)
	} else if plv == fine {
		fs = style.Dim
	}
	return append(out, c(style.Text, callsign(m, 14)), c(fs, word),
		c(over(loss, lossWarn, lossBad).style(), cell.Spark(&st.Glyph, p.d.Hist.Get("room."+r.Name), 24, 20)), c(fs, why))
}

func (p *Rooms) aboutRoom(r *view.Room, w int, st *style.Set) []string {
	label := func(name string) *cell.Line { return cell.NewLine(st, w).Cell(style.Dim, name, 9) }
	flags := "open"
	if r.Locked {
		flags = "locked: nobody can join"
	}
	if r.Global {
		flags += ", global"
	}
	tier := label("tier").Add(tierLevel(r.Tier).text(), cell.Name(r.Tier, 16))
	if r.PinnedTier != "" {
		tier.Add(style.Warn, "  pinned to "+cell.Name(r.PinnedTier, 16)+" by an operator")
	}
	tier.Add(style.Dim, fmt.Sprintf("   %s, %s, up %s, %s", plural(len(r.Participants), "member"), flags, cell.Since(p.d.Now, r.CreatedAt), plural(int(min(r.Directives, 1<<31-1)), "directive")))
	out := []string{tier.String()}
	m := weakest(p.d, r)
	if m == nil {
		return append(out, label("weakest").Add(style.Dim, "the room is empty").String())
	}
	lv, who, why := judgePart(p.d, m)
	out = append(out, label("weakest").Add(style.Strong, callsign(m, 24)).Add(style.Dim, "  "+cell.Name(m.Remote, 40)).String())
	out = append(out, label("fault").Add(lv.style(), faultWord(who)+" ").Add(style.Text, why).String())
	out = append(out, label("numbers").Add(style.Text, fmt.Sprintf("loss %s  rtt %s  jitter %s  queue %d/%d  drops: %s",
		cell.Pct(m.LossPct), cell.Millis(m.RTTMS), cell.Millis(m.JitterMS), m.QueueDepth, m.QueueCapacity, reasonWords(m.Dropped))).String())
	n := 0
	for i := range r.Participants {
		if l, _, _ := judgePart(p.d, &r.Participants[i]); l > fine {
			n++
		}
	}
	others := label("others").Add(style.Dim, "every other member is fine")
	if l := lostTo(p.d, r); l != nil {
		others = label("others").Add(style.Warn, missing(l)+": R in pane 8 dials it")
	} else if n > 1 {
		others = label("others").Add(style.Warn, plural(n-1, "more member")+" in trouble: enter shows them")
	}
	return append(out, others.String())
}
