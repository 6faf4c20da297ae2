package engine

import "sync/atomic"

// takenSlots is how many shards count on a cache line of their own.
const takenSlots = 64

// taken counts, by shard, the messages that a plane's handler was given. The
// dispatcher counts for itself what it has passed on; a message that it believes
// to have passed on and that nobody was given is one nobody can explain.
type taken [takenSlots]struct {
	n atomic.Uint64
	_ [56]byte // no two shards on a cache line
}

func (t *taken) add(shard int) { t[uint(shard)%takenSlots].n.Add(1) } //nolint:gosec // an index

// short is how many of the messages passed on nobody was given. passed was read
// before: a message is given before it counts as passed on.
func (t *taken) short(passed uint64) uint64 {
	var n uint64
	for i := range t {
		n += t[i].n.Load()
	}
	return passed - min(passed, n)
}
