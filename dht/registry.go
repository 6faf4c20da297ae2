package dht

import (
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"signalbox/dht/table"
)

const (
	stripes         = 16 // a stripe of a node of usual size is one group of the map, which is copied in no time
	maxLinksPerPeer = 2  // two nodes that dial each other at once keep both links
	maxLost         = 32 // remembered losses, per stripe
)

// session is one registered link.
type session struct {
	// Constant after registration.
	link Link
	peer table.ID
	gen  uint64
	ends bool     // it ended an isolation: there was no other link at all
	via  table.ID // who relays; zero: the link is direct
	born int64    // monotonic ns

	// Any goroutine (atomic).
	dialed  atomic.Bool // we have reached the peer at its address
	silent  atomic.Bool // it left the table because it did not answer, and has said nothing since
	quota   gcra        // requests served
	refusal gcra        // refusals sent
	reach   linkReach
}

// direct says that nobody stands between the peer and us.
func (s *session) direct() bool { return s.via.IsZero() }

// registry maps peers to their links. An entry belongs to a generation: the
// late loss of an old link cannot remove its successor. Readers load a pointer
// and take no lock; a writer copies the map of one stripe.
type registry struct {
	stripes [stripes]regStripe
	links   atomic.Int64
	peers   atomic.Int64
}

type regStripe struct {
	m    atomic.Pointer[map[table.ID]linkSet] // stored under mu
	mu   sync.Mutex                           // a leaf; guards the stores to m, and lost
	lost []lostLink                           // the latest losses, oldest first
}

// linkSet are the links of one peer, the newest generation first, then nil.
type linkSet [maxLinksPerPeer]*session

func (l *linkSet) list() []*session {
	n := 0
	for n < len(l) && l[n] != nil {
		n++
	}
	return l[:n]
}

type lostLink struct {
	peer table.ID
	gen  uint64
}

func (r *registry) stripe(id table.ID) *regStripe { return &r.stripes[id[table.IDLen-1]%stripes] }

func (s *regStripe) get(id *table.ID) (l linkSet) {
	if m := s.m.Load(); m != nil {
		l = (*m)[*id]
	}
	return l
}

// put stores the peer's links; the caller holds mu.
func (s *regStripe) put(id table.ID, list []*session) {
	next := map[table.ID]linkSet{}
	if m := s.m.Load(); m != nil {
		next = maps.Clone(*m)
	}
	if len(list) == 0 {
		delete(next, id)
	} else {
		var l linkSet
		copy(l[:], list)
		next[id] = l
	}
	s.m.Store(&next)
}

// find returns the session of one link, nil when it is not registered.
func (r *registry) find(id table.ID, gen uint64) *session {
	for _, s := range r.stripe(id).get(&id) {
		if s != nil && s.gen == gen {
			return s
		}
	}
	return nil
}

// best returns the newest direct link to id, else the newest relayed one, nil
// when there is none.
func (r *registry) best(id table.ID) *session {
	set := r.stripe(id).get(&id)
	for _, s := range set {
		if s != nil && s.direct() {
			return s
		}
	}
	return set[0]
}

// straight returns the newest direct link to id, nil when there is none.
func (r *registry) straight(id table.ID) *session {
	if s := r.best(id); s != nil && s.direct() {
		return s
	}
	return nil
}

// add registers s. It returns the session registered for that generation (an
// earlier one, if it is there already; nil, if the link is known to be lost)
// and the one that had to go.
func (r *registry) add(s *session) (kept, surplus *session) {
	st := r.stripe(s.peer)
	st.mu.Lock()
	defer st.mu.Unlock()
	if slices.Contains(st.lost, lostLink{s.peer, s.gen}) {
		return nil, nil
	}
	set := st.get(&s.peer)
	list := set.list()
	at := 0
	for _, x := range list {
		if x.gen == s.gen {
			return x, nil
		}
		if x.gen > s.gen {
			at++
		}
	}
	if len(list) == 0 {
		s.ends = r.peers.Add(1) == 1
	}
	next := slices.Insert(slices.Clone(list), at, s)
	r.links.Add(1)
	if len(next) > maxLinksPerPeer {
		surplus = next[maxLinksPerPeer]
		next = next[:maxLinksPerPeer]
		r.links.Add(-1)
	}
	st.put(s.peer, next)
	return s, surplus
}

// remove forgets the link of that generation. last is true when it was the
// peer's only one. The loss is remembered for a while: a registration of that
// link may still be under way, by its dialler.
func (r *registry) remove(id table.ID, gen uint64) (found, last bool) {
	st := r.stripe(id)
	st.mu.Lock()
	defer st.mu.Unlock()
	if gone := (lostLink{id, gen}); !slices.Contains(st.lost, gone) {
		if len(st.lost) >= maxLost {
			st.lost = slices.Delete(st.lost, 0, 1)
		}
		st.lost = append(st.lost, gone)
	}
	set := st.get(&id)
	list := set.list()
	i := slices.IndexFunc(list, func(s *session) bool { return s.gen == gen })
	if i < 0 {
		return false, false
	}
	next := slices.Delete(slices.Clone(list), i, i+1)
	st.put(id, next)
	r.links.Add(-1)
	if len(next) == 0 {
		r.peers.Add(-1)
	}
	return true, len(next) == 0
}

// of returns the links of one peer, newest first; not to be changed.
func (r *registry) of(id table.ID) []*session {
	set := r.stripe(id).get(&id)
	return set.list()
}

// all yields every session, in no order.
func (r *registry) all(yield func(*session) bool) {
	for i := range r.stripes {
		m := r.stripes[i].m.Load()
		if m == nil {
			continue
		}
		for _, set := range *m {
			for _, s := range set.list() {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// limit is a rate and a burst, for any number of buckets. Constant.
type limit struct {
	interval int64 // ns per token
	burst    int64 // ns of credit
}

func newLimit(rate float64, burst int) limit {
	interval := max(int64(1e9/rate), 1)
	return limit{interval, interval * int64(burst)}
}

// gcra is a token bucket in one atomic: the theoretical time of the next
// arrival, off by the least integer, so that the zero value is a full bucket.
// Every link has half a dozen. Any goroutine.
type gcra struct{ tat atomic.Int64 }

// allow takes one token if there is one.
func (g *gcra) allow(l *limit, now int64) bool {
	for {
		old := g.tat.Load()
		next := max(old^math.MinInt64, now) + l.interval
		if next-now > l.burst {
			return false
		}
		if g.tat.CompareAndSwap(old, next^math.MinInt64) {
			return true
		}
	}
}

// full reports that the bucket carries no memory.
func (g *gcra) full(now int64) bool { return g.tat.Load()^math.MinInt64 <= now }
