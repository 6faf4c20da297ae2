package tui

import (
	"flag"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"

	"signalbox/tui/style"
)

// look is a theme on a ground, as a console is seen.
type look struct {
	name  string
	theme style.Theme
	light bool
}

// looks are all that there are; mono is also what NO_COLOR makes of any.
var looks = []look{
	{"dark", style.Dark, false},
	{"light", style.Light, true},
	{"contrast", style.Contrast, false},
	{"contrast-light", style.Contrast, true},
	{"16", style.Sixteen, false},
	{"16-light", style.Sixteen, true},
	{"mono", style.Mono, false},
}

// sheet is how a still is coloured at one size in every look: where every cell
// has one of the inks, an ink being a style in each look.
type sheet struct {
	cols, rows int
	inks       []string // "bold fg79 | bold fg25 | ...", in the order of looks
	cells      [][]int  // ink by row and column
	text       []string // what stands there, for the report
}

// TestThemes holds the colours of every pane and every box in every theme at
// every size: a file a still, each cell of each frame in it. A theme changes
// sequences, never text, which is held too.
func TestThemes(t *testing.T) {
	for _, s := range stills() {
		t.Run(s.name, func(t *testing.T) {
			var sheets []*sheet
			for _, size := range sizes {
				sheets = append(sheets, colours(t, &s, size))
			}
			requireSheets(t, sheets)
		})
	}
}

// colours draws a still in every look.
func colours(t *testing.T, s *scened, size [2]int) *sheet {
	t.Helper()
	b := s.at(t, size, Options{})
	plain := s.at(t, size, Options{NoColor: true})
	styles := make([][]string, size[0]*size[1])
	for _, l := range looks {
		b.m.theme, b.m.light = l.theme, l.light
		b.m.paint(b.now)
		if b.text() != plain.text() {
			t.Fatalf("%dx%d: %s changes the text:\n%s\nwithout colours:\n%s", size[0], size[1], l.name, b.text(), plain.text())
		}
		if l.theme == style.Mono && b.m.frame != plain.m.frame {
			t.Errorf("%dx%d: NO_COLOR is not %s", size[0], size[1], l.name)
		}
		screen := uv.NewScreenBuffer(size[0], size[1])
		uv.NewStyledString(b.m.frame).Draw(screen, screen.Bounds())
		for i := range styles {
			name := "plain"
			if c := screen.CellAt(i%size[0], i/size[0]); c != nil {
				name = styleName(&c.Style)
			}
			styles[i] = append(styles[i], name)
		}
	}
	sh := &sheet{cols: size[0], rows: size[1], text: strings.Split(plain.text(), "\n"), cells: make([][]int, size[1])}
	for i, of := range styles {
		ink := strings.Join(of, " | ")
		n := slices.Index(sh.inks, ink)
		if n < 0 {
			n, sh.inks = len(sh.inks), append(sh.inks, ink)
		}
		sh.cells[i/size[0]] = append(sh.cells[i/size[0]], n)
	}
	return sh
}

func styleName(s *uv.Style) string {
	var of []string
	for bit, name := range map[uint8]string{uv.AttrBold: "bold", uv.AttrFaint: "faint", uv.AttrItalic: "italic", uv.AttrReverse: "reverse", uv.AttrBlink: "blink", uv.AttrStrikethrough: "struck"} {
		if s.Attrs&bit != 0 {
			of = append(of, name)
		}
	}
	slices.Sort(of)
	if s.Underline != uv.UnderlineNone {
		of = append(of, "underline")
	}
	for kind, c := range map[string]color.Color{"fg": s.Fg, "on": s.Bg} {
		switch c := c.(type) {
		case nil:
		case ansi.BasicColor:
			of = append(of, fmt.Sprintf("%s%d", kind, uint8(c)))
		case ansi.IndexedColor:
			of = append(of, fmt.Sprintf("%s%d", kind, uint8(c)))
		default:
			of = append(of, fmt.Sprint(kind, c))
		}
	}
	if len(of) == 0 {
		return "plain"
	}
	slices.Sort(of)
	return strings.Join(of, " ")
}

// write puts a sheet into a file: its inks, and row by row how many cells have
// which.
func (sh *sheet) write(b *strings.Builder) {
	fmt.Fprintf(b, "size %dx%d\n", sh.cols, sh.rows)
	for i, ink := range sh.inks {
		fmt.Fprintf(b, "ink %d = %s\n", i, ink)
	}
	for _, row := range sh.cells {
		var runs []string
		for x := 0; x < len(row); {
			end := x
			for end < len(row) && row[end] == row[x] {
				end++
			}
			runs = append(runs, fmt.Sprintf("%dx%d", end-x, row[x]))
			x = end
		}
		b.WriteString(strings.Join(runs, " ") + "\n")
	}
}

// readSheets reads what write has written.
func readSheets(text string) (out []*sheet, err error) {
	for ln := range strings.Lines(text) {
		ln = strings.TrimSuffix(ln, "\n")
		if size, ok := strings.CutPrefix(ln, "size "); ok {
			sh := &sheet{}
			if _, err := fmt.Sscanf(size, "%dx%d", &sh.cols, &sh.rows); err != nil {
				return nil, err
			}
			out = append(out, sh)
			continue
		}
		if len(out) == 0 {
			return nil, fmt.Errorf("%q before any size", ln)
		}
		sh := out[len(out)-1]
		if strings.HasPrefix(ln, "ink ") {
			_, ink, _ := strings.Cut(ln, " = ")
			sh.inks = append(sh.inks, ink)
			continue
		}
		var row []int
		for run := range strings.FieldsSeq(ln) {
			n, ink, _ := strings.Cut(run, "x")
			many, err1 := strconv.Atoi(n)
			of, err2 := strconv.Atoi(ink)
			if err1 != nil || err2 != nil || of < 0 || of >= len(sh.inks) {
				return nil, fmt.Errorf("%q is no run", run)
			}
			row = append(row, slices.Repeat([]int{of}, many)...)
		}
		sh.cells = append(sh.cells, row)
	}
	return out, nil
}

// requireSheets compares cell by cell with what is held, and says in words what
// is otherwise: where, what stands there, and in which look.
func requireSheets(t *testing.T, now []*sheet) {
	t.Helper()
	var b strings.Builder
	for _, sh := range now {
		sh.write(&b)
	}
	file := filepath.Join("testdata", t.Name()+".golden")
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	held, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	was, err := readSheets(string(held))
	if err != nil || len(was) != len(now) {
		t.Fatalf("%s: %d sizes, %v", file, len(was), err)
	}
	var diffs []string
	for i := range now {
		diffs = append(diffs, was[i].differs(now[i])...)
	}
	if n := len(diffs); n > 0 {
		t.Fatalf("%s: %d runs of cells have other colours; the first of them:\n%s", file, n, strings.Join(diffs[:min(n, 12)], "\n"))
	}
}

// differs lists the runs of cells in which a look is otherwise now.
func (sh *sheet) differs(now *sheet) (out []string) {
	at := func(s *sheet, y, x int) string {
		if y < len(s.cells) && x < len(s.cells[y]) {
			return s.inks[s.cells[y][x]]
		}
		return ""
	}
	for y := range now.rows {
		for x := 0; x < now.cols; {
			was, is := at(sh, y, x), at(now, y, x)
			end := x + 1
			for end < now.cols && at(sh, y, end) == was && at(now, y, end) == is {
				end++
			}
			if was != is {
				out = append(out, fmt.Sprintf("%dx%d row %d columns %d to %d %q: %s", now.cols, now.rows, y, x, end-1, ansi.Cut(now.text[y], x, end), inWords(was, is)))
			}
			x = end
		}
	}
	return out
}

// inWords names the looks in which two inks differ.
func inWords(was, is string) string {
	a, b := strings.Split(was, " | "), strings.Split(is, " | ")
	if len(a) != len(looks) || len(b) != len(looks) {
		return fmt.Sprintf("was %q, is %q", was, is)
	}
	var out []string
	for i, l := range looks {
		if a[i] != b[i] {
			out = append(out, fmt.Sprintf("%s was %s, is %s", l.name, a[i], b[i]))
		}
	}
	return strings.Join(out, "; ")
}

// TestSheetsTellWhatDiffers: what is held can be read again, and one changed
// cell is named with its place, its text and its theme.
func TestSheetsTellWhatDiffers(t *testing.T) {
	s := stills()[0]
	now := colours(t, &s, [2]int{80, 24})
	var b strings.Builder
	now.write(&b)
	was, err := readSheets(b.String())
	if err != nil || len(was) != 1 {
		t.Fatal(err)
	}
	if d := was[0].differs(now); len(d) > 0 {
		t.Fatalf("written and read again it differs: %v", d)
	}
	styles := strings.Split(was[0].inks[was[0].cells[3][4]], " | ")
	styles[1] = "bold fg1"
	was[0].inks = append(was[0].inks, strings.Join(styles, " | "))
	was[0].cells[3][4] = len(was[0].inks) - 1
	d := was[0].differs(now)
	if len(d) != 1 || !strings.Contains(d[0], "80x24 row 3 columns 4 to 4") || !strings.Contains(d[0], "light was bold fg1, is ") || strings.Contains(d[0], "dark") {
		t.Errorf("it says %v", d)
	}
}
