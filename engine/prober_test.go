package engine_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/mesh"
	"signalbox/engine/view"
)

// TestProbesOfARelay probes one node that is there and one that is not.
func TestProbesOfARelay(t *testing.T) {
	target := start(t, nil)
	nobody := freePort(t)
	e := start(t, func(c *config.Config) {
		c.Legacy.ProbeTargets = []string{target.Info().Listen, nobody, target.Info().Listen}
	})
	s := until(t, e, "three pings are answered", func(s *view.Snapshot) bool { return s.Probes[0].Answered >= 3 })
	if len(s.Probes) != 2 {
		t.Fatalf("a target named twice is probed twice: %+v", s.Probes)
	}
	p := s.Probes[0]
	if !p.Up || p.Target != target.Info().Listen || p.RTTMS <= 0 || p.LossPct != 0 || p.Sent < p.Answered {
		t.Errorf("%+v", p)
	}
	if ev := eventOf(e, "probe_up"); ev == nil || ev.Subject != p.Target {
		t.Errorf("%+v", ev)
	}
	if q := s.Probes[1]; q.Up || q.Target != nobody || q.LossPct != 100 || q.RTTMS != 0 {
		t.Errorf("%+v", q)
	}
	if table := mesh.Table(s.Probes); !strings.Contains(table, "  UP\n") || !strings.Contains(table, "  DOWN\n") {
		t.Errorf("%s", table)
	}
	target.Drain(0)
	s = until(t, e, "the target is missed", func(s *view.Snapshot) bool { return !s.Probes[0].Up })
	if s.Probes[0].LastError == "" || eventOf(e, "probe_down") == nil {
		t.Errorf("%+v", s.Probes[0])
	}
}

// TestTapOfARoom taps one of two rooms into a file, by a lever.
func TestTapOfARoom(t *testing.T) {
	dir := ""
	e := start(t, func(c *config.Config) { dir, c.Legacy.DebugTap = c.StateDir, "config-room" })
	tapped, _ := callers(t, e, "tapped", 2)
	r := do(t, e, control.Command{Kind: control.RoomTap, Target: "tapped", Args: map[string]any{"to": "file"}, TTLS: 3600})
	if s := until(t, e, "two taps", func(s *view.Snapshot) bool { return len(s.Taps) == 2 }); s.Taps[0].Room != "config-room" || s.Taps[1].To != "file" || s.Taps[1].Author != "test" {
		t.Errorf("%+v", s.Taps)
	}
	talk(t, tapped, 10)
	until(t, e, "twenty packets are told of", func(s *view.Snapshot) bool { return s.Taps[1].Lines >= 20 })
	tapped[1].Close()
	until(t, e, "a leave and the new list are told of", func(s *view.Snapshot) bool { return s.Taps[1].Lines >= 22 })
	file := func() string {
		b, err := os.ReadFile(filepath.Join(dir, "tap.log"))
		if err != nil {
			return ""
		}
		return string(b)
	}
	until(t, e, "all of it is written", func(*view.Snapshot) bool {
		text := file()
		return strings.Count(text, "msg=TAP target=debug_tap room=tapped dir=in") == 20 && strings.Contains(text, `msg="TAP EVENT"`) && strings.Contains(text, "signal=RoomUpdate count=1")
	})
	do(t, e, control.Command{Kind: control.Undo, Target: r.Undo})
	until(t, e, "the tap is off", func(s *view.Snapshot) bool { return len(s.Taps) == 1 })
	before := file()
	talk(t, tapped[:1], 5)
	until(t, e, "they have passed", func(s *view.Snapshot) bool { return s.Rooms[0].Participants[0].Received >= 15 })
	if file() != before {
		t.Error("an undone tap writes")
	}
	do(t, e, control.Command{Kind: control.RoomTap, Target: "*", TTLS: 0.5})
	until(t, e, "the tap on all rooms is on", func(s *view.Snapshot) bool { return len(s.Taps) == 2 && s.Taps[1].Room == "*" })
	until(t, e, "and comes off by itself", func(s *view.Snapshot) bool { return len(s.Taps) == 1 })
	do(t, e, control.Command{Kind: control.RoomUntap, Target: "config-room"})
	until(t, e, "no tap is left", func(s *view.Snapshot) bool { return len(s.Taps) == 0 })
}
