package engine

import (
	"context"
	"fmt"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/view"
)

// enforce carries out a change that sets or lifts what one slot holds. It takes
// the place of what was in force there, whose own expiry means nothing from
// then on. Of an answer that is not a dry run's, b is for the audit line. turn
// is held.
func (e *Engine) enforce(ctx context.Context, c control.Command, ch change, slot string, lifts bool) (res control.Result, b booked) {
	now := time.Now()
	cur := e.force.get(slot)
	if cur != nil && !cur.alive(now) {
		e.runOut(slot, cur, now)
		cur = nil
	}
	restricted := cur != nil && !cur.lifts
	ttl := ch.ttl
	if c.TTLS > 0 {
		ttl = time.Duration(c.TTLS * float64(time.Second))
	}
	if ttl > 0 && !lifts {
		b.until = now.Add(ttl)
		ch.plan = append(ch.plan, "ends by itself after "+span(ttl))
	}
	if !restricted && !lifts && e.force.full() {
		return control.Fail(control.Busy, "%d restrictions are in force, as many as there may be: lift one first", inForceCap), booked{}
	}
	ch.plan = append(ch.plan, wayBack(cur, lifts))
	res = control.Result{OK: true, Code: control.OK, Plan: ch.plan}
	if c.DryRun {
		res.Message = dryRun
		return res, booked{}
	}
	s := &standing{
		lifts: lifts, set: ch.set, free: ch.undo, prev: cut(cur),
		info: view.Undo{ID: randomID(), Kind: string(c.Kind), Target: c.Target, Author: c.Author, Reason: c.Reason, At: now.UTC(), Until: b.until.UTC()},
	}
	if s.set == nil {
		s.set = func(time.Time) error { return ch.apply(context.WithoutCancel(ctx)) }
	}
	if err := s.set(b.until); err != nil {
		f := control.Fail(codeOf(err), "%v", err)
		f.Plan = ch.plan
		return f, booked{}
	}
	ch.tell(&res)
	if restricted {
		b.supersedes = cur.info.ID
		e.audit.undone(cur.info.ID, c.Author, now)
	}
	switch {
	case !lifts:
	case restricted:
		s.free = cur.free
	default:
		return res, b // nothing was in force, and nothing is
	}
	e.force.put(slot, s)
	res.Undo = s.info.ID
	return res, b
}

// wayBack says what an undo of the change will do: cur is what it takes the
// place of.
func wayBack(cur *standing, lifts bool) string {
	switch {
	case cur != nil && !cur.lifts && lifts:
		return "can be undone: what is lifted comes back " + untilText(cur.info.Until)
	case cur != nil && !cur.lifts:
		return fmt.Sprintf("takes the place of the %s of %s, in force %s; can be undone: that comes back", cur.info.Kind, cur.info.Author, untilText(cur.info.Until))
	case lifts:
		return "cannot be undone"
	}
	return "can be undone"
}

// span writes a duration without losing the part that matters.
func span(d time.Duration) string {
	if d < time.Minute {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func untilText(t time.Time) string {
	if t.IsZero() {
		return "until it is lifted"
	}
	return "until " + t.UTC().Format(time.RFC3339)
}

// doUndo takes back what is in force under an undo id: what was in force before
// it is again, for the rest of its time.
func (e *Engine) doUndo(c control.Command) control.Result {
	res, b := e.takeBack(c)
	if c.DryRun && res.OK {
		return res
	}
	return e.finish(c, res, b)
}

func (e *Engine) takeBack(c control.Command) (control.Result, booked) {
	e.turn.Lock()
	defer e.turn.Unlock()
	now := time.Now()
	slot, s := e.force.find(c.Target)
	if s == nil {
		return control.Fail(control.NotFound, "no change in force has the undo id %q", c.Target), booked{}
	}
	if !s.alive(now) {
		e.runOut(slot, s, now)
		return control.Fail(control.Gone, "it has just ended by itself"), booked{}
	}
	res := control.Result{OK: true, Code: control.OK, Plan: []string{fmt.Sprintf("takes back %s %s of %s", s.info.Kind, s.info.Target, s.info.Author)}}
	before := s.prev
	if !before.alive(now) {
		before = nil
	}
	var b booked
	back := s.free
	switch {
	case before != nil && !before.lifts:
		if s.lifts && e.force.full() {
			return control.Fail(control.Busy, "%d restrictions are in force, as many as there may be: lift one first", inForceCap), booked{}
		}
		b = booked{restores: before.info.ID, until: before.info.Until}
		back = func() error { return before.set(before.info.Until) }
		res.Plan = append(res.Plan, fmt.Sprintf("puts the %s of %s in force again %s", before.info.Kind, before.info.Author, untilText(before.info.Until)))
	case s.lifts:
		res.Plan = append(res.Plan, "what it lifted has run out meanwhile: nothing comes back")
	}
	if c.DryRun {
		res.Message = dryRun
		return res, booked{}
	}
	if err := back(); err != nil {
		if codeOf(err) == control.NotFound { // it went with what it was put on
			e.force.put(slot, nil)
		}
		return control.Fail(codeOf(err), "%v", err), booked{}
	}
	e.force.put(slot, before)
	e.audit.undone(s.info.ID, c.Author, now)
	if b.restores != "" {
		e.audit.again(b.restores)
	}
	res.Message = res.Plan[0]
	return res, b
}

// expire takes back what has run out. The publisher calls it and must not wait:
// while a command is carried out, the next round does it.
//
// +checklocksignore: it does not follow TryLock.
func (e *Engine) expire(now time.Time) {
	if !e.turn.TryLock() {
		return
	}
	defer e.turn.Unlock()
	for _, slot := range e.force.due(now) {
		e.runOut(slot, e.force.get(slot), now)
	}
}

// runOut ends what is in force in a slot because its time has come. turn is
// held.
func (e *Engine) runOut(slot string, s *standing, now time.Time) {
	e.force.put(slot, nil)
	msg, ok := fmt.Sprintf("%s %s has run out and was taken back", s.info.Kind, s.info.Target), true
	sev := view.Info
	if err := s.free(); err != nil && codeOf(err) != control.NotFound {
		msg, sev, ok = fmt.Sprintf("%s %s ran out but could not be taken back: %v", s.info.Kind, s.info.Target, err), view.Warn, false
	}
	e.audit.undone(s.info.ID, byExpiry, now)
	e.auditLater(view.Audit{
		At: now, Author: byExpiry, Role: byNode, Kind: string(control.Undo), Target: s.info.ID, Reason: "its time has run out",
		OK: ok, Code: string(control.OK), Message: msg,
	})
	e.events.add(view.Event{Kind: "expired", Severity: sev, Subject: s.info.Target, Message: clean(msg)})
}
