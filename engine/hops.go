package engine

import (
	"fmt"

	"signalbox/engine/view"
)

// recent is the newest snapshot and one from a few seconds before it.
type recent struct {
	s, base *view.Snapshot

	// across are the hops of a way that leads over another relay; nil: none does.
	across func(s *view.Snapshot, r *view.Room, from, to *view.Participant) []view.Hop
}

// rate is how many a second a counter has grown by.
func (r *recent) rate(now, then uint64) float64 {
	dt := r.s.At.Sub(r.base.At).Seconds()
	if dt <= 0 || now < then {
		return 0
	}
	return float64(now-then) / dt
}

// was is the participant as it was then; one that has come since had done
// nothing.
func (r *recent) was(p *view.Participant) *view.Participant {
	for i := range r.base.Rooms {
		for k := range r.base.Rooms[i].Participants {
			if q := &r.base.Rooms[i].Participants[k]; q.ID == p.ID {
				return q
			}
		}
	}
	return &view.Participant{}
}

// dropping is the drops a second by reason.
func (r *recent) dropping(p *view.Participant) map[string]float64 {
	then := r.was(p).Dropped
	out := map[string]float64{}
	for k, n := range p.Dropped {
		out[k] = r.rate(n, then[k])
	}
	return out
}

// totals picks the reasons that have dropped anything at all.
func totals(m map[string]uint64, reasons ...string) map[string]uint64 {
	out := map[string]uint64{}
	for _, k := range reasons {
		if n := m[k]; n > 0 {
			out[k] = n
		}
	}
	return out
}

func (r *recent) senderHop(p *view.Participant) view.Hop {
	h := view.Hop{
		Name: "sender " + participantName(p), LastPacketAgo: p.LastPacketMS, Verdict: "ok", RatePPS: r.rate(p.Received, r.was(p).Received),
		Dropped: totals(p.Dropped, "muted", "client_rate", "malformed", "source_banned", "source_throttled", "rx_queue"),
	}
	drops, rule := r.dropping(p), ruleOn(r.s, p.Remote)
	switch {
	case rule != nil && rule.Kind == kindBanned:
		h.Verdict = fmt.Sprintf("their source %s is banned by %s (%s): all they send is dropped, %.0f packets/s now", rule.Prefix, rule.Author, rule.Reason, drops["source_banned"])
		h.Remedy = "lift it: source.clear " + rule.Prefix
	case p.Muted:
		h.Verdict = fmt.Sprintf("an operator has muted them: %.0f packets/s dropped now", drops["muted"])
		h.Remedy = "let them speak: participant.unmute " + p.ID
	case rule != nil && drops["source_throttled"] > 0:
		h.Verdict = fmt.Sprintf("their source %s is throttled to %.0f packets/s by %s (%s): %.0f of their %.0f packets/s are dropped", rule.Prefix, rule.RatePPS, rule.Author, rule.Reason, drops["source_throttled"], h.RatePPS)
		h.Remedy = "lift it: source.clear " + rule.Prefix + ", or throttle it to more"
	case p.Received == 0:
		h.Verdict = "has not sent a single packet: their microphone or their network"
		h.Remedy = "theirs to mend: microphone, permission, firewall"
	case p.LastPacketMS > quietAfterMS:
		h.Verdict = fmt.Sprintf("has sent nothing for %.1f s: silent, or their uplink is down", p.LastPacketMS/1e3)
		h.Remedy = "theirs to mend, if they are not simply silent"
	case drops["client_rate"] > 0:
		h.Verdict = fmt.Sprintf("sends above its budget: %.0f of their %.0f packets/s are refused", drops["client_rate"], h.RatePPS)
		h.Remedy = "theirs to mend: a client of ours sends 50 a second; relay.client_pps is the budget"
	case drops["malformed"] > 0:
		h.Verdict = fmt.Sprintf("sends packets that cannot be read: %.0f of their %.0f packets/s", drops["malformed"], h.RatePPS)
		h.Remedy = "theirs to mend: their program is broken, or is none for this relay"
	case drops["rx_queue"] > 0:
		h.Verdict = fmt.Sprintf("%.0f packets/s are lost before we can read them: they burst, or this machine is out of CPU", drops["rx_queue"])
		h.Remedy = "see CPU and the kernel's drops (signalbox doctor); if it is them alone, throttle their source"
	}
	return h
}

func (r *recent) shardHop(v *view.Shard, from *view.Participant) view.Hop {
	h := view.Hop{Name: "shard " + v.Key(), QueueDepth: v.Depth, LastPacketAgo: v.LastPacketMS, Verdict: "ok", Dropped: map[string]uint64{}}
	for k, n := range v.Dropped {
		if n > 0 {
			h.Dropped[k] = n
		}
	}
	if then := shardOf(r.base, v.Key()); then != nil {
		h.RatePPS = r.rate(v.Received, then.Received)
	}
	drops := r.dropping(from)
	switch {
	case v.State == "paused":
		h.Verdict = fmt.Sprintf("is paused by an operator: %.0f packets/s of theirs are dropped, %d messages wait", drops["shard_paused"], v.Depth)
		h.Remedy = "let it go on: shard.resume " + v.Key()
	case v.State != "running":
		h.Verdict = "is " + v.State
		h.Remedy = "put a new loop in charge: shard.restart " + v.Key()
	case drops["shard_full"] > 0:
		h.Verdict = fmt.Sprintf("is full, or they take more than their share of it: %.0f packets/s of theirs are dropped", drops["shard_full"])
		h.Remedy = hotRemedy(v)
	case v.Depth > v.Capacity/2:
		h.Verdict = fmt.Sprintf("is congested: %d of %d waiting, oldest %.0f ms", v.Depth, v.Capacity, v.OldestMS)
		h.Remedy = hotRemedy(v)
	}
	return h
}

// hotRemedy is against who fills a shard.
func hotRemedy(v *view.Shard) string {
	if len(v.HotSources) == 0 {
		return "see who feeds it (pane 2)"
	}
	return fmt.Sprintf("throttle who feeds it most: source.throttle %s", v.HotSources[0].IP)
}

func (r *recent) roomHop(from, to *view.Room) view.Hop {
	h := view.Hop{Name: "room " + from.Name, Verdict: "ok", LastPacketAgo: -1, Dropped: map[string]uint64{}}
	if from.Name != to.Name {
		h.Verdict = "the other is in room " + to.Name
		h.Remedy = "theirs to mend: both must join the same room"
	}
	var then uint64
	for i := range r.base.Rooms {
		if r.base.Rooms[i].Name == from.Name {
			then = sentTo(&r.base.Rooms[i])
		}
	}
	h.RatePPS = r.rate(sentTo(from), then)
	for i := range from.Participants {
		if p := &from.Participants[i]; p.Received > 0 && (h.LastPacketAgo < 0 || p.LastPacketMS < h.LastPacketAgo) {
			h.LastPacketAgo = p.LastPacketMS
		}
	}
	return h
}

// sentTo is what the members of a room have sent.
func sentTo(r *view.Room) (n uint64) {
	for i := range r.Participants {
		n += r.Participants[i].Received
	}
	return n
}

func (r *recent) receiverHop(p, from *view.Participant) view.Hop {
	was := r.was(p)
	h := view.Hop{
		Name: "receiver " + participantName(p), QueueDepth: p.QueueDepth, LastPacketAgo: p.LastDeliveredMS, Verdict: "ok",
		RatePPS: r.rate(p.Delivered, was.Delivered), Dropped: totals(p.Dropped, "queue_head", "queue_age", "too_large", "write_error"),
	}
	drops := r.dropping(p)
	sent := r.rate(from.Received, r.was(from).Received)
	slow := drops["queue_head"] + drops["queue_age"]
	switch {
	case from.ID == p.ID:
		h.Verdict = "is the sender: nobody is sent their own packets"
	case p.QueueDepth > p.QueueCapacity/2 || p.QueueOldestMS > frozenAfterMS:
		h.Verdict = fmt.Sprintf("does not take its packets: %d of %d queued, oldest %.0f ms: their link or device is stuck", p.QueueDepth, p.QueueCapacity, p.QueueOldestMS)
		h.Remedy = "theirs to mend; participant.kick " + p.ID + " makes their client connect anew"
	case slow > 0:
		h.Verdict = fmt.Sprintf("takes its packets too slowly: %.0f/s are dropped from their queue", slow)
		h.Remedy = "pin the room to a tier their link carries: room.pin_tier"
	case drops["too_large"] > 0:
		h.Verdict = fmt.Sprintf("%.0f packets/s are larger than their path can carry", drops["too_large"])
		h.Remedy = "the sender's to mend: smaller packets"
	case drops["write_error"] > 0:
		h.Verdict = fmt.Sprintf("the transport refuses %.0f packets/s", drops["write_error"])
		h.Remedy = "participant.kick " + p.ID + " makes their client connect anew"
	case sent > 0 && p.Delivered == was.Delivered && was.ID != "":
		h.Verdict = fmt.Sprintf("was handed nothing in the last %.1f s, although the other sends %.0f packets/s", r.s.At.Sub(r.base.At).Seconds(), sent)
		h.Remedy = "look at the hops above, and at what the drops pane (d) says"
	}
	return h
}
