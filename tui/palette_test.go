package tui

import (
	"slices"
	"strings"
	"testing"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui/internal/sample"
	"signalbox/tui/pane"
)

// typeText presses the keys of a text.
func (b *bench) typeText(s string) {
	b.t.Helper()
	for _, r := range s {
		if r == ' ' {
			b.press("space")
			continue
		}
		b.press(string(r))
	}
}

func TestACommandIsCompletedPlannedAndApplied(t *testing.T) {
	b := newBench(t, sample.HotShard, 120, 40, 5, Options{NoColor: true})
	b.press(":")
	b.typeText("shard.pa")
	if f := text(b); !strings.Contains(f, "shard.pause") || strings.Contains(f, "shard.flush") {
		t.Fatalf("suggestions:\n%s", f)
	}
	b.press("tab")
	b.typeText("media/3")
	if cmds := b.src.Commands(); len(cmds) != 0 {
		t.Fatalf("typing sent %+v", cmds)
	}
	b.press("enter")
	cmds := b.src.Commands()
	if len(cmds) != 1 || !cmds[0].DryRun || cmds[0].Kind != control.ShardPause || cmds[0].Target != "media/3" {
		t.Fatalf("enter sent %+v", cmds)
	}
	b.press("y")
	if cmds = b.src.Commands(); len(cmds) != 2 || cmds[1].DryRun {
		t.Fatalf("y sent %+v", cmds)
	}
}

func TestArgumentsReachTheCommand(t *testing.T) {
	b := newBench(t, sample.HotShard, 120, 40, 5, Options{NoColor: true})
	b.press(":")
	b.typeText("source.throttle 203.0.113.77 pps=50")
	b.press("enter")
	c := b.src.Commands()[0]
	if c.Target != "203.0.113.77" || c.Args["pps"] != 50.0 {
		t.Fatalf("%+v", c)
	}
}

func TestTheLineIsRemembered(t *testing.T) {
	b := newBench(t, sample.HotShard, 120, 40, 5, Options{NoColor: true})
	b.press(":")
	b.typeText("rooms")
	b.press("enter")
	if b.m.tabs[b.m.cur].name != "rooms" {
		t.Fatal("the pane was not opened")
	}
	b.press(":", "up")
	if b.m.line.text != "rooms" {
		t.Fatalf("up gives %q", b.m.line.text)
	}
	b.press("ctrl+u")
	b.typeText("nonsense x")
	b.press("enter")
	if f := text(b); !strings.Contains(f, "no command nonsense") {
		t.Fatalf("%s", f)
	}
	b.press("esc")
	if b.m.mode != normal {
		t.Fatal("esc leaves the line open")
	}
}

func TestAViewerHasNoVerbsThatAct(t *testing.T) {
	b := newBench(t, sample.HotShard, 120, 40, 5, Options{NoColor: true, Role: control.Viewer})
	b.press(":")
	b.typeText("shard.pause media/3")
	b.press("enter")
	if cmds := b.src.Commands(); len(cmds) != 0 || b.m.prompt != nil {
		t.Fatalf("%+v", cmds)
	}
	if f := text(b); !strings.Contains(f, "viewers only look") {
		t.Errorf("it is not said why:\n%s", f)
	}
}

// TestHarmAsksForAWord: what cuts off many asks for a word, by the palette as by
// a key; y alone sends nothing.
func TestHarmAsksForAWord(t *testing.T) {
	words := map[control.Kind]string{control.NodeDrain: "drain", control.RoomClose: "standup"}
	for _, k := range append(control.Kinds(), "drain") {
		b := newBench(t, sample.HotShard, 120, 40, 5, Options{NoColor: true})
		b.press(":")
		b.typeText(string(k) + " standup")
		b.press("enter", "y")
		cmds := b.src.Commands()
		if k == "drain" {
			k = control.NodeDrain
		}
		if word := words[k]; word == "" {
			if len(cmds) != 2 || cmds[1].DryRun {
				t.Errorf("%s: y sent %+v", k, cmds)
			}
			continue
		} else if len(cmds) != 1 || !cmds[0].DryRun {
			t.Fatalf("%s: y alone sent %+v", k, cmds)
		} else {
			b.press("backspace") // the y
			b.typeText(word)
			b.press("enter")
		}
		if cmds = b.src.Commands(); len(cmds) != 2 || cmds[1].DryRun || cmds[1].Kind != k {
			t.Errorf("%s: its word sent %+v", k, cmds)
		}
	}
}

// TestNodeLeversHaveKeys presses those of the overview, and those of panes that
// end what others began.
func TestNodeLeversHaveKeys(t *testing.T) {
	for _, c := range []struct {
		keys []string
		want control.Kind
	}{
		{[]string{"1", "N"}, control.NodeDrain},
		{[]string{"1", "S"}, control.NodeSave},
		{[]string{"1", "V", "enter"}, control.NodeLogLevel},
		{[]string{"3", "o", "enter"}, control.RoomTap},
	} {
		b := newBench(t, sample.HotShard, 120, 40, 5, Options{NoColor: true})
		b.press(c.keys...)
		if cmds := b.src.Commands(); len(cmds) != 1 || cmds[0].Kind != c.want || !cmds[0].DryRun {
			t.Errorf("%v asks for %+v", c.keys, cmds)
		}
	}
}

// TestKeysTakeBack: the keys that drain, tap and restrict end it where it is in
// force.
func TestKeysTakeBack(t *testing.T) {
	d := newBench(t, sample.HotShard, 80, 24, 5, Options{}).m.data()
	snap := *d.Snap
	snap.Node.State = "draining"
	snap.Taps = []view.Tap{{Room: snap.Rooms[0].Name}}
	snap.Sources = []view.Source{{Prefix: "203.0.113.77/32", Kind: "ban"}}
	d.Snap = &snap
	rooms := pane.NewRooms()
	overview, shards := pane.NewOverview(), pane.NewShards()
	for _, p := range []screen{overview, rooms, shards} {
		p.Apply(d)
	}
	rooms.Act(pane.Select, snap.Rooms[0].Name)
	for _, c := range []struct {
		p      screen
		key    string
		kind   control.Kind
		target string
	}{
		{overview, "N", control.NodeUndrain, ""},
		{rooms, "o", control.RoomUntap, snap.Rooms[0].Name},
		{shards, "c", control.SourceClear, "203.0.113.77/32"},
	} {
		for _, r := range c.p.Keys() {
			if !r.Matches(c.key) || r.Plan == nil {
				continue
			}
			if why := r.Why(); why != "" {
				t.Errorf("%s is off: %s", c.key, why)
			}
			pr := prompt{in: r.Plan()}
			if got := pr.commands(true); len(got) != 1 || got[0].Kind != c.kind || got[0].Target != c.target {
				t.Errorf("%s asks for %+v", c.key, got)
			}
			c.key = ""
		}
		if c.key != "" {
			t.Errorf("no key %s", c.key)
		}
	}
}

// TestAPlanOnlyIsNotApplied: with --plan there is nothing to press but close.
func TestAPlanOnlyIsNotApplied(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {40, 12}} {
		for _, line := range []string{"drain --plan", "node.drain --plan", "shard.pause media/3 --plan", "room.close --plan standup"} {
			b := newBench(t, sample.HotShard, size[0], size[1], 5, Options{NoColor: true})
			b.press(":")
			b.typeText(line)
			b.press("enter")
			if f := text(b); !strings.Contains(f, "Close") || strings.Contains(f, "Apply") || strings.Contains(f, "applies") || strings.Contains(f, "type drain") {
				t.Errorf("%s offers more than the plan:\n%s", line, f)
			}
			b.press("y", "tab", "t")
			b.typeText("drain")
			b.press("enter")
			if cmds := b.src.Commands(); len(cmds) != 1 || !cmds[0].DryRun {
				t.Errorf("%s sent %+v", line, cmds)
			}
			if b.m.prompt != nil {
				t.Errorf("%s: enter does not close the plan", line)
			}
		}
	}
}

// TestOddTargets: a name with = in it is a target, an option is none.
func TestOddTargets(t *testing.T) {
	for line, want := range map[string]string{"room.lock a=b": "a=b", "room.close --force": "", "drain --plan": "-"} {
		b := newBench(t, sample.HotShard, 120, 40, 5, Options{NoColor: true})
		b.press(":")
		b.typeText(line)
		b.press("enter")
		cmds := b.src.Commands()
		if want == "" {
			if len(cmds) != 0 || !strings.Contains(text(b), "--force means nothing") {
				t.Errorf("%s: %+v", line, cmds)
			}
			continue
		}
		if len(cmds) != 1 || !cmds[0].DryRun || cmds[0].Target != strings.Trim(want, "-") {
			t.Errorf("%s: %+v", line, cmds)
		}
	}
}

func TestExplainAndAuditAreShown(t *testing.T) {
	b := newBench(t, sample.BadRoom, 120, 40, 5, Options{NoColor: true})
	b.press(":")
	b.typeText("explain p1 p2")
	b.press("enter")
	if f := text(b); !strings.Contains(f, "p2 does not keep up") || !strings.Contains(f, "queue_age 466") {
		t.Fatalf("%s", f)
	}
	b.press("esc", ":")
	b.typeText("audit")
	b.press("enter")
	if f := text(b); !strings.Contains(f, "ssh:ada@home") || !strings.Contains(f, "denied: viewers only look") {
		t.Fatalf("%s", f)
	}
	wantSize(t, b.m.frame, 120, 40)
}

// TestExplainSuggestsTheRoom: whom the marked member may be compared with are
// those in the room with them; a call is explained by its own key.
func TestExplainSuggestsTheRoom(t *testing.T) {
	b := newBench(t, sample.BadRoom, 120, 40, 5, Options{NoColor: true})
	b.press("3", "enter", "x")
	marked := strings.Fields(b.m.line.text)[1]
	list, _ := b.m.suggest()
	room := map[string]bool{}
	s := b.m.data().Snap
	for i := range s.Rooms {
		for _, p := range s.Rooms[i].Participants {
			if p.ID == marked {
				for _, o := range s.Rooms[i].Participants {
					room[o.ID] = true
				}
			}
		}
	}
	if len(list) == 0 || len(list) >= len(room)+1 {
		t.Fatalf("%d suggestions for a room of %d", len(list), len(room))
	}
	for _, sg := range list {
		if !room[sg.word] || sg.word == marked {
			t.Errorf("%+v is not another of the room", sg)
		}
	}
	b.press("esc", "7", "x")
	if f := text(b); !strings.Contains(f, "how call ") {
		t.Errorf("%s", f)
	}
}

// TestEveryLeverCanBeTyped finds each command kind by its name, with a word of
// help.
func TestEveryLeverCanBeTyped(t *testing.T) {
	b := newBench(t, sample.HotShard, 120, 40, 5, Options{NoColor: true})
	for _, k := range control.Kinds() {
		found := false
		for _, v := range b.m.verbs() {
			found = found || v.name == string(k) && v.help != ""
		}
		if !found {
			t.Errorf("%s cannot be typed, or has no help", k)
		}
	}
}

// TestTabsDoNotMove: what goes wrong changes signs, not where the tabs are.
func TestTabsDoNotMove(t *testing.T) {
	for _, w := range []int{40, 80, 120, 200} {
		var at []int
		for _, sc := range []sample.Scene{sample.Healthy, sample.HotShard, sample.BadRoom} {
			b := newBench(t, sc, w, 40, 5, Options{NoColor: true})
			row := []rune(strings.Split(text(b), "\n")[1])
			var pos []int
			for i, r := range row {
				if r >= '1' && r <= '8' && i+1 < len(row) && i > 0 && row[i-1] == ' ' {
					pos = append(pos, i)
				}
			}
			if at == nil {
				at = pos
			}
			if !slices.Equal(at, pos) {
				t.Errorf("%d columns: tabs at %v, then at %v:\n%s", w, at, pos, string(row))
			}
		}
	}
}
