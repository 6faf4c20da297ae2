package engine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	"signalbox/engine/view"
	"signalbox/relay"
	"signalbox/relay/fed"
)

// Times of following one packet across relays.
const (
	followLimit = 1500 * time.Millisecond // for the sender's next packet
	followGap   = 150 * time.Millisecond  // for it to arrive
)

// end is where one of the two is: here, or where a peer has told of them.
type end struct {
	here  *view.Participant
	peer  fed.Peer
	known bool // the peer is
}

// endOf finds somebody in a room that relays share.
func (e *Engine) endOf(s *view.Snapshot, room, fingerprint string) end {
	if _, p := localParticipant(s, fingerprint); p != nil {
		return end{here: p}
	}
	p, ok := e.fed.mesh.Toward(room, fingerprint)
	return end{peer: p, known: ok}
}

// federatedHops are the hops of a way that begins or ends at another relay.
func (e *Engine) federatedHops(s *view.Snapshot, r *view.Room, from, to *view.Participant) []view.Hop {
	q := question{Room: r.Name, From: from.Fingerprint, To: to.Fingerprint}
	ends := [2]end{}
	for i, p := range [...]*view.Participant{from, to} {
		ends[i].here = p
		if p.Transport != relay.Federated {
			continue
		}
		if ends[i] = e.endOf(s, r.Name, p.Fingerprint); !ends[i].known {
			ends[i].peer, ends[i].known = e.fed.mesh.Find(p.RelayLabel)
		}
	}
	return e.legs(s, &q, ends[0], ends[1], "", farthest)
}

// legs are the hops between the sender's relay and the receiver's as they are
// seen from here: what relays towards the sender tell, one packet's track
// through this one, and what relays towards the receiver tell. Nothing is asked
// of the one who asks.
func (e *Engine) legs(s *view.Snapshot, q *question, from, to end, asker string, ttl uint8) []view.Hop {
	var hops []view.Hop
	switch {
	case from.here != nil && q.ID == "":
		q.ID, hops = e.followed(q.Room, from.here.ID)
	case from.here == nil && from.peer.Fingerprint != asker:
		hops = e.askRelay(s, from, q, ttl)
		if l := e.linkOf(s, from.peer); l != nil {
			hops = append(hops, linkHop(l, false))
		}
		hops = append(hops, e.traceHops(q.ID)...)
	default:
		hops = e.traceHops(q.ID)
	}
	if to.here == nil && to.peer.Fingerprint != asker {
		if l := e.linkOf(s, to.peer); l != nil {
			hops = append(hops, linkHop(l, true))
		}
		hops = append(hops, e.askRelay(s, to, q, ttl)...)
	}
	return hops
}

func (e *Engine) linkOf(s *view.Snapshot, p fed.Peer) *view.Link {
	for i := range s.Links {
		if s.Links[i].TLSFingerprint == colonFingerprint(p.Fingerprint) {
			return &s.Links[i]
		}
	}
	return nil
}

func linkHop(l *view.Link, out bool) view.Hop {
	h := view.Hop{Name: "link " + l.Label, LastPacketAgo: l.SilentMS, QueueDepth: l.QueueDepth, Verdict: "ok", Dropped: map[string]uint64{}}
	maps.Copy(h.Dropped, l.Dropped)
	switch {
	case l.State == "muted":
		h.Verdict, h.Remedy = "an operator has muted it", "let it carry media: link.unmute "+l.Label
	case l.State != "up":
		h.Verdict = "is " + l.State + ": " + cmp.Or(l.LastError, "no connection")
		h.Remedy = "dial now: link.reconnect " + l.Label
	case out && (l.QueueDepth > l.QueueCapacity/2 || l.QueueOldestMS > frozenAfterMS):
		h.Verdict = fmt.Sprintf("does not take its packets: %d queued, oldest %.0f ms", l.QueueDepth, l.QueueOldestMS)
		h.Remedy = "a new connection: link.reconnect " + l.Label
	}
	return h
}

// followed has one packet of the participant followed, and tells what became of
// it here.
func (e *Engine) followed(room, participant string) (id string, hops []view.Hop) {
	n, ok := e.fed.mesh.Follow(room, participant, e.mono())
	if !ok {
		return "", nil
	}
	for deadline := time.Now().Add(followLimit); time.Now().Before(deadline); {
		if !sleep(context.Background(), followGap/3, nil) {
			break
		}
		if got := e.fed.mesh.Traces(n, e.mono()); len(got) > 0 {
			sleep(context.Background(), followGap, nil)
			return fed.TraceName(n), e.traceHops(fed.TraceName(n))
		}
	}
	return "", []view.Hop{bareHop("packet", "none came to follow within 1.5 s")}
}

// traceHops is what was noted here of a packet that was followed, by its name;
// nothing when none was.
func (e *Engine) traceHops(name string) []view.Hop {
	id, err := strconv.ParseUint(name, 16, 32)
	if err != nil || id == 0 {
		return nil
	}
	var out []view.Hop
	now := e.mono()
	for _, t := range e.fed.mesh.Traces(uint32(id), now) {
		out = append(out, view.Hop{
			Name: "packet " + name + " " + clean(t.Text), LastPacketAgo: float64(now-t.At) / 1e6, Verdict: "ok", Dropped: map[string]uint64{},
		})
	}
	if len(out) == 0 {
		out = append(out, bareHop("packet "+clean(name), "has not arrived"))
	}
	return out
}

// bareHop is one of which there is only something to say.
func bareHop(name, verdict string) view.Hop {
	return view.Hop{Name: name, Verdict: verdict, Dropped: map[string]uint64{}}
}

// localParticipant is somebody on this node, by fingerprint.
func localParticipant(s *view.Snapshot, fingerprint string) (*view.Room, *view.Participant) {
	for i := range s.Rooms {
		for k := range s.Rooms[i].Participants {
			if p := &s.Rooms[i].Participants[k]; s.Rooms[i].Global && p.Transport != relay.Federated && fingerprint != "" && p.Fingerprint == fingerprint {
				return &s.Rooms[i], p
			}
		}
	}
	return nil, nil
}
