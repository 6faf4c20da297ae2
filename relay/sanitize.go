package relay

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Longest texts in runes: any text for a screen or log, and an alias on one.
const (
	maxText  = 512
	maxAlias = 64
	maxName  = 253 // a server name on the wire (1.3), in bytes
	maxWire  = 256 // an alias passed on to clients, in bytes
)

// Sanitize makes text from the network fit for a terminal or a log: invalid
// UTF-8, control, format and bidirectional characters and line separators are
// taken out, and what is longer than 512 characters is cut. The zero-width
// joiners stay, since Persian and emoji need them.
func Sanitize(s string) string { return sanitize(s, maxText) }

func sanitize(s string, limit int) string {
	if clean(s) && len(s) <= limit { // bytes are never fewer than runes
		return s
	}
	out := make([]rune, 0, min(len(s), limit))
	for _, r := range strings.ToValidUTF8(s, "") {
		if !printable(r) {
			continue
		}
		if len(out) == limit {
			out[limit-1] = '…'
			break
		}
		out = append(out, r)
	}
	return string(out)
}

func clean(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !printable(r) }) < 0
}

func printable(r rune) bool {
	switch {
	case r >= ' ' && r < 0x7f:
		return true
	case r == '\u200c' || r == '\u200d':
		return true
	}
	return !unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Noncharacter_Code_Point)
}

// truncate cuts s to limit bytes without splitting a character.
func truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// validName says whether a room may be called so. Clients send DNS names
// (1.3); whatever else could be misread on a screen is refused.
func validName(s string) bool {
	return s != "" && len(s) <= maxName && clean(s) && !strings.Contains(s, " ")
}
