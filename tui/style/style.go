// Package style holds the looks of the console: a small set of named styles
// whose escape sequences are computed once, and the glyphs for boxes, bars and
// signs. Colours are chosen from the 256 that every terminal over SSH has.
// Nothing here depends on colour alone: without it, alarms keep their sign and
// their word, and the selection is reversed.
package style

import (
	"strings"

	"charm.land/lipgloss/v2"
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
	NoColor bool   // no colours at all; bold and reverse remain
	Light   bool   // the terminal's ground is light
	Glyphs  Glyphs // bars, charts and frames
	Dimmed  bool   // the numbers are old: draw everything subdued
	Double  bool   // frozen: double frames, so that it shows without colour too
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
	s := &Set{Mono: c.NoColor, Glyph: glyphs(c)}
	for st := range numStyles {
		s.pre[0][st], s.pre[1][st] = sequences(c, st)
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

// look is a style by the numbers of the 256 colours; 0 is none.
type look struct {
	dark, light             int  // foreground
	darkGround, lightGround int  // of a badge
	bold                    bool // with colours
	monoBold, monoReverse   bool // without
}

func (l look) badge() bool { return l.darkGround != 0 }

var looks = [numStyles]look{
	Text:      {},
	Dim:       {dark: 245, light: 243},
	Strong:    {bold: true, monoBold: true},
	Title:     {dark: 255, light: 16, bold: true, monoBold: true},
	Border:    {dark: 239, light: 250},
	Focus:     {dark: 215, light: 130, bold: true, monoBold: true},
	OK:        {dark: 114, light: 28},
	Calm:      {dark: 79, light: 30},
	Warn:      {dark: 215, light: 130, monoBold: true},
	Bad:       {dark: 210, light: 160, bold: true, monoBold: true},
	Info:      {dark: 75, light: 25},
	Accent:    {dark: 183, light: 91},
	Key:       {dark: 215, light: 130, bold: true, monoBold: true},
	OKBadge:   {dark: 16, darkGround: 114, light: 231, lightGround: 28, bold: true, monoBold: true},
	WarnBadge: {dark: 16, darkGround: 215, light: 231, lightGround: 130, bold: true, monoBold: true, monoReverse: true},
	BadBadge:  {dark: 16, darkGround: 210, light: 231, lightGround: 160, bold: true, monoBold: true, monoReverse: true},
	TabBadge:  {dark: 16, darkGround: 252, light: 231, lightGround: 238, bold: true, monoBold: true, monoReverse: true},
}

// The ground of the selected row.
const (
	selectedDark  = 237
	selectedLight = 254
)

// sequences writes a look twice: plain, and on the selected row's ground.
func sequences(c Config, st Style) (plain, selected string) {
	l := looks[st]
	if c.NoColor {
		s := lipgloss.NewStyle().Bold(l.monoBold)
		return opening(s.Reverse(l.monoReverse)), opening(s.Reverse(true))
	}
	fg, ground, row := l.dark, l.darkGround, selectedDark
	if c.Light {
		fg, ground, row = l.light, l.lightGround, selectedLight
	}
	if c.Dimmed && !l.badge() {
		fg = looks[Dim].dark
		if c.Light {
			fg = looks[Dim].light
		}
	}
	s := lipgloss.NewStyle().Bold(l.bold)
	if fg != 0 {
		s = s.Foreground(lipgloss.ANSIColor(fg))
	}
	if l.badge() {
		s = s.Background(lipgloss.ANSIColor(ground))
		return opening(s), opening(s)
	}
	return opening(s), opening(s.Background(lipgloss.ANSIColor(row)))
}

// opening is the sequence that switches a style on. It is taken out of a
// rendered letter once, since rendering every cell would cost microseconds each.
func opening(s lipgloss.Style) string {
	const letter = "x"
	pre, _, _ := strings.Cut(s.Render(letter), letter)
	return pre
}
