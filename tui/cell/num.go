package cell

import (
	"fmt"
	"math"
	"time"
)

// Count writes a number in at most six cells: 950, 12.3k, 4.56M.
func Count(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "?"
	}
	a := math.Abs(v)
	for _, u := range []struct {
		at   float64
		unit string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e4, "k"}} {
		if a >= u.at*0.99995 {
			div := u.at
			if u.unit == "k" {
				div = 1e3
			}
			return trim3(v/div) + u.unit
		}
	}
	return fmt.Sprintf("%.0f", v)
}

// Rate writes a number per second: below ten it keeps one decimal, so that a
// slow leak does not read as none.
func Rate(v float64) string {
	a := math.Abs(v)
	switch {
	case a > 0 && a < 0.05:
		return "<0.1"
	case a < 10 && math.Round(v*10) != math.Round(v)*10:
		return fmt.Sprintf("%.1f", v)
	}
	return Count(v)
}

func trim3(v float64) string {
	switch a := math.Abs(v); {
	case a >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// Micros writes microseconds with a unit, in at most six cells.
func Micros(us float64) string {
	switch {
	case math.IsNaN(us) || us < 0:
		return "?"
	case us < 1000:
		return fmt.Sprintf("%.0fµs", us)
	default:
		return Millis(us / 1000)
	}
}

// Millis writes milliseconds with a unit, in at most six cells.
func Millis(ms float64) string {
	switch {
	case math.IsNaN(ms) || ms < 0:
		return "?"
	case ms == 0:
		return "0"
	case ms < 10:
		return fmt.Sprintf("%.1fms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0fms", ms)
	default:
		return Seconds(ms / 1000)
	}
}

// Seconds writes an age or a duration, two units at most: 4.2s, 12m03s, 12d04h.
func Seconds(s float64) string {
	if math.IsNaN(s) || s < 0 || s > 1e10 {
		return "?"
	}
	n := int64(s)
	switch {
	case s < 10:
		return fmt.Sprintf("%.1fs", s)
	case n < 60:
		return fmt.Sprintf("%ds", n)
	case n < 3600:
		return fmt.Sprintf("%dm%02ds", n/60, n%60)
	case n < 86400:
		return fmt.Sprintf("%dh%02dm", n/3600, n%3600/60)
	default:
		return fmt.Sprintf("%dd%02dh", n/86400, n%86400/3600)
	}
}

// Since is Seconds for the time from t to now; zero time is "-".
func Since(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return Seconds(max(0, now.Sub(t).Seconds()))
}

// Bytes writes a size.
func Bytes(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%dB", n)
	}
	v, u := float64(n), ""
	for _, u = range []string{"K", "M", "G", "T"} {
		v /= unit
		if v < unit {
			break
		}
	}
	return trim3(v) + u
}

// Pct writes a percentage: one decimal below ten.
func Pct(v float64) string {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "?"
	case v != 0 && math.Abs(v) < 9.95:
		return fmt.Sprintf("%.1f%%", v)
	default:
		return fmt.Sprintf("%.0f%%", v)
	}
}
