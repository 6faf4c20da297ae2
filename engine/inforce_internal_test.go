package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/dispatch"
	"signalbox/engine/view"
	"signalbox/relay"
)

// bare is the part of a node that operators' restrictions need, without a
// socket, so that it runs on virtual time.
func bare(t *testing.T) *Engine {
	t.Helper()
	e := &Engine{
		log: slog.New(slog.DiscardHandler), level: &slog.LevelVar{}, events: newEventLog(), judge: newJudge(), started: time.Now(), force: newInForce(), banned: func(netip.Prefix) {},
		audit: &auditLog{path: filepath.Join(t.TempDir(), "audit.log")},
	}
	e.relay = relay.New(relay.Config{Now: e.mono})
	e.media = dispatch.New[mediaMsg](dispatch.Config{Plane: planeMedia, Event: e.event, Epoch: e.started}, mediaHandler{e})
	e.dhtq = dispatch.New[dhtMsg](dispatch.Config{Plane: planeDHT, Event: e.event, Epoch: e.started}, dhtHandler{e})
	e.snap.Store(&view.Snapshot{})
	return e
}

// op is an operator's command that must succeed.
func op(t *testing.T, e *Engine, kind control.Kind, target string, ttl float64, args map[string]any) control.Result {
	t.Helper()
	r := try(t, e, control.Command{Kind: kind, Target: target, TTLS: ttl, Args: args})
	if !r.OK {
		t.Fatalf("%s %s: %s %s", kind, target, r.Code, r.Message)
	}
	return r
}

func try(t *testing.T, e *Engine, c control.Command) control.Result {
	t.Helper()
	c.Author, c.Role = "op", control.Operator
	r, err := e.Do(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// pass lets d go by, with the publisher's rounds.
func pass(e *Engine, d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(publishEvery)
		e.expire(time.Now())
	}
}

func (e *Engine) restricted() string {
	var out []string
	for _, s := range e.relay.Sources() {
		out = append(out, s.Kind+" "+s.Prefix)
	}
	return strings.Join(out, ", ")
}

func TestARenewedRestrictionOutlivesTheOlderOne(t *testing.T) {
	for name, steps := range map[string]func(t *testing.T, e *Engine){
		"renewed": func(t *testing.T, e *Engine) {
			op(t, e, control.SourceBan, "10.0.0.1", 2, nil)
			op(t, e, control.SourceBan, "10.0.0.1", 3600, nil)
		},
		"cleared in another spelling": func(t *testing.T, e *Engine) {
			op(t, e, control.SourceBan, "10.0.0.1", 2, nil)
			op(t, e, control.SourceClear, "10.0.0.1/32", 0, nil)
			op(t, e, control.SourceBan, "10.0.0.1/32", 3600, nil)
		},
		"in IPv6 clothes": func(t *testing.T, e *Engine) {
			op(t, e, control.SourceThrottle, "::ffff:10.0.0.1", 2, map[string]any{"pps": 5.0})
			op(t, e, control.SourceBan, "10.0.0.1", 3600, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := bare(t)
				steps(t, e)
				pass(e, 4*time.Second)
				if got := e.restricted(); got != "banned 10.0.0.1/32" {
					t.Errorf("after the older one's time: %q", got)
				}
				if u := e.force.newest(); len(u) != 1 || u[0].Kind != string(control.SourceBan) {
					t.Errorf("in force: %+v", u)
				}
				pass(e, time.Hour)
				if got := e.restricted(); got != "" {
					t.Errorf("after its own time: %q", got)
				}
				if u := e.force.newest(); len(u) != 0 {
					t.Errorf("in force: %+v", u)
				}
			})
		})
	}
}

func TestUndoBringsBackWhatWasInForceBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := bare(t)
		first := op(t, e, control.SourceBan, "10.0.0.0/8", 3600, nil)
		second := op(t, e, control.SourceThrottle, "10.0.0.0/8", 600, map[string]any{"pps": 5.0})
		if r := try(t, e, control.Command{Kind: control.Undo, Target: first.Undo}); r.Code != control.NotFound {
			t.Errorf("undo of what was superseded: %+v", r)
		}
		pass(e, time.Minute)
		op(t, e, control.Undo, second.Undo, 0, nil)
		if got := e.restricted(); got != "banned 10.0.0.0/8" {
			t.Fatalf("after the undo: %q", got)
		}
		if s := e.relay.Sources()[0]; s.Until.Sub(e.started).Round(time.Second) != time.Hour {
			t.Errorf("until %v after the start", s.Until.Sub(e.started))
		}
		clear1 := op(t, e, control.SourceClear, "10.0.0.0/8", 0, nil)
		if got := e.restricted(); got != "" || clear1.Undo == "" {
			t.Fatalf("after the clear: %q, undo %q", got, clear1.Undo)
		}
		a := e.Audit()
		if i := slices.IndexFunc(a, func(r view.Audit) bool { return r.UndoID == first.Undo }); a[i].UndoneBy != "op" {
			t.Errorf("the ban's record: %+v", a[i])
		}
		op(t, e, control.Undo, clear1.Undo, 0, nil)
		if got := e.restricted(); got != "banned 10.0.0.0/8" {
			t.Fatalf("after the undo of the clear: %q", got)
		}
		pass(e, time.Hour)
		if got := e.restricted(); got != "" {
			t.Errorf("after the hour: %q", got)
		}
	})
}

func TestALiftingIsForgottenWithWhatItLifted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := bare(t)
		op(t, e, control.SourceBan, "10.0.0.1", 10, nil)
		r := op(t, e, control.SourceClear, "10.0.0.1", 0, nil)
		pass(e, 11*time.Second)
		if u := e.force.newest(); len(u) != 0 {
			t.Errorf("in force: %+v", u)
		}
		if r := try(t, e, control.Command{Kind: control.Undo, Target: r.Undo}); r.Code != control.NotFound {
			t.Errorf("%+v", r)
		}
	})
}

func TestManyChangesForgetNoExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := bare(t)
		r := op(t, e, control.SourceBan, "10.0.0.1", 3, nil)
		for i := range inForceCap - 1 {
			op(t, e, control.SourceBan, fmt.Sprintf("172.16.%d.%d", i/256, i%256), 3600, nil)
		}
		if got := try(t, e, control.Command{Kind: control.SourceBan, Target: "192.0.2.1"}); got.Code != control.Busy {
			t.Errorf("one too many: %+v", got)
		}
		op(t, e, control.SourceBan, "172.16.0.0", 3600, nil) // in place of the one there is
		if slot, _ := e.force.find(r.Undo); slot == "" {
			t.Error("the first one's undo is gone")
		}
		if n := len(e.force.newest()); n != undoShown {
			t.Errorf("%d shown", n)
		}
		pass(e, 4*time.Second)
		if e.relay.Banned(netip.MustParseAddr("10.0.0.1")) {
			t.Error("still banned after its time")
		}
		op(t, e, control.SourceBan, "192.0.2.1", 3, nil)
	})
}

func TestEveryLiftingCanBeUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := bare(t)
		p, err := e.relay.Join(relay.JoinRequest{Room: "r", Alias: "a", Remote: netip.MustParseAddrPort("10.0.0.9:1"), Now: time.Now(), Close: func(string) {}})
		if err != nil {
			t.Fatal(err)
		}
		room := func() view.Room { return e.relay.Rooms(time.Now())[0] }
		for _, c := range []struct {
			on, off control.Kind
			target  string
			args    map[string]any
			in      func() bool
		}{
			{control.ShardPause, control.ShardResume, "media/3", nil, func() bool { return e.media.Views(time.Now())[3].State == "paused" }},
			{control.RoomLock, control.RoomUnlock, "r", nil, func() bool { return room().Locked }},
			{control.ParticipantMute, control.ParticipantUnmute, p.ID(), nil, func() bool { return room().Participants[0].Muted }},
			{control.SourceThrottle, control.SourceClear, "10.1.0.0/16", map[string]any{"pps": 7.0}, func() bool { return e.restricted() != "" }},
		} {
			op(t, e, c.on, c.target, 600, c.args)
			off := op(t, e, c.off, c.target, 0, nil)
			if c.in() || off.Undo == "" {
				t.Errorf("%s: in force %v, undo %q", c.off, c.in(), off.Undo)
				continue
			}
			op(t, e, control.Undo, off.Undo, 0, nil)
			if !c.in() {
				t.Errorf("undo of %s did not bring it back", c.off)
			}
		}
		op(t, e, control.RoomPinTier, "r", 1, map[string]any{"tier": "Degraded"})
		op(t, e, control.RoomPinTier, "r", 300, map[string]any{"tier": "Good"})
		pass(e, 3*time.Second)
		if got := room().PinnedTier; got != "Good" {
			t.Errorf("the renewed pin: %q", got)
		}
		pass(e, 10*time.Minute)
		if got := room(); got.Locked || got.PinnedTier != "" || got.Participants[0].Muted || e.restricted() != "" {
			t.Errorf("after all of their time: %+v", got)
		}
		p.Leave(e.mono())
	})
}

func TestTheAuditFileTellsWhatEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := bare(t)
		expires := op(t, e, control.SourceBan, "10.0.0.1", 1, nil)
		lifted := op(t, e, control.SourceBan, "10.0.0.2", 600, nil)
		op(t, e, control.SourceClear, "10.0.0.2", 0, nil)
		stands := op(t, e, control.SourceBan, "10.0.0.3\u202e\x1b", 600, nil)
		pass(e, 2*time.Second)
		raw, err := os.ReadFile(e.audit.path)
		if err != nil || bytes.Contains(raw, []byte("\u202e")) || bytes.Contains(raw, []byte(`\u001b`)) {
			t.Errorf("%v: %q", err, raw)
		}
		again := &auditLog{path: e.audit.path}
		if err := again.restore(time.Now()); err != nil {
			t.Fatal(err)
		}
		by := map[string]string{}
		for _, a := range again.list() {
			by[a.UndoID] = a.UndoneBy
			if a.Kind == string(control.SourceBan) && a.Reason != noReason {
				t.Errorf("reason %q", a.Reason)
			}
		}
		if by[expires.Undo] != byExpiry || by[lifted.Undo] != "op" || by[stands.Undo] != byRestart {
			t.Errorf("undone by, after a restart: %v", by)
		}
		if got, want := len(again.list()), len(e.Audit()); got != want {
			t.Errorf("%d records read back of %d", got, want)
		}
	})
}

func TestAuditTailIsBounded(t *testing.T) {
	l := &auditLog{path: filepath.Join(t.TempDir(), "audit.log")}
	line, err := json.Marshal(view.Audit{Author: strings.Repeat("x", 900), Kind: "source.ban"})
	if err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat(append(line, '\n'), 3000)
	if err := os.WriteFile(l.path, append(big, "{broken"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.restore(time.Now()); err == nil || len(l.list()) != auditKept/2 {
		t.Errorf("%d records, %v", len(l.list()), err)
	}
}

func TestAnUnwritableAuditLogIsTold(t *testing.T) {
	e := bare(t)
	e.audit.path = filepath.Join(t.TempDir(), "no", "such", "audit.log")
	op(t, e, control.SourceBan, "10.0.0.1", 60, nil)
	s := &view.Snapshot{Audit: e.audit.state()}
	e.judge.verdict(s)
	if h := s.Node.Health; h.Verdict != "failing" || !strings.Contains(h.Reasons[0], "audit log") {
		t.Errorf("%+v", h)
	}
}

func TestArgumentsAndLifetimesAreTakenSeriously(t *testing.T) {
	e := bare(t)
	for _, c := range []control.Command{
		{Kind: control.SourceThrottle, Target: "10.0.0.1", Args: map[string]any{"pps": "5"}},
		{Kind: control.SourceThrottle, Target: "10.0.0.1", Args: map[string]any{"psp": 5.0}},
		{Kind: control.SourceBan, Target: "10.0.0.1", Args: map[string]any{"ttl_s": 5.0}},
		{Kind: control.ShardFlush, Target: "media/1", TTLS: 5},
		{Kind: control.SourceClear, Target: "10.0.0.1", TTLS: 5},
	} {
		if r := try(t, e, c); r.OK {
			t.Errorf("%+v: %+v", c, r)
		}
	}
	r := try(t, e, control.Command{Kind: control.SourceBan, Target: "10.0.0.1", TTLS: 0.4, DryRun: true})
	if !strings.Contains(strings.Join(r.Plan, "\n"), "ends by itself after 400ms") {
		t.Errorf("%q", r.Plan)
	}
}
