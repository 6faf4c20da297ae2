package tui

import (
	"strings"
	"testing"

	"signalbox/engine/control"
	"signalbox/tui/internal/sample"
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
