package main

import (
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

// The drawing is plain: size across on a logarithmic scale, one line per
// series, and a legend.
const (
	width, height                    = 720, 420
	left, right, topEdge, bottomEdge = 70, 20, 40, 60
)

var inks = []color.RGBA{{0x1f, 0x5f, 0xb4, 255}, {0xd6, 0x5f, 0x0e, 255}, {0x2c, 0x8a, 0x3c, 255}, {0x99, 0x33, 0x99, 255}}

var (
	paper = color.RGBA{255, 255, 255, 255}
	ink   = color.RGBA{40, 40, 40, 255}
	grid  = color.RGBA{225, 225, 225, 255}
)

type series struct {
	name string
	y    func(result) float64
}

type chart struct {
	file, title string
	series      []series
	floor       float64 // where the vertical axis begins
	ceiling     float64 // 0: as needed
}

var charts = []chart{
	{"success.png", "share of lookups that found the closest live node first", []series{
		{"no churn", func(r result) float64 { return r.Nodes4.Exact }},
		{"2 h sessions", func(r result) float64 { return r.Churn2h.Lookups.Exact }},
		{"30 min sessions", func(r result) float64 { return r.Churn30m.Lookups.Exact }},
	}, 0.8, 1},
	{"closest.png", "share of the true closest k found", []series{
		{"no churn", func(r result) float64 { return r.Keys.Closest }},
		{"2 h sessions", func(r result) float64 { return r.Churn2h.Lookups.Closest }},
		{"30 min sessions", func(r result) float64 { return r.Churn30m.Lookups.Closest }},
	}, 0.8, 1},
	{"stale.png", "share of the contacts in answers that are dead", []series{
		{"no churn", func(r result) float64 { return r.Nodes4.Stale }},
		{"2 h sessions", func(r result) float64 { return r.Churn2h.Lookups.Stale }},
		{"30 min sessions", func(r result) float64 { return r.Churn30m.Lookups.Stale }},
	}, 0, 0},
	{"hops.png", "hops to the closest node, mean and greatest", []series{
		{"mean", func(r result) float64 { return r.Nodes4.Hops }},
		{"greatest", func(r result) float64 { return float64(r.Nodes4.HopsMax) }},
		{"log2(n)/log2(k)", func(r result) float64 { return math.Log(float64(r.Nodes)) / math.Log(20) }},
	}, 0, 0},
	{"messages.png", "messages per lookup", []series{
		{"no churn", func(r result) float64 { return r.Nodes4.Msgs }},
		{"2 h sessions", func(r result) float64 { return r.Churn2h.Lookups.Msgs }},
		{"30 min sessions", func(r result) float64 { return r.Churn30m.Lookups.Msgs }},
	}, 0, 0},
	{"rate.png", "messages a node sends per second, nobody looking for anything", []series{
		{"no churn", func(r result) float64 { return r.QuietRate }},
		{"2 h sessions", func(r result) float64 { return r.Churn2h.Rate }},
		{"30 min sessions", func(r result) float64 { return r.Churn30m.Rate }},
	}, 0, 0},
	{"memory.png", "KB per node: heap with its links, stacks", []series{
		{"heap", func(r result) float64 { return r.HeapKB }},
		{"stacks", func(r result) float64 { return r.StackKB }},
	}, 0, 0},
	{"links.png", "open links and contacts per node", []series{
		{"links", func(r result) float64 { return r.Links }},
		{"contacts", func(r result) float64 { return r.Contacts }},
	}, 0, 0},
	{"heal.png", "share found across two halves, the moment they meet and 30 s later", []series{
		{"at once", func(r result) float64 { return healAt(r, 0) }},
		{"30 s later", func(r result) float64 { return healAt(r, healStep.Seconds()) }},
	}, 0, 1},
	{"tables.png", "share of the contacts across, nobody looking, after the halves meet", []series{
		{"at once", func(r result) float64 { return acrossAt(r, 0) }},
		{"30 s", func(r result) float64 { return acrossAt(r, 30) }},
		{"5 min", func(r result) float64 { return acrossAt(r, 300) }},
		{"20 min", func(r result) float64 { return acrossAt(r, meetFor.Seconds()) }},
	}, 0, 0.6},
	{"latency.png", "seconds a lookup takes", []series{
		{"p50, no churn", func(r result) float64 { return r.Nodes4.P50.Seconds() }},
		{"p99, no churn", func(r result) float64 { return r.Nodes4.P99.Seconds() }},
		{"p50, 30 min", func(r result) float64 { return r.Churn30m.Lookups.P50.Seconds() }},
		{"p99, 30 min", func(r result) float64 { return r.Churn30m.Lookups.P99.Seconds() }},
	}, 0, 0},
}

// healAt is the share found across at the sample nearest to s; not a number
// where that was not measured, and 1 after the last, with which all was well.
func healAt(r result, s float64) float64 {
	for _, x := range r.Heal {
		if x.AtS >= 0 && x.AtS >= s-1 {
			return x.Exact
		}
	}
	if len(r.Heal) == 0 {
		return math.NaN()
	}
	return r.Heal[len(r.Heal)-1].Exact
}

// acrossAt is the share of the contacts across after s.
func acrossAt(r result, s float64) float64 {
	for _, x := range r.Tables {
		if x.AtS == s {
			return x.Across / x.Contacts
		}
	}
	return math.NaN()
}

// measured is v, not a number where nothing was measured.
func measured(lookups int, v float64) float64 {
	if lookups == 0 {
		return math.NaN()
	}
	return v
}

func paint(dir string, rs []result) error {
	if len(rs) == 0 {
		return nil
	}
	for _, c := range charts {
		f, err := os.Create(filepath.Join(dir, c.file))
		if err != nil {
			return err
		}
		err = png.Encode(f, c.paint(rs))
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type canvas struct{ *image.Paletted }

func (c *chart) paint(rs []result) image.Image {
	pal := color.Palette{paper, ink, grid}
	for _, x := range inks {
		pal = append(pal, x)
	}
	im := canvas{image.NewPaletted(image.Rect(0, 0, width, height), pal)}
	top := c.ceiling
	for _, r := range rs {
		for _, s := range c.series {
			if v := s.y(r); c.ceiling == 0 && v > top {
				top = v
			}
		}
	}
	step := nice((top - c.floor) / 5)
	if c.ceiling == 0 {
		top = c.floor + step*math.Ceil((top-c.floor)/step*1.0001)
	}
	lo, hi := math.Log(float64(rs[0].Nodes)), math.Log(float64(rs[len(rs)-1].Nodes))
	if lo == hi {
		lo, hi = lo-1, hi+1
	}
	px := func(n int) int { return left + int((math.Log(float64(n))-lo)/(hi-lo)*(width-left-right)) }
	py := func(v float64) int {
		v = min(max(v, c.floor), top)
		return height - bottomEdge - int((v-c.floor)/(top-c.floor)*(height-topEdge-bottomEdge))
	}
	for v := c.floor; v <= top+step/2; v += step {
		im.line(left, py(v), width-right, py(v), grid)
		im.text(8, py(v)+4, fmt.Sprintf("%.4g", v), ink)
	}
	for _, r := range rs {
		im.line(px(r.Nodes), topEdge, px(r.Nodes), height-bottomEdge, grid)
		im.text(px(r.Nodes)-14, height-bottomEdge+16, fmt.Sprint(r.Nodes), ink)
	}
	im.text(left, 22, c.title, ink)
	im.text(width-right-42, height-bottomEdge+32, "nodes", ink)
	for i, s := range c.series {
		im.series(rs, s, px, py, inks[i%len(inks)])
		x := left + i*min(190, (width-left)/len(c.series))
		im.line(x, height-14, x+20, height-14, inks[i%len(inks)])
		im.line(x, height-13, x+20, height-13, inks[i%len(inks)])
		im.text(x+26, height-9, s.name, ink)
	}
	return im
}

func (im canvas) series(rs []result, s series, px func(int) int, py func(float64) int, col color.Color) {
	rs = slices.DeleteFunc(slices.Clone(rs), func(r result) bool { return math.IsNaN(s.y(r)) }) // not measured
	for i, r := range rs {
		x, y := px(r.Nodes), py(s.y(r))
		if i > 0 {
			x0, y0 := px(rs[i-1].Nodes), py(s.y(rs[i-1]))
			im.line(x0, y0, x, y, col)
			im.line(x0, y0+1, x, y+1, col)
		}
		for dx := -3; dx <= 3; dx++ {
			im.line(x+dx, y-3, x+dx, y+3, col)
		}
	}
}

// line draws from one point to the other.
func (im canvas) line(x0, y0, x1, y1 int, col color.Color) {
	n := max(abs(x1-x0), abs(y1-y0), 1)
	for i := range n + 1 {
		im.Set(x0+(x1-x0)*i/n, y0+(y1-y0)*i/n, col)
	}
}

func (im canvas) text(x, y int, s string, col color.Color) {
	d := font.Drawer{Dst: im, Src: image.NewUniform(col), Face: basicfont.Face7x13, Dot: fixed.P(x, y)}
	d.DrawString(s)
}

func abs(x int) int { return max(x, -x) }

// nice is 1, 2 or 5 times a power of ten, at least x.
func nice(x float64) float64 {
	if x <= 0 {
		return 1
	}
	p := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range [...]float64{1, 2, 5} {
		if m*p >= x*0.999 {
			return m * p
		}
	}
	return 10 * p
}

// figures prints the figures as Markdown.
func figures(w io.Writer, rs []result) {
	row := func(name, format string, f func(result) any) {
		fmt.Fprintf(w, "| %s |", name)
		for _, r := range rs {
			fmt.Fprintf(w, " "+format+" |", f(r))
		}
		fmt.Fprintln(w)
	}
	row("nodes", "%d", func(r result) any { return r.Nodes })
	fmt.Fprint(w, "|---|")
	for range rs {
		fmt.Fprint(w, "---:|")
	}
	fmt.Fprintln(w)
	row("node found first", "%.4f", func(r result) any { return r.Nodes4.Exact })
	row("closest k found, keys", "%.4f", func(r result) any { return r.Keys.Closest })
	row("hops, mean", "%.2f", func(r result) any { return r.Nodes4.Hops })
	row("hops, greatest", "%d", func(r result) any { return r.Nodes4.HopsMax })
	row("messages per lookup", "%.1f", func(r result) any { return r.Nodes4.Msgs })
	row("lookup p50, s", "%.2f", func(r result) any { return r.Nodes4.P50.Seconds() })
	row("lookup p99, s", "%.2f", func(r result) any { return r.Nodes4.P99.Seconds() })
	row("dials per lookup", "%.1f", func(r result) any { return r.Nodes4.Dials })
	row("messages a second per node", "%.3f", func(r result) any { return r.QuietRate })
	row("busiest second over the mean", "%.1f", func(r result) any { return r.QuietPeak })
	row("messages per node to join", "%.0f", func(r result) any { return r.JoinMessages })
	row("links per node", "%.0f", func(r result) any { return r.Links })
	row("contacts per node", "%.0f", func(r result) any { return r.Contacts })
	row("heap per node, KB", "%.0f", func(r result) any { return r.HeapKB })
	row("stacks per node, KB", "%.0f", func(r result) any { return r.StackKB })
	row("goroutines per node", "%.1f", func(r result) any { return r.Goroutines })
	row("healed halves whole after, s", "%.0f", func(r result) any { return r.HealS })
	row("found across the moment they meet", "%.4f", func(r result) any { return healAt(r, 0) })
	row("contacts across at once", "%.2f", func(r result) any { return acrossAt(r, 0) })
	row("contacts across after 30 s", "%.2f", func(r result) any { return acrossAt(r, 30) })
	row("contacts across after 5 min", "%.2f", func(r result) any { return acrossAt(r, 300) })
	row("contacts across after 20 min", "%.2f", func(r result) any { return acrossAt(r, meetFor.Seconds()) })
	churnRows(row, "2 h", func(r result) churned { return r.Churn2h })
	churnRows(row, "30 min", func(r result) churned { return r.Churn30m })
	row("virtual time, min", "%.0f", func(r result) any { return r.VirtualS / 60 })
	row("real time, s", "%.0f", func(r result) any { return r.RealS })
	row("messages in all", "%d", func(r result) any { return r.Messages })
}

func churnRows(row func(string, string, func(result) any), name string, of func(result) churned) {
	row(name+" sessions: node found first", "%.4f", func(r result) any { return of(r).Lookups.Exact })
	row(name+" sessions: closest k found", "%.4f", func(r result) any { return of(r).Lookups.Closest })
	row(name+" sessions: dead in answers", "%.4f", func(r result) any { return of(r).Lookups.Stale })
	row(name+" sessions: dead among the found", "%.4f", func(r result) any { return of(r).Lookups.Dead })
	row(name+" sessions: messages per lookup", "%.1f", func(r result) any { return of(r).Lookups.Msgs })
	row(name+" sessions, anybody: node found first", "%.4f", func(r result) any { return measured(of(r).Anybody.Lookups, of(r).Anybody.Exact) })
	row(name+" sessions, anybody: closest k found", "%.4f", func(r result) any { return measured(of(r).Anybody.Lookups, of(r).Anybody.Closest) })
	row(name+" sessions: lookup p50, s", "%.2f", func(r result) any { return of(r).Lookups.P50.Seconds() })
	row(name+" sessions: lookup p99, s", "%.2f", func(r result) any { return of(r).Lookups.P99.Seconds() })
	row(name+" sessions: messages a second per node", "%.3f", func(r result) any { return of(r).Rate })
	row(name+" sessions: nodes that left", "%d", func(r result) any { return of(r).Left })
}
