package engine_test

import (
	"testing"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/view"
)

// TestAForgottenDrainEnds: by itself after an hour, or when its author said.
func TestAForgottenDrainEnds(t *testing.T) {
	e := start(t, nil)
	do(t, e, control.Command{Kind: control.NodeDrain})
	s := until(t, e, "it drains", func(s *view.Snapshot) bool { return s.Node.State == "draining" && len(s.Undo) == 1 })
	if d := s.Undo[0].Until.Sub(s.Undo[0].At); d != time.Hour {
		t.Errorf("it ends after %s", d)
	}
	do(t, e, control.Command{Kind: control.NodeUndrain})
	do(t, e, control.Command{Kind: control.NodeDrain, TTLS: 1})
	until(t, e, "it drains again", func(s *view.Snapshot) bool { return s.Node.State == "draining" })
	until(t, e, "it has ended", func(s *view.Snapshot) bool { return s.Node.State == "ready" && len(s.Undo) == 0 })
}
