package engine

import (
	"fmt"
	"strings"
	"time"

	"signalbox/engine/view"
)

// quietAfterMS is how long someone may be silent before that is the answer.
const quietAfterMS = 3000.0

// Explain answers why the participant to does not hear the participant from,
// hop by hop, from the newest snapshot. Both are given by id, alias or the
// start of a fingerprint.
func (e *Engine) Explain(from, to string) view.Explanation {
	s := e.Snapshot()
	x := view.Explanation{From: from, To: to, Hops: []view.Hop{}}
	fr, fp := findParticipant(s, from)
	tr, tp := findParticipant(s, to)
	switch {
	case fp == nil:
		x.Verdict = fmt.Sprintf("no participant here is %q: they are not connected to this node", clean(from))
		return x
	case tp == nil:
		x.Verdict = fmt.Sprintf("no participant here is %q: they are not connected to this node", clean(to))
		return x
	}
	x.Hops = append(x.Hops, senderHop(fp, s.At))
	if sh := shardOf(s, fp.Shard); sh != nil {
		x.Hops = append(x.Hops, shardHop(sh))
	}
	x.Hops = append(x.Hops, roomHop(fr, tr))
	if s.Forward != nil {
		x.Hops = append(x.Hops, remoteHop(s.Forward, fp, s.At))
	}
	x.Hops = append(x.Hops, receiverHop(tp))
	for _, h := range x.Hops {
		if h.Verdict != "ok" {
			x.Verdict = h.Name + ": " + h.Verdict
			return x
		}
	}
	x.Verdict = fmt.Sprintf("packets of %s reach %s through this node; what is left is their own side", participantName(fp), participantName(tp))
	return x
}

func findParticipant(s *view.Snapshot, who string) (*view.Room, *view.Participant) {
	if who == "" {
		return nil, nil
	}
	for pass := range 3 {
		for i := range s.Rooms {
			for k := range s.Rooms[i].Participants {
				p := &s.Rooms[i].Participants[k]
				if (pass == 0 && p.ID == who) || (pass == 1 && strings.EqualFold(p.Alias, who)) || (pass == 2 && strings.HasPrefix(p.Fingerprint, who)) {
					return &s.Rooms[i], p
				}
			}
		}
	}
	return nil, nil
}

func shardOf(s *view.Snapshot, key string) *view.Shard {
	for i := range s.Shards {
		if s.Shards[i].Key() == key {
			return &s.Shards[i]
		}
	}
	return nil
}

func senderHop(p *view.Participant, at time.Time) view.Hop {
	h := view.Hop{Name: "sender " + participantName(p), LastPacketAgo: p.LastPacketMS, Verdict: "ok", Dropped: map[string]uint64{}}
	if life := at.Sub(p.JoinedAt).Seconds(); life > 0 {
		h.RatePPS = float64(p.Received) / life
	}
	for _, r := range []string{"muted", "client_rate", "malformed", "source_banned", "source_throttled", "rx_queue"} {
		if n := p.Dropped[r]; n > 0 {
			h.Dropped[r] = n
		}
	}
	switch {
	case p.Muted:
		h.Verdict = "an operator has muted them"
	case p.Received == 0:
		h.Verdict = "has not sent a single packet: their microphone or their network"
	case p.LastPacketMS > quietAfterMS:
		h.Verdict = fmt.Sprintf("has sent nothing for %.1f s: silent, or their uplink is down", p.LastPacketMS/1e3)
	case h.Dropped["client_rate"] > 0:
		h.Verdict = fmt.Sprintf("sends above its budget: %d packets refused", h.Dropped["client_rate"])
	}
	return h
}

func shardHop(v *view.Shard) view.Hop {
	h := view.Hop{Name: "shard " + v.Key(), QueueDepth: v.Depth, Verdict: "ok", Dropped: map[string]uint64{}}
	for r, n := range v.Dropped {
		if n > 0 {
			h.Dropped[r] = n
		}
	}
	switch {
	case v.State != "running":
		h.Verdict = "is " + v.State
	case v.Depth > v.Capacity/2:
		h.Verdict = fmt.Sprintf("is congested: %d of %d waiting, oldest %.0f ms", v.Depth, v.Capacity, v.OldestMS)
	}
	return h
}

func roomHop(from, to *view.Room) view.Hop {
	h := view.Hop{Name: "room " + from.Name, Verdict: "ok", Dropped: map[string]uint64{}}
	if from.Name != to.Name {
		h.Verdict = fmt.Sprintf("the other is in room %s", to.Name)
	}
	return h
}

func receiverHop(p *view.Participant) view.Hop {
	h := view.Hop{Name: "receiver " + participantName(p), QueueDepth: p.QueueDepth, Verdict: "ok", Dropped: map[string]uint64{}}
	for _, r := range []string{"queue_head", "queue_age", "too_large", "write_error"} {
		if n := p.Dropped[r]; n > 0 {
			h.Dropped[r] = n
		}
	}
	if p.QueueDepth > p.QueueCapacity/2 || p.QueueOldestMS > frozenAfterMS {
		h.Verdict = fmt.Sprintf("does not take its packets: %d of %d queued, oldest %.0f ms: their link or device is stuck", p.QueueDepth, p.QueueCapacity, p.QueueOldestMS)
	}
	return h
}
