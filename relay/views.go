package relay

import (
	"cmp"
	"slices"
	"time"

	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// Rooms is the state of all rooms by name, their participants in join order.
// Every value is the receiver's own.
func (r *Relay) Rooms(_ time.Time) []view.Room {
	var rooms []*room
	for i := range r.stripes {
		st := &r.stripes[i]
		st.mu.Lock()
		for _, rm := range st.rooms {
			rooms = append(rooms, rm)
		}
		st.mu.Unlock()
	}
	mono := r.cfg.Now()
	out := make([]view.Room, 0, len(rooms))
	for _, rm := range rooms {
		if v, ok := rm.view(mono); ok {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b view.Room) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// view is false for a room that is only just being opened or removed.
func (rm *room) view(mono int64) (view.Room, bool) {
	rm.mu.Lock()
	locked, dead, kept := rm.locked, rm.dead, rm.keptLocked()
	ro := rm.roster.Load()
	rm.mu.Unlock()
	if dead || (len(ro.members) == 0 && !kept) {
		return view.Room{}, false
	}
	d := rm.directive.Load()
	v := view.Room{
		Name: rm.name, Global: rm.up != nil, Locked: locked, Tier: wire.Tier(d & 0xff).String(), CreatedAt: rm.createdAt,
		Directives: d >> 16, Participants: make([]view.Participant, len(ro.members)),
	}
	if pin := rm.pin.Load(); pin != noPin {
		v.PinnedTier = wire.Tier(pin).String()
	}
	if at, _ := ro.weakest(); at != nil {
		v.Weakest = at.id
	}
	for i, m := range ro.members {
		v.Participants[i] = m.view(mono)
	}
	v.Participants = ro.remotes.views(v.Participants)
	return v, true
}

func (p *Participant) view(mono int64) view.Participant {
	q := p.ring.View(mono)
	refused := p.refused.Load()
	q.Dropped.Add(&refused)
	report, age := p.lastReport(mono)
	v := view.Participant{
		ID: p.id, Fingerprint: p.fingerprint, Alias: p.shownAlias, Remote: p.remote.String(), Transport: p.transport,
		JoinedAt: p.joinedAt, Muted: p.muted.Load(), Tier: wire.Tier(p.tier.Load()).String(),
		LossPct: report.LossPct(), RTTMS: float64(report.RTTMS()), JitterMS: float64(report.JitterMS()), ReportAgeS: -1,
		Received: p.received.Load(), SeqGaps: p.gaps.Load(),
		Delivered: q.Delivered, Dropped: q.Dropped.NonZero(), QueueDepth: q.Depth, QueueCapacity: q.Capacity,
		QueueOldestMS: float64(q.Oldest) / 1e6, Shard: p.shard,
	}
	v.DREDReconstructions, v.ClassicalPLC = p.recovery.dred.Load(), p.recovery.plc.Load()
	if age >= 0 {
		v.ReportAgeS = float64(age) / 1e9
	}
	last := p.lastPacket.Load() // never sent: silent since it joined
	if last == 0 {
		last = p.joinedMono
	}
	v.LastPacketMS = float64(max(0, mono-last)) / 1e6
	v.LastDeliveredMS = -1
	if sent := p.lastSent.Load(); sent > 0 {
		v.LastDeliveredMS = float64(max(0, mono-sent)) / 1e6
	}
	return v
}
