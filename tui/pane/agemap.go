package pane

import (
	"fmt"

	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/style"
)

// buckets in an id of 256 bits.
const idBits = 256

// age classes of a bucket's last proof of life, in seconds.
var ageLimits = [3]float64{300, freshS, 3600}

// The classes beyond those of age.
const (
	classNever = iota + 4
	classDead  // a third and more of the bucket do not answer
	classEmpty
)

// ageClass is 0 to 3, newest first, or one of those beyond.
func ageClass(b *view.Bucket) int {
	switch {
	case b == nil || b.Size == 0:
		return classEmpty
	case 3*b.Suspect >= b.Size:
		return classDead // however fresh the rest: answers name those who are gone
	case b.LastRefreshS < 0:
		return classNever
	}
	for i, l := range ageLimits {
		if b.LastRefreshS < l {
			return i
		}
	}
	return 3
}

func ageGlyph(c int, g *style.Glyph) (style.Style, string) {
	switch c {
	case classNever:
		return style.Bad, g.Never
	case classDead:
		return style.Bad, g.Dead
	case classEmpty:
		return style.Border, g.Empty
	}
	return [...]style.Style{style.OK, style.Calm, style.Warn, style.Bad}[c], g.Age[c]
}

// ageLegend explains the signs of the map.
func ageLegend(w int, st *style.Set) string {
	words := []string{"<5m", "<15m", "<1h", "old", "never", "dead", "none"}
	ln, gap := cell.NewLine(st, w), 2
	if w < 54 { // where it is narrow an empty place speaks for itself
		gap, words = 1, words[:classEmpty]
	}
	for i, word := range words {
		s, g := ageGlyph(i, &st.Glyph)
		ln.Add(s, g).Add(style.Dim, " "+word)
		if i+1 < len(words) {
			ln.Space(gap)
		}
	}
	return ln.String()
}

// ageStrips draws the buckets, a cell each, leaving out stretches that are
// empty. With fill, a second row under each shows how full the buckets are.
func ageStrips(bs []view.Bucket, w, h int, fills bool, st *style.Set) []string {
	var at [idBits]*view.Bucket
	for i := range bs {
		if n := bs[i].Index; n >= 0 && n < idBits {
			at[n] = &bs[i]
		}
	}
	per := 16
	for per*2+12 <= w && per < 64 {
		per *= 2
	}
	var out []string
	need := 1
	if fills {
		need = 2
	}
	empty := 0
	for from := 0; from < idBits; from += per {
		if !used(at[from : from+per]) {
			empty += per
			continue
		}
		if len(out)+need > h {
			break
		}
		out = append(out, strip(at[from:from+per], from, w, st, false))
		if fills {
			out = append(out, strip(at[from:from+per], from, w, st, true))
		}
	}
	if len(out) == 0 && h > 0 {
		return []string{cell.NewLine(st, w).Add(style.Dim, "the table is empty: no peer is known").String()}
	}
	return out
}

func used(bs []*view.Bucket) bool {
	for _, b := range bs {
		if b != nil && b.Size > 0 {
			return true
		}
	}
	return false
}

func strip(bs []*view.Bucket, from, w int, st *style.Set, fills bool) string {
	label := fmt.Sprintf("%3d ", from)
	if fills {
		label = "    "
	}
	ln := cell.NewLine(st, w).Add(style.Dim, label)
	for _, b := range bs {
		s, g := ageGlyph(ageClass(b), &st.Glyph)
		if fills {
			g = " "
			if b != nil && b.Size > 0 {
				g = st.Glyph.Col[max(1, min(8, int(8*fill(b.Size, b.Capacity)+0.5)))]
			}
		}
		ln.Add(s, g)
	}
	if fills {
		ln.Add(style.Dim, "  fill")
	} else {
		ln.Add(style.Dim, "  age")
	}
	return ln.String()
}
