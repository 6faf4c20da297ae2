package cell

import (
	"math"
	"strings"

	"signalbox/tui/style"
)

// Bar draws frac (0 to 1) as a horizontal bar of exactly w cells.
func Bar(g *style.Glyph, frac float64, w int) string {
	if w <= 0 {
		return ""
	}
	eighths := int(math.Round(clamp(frac) * float64(8*w)))
	if frac > 0 && eighths == 0 {
		eighths = 1 // something is not nothing
	}
	var b strings.Builder
	for range w {
		n := min(eighths, 8)
		if n == 0 {
			b.WriteString(g.Track)
		} else {
			b.WriteString(g.Bar[n])
		}
		eighths -= n
	}
	return b.String()
}

// Spark draws the newest w values of a series, scaled to top, one cell each,
// newest at the right. A missing value (NaN) leaves a gap. top <= 0 scales to
// the largest value shown.
func Spark(g *style.Glyph, vals []float64, w int, top float64) string {
	if w <= 0 {
		return ""
	}
	vals = tail(vals, w)
	if top <= 0 {
		top = peak(vals)
	}
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", w-len(vals)))
	for _, v := range vals {
		b.WriteString(g.Col[level(v, top, 8)])
	}
	return b.String()
}

// Area draws the newest w values as a filled chart of w by h cells, top row
// first, scaled to top.
func Area(g *style.Glyph, vals []float64, w, h int, top float64) []string {
	if w <= 0 || h <= 0 {
		return nil
	}
	vals = tail(vals, w)
	out := make([]string, h)
	for row := range h {
		var b strings.Builder
		b.WriteString(strings.Repeat(" ", w-len(vals)))
		base := (h - 1 - row) * 8
		for _, v := range vals {
			b.WriteString(g.Col[max(0, min(8, level(v, top, 8*h)-base))])
		}
		out[row] = b.String()
	}
	return out
}

// NiceTop rounds a peak up to a round number, so that an axis
// keeps its label while the values move.
func NiceTop(v float64) float64 {
	if v <= 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 1
	}
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 1.5, 2, 3, 4, 5, 6, 8, 10} {
		if v <= m*p {
			return m * p
		}
	}
	return 10 * p
}

func peak(vals []float64) float64 {
	top := 0.0
	for _, v := range vals {
		if v > top && !math.IsInf(v, 0) {
			top = v
		}
	}
	return top
}

func level(v, top float64, steps int) int {
	if math.IsNaN(v) || v <= 0 || top <= 0 {
		return 0
	}
	n := int(math.Round(clamp(v/top) * float64(steps)))
	return max(n, 1)
}

func tail(vals []float64, w int) []float64 {
	if len(vals) > w {
		return vals[len(vals)-w:]
	}
	return vals
}

func clamp(f float64) float64 {
	if math.IsNaN(f) || f < 0 {
		return 0
	}
	return min(f, 1)
}
