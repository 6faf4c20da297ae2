package relay

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"signalbox/engine/ledger"
	"signalbox/relay/queue"
)

// Why Join refuses.
var (
	ErrDraining = errors.New("the node is draining")
	ErrBanned   = errors.New("the source address is banned")
	ErrName     = errors.New("not a name a room can have")
	ErrFull     = errors.New("the node has as many participants as it may")
	ErrRooms    = errors.New("the node has as many rooms as it may")
	ErrRoomFull = errors.New("the room is full")
	ErrLocked   = errors.New("the room is locked")
)

// JoinRequest is who wants to join what. Fingerprint is that of the identity
// the client has proved (4.2), Alias its own choice. Close ends the client's
// connection when the relay expels it; it is called without any lock held.
type JoinRequest struct {
	Room        string
	Fingerprint string
	Alias       string
	Remote      netip.AddrPort
	Transport   string // quic, ws, wt, federated
	Labelled    bool   // every packet it takes begins with a label, see LabelSize
	Shard       string // the shard the client's packets go through, media/3
	MaxDatagram func() int
	Close       func(reason string)
	Now         time.Time
}

// Join makes the client a member of the room, which it creates if need be. All
// members will be told, the new one included. Somebody who comes back to the
// full room of a call takes the place of their own older connection.
func (r *Relay) Join(q JoinRequest) (*Participant, error) {
	if r.Forwarding(q.Room) {
		return nil, ErrForwarded
	}
	return r.join(q, nil)
}

func (r *Relay) join(q JoinRequest, far *Far) (*Participant, error) {
	addr := q.Remote.Addr().Unmap()
	switch {
	case r.draining.Load():
		return nil, ErrDraining
	case !validName(q.Room):
		return nil, ErrName
	case r.Banned(addr):
		return nil, ErrBanned
	}
	if r.sessions.Add(1) > int64(r.cfg.MaxSessions) {
		r.sessions.Add(-1)
		return nil, ErrFull
	}
	p := r.newParticipant(q, addr)
	if far != nil {
		r.newLeg(q, far, p)
	}
	for {
		rm, err := r.openRoom(q.Room, q.Now)
		if err != nil {
			r.sessions.Add(-1)
			return nil, err
		}
		p.room = rm
		for _, leg := range p.pair {
			leg.room = rm
		}
		replaced, again, err := r.enter(rm, p)
		if again {
			r.dropRoom(rm) // whoever marked it dead may not have come to it yet
			continue
		}
		if err != nil {
			r.sessions.Add(-1)
			return nil, err
		}
		if replaced != nil {
			replaced.end()
			replaced.hangUp("replaced by a newer connection")
			rm.retier()
		}
		rm.roster.Load().wakeSignals()
		rm.tellUplink()
		return p, nil
	}
}

func (r *Relay) newParticipant(q JoinRequest, addr netip.Addr) *Participant {
	now := r.cfg.Now()
	num := r.lastID.Add(1)
	p := &Participant{
		relay: r, num: num, id: formatID(num), fingerprint: q.Fingerprint,
		alias: truncate(strings.ToValidUTF8(q.Alias, ""), maxWire), shownAlias: sanitize(q.Alias, maxAlias),
		remote: q.Remote, addr: addr, transport: q.Transport, labelled: q.Labelled, shard: q.Shard,
		joinedAt: q.Now, joinedMono: now, closeConn: q.Close, maxDatagram: q.MaxDatagram,
		wake: make(chan struct{}, 1), signalWake: make(chan struct{}, 1),
		budget: newBudget(r.cfg.ClientPPS, r.cfg.ClientBPS, now),
		marks:  make([]uint32, r.cfg.Shards), judge: newJudge(),
		ring: queue.New(r.cfg.QueueCapacity, r.cfg.QueueBytes, int64(r.cfg.QueueMaxAge), packetSize),
	}
	p.tier.Store(uint32(p.judge.tier))
	return p
}

// openRoom returns the room of that name, a new one if there is none.
func (r *Relay) openRoom(name string, now time.Time) (*room, error) {
	st := r.stripe(name)
	st.mu.Lock()
	defer st.mu.Unlock()
	if rm := st.rooms[name]; rm != nil {
		return rm, nil
	}
	if r.rooms.Add(1) > int64(r.cfg.MaxRooms) {
		r.rooms.Add(-1)
		return nil, ErrRooms
	}
	seats := r.cfg.MaxRoomSize
	if strings.HasPrefix(name, callPrefix) {
		seats = callSeats
	}
	rm := r.newRoom(name, seats, now)
	st.rooms[name] = rm
	return rm, nil
}

// dropRoom takes a dead room out of its stripe, unless its successor is there
// already.
func (r *Relay) dropRoom(rm *room) {
	st := r.stripe(rm.name)
	st.mu.Lock()
	if st.rooms[rm.name] == rm {
		delete(st.rooms, rm.name)
		r.rooms.Add(-1)
	}
	st.mu.Unlock()
	rm.closeUplink()
}

// enter decides under the room's mutex. again means that the room is dead.
func (r *Relay) enter(rm *room, p *Participant) (replaced *Participant, again bool, err error) {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	if rm.dead {
		return nil, true, nil
	}
	if rm.locked {
		return nil, false, ErrLocked
	}
	if members := rm.roster.Load().members; len(members) >= rm.seats {
		if replaced = rm.predecessor(p, members); replaced == nil {
			return nil, false, ErrRoomFull
		}
	}
	// Live before it is in the roster: a ring is in the account before the
	// first copy can be pushed into it.
	r.mu.Lock()
	r.enlistLocked(p)
	for _, leg := range p.pair {
		r.enlistLocked(leg)
	}
	r.mu.Unlock()
	if replaced != nil {
		replaced.state.CompareAndSwap(stateIn, stateExpelled)
		rm.removeLocked(replaced)
	}
	rm.addLocked(p)
	return replaced, false, nil
}

// enlistLocked puts p among the live ones. Relay.mu is held.
func (r *Relay) enlistLocked(p *Participant) {
	r.live[p.num] = p
	p.rule.Store(match(r.rules.Load(), p.addr, r.cfg.Now()))
}

// predecessor is the older connection of p's identity in the room of a call,
// half dead until its idle timeout ends it.
func (rm *room) predecessor(p *Participant, members []*Participant) *Participant {
	if !strings.HasPrefix(rm.name, callPrefix) || p.fingerprint == "" {
		return nil
	}
	for _, m := range members {
		if m.fingerprint == p.fingerprint {
			return m
		}
	}
	return nil
}

// Leave takes the participant out of its room. What waits for it is dropped as
// gone, what its writer still holds too. Any goroutine, any number of times:
// it can only ever take out this participant, never one that came after.
func (p *Participant) Leave(_ int64) { p.leave(stateLeft) }

// leave is Leave, and what becomes of packets of its that are still on their
// way.
func (p *Participant) leave(state uint32) {
	p.state.CompareAndSwap(stateIn, state)
	if p.leg {
		p.pair[0].leave(state)
		return
	}
	for _, leg := range p.pair {
		leg.state.CompareAndSwap(stateIn, state)
	}
	rm := p.room
	rm.mu.Lock()
	before := rm.roster.Load().version
	rm.removeLocked(p)
	ro := rm.roster.Load()
	dead := rm.dieLocked()
	rm.mu.Unlock()
	if dead {
		p.relay.dropRoom(rm)
	}
	p.end()
	if ro.version != before && !dead {
		rm.retier()
		ro.wakeSignals()
		rm.tellUplink()
	}
}

// end retires the ring, and the other half's: out of the live list and into
// the retired counts in one step. The first caller does it.
func (p *Participant) end() {
	r := p.relay
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retireLocked(p)
	for _, q := range p.pair {
		r.retireLocked(q)
	}
}

func (r *Relay) retireLocked(p *Participant) {
	if r.live[p.num] != p {
		return
	}
	delete(r.live, p.num)
	final := p.ring.Close(ledger.Gone)
	r.retired.Add(&final)
	if !p.leg {
		r.sessions.Add(-1)
	}
}

func (p *Participant) hangUp(reason string) {
	if p.closeConn != nil {
		p.closeConn(reason)
	}
}
