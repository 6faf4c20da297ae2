package engine

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/view"
)

// Bounds of what is in force.
const (
	inForceCap = 1024 // restrictions; one more is refused as busy, none is forgotten
	liftedCap  = 256  // liftings that can be taken back; the oldest makes way
	undoShown  = 256  // a snapshot carries the newest; all can be undone by their id
	keptBefore = 4    // how many changes of one thing can be taken back one after the other
)

// family names what a command sets. Two commands of one family on one target
// set the same thing: the later takes the earlier's place.
type family struct {
	name  string
	lifts bool // leaves nothing in force
}

var families = map[control.Kind]family{
	control.ShardPause: {"shard pause", false}, control.ShardResume: {"shard pause", true},
	control.SourceBan: {"source", false}, control.SourceThrottle: {"source", false}, control.SourceClear: {"source", true},
	control.RoomLock: {"room lock", false}, control.RoomUnlock: {"room lock", true}, control.RoomPinTier: {"room pin", false},
	control.RoomTap: {"room tap", false}, control.RoomUntap: {"room tap", true},
	control.ParticipantMute: {"participant mute", false}, control.ParticipantUnmute: {"participant mute", true},
	control.PeerBlock: {"peer block", false}, control.PeerUnblock: {"peer block", true},
	control.LinkMute: {"link mute", false}, control.LinkUnmute: {"link mute", true},
	control.NodeDrain: {"node drain", false}, control.NodeUndrain: {"node drain", true},
	control.NodeLogLevel: {"node log level", false},
}

// slotOf names the thing a change sets, "" when it leaves nothing in force.
func slotOf(c control.Command, ch *change) (slot string, lifts bool) {
	f, ok := families[c.Kind]
	switch {
	case !ok && ch.undo == nil:
		return "", false
	case !ok:
		f.name = string(c.Kind)
	}
	return f.name + " " + cmp.Or(ch.target, c.Target), f.lifts || ch.lifts
}

// standing is one change in force: a restriction, or a lifting that can be
// taken back.
type standing struct {
	// Constant after it is booked, but for prev, which turn guards.
	info  view.Undo
	lifts bool
	set   func(until time.Time) error // puts it in force
	free  func() error                // leaves nothing of its slot in force
	prev  *standing                   // what it took the place of
	order uint64
}

// alive says whether it has not run out.
func (s *standing) alive(now time.Time) bool {
	return s != nil && (s.info.Until.IsZero() || now.Before(s.info.Until))
}

// worth says whether taking s back would bring a restriction again or end one.
func (s *standing) worth(now time.Time) bool { return !s.lifts || s.prev.alive(now) }

// inForce holds what operators have put in force: one standing a slot, with
// one expiry. It is changed by whoever holds Engine.turn only.
type inForce struct {
	mu    sync.Mutex // a leaf; guards the rest
	slots map[string]*standing
	order uint64
}

func newInForce() *inForce { return &inForce{slots: map[string]*standing{}} }

func (f *inForce) get(slot string) *standing {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.slots[slot]
}

// full says whether one more restriction would be too many.
func (f *inForce) full() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, s := range f.slots {
		if !s.lifts {
			n++
		}
	}
	return n >= inForceCap
}

// put books s as what is in force in the slot; nil: nothing is.
func (f *inForce) put(slot string, s *standing) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s == nil {
		delete(f.slots, slot)
		return
	}
	if s.order == 0 {
		f.order++
		s.order = f.order
	}
	f.slots[slot] = s
	lifted, oldest := 0, ""
	for k, o := range f.slots {
		if o.lifts {
			if lifted++; oldest == "" || o.order < f.slots[oldest].order {
				oldest = k
			}
		}
	}
	if lifted > liftedCap {
		delete(f.slots, oldest)
	}
}

// find returns the slot in which the change of an undo id is in force.
func (f *inForce) find(id string) (string, *standing) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for slot, s := range f.slots {
		if s.info.ID == id {
			return slot, s
		}
	}
	return "", nil
}

// due returns the slots whose change has run out, oldest first, and forgets
// liftings that there is nothing left to take back of.
func (f *inForce) due(now time.Time) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for slot, s := range f.slots {
		switch {
		case !s.alive(now):
			out = append(out, slot)
		case !s.worth(now):
			delete(f.slots, slot)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Compare(f.slots[a].order, f.slots[b].order) })
	return out
}

// newest lists what can be taken back, newest first.
func (f *inForce) newest() []view.Undo {
	f.mu.Lock()
	all := make([]*standing, 0, len(f.slots))
	for _, s := range f.slots {
		all = append(all, s)
	}
	f.mu.Unlock()
	slices.SortFunc(all, func(a, b *standing) int { return cmp.Compare(b.order, a.order) })
	out := make([]view.Undo, 0, min(len(all), undoShown))
	for _, s := range all[:min(len(all), undoShown)] {
		out = append(out, s.info)
	}
	return out
}

// cut shortens the chain of what was in force before, so that it is bounded
// however often one thing is changed.
func cut(s *standing) *standing {
	at := s
	for range keptBefore - 1 {
		if at == nil {
			return s
		}
		at = at.prev
	}
	if at != nil {
		at.prev = nil
	}
	return s
}
