package style

import (
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/colorprofile"
)

// Theme is a palette, named as an operator types it.
type Theme string

// The themes. Auto follows what the terminal says of itself.
const (
	Auto     Theme = "auto"
	Dark     Theme = "dark"     // 256 colours on a dark ground
	Light    Theme = "light"    // 256 colours on a light ground
	Contrast Theme = "contrast" // few, strong colours; the selection is reversed
	Sixteen  Theme = "16"       // the terminal's own 16 colours
	Mono     Theme = "mono"     // none: bold, reverse, signs and words
)

// Themes lists the names.
func Themes() []string {
	return []string{string(Auto), string(Dark), string(Light), string(Contrast), string(Sixteen), string(Mono)}
}

// ParseTheme reads a theme's name; empty is Auto.
func ParseTheme(s string) (Theme, error) {
	switch {
	case s == "":
		return Auto, nil
	case slices.Contains(Themes(), s):
		return Theme(s), nil
	}
	return Auto, fmt.Errorf("no theme %q; there are %s", s, strings.Join(Themes(), ", "))
}

// On is the theme for a terminal: auto becomes what its colours and its ground
// ask for, and a terminal without colours has none in any theme.
func (t Theme) On(p colorprofile.Profile, light bool) Theme {
	switch {
	case p == colorprofile.ASCII || p == colorprofile.NoTTY:
		return Mono
	case t != Auto && t != "":
		return t
	case p == colorprofile.ANSI:
		return Sixteen
	case light:
		return Light
	}
	return Dark
}

// look is a style by the numbers of its colours; none is the terminal's own.
type look struct {
	fg, ground int
	bold       bool
	reverse    bool
}

const none = -1

// palette is the looks of a theme. row is the ground of the selected row; none
// reverses it instead.
type palette struct {
	looks [numStyles]look
	row   int
}

// ink makes a palette: fg are the foregrounds of the looks that are no badges,
// badges their grounds, on those what is written on badges.
func ink(row int, fg map[Style]int, badges [4]int, on [4]int) palette {
	p := palette{row: row}
	for s := range numStyles {
		p.looks[s] = look{fg: none, ground: none, bold: bolds[s]}
		if c, ok := fg[s]; ok {
			p.looks[s].fg = c
		}
	}
	for i, s := range []Style{OKBadge, WarnBadge, BadBadge, TabBadge} {
		p.looks[s].fg, p.looks[s].ground = on[i], badges[i]
	}
	return p
}

var bolds = [numStyles]bool{
	Strong: true, Title: true, Focus: true, Bad: true, Key: true,
	OKBadge: true, WarnBadge: true, BadBadge: true, TabBadge: true,
}

// paletteOf chooses the colours. ok, warn and bad differ in lightness too, so
// that they are told apart by those who do not see red and green; a test
// measures that. A sign or a word stands beside each of them all the same.
func paletteOf(t Theme, light bool) palette {
	switch {
	case t == Mono:
		return mono()
	case t == Light:
		return ink(254, map[Style]int{
			Dim: 240, Title: 16, Border: 249, Focus: 94, OK: 25, Calm: 24, Warn: 94, Bad: 125, Info: 55, Accent: 91, Key: 94,
		}, [4]int{25, 94, 125, 238}, [4]int{231, 231, 231, 231})
	case t == Contrast && light:
		return ink(none, map[Style]int{
			Dim: 237, Title: 16, Border: 16, Focus: 18, OK: 18, Calm: 18, Warn: 53, Bad: 88, Info: 18, Accent: 53, Key: 18,
		}, [4]int{18, 53, 88, 16}, [4]int{231, 231, 231, 231})
	case t == Contrast:
		return ink(none, map[Style]int{
			Dim: 252, Strong: 231, Title: 231, Border: 250, Focus: 226, OK: 121, Calm: 121, Warn: 226, Bad: 210, Info: 123, Accent: 219, Key: 226,
		}, [4]int{121, 226, 210, 231}, [4]int{16, 16, 16, 16})
	case t == Sixteen && light:
		return ink(none, map[Style]int{
			Focus: 4, OK: 2, Calm: 6, Warn: 5, Bad: 1, Info: 4, Accent: 5, Key: 4,
		}, [4]int{2, 5, 1, 0}, [4]int{15, 15, 15, 15})
	case t == Sixteen:
		return ink(none, map[Style]int{
			Dim: 7, Strong: 15, Title: 15, Border: 7, Focus: 11, OK: 10, Calm: 14, Warn: 11, Bad: 9, Info: 12, Accent: 13, Key: 11,
		}, [4]int{10, 11, 9, 15}, [4]int{0, 0, 0, 0})
	}
	return ink(237, map[Style]int{
		Dim: 248, Title: 255, Border: 240, Focus: 221, OK: 79, Calm: 80, Warn: 221, Bad: 209, Info: 75, Accent: 183, Key: 221,
	}, [4]int{79, 221, 209, 252}, [4]int{16, 16, 16, 16})
}

// mono has bold and reverse alone.
func mono() palette {
	p := ink(none, nil, [4]int{none, none, none, none}, [4]int{none, none, none, none})
	p.looks[Warn].bold = true
	for _, s := range []Style{WarnBadge, BadBadge, TabBadge} {
		p.looks[s].reverse = true
	}
	return p
}
