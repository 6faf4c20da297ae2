// Package cell turns values into terminal cells: it cleans what came from the
// network, builds lines of an exact width without measuring them twice, and
// draws bars, sparklines and charts.
package cell

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// Clean makes text from the network safe to show: control, bidi and format
// characters go, every kind of space and line break becomes a plain space, a letter keeps at
// most one combining mark, and what is not UTF-8, or of no certain width, becomes
// U+FFFD. Invisible fillers go as well, so that two names which look alike are not both blank.
func Clean(s string) string {
	if _, ok := narrow(s); ok {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	marks := 1 // a mark needs a base before it
	for _, r := range s {
		mark := unicode.Is(unicode.M, r)
		switch {
		case oneCell(r):
			b.WriteRune(r)
			marks = 0
		case r == '\n' || r == '\t' || r == '\r' || unicode.Is(unicode.Zs, r):
			b.WriteByte(' ')
			marks = 1
		case dropped(r), mark && (marks > 0 || !steady(r)):
		case mark:
			b.WriteRune(r)
			marks++
		case r == 0x0E33 || r == 0x0EB3:
			b.WriteRune(r - 1) // Thai and Lao AM joins its neighbour; AA does not
			marks = 0
		case r == utf8.RuneError || unicode.Is(unicode.Co, r) || !unicode.IsGraphic(r) || !steady(r):
			b.WriteRune(utf8.RuneError)
			marks = 1
		default:
			b.WriteRune(r)
			marks = 0
		}
	}
	return b.String()
}

// oneCell reports the characters that take one cell everywhere: printable
// ASCII, Latin letters, and what the console itself draws with.
func oneCell(r rune) bool {
	switch {
	case r >= 0x20 && r <= 0x7e, r >= 0xa1 && r <= 0x17f && r != 0xad, r >= 0x2500 && r <= 0x25a0:
		return true
	}
	switch r {
	case '…', '→', '↓', '‖', '●', '▲', '✖', '✓', '▸', '·':
		return true
	}
	return false
}

// narrow reports that every character takes one cell, and how many there are.
func narrow(s string) (int, bool) {
	n := 0
	for _, r := range s {
		if !oneCell(r) {
			return 0, false
		}
		n++
	}
	return n, true
}

// steady reports a character whose width does not depend on who measures it
// or on its neighbours. Terminals disagree about the others, and one cell of
// disagreement shears the row.
func steady(r rune) bool {
	s := string(r)
	w := ansi.StringWidth(s)
	return ansi.StringWidthWc(s) == w && ansi.StringWidth("x"+s) == 1+w && ansi.StringWidth(s+"x") == 1+w
}

// plain reports printable ASCII only.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// dropped reports the runes that leave no trace: controls, format characters
// (bidi, joiners, tags), variation selectors, enclosing marks, separators and
// the letters that look like nothing.
func dropped(r rune) bool {
	switch {
	case unicode.Is(unicode.Cc, r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Me, r),
		unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r), unicode.Is(unicode.Variation_Selector, r):
		return true
	case r == 0x115F || r == 0x1160 || r == 0x3164 || r == 0xFFA0 || r == 0x034F || r == 0x2800:
		return true
	case r >= 0x1F1E6 && r <= 0x1F1FF, r >= 0x1F3FB && r <= 0x1F3FF:
		// Flags and skin tones join their neighbour on some terminals only.
		return true
	}
	return false
}

// Name is Clean for a name, shortened to width cells; a name of which nothing
// is left is shown as such.
func Name(s string, width int) string {
	s = strings.TrimSpace(Clean(s))
	if s == "" {
		s = "(no name)"
	}
	return Fit(s, width, "…")
}

// Width is how many cells cleaned text takes.
func Width(s string) int {
	if n, ok := narrow(s); ok {
		return n
	}
	return ansi.StringWidth(s)
}

// Fit shortens cleaned text to at most width cells, marking the cut by tail.
func Fit(s string, width int, tail string) string {
	if width <= 0 {
		return ""
	}
	if Width(s) <= width {
		return s
	}
	if plain(s) && width > 1 {
		return s[:width-1] + tail
	}
	if width == 1 {
		return tail
	}
	return ansi.Truncate(s, width, tail)
}

// Wrap breaks text at spaces into lines of at most width cells and into
// at most so many lines; the last is shortened when there is more.
func Wrap(s string, width, most int) []string {
	if width <= 0 || most <= 0 {
		return nil
	}
	var out []string
	line := ""
	words := strings.Fields(Clean(s))
	for i, w := range words {
		switch {
		case line == "":
			line = w
		case Width(line)+1+Width(w) <= width:
			line += " " + w
		case len(out) == most-1:
			return append(out, Fit(line+" "+strings.Join(words[i:], " "), width, "…"))
		default:
			out = append(out, Fit(line, width, "…"))
			line = w
		}
	}
	if line != "" {
		out = append(out, Fit(line, width, "…"))
	}
	return out
}
