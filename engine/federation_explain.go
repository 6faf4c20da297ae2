package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"time"

	"signalbox/engine/view"
	"signalbox/relay"
	"signalbox/relay/fed"
	"signalbox/relay/wire"
)

// Times and bounds of an explanation that spans two relays.
const (
	followLimit = 1500 * time.Millisecond // for the sender's next packet
	followGap   = 150 * time.Millisecond  // for it to arrive
	askLimit    = 2 * time.Second
	maxTold     = 16 << 10 // bytes of an answer
	maxAsks     = 32       // under way
)

// question is what one signalbox asks another about two participants.
type question struct {
	ID   string `json:"id"` // of the packet that was followed; empty: none was
	From string `json:"from"`
	To   string `json:"to"`
}

// federatedHops are the hops of a way that begins or ends at another relay.
func (e *Engine) federatedHops(s *view.Snapshot, r *view.Room, from, to *view.Participant) []view.Hop {
	away := to
	if from.Transport == relay.Federated {
		away = from
	}
	p, ok := e.fed.mesh.Find(away.RelayLabel)
	link := e.linkOf(s, p)
	if !ok || link == nil {
		h := view.Hop{Name: "relay " + away.RelayLabel, Dropped: map[string]uint64{}}
		h.Verdict = fmt.Sprintf("is not linked with us: %s is more than one relay away; ask the relay between", participantName(away))
		return []view.Hop{h}
	}
	q := question{From: from.Fingerprint, To: to.Fingerprint}
	hops := []view.Hop{linkHop(link, away == to)}
	if away == to {
		id, followed := e.followed(r.Name, from.ID)
		hops = append(hops, followed...)
		q.ID = id
	}
	told := e.askRelay(p, link, q)
	if away == to {
		return append(hops, told...)
	}
	return append(told, hops...)
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
		h.Verdict = "an operator has muted it"
	case l.State != "up":
		h.Verdict = "is " + l.State + ": " + cmp.Or(l.LastError, "no connection")
	case out && (l.QueueDepth > l.QueueCapacity/2 || l.QueueOldestMS > frozenAfterMS):
		h.Verdict = fmt.Sprintf("does not take its packets: %d queued, oldest %.0f ms", l.QueueDepth, l.QueueOldestMS)
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
			return fed.TraceName(n), e.traceHops(n)
		}
	}
	return "", []view.Hop{{Name: "packet", Verdict: "none came to follow within 1.5 s", Dropped: map[string]uint64{}}}
}

// traceHops is what was noted here of a packet that was followed.
func (e *Engine) traceHops(id uint32) []view.Hop {
	var out []view.Hop
	now := e.mono()
	for _, t := range e.fed.mesh.Traces(id, now) {
		out = append(out, view.Hop{
			Name: "packet " + fed.TraceName(id) + " " + clean(t.Text), LastPacketAgo: float64(now-t.At) / 1e6, Verdict: "ok", Dropped: map[string]uint64{},
		})
	}
	return out
}

// askRelay asks the other relay for its part of the way.
func (e *Engine) askRelay(p fed.Peer, l *view.Link, q question) []view.Hop {
	no := func(why string) []view.Hop {
		return []view.Hop{{Name: "relay " + l.Label, Verdict: why, Dropped: map[string]uint64{}}}
	}
	if l.State != "up" && l.State != "muted" {
		return nil // the link's hop has said it
	}
	if !l.Signalbox {
		return no("runs no signalbox, which could tell of its part")
	}
	body, err := json.Marshal(q)
	if err != nil {
		return no(err.Error())
	}
	trace, answer := randomID()+string(body), make(chan *wire.RouteResponse, 1)
	f := &e.fed
	f.mu.Lock()
	busy := len(f.asked) >= maxAsks
	if !busy {
		f.asked[p.Fingerprint+trace] = answer
	}
	f.mu.Unlock()
	if busy {
		return no("too many questions are under way")
	}
	defer func() {
		f.mu.Lock()
		delete(f.asked, p.Fingerprint+trace)
		f.mu.Unlock()
	}()
	if err := f.mesh.Ask(p.Fingerprint, &wire.RouteQuery{Fingerprint: q.To, TTL: 1, Trace: &trace}); err != nil {
		return no("cannot be asked: " + err.Error())
	}
	t := time.NewTimer(askLimit)
	defer t.Stop()
	select {
	case a := <-answer:
		return hopsTold(l.Label, a)
	case <-t.C:
		return no("did not answer within 2 s")
	}
}

// hopsTold takes an answer apart. It was written by others.
func hopsTold(label string, a *wire.RouteResponse) []view.Hop {
	var hops []view.Hop
	if a.Told == nil || len(*a.Told) > maxTold || json.Unmarshal([]byte(*a.Told), &hops) != nil || len(hops) > 16 {
		return []view.Hop{{Name: "relay " + label, Verdict: "gave an answer that cannot be read", Dropped: map[string]uint64{}}}
	}
	for i := range hops {
		h := &hops[i]
		h.Name, h.Verdict = clean(label+": "+h.Name), clean(h.Verdict)
		dropped := map[string]uint64{}
		for r, n := range h.Dropped {
			if len(dropped) < 32 {
				dropped[clean(r)] = n
			}
		}
		h.Dropped = dropped
	}
	return hops
}

// askedBy answers a signalbox's question from the newest snapshot: the part of
// the way that is here. It tells of the two participants that were named and of
// nobody else.
func (e *Engine) askedBy(_ string, q *wire.RouteQuery) *wire.RouteResponse {
	if q.Trace == nil || len(*q.Trace) < 12 || len(*q.Trace) > 1024 {
		return nil
	}
	var ask question
	if json.Unmarshal([]byte((*q.Trace)[12:]), &ask) != nil {
		return nil
	}
	s, base := e.Snapshot(), e.before.Load()
	if base == nil {
		base = s
	}
	now := &recent{s: s, base: base}
	from := &view.Participant{} // it is elsewhere
	hops := []view.Hop{}
	if r, p := localParticipant(s, ask.From); p != nil {
		from = p
		hops = append(hops, now.senderHop(p))
		if sh := shardOf(s, p.Shard); sh != nil {
			hops = append(hops, now.shardHop(sh, p))
		}
		hops = append(hops, view.Hop{Name: "room " + r.Name, Verdict: "ok", Dropped: map[string]uint64{}})
	}
	if id, err := strconv.ParseUint(ask.ID, 16, 32); err == nil && id != 0 {
		hops = append(hops, e.traceHops(uint32(id))...)
		if len(e.fed.mesh.Traces(uint32(id), e.mono())) == 0 {
			hops = append(hops, view.Hop{Name: "packet " + clean(ask.ID), Verdict: "has not arrived", Dropped: map[string]uint64{}})
		}
	}
	_, to := localParticipant(s, ask.To)
	if to != nil {
		hops = append(hops, now.receiverHop(to, from))
	}
	b, err := json.Marshal(hops)
	if err != nil {
		return nil
	}
	told := string(b)
	return &wire.RouteResponse{Fingerprint: q.Fingerprint, Found: to != nil, RelayChain: []string{}, Trace: q.Trace, Told: &told}
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

// answeredBy gives an answer to whoever waits for it.
func (e *Engine) answeredBy(from string, a *wire.RouteResponse) {
	if a.Trace == nil {
		return
	}
	f := &e.fed
	f.mu.Lock()
	c := f.asked[from+*a.Trace]
	f.mu.Unlock()
	if c == nil {
		return
	}
	select {
	case c <- a:
	default: // it has its answer
	}
}
