package dispatch

import (
	"net/netip"
	"slices"

	"signalbox/engine/view"
)

// topK is how many sources a shard keeps figures of, which finds every source
// with more than a sixteenth of the traffic; hotMax how many it shows.
const (
	topK   = 16
	hotMax = 8
)

// missWeight is the odds against a source that is not in a full table getting
// a place: it stands for that many sightings when it does. Many light sources
// then cost next to nothing, and a heavy one is in within a few packets.
const missWeight = 8

// topSources finds the heaviest sources of a shard in fixed memory
// (space-saving: the lightest makes way), over the current and the previous
// window. Guarded by the shard's mutex.
type topSources struct {
	hash [topK]uint64
	est  [topK]uint64 // rank: what was seen, and what its predecessor left it
	src  [topK]topSource
	used int
	hint int // the place found last: traffic comes in trains
	rng  uint64

	cur, prev uint64 // messages offered by all sources
}

type topSource struct {
	addr      netip.Addr
	cur, prev uint64 // messages offered by this source, since it has its place
	dropped   uint64 // of those, ever
}

// note books one message offered by a source.
func (t *topSources) note(h uint64, a netip.Addr, dropped bool) {
	t.cur++
	i := t.find(h)
	w := uint64(1)
	if i < 0 {
		if i, w = t.admit(h, a); i < 0 {
			return
		}
	}
	t.hint = i
	t.est[i] += w
	t.src[i].cur += w
	if dropped {
		t.src[i].dropped++
	}
}

func (t *topSources) find(h uint64) int {
	if t.hash[t.hint] == h && t.hint < t.used {
		return t.hint
	}
	for i := range t.used {
		if t.hash[i] == h {
			return i
		}
	}
	return -1
}

func (t *topSources) admit(h uint64, a netip.Addr) (int, uint64) {
	if t.used < topK {
		i := t.used
		t.used++
		t.hash[i], t.src[i] = h, topSource{addr: SourceKey(a)}
		return i, 1
	}
	t.rng = t.rng*6364136223846793005 + 1442695040888963407
	if t.rng>>32%missWeight != 0 {
		return -1, 0
	}
	i := 0
	for j := 1; j < topK; j++ {
		if t.est[j] < t.est[i] {
			i = j
		}
	}
	t.hash[i], t.src[i] = h, topSource{addr: SourceKey(a)}
	return i, missWeight
}

// rotate begins a new window. Ranks fade, so that yesterday's source makes
// way for today's.
func (t *topSources) rotate() {
	t.cur, t.prev = 0, t.cur
	for i := range t.used {
		t.est[i] /= 2
		t.src[i].cur, t.src[i].prev = 0, t.src[i].cur
	}
}

// hot renders the sources seen in the windows, heaviest first; elapsed is the
// windows' length in seconds.
func (t *topSources) hot(elapsed float64) []view.HotSource {
	out := []view.HotSource{}
	total := t.cur + t.prev
	for i := range t.used {
		s := &t.src[i]
		n := s.cur + s.prev
		if n == 0 {
			continue
		}
		out = append(out, view.HotSource{
			IP:       s.addr.String(),
			SharePct: min(100, 100*float64(n)/float64(total)),
			RatePPS:  float64(n) / elapsed,
			Dropped:  s.dropped,
		})
	}
	slices.SortFunc(out, func(a, b view.HotSource) int {
		switch {
		case a.RatePPS > b.RatePPS:
			return -1
		case a.RatePPS < b.RatePPS:
			return 1
		}
		return 0
	})
	return out[:min(len(out), hotMax)]
}

// worst is the tracked source with the most refusals, empty when none has any.
func (t *topSources) worst() string {
	best := -1
	for i := range t.used {
		if t.src[i].dropped > 0 && (best < 0 || t.src[i].dropped > t.src[best].dropped) {
			best = i
		}
	}
	if best < 0 {
		return ""
	}
	return t.src[best].addr.String()
}
