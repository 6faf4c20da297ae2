package shot

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/png"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const testPx = 14

// What pictures are painted on here.
var ink, ground = darkSheet.ink, darkSheet.ground

func picture(t *testing.T, frame string, cols, rows int) image.Image {
	t.Helper()
	var b bytes.Buffer
	if err := PNG(&b, frame, cols, rows, testPx); err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func at(img image.Image, x, y int) color.RGBA {
	return color.RGBAModel.Convert(img.At(x, y)).(color.RGBA)
}

func cellSize(t *testing.T) (w, h int) {
	t.Helper()
	fs, err := loadFaces(testPx)
	if err != nil {
		t.Fatal(err)
	}
	return fs.w, fs.h
}

func TestSameScreenSameBytes(t *testing.T) {
	frame := "\x1b[1;31mALARM\x1b[0m ▁▂▃▄▅▆▇█ ⣿⡇ ╭─╮\n\x1b[7mreverse\x1b[0m \x1b[3mitalic\x1b[0m ░▒▓ ✓ ╬╳"
	var a, b bytes.Buffer
	for _, w := range []*bytes.Buffer{&a, &b} {
		if err := PNG(w, frame, 40, 3, testPx); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Fatal("two pictures of one screen differ")
	}
}

// ink counts a cell's pixels by whether they have the default ink.
func inked(img image.Image, cellX, cellY, w, h int) (n int) {
	for y := range h {
		for x := range w {
			if at(img, margin+cellX*w+x, margin+cellY*h+y) == ink {
				n++
			}
		}
	}
	return n
}

func TestBlocksFillTheirPart(t *testing.T) {
	w, h := cellSize(t)
	eighth := func(n, size int) int { return (size*n + 4) / 8 }
	for glyph, want := range map[string]int{
		"█": w * h, "▀": w * eighth(4, h), "▄": w * (h - eighth(4, h)), "▁": w * (h - eighth(7, h)), "▇": w * (h - eighth(1, h)),
		"▌": eighth(4, w) * h, "▐": (w - eighth(4, w)) * h, "▏": eighth(1, w) * h,
		"▔": w * eighth(1, h), "▕": (w - eighth(7, w)) * h, " ": 0, "⠀": 0,
	} {
		if got := inked(picture(t, glyph, 1, 1), 0, 0, w, h); got != want {
			t.Errorf("%s fills %d pixels, want %d", glyph, got, want)
		}
	}
	// Complements make a whole: no seam, no overlap.
	for _, pair := range [][2]string{{"▀", "▄"}, {"▌", "▐"}, {"▛", "▗"}, {"▙", "▝"}, {"▜", "▖"}, {"▟", "▘"}, {"▚", "▞"}} {
		sum := inked(picture(t, pair[0], 1, 1), 0, 0, w, h) + inked(picture(t, pair[1], 1, 1), 0, 0, w, h)
		if sum != w*h {
			t.Errorf("%s and %s fill %d of %d pixels", pair[0], pair[1], sum, w*h)
		}
	}
}

func TestNeighboursMeetWithoutSeam(t *testing.T) {
	w, h := cellSize(t)
	for _, row := range []string{"──", "━━", "══", "─┼", "├─", "╭─", "─╮", "╰─", "─╯", "┌┐", "╔╗", "━╋", "╞═", "╟─", "─╢", "┝━"} {
		img := picture(t, row, 2, 1)
		met := false
		for y := range h {
			x := margin + w
			met = met || at(img, x-1, margin+y) == ink && at(img, x, margin+y) == ink
		}
		if !met {
			t.Errorf("%s do not meet", row)
		}
	}
	for _, col := range []string{"│\n│", "┃\n┃", "║\n║", "╭\n│", "│\n╰", "╮\n│", "│\n╯", "┬\n┴", "╦\n╩", "█\n█"} {
		img := picture(t, col, 1, 2)
		met := false
		for x := range w {
			y := margin + h
			met = met || at(img, margin+x, y-1) == ink && at(img, margin+x, y) == ink
		}
		if !met {
			t.Errorf("%q do not meet", col)
		}
	}
}

func TestBrailleDots(t *testing.T) {
	w, h := cellSize(t)
	one := inked(picture(t, "⠁", 1, 1), 0, 0, w, h)
	if one == 0 {
		t.Fatal("a dot paints nothing")
	}
	for r := rune(0x2801); r <= 0x28ff; r++ {
		dots := 0
		for b := r - 0x2800; b > 0; b &= b - 1 {
			dots++
		}
		if got := inked(picture(t, string(r), 1, 1), 0, 0, w, h); got != dots*one {
			t.Fatalf("%c has %d pixels, want %d", r, got, dots*one)
		}
	}
}

func TestEveryBoxDrawingCharacterPaints(t *testing.T) {
	if len(arms) != 128 {
		t.Fatalf("%d entries for 128 characters", len(arms))
	}
	for r := rune(0x2500); r <= 0x259f; r++ {
		img := picture(t, string(r), 1, 1)
		painted := false
		for y := range img.Bounds().Dy() {
			for x := range img.Bounds().Dx() {
				painted = painted || at(img, x, y) != ground
			}
		}
		if !painted {
			t.Errorf("U+%04X paints nothing", r)
		}
	}
}

func TestColours(t *testing.T) {
	w, h := cellSize(t)
	mid := func(img image.Image, x int) color.RGBA { return at(img, margin+x*w+w/2, margin+h/2) }
	img := picture(t, "\x1b[38;2;1;2;3m█\x1b[31m█\x1b[48;5;196m \x1b[0;7m \x1b[0;2m█", 5, 1)
	for x, want := range []color.RGBA{{1, 2, 3, 255}, basic[1], {0xff, 0, 0, 255}, ink, mix(ground, ink, 0.5)} {
		if got := mid(img, x); got != want {
			t.Errorf("cell %d is %v, want %v", x, got, want)
		}
	}
}

func TestWhatDoesNotFitIsCutOff(t *testing.T) {
	w, h := cellSize(t)
	img := picture(t, "█   too long for the picture\n   \n█", 4, 2)
	if inked(img, 0, 0, w, h) != w*h {
		t.Error("the first line is not first")
	}
	if inked(img, 0, 1, w, h) != 0 {
		t.Error("a line was continued or scrolled")
	}
}

// A frame may hold a question, such as the console's own for the cursor.
func TestAQuestionInTheFrameIsHarmless(t *testing.T) {
	w, h := cellSize(t)
	if inked(picture(t, "\x1b[6n█", 1, 1), 0, 0, w, h) != w*h {
		t.Error("the frame was not painted")
	}
}

func TestSizesOutOfBounds(t *testing.T) {
	for _, s := range [][3]int{{0, 1, 14}, {1, 0, 14}, {2000, 1, 14}, {1, 1, 2}, {1, 1, 1000}} {
		if err := PNG(&bytes.Buffer{}, "x", s[0], s[1], s[2]); !errors.Is(err, ErrSize) {
			t.Errorf("%v: %v", s, err)
		}
	}
	if _, err := Capture(t.Context(), Options{Cmd: []string{"true"}}); !errors.Is(err, ErrSize) {
		t.Errorf("capture: %v", err)
	}
}

func shell(t *testing.T, script string) []string {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell on this machine")
	}
	return []string{sh, "-c", script}
}

func TestCaptureOfAProgramThatEnds(t *testing.T) {
	got, err := Capture(t.Context(), Options{Cmd: shell(t, `printf 'one\r\n\033[31mtwo\033[0m'`), Cols: 20, Rows: 4})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(got, "\n")
	if len(lines) != 4 || strings.TrimRight(lines[0], " ") != "one" || strings.TrimRight(lines[1], " ") != "\x1b[31mtwo\x1b[m" {
		t.Fatalf("screen: %q", got)
	}
}

// The program reads a key and asks where the cursor is; the terminal answers.
func TestCapturePressesAndAnswers(t *testing.T) {
	script := `stty raw -echo; printf 'ready\r\n\033[6n'; a=$(dd bs=1 count=6 2>/dev/null); k=$(dd bs=1 count=3 2>/dev/null)
printf 'at %s key %s\r\n' "${a#?}" "${k#?}"; exec cat`
	got, err := Capture(t.Context(), Options{Cmd: shell(t, script), Cols: 40, Rows: 5, Keys: []string{"until:ready", "down", "until:key"}, Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got, "ready") || !strings.Contains(got, "at [2;1R key [B") {
		t.Fatalf("screen:\n%q", got)
	}
}

func TestCaptureEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Capture(ctx, Options{Cmd: shell(t, "exec cat"), Cols: 10, Rows: 2, Patience: time.Minute})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestCaptureOfNothing(t *testing.T) {
	for name, o := range map[string]Options{
		"no command":      {Cols: 10, Rows: 2},
		"no such program": {Cmd: []string{"/nonexistent"}, Cols: 10, Rows: 2},
		"no duration":     {Cmd: shell(t, "exec cat"), Cols: 10, Rows: 2, Keys: []string{"wait:long"}, Patience: time.Millisecond},
	} {
		if _, err := Capture(t.Context(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
