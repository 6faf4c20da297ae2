package pane

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/style"
)

// syncLookups takes the lookups of the snapshot and the hops of the open one.
func (p *Routing) syncLookups() {
	traces := p.d.Snap.DHT.Lookups.Trace
	var ids []string
	for i := range traces {
		if tr := &traces[i]; match(p.filter, tr.Target, tr.Label, tr.For, tr.State, tr.Stop) || p.lookup != "" {
			ids = append(ids, strconv.FormatUint(tr.Seq, 10))
		}
	}
	p.lookups.sync(p.lookups.hold(ids, p.d.Hold && p.onLookups))
	tr := p.trace(p.lookup)
	if tr == nil {
		p.hops.sync(nil)
		return
	}
	hops := make([]string, 0, len(tr.Queries))
	for i := range tr.Queries {
		if q := &tr.Queries[i]; match(p.filter, q.Peer, q.Addr, q.Outcome) {
			hops = append(hops, fmt.Sprintf("%d %s", i, q.Peer))
		}
	}
	p.hops.sync(hops)
}

// hopPeer is the peer of a row of the hops, which are told apart by number: a
// peer may be dialled twice.
func hopPeer(row string) string {
	_, id, _ := strings.Cut(row, " ")
	return id
}

func (p *Routing) trace(seq string) *view.LookupTrace {
	for i := range p.d.Snap.DHT.Lookups.Trace {
		if tr := &p.d.Snap.DHT.Lookups.Trace[i]; strconv.FormatUint(tr.Seq, 10) == seq {
			return tr
		}
	}
	return nil
}

// traceName is what an operator calls a lookup.
func traceName(tr *view.LookupTrace, w int) string {
	if tr.Label != "" {
		return cell.Name(tr.Label, w)
	}
	return cell.Name(tr.Target, min(w, 16))
}

// traceLevel judges a lookup.
func traceLevel(tr *view.LookupTrace) level {
	switch {
	case tr.State == view.LookupFailed:
		return broken
	case tr.Stop == "time_limit" || tr.Stop == "query_limit" || tr.Failed+tr.Slow > tr.Answered:
		return watch
	}
	return fine
}

// traceWords say how a lookup stands.
func traceWords(tr *view.LookupTrace) string {
	if tr.State == view.LookupActive {
		return fmt.Sprintf("under way, %d of %d have answered", tr.Answered, tr.Asked)
	}
	words := map[string]string{
		"converged":   "the closest peers have all answered",
		"enough":      "more peers would have said the same",
		"slow_left":   fmt.Sprintf("the closest have answered but %d slow ones, for which it did not wait", tr.Waiting),
		"exhausted":   "everybody it heard of was asked",
		"query_limit": "it may ask no more peers, and closer ones still turned up",
		"time_limit":  "its time was over",
		"cancelled":   "who had asked for it went away",
		"no_peers":    "nobody answered: is anybody known, is UDP open?",
		"panic":       "it failed; see the events",
	}[tr.Stop]
	return cmp.Or(words, cell.Clean(tr.Stop))
}

// lookupBox is the list of lookups.
func (p *Routing) lookupBox(w, h int, frame, focus bool, st *style.Set) []string {
	traces := p.d.Snap.DHT.Lookups.Trace
	b := box{title: "lookups, newest first", note: "v opens them", focus: focus}
	if focus {
		b.note = filterNote(p.filter, len(p.lookups.ids), len(traces))
	}
	return section(b, w, h, frame && h >= 5, st, func(w, h int) []string { return p.lookupTable(w, h, focus, st) })
}

func (p *Routing) lookupTable(w, h int, focus bool, st *style.Set) []string {
	l := p.lookups
	if !focus {
		l.at, l.sel = 0, "" // the newest
	}
	t := table{l: &l, nocurs: !focus, empty: "no lookup yet", cols: []col{
		{head: "looks for", w: min(40, max(18, w/4))},
		{head: "for", w: 9},
		{head: "age", w: 6, right: true},
		{head: "took", w: 6, right: true},
		{head: "asked", w: 5, right: true},
		{head: "ok", w: 3, right: true},
		{head: "fail", w: 4, right: true, min: 72},
		{head: "slow", w: 4, right: true, min: 72},
		{head: "hops", w: 4, right: true, min: 100},
		{head: "bits", w: 4, right: true, min: 100},
		{head: "how it stands", w: 0},
	}}
	t.row = func(seq string) []cellText {
		tr := p.trace(seq)
		if tr == nil {
			return nil
		}
		lv, name := traceLevel(tr), style.Text
		sign := lv.sign(&st.Glyph)
		if tr.State == view.LookupActive {
			sign, name = st.Glyph.Arrow, style.Focus
		}
		n := func(v int) cellText { return c(style.Text, strconv.Itoa(v)) }
		return []cellText{
			c(cmpStyle(lv, name), sign+" "+traceName(tr, 40)), c(style.Dim, cell.Name(tr.For, 9)), c(style.Text, cell.Seconds(tr.AgeS)), c(style.Text, cell.Millis(tr.TookMS)),
			n(tr.Asked), n(tr.Answered), c(over(float64(tr.Failed), 1, 1e9).text(), strconv.Itoa(tr.Failed)), c(over(float64(tr.Slow), 1, 1e9).text(), strconv.Itoa(tr.Slow)),
			n(tr.Hops), n(tr.Bits), c(lv.text(), traceWords(tr)),
		}
	}
	return t.draw(w, h, st)
}

// cmpStyle is the level's style, or another where all is well.
func cmpStyle(lv level, s style.Style) style.Style {
	if lv == fine {
		return s
	}
	return lv.text()
}

// drawLookup shows one lookup hop by hop.
func (p *Routing) drawLookup(w, h int, st *style.Set) []string {
	frame := w >= 100 && h >= 30
	tr := p.trace(p.lookup)
	if tr == nil {
		return section(box{title: "lookup " + cell.Name(p.lookup, 12), focus: true}, w, h, frame, st, func(w, _ int) []string {
			text := "it is not listed any more: later ones have taken its place"
			if newest := p.d.Snap.DHT.Lookups.Trace; len(newest) == 0 || seqOf(p.lookup) > newest[0].Seq {
				text = "asked for; it is not in the snapshot yet"
			}
			return []string{cell.NewLine(st, w).Add(style.Dim, text).String()}
		})
	}
	head := p.lookupHead(tr, w, st)
	note := filterNote(p.filter, len(p.hops.ids), len(tr.Queries))
	if note == "" {
		note = cell.Seconds(tr.AgeS) + " ago"
	}
	top := section(box{title: "lookup " + p.lookup + " of " + traceName(tr, 60), note: note}, w, len(head)+1+b2i(frame), frame, st, func(int, int) []string { return p.lookupHead(tr, inw(w, frame), st) })
	b := box{title: "whom it asked, in the order of asking", note: "bits: shared with the target", focus: true}
	return append(top, section(b, w, h-len(top), frame, st, func(w, h int) []string { return p.hopTable(tr, w, h, st) })...)
}

func seqOf(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func inw(w int, frame bool) int {
	w, _ = inner(w, 10, frame)
	return w
}

func (p *Routing) lookupHead(tr *view.LookupTrace, w int, st *style.Set) []string {
	label := func(name string) *cell.Line { return cell.NewLine(st, w).Cell(style.Dim, name, 9) }
	lv := traceLevel(tr)
	sign := lv.sign(&st.Glyph) + " "
	switch {
	case tr.State == view.LookupActive:
		sign = st.Glyph.Arrow + " "
	case lv == fine:
		sign = st.Glyph.Check + " "
	}
	paths := "one path"
	if tr.Paths > 1 {
		paths = fmt.Sprintf("%d paths that share no peer", tr.Paths)
	}
	closest := label("closest").Add(style.Dim, "nobody has answered yet")
	if tr.Closest != "" {
		closest = label("closest").Add(style.Text, cell.Name(tr.Closest, 16)).Add(style.Text, fmt.Sprintf(" shares %d bits, after %d hops", tr.Bits, tr.Hops))
	}
	return []string{
		label("target").Add(style.Strong, cell.Name(tr.Target, 64)).String(),
		label("stands").Add(cmpStyle(lv, style.OK), sign).Add(lv.text(), cell.Clean(tr.State)+": "+traceWords(tr)).String(),
		label("so far").Add(style.Text, fmt.Sprintf("%s, %s: asked %d, %d answered, %d failed, %d waiting, %d slow; %d found", cell.Millis(tr.TookMS), paths, tr.Asked, tr.Answered, tr.Failed, tr.Waiting, tr.Slow, tr.Found)).String(),
		closest.String(),
	}
}

// hopLevel judges how one query ended.
func hopLevel(q *view.LookupQuery) level {
	switch q.Outcome {
	case view.QueryAnswered, view.QueryWaiting:
		return fine
	case view.QuerySlow, "left", "not_tried", "refused", "no_address":
		return watch
	}
	return broken
}

// addrOf is where a peer answered, if it did.
func addrOf(q *view.LookupQuery) string {
	if q.Addr == "" {
		return "-"
	}
	return cell.Name(q.Addr, 48)
}

func (p *Routing) hopTable(tr *view.LookupTrace, w, h int, st *style.Set) []string {
	t := table{l: &p.hops, empty: "nobody was asked", cols: []col{
		{head: "hop", w: 3, right: true},
		{head: "path", w: 4, right: true, min: 100},
		{head: "peer", w: 18},
		{head: "outcome", w: 11},
		{head: "bits", w: 4, right: true},
		{head: "", w: 12, min: 110},
		{head: "at", w: 6, right: true, min: 100},
		{head: "took", w: 6, right: true},
		{head: "rtt", w: 6, right: true},
		{head: "told", w: 4, right: true},
		{head: "new", w: 3, right: true},
		{head: "recs", w: 4, right: true, min: 110},
		{head: "heard of from", w: 13, min: 130},
		{head: "address", w: 0},
	}}
	most := 1
	for i := range tr.Queries {
		most = max(most, tr.Queries[i].Bits)
	}
	t.row = func(row string) []cellText {
		num, _, _ := strings.Cut(row, " ")
		i, err := strconv.Atoi(num)
		if err != nil || i >= len(tr.Queries) {
			return nil
		}
		q := &tr.Queries[i]
		lv := hopLevel(q)
		sign, s := lv.sign(&st.Glyph), lv.text()
		switch q.Outcome {
		case view.QueryAnswered:
			sign = st.Glyph.Check
		case view.QueryWaiting:
			sign, s = st.Glyph.Arrow, style.Focus
		}
		rtt := "-"
		if q.RTTMS > 0 {
			rtt = cell.Millis(q.RTTMS)
		}
		from := "a contact"
		if !q.Known {
			from = fmt.Sprintf("%d reports", q.Reports)
		}
		n := func(v int) cellText { return c(style.Text, strconv.Itoa(v)) }
		return []cellText{
			n(q.Hop), n(q.Path + 1), c(s, sign+" "+cell.Name(q.Peer, 16)), c(s, cell.Name(q.Outcome, 11)), n(q.Bits),
			c(style.Calm, cell.Bar(&st.Glyph, float64(q.Bits)/float64(most), 12)), c(style.Dim, cell.Millis(q.StartMS)), c(over(q.TookMS, 500, 1500).text(), cell.Millis(q.TookMS)),
			c(style.Text, rtt), n(q.Told), n(q.New), n(q.Records), c(style.Dim, from), c(style.Text, addrOf(q)),
		}
	}
	rows := t.draw(w, h, st)
	if tr.More > 0 && len(rows) > 0 {
		rows[len(rows)-1] = cell.NewLine(st, w).Space(2).Add(style.Dim, fmt.Sprintf("and %d more that are not listed", tr.More)).String()
	}
	return rows
}
