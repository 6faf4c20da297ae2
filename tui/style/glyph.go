package style

// Glyph is one set of characters. Every string is exactly one cell wide.
type Glyph struct {
	// Frames, clockwise from the top left, then the two straight lines.
	TL, TR, BR, BL, H, V string
	// Bar is a cell filled by 0 to 8 eighths from the left.
	Bar [9]string
	// Col is a cell filled by 0 to 8 eighths from the bottom.
	Col [9]string
	// Track is what stands where a bar does not reach.
	Track string
	// Age marks freshness, newest first, then "never" and "empty".
	Age [4]string
	// Never marks a bucket without any proof of life, Dead one whose contacts do
	// not answer, Empty one without contacts.
	Never, Dead, Empty string
	// Signs that stand beside a word.
	OK, Warn, Bad, Info, Cursor, Dot, Pause, Arrow, Ellipsis, Sep, Check, Down string
}

var blocks = Glyph{
	TL: "╭", TR: "╮", BR: "╯", BL: "╰", H: "─", V: "│",
	Bar:   [9]string{" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"},
	Col:   [9]string{" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
	Track: " ",
	Age:   [4]string{"█", "▓", "▒", "✖"}, // the oldest is a sign: a light shade would hide it
	Never: "?", Dead: "!", Empty: "·",
	OK: "●", Warn: "▲", Bad: "✖", Info: "·", Cursor: "▸", Dot: "●", Pause: "‖", Arrow: "→", Ellipsis: "…", Sep: "│", Check: "✓", Down: "↓",
}

var ascii = Glyph{
	TL: "+", TR: "+", BR: "+", BL: "+", H: "-", V: "|",
	Bar:   [9]string{" ", "-", "-", "-", "=", "=", "=", "#", "#"},
	Col:   [9]string{" ", "_", "_", ".", "-", "-", "=", "#", "#"},
	Track: " ",
	Age:   [4]string{"#", "=", "-", "X"},
	Never: "?", Dead: "!", Empty: ".",
	OK: "*", Warn: "!", Bad: "X", Info: ".", Cursor: ">", Dot: "*", Pause: "=", Arrow: ">", Ellipsis: "~", Sep: "|", Check: "v", Down: "v",
}

func glyphs(c Config) Glyph {
	g := blocks
	if c.Glyphs == ASCII {
		g = ascii
		if c.Double {
			g.H, g.V, g.TL, g.TR, g.BR, g.BL = "=", "|", "#", "#", "#", "#"
		}
		return g
	}
	if c.Double {
		g.TL, g.TR, g.BR, g.BL, g.H, g.V = "╔", "╗", "╝", "╚", "═", "║"
	}
	return g
}
