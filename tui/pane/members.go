package pane

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/key"
	"signalbox/tui/style"
)

// worstMembers orders a room's members, worst first, equals by id.
func worstMembers(d *Data, r *view.Room) []int {
	score := make([]float64, len(r.Participants))
	out := make([]int, len(r.Participants))
	for i := range r.Participants {
		p := &r.Participants[i]
		lv, _, _ := judgePart(d, p)
		score[i] = 1000*float64(lv) + 100*float64(5-tierRank(p.Tier)) + float64(int(p.LossPct))
		if p.ID == r.Weakest && r.Weakest != "" {
			score[i] += 50
		}
		out[i] = i
	}
	slices.SortStableFunc(out, func(a, b int) int {
		if c := cmp.Compare(score[b], score[a]); c != 0 {
			return c
		}
		return cmp.Compare(r.Participants[a].ID, r.Participants[b].ID)
	})
	return out
}

// sourceOf is what a ban or throttle of a participant is put on: its IPv4
// address, or the /64 of its IPv6 address, which is one subscriber.
func sourceOf(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return ""
	}
	a := ap.Addr().Unmap().WithZone("")
	if a.Is4() {
		return a.String()
	}
	return netip.PrefixFrom(a, 64).Masked().String()
}

// Member is the id of the marked member, empty outside a room.
func (p *Rooms) Member() string {
	if m := p.member(); p.inside && m != nil {
		return m.ID
	}
	return ""
}

func (p *Rooms) memberKeys() []key.Row {
	none := func() string {
		if p.member() == nil {
			return "nobody is marked"
		}
		return ""
	}
	noSource := func() string {
		m := p.member()
		switch {
		case m == nil:
			return none()
		case sourceOf(m.Remote) == "":
			return "their address is not known here"
		}
		return ""
	}
	mute := func() key.Intent {
		if m := p.member(); m != nil && m.Muted {
			return p.onMember(control.ParticipantUnmute, "unmute")
		}
		return p.onMember(control.ParticipantMute, "mute")
	}
	return []key.Row{
		{Keys: []string{"K"}, Short: "kick", Help: "end the member's connection; they may join again", Act: true, Disabled: none, Plan: func() key.Intent { return p.onMember(control.ParticipantKick, "kick") }},
		{Keys: []string{"m"}, Short: "mute", Help: "mute or unmute: nobody hears them, they hear the others", Act: true, Disabled: none, Plan: mute},
		{Keys: []string{"b"}, Short: "ban", Help: "ban the member's source address for a time", Act: true, Disabled: noSource, Plan: func() key.Intent { return p.onSource(control.SourceBan, "ban source") }},
		{Keys: []string{"t"}, Short: "throttle", Help: "limit the packets a second of the member's address", Act: true, Disabled: noSource, Plan: p.throttle},
		{Keys: []string{"T"}, Short: "pin tier", Help: "pin the room's tier, or let the judge decide again", Act: true, Disabled: func() string {
			if p.room(p.in) == nil {
				return "the room is gone"
			}
			return ""
		}, Plan: func() key.Intent { return p.pinTier(p.in) }},
		{Keys: []string{"esc"}, Short: "rooms", Help: "back to the rooms"},
	}
}

func (p *Rooms) onMember(k control.Kind, title string) key.Intent {
	in := key.Intent{Title: title, On: p.m.sel, Cmds: []control.Command{{Kind: k, Target: p.m.sel}}}
	if m := p.member(); m != nil {
		in.On = callsign(m, 24) + " in room " + cell.Name(p.in, 24)
	}
	return in
}

func (p *Rooms) onSource(k control.Kind, title string) key.Intent {
	in := p.onMember(k, title)
	if m := p.member(); m != nil {
		src := sourceOf(m.Remote)
		in.Cmds[0].Target = src
		in.On = src + ", the address of " + callsign(m, 24)
	}
	return in
}

func (p *Rooms) throttle() key.Intent {
	in := p.onSource(control.SourceThrottle, "throttle source")
	in.Choose = ratesPerSecond()
	return in
}

// ratesPerSecond is what an address can be throttled to.
func ratesPerSecond() *key.Choice {
	ch := &key.Choice{Ask: "to how many packets a second? One voice is 50.", Arg: "pps", Start: 2}
	for _, n := range []float64{20, 50, 100, 200, 500, 1000} {
		ch.Labels, ch.Values = append(ch.Labels, fmt.Sprintf("%.0f", n)), append(ch.Values, n)
	}
	return ch
}

func (p *Rooms) drawMembers(w, h int, st *style.Set) []string {
	r := p.room(p.in)
	frame := w >= 100 && h >= 30
	if r == nil {
		return section(box{title: cell.Name(p.in, 40), focus: true, note: "esc: rooms"}, w, h, frame, st, func(w, _ int) []string {
			return []string{cell.NewLine(st, w).Space(2).Add(style.Dim, "this room has closed").String()}
		})
	}
	low := min(9, h/2)
	if frame {
		low = max(13, h/3)
	}
	b := box{title: "room " + cell.Name(r.Name, 32), focus: true, note: filterNote(p.filter, len(p.m.ids), len(r.Participants))}
	if b.note == "" {
		b.note = fmt.Sprintf("tier %s   %s   esc: rooms", tierWord(r), plural(len(r.Participants), "member"))
	}
	out := section(b, w, h-low, frame, st, func(w, h int) []string { return p.memberTable(r, w, h, st) })
	m := p.member()
	d := box{title: "nobody marked"}
	if m != nil {
		d.title, d.note = callsign(m, 30), cell.Name(m.Remote, 44)+"  "+cell.Name(m.Transport, 10)
	}
	return cell.Block(append(out, section(d, w, low, frame, st, func(w, h int) []string {
		if m == nil {
			return nil
		}
		return p.aboutMember(r, m, w, h, st)
	})...), w, h)
}

func (p *Rooms) memberTable(r *view.Room, w, h int, st *style.Set) []string {
	t := table{l: &p.m, empty: "nobody matches", cols: []col{
		{head: "name " + st.Glyph.Down + "weakest", w: max(14, min(28, w-66))},
		{head: "tier", w: 12},
		{head: "loss", w: 5, right: true},
		{head: "rtt", w: 6, right: true},
		{head: "jitter", w: 6, right: true},
		{head: "queue", w: 7, right: true},
		{head: "drop/s", w: 6, right: true},
		{head: "gaps", w: 5, right: true},
		{head: "fault", w: 8},
		{head: "in/s", w: 5, right: true, min: 100},
		{head: "out/s", w: 6, right: true, min: 100},
		{head: "shard", w: 9, min: 130},
		{head: "why", w: 0, min: 120},
	}}
	t.row = func(id string) []cellText {
		for i := range r.Participants {
			if m := &r.Participants[i]; m.ID == id {
				return p.memberCells(r, m, st)
			}
		}
		return nil
	}
	return t.draw(w, h, st)
}

func (p *Rooms) memberCells(r *view.Room, m *view.Participant, st *style.Set) []cellText {
	if m.Transport == federated {
		return federatedCells(m)
	}
	lv, who, why := judgePart(p.d, m)
	rt := p.d.Part(m)
	f := fill(m.QueueDepth, m.QueueCapacity)
	name := lv.sign(&st.Glyph) + " " + callsign(m, 60)
	if r.Weakest != "" && m.ID == r.Weakest {
		name = lv.sign(&st.Glyph) + " " + callsign(m, 60) + " " + st.Glyph.Down
	}
	ds, fs := style.Dim, lv.text()
	if rt.Drop > 0 {
		ds = style.Warn
	}
	if lv == fine {
		fs = style.Dim
	}
	gaps := gapPct(rt)
	return []cellText{
		c(lv.text(), name), c(tierLevel(m.Tier).text(), cell.Name(m.Tier, 12)), c(over(m.LossPct, lossWarn, lossBad).text(), cell.Pct(m.LossPct)),
		c(over(m.RTTMS, rttWarn, rttBad).text(), cell.Millis(m.RTTMS)), c(over(m.JitterMS, jitterWarn, 2*jitterWarn).text(), cell.Millis(m.JitterMS)),
		c(over(f, fillWarn, fillBad).text(), fmt.Sprintf("%s/%s", short(m.QueueDepth), short(m.QueueCapacity))), c(ds, cell.Rate(rt.Drop)),
		c(over(gaps, lossWarn, lossBad).text(), cell.Pct(gaps)), c(fs, who.word()), c(style.Text, cell.Rate(rt.In)), c(style.Text, cell.Rate(rt.Out)),
		c(style.Text, cell.Name(m.Shard, 9)), c(fs, why),
	}
}

// aboutMember is the marked member in words and numbers.
func (p *Rooms) aboutMember(r *view.Room, m *view.Participant, w, h int, st *style.Set) []string {
	lv, who, why := judgePart(p.d, m)
	label := func(name string) *cell.Line { return cell.NewLine(st, w).Cell(style.Dim, name, 9) }
	var out []string
	for i, ln := range cell.Wrap(faultWord(who)+" "+why, w-9, 2) {
		out = append(out, label([]string{"fault", ""}[i]).Add(lv.style(), ln).String())
	}
	rt := p.d.Part(m)
	out = append(out, label("from").Add(style.Text, fmt.Sprintf("received %s (%s/s)  gaps %s  last packet %s ago  through %s",
		cell.Count(float64(m.Received)), cell.Rate(rt.In), cell.Count(float64(m.SeqGaps)), cell.Millis(m.LastPacketMS), cell.Name(m.Shard, 12))).String())
	out = append(out, label("to").Add(style.Text, fmt.Sprintf("delivered %s (%s/s)  dropped %s  waiting %d of %d, oldest %s",
		cell.Count(float64(m.Delivered)), cell.Rate(rt.Out), cell.Count(float64(total(m.Dropped))), m.QueueDepth, m.QueueCapacity, cell.Millis(m.QueueOldestMS))).String())
	report := "has never reported"
	if m.ReportAgeS >= 0 {
		report = fmt.Sprintf("loss %s  rtt %s  jitter %s, told %s ago", cell.Pct(m.LossPct), cell.Millis(m.RTTMS), cell.Millis(m.JitterMS), cell.Seconds(m.ReportAgeS))
	}
	says := label("they say").Add(style.Text, report)
	if m.ID == r.Weakest && r.Weakest != "" {
		if lv == fine {
			says.Add(style.Dim, "   sets the room's tier")
		} else {
			says.Add(style.Warn, "   holds the room's tier down")
		}
	}
	out = append(out, says.String())
	if lately := p.lately(m, w, st); lately != "" && h-len(out) > 2 {
		out = append(out, lately)
	}
	if h-len(out) <= 3 {
		return append(out, label("dropped").Add(style.Text, reasonWords(m.Dropped)).String(), p.idLine(label("id"), m))
	}
	out = append(out, p.idLine(label("id"), m))
	return append(out, dropRows(m.Dropped, w, st)...)
}

// lately is the member's quality of the last minutes, a column a few seconds:
// the loss and the way's length that they report.
func (p *Rooms) lately(m *view.Participant, w int, st *style.Set) string {
	loss, rtt := p.d.Hist.Get("loss."+m.ID), p.d.Hist.Get("rtt."+m.ID)
	if len(loss) < 2 {
		return ""
	}
	n := min((w-9-44)/2, 60)
	if n < 8 {
		return ""
	}
	n = min(n, len(loss))
	part := func(ln *cell.Line, name string, vals []float64, top float64, s style.Style, worst string) {
		if highest(vals[len(vals)-n:]) == 0 {
			ln.Add(style.Dim, name+" ").Add(s, "none  ")
			return
		}
		ln.Add(style.Dim, name+" ").Add(s, cell.Spark(&st.Glyph, vals, n, top)).Add(style.Dim, " worst "+worst+"  ")
	}
	wl, wr := highest(loss[len(loss)-n:]), highest(rtt[len(rtt)-n:])
	ln := cell.NewLine(st, w).Cell(style.Dim, "lately", 9)
	part(ln, "loss", loss, max(10, wl), over(wl, lossWarn, lossBad).style(), cell.Pct(wl))
	part(ln, "rtt", rtt, max(rttBad, wr), over(wr, rttWarn, rttBad).style(), cell.Millis(wr))
	return ln.Add(style.Dim, cell.Seconds(float64(n))).String()
}

func highest(vals []float64) float64 {
	top := 0.0
	for _, v := range vals {
		if v > top { // gaps are NaN, which is not
			top = v
		}
	}
	return top
}

func (p *Rooms) idLine(ln *cell.Line, m *view.Participant) string {
	ln.Add(style.Text, cell.Name(m.ID, 40)).Add(style.Dim, "  here for "+cell.Since(p.d.Now, m.JoinedAt))
	if m.Fingerprint != "" {
		ln.Add(style.Dim, "  key "+cell.Name(m.Fingerprint, 40))
	}
	if m.RelayLabel != "" {
		ln.Add(style.Dim, "  over relay "+cell.Name(m.RelayLabel, 20))
	}
	return ln.String()
}
