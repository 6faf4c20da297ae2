package style

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
)

type rgb [3]float64 // linear light, 0 to 1

func colour(n int) rgb {
	r, g, b, _ := ansi.IndexedColor(n).RGBA()
	lin := func(v uint32) float64 {
		c := float64(v) / 0xffff
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return rgb{lin(r), lin(g), lin(b)}
}

func (c rgb) luminance() float64 { return 0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2] }

// contrast is WCAG's ratio of two colours.
func contrast(a, b rgb) float64 {
	x, y := a.luminance(), b.luminance()
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// Viénot, Brettel and Mollon 1999: what people without one kind of cone see.
var blindness = map[string][3][3]float64{
	"protan": {{0.11238, 0.88762, 0}, {0.11238, 0.88762, 0}, {0.00401, -0.00401, 1}},
	"deutan": {{0.29275, 0.70725, 0}, {0.29275, 0.70725, 0}, {-0.02234, 0.02234, 1}},
	"tritan": {{1, 0.1461, -0.1461}, {0, 0.8593, 0.1407}, {0, 0.8593, 0.1407}},
	"none":   {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
}

func seen(c rgb, m [3][3]float64) (o rgb) {
	for i := range o {
		for j := range c {
			o[i] += m[i][j] * c[j]
		}
		o[i] = min(max(o[i], 0), 1)
	}
	return o
}

// lab is CIE 1976, for distances.
func lab(c rgb) [3]float64 {
	f := func(t float64) float64 {
		if t > 0.008856 {
			return math.Cbrt(t)
		}
		return 7.787*t + 16.0/116
	}
	x := f((0.4124*c[0] + 0.3576*c[1] + 0.1805*c[2]) / 0.9505)
	y := f(c.luminance())
	z := f((0.0193*c[0] + 0.1192*c[1] + 0.9505*c[2]) / 1.089)
	return [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
}

func distance(a, b rgb) float64 {
	p, q := lab(a), lab(b)
	return math.Sqrt((p[0]-q[0])*(p[0]-q[0]) + (p[1]-q[1])*(p[1]-q[1]) + (p[2]-q[2])*(p[2]-q[2]))
}

// schemes are the palettes with fixed colours, and grounds they may lie on. A
// terminal's own 16 are the terminal's.
var schemes = []struct {
	name    string
	theme   Theme
	light   bool
	grounds []int
	least   float64 // contrast of what is to be read
}{
	{"dark", Dark, false, []int{16, 233, 235}, 4.5},
	{"light", Light, true, []int{231, 230, 255}, 4.5},
	{"contrast on dark", Contrast, false, []int{16, 233}, 7},
	{"contrast on light", Contrast, true, []int{231, 255}, 7},
}

// TestReadable holds every text style against the grounds of its theme and the
// ground of the selected row, and every badge against its own.
func TestReadable(t *testing.T) {
	for _, s := range schemes {
		p := paletteOf(s.theme, s.light)
		for st := range numStyles {
			l := p.looks[st]
			switch {
			case st == Border || l.fg == none:
			case l.ground != none:
				if c := contrast(colour(l.fg), colour(l.ground)); c < 4.5 {
					t.Errorf("%s: badge %d has contrast %.1f", s.name, st, c)
				}
			default:
				grounds := s.grounds
				if p.row != none {
					grounds = append(slices.Clone(grounds), p.row)
				}
				for _, g := range grounds {
					if c := contrast(colour(l.fg), colour(g)); c < s.least {
						t.Errorf("%s: style %d (colour %d) on %d has contrast %.1f, want %.1f", s.name, st, l.fg, g, c, s.least)
					}
				}
			}
		}
	}
}

// TestColourBlindSafe: ok, warn and bad stay apart for those who lack a kind of
// cone.
func TestColourBlindSafe(t *testing.T) {
	const apart = 14 // ΔE 1976; about 2.3 can just be told side by side
	for _, s := range schemes {
		p := paletteOf(s.theme, s.light)
		for kind, m := range blindness {
			for _, pair := range [][2]Style{{OK, Warn}, {Warn, Bad}, {OK, Bad}} {
				a, b := seen(colour(p.looks[pair[0]].fg), m), seen(colour(p.looks[pair[1]].fg), m)
				if d := distance(a, b); d < apart {
					t.Errorf("%s, %s: styles %v are %.1f apart", s.name, kind, pair, d)
				}
			}
		}
	}
}

func TestThemeFollowsTheTerminal(t *testing.T) {
	for _, c := range []struct {
		theme   Theme
		profile colorprofile.Profile
		light   bool
		want    Theme
	}{
		{Auto, colorprofile.TrueColor, false, Dark},
		{"", colorprofile.ANSI256, true, Light},
		{Auto, colorprofile.ANSI, true, Sixteen},
		{Auto, colorprofile.ASCII, false, Mono},
		{Light, colorprofile.ANSI256, false, Light},
		{Contrast, colorprofile.ANSI, true, Contrast},
		{Light, colorprofile.NoTTY, true, Mono},
	} {
		if got := c.theme.On(c.profile, c.light); got != c.want {
			t.Errorf("%q on %v, light %v: %q, want %q", c.theme, c.profile, c.light, got, c.want)
		}
	}
	if _, err := ParseTheme("drak"); err == nil || !strings.Contains(err.Error(), "contrast") {
		t.Errorf("a wrong name: %v", err)
	}
}

// TestSixteen uses the terminal's own colours alone, and mono none.
func TestSixteen(t *testing.T) {
	for _, light := range []bool{false, true} {
		for _, theme := range []Theme{Sixteen, Mono} {
			s := New(Config{Theme: theme, Light: light})
			for st := range numStyles {
				for _, sel := range []bool{false, true} {
					seq := s.On(st, sel)
					if strings.Contains(seq, "8;5;") || strings.Contains(seq, "8;2;") || theme == Mono && strings.ContainsAny(seq, "3489") {
						t.Errorf("%s, style %d: %q", theme, st, seq)
					}
				}
			}
		}
	}
}
