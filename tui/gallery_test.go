package tui

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/charmbracelet/x/ansi"

	"signalbox/tui/internal/sample"
	"signalbox/tui/shot"
)

// TestPicturesAreOfTodaysConsole plays what the consoles of the pictures were
// told to the console of today, and compares each picture's frame, colours and
// all, with what it shows then. A picture of a console that has changed since
// fails here: make repaint paints it anew from the same tape, make shots from
// new runs.
func TestPicturesAreOfTodaysConsole(t *testing.T) {
	g, err := shot.OpenGallery("../screenshots")
	if err != nil {
		t.Fatal(err)
	}
	tapes := map[string][]*shot.Picture{}
	for i := range g.Pictures {
		tapes[g.Pictures[i].Tape] = append(tapes[g.Pictures[i].Tape], &g.Pictures[i])
	}
	for name, pictures := range tapes {
		tape, err := g.Tape(name)
		if err != nil {
			t.Error(err)
			continue
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { played(t, g, pictures, tape) })
		})
	}
}

func played(t *testing.T, g *shot.Gallery, pictures []*shot.Picture, tape []byte) {
	p, err := NewPlayer(bytes.NewReader(tape))
	if err != nil {
		t.Fatal(err)
	}
	defer time.Sleep(time.Second) // the last tick ends inside the bubble
	defer p.Close()
	p.Settle = synctest.Wait
	for _, pic := range pictures {
		if err := p.PlayTo(pic.At); err != nil {
			t.Fatalf("%s: %v: run make shots", pic.Name, err)
		}
		was, err := g.Frame(pic)
		if err != nil {
			t.Fatal(err)
		}
		is, err := shot.OnScreen(p.Frame(), pic.Cols, pic.Rows)
		if err != nil {
			t.Fatal(err)
		}
		if is != was {
			t.Errorf("%s is of another console: run make repaint\n%s", pic.Name, otherRows(was, is))
		}
	}
}

// otherRows are the first rows in which two frames differ.
func otherRows(was, is string) string {
	var out []string
	a, b := strings.Split(was, "\n"), strings.Split(is, "\n")
	for i := range max(len(a), len(b)) {
		row := func(rows []string) string {
			if i < len(rows) {
				return rows[i]
			}
			return ""
		}
		x, y := row(a), row(b)
		if x == y {
			continue
		}
		if ansi.Strip(x) != ansi.Strip(y) {
			x, y = ansi.Strip(x), ansi.Strip(y)
		}
		if out = append(out, fmt.Sprintf("row %d\n picture %q\n today   %q", i, x, y)); len(out) == 5 {
			break
		}
	}
	return strings.Join(out, "\n")
}

// TestManualIsTheHelp: what is printed and what is shown come from one table.
func TestManualIsTheHelp(t *testing.T) {
	chapters := map[string][]KeyHelp{}
	for _, c := range Manual() {
		chapters[c.Title] = c.Keys
	}
	b := newBench(t, sample.HotShard, 120, 40, 3, Options{})
	for i, tab := range b.m.tabs {
		b.m.open(i)
		in := ""
		for _, r := range b.m.helpRows() {
			switch {
			case r.head == "everywhere":
				in = "everywhere"
			case r.head != "":
				in = tab.name
			case r.keys == "":
			case !slices.ContainsFunc(chapters[in], func(k KeyHelp) bool { return k.Key == r.keys }):
				t.Errorf("%s: %s %q is not in print", in, r.keys, r.text)
			}
		}
	}
}
