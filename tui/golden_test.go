package tui

import (
	"fmt"
	"image/color"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/exp/golden"

	"signalbox/tui/internal/sample"
	"signalbox/tui/style"
)

// scened is a frame that is held: a pane, or a box over it, and how it is come to.
type scened struct {
	name  string
	scene sample.Scene
	keys  []string
}

// stills are every pane and every box of the console.
func stills() []scened {
	line := func(text string) []string { return append([]string{":"}, strings.Split(text, "")...) }
	return []scened{
		{"overview", sample.HotShard, nil},
		{"overview-healthy", sample.Healthy, nil},
		{"shards", sample.HotShard, []string{"2"}},
		{"shard-detail", sample.HotShard, []string{"2", "j", "j", "enter"}},
		{"rooms", sample.BadRoom, []string{"3"}},
		{"rooms-hostile", sample.Hostile, []string{"3"}},
		{"members", sample.BadRoom, []string{"3", "enter"}},
		{"members-hostile", sample.Hostile, []string{"3", "enter"}},
		{"routing", sample.BadRoom, []string{"4"}},
		{"routing-lookups", sample.BadRoom, []string{"4", "v"}},
		{"routing-trace", sample.BadRoom, []string{"4", "v", "enter", "j", "j"}},
		{"routing-contact", sample.BadRoom, []string{"4", "enter"}},
		{"routing-healthy", sample.Healthy, []string{"4", "o", "o"}},
		{"events", sample.HotShard, []string{"5", "enter"}},
		{"calls", sample.HotShard, []string{"7"}},
		{"clients", sample.HotShard, []string{"7", "c", "j"}},
		{"links", sample.HotShard, []string{"8"}},
		{"link-up", sample.HotShard, []string{"8", "j", "j"}},
		{"log", sample.HotShard, []string{"2", "R", "y", "6"}},
		{"plan", sample.HotShard, []string{"2", "p"}},
		{"plan-choice", sample.HotShard, []string{"2", "j", "t"}},
		{"plan-typed", sample.HotShard, []string{"N"}},
		{"help", sample.BadRoom, []string{"3", "?"}},
		{"past", sample.HotShard, []string{"{", "}", "["}},
		{"frozen", sample.HotShard, []string{"2", "space"}},
		{"filter", sample.HotShard, []string{"2", "/", "d", "h"}},
		{"drops", sample.HotShard, []string{"d"}},
		{"drops-healthy", sample.Healthy, []string{"d"}},
		{"changes", sample.HotShard, []string{"D"}},
		{"command", sample.HotShard, line("sh")},
		{"explain", sample.BadRoom, []string{"3", "enter", "x", "p", "1", "enter"}},
		{"audit", sample.BadRoom, append(line("audit"), "enter")},
		{"empty", sample.Empty, nil},
	}
}

// sizes are those that stills are held at.
var sizes = [][2]int{{40, 12}, {80, 24}, {120, 40}, {200, 50}}

func (s *scened) at(t *testing.T, size [2]int, opt Options) *bench {
	t.Helper()
	b := newBench(t, s.scene, size[0], size[1], 30, opt)
	b.press(s.keys...)
	wantSize(t, b.m.frame, size[0], size[1])
	return b
}

// TestFrames holds the text of every pane and every box at every size; how it is
// coloured is in TestThemes. Run with -update after looking at the new frames.
func TestFrames(t *testing.T) {
	for _, s := range stills() {
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%s-%dx%d", s.name, size[0], size[1]), func(t *testing.T) {
				golden.RequireEqual(t, s.at(t, size, Options{NoColor: true}).text())
			})
		}
	}
}

// TestThemeCommand: the palette changes the colours of this console, and says
// what it makes of them.
func TestThemeCommand(t *testing.T) {
	b := newBench(t, sample.HotShard, 100, 30, 3, Options{})
	before := b.m.frame
	typed := func(line string) {
		b.press(":")
		for _, r := range line {
			b.press(string(r))
		}
		b.press("enter")
	}
	typed("theme light")
	b.wantText("theme light")
	if b.m.frame == before || b.m.set().Mono {
		t.Error("the colours have not changed")
	}
	typed("theme pink")
	b.wantText("no theme", "contrast")
	typed("theme auto")
	b.wantText("theme auto: dark on this terminal")
	b.msg(tea.BackgroundColorMsg{Color: color.White})
	if want := style.New(style.Config{Theme: style.Light, Light: true}); b.m.set().On(style.Bad, false) != want.On(style.Bad, false) {
		t.Error("a light ground does not make auto light")
	}
	b.msg(tea.ColorProfileMsg{Profile: colorprofile.ANSI})
	if want := style.New(style.Config{Theme: style.Sixteen, Light: true}); b.m.set().On(style.Bad, false) != want.On(style.Bad, false) {
		t.Error("a terminal of 16 colours does not make auto 16")
	}
}

func TestFrameASCII(t *testing.T) {
	b := newBench(t, sample.HotShard, 100, 30, 30, Options{Glyphs: style.ASCII, NoColor: true})
	for _, k := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "?"} {
		b.press(k)
		for _, r := range ansi.Strip(b.m.frame) {
			if r > '~' {
				t.Fatalf("pane %s draws %q in ASCII mode", k, r)
			}
		}
	}
	golden.RequireEqual(t, b.m.frame)
}

// TestNoColour: without colours nothing but bold and reverse is written, and
// what colours say is still said by signs and words.
func TestNoColour(t *testing.T) {
	b := newBench(t, sample.HotShard, 80, 24, 10, Options{NoColor: true})
	b.press("space")
	for _, seq := range []string{"\x1b[3", "\x1b[4", "38;5", "48;5"} {
		if strings.Contains(b.m.frame, seq) {
			t.Errorf("colour %q in a frame without colours", seq)
		}
	}
	text := ansi.Strip(b.m.frame)
	for _, want := range []string{"FAILING", "✖ media/5", "▲ town hall", "FROZEN", "▸", "═", "wedged", "paused"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing:\n%s", want, text)
		}
	}
	if !strings.Contains(b.m.frame, "\x1b[7m") {
		t.Error("the selection is not reversed")
	}
}

func TestEverySize(t *testing.T) {
	for _, sc := range []sample.Scene{sample.Hostile, sample.Empty} {
		b := newBench(t, sc, 80, 24, 5, Options{})
		for w := 1; w <= 500; w += 2 + w/2 {
			for h := 1; h <= 200; h += 2 + h/2 {
				b.m.w, b.m.h = w, h
				for _, k := range []string{"1", "2", "3", "enter", "4", "enter", "esc", "v", "enter", "enter", "5", "6", "7", "8", "?"} {
					b.press(k)
					wantSize(t, b.m.frame, w, h)
				}
				b.press("esc")
			}
		}
	}
}

func TestTooSmallNamesBothSizes(t *testing.T) {
	b := newBench(t, sample.HotShard, 38, 11, 1, Options{})
	text := ansi.Strip(b.m.frame)
	for _, want := range []string{"38x11", "40x12", "FAILING"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing:\n%s", want, text)
		}
	}
}

func wantSize(t *testing.T, frame string, w, h int) {
	t.Helper()
	lines := strings.Split(frame, "\n")
	if len(lines) != h {
		t.Fatalf("%d rows, want %d (of %dx%d)", len(lines), h, w, h)
	}
	for i, ln := range lines {
		if got := ansi.StringWidth(ln); got != w {
			t.Fatalf("row %d is %d wide, want %d (of %dx%d): %q", i, got, w, w, h, ansi.Strip(ln))
		}
	}
}

// TestStillsAreOfEverything: a new pane, or a new way to have a box over one,
// is held too.
func TestStillsAreOfEverything(t *testing.T) {
	panes, modes := map[int]bool{}, map[mode]bool{}
	asked := false
	for _, s := range stills() {
		m := s.at(t, sizes[1], Options{}).m
		panes[m.cur], modes[m.mode], asked = true, true, asked || m.prompt != nil
	}
	for i, tab := range New(sample.NewSource(sample.Healthy, 0), Options{}).tabs {
		if !panes[i] {
			t.Errorf("no still of %s", tab.name)
		}
	}
	for md := normal; md <= commanding; md++ {
		if !modes[md] {
			t.Errorf("no still in mode %d", md)
		}
	}
	if !asked {
		t.Error("no still of a plan")
	}
}
