package pane

import (
	"fmt"
	"strings"

	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/style"
)

// section draws rows made for its inner size into a box.
func section(b box, w, h int, frame bool, st *style.Set, rows func(w, h int) []string) []string {
	if h <= 0 {
		return nil
	}
	iw, ih := inner(w, h, frame)
	return b.draw(rows(iw, ih), w, h, frame, st)
}

// shardRows is how many rows the side-by-side shard table needs.
func shardRows(d *Data) int {
	media, dht := splitShards(d)
	return max(len(media), len(dht), 1)
}

func splitShards(d *Data) (media, dht []*view.Shard) {
	for i := range d.Snap.Shards {
		if s := &d.Snap.Shards[i]; s.Plane == "media" {
			media = append(media, s)
		} else {
			dht = append(dht, s)
		}
	}
	return media, dht
}

// shards draws both planes side by side, a bar each.
func (o *Overview) shards(w, h int, frame bool, st *style.Set) []string {
	media, dht := splitShards(o.d)
	b := box{title: "shards", note: "1 s peak   media | dht"}
	for i := range o.d.Snap.Shards {
		if lv, _ := judgeShard(o.d, &o.d.Snap.Shards[i]); lv == broken {
			b.alarm = style.Bad
		}
	}
	return section(b, w, h, frame, st, func(w, h int) []string {
		half := (w - 3) / 2
		var out []string
		for i := 0; i < max(len(media), len(dht)) && len(out) < h; i++ {
			ln := cell.NewLine(st, w)
			o.shardCell(ln, media, i, half, st)
			ln.Space(1).Add(style.Border, st.Glyph.Sep).Space(1)
			o.shardCell(ln, dht, i, ln.Left(), st)
			out = append(out, ln.String())
		}
		if len(out) == 0 {
			out = append(out, cell.NewLine(st, w).Add(style.Dim, "no shards reported").String())
		}
		return out
	})
}

// shardCell is "▲ 3 ██████    62%  drops": sign, index, bar, fill or state,
// and where there is room what it drops and a chart.
func (o *Overview) shardCell(ln *cell.Line, list []*view.Shard, i, w int, st *style.Set) {
	if i >= len(list) {
		ln.Space(w)
		return
	}
	s := list[i]
	lv, _ := judgeShard(o.d, s)
	f := fullest(s)
	word := fmt.Sprintf("%.0f%%", 100*f)
	if s.State != "running" && s.State != "" {
		word = cell.Fit(cell.Clean(s.State), 8, "")
	}
	drops, chart := 0, 0
	if w >= 30 {
		drops = 9
	}
	if w >= 48 {
		chart = w / 4
	}
	bar := max(0, w-2-3-9-drops-chart)
	ln.Add(lv.style(), lv.sign(&st.Glyph)+" ")
	ln.Cell(style.Dim, fmt.Sprint(s.Index), 3)
	ln.Add(barStyle(lv, f), cell.Bar(&st.Glyph, f, bar)).Right(lv.text(), word, 9)
	if drops > 0 {
		r := o.d.Shard(s).Drop
		ds, t := style.Dim, "0/s"
		if r > 0 {
			ds, t = lv.text(), "-"+cell.Rate(r)+"/s"
		}
		ln.Right(ds, t, drops)
	}
	if chart > 0 {
		ln.Space(1).Add(barStyle(lv, f), cell.Spark(&st.Glyph, o.d.Hist.Get("shard."+s.Key()), chart-1, 1))
	}
}

func barStyle(lv level, f float64) style.Style {
	if lv > fine {
		return lv.style()
	}
	if f >= 0.3 {
		return style.Calm
	}
	return style.OK
}

// ledger is the account of the planes.
func (o *Overview) ledger(w, h int, frame bool, st *style.Set) []string {
	b := box{title: "ledger", note: "per second"}
	if o.d.Unexplained() != 0 {
		b.alarm = style.Bad
	}
	return section(b, w, h, frame, st, func(w, h int) []string {
		wide := w >= 64
		ln := cell.NewLine(st, w).Cell(style.Dim, "", 6).Right(style.Dim, "in", 7).Right(style.Dim, "out", 7).Right(style.Dim, "drop", 7)
		if wide {
			ln.Right(style.Dim, "dropped", 10).Right(style.Dim, "queued", 9).Right(style.Dim, "unexplained", 14)
		} else {
			ln.Right(style.Dim, "unexpl.", 11)
		}
		out := []string{ln.String()}
		names, acc, rates := o.d.Planes()
		for i := range names {
			if len(out) >= h {
				break
			}
			out = append(out, ledgerRow(names[i], acc[i], rates[i], w, wide, st))
		}
		return out
	})
}

func ledgerRow(name string, a *view.Plane, r PlaneRates, w int, wide bool, st *style.Set) string {
	quiet := func(v float64, s style.Style) style.Style {
		if v == 0 {
			return style.Dim
		}
		return s
	}
	if name == "federation" {
		name = "feder."
	}
	ln := cell.NewLine(st, w).Cell(style.Text, name, 6)
	ln.Right(quiet(r.In, style.Strong), cell.Rate(r.In), 7).Right(quiet(r.Out, style.Strong), cell.Rate(r.Out), 7)
	ln.Right(quiet(r.Drop, style.Warn), cell.Rate(r.Drop), 7)
	un, us := "0 "+st.Glyph.Check, style.OK
	if a.Unexplained != 0 {
		un, us = fmt.Sprintf("%s %d", st.Glyph.Bad, a.Unexplained), style.BadBadge
	}
	if !wide {
		return ln.Right(us, un, 11).String()
	}
	ln.Right(quiet(float64(total(a.Dropped)), style.Text), cell.Count(float64(total(a.Dropped))), 10)
	ln.Right(quiet(float64(a.Queued), style.Text), cell.Count(float64(a.Queued)), 9)
	return ln.Right(us, un, 14).String()
}

// traffic charts what is delivered and what is dropped.
func (o *Overview) traffic(w, h int, st *style.Set) []string {
	return section(box{title: "media packets per second", note: "a column a second"}, w, h, true, st, func(w, h int) []string {
		drops := max(2, h/3)
		out := chart(o.d.Hist.Get("media.out"), "out", 0, style.Info, w, h-drops, st)
		return append(out, chart(o.d.Hist.Get("drop"), "drop", 0, style.Bad, w, drops, st)...)
	})
}

// chart is an area with its axis: the top value above, the name below. A top
// of 0 follows the values.
func chart(vals []float64, name string, top float64, s style.Style, w, h int, st *style.Set) []string {
	const axis = 7
	shown := vals[max(0, len(vals)-max(0, w-axis-1)):]
	if top <= 0 {
		for _, v := range shown {
			if v > top { // a gap is NaN, which max would keep
				top = v
			}
		}
		top = cell.NiceTop(top)
	}
	var out []string
	for i, row := range cell.Area(&st.Glyph, shown, max(1, w-axis-1), h, top) {
		label := ""
		switch i {
		case 0:
			label = cell.Count(top)
		case h - 1:
			label = name
		}
		ln := cell.NewLine(st, w).Right(style.Dim, label, axis-1).Add(style.Border, " "+st.Glyph.Sep)
		out = append(out, ln.Add(s, row).String())
	}
	return out
}

// rooms names the worst rooms, each with who holds it down.
func (o *Overview) rooms(w, h int, frame bool, st *style.Set) []string {
	order := worstRooms(o.d)
	title := "worst room"
	if h > 5 {
		title = "rooms, worst first"
	}
	b := box{title: title, note: plural(len(order), "room")}
	return section(b, w, h, frame, st, func(w, h int) []string {
		var out []string
		for _, i := range order {
			if len(out) >= h {
				break
			}
			out = append(out, o.roomRows(&o.d.Snap.Rooms[i], w, st, len(out) == 0)...)
		}
		if len(order) == 0 {
			out = append(out, cell.NewLine(st, w).Space(2).Add(style.Dim, "no rooms: nobody is in a call").String())
		}
		return out
	})
}

// roomRows is a room in one row, and in a second who holds it down: for the
// first of the list, and for those in trouble.
func (o *Overview) roomRows(r *view.Room, w int, st *style.Set, first bool) []string {
	lv := roomLevel(o.d, r)
	nw, size, sw := 23, plural(len(r.Participants), "member"), 11
	if w < 66 {
		nw, size, sw = 17, fmt.Sprint(len(r.Participants)), 4
	}
	ln := cell.NewLine(st, w).Add(lv.style(), lv.sign(&st.Glyph)+" ").Cell(style.Strong, cell.Name(r.Name, nw-1), nw)
	ln.Cell(tierLevel(r.Tier).text(), tierWord(r), 15)
	loss := worstLoss(r)
	ln.Right(style.Dim, size, sw).Right(over(loss, lossWarn, lossBad).text(), "loss "+cell.Pct(loss), 12)
	if n := ln.Left() - 2; n >= 10 {
		ln.Space(2).Add(over(loss, lossWarn, lossBad).style(), cell.Spark(&st.Glyph, o.d.Hist.Get("room."+r.Name), min(n, 40), 20))
	}
	out := []string{ln.String()}
	p := weakest(o.d, r)
	if p == nil || lv == fine && !first {
		return out
	}
	plv, who, why := judgePart(o.d, p)
	ln = cell.NewLine(st, w).Space(4)
	if plv == fine && lv == fine {
		return append(out, ln.Add(style.Dim, "weakest "+callsign(p, 18)+": "+why).String())
	}
	ln.Add(style.Dim, "weakest ").Add(style.Text, callsign(p, 18)+" ").Add(plv.text(), faultWord(who)+" ").Add(style.Text, why)
	return append(out, ln.String())
}

func faultWord(f fault) string {
	switch f {
	case faultThey:
		return "[their side]"
	case faultWe:
		return "[OUR SIDE]"
	case faultOp:
		return "[operator]"
	case faultOpen:
		return "[unclear]"
	case faultNone:
	}
	return "[fine]"
}

func tierWord(r *view.Room) string {
	t := cell.Name(r.Tier, 14)
	if r.PinnedTier != "" {
		t = "pin " + cell.Name(r.PinnedTier, 12)
	}
	return t
}

// routing is the freshness of the routing table at a glance.
func (o *Overview) routing(w, h int, frame bool, st *style.Set) []string {
	if h <= 1 {
		return cell.Block(nil, w, max(h, 0))
	}
	t := &o.d.Snap.DHT
	b := box{title: "routing table", note: plural(t.Peers, "peer")}
	return section(b, w, h, frame, st, func(w, h int) []string {
		ln := cell.NewLine(st, w).Add(style.Text, fmt.Sprintf("fresh %d  ", t.Fresh))
		ln.Add(over(share(t.Stale, t.Peers), 25, 60).text(), fmt.Sprintf("stale %d  ", t.Stale)).Add(over(share(t.Suspect, t.Peers), 0.01, 20).text(), fmt.Sprintf("suspect %d", t.Suspect))
		if ln.Left() > 30 {
			ln.Add(style.Dim, fmt.Sprintf("   lookups %d ok, %d failed", t.Lookups.OK, t.Lookups.Failed))
		}
		rows := []string{ln.String()}
		rows = append(rows, ageStrips(t.Buckets, w, max(0, h-2), false, st)...)
		if len(rows) < h {
			rows = append(rows, ageLegend(w, st))
		}
		return rows
	})
}

// edge is the front door, the calls and the links to other relays: one row
// each, the links worst first.
func (o *Overview) edge(w, h int, st *style.Set) []string {
	s := o.d.Snap
	return section(box{title: "edge, calls, links", note: plural(len(s.Links), "link")}, w, h, true, st, func(w, _ int) []string {
		label := func(name string) *cell.Line { return cell.NewLine(st, w).Cell(style.Dim, name, 9) }
		e, k := &s.Edge, &s.Kernel
		door := label("edge").Add(style.Text, fmt.Sprintf("%d connected, %d in handshake, %s ever", e.Connections, e.Handshaking, cell.Count(float64(e.Accepted))))
		if e.RetryActive {
			door.Add(style.Warn, "  "+st.Glyph.Warn+" asks newcomers to retry")
		}
		if e.ReadTickUS > 0 {
			door.Add(style.Dim, fmt.Sprintf("  packets gather %.1f ms", float64(e.ReadTickUS)/1000))
		}
		lost := label("lost").Add(over(float64(k.UDPRcvbufErrors+e.RxQueueDrops), 1, 1e5).text(), fmt.Sprintf("kernel %s, rx queue %s", cell.Count(float64(k.UDPRcvbufErrors)), cell.Count(float64(e.RxQueueDrops))))
		lost.Add(style.Dim, "   refused: "+reasonWords(e.Refused))
		calls := label("calls").Add(style.Text, fmt.Sprintf("%d active, %d ringing, %d registered", s.Signal.Calls.Active, s.Signal.Calls.Ringing, s.Signal.Registered))
		limits := label("limits").Add(style.Dim, "no address is restricted")
		if n := len(s.Sources); n > 0 {
			limits = label("limits").Add(style.Warn, restricted(s.Sources))
		}
		rows := []string{door.String(), lost.String(), calls.String(), limits.String()}
		for i := range s.Links {
			rows = append(rows, linkRow(&s.Links[i], w, st))
		}
		return rows
	})
}

// restricted names the addresses an operator has put limits on.
func restricted(list []view.Source) string {
	parts := make([]string, len(list))
	for i := range list {
		parts[i] = cell.Name(list[i].Prefix, 43) + " " + cell.Name(list[i].Kind, 10)
	}
	return strings.Join(parts, ", ")
}

func linkRow(l *view.Link, w int, st *style.Set) string {
	lv := fine
	switch {
	case l.State == "down":
		lv = broken
	case l.State != "up" || !l.Verified:
		lv = watch
	}
	ln := cell.NewLine(st, w).Cell(style.Dim, "link", 7).Add(lv.style(), lv.sign(&st.Glyph)+" ").Cell(style.Strong, cell.Name(l.Label, 14), 15)
	ln.Cell(lv.text(), cell.Name(l.State, 10), 11).Add(style.Text, cell.Millis(l.RTTMS)+"  ")
	if !l.Verified {
		ln.Add(style.Warn, "unverified  ")
	}
	ln.Add(style.Dim, fmt.Sprintf("%s in, %s out  ", cell.Count(float64(l.Received)), cell.Count(float64(l.Forwarded))))
	return ln.Add(style.Bad, l.LastError).String()
}

func share(n, of int) float64 {
	if of <= 0 {
		return 0
	}
	return 100 * float64(n) / float64(of)
}

// events lists the newest, newest first.
func (o *Overview) events(w, h int, frame bool, st *style.Set) []string {
	if h <= 0 {
		return nil
	}
	b := box{title: "events", note: "newest first"}
	return section(b, w, h, frame, st, func(w, h int) []string {
		var out []string
		for i := len(o.d.Events) - 1; i >= 0 && len(out) < h; i-- {
			out = append(out, eventLine(&o.d.Events[i], cell.NewLine(st, w), st))
		}
		if len(out) == 0 {
			out = append(out, cell.NewLine(st, w).Space(2).Add(style.Dim, "nothing has happened yet").String())
		}
		return out
	})
}

// eventLine is time, sign, subject and message.
func eventLine(e *view.Event, ln *cell.Line, st *style.Set) string {
	lv := severity(e.Severity)
	ln.Add(style.Dim, e.At.UTC().Format("15:04:05")+" ")
	sign := lv.sign(&st.Glyph)
	if lv == fine {
		sign = st.Glyph.Info
	}
	ln.Add(lv.text(), sign+" ")
	if strings.TrimSpace(e.Subject) != "" && !strings.Contains(e.Message, e.Subject) {
		ln.Add(style.Strong, cell.Name(e.Subject, 20)+" ")
	}
	return ln.Add(lv.text(), e.Message).String()
}
