package engine_test

import (
	"slices"
	"testing"

	"signalbox/engine/control"
	"signalbox/engine/view"
)

// TestARefusedRehearsalLeavesNoTrace: nobody has tried to do anything. Who may
// not act and asks all the same is on record.
func TestARefusedRehearsalLeavesNoTrace(t *testing.T) {
	e := start(t, nil)
	for _, c := range []control.Command{
		{Kind: control.RoomUnlock, Target: "nowhere"},
		{Kind: "no.such"},
		{Kind: control.NodeDrain, TTLS: -1},
		{Kind: control.NodeDrain, Args: map[string]any{"pace": 1}},
	} {
		c.DryRun, c.Role, c.Author = true, control.Operator, "test"
		if res, err := e.Do(t.Context(), c); err != nil || res.OK || res.EventSeq != 0 {
			t.Errorf("%s: %+v, %v", c.Kind, res, err)
		}
	}
	c := control.Command{Kind: control.NodeDrain, DryRun: true, Role: control.Viewer, Author: "test"}
	if res, err := e.Do(t.Context(), c); err != nil || res.Code != control.Denied {
		t.Fatalf("%+v, %v", res, err)
	}
	a := slices.DeleteFunc(e.Audit(), func(r view.Audit) bool { return r.Author == "node" })
	if len(a) != 1 || a[0].Code != string(control.Denied) {
		t.Errorf("the audit log has %+v", a)
	}
}
