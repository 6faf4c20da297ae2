// Package style holds the looks of the console: a small set of named styles
// whose escape sequences are computed once, and the glyphs for boxes, bars and
// signs. Colours are chosen from the 256 that every terminal over SSH has.
// Nothing here depends on colour alone: without it, alarms keep their sign and
// their word, and the selection is reversed.
package style

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

// look is a style before it is written as a sequence: colours by number.
type look struct {
	dark, light string // SGR parameters for the foreground
	attr        string // SGR parameters that need no colour
	mono        string // SGR parameters when there are no colours
	badge       bool   // dark and light set the ground too
}

var looks = [numStyles]look{
	Text:      {},
	Dim:       {dark: "38;5;245", light: "38;5;243"},
	Strong:    {attr: "1", mono: "1"},
	Title:     {dark: "38;5;255", light: "38;5;16", attr: "1", mono: "1"},
	Border:    {dark: "38;5;239", light: "38;5;250"},
	Focus:     {dark: "38;5;215", light: "38;5;130", attr: "1", mono: "1"},
	OK:        {dark: "38;5;114", light: "38;5;28"},
	Calm:      {dark: "38;5;79", light: "38;5;30"},
	Warn:      {dark: "38;5;215", light: "38;5;130", mono: "1"},
	Bad:       {dark: "38;5;210", light: "38;5;160", attr: "1", mono: "1"},
	Info:      {dark: "38;5;75", light: "38;5;25"},
	Accent:    {dark: "38;5;183", light: "38;5;91"},
	Key:       {dark: "38;5;215", light: "38;5;130", attr: "1", mono: "1"},
	OKBadge:   {dark: "38;5;16;48;5;114", light: "38;5;231;48;5;28", attr: "1", mono: "1", badge: true},
	WarnBadge: {dark: "38;5;16;48;5;215", light: "38;5;231;48;5;130", attr: "1", mono: "1;7", badge: true},
	BadBadge:  {dark: "38;5;16;48;5;210", light: "38;5;231;48;5;160", attr: "1", mono: "1;7", badge: true},
	TabBadge:  {dark: "38;5;16;48;5;252", light: "38;5;231;48;5;238", attr: "1", mono: "1;7", badge: true},
}

// sequences writes a look twice: plain, and on the selected row's ground.
func sequences(c Config, st Style) (plain, selected string) {
	l := looks[st]
	if c.NoColor {
		return sgr(l.mono), sgr(join("7", l.mono))
	}
	colour, ground := l.dark, "48;5;237"
	if c.Light {
		colour, ground = l.light, "48;5;254"
	}
	if c.Dimmed && !l.badge {
		colour = looks[Dim].dark
		if c.Light {
			colour = looks[Dim].light
		}
	}
	if l.badge {
		return sgr(join(l.attr, colour)), sgr(join(l.attr, colour))
	}
	return sgr(join(l.attr, colour)), sgr(join(join(l.attr, colour), ground))
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ";" + b
}

func sgr(params string) string {
	if params == "" {
		return ""
	}
	return "\x1b[" + params + "m"
}
