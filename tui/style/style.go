// Package style holds the looks of the console: a small set of named styles
// whose escape sequences are computed once, and the glyphs for boxes, bars and
// signs. Colours are chosen from the 256 that every terminal over SSH has, or
// from its own 16 (theme.go).
// Nothing here depends on colour alone: without it, alarms keep their sign and
// their word, and the selection is reversed.
package style

import (
	"image/color"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

// Style names a look. The zero value is plain text.
type Style uint8

// The looks. A badge is text on a filled ground.
const (
	Text      Style = iota
	Dim             // labels, units, what is zero
	Strong          // numbers and names that matter
	Title           // section titles
	Border          // frames
	Focus           // the frame and the marks of what has the keys
	OK              // as it should be
	Calm            // a second healthy shade, for bars that are half full
	Warn            // look at it
	Bad             // act on it
	Info            // neutral series in charts
	Accent          // second series in charts
	Key             // a key to press
	OKBadge         // verdict: ok
	WarnBadge       // verdict: degraded, state frozen or stale
	BadBadge        // verdict: failing
	TabBadge        // the open tab, the focused button
	numStyles
)

// Glyphs chooses the characters for bars, charts and frames.
type Glyphs uint8

// The glyph sets.
const (
	Blocks Glyphs = iota // box drawing, eighth blocks
	ASCII                // printable ASCII only
)

// Config chooses a Set. The zero value is coloured, dark, with block glyphs.
type Config struct {
	Theme  Theme  // empty and Auto are Dark: the caller knows the terminal, see On
	Light  bool   // the terminal's ground is light: for themes that suit either
	Glyphs Glyphs // bars, charts and frames
	Dimmed bool   // the numbers are old: draw everything subdued
	Double bool   // frozen: double frames, so that it shows without colour too
}

// Set is one finished look. It is read-only after New and safe to share.
type Set struct {
	// Glyph is the set of characters.
	Glyph Glyph
	// Mono says that no colours are used.
	Mono bool

	pre [2][numStyles]string // by selected, style
}

const reset = "\x1b[m"

// New computes the sequences of a look.
func New(c Config) *Set {
	s := &Set{Mono: c.Theme == Mono, Glyph: glyphs(c)}
	p := paletteOf(c.Theme, c.Light)
	for st := range numStyles {
		s.pre[0][st], s.pre[1][st] = p.sequences(st, c.Dimmed)
	}
	return s
}

// On returns the sequence that switches a style on; empty for plain text.
// selected is the variant on the ground of the selected row.
func (s *Set) On(st Style, selected bool) string {
	if st >= numStyles {
		st = Text
	}
	if selected {
		return s.pre[1][st]
	}
	return s.pre[0][st]
}

// Off returns the sequence that ends any style.
func (s *Set) Off() string { return reset }

// sequences writes a look twice: plain, and on the selected row's ground.
func (p *palette) sequences(st Style, dimmed bool) (plain, selected string) {
	l := p.looks[st]
	badge := l.ground != none
	if dimmed && !badge {
		l.fg = p.looks[Dim].fg
	}
	s := lipgloss.NewStyle().Bold(l.bold)
	if l.fg != none {
		s = s.Foreground(tint(l.fg))
	}
	if badge {
		s = s.Background(tint(l.ground))
		return opening(s), opening(s)
	}
	if p.row == none {
		return opening(s.Reverse(l.reverse)), opening(s.Reverse(true))
	}
	return opening(s.Reverse(l.reverse)), opening(s.Background(tint(p.row)))
}

// tint is a colour by its number. The first 16 are the terminal's own and have
// sequences of their own, which the oldest terminals know.
func tint(n int) color.Color {
	if n < 16 {
		return ansi.BasicColor(n)
	}
	return lipgloss.ANSIColor(n)
}

// opening is the sequence that switches a style on. It is taken out of a
// rendered letter once, since rendering every cell would cost microseconds each.
func opening(s lipgloss.Style) string {
	const letter = "x"
	pre, _, _ := strings.Cut(s.Render(letter), letter)
	return pre
}
