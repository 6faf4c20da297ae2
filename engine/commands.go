package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/view"
)

// change is what a command would do: the plan in words, and the functions
// that do it and take it back. Making one changes nothing.
type change struct {
	plan  []string
	apply func(ctx context.Context) error
	said  func() string // after apply: what was done; nil: the first line of the plan
	ref   func() string // after apply: what to look for in the snapshot; nil: nothing
	undo  func() error  // nil: cannot be taken back, and the plan says so
	ttl   time.Duration // default expiry of a restriction; 0: none
}

// planner makes the change for a command, or refuses it.
type planner func(e *Engine, c control.Command) (change, control.Result)

var planners = map[control.Kind]planner{
	control.ShardPause:        planShardPause,
	control.ShardResume:       planShardResume,
	control.ShardRestart:      planShardRestart,
	control.ShardFlush:        planShardFlush,
	control.SourceBan:         planSourceBan,
	control.SourceThrottle:    planSourceThrottle,
	control.SourceClear:       planSourceClear,
	control.RoomClose:         planRoomClose,
	control.RoomLock:          planRoomLock,
	control.RoomUnlock:        planRoomUnlock,
	control.RoomPinTier:       planRoomPinTier,
	control.ParticipantKick:   planKick,
	control.ParticipantMute:   planMute,
	control.ParticipantUnmute: planUnmute,
	control.PeerPing:          planPeerPing,
	control.PeerEvict:         planPeerEvict,
	control.PeerBlock:         planPeerBlock,
	control.PeerUnblock:       planPeerUnblock,
	control.RoutingRefresh:    planRefresh,
	control.RoutingTrace:      planTrace,
	control.CallHangup:        planCallHangup,
	control.ClientDrop:        planClientDrop,
	control.NodeDrain:         planDrain,
	control.NodeUndrain:       planUndrain,
	control.NodeLogLevel:      planLogLevel,
	control.NodeSave:          planSave,
}

// undoCap bounds what can be in force and taken back; the oldest permanent
// entry makes way.
const undoCap = 256

// undoEntry is one change in force. Guarded by Engine.cmdMu.
type undoEntry struct {
	info view.Undo
	back func() error
}

// Do carries out one command: it plans, and unless the command is a dry run
// applies the plan, notes how to take it back and writes the audit line.
// Refused commands are audited too. Commands are carried out one at a time.
// The error is for a broken transport only; a refusal is a Result.
func (e *Engine) Do(ctx context.Context, c control.Command) (control.Result, error) {
	if err := ctx.Err(); err != nil {
		return control.Result{}, fmt.Errorf("engine: command: %w", err)
	}
	if c.Role != control.Operator {
		return e.finish(c, control.Fail(control.Denied, "role %q may look but not act", c.Role), time.Time{}), nil
	}
	if c.TTLS < 0 || c.TTLS > 10*365*86400 {
		return e.finish(c, control.Fail(control.Invalid, "ttl_s %v is out of range", c.TTLS), time.Time{}), nil
	}
	if c.Kind == control.Undo {
		return e.doUndo(c), nil
	}
	mk, ok := planners[c.Kind]
	if !ok {
		return e.finish(c, unplanned(c), time.Time{}), nil
	}
	ch, bad := mk(e, c)
	if bad.Code != "" {
		return e.finish(c, bad, time.Time{}), nil
	}
	return e.carryOut(ctx, c, ch), nil
}

// unplanned refuses a kind there is no planner for: those that need a part this
// version does not have, and those nobody has.
func unplanned(c control.Command) control.Result {
	switch c.Kind {
	case control.LinkReconnect, control.LinkMute, control.LinkUnmute:
		return control.Fail(control.NotFound, "there is no link %q: this version keeps no federation links", clean(c.Target))
	}
	names := make([]string, 0, len(planners))
	for _, known := range control.Kinds() {
		names = append(names, string(known))
	}
	return control.Fail(control.Invalid, "unknown command %q; known are %s", clean(string(c.Kind)), strings.Join(names, ", "))
}

// carryOut applies a planned change and books it.
func (e *Engine) carryOut(ctx context.Context, c control.Command, ch change) control.Result {
	var until time.Time
	ttl := ch.ttl
	if c.TTLS > 0 {
		ttl = time.Duration(c.TTLS * float64(time.Second))
	}
	if ch.ttl > 0 && ttl > 0 {
		until = time.Now().Add(ttl)
		ch.plan = append(ch.plan, fmt.Sprintf("ends by itself after %s", ttl.Round(time.Second)))
	}
	switch {
	case ch.undo != nil:
		ch.plan = append(ch.plan, "can be undone")
	default:
		ch.plan = append(ch.plan, "cannot be undone")
	}
	res := control.Result{OK: true, Code: control.OK, Plan: ch.plan}
	if c.DryRun {
		res.Message = "dry run: nothing was changed"
		return res
	}
	if err := ch.apply(ctx); err != nil {
		f := control.Fail(codeOf(err), "%v", err)
		f.Plan = ch.plan
		return e.finish(c, f, time.Time{})
	}
	if ch.undo != nil {
		res.Undo = e.remember(c, ch.undo, until)
	}
	res.Message = ch.plan[0]
	if ch.ref != nil {
		res.Ref = ch.ref()
	}
	if ch.said != nil {
		res.Message = ch.said()
	}
	return e.finish(c, res, until)
}

// finish writes the event and the audit line of a command that was not a dry
// run, and returns the result with the event's number.
func (e *Engine) finish(c control.Command, res control.Result, until time.Time) control.Result {
	if res.Plan == nil {
		res.Plan = []string{}
	}
	sev := view.Info
	verb := "did"
	if !res.OK {
		sev, verb = view.Warn, "was refused"
	}
	res.EventSeq = e.events.add(view.Event{
		Kind: "command", Severity: sev, Subject: c.Target,
		Message: clean(fmt.Sprintf("%s %s %s %s: %s", c.Author, verb, c.Kind, c.Target, res.Message)),
		Fields:  map[string]any{"kind": string(c.Kind), "author": c.Author, "code": string(res.Code), "reason": clean(c.Reason), "undo": res.Undo},
	})
	err := e.audit.add(view.Audit{
		At: time.Now(), Author: c.Author, Role: string(c.Role), Kind: string(c.Kind), Target: c.Target, Args: c.Args,
		Reason: c.Reason, Until: until, OK: res.OK, Code: string(res.Code), Message: res.Message, UndoID: res.Undo,
	})
	if err != nil {
		e.events.add(view.Event{Kind: "audit_failed", Severity: view.Alarm, Message: err.Error()})
	}
	return res
}

// remember books how to take a change back and returns its id.
func (e *Engine) remember(c control.Command, back func() error, until time.Time) string {
	id := randomID()
	e.cmdMu.Lock()
	defer e.cmdMu.Unlock()
	if len(e.undos) >= undoCap {
		e.undos = e.undos[1:]
	}
	e.undos = append(e.undos, undoEntry{back: back, info: view.Undo{
		ID: id, Kind: string(c.Kind), Target: c.Target, Author: c.Author, Reason: clean(c.Reason), At: time.Now().UTC(), Until: until,
	}})
	return id
}

// takeUndo removes an entry by id, so that it is carried out once only.
func (e *Engine) takeUndo(id string) (undoEntry, bool) {
	e.cmdMu.Lock()
	defer e.cmdMu.Unlock()
	for i := range e.undos {
		if e.undos[i].info.ID == id {
			u := e.undos[i]
			e.undos = append(e.undos[:i], e.undos[i+1:]...)
			return u, true
		}
	}
	return undoEntry{}, false
}

func (e *Engine) peekUndo(id string) (undoEntry, bool) {
	e.cmdMu.Lock()
	defer e.cmdMu.Unlock()
	for i := range e.undos {
		if e.undos[i].info.ID == id {
			return e.undos[i], true
		}
	}
	return undoEntry{}, false
}

func (e *Engine) doUndo(c control.Command) control.Result {
	u, ok := e.peekUndo(c.Target)
	if !ok {
		return e.finish(c, control.Fail(control.NotFound, "no change in force has the undo id %q", clean(c.Target)), time.Time{})
	}
	plan := []string{fmt.Sprintf("takes back %s %s of %s", u.info.Kind, u.info.Target, u.info.Author)}
	if c.DryRun {
		return control.Result{OK: true, Code: control.OK, Message: "dry run: nothing was changed", Plan: plan}
	}
	if u, ok = e.takeUndo(c.Target); !ok {
		return e.finish(c, control.Fail(control.Gone, "it has just ended by itself"), time.Time{})
	}
	if err := u.back(); err != nil {
		f := control.Fail(codeOf(err), "%v", err)
		return e.finish(c, f, time.Time{})
	}
	e.audit.undone(u.info.ID, c.Author, time.Now())
	return e.finish(c, control.Result{OK: true, Code: control.OK, Message: plan[0], Plan: plan}, time.Time{})
}

// expire takes back what has run out. The publisher calls it.
func (e *Engine) expire(now time.Time) {
	e.cmdMu.Lock()
	var due []undoEntry
	kept := e.undos[:0]
	for _, u := range e.undos {
		if !u.info.Until.IsZero() && !now.Before(u.info.Until) {
			due = append(due, u)
			continue
		}
		kept = append(kept, u)
	}
	e.undos = kept
	e.cmdMu.Unlock()
	for _, u := range due {
		msg := fmt.Sprintf("%s %s has run out and was taken back", u.info.Kind, u.info.Target)
		sev := view.Info
		if err := u.back(); err != nil && codeOf(err) != control.NotFound {
			msg, sev = fmt.Sprintf("%s %s ran out but could not be taken back: %v", u.info.Kind, u.info.Target, err), view.Warn
		}
		e.audit.undone(u.info.ID, "expiry", now)
		e.events.add(view.Event{Kind: "expired", Severity: sev, Subject: u.info.Target, Message: clean(msg)})
	}
}

// undosInForce lists what can be taken back, newest first.
func (e *Engine) undosInForce() []view.Undo {
	e.cmdMu.Lock()
	defer e.cmdMu.Unlock()
	out := make([]view.Undo, 0, len(e.undos))
	for _, v := range slices.Backward(e.undos) {
		out = append(out, v.info)
	}
	return out
}

func randomID() string {
	var b [6]byte
	rand.Read(b[:]) // crypto/rand.Read never fails since Go 1.24
	return hex.EncodeToString(b[:])
}
