package engine_test

import (
	"strconv"
	"strings"
	"testing"

	"signalbox/engine"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/view"
)

// An operator looks up a node, a room and a user, and reads in the snapshot
// whom the node asked.
func TestTraceOverRealLinks(t *testing.T) {
	var es []*engine.Engine
	for i := range 4 {
		es = append(es, start(t, func(c *config.Config) {
			c.Dispatch.Shards, c.DHT.LookupPaths = 2, 2
			if i > 0 {
				c.DHT.Join = []string{es[0].Info().NodeID + "@" + es[0].Info().Listen}
			}
		}))
	}
	for _, e := range es {
		until(t, e, "connected", func(s *view.Snapshot) bool { return s.DHT.Peers >= 1 })
	}
	target := es[3].Info().NodeID
	for _, tc := range []struct{ target, label string }{
		{target, "id " + target[:8] + "…"},
		{strings.ToUpper(target), "id " + target[:8] + "…"},
		{"lobby", "room lobby"},
		{"room:" + target, "room " + target},
		{"0258:ab5d:7c27:9b61:3b75:a4e3:7ce7:1bf9", "presence of 0258:ab5d:7c27:9b61:3b75:a4e3:7ce7:1bf9"},
		{"fp:0258ab5d", "presence of 0258ab5d"},
	} {
		r := do(t, es[1], control.Command{Kind: control.RoutingTrace, Target: tc.target})
		seq, err := strconv.ParseUint(r.Ref, 10, 64)
		if err != nil || r.Undo != "" {
			t.Fatalf("%+v", r)
		}
		s := until(t, es[1], "trace of "+tc.label, func(s *view.Snapshot) bool {
			tr := trace(s, seq)
			return tr != nil && tr.State != view.LookupActive
		})
		tr := trace(s, seq)
		if tr.State != view.LookupDone || tr.Label != tc.label || tr.For != "operator" || tr.Found < 1 || len(tr.Queries) != tr.Asked || tr.Paths != 2 {
			t.Errorf("%+v", tr)
		}
		for _, q := range tr.Queries {
			if q.Outcome == view.QueryAnswered && (q.RTTMS <= 0 || q.Addr == "" || q.Peer == "" || q.Hop < 1) {
				t.Errorf("%+v", q)
			}
		}
	}
	until(t, es[1], "the target is found", func(*view.Snapshot) bool {
		r := do(t, es[1], control.Command{Kind: control.RoutingTrace, Target: target})
		seq, _ := strconv.ParseUint(r.Ref, 10, 64)
		s := until(t, es[1], "the end of it", func(s *view.Snapshot) bool {
			tr := trace(s, seq)
			return tr != nil && tr.State != view.LookupActive
		})
		tr := trace(s, seq)
		return tr.Closest == target && tr.Bits == 256
	})
	for _, bad := range []string{"", "room:", "fp:", strings.Repeat("x", 300)} {
		r, err := es[1].Do(t.Context(), control.Command{Kind: control.RoutingTrace, Target: bad, Role: control.Operator})
		if err != nil || r.Code != control.Invalid {
			t.Errorf("%q: %+v %v", bad, r, err)
		}
	}
}

func trace(s *view.Snapshot, seq uint64) *view.LookupTrace {
	for i := range s.DHT.Lookups.Trace {
		if s.DHT.Lookups.Trace[i].Seq == seq {
			return &s.DHT.Lookups.Trace[i]
		}
	}
	return nil
}
