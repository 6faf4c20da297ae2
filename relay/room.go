package relay

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/relay/wire"
)

// callPrefix begins the names of rooms of direct calls, which have two seats
// (5.2).
const (
	callPrefix = "call-"
	callSeats  = 2
)

// roster is who is in a room. It is never changed once stored.
type roster struct {
	version uint64 // grows with each join and leave, from 1
	members []*Participant
	remotes *Remotes // members at other relays; nil: none

	once   sync.Once // guards the building of update and frame
	update *wire.RoomUpdate
	frame  []byte // update as it is sent, for all; nil if it cannot be
}

// roomUpdate is the signal that tells this roster, in join order (5.2). It is
// built when the first member asks, so that a thousand joins in a row do not
// build a thousand lists.
func (ro *roster) roomUpdate() *wire.RoomUpdate {
	ro.once.Do(func() {
		list := append(ro.locals(), ro.remotes.list()...)
		ro.update = &wire.RoomUpdate{Count: uint32(len(list)), Participants: list}
		ro.frame = fitting(ro.update)
	})
	return ro.update
}

// fitting encodes a roster. One that is larger than a client takes goes without
// the aliases, and if need be without the last to join; its count stays.
func fitting(u *wire.RoomUpdate) []byte {
	frame, err := wire.EncodeFrame(u)
	if errors.Is(err, wire.ErrFrameTooLarge) {
		u.Participants = slices.Clone(u.Participants)
		for i := range u.Participants {
			u.Participants[i].Alias = nil
		}
		frame, err = wire.EncodeFrame(u)
	}
	for errors.Is(err, wire.ErrFrameTooLarge) && len(u.Participants) > 0 {
		u.Participants = u.Participants[:len(u.Participants)/2]
		frame, err = wire.EncodeFrame(u)
	}
	return frame
}

// locals is the part of the list that is here.
func (ro *roster) locals() []wire.RoomParticipant {
	list := make([]wire.RoomParticipant, len(ro.members))
	for i, m := range ro.members {
		list[i].Fingerprint = m.fingerprint
		if m.alias != "" {
			list[i].Alias = &m.alias
		}
	}
	return list
}

// Member is one of a room, as the others may know it.
type Member struct {
	Num         uint64
	Fingerprint string // empty: unknown
	Alias       string
	Transport   string
}

// Members are those of p's room that are here, p included, in join order.
func (p *Participant) Members() []Member {
	members := p.room.roster.Load().members
	list := make([]Member, len(members))
	for i, m := range members {
		list[i] = Member{Num: m.num, Fingerprint: m.fingerprint, Alias: m.alias, Transport: m.transport}
	}
	return list
}

func (ro *roster) wakeSignals() {
	for _, m := range ro.members {
		m.wakeSignals()
	}
}

// noPin is the value of room.pin when the judge decides.
const noPin = -1

// room is a media room.
type room struct {
	// Constant after newRoom.
	name      string
	createdAt time.Time
	seats     int
	floor     wire.Tier
	up        Uplink // to other relays; nil: the room is of this node alone

	// Any goroutine (atomic).
	roster    atomic.Pointer[roster] // never nil; stored under mu
	closed    atomic.Bool            // by an operator: what its members sent is dropped
	pin       atomic.Int32           // an operator's tier, or noPin; stored under mu
	tierGen   atomic.Uint64          // grows with every change that may move the tier
	directive atomic.Uint64          // version<<16 | pinned<<8 | tier: what the members are told

	// mu guards who is in the room and whether it still is one.
	mu     sync.Mutex
	dead   bool // out of the stripe, or about to be: nobody joins any more
	locked bool // by an operator
}

func (r *Relay) newRoom(name string, seats int, now time.Time) *room {
	rm := &room{name: name, createdAt: now, seats: seats, floor: r.cfg.TierFloor}
	rm.roster.Store(&roster{})
	rm.pin.Store(noPin)
	rm.directive.Store(uint64(max(wire.Good, rm.floor)))
	if r.cfg.Global != nil { // last: packets may come from there at once
		g := &GlobalRoom{relay: r, rm: rm}
		var re *Remotes
		if rm.up, re = r.cfg.Global(g); re != nil {
			g.SetRemotes(re)
		}
	}
	return rm
}

// keptLocked says whether an operator's lever keeps the room in being without
// members. mu is held.
func (rm *room) keptLocked() bool { return rm.locked || rm.pin.Load() != noPin }

// dieLocked marks the room dead if nobody needs it. mu is held.
func (rm *room) dieLocked() bool {
	if len(rm.roster.Load().members) == 0 && !rm.keptLocked() {
		rm.dead = true
	}
	return rm.dead
}

// addLocked and removeLocked store the next roster. mu is held.
func (rm *room) addLocked(p *Participant) {
	old := rm.roster.Load()
	members := make([]*Participant, len(old.members)+1)
	copy(members, old.members)
	members[len(old.members)] = p
	rm.roster.Store(&roster{version: old.version + 1, members: members, remotes: old.remotes})
}

func (rm *room) removeLocked(p *Participant) {
	old := rm.roster.Load()
	i := slices.Index(old.members, p)
	if i < 0 {
		return
	}
	members := make([]*Participant, 0, len(old.members)-1)
	members = append(append(members, old.members[:i]...), old.members[i+1:]...)
	rm.roster.Store(&roster{version: old.version + 1, members: members, remotes: old.remotes})
}

// weakest is the member whose tier is the lowest, the worse report first among
// equals. Those that have never reported do not count, nor those an operator
// has muted: a liar is ignored by muting him, and his last word does not stay.
func (ro *roster) weakest() (at *Participant, t wire.Tier) {
	var worst uint32
	for _, m := range ro.members {
		if m.reportAt.Load() == 0 || m.muted.Load() {
			continue
		}
		mt, q := wire.Tier(m.tier.Load()), m.report.Load()
		if at == nil || mt < t || (mt == t && q > worst) {
			at, t, worst = m, mt, q
		}
	}
	return at, t
}

func (rm *room) wantedTier() (t wire.Tier, pinned bool) {
	if pin := rm.pin.Load(); pin != noPin {
		return wire.Tier(pin), true
	}
	if at, t := rm.roster.Load().weakest(); at != nil {
		return max(t, rm.floor), false
	}
	return max(wire.Good, rm.floor), false
}

// retier brings the room's tier in line with its members' after something
// changed, and wakes everybody's signals if that made a directive (5.5). It
// takes no lock. Whoever changed something has added to tierGen after it:
// a tier computed from what was then old is seen to be so, after it was
// stored, and computed again.
func (rm *room) retier() {
	rm.tierGen.Add(1)
	for {
		gen := rm.tierGen.Load()
		t, pinned := rm.wantedTier()
		old := rm.directive.Load()
		if wire.Tier(old&0xff) != t {
			next := (old>>16+1)<<16 | uint64(t)
			if pinned {
				next |= 1 << 8
			}
			if !rm.directive.CompareAndSwap(old, next) {
				continue
			}
			rm.roster.Load().wakeSignals()
		}
		if rm.tierGen.Load() == gen {
			return
		}
	}
}
