package fed

import "time"

// bucket is a token bucket one second deep, in billionths of a token so that
// refilling is exact whatever the spacing of calls.
type bucket struct {
	at     int64 // last refill; 0: never used, and full
	tokens int64
}

const second = int64(time.Second)

// take spends a token of rate a second.
func (b *bucket) take(rate int, now int64) bool {
	full := int64(rate) * second
	switch dt := min(now-b.at, second); {
	case b.at == 0:
		b.at, b.tokens = max(now, 1), full
	case dt > 0:
		b.tokens = min(b.tokens+dt*int64(rate), full)
		b.at = now
	}
	if b.tokens < second {
		return false
	}
	b.tokens -= second
	return true
}

// The backoff of a dialler (5.13 starts at 5 s and ends at 300 s, without
// jitter, so that a mesh that lost a relay comes back to it all at once).
const (
	firstWait   = 500 * time.Millisecond
	longestWait = time.Minute
	settled     = 30 * time.Second // a link that lived so long was a success
)

// Backoff is how long a dialler waits between tries.
type Backoff struct{ d time.Duration }

// Next is how long to wait after a try whose link lived so long, 0 when there
// was none. rnd is between 0 and 1.
func (b *Backoff) Next(lived time.Duration, rnd float64) time.Duration {
	if lived >= settled {
		b.d = 0
	}
	b.d = min(max(2*b.d, firstWait), longestWait)
	return time.Duration((0.5 + 0.5*rnd) * float64(b.d))
}
