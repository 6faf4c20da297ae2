package cell

import (
	"math"
	"testing"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"signalbox/tui/style"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":               "plain",
		"a\x1b[31mb\x07":      "a[31mb",
		"x\u202ey\u2066z":     "xyz",
		"a\tb\nc\u00a0d":      "a b c d",
		"e\u0301\u0302":       "e\u0301",
		"\u0301x":             "x",
		"\u200b\ufeff\u3164":  "",
		"\xff\xfe":            "\uFFFD\uFFFD",
		"日本":                  "日本",
		"👍🏽":                  "👍",
		"\u2028\u2029a\u0085": "a",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
	if got := Name("\u200b \x1b", 20); got != "(no name)" {
		t.Errorf("Name of nothing is %q", got)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("name\x1b[2J日本👩‍👩‍👧\u202e", 7)
	f.Add("e\u0301\u0302", 1)
	sets := []*style.Set{style.New(style.Config{}), style.New(style.Config{Glyphs: style.ASCII})}
	f.Fuzz(func(t *testing.T, s string, w int) {
		w = ((w % 100) + 100) % 100
		for _, st := range sets {
			row := NewLine(st, w).Selected(w%2 == 0).Add(style.Bad, s).Right(style.Text, s, 9).String()
			if got := ansi.StringWidth(row); got != w {
				t.Fatalf("%q in %d cells is %d wide", s, w, got)
			}
			if !utf8.ValidString(row) {
				t.Fatalf("%q is not UTF-8 any more", s)
			}
		}
	})
}

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		Count(950): "950", Count(9999): "9999", Count(12345): "12.3k", Count(4_560_000): "4.56M", Count(999_999): "1.00M", Count(math.NaN()): "?",
		Rate(0): "0", Rate(0.02): "<0.1", Rate(3.25): "3.2", Rate(7): "7", Rate(1910): "1910",
		Micros(40): "40µs", Micros(91_000): "91ms", Millis(4200): "4.2s", Millis(0.25): "0.2ms", Millis(-1): "?",
		Seconds(4.2): "4.2s", Seconds(59.9): "59s", Seconds(723): "12m03s", Seconds(86400*12 + 4*3600): "12d04h", Seconds(math.Inf(1)): "?",
		Pct(7.42): "7.4%", Pct(0): "0%", Pct(99.6): "100%", Bytes(214 << 20): "214M", Bytes(12): "12B",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestBarsAndCharts(t *testing.T) {
	g := &style.New(style.Config{}).Glyph
	for in, want := range map[float64]string{0: "    ", 0.001: "▏   ", 0.5: "██  ", 1: "████", 9: "████", -1: "    ", math.NaN(): "    "} {
		if got := Bar(g, in, 4); got != want {
			t.Errorf("Bar(%v) = %q, want %q", in, got, want)
		}
	}
	if got := Spark(g, []float64{0, 1, math.NaN(), 8, 16}, 6, 8); got != "  ▁ ██" {
		t.Errorf("Spark = %q", got)
	}
	if got := Area(g, []float64{4, 16, 12}, 3, 2, 16); got[0] != " █▄" || got[1] != "▄██" {
		t.Errorf("Area = %q", got)
	}
	for in, want := range map[float64]float64{0: 1, 7: 8, 43: 50, 1910: 2000, 25600: 30000, math.Inf(1): 1} {
		if got := NiceTop(in); got != want {
			t.Errorf("NiceTop(%v) = %v, want %v", in, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	got := Wrap("the node would restart it and keep what waits", 14, 2)
	if len(got) != 2 || got[0] != "the node would" || got[1] != "restart it an…" {
		t.Errorf("%q", got)
	}
}
