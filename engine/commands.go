package engine

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
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
	ttl   time.Duration // default expiry of a restriction; 0: none

	// Of a change that leaves something in force: what it sets, if the command's
	// target has several spellings; apply with the expiry, where that is of use;
	// and what leaves nothing in force.
	target string
	set    func(until time.Time) error
	undo   func() error
	lifts  bool // it is itself what leaves nothing in force
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
	control.RoomTap:           planTap,
	control.RoomUntap:         planUntap,
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
	control.LinkReconnect:     planLinkReconnect,
	control.LinkMute:          planLinkMute,
	control.LinkUnmute:        planLinkUnmute,
	control.NodeDrain:         planDrain,
	control.NodeUndrain:       planUndrain,
	control.NodeLogLevel:      planLogLevel,
	control.NodeSave:          planSave,
}

// known are the arguments of the kinds that have any.
var known = map[control.Kind]string{
	control.SourceThrottle: "pps", control.RoomPinTier: "tier", control.RoomTap: "to", control.NodeLogLevel: "level",
}

// noReason is recorded for a command that came without a reason.
const noReason = "none given"

// Do carries out one command: it plans, and unless the command is a dry run
// applies the plan, notes how to take it back and writes the audit line.
// Refused commands are audited too, refused dry runs are not. Commands that leave something in force,
// lift it or take it back are planned and carried out one at a time; the
// others are planned so, and may be carried out beside each other. The error
// is for a broken transport only; a refusal is a Result.
func (e *Engine) Do(ctx context.Context, c control.Command) (control.Result, error) {
	if err := ctx.Err(); err != nil {
		return control.Result{}, fmt.Errorf("engine: command: %w", err)
	}
	tidy(&c)
	if c.Role != control.Operator {
		return e.finish(c, control.Fail(control.Denied, "role %q may look but not act", c.Role), booked{}), nil
	}
	if !(c.TTLS >= 0 && c.TTLS <= maxTTLS) {
		return e.finish(c, control.Fail(control.Invalid, "ttl_s %v is out of range", c.TTLS), booked{}), nil
	}
	if c.Kind == control.Undo {
		return e.doUndo(c), nil
	}
	mk, ok := planners[c.Kind]
	if !ok {
		return e.finish(c, unplanned(c), booked{}), nil
	}
	for arg := range c.Args {
		if arg != known[c.Kind] {
			return e.finish(c, control.Fail(control.Invalid, "%s knows no argument %q", c.Kind, arg), booked{}), nil
		}
	}
	ch, res, b, done := e.inTurn(ctx, c, mk)
	if !done {
		return e.carryOut(ctx, c, ch), nil
	}
	return e.finish(c, res, b), nil
}

const maxTTLS = 10 * 365 * 86400

// inTurn plans a command and, if it sets or lifts something, carries it out.
// done is false when the plan is still to be applied.
func (e *Engine) inTurn(ctx context.Context, c control.Command, mk planner) (ch change, res control.Result, b booked, done bool) {
	e.turn.Lock()
	defer e.turn.Unlock()
	ch, bad := mk(e, c)
	if bad.Code != "" {
		return ch, bad, b, true
	}
	slot, lifts := slotOf(c, &ch)
	if c.TTLS > 0 && (slot == "" || lifts) {
		return ch, control.Fail(control.Invalid, "ttl_s means nothing for %s: it leaves nothing in force that could end", c.Kind), b, true
	}
	if slot == "" {
		return ch, res, b, false
	}
	res, b = e.enforce(ctx, c, ch, slot, lifts)
	return ch, res, b, true
}

// tidy makes what came from outside fit for screens, logs and files.
func tidy(c *control.Command) {
	c.Kind, c.Target, c.Reason = control.Kind(clean(string(c.Kind))), clean(c.Target), clean(strings.TrimSpace(c.Reason))
	c.Reason = cmp.Or(c.Reason, noReason)
	args := make(map[string]any, len(c.Args))
	for k, v := range c.Args {
		switch v.(type) {
		case float64, int, bool, nil:
		default:
			v = clean(fmt.Sprint(v))
		}
		args[clean(k)] = v
	}
	if len(args) > 0 {
		c.Args = args
	}
}

// unplanned refuses a kind there is no planner for.
func unplanned(c control.Command) control.Result {
	names := make([]string, 0, len(planners))
	for _, k := range control.Kinds() {
		names = append(names, string(k))
	}
	return control.Fail(control.Invalid, "unknown command %q; known are %s", clean(string(c.Kind)), strings.Join(names, ", "))
}

// carryOut applies a planned change that leaves nothing in force.
func (e *Engine) carryOut(ctx context.Context, c control.Command, ch change) control.Result {
	ch.plan = append(ch.plan, "cannot be undone")
	res := control.Result{OK: true, Code: control.OK, Plan: ch.plan}
	if c.DryRun {
		res.Message = dryRun
		return res
	}
	if err := ch.apply(ctx); err != nil {
		f := control.Fail(codeOf(err), "%v", err)
		f.Plan = ch.plan
		return e.finish(c, f, booked{})
	}
	ch.tell(&res)
	return e.finish(c, res, booked{})
}

// tell says what has been done.
func (ch *change) tell(res *control.Result) {
	res.Message = ch.plan[0]
	if ch.said != nil {
		res.Message = ch.said()
	}
	if ch.ref != nil {
		res.Ref = ch.ref()
	}
}

const dryRun = "dry run: nothing was changed"

// booked is what the audit line says about what is in force besides the answer.
type booked struct {
	until      time.Time
	supersedes string // undo id of the change whose place was taken
	restores   string // undo id of the change that is in force again
}

// finish writes the event and the audit line of a command, and returns the
// result with the event's number. A dry run leaves no trace, unless somebody
// asked for it who may not act.
func (e *Engine) finish(c control.Command, res control.Result, b booked) control.Result {
	if res.Plan == nil {
		res.Plan = []string{}
	}
	if c.DryRun && res.Code != control.Denied {
		return res
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
	e.auditFailed(e.audit.add(view.Audit{
		At: time.Now(), Author: c.Author, Role: string(c.Role), Kind: string(c.Kind), Target: c.Target, Args: c.Args,
		Reason: c.Reason, Until: b.until, Supersedes: b.supersedes, Restores: b.restores, OK: res.OK, Code: string(res.Code), Message: res.Message, UndoID: res.Undo,
	}))
	return res
}

func randomID() string {
	var b [6]byte
	rand.Read(b[:]) // crypto/rand.Read never fails since Go 1.24
	return hex.EncodeToString(b[:])
}
