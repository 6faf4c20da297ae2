package cli

import (
	"strings"
	"testing"

	"signalbox/engine/config"
	"signalbox/tui/style"
)

// TestThemesAreThoseOfTheConsole: settings accept the themes that the console
// has, and the commands with a console take the flag.
func TestThemesAreThoseOfTheConsole(t *testing.T) {
	home := t.TempDir()
	for _, theme := range style.Themes() {
		if r := execute(t, home, "config", "check", "--theme", theme); r.code != config.ExitOK {
			t.Errorf("theme %s: %+v", theme, r)
		}
	}
	if r := execute(t, home, "config", "check", "--theme", "pink"); r.code != config.ExitConfig || !strings.Contains(r.err, "contrast") {
		t.Errorf("theme pink: %+v", r)
	}
	for _, args := range [][]string{{"attach"}, {"replay", "x"}} {
		if r := execute(t, home, append(args, "--theme", "pink")...); r.code != config.ExitUsage {
			t.Errorf("%v: %+v", args, r)
		}
	}
}
