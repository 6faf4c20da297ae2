package engine_test

import (
	"strings"
	"testing"

	"signalbox/engine/config"
	"signalbox/engine/view"
)

// TestReloadAdmitsARelay: a relay that is refused is let in by the line the
// refusal names and a reload, and sent away by a reload without it, while those
// in a room go on talking.
func TestReloadAdmitsARelay(t *testing.T) {
	ss := sites(t, 2)
	var cfg config.Config
	a := ss[0].open(t, func(c *config.Config) { c.Federation.Discover, cfg = "off", *c })
	ss[1].open(t, func(c *config.Config) { c.Peers = []config.Peer{ss[0].peer("a")} })
	talkers, _ := callers(t, a, "general", 2)
	s := until(t, a, "b is refused", func(s *view.Snapshot) bool { return len(s.Refusals) == 1 })
	if !strings.Contains(s.Refusals[0].Line, "[[trusted]]") {
		t.Errorf("%+v", s.Refusals[0])
	}
	cfg.Trusted = []config.Trusted{{Fingerprint: ss[1].fp, Label: "b"}}
	if err := a.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	until(t, a, "b is linked", func(s *view.Snapshot) bool { return linked(s, "b").State == "up" })
	evs, _ := a.Events(0)
	told := false
	for _, ev := range evs {
		told = told || ev.Kind == "reload" && strings.Contains(ev.Message, "in force now: trusted")
	}
	if !told {
		t.Error("no event says what is in force")
	}
	talk(t, talkers, 10)
	cfg.Trusted = nil
	if err := a.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	until(t, a, "b is gone", func(s *view.Snapshot) bool { return len(s.Links) == 0 && s.Refusals[0].Count > 1 })
	talk(t, talkers, 10)
	until(t, a, "all is delivered", func(*view.Snapshot) bool { return received(talkers) == 40 })
	closes(t, a.Snapshot())
}
