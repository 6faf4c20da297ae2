package engine

import (
	"cmp"
	"encoding/json"
	"time"

	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// Bounds of what signalboxes ask each other.
const (
	farthest = 4                      // links from who asks first
	askStep  = 700 * time.Millisecond // a relay waits this much longer than the next one on the way
	askIDLen = 12                     // bytes at the head of a question that tell it from others
	maxAsked = 1 << 10                // bytes of a question
	maxTold  = 16 << 10               // bytes of an answer
	maxHops  = 32                     // of an answer
	maxAsks  = 32                     // under way
	maxAsker = 4                      // of one relay that are being answered
)

// question is what one signalbox asks another: what becomes of From's packets on
// their way to To, or of a call.
type question struct {
	Room string `json:"room,omitempty"`
	ID   string `json:"id,omitempty"` // of the packet that is followed; empty: none yet, who has the sender follows one
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	Call string `json:"call,omitempty"`
}

// answer is what the other has to tell.
type answer struct {
	ID   string     `json:"id"` // as the question's, or of the packet it has followed
	Hops []view.Hop `json:"hops"`
}

// askRelay asks the relay at which one end is, or through which it is heard, for
// its part of the way. It notes which packet was followed there.
func (e *Engine) askRelay(s *view.Snapshot, at end, q *question, ttl uint8) []view.Hop {
	l := e.linkOf(s, at.peer)
	switch {
	case !at.known || l == nil:
		return []view.Hop{bareHop("relay "+cmp.Or(at.peer.Label, "unknown"), "is not linked with us, and no relay that is has told of it")}
	case l.State != "up" && l.State != "muted":
		return nil // the link's hop has said it
	case !l.Signalbox:
		return []view.Hop{bareHop("relay "+l.Label, "runs no signalbox, which could tell of its part")}
	case ttl == 0:
		return []view.Hop{bareHop("relay "+l.Label, "is not asked: too many relays are between")}
	}
	a, why := e.ask(at.peer.Fingerprint, q, ttl)
	if why != "" {
		return []view.Hop{bareHop("relay "+l.Label, why)}
	}
	if q.ID == "" {
		q.ID = clean(a.ID)
	}
	return hopsTold(l.Label, a.Hops)
}

// ask waits for one answer of a signalbox, or says why there is none.
func (e *Engine) ask(peer string, q *question, ttl uint8) (a answer, why string) {
	body, err := json.Marshal(q)
	if err != nil {
		return a, err.Error()
	}
	trace, got := randomID()+string(body), make(chan *wire.RouteResponse, 1)
	f := &e.fed
	f.mu.Lock()
	busy := len(f.asked) >= maxAsks
	if !busy {
		f.asked[peer+trace] = got
	}
	f.mu.Unlock()
	if busy {
		return a, "is not asked: too many questions are under way"
	}
	defer func() {
		f.mu.Lock()
		delete(f.asked, peer+trace)
		f.mu.Unlock()
	}()
	if err := f.mesh.Tell(peer, &wire.RouteQuery{Fingerprint: q.To, TTL: ttl, Trace: &trace}); err != nil {
		return a, "cannot be asked: " + err.Error()
	}
	t := time.NewTimer(followLimit + time.Duration(ttl)*askStep)
	defer t.Stop()
	select {
	case r := <-got:
		if r.Told == nil || len(*r.Told) > maxTold || json.Unmarshal([]byte(*r.Told), &a) != nil || len(a.Hops) > maxHops {
			return answer{}, "gave an answer that cannot be read"
		}
		return a, ""
	case <-t.C:
		return a, "did not answer in time"
	}
}

// hopsTold makes harmless what others have written.
func hopsTold(label string, hops []view.Hop) []view.Hop {
	for i := range hops {
		h := &hops[i]
		h.Name, h.Verdict = clean(label+": "+h.Name), clean(h.Verdict)
		if h.Remedy = clean(h.Remedy); h.Remedy != "" { // its operator's, not ours
			h.Remedy = "at " + clean(label) + ": " + h.Remedy
		}
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

// askedBy answers a signalbox's question, aside: a packet may have to be waited
// for, and other relays asked. It tells of the two participants that were named,
// or of the call that is between the two relays, and of nobody else.
func (e *Engine) askedBy(asker string, q *wire.RouteQuery) {
	var ask question
	if q.Trace == nil || len(*q.Trace) < askIDLen || len(*q.Trace) > maxAsked || json.Unmarshal([]byte((*q.Trace)[askIDLen:]), &ask) != nil {
		return
	}
	if !e.fed.answer(asker) {
		return // the one who asks says that there was no answer
	}
	go func() {
		defer e.fed.answered(asker)
		found, a := false, answer{Hops: []view.Hop{}}
		switch {
		case e.stranger(asker):
			a.Hops = append(a.Hops, bareHop("relay", "tells only relays that it has named of its part"))
		case ask.Call != "":
			found, a.Hops = e.callTold(asker, ask.Call)
		default:
			found, a = e.wayTold(asker, ask, q.TTL)
		}
		b, err := json.Marshal(a)
		if err != nil || len(b) > maxTold {
			return
		}
		told := string(b)
		// A link that has gone has nobody who waits for this.
		_ = e.fed.mesh.Tell(asker, &wire.RouteResponse{Fingerprint: q.Fingerprint, Found: found, RelayChain: []string{}, Trace: q.Trace, Told: &told})
	}()
}

// answer takes a place for a question of a relay; answered gives it back.
func (f *federation) answer(asker string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.answers[asker] >= maxAsker {
		return false
	}
	f.answers[asker]++
	return true
}

func (f *federation) answered(asker string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.answers[asker]--; f.answers[asker] == 0 {
		delete(f.answers, asker)
	}
}

// wayTold is our part of a way, and that of the relays further on.
func (e *Engine) wayTold(asker string, q question, ttl uint8) (found bool, a answer) {
	s, base := e.Snapshot(), e.before.Load()
	if base == nil {
		base = s
	}
	now := &recent{s: s, base: base}
	q.Room, _ = e.fed.mesh.Canonical(q.Room)
	from, to := e.endOf(s, q.Room, q.From), e.endOf(s, q.Room, q.To)
	a.Hops = []view.Hop{}
	sender := &view.Participant{} // it is elsewhere
	if from.here != nil {
		sender = from.here
		a.Hops = append(a.Hops, now.senderHop(sender))
		if sh := shardOf(s, sender.Shard); sh != nil {
			a.Hops = append(a.Hops, now.shardHop(sh, sender))
		}
		a.Hops = append(a.Hops, bareHop("room "+q.Room, "ok"))
	}
	ttl = min(ttl, farthest)
	a.Hops = append(a.Hops, e.legs(s, &q, from, to, asker, ttl-min(ttl, 1))...)
	if to.here != nil {
		a.Hops = append(a.Hops, now.receiverHop(to.here, sender))
	}
	a.ID = q.ID
	return to.here != nil, a
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
