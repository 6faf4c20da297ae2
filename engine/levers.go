package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"signalbox/dht"
	"signalbox/engine/control"
	"signalbox/engine/tap"
	"signalbox/engine/view"
	"signalbox/relay"
)

// Default expiries: what restricts someone ends by itself unless asked
// otherwise (reliability N9).
const (
	pauseTTL    = 5 * time.Minute
	restrictTTL = time.Hour
	muteTTL     = 15 * time.Minute
)

// codeOf gives the code an error stands for.
func codeOf(err error) control.Code {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, dht.ErrBusy), errors.Is(err, dht.ErrTimeout), errors.Is(err, errNotSaved), errors.Is(err, relay.ErrSources):
		return control.Busy
	case errors.Is(err, dht.ErrNotFound), errors.Is(err, relay.ErrNoRoom), errors.Is(err, tap.ErrNone), errors.Is(err, relay.ErrNoParticipant), errors.Is(err, relay.ErrNoSource):
		return control.NotFound
	default:
		return control.Invalid
	}
}

func none() control.Result { return control.Result{} }

// shardLevers is what a dispatcher lets an operator do, one plane.
type shardLevers interface {
	Pause(shard int) error
	Resume(shard int) error
	Restart(shard int) error
	Flush(shard int) error
}

// shardTarget resolves "media/3" to its plane's levers and its current view.
func (e *Engine) shardTarget(target string) (shardLevers, view.Shard, control.Result) {
	plane, idx, ok := strings.Cut(target, "/")
	i, err := strconv.Atoi(idx)
	if !ok || err != nil {
		return nil, view.Shard{}, control.Fail(control.Invalid, "a shard is named plane/index, as in media/3, not %q", clean(target))
	}
	var levers shardLevers
	var views []view.Shard
	switch plane {
	case planeMedia:
		levers, views = e.media, e.media.Views(time.Now())
	case planeDHT:
		levers, views = e.dhtq, e.dhtq.Views(time.Now())
	default:
		return nil, view.Shard{}, control.Fail(control.Invalid, "there is no plane %q; planes are media and dht", clean(plane))
	}
	if i < 0 || i >= len(views) {
		return nil, view.Shard{}, control.Fail(control.NotFound, "plane %s has shards 0 to %d", plane, len(views)-1)
	}
	return levers, views[i], none()
}

func planShardPause(e *Engine, c control.Command) (change, control.Result) {
	l, v, bad := e.shardTarget(c.Target)
	if bad.Code != "" {
		return change{}, bad
	}
	if v.State == "paused" {
		return change{}, control.Fail(control.Invalid, "%s is already paused", c.Target)
	}
	return change{
		plan: []string{
			fmt.Sprintf("pauses %s: what its sources send from now on is dropped as shard_paused", c.Target),
			fmt.Sprintf("keeps %s waiting in it; the other shards are untouched", view.Plural(v.Depth, "message")),
		},
		target: v.Key(),
		apply:  func(context.Context) error { return l.Pause(v.Index) },
		undo:   func() error { return l.Resume(v.Index) },
		ttl:    pauseTTL,
	}, none()
}

func planShardResume(e *Engine, c control.Command) (change, control.Result) {
	l, v, bad := e.shardTarget(c.Target)
	if bad.Code != "" {
		return change{}, bad
	}
	if v.State != "paused" {
		return change{}, control.Fail(control.Invalid, "%s is not paused but %s", c.Target, v.State)
	}
	return change{
		plan:   []string{fmt.Sprintf("resumes %s with %s waiting", c.Target, view.Plural(v.Depth, "message"))},
		target: v.Key(),
		apply:  func(context.Context) error { return l.Resume(v.Index) },
	}, none()
}

func planShardRestart(e *Engine, c control.Command) (change, control.Result) {
	l, v, bad := e.shardTarget(c.Target)
	if bad.Code != "" {
		return change{}, bad
	}
	return change{
		plan: []string{
			fmt.Sprintf("replaces the loop of %s; %s waiting in it kept", c.Target, view.Plural(v.Depth, "message")),
			"the message in its hands, if it is stuck on one, is dropped as shard_replaced",
		},
		apply: func(context.Context) error { return l.Restart(v.Index) },
	}, none()
}

func planShardFlush(e *Engine, c control.Command) (change, control.Result) {
	l, v, bad := e.shardTarget(c.Target)
	if bad.Code != "" {
		return change{}, bad
	}
	return change{
		plan:  []string{fmt.Sprintf("drops %s waiting in %s as shard_flushed", view.Plural(v.Depth, "message"), c.Target)},
		apply: func(context.Context) error { return l.Flush(v.Index) },
	}, none()
}

// sourceTarget parses an address or prefix.
func sourceTarget(target string) (netip.Prefix, control.Result) {
	if a, err := netip.ParseAddr(target); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), none()
	}
	p, err := netip.ParsePrefix(target)
	if err != nil {
		return netip.Prefix{}, control.Fail(control.Invalid, "%q is neither an address nor a prefix", clean(target))
	}
	if p.Bits() < 8 {
		return netip.Prefix{}, control.Fail(control.Invalid, "%s is wider than /8: that is nearly everybody", p)
	}
	return p.Masked(), none()
}

// hit names who in the rooms a prefix covers.
func (e *Engine) hit(p netip.Prefix) string {
	var names []string
	for _, r := range e.Snapshot().Rooms {
		for i := range r.Participants {
			ap, err := netip.ParseAddrPort(r.Participants[i].Remote)
			if err == nil && p.Contains(ap.Addr().Unmap()) {
				names = append(names, participantName(&r.Participants[i])+" in "+r.Name)
			}
		}
	}
	switch {
	case len(names) == 0:
		return "nobody in a room now has such an address"
	case len(names) > 4:
		return fmt.Sprintf("hits %d participants, among them %s", len(names), strings.Join(names[:4], ", "))
	default:
		return "hits " + strings.Join(names, ", ")
	}
}

func planSourceBan(e *Engine, c control.Command) (change, control.Result) {
	p, bad := sourceTarget(c.Target)
	if bad.Code != "" {
		return change{}, bad
	}
	return change{
		plan: []string{
			fmt.Sprintf("bans %s: its packets are dropped as source_banned and it cannot connect", p), e.hit(p),
			"ends its DHT links, takes its peers out of the routing table, closes its signalling connections",
		},
		target: p.String(),
		set: func(until time.Time) error {
			if err := e.relay.BanUntil(p, until, c.Author, c.Reason); err != nil {
				return err
			}
			e.banned(p)
			return nil
		},
		undo: func() error { return e.relay.ClearSource(p) },
		ttl:  restrictTTL,
	}, none()
}

func planSourceThrottle(e *Engine, c control.Command) (change, control.Result) {
	p, bad := sourceTarget(c.Target)
	if bad.Code != "" {
		return change{}, bad
	}
	pps, isNumber := 100.0, true
	if v, given := c.Args["pps"]; given {
		pps, isNumber = v.(float64)
	}
	if !isNumber || !(pps >= 1 && pps <= 1e6) {
		return change{}, control.Fail(control.Invalid, "args.pps must be a number between 1 and 1000000 packets a second")
	}
	return change{
		plan: []string{
			fmt.Sprintf("throttles %s to %.0f packets a second; the rest is dropped as source_throttled, DHT messages too", p, pps), e.hit(p),
		},
		target: p.String(),
		set:    func(until time.Time) error { return e.relay.ThrottleUntil(p, pps, until, c.Author, c.Reason) },
		undo:   func() error { return e.relay.ClearSource(p) },
		ttl:    restrictTTL,
	}, none()
}

func planSourceClear(e *Engine, c control.Command) (change, control.Result) {
	p, bad := sourceTarget(c.Target)
	if bad.Code != "" {
		return change{}, bad
	}
	for _, s := range e.relay.Sources() {
		if s.Prefix == p.String() {
			return change{
				plan:   []string{fmt.Sprintf("lifts from %s that it is %s", p, s.Kind)},
				target: p.String(),
				apply:  func(context.Context) error { return e.relay.ClearSource(p) },
			}, none()
		}
	}
	return change{}, control.Fail(control.NotFound, "no restriction is in force on %s", p)
}

// room finds a room in the relay's present state, not in an old snapshot.
func (e *Engine) room(name string) (view.Room, control.Result) {
	for _, r := range e.relay.Rooms(time.Now()) {
		if r.Name == name {
			return r, none()
		}
	}
	return view.Room{}, control.Fail(control.NotFound, "there is no room %q", clean(name))
}

func planRoomClose(e *Engine, c control.Command) (change, control.Result) {
	r, bad := e.room(c.Target)
	if bad.Code != "" {
		return change{}, bad
	}
	return change{
		plan: []string{
			fmt.Sprintf("closes room %s and cuts off its %s", r.Name, view.Plural(r.Local(), "participant")),
			"they may join again at once; lock the room first to keep them out",
		},
		apply: func(context.Context) error {
			e.endCallOf(r.Name, "an operator closed its room")
			return e.relay.CloseRoom(r.Name)
		},
	}, none()
}

func planRoomLock(e *Engine, c control.Command) (change, control.Result) {
	r, bad := e.room(c.Target)
	if bad.Code != "" {
		return change{}, bad
	}
	if r.Locked {
		return change{}, control.Fail(control.Invalid, "room %s is already locked", r.Name)
	}
	return change{
		plan:  []string{fmt.Sprintf("locks room %s with %s in it, who stay: nobody else can join", r.Name, view.Plural(r.Local(), "participant"))},
		apply: func(context.Context) error { return e.relay.LockRoom(r.Name, true) },
		undo:  func() error { return e.relay.LockRoom(r.Name, false) },
		ttl:   restrictTTL,
	}, none()
}

func planRoomUnlock(e *Engine, c control.Command) (change, control.Result) {
	r, bad := e.room(c.Target)
	if bad.Code != "" {
		return change{}, bad
	}
	if !r.Locked {
		return change{}, control.Fail(control.Invalid, "room %s is not locked", r.Name)
	}
	return change{
		plan:  []string{fmt.Sprintf("unlocks room %s", r.Name)},
		apply: func(context.Context) error { return e.relay.LockRoom(r.Name, false) },
	}, none()
}

func planRoomPinTier(e *Engine, c control.Command) (change, control.Result) {
	r, bad := e.room(c.Target)
	if bad.Code != "" {
		return change{}, bad
	}
	if e.relay.Forwarding(r.Name) {
		return change{}, control.Fail(control.Invalid, "room %s is at the remote relay %s, which judges it", r.Name, e.cfg.Legacy.RemoteRelay)
	}
	tier, isText := c.Args["tier"].(string)
	if !isText {
		return change{}, control.Fail(control.Invalid, "args.tier names the tier, or is empty to let the judge decide again")
	}
	if !e.relay.KnownTier(tier) {
		return change{}, control.Fail(control.Invalid, "there is no tier %q; tiers are Catastrophic, Degraded, Good, Studio32k, Studio48k, Studio64k", clean(tier))
	}
	plan := fmt.Sprintf("pins room %s to tier %s, whatever its members report (now %s)", r.Name, tier, r.Tier)
	if tier == "" {
		plan = fmt.Sprintf("lets the judge choose the tier of room %s again", r.Name)
	}
	return change{
		plan:  []string{plan, fmt.Sprintf("tells its %s by one directive", view.Plural(r.Local(), "participant"))},
		apply: func(context.Context) error { return e.relay.PinTier(r.Name, tier) },
		undo:  func() error { return e.relay.PinTier(r.Name, "") },
		lifts: tier == "",
		ttl:   restrictTTL,
	}, none()
}
