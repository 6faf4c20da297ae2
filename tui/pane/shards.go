package pane

import (
	"fmt"
	"strings"

	"signalbox/engine/control"
	"signalbox/engine/ledger"
	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/key"
	"signalbox/tui/style"
)

// Shards shows the queues and loops of both planes.
type Shards struct {
	d      *Data
	l      list
	filter string
	open   bool // the detail has the whole pane
	scroll int
}

// NewShards makes the pane.
func NewShards() *Shards { return &Shards{d: &Data{Snap: &view.Snapshot{}}} }

// Apply takes new numbers. Shards stand in their natural order: media, then
// dht, by index, so that each has its place on the screen.
func (p *Shards) Apply(d *Data) {
	p.d = d
	media, dht := splitShards(d)
	var ids []string
	for _, s := range append(media, dht...) {
		if match(p.filter, s.Key(), s.State, s.Current, sources(s)) {
			ids = append(ids, s.Key())
		}
	}
	first := len(p.l.ids) == 0
	p.l.sync(ids)
	if first {
		p.markWorst()
	}
}

// markWorst puts the cursor where the trouble is, the first time only.
func (p *Shards) markWorst() {
	worst := fine
	for i, id := range p.l.ids {
		if lv, _ := judgeShard(p.d, p.d.shardOf(id)); lv > worst {
			worst = lv
			p.l.put(i)
		}
	}
}

func sources(s *view.Shard) string {
	var b strings.Builder
	for _, h := range s.HotSources {
		b.WriteString(h.IP + " ")
	}
	return b.String()
}

func (p *Shards) selected() *view.Shard { return p.d.shardOf(p.l.sel) }

// Act moves, opens and closes the detail, filters, selects.
func (p *Shards) Act(a Action, arg string) Jump {
	switch a {
	case Filter:
		p.filter = arg
		p.Apply(p.d)
		return Jump{Handled: true}
	case Select:
		if p.filter != "" && !p.l.pick(arg) {
			p.filter = ""
			p.Apply(p.d)
		}
		return Jump{Handled: p.l.pick(arg)}
	case Enter:
		p.open, p.scroll = !p.open && p.selected() != nil, 0
		return Jump{Handled: true}
	case Back:
		was := p.open || p.filter != ""
		if p.open {
			p.open = false
		} else {
			p.filter = ""
			p.Apply(p.d)
		}
		return Jump{Handled: was}
	default:
		if p.open {
			p.scroll = scrolled(p.scroll, a, p.lines())
			return Jump{Handled: true}
		}
		return Jump{Handled: p.l.move(a)}
	}
}

// lines is about how many rows the detail has.
func (p *Shards) lines() int {
	s := p.selected()
	if s == nil {
		return 0
	}
	return strings.Count(s.LastPanic, "\n") + len(s.Dropped) + 12
}

// scrolled moves a text of about n rows by an action; the drawing clamps it.
func scrolled(at int, a Action, n int) int {
	switch a {
	case Up:
		at--
	case Down:
		at++
	case PageUp:
		at -= 10
	case PageDown:
		at += 10
	case Top:
		at = 0
	case Bottom:
		at = n
	default:
	}
	return max(0, min(at, n))
}

// Keys lists what works here.
func (p *Shards) Keys() []key.Row {
	none := func() string {
		if p.selected() == nil {
			return "no shard is marked"
		}
		return ""
	}
	state := func(want bool, why string) func() string {
		return func() string {
			s := p.selected()
			if s == nil {
				return none()
			}
			if (s.State == "paused") != want {
				return s.Key() + " " + why
			}
			return ""
		}
	}
	cmd := func(k control.Kind, title string) func() key.Intent {
		return func() key.Intent {
			return key.Intent{Title: title, On: p.l.sel, Cmds: []control.Command{{Kind: k, Target: p.l.sel}}}
		}
	}
	hot := func() string {
		if s := p.selected(); s == nil || len(s.HotSources) == 0 {
			return "the shard has no hot source"
		}
		return ""
	}
	return []key.Row{
		{Keys: []string{"enter"}, Short: "detail", Help: "all about the marked shard, its last panic included", Disabled: none},
		{Keys: []string{"t"}, Short: "throttle", Help: "limit the packets a second of the shard's hottest source", Act: true, Disabled: hot, Plan: p.throttleHottest},
		{Keys: []string{"b"}, Short: "ban", Help: "ban the shard's hottest source for a time", Act: true, Disabled: hot, Plan: func() key.Intent { return p.onHottest(control.SourceBan, "ban source") }},
		{Keys: []string{"R"}, Short: "restart", Help: "replace the shard's loop; what waits in its queue is kept", Act: true, Disabled: none, Plan: cmd(control.ShardRestart, "restart shard")},
		{Keys: []string{"p"}, Short: "pause", Help: "pause the shard: what its sources send is dropped", Act: true, Disabled: state(false, "is paused already: r resumes it"), Plan: cmd(control.ShardPause, "pause shard")},
		{Keys: []string{"r"}, Short: "resume", Help: "let a paused shard go on", Act: true, Disabled: state(true, "is not paused"), Plan: cmd(control.ShardResume, "resume shard")},
		{Keys: []string{"F"}, Short: "flush", Help: "drop everything that waits in the shard's queue", Act: true, Disabled: none, Plan: cmd(control.ShardFlush, "flush shard")},
		{Keys: []string{"c"}, Help: "lift the ban or the throttle of an address", Act: true, Disabled: p.noSources, Plan: p.clearSource},
		{Keys: []string{"A"}, Help: "flush every shard of this plane; asks for the word flush", Act: true, Disabled: none, Plan: p.flushAll},
	}
}

// onHottest aims at the source that makes most of the marked shard's traffic.
func (p *Shards) onHottest(k control.Kind, title string) key.Intent {
	s := p.selected()
	if s == nil || len(s.HotSources) == 0 {
		return key.Intent{}
	}
	h := s.HotSources[0]
	return key.Intent{
		Title: title, On: fmt.Sprintf("%s, %.0f%% of %s", h.IP, h.SharePct, s.Key()),
		Cmds: []control.Command{{Kind: k, Target: h.IP}},
	}
}

func (p *Shards) noSources() string {
	if len(p.d.Snap.Sources) == 0 {
		return "no address is banned or throttled"
	}
	return ""
}

// clearSource offers the addresses that are restricted.
func (p *Shards) clearSource() key.Intent {
	ch := &key.Choice{Ask: "which address?"}
	for i := range p.d.Snap.Sources {
		s := &p.d.Snap.Sources[i]
		ch.Labels, ch.Values = append(ch.Labels, s.Prefix+" "+s.Kind), append(ch.Values, s.Prefix)
	}
	return key.Intent{Title: "lift ban and throttle", On: "of an address", Cmds: []control.Command{{Kind: control.SourceClear}}, Choose: ch}
}

func (p *Shards) throttleHottest() key.Intent {
	in := p.onHottest(control.SourceThrottle, "throttle source")
	in.Choose = ratesPerSecond()
	return in
}

func (p *Shards) flushAll() key.Intent {
	plane, _, _ := strings.Cut(p.l.sel, "/")
	in := key.Intent{Title: "flush all shards", On: "of plane " + plane}
	for i := range p.d.Snap.Shards {
		if s := &p.d.Snap.Shards[i]; s.Plane == plane {
			in.Cmds = append(in.Cmds, control.Command{Kind: control.ShardFlush, Target: s.Key()})
		}
	}
	return in
}

// Draw shows the table and, below it, what there is to say about the marked
// shard; or the detail alone.
func (p *Shards) Draw(w, h int, st *style.Set) []string {
	if p.open {
		return p.detail(w, h, st)
	}
	frame := framed(w, h) && w >= 100 && h >= 30
	n := max(len(p.l.ids), 1)
	th := min(n+2, max(h-3, 2))
	if frame {
		th = min(n+3, max(h-7, 5))
	}
	b := box{title: "shards", note: filterNote(p.filter, len(p.l.ids), len(p.d.Snap.Shards)), focus: true}
	if b.note == "" {
		b.note = p.headline()
	}
	out := section(b, w, th, frame, st, func(w, h int) []string { return p.table(w, h, st) })
	if h-th < 2 {
		return cell.Block(out, w, h)
	}
	d := box{title: "no shard marked"}
	if s := p.selected(); s != nil {
		d.title, d.note = s.Key(), "enter: all of it"
	}
	low := section(d, w, h-th, frame, st, func(w, h int) []string {
		if s := p.selected(); s != nil {
			return p.about(s, w, h, st)
		}
		return nil
	})
	return cell.Block(append(out, low...), w, h)
}

// headline says how many shards are in which trouble.
func (p *Shards) headline() string {
	bad, warn := 0, 0
	for i := range p.d.Snap.Shards {
		switch lv, _ := judgeShard(p.d, &p.d.Snap.Shards[i]); lv {
		case broken:
			bad++
		case watch:
			warn++
		case fine:
		}
	}
	if bad+warn == 0 {
		return fmt.Sprintf("%d running, all keeping up", len(p.d.Snap.Shards))
	}
	return fmt.Sprintf("%d bad, %d to watch, %d fine", bad, warn, len(p.d.Snap.Shards)-bad-warn)
}

func (p *Shards) table(w, h int, st *style.Set) []string {
	bar := max(9, min(24, (w-70)/2))
	t := table{l: &p.l, empty: "no shard matches", cols: []col{
		{head: "shard", w: 9},
		{head: "state", w: 10},
		{head: "peak, 1 s", w: bar},
		{head: "depth/cap", w: 9, right: true},
		{head: "high", w: 5, right: true},
		{head: "drop/s", w: 6, right: true},
		{head: "oldest", w: 6, right: true},
		{head: "p99", w: 6, right: true},
		{head: "busy", w: 4, right: true},
		{head: "p50", w: 6, right: true, min: 96},
		{head: "in/s", w: 6, right: true, min: 96},
		{head: "last minutes", w: 20, min: 150},
		{head: "why", w: 0, min: 130},
	}}
	t.row = func(id string) []cellText {
		s := p.d.shardOf(id)
		if s == nil {
			return nil
		}
		lv, why := judgeShard(p.d, s)
		f, r := fullest(s), p.d.Shard(s)
		ds := style.Dim
		if r.Drop > 0 {
			ds = max(lv, watch).text()
		}
		return []cellText{
			c(lv.text(), lv.sign(&st.Glyph)+" "+s.Key()), c(lv.text(), cell.Fit(cell.Clean(s.State), 10, "…")),
			c(barStyle(lv, f), cell.Bar(&st.Glyph, f, bar)), c(over(fill(s.Depth, s.Capacity), fillWarn, fillBad).text(), fmt.Sprintf("%d/%s", s.Depth, short(s.Capacity))),
			c(over(fill(s.HighWater, s.Capacity), 0.85, 1).text(), short(s.HighWater)), c(ds, cell.Rate(r.Drop)), c(style.Text, cell.Millis(s.OldestMS)),
			c(over(s.WaitP99US, waitWarnUS, 10*waitWarnUS).text(), cell.Micros(s.WaitP99US)), c(over(s.BusyPct, 75, 95).text(), cell.Pct(s.BusyPct)),
			c(style.Dim, cell.Micros(s.WaitP50US)), c(style.Text, cell.Rate(r.In)),
			c(barStyle(lv, f), cell.Spark(&st.Glyph, p.d.Hist.Get("shard."+id), 20, 1)), c(lv.text(), why),
		}
	}
	return t.draw(w, h, st)
}

// short writes a small number in five cells.
func short(n int) string {
	if n > 9999 {
		return cell.Count(float64(n))
	}
	return fmt.Sprint(n)
}

// about is what there is to say about a shard in h rows, most telling first.
func (p *Shards) about(s *view.Shard, w, h int, st *style.Set) []string {
	rows := p.aboutRows(s, w, st, h < 8)
	if h >= 12 {
		rows = append(rows, p.moreRows(s, w, st, h >= 18)...)
	}
	return rows[:min(len(rows), max(h, 0))]
}

func (p *Shards) aboutRows(s *view.Shard, w int, st *style.Set, brief bool) []string {
	lv, why := judgeShard(p.d, s)
	var out []string
	label := func(name string) *cell.Line {
		return cell.NewLine(st, w).Cell(style.Dim, name, 9)
	}
	name := "verdict"
	for _, part := range cell.Wrap(strings.TrimSpace(lv.sign(&st.Glyph)+" "+why), max(w-9, 10), 2) {
		out = append(out, label(name).Add(lv.style(), part).String())
		name = ""
	}
	now := label("doing")
	if s.Current == "" {
		now.Add(style.Dim, "idle")
	} else {
		now.Add(style.Text, s.Current+"  ").Add(over(s.CurrentMS, 100, 2000).text(), "for "+cell.Millis(s.CurrentMS))
	}
	if brief {
		out = append(out, label("dropped").Add(style.Text, reasonWords(s.Dropped)).String(), now.String())
		return append(out, p.hotLine(label("sources"), s))
	}
	out = append(out, now.String(), p.hotLine(label("sources"), s))
	out = append(out, label("since up").Add(style.Text, fmt.Sprintf("received %s  processed %s  dropped %s  panics %d  restarts %d  waiting %s",
		cell.Count(float64(s.Received)), cell.Count(float64(s.Processed)), cell.Count(float64(total(s.Dropped))), s.Panics, s.Restarts, cell.Bytes(uint64(max(0, s.Bytes))))).String())
	out = append(out, cell.Blank(w))
	return append(out, dropRows(s.Dropped, w, st)...)
}

func (p *Shards) hotLine(ln *cell.Line, s *view.Shard) string {
	if len(s.HotSources) == 0 {
		return ln.Add(style.Dim, "none stands out").String()
	}
	for i, h := range s.HotSources {
		if i > 0 {
			ln.Add(style.Dim, ", ")
		}
		ln.Add(style.Strong, cell.Name(h.IP, 40)).Add(over(h.SharePct, 40, 80).text(), " "+cell.Pct(h.SharePct)).Add(style.Dim, " "+cell.Rate(h.RatePPS)+"/s")
		if h.Dropped > 0 {
			ln.Add(style.Warn, " -"+cell.Count(float64(h.Dropped)))
		}
	}
	return ln.String()
}

// dropRows lists the reasons that were hit, each with its meaning.
func dropRows(m map[string]uint64, w int, st *style.Set) []string {
	rs := reasons(m)
	if len(rs) == 0 {
		return []string{cell.NewLine(st, w).Cell(style.Dim, "dropped", 9).Add(style.OK, "nothing, ever").String()}
	}
	out := make([]string, 0, len(rs))
	for i, r := range rs {
		head := ""
		if i == 0 {
			head = "dropped"
		}
		ln := cell.NewLine(st, w).Cell(style.Dim, head, 9).Right(style.Warn, cell.Count(float64(r.n)), 7).Space(2)
		out = append(out, ln.Cell(style.Text, r.name, 18).Add(style.Dim, ledger.HelpFor(r.name)).String())
	}
	return out
}

// detail is the whole pane about one shard.
func (p *Shards) detail(w, h int, st *style.Set) []string {
	s := p.selected()
	if s == nil {
		return section(box{title: "shard"}, w, h, framed(w, h), st, func(w, _ int) []string {
			return []string{cell.NewLine(st, w).Add(style.Dim, "this shard is no longer reported").String()}
		})
	}
	b := box{title: "shard " + s.Key(), note: s.State + "   esc: back", focus: true}
	return section(b, w, h, framed(w, h), st, func(w, h int) []string {
		rows := p.aboutRows(s, w, st, false)
		rows = append(rows, p.moreRows(s, w, st, h >= 20)...)
		return scrollBlock(rows, p.scroll, w, h, st)
	})
}

// moreRows are the queue's last minutes and the last panic with its stack.
func (p *Shards) moreRows(s *view.Shard, w int, st *style.Set, charted bool) []string {
	rows := []string{cell.Blank(w)}
	if vals := p.d.Hist.Get("shard." + s.Key()); len(vals) > 0 && charted {
		pct := make([]float64, len(vals))
		for i, v := range vals {
			pct[i] = 100 * v
		}
		rows = append(rows, chart(pct, "fill %", 100, style.Info, w, 5, st)...)
		rows = append(rows, cell.Blank(w))
	}
	if s.LastPanic == "" {
		return append(rows, cell.NewLine(st, w).Add(style.Dim, "no panic since the node came up").String())
	}
	rows = append(rows, cell.NewLine(st, w).Add(style.Bad, "last panic").String())
	for ln := range strings.SplitSeq(strings.TrimRight(s.LastPanic, "\n"), "\n") {
		rows = append(rows, cell.NewLine(st, w).Space(2).Add(style.Text, strings.ReplaceAll(ln, "\t", "    ")).String())
	}
	return rows
}

// scrollBlock shows h rows of a text from at, with a note when there is more.
func scrollBlock(rows []string, at, w, h int, st *style.Set) []string {
	if len(rows) <= h || h < 2 {
		return rows
	}
	at = max(0, min(at, len(rows)-(h-1)))
	out := append([]string(nil), rows[at:at+h-1]...)
	return append(out, cell.NewLine(st, w).Add(style.Dim, "rows "+rangeText(at, at+h-1, len(rows))+": j and k move").String())
}
