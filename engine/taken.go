package engine

import (
	"sync/atomic"

	"signalbox/engine/ledger"
)

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

// short is how many of the messages that a dispatcher believes to have passed on
// nobody was given: those it counts as processed, and those at which a handler
// panicked or for which it was replaced. The account was read before: a message
// is given before it stands in any of the three.
func (t *taken) short(c *ledger.Counts, processed uint64) uint64 {
	passed := processed + c.Dropped[ledger.ShardPanic] + c.Dropped[ledger.ShardReplaced]
	var n uint64
	for i := range t {
		n += t[i].n.Load()
	}
	return passed - min(passed, n)
}
