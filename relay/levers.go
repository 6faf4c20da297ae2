package relay

import (
	"errors"

	"signalbox/relay/wire"
)

// The errors of the operator's levers.
var (
	ErrNoRoom        = errors.New("no such room")
	ErrNoParticipant = errors.New("no such participant")
	ErrTier          = errors.New("no such tier")
)

// findRoom is nil for a room that does not exist.
func (r *Relay) findRoom(name string) *room {
	st := r.stripe(name)
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.rooms[name]
}

// change applies f to a room under its mutex; f's own failure or ErrNoRoom. A
// room that only a lever kept in being goes when the lever does.
func (r *Relay) change(name string, f func(*room)) error {
	rm := r.findRoom(name)
	if rm == nil {
		return ErrNoRoom
	}
	rm.mu.Lock()
	if rm.dead {
		rm.mu.Unlock()
		return ErrNoRoom
	}
	f(rm)
	dead := rm.dieLocked()
	rm.mu.Unlock()
	if dead {
		r.dropRoom(rm)
	}
	return nil
}

// LockRoom keeps everybody out who is not in the room, or admits again. A
// locked room stays, locked, when it empties and when it is closed.
func (r *Relay) LockRoom(name string, on bool) error {
	return r.change(name, func(rm *room) { rm.locked = on })
}

// KnownTier says whether PinTier takes the name.
func (r *Relay) KnownTier(tier string) bool {
	_, err := parsePin(tier)
	return err == nil
}

func parsePin(tier string) (int32, error) {
	if tier == "" {
		return noPin, nil
	}
	t, err := wire.ParseTier(tier)
	if err != nil {
		return 0, ErrTier
	}
	return int32(t), nil
}

// PinTier directs the room to a tier whatever its members report; the empty
// name lets the judge decide again. Like a lock, a pin outlives the members.
func (r *Relay) PinTier(name, tier string) error {
	pin, err := parsePin(tier)
	if err != nil {
		return err
	}
	var changed *room
	if err := r.change(name, func(rm *room) { rm.pin.Store(pin); changed = rm }); err != nil {
		return err
	}
	changed.retier()
	return nil
}

// CloseRoom expels everybody. They may come back, into a new room of the name,
// which inherits a lock and a pin. What they sent and we still hold is dropped
// as room_gone.
func (r *Relay) CloseRoom(name string) error {
	rm := r.takeDown(name)
	if rm == nil {
		return ErrNoRoom
	}
	rm.closeUplink()
	for _, m := range rm.roster.Load().members {
		m.leave(stateExpelled)
		m.hangUp("room closed")
	}
	return nil
}

// takeDown marks the room dead and puts its successor in its place in one
// step: a joiner must not find the place empty and open the room without its
// lock.
func (r *Relay) takeDown(name string) *room {
	st := r.stripe(name)
	st.mu.Lock()
	defer st.mu.Unlock()
	rm := st.rooms[name]
	if rm == nil {
		return nil
	}
	rm.mu.Lock()
	defer rm.mu.Unlock()
	if rm.dead {
		return nil // by its last member, who will take it out
	}
	rm.dead = true
	rm.closed.Store(true)
	if !rm.keptLocked() {
		delete(st.rooms, name)
		r.rooms.Add(-1)
		return rm
	}
	next := r.newRoom(name, rm.seats, rm.createdAt)
	next.locked = rm.locked
	next.pin.Store(rm.pin.Load())
	next.retier()
	st.rooms[name] = next
	return rm
}

// Kick expels the participant: it is out of its room when Kick returns, and
// its connection has been told to close for the reason.
func (r *Relay) Kick(id, reason string) error {
	p, err := r.participant(id)
	if err != nil {
		return err
	}
	p.leave(stateExpelled)
	p.hangUp(reason)
	return nil
}

// Mute drops what the participant sends, as muted, or lets it be heard again.
// While it is muted its reports do not count for the room's tier.
func (r *Relay) Mute(id string, on bool) error {
	p, err := r.participant(id)
	if err != nil {
		return err
	}
	if p.muted.Swap(on) == on {
		return nil
	}
	if !on {
		p.seq.Store(0) // what was muted is not missing
	}
	p.room.retier()
	return nil
}
