package auth

import (
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a Replay: two generations of keys.
const (
	replayKeys = 32_768
	replayAge  = 10 * time.Minute
)

// Replay remembers keys that may be used once: the ephemeral keys of
// handshakes, whose signature binds neither relay nor time (spec wzp 7.2 row
// 25). It keeps every key for at least ten minutes and at least the last
// 32,768, whichever ends first, in no more than 65,536 entries. A recorded
// handshake that is older, or was made with another relay, passes: the
// protocol leaves nothing to tell it by.
type Replay struct {
	mu      sync.Mutex // leaf; guards new, old and turned
	new     map[[32]byte]struct{}
	old     map[[32]byte]struct{}
	turned  int64
	refused atomic.Uint64
}

// NewReplay remembers nothing yet.
func NewReplay() *Replay { return &Replay{new: map[[32]byte]struct{}{}} }

// First says whether the key has not been seen, and remembers it. now is
// monotonic, in nanoseconds.
func (r *Replay) First(key [32]byte, now int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.new) >= replayKeys || now-r.turned >= int64(replayAge) {
		r.old, r.new, r.turned = r.new, map[[32]byte]struct{}{}, now
	}
	_, inNew := r.new[key]
	_, inOld := r.old[key]
	r.new[key] = struct{}{}
	if inNew || inOld {
		r.refused.Add(1)
		return false
	}
	return true
}

// Refused is how many keys came again.
func (r *Replay) Refused() uint64 { return r.refused.Load() }
