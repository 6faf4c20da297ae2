package tui

import (
	"slices"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"signalbox/tui/internal/sample"
	"signalbox/tui/shot"
)

// furniture is what of a pane does not depend on the node: how it is opened
// here, and words of the row with its headings, or of the box over it.
var furniture = map[string]struct {
	keys    []string
	heading []string
	box     string
}{
	"shards": {keys: []string{"2"}, heading: []string{"shard", "state", "queue"}}, "rooms": {keys: []string{"3"}, heading: []string{"room", "size", "tier"}},
	"members": {keys: []string{"3", "enter"}, heading: []string{"tier", "jitter", "fault"}}, "routing": {keys: []string{"4"}, heading: []string{"peer", "state", "bucket"}},
	"events": {keys: []string{"5"}, heading: []string{"utc", "severity", "kind"}}, "log": {keys: []string{"6"}, heading: []string{"what", "target", "since"}},
	"calls": {keys: []string{"7"}, heading: []string{"state", "caller", "callee"}}, "links": {keys: []string{"8"}, heading: []string{"relay", "state", "proof"}},
	"drops": {box: "where packets are dropped, and why"}, "changes": {box: "what has changed"}, "audit": {box: "who did what, newest first"},
	"help": {box: "keys that work here"}, "command": {box: "command"}, "explain": {box: " hears "}, "plan": {box: "cancel"},
}

// headings is the row that has all the words, its columns joined by one blank.
func headings(frame string, words []string) string {
	for ln := range strings.SplitSeq(frame, "\n") {
		f := strings.Fields(strings.Trim(ln, " │║"))
		if len(f) > len(words) && !slices.ContainsFunc(words, func(w string) bool { return !slices.Contains(f, w) }) {
			return strings.Join(f, " ")
		}
	}
	return ""
}

// TestPicturesShowTodaysConsole holds the recorded frames against what the panes
// draw today: names of panes, headings, keys in the footer, help. A picture of a
// console that has changed since fails here: run make shots.
func TestPicturesShowTodaysConsole(t *testing.T) {
	g, err := shot.OpenGallery("../screenshots")
	if err != nil {
		t.Fatal(err)
	}
	for i := range g.Pictures {
		p := &g.Pictures[i]
		styled, err := g.Frame(p)
		if err != nil {
			t.Error(err)
			continue
		}
		frame := ansi.Strip(styled)
		b := newBench(t, sample.BadRoom, p.Cols, p.Rows, 8, Options{})
		lines := strings.Split(frame, "\n")
		if len(lines) != p.Rows || !strings.HasPrefix(frame, "signalbox demo "+p.Scenario) && p.Cols >= 100 {
			t.Errorf("%s: %d lines, header %q", p.Name, len(lines), lines[0])
			continue
		}
		if p.Cols >= 100 {
			at := 0
			for n, tab := range b.m.tabs {
				j := strings.Index(lines[1][at:], string(rune('1'+n))+" "+tab.name)
				if j < 0 {
					t.Errorf("%s: pane %s is not named: %q", p.Name, tab.name, lines[1])
					break
				}
				at += j
			}
		}
		f := furniture[p.Pane]
		if f.box != "" && !strings.Contains(frame, f.box) {
			t.Errorf("%s: no %q:\n%s", p.Name, f.box, frame)
		}
		if p.Pane == "help" {
			wantHelp(t, p, frame)
		}
		if f.heading == nil {
			continue
		}
		b.press(f.keys...)
		today, then := headings(b.text(), f.heading), headings(frame, f.heading)
		if today == "" || today != then {
			t.Errorf("%s: headings %q, today %q", p.Name, then, today)
		}
		wantFooter(t, p, b, lines[len(lines)-1])
	}
}

// wantFooter compares the first keys of the footer, where there is one and no
// notice.
func wantFooter(t *testing.T, p *shot.Picture, b *bench, footer string) {
	t.Helper()
	own, _ := b.m.rows()
	n := 0
	for _, r := range own {
		if r.Short == "" || n == 2 {
			continue
		}
		n++
		if words := r.Name() + " " + r.Short; strings.Contains(footer, "q quit") && strings.Contains(footer, "d drops") && !strings.Contains(footer, words) {
			t.Errorf("%s: the footer lacks %q: %q", p.Name, words, footer)
		}
	}
}

// wantHelp: the picture of the help has every key that works there.
func wantHelp(t *testing.T, p *shot.Picture, frame string) {
	t.Helper()
	b := newBench(t, sample.Healthy, p.Cols, p.Rows, 3, Options{})
	b.press("2")
	for _, r := range b.m.helpRows() {
		if text := r.text[:min(len(r.text), 50)]; !strings.Contains(frame, text) {
			t.Errorf("%s: the help lacks %q", p.Name, text)
		}
	}
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
