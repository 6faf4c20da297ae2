package engine

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"signalbox/dht/table"
	"signalbox/engine/control"
	"signalbox/engine/view"
)

// participant finds a participant by id in the relay's present state.
func (e *Engine) participant(id string) (view.Room, view.Participant, control.Result) {
	for _, r := range e.relay.Rooms(time.Now()) {
		for _, p := range r.Participants {
			if p.ID == id {
				return r, p, none()
			}
		}
	}
	return view.Room{}, view.Participant{}, control.Fail(control.NotFound, "no participant has the id %q", clean(id))
}

// participantName is what an operator calls someone.
func participantName(p *view.Participant) string {
	if p.Alias != "" {
		return p.Alias
	}
	if len(p.Fingerprint) >= 9 {
		return p.Fingerprint[:9]
	}
	return p.ID
}

func planKick(e *Engine, c control.Command) (change, control.Result) {
	r, p, bad := e.participant(c.Target)
	if bad.Code != "" {
		return change{}, bad
	}
	return change{
		plan: []string{
			fmt.Sprintf("ends the connection of %s (%s) in room %s", participantName(&p), p.Remote, r.Name),
			"they may join again; ban the source to keep them out",
		},
		apply: func(context.Context) error {
			e.endCallOf(r.Name, "an operator kicked a party")
			return e.relay.Kick(p.ID, "kicked")
		},
	}, none()
}

func planMute(e *Engine, c control.Command) (change, control.Result) {
	r, p, bad := e.participant(c.Target)
	if bad.Code != "" {
		return change{}, bad
	}
	if p.Muted {
		return change{}, control.Fail(control.Invalid, "%s is already muted", participantName(&p))
	}
	return change{
		plan:  []string{fmt.Sprintf("mutes %s in room %s: their packets are dropped as muted, they still hear the others", participantName(&p), r.Name)},
		apply: func(context.Context) error { return e.relay.Mute(p.ID, true) },
		undo:  func() error { return e.relay.Mute(p.ID, false) },
		ttl:   muteTTL,
	}, none()
}

func planUnmute(e *Engine, c control.Command) (change, control.Result) {
	r, p, bad := e.participant(c.Target)
	if bad.Code != "" {
		return change{}, bad
	}
	if !p.Muted {
		return change{}, control.Fail(control.Invalid, "%s is not muted", participantName(&p))
	}
	return change{
		plan:  []string{fmt.Sprintf("lets %s be heard in room %s again", participantName(&p), r.Name)},
		apply: func(context.Context) error { return e.relay.Mute(p.ID, false) },
	}, none()
}

// peer resolves a hex id.
func peerTarget(c control.Command) (table.ID, control.Result) {
	id, err := table.ParseID(c.Target)
	if err != nil {
		return table.ID{}, control.Fail(control.Invalid, "a peer is named by its 64 hex digits: %v", err)
	}
	return id, none()
}

func (e *Engine) knownPeer(c control.Command) (table.ID, control.Result) {
	id, bad := peerTarget(c)
	if bad.Code != "" {
		return id, bad
	}
	if e.dht.Table().Get(id) == nil {
		return id, control.Fail(control.NotFound, "the routing table holds no peer %s", c.Target)
	}
	return id, none()
}

func planPeerPing(e *Engine, c control.Command) (change, control.Result) {
	id, bad := e.knownPeer(c)
	if bad.Code != "" {
		return change{}, bad
	}
	var rtt time.Duration
	return change{
		plan: []string{"sends one PING to " + c.Target[:16] + "… and waits up to 5 s"},
		apply: func(ctx context.Context) (err error) {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			if rtt, err = e.dht.Ping(ctx, id); err != nil {
				return fmt.Errorf("no answer: %w", err)
			}
			return nil
		},
		said: func() string { return fmt.Sprintf("%s… answered in %.1f ms", c.Target[:16], rtt.Seconds()*1e3) },
	}, none()
}

func planPeerEvict(e *Engine, c control.Command) (change, control.Result) {
	id, bad := e.knownPeer(c)
	if bad.Code != "" {
		return change{}, bad
	}
	return change{
		plan: []string{"takes " + c.Target[:16] + "… out of the routing table", "it may come back by itself; block it to keep it out"},
		apply: func(context.Context) error {
			return e.dht.Evict(id)
		},
	}, none()
}

func planPeerBlock(e *Engine, c control.Command) (change, control.Result) {
	id, bad := peerTarget(c)
	if bad.Code != "" {
		return change{}, bad
	}
	return change{
		plan:   []string{"evicts " + c.Target[:16] + "…, ends its link and refuses it from now on"},
		target: id.String(),
		apply:  func(context.Context) error { return e.dht.Block(id) },
		undo:   func() error { return e.dht.Unblock(id) },
		ttl:    restrictTTL,
	}, none()
}

func planPeerUnblock(e *Engine, c control.Command) (change, control.Result) {
	id, bad := peerTarget(c)
	if bad.Code != "" {
		return change{}, bad
	}
	return change{
		plan:   []string{"lets " + c.Target[:16] + "… connect again"},
		target: id.String(),
		apply:  func(context.Context) error { return e.dht.Unblock(id) },
	}, none()
}

func planRefresh(e *Engine, c control.Command) (change, control.Result) {
	bucket := -1
	if c.Target != "" && c.Target != "all" {
		b, err := strconv.Atoi(c.Target)
		if err != nil || b < 0 || b > 255 {
			return change{}, control.Fail(control.Invalid, "the target is a bucket from 0 to 255, or all")
		}
		bucket = b
	}
	what := "every bucket that holds contacts"
	if bucket >= 0 {
		what = fmt.Sprintf("bucket %d", bucket)
	}
	return change{
		plan:  []string{"looks up a random id in " + what + ", in the background and paced"},
		apply: func(context.Context) error { return e.dht.Refresh(bucket) },
	}, none()
}

// theNode is the target of what is set for the node as a whole, whatever the
// command calls it.
const theNode = "node"

func planDrain(e *Engine, _ control.Command) (change, control.Result) {
	if e.draining.Load() {
		return change{}, control.Fail(control.Invalid, "the node is draining already")
	}
	people, rooms := 0, e.relay.Rooms(time.Now())
	for _, r := range rooms {
		people += r.Local()
	}
	return change{
		plan: append([]string{
			"stops admitting: no new connection, no new participant",
			fmt.Sprintf("%s in %s stay until they leave by themselves or the node is stopped", view.Plural(people, "participant"), view.Plural(len(rooms), "room")),
		}, drainWords(e, rooms)...),
		target: theNode,
		ttl:    restrictTTL, // a drain that is forgotten keeps everybody out
		apply:  func(context.Context) error { e.setDraining(true); return nil },
		undo: func() error {
			if !e.stopping.Load() { // who stops admits nobody
				e.setDraining(false)
			}
			return nil
		},
	}, none()
}

// drainWords say who would be cut when the node is then stopped, and how long
// that takes: the rooms that end here, those that go on elsewhere, the calls.
func drainWords(e *Engine, rooms []view.Room) []string {
	const shown = 8
	words := []string{fmt.Sprintf("a stop then closes them spread over %s (drain_timeout)", e.cfg.DrainTimeout)}
	rooms = slices.Clone(rooms)
	slices.SortStableFunc(rooms, func(a, b view.Room) int { return cmp.Compare(b.Local(), a.Local()) })
	for i := range rooms {
		if i == shown {
			words = append(words, fmt.Sprintf("and %d more rooms", len(rooms)-shown))
			break
		}
		r := &rooms[i]
		end := "it ends here"
		if n := len(r.Participants) - r.Local(); n > 0 {
			end = fmt.Sprintf("%d at other relays go on without them", n)
		}
		words = append(words, fmt.Sprintf("room %s: %d would be cut; %s", clean(r.Name), r.Local(), end))
	}
	return words
}

func planUndrain(e *Engine, _ control.Command) (change, control.Result) {
	if !e.draining.Load() || e.stopping.Load() {
		return change{}, control.Fail(control.Invalid, "the node is not draining, or stopping already")
	}
	return change{
		plan:   []string{"admits connections and participants again"},
		target: theNode,
		apply:  func(context.Context) error { e.setDraining(false); return nil },
	}, none()
}

func planLogLevel(e *Engine, c control.Command) (change, control.Result) {
	level, isText := c.Args["level"].(string)
	if !isText {
		level = c.Target
	}
	lv, before := e.level.Level(), e.level.Level()
	if err := lv.UnmarshalText([]byte(level)); err != nil {
		return change{}, control.Fail(control.Invalid, "the level is debug, info, warn or error, not %q", clean(level))
	}
	return change{
		plan:   []string{fmt.Sprintf("logs at level %s (now %s)", lv, before)},
		target: theNode,
		apply:  func(context.Context) error { e.level.Set(lv); return nil },
		undo:   func() error { e.level.Set(slog.Level(e.baseLevel.Load())); return nil },
		ttl:    restrictTTL,
	}, none()
}
