package engine

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"signalbox/engine/view"
	"signalbox/relay"
)

// quietAfterMS is how long someone may be silent before that is the answer.
const quietAfterMS = 3000.0

// recentStep is how long a snapshot is kept to compare with: what is said to
// happen now has happened in the last one to two of these.
const recentStep = 1500 * time.Millisecond

// Explain answers why the participant to does not hear the participant from,
// hop by hop, from what has happened in the last seconds. Both are given by id,
// alias or the start of a fingerprint. From alone, or twice, may be a call's id:
// then it says how the call stands.
func (e *Engine) Explain(from, to string) view.Explanation {
	s, base := e.Snapshot(), e.before.Load()
	if base == nil {
		base = s
	}
	if c := findCall(s, from); c != nil && (to == "" || to == from) {
		return e.explainCall(s, c)
	}
	return explain(&recent{s: s, base: base, across: e.federatedHops}, from, to)
}

func explain(r *recent, from, to string) view.Explanation {
	x := view.Explanation{From: from, To: to, Hops: []view.Hop{}}
	fr, fp := findParticipant(r.s, from)
	tr, tp := findParticipant(r.s, to)
	if fp == nil || tp == nil {
		who := from
		if fp != nil {
			who = to
		}
		x.Verdict = fmt.Sprintf("no participant here is %q: they are not connected to this node%s", clean(who), keptOut(r.s))
		return x
	}
	if fp.Transport != relay.Federated {
		x.Hops = append(x.Hops, r.senderHop(fp))
		if sh := shardOf(r.s, fp.Shard); sh != nil {
			x.Hops = append(x.Hops, r.shardHop(sh, fp))
		}
	}
	if r.across != nil && (fp.Transport == relay.Federated || tp.Transport == relay.Federated) {
		x.Hops = append(x.Hops, r.across(r.s, fr, fp, tp)...)
	}
	x.Hops = append(x.Hops, r.roomHop(fr, tr))
	if r.s.Forward != nil {
		x.Hops = append(x.Hops, remoteHop(r.s.Forward, fp, r.s.At))
	}
	if tp.Transport != relay.Federated {
		x.Hops = append(x.Hops, r.receiverHop(tp, fp))
	}
	x.Verdict = fmt.Sprintf("packets of %s reach %s through this node; what is left is their own side", participantName(fp), participantName(tp))
	for _, h := range x.Hops {
		if h.Verdict != "ok" {
			x.Verdict, x.Remedy = h.Name+": "+h.Verdict, h.Remedy
			break
		}
	}
	x.Verdict += besides(r.s, fr, tp)
	return x
}

// keptOut names what may keep somebody out.
func keptOut(s *view.Snapshot) string {
	var why []string
	for i := range s.Sources {
		if s.Sources[i].Kind == kindBanned {
			why = append(why, s.Sources[i].Prefix+" is banned")
		}
	}
	for i := range s.Rooms {
		if s.Rooms[i].Locked {
			why = append(why, "room "+s.Rooms[i].Name+" is locked")
		}
	}
	if st := s.Node.State; st == "draining" || st == "stopping" {
		why = append(why, "the node is "+st)
	}
	switch n := len(why); {
	case n == 0:
		return ""
	case n > 4:
		why = append(why[:4], fmt.Sprintf("and %d more", n-4))
	}
	return "; what may keep them out: " + strings.Join(why, ", ")
}

// besides names what an operator has set that is worth knowing, although it
// stops nothing on this way.
func besides(s *view.Snapshot, r *view.Room, to *view.Participant) string {
	out := ""
	if r.PinnedTier != "" {
		out += fmt.Sprintf("; room %s is pinned to tier %s", r.Name, r.PinnedTier)
	}
	if r.Locked {
		out += fmt.Sprintf("; room %s is locked: who leaves does not come back in", r.Name)
	}
	if src := ruleOn(s, to.Remote); src != nil {
		out += fmt.Sprintf("; the source of %s is %s by %s, which does not keep them from hearing", participantName(to), src.Kind, src.Author)
	}
	return out
}

// The kinds of a source in a snapshot.
const (
	kindBanned    = "banned"
	kindThrottled = "throttled"
)

// ruleOn is the restriction in force on an address: a ban before any throttle,
// else the throttle of the longest prefix.
func ruleOn(s *view.Snapshot, remote string) *view.Source {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil || len(s.Sources) == 0 {
		return nil
	}
	var best *view.Source
	bits := -1
	for i := range s.Sources {
		src := &s.Sources[i]
		p, err := netip.ParsePrefix(src.Prefix)
		switch {
		case err != nil || !p.Contains(ap.Addr().Unmap()):
		case src.Kind == kindBanned:
			return src
		case p.Bits() > bits:
			best, bits = src, p.Bits()
		}
	}
	return best
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
