package tui

import (
	tea "charm.land/bubbletea/v2"

	"signalbox/tui/style"
)

// themeHelp says what the themes are for.
var themeHelp = map[style.Theme]string{
	style.Auto: "what the terminal asks for", style.Dark: "for a dark ground", style.Light: "for a light ground",
	style.Contrast: "few, strong colours", style.Sixteen: "the terminal's own 16 colours", style.Mono: "no colours: bold, reverse, signs",
}

func themeWords(_ *Model, n int) (out []suggestion) {
	if n > 0 {
		return nil
	}
	for _, t := range style.Themes() {
		out = append(out, suggestion{t, themeHelp[style.Theme(t)]})
	}
	return out
}

// chooseTheme changes the colours of this console alone. The whole screen is
// drawn anew: the renderer takes a colour of the terminal's own 16 for the same
// as one of the 256 of equal value, which it need not be on this terminal.
func (m *Model) chooseTheme(args []string) tea.Cmd {
	if len(args) != 1 {
		m.say(style.Warn, "theme NAME; tab completes")
		return nil
	}
	t, err := style.ParseTheme(args[0])
	if err != nil {
		m.say(style.Warn, err.Error())
		return nil
	}
	m.theme = t
	if on := t.On(m.profile, m.light); on != t {
		m.say(style.OK, "theme "+string(t)+": "+string(on)+" on this terminal")
		return tea.ClearScreen
	}
	m.say(style.OK, "theme "+string(t))
	return tea.ClearScreen
}
