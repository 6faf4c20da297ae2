package relay

import (
	"strconv"

	"signalbox/engine/ledger"
	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// Uplink is a room's way to the relays that share it. Its methods are called
// from any goroutine, without any lock held, and must not wait.
type Uplink interface {
	// Out takes one packet of a member of ours, by its id. It is shared and
	// read-only.
	Out(from string, pkt []byte, now int64)
	// Changed says that the room's members are not those they were.
	Changed()
	// Closed says that this room is gone; one of the same name may be there.
	Closed()
}

// Remotes are the members of a room at other relays. It is never changed once
// it was handed over.
type Remotes struct {
	Gen  uint64 // of two lists, the higher one counts
	List []wire.RoomParticipant
}

func (re *Remotes) list() []wire.RoomParticipant {
	if re == nil {
		return nil
	}
	return re.List
}

// views appends a row for each.
func (re *Remotes) views(out []view.Participant) []view.Participant {
	unknown := 0
	for _, m := range re.list() {
		v := view.Participant{Fingerprint: sanitize(m.Fingerprint, maxAlias), Transport: Federated, ReportAgeS: -1, Dropped: map[string]uint64{}}
		if m.Alias != nil {
			v.Alias = sanitize(*m.Alias, maxAlias)
		}
		if m.RelayLabel != nil {
			v.RelayLabel = sanitize(*m.RelayLabel, maxAlias)
		}
		v.ID = "f/" + v.RelayLabel + "/" + v.Fingerprint
		if v.Fingerprint == "" { // several may be so, and a row is found by its id
			unknown++
			v.ID += "#" + strconv.Itoa(unknown)
		}
		out = append(out, v)
	}
	return out
}

// Federated is the transport of a member at another relay.
const Federated = "federated"

// GlobalRoom is one room that other relays take part in, as its uplink sees
// it: from when it is opened until Closed.
type GlobalRoom struct {
	relay *Relay
	rm    *room
}

// Name is the room's name.
func (g *GlobalRoom) Name() string { return g.rm.name }

// Members are those that are here.
func (g *GlobalRoom) Members() []wire.RoomParticipant { return g.rm.roster.Load().locals() }

// SetRemotes replaces the members elsewhere and has everybody told, unless a
// newer list was set already.
func (g *GlobalRoom) SetRemotes(re *Remotes) {
	rm := g.rm
	rm.mu.Lock()
	old := rm.roster.Load()
	if rm.dead || (old.remotes != nil && old.remotes.Gen >= re.Gen) {
		rm.mu.Unlock()
		return
	}
	ro := &roster{version: old.version + 1, members: old.members, remotes: re}
	rm.roster.Store(ro)
	rm.mu.Unlock()
	ro.wakeSignals()
}

// Deliver hands a packet from another relay to everybody here, of whom there
// were n; open is false when an operator has closed the room. The packet is
// shared from now on. It locks nothing but one receiver's ring at a time.
func (g *GlobalRoom) Deliver(pkt []byte, payload int, now int64) (n int, open bool) {
	if g.rm.closed.Load() {
		return 0, false
	}
	r, members := g.relay, g.rm.roster.Load().members
	for _, m := range members {
		out := pkt
		if m.labelled {
			out = label(0, pkt)
		}
		if !m.ring.Push(out, now) {
			r.late[ledger.Gone].Add(1)
			continue
		}
		m.wakeWriter()
	}
	r.shards[0].copies.Add(uint64(len(members)))
	r.shards[0].bytes.Add(uint64(len(members) * payload))
	return len(members), true
}

func (rm *room) tellUplink() {
	if rm.up != nil {
		rm.up.Changed()
	}
}

func (rm *room) closeUplink() {
	if rm.up != nil {
		rm.up.Closed()
	}
}
