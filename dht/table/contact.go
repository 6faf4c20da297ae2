package table

import (
	"math"
	"sync/atomic"
	"time"
)

// Thresholds of spec dht 0 and 7.3.
const (
	LiveThreshold       = 900 * time.Second // seen within: fresh; later: stale
	ProtectionThreshold = 0.70              // trust that holds a slot against a diversity swap
	SwapThreshold       = 0.35              // trust below which a full bucket gives the slot away
	trustWeight         = 0.124             // weight of one unit observation
	trustDecayPerS      = 1.394e-5          // drift back to neutral
	trustNeutral        = 0.5
	maxTrustWeight      = 2.5 // from neutral, one observation reaches neither threshold: 0.359, 0.641
)

// Trust is one local moving average of how a peer has behaved towards us
// (spec dht 7.1). The zero value is neutral. It is a value: Observe returns
// the next one.
type Trust struct {
	dev float64 // score - neutral, at the time at
	at  int64   // monotonic ns
}

// NewTrust is the trust with the given score at now; not a number is neutral.
func NewTrust(score float64, now int64) Trust {
	if math.IsNaN(score) {
		score = trustNeutral
	}
	return Trust{min(max(score, 0), 1) - trustNeutral, now}
}

// Score is the trust at now in [0, 1], 0.5 neutral: what was observed fades
// with a half-life of 13.8 h.
func (t Trust) Score(now int64) float64 {
	if t.dev == 0 {
		return trustNeutral
	}
	dt := max(time.Duration(now-t.at).Seconds(), 0)
	return trustNeutral + t.dev*math.Exp(-trustDecayPerS*dt)
}

// Observe records a success or a failure of the given weight (1 = one
// exchange, at most 2.5; zero, negative and NaN are ignored).
func (t Trust) Observe(ok bool, weight float64, now int64) Trust {
	if !(weight > 0) {
		return t
	}
	a := 1 - math.Pow(1-trustWeight, min(weight, maxTrustWeight))
	obs := 0.0
	if ok {
		obs = 1
	}
	return NewTrust((1-a)*t.Score(now)+a*obs, now)
}

// Contact is a member of the table. It outlives its membership: whoever holds
// one may keep reading it.
type Contact struct {
	// Constant after admission.
	id     ID
	bucket int
	since  int64 // monotonic ns

	// Any goroutine (atomic). lastSeen may be overwritten by a slightly older
	// value when two touches race; a few microseconds decide nothing.
	lastSeen atomic.Int64 // monotonic ns
	failures atomic.Int32 // probes in a row without an answer
	rtt      atomic.Int64 // smoothed, ns; 0 = not measured
	trust    atomic.Pointer[Trust]

	// Read by any goroutine (atomic); stored under Table.mu.
	addrs atomic.Pointer[addrList]
}

// ID is the contact's name.
func (c *Contact) ID() ID { return c.id }

// Bucket is the index of the bucket the contact belongs to.
func (c *Contact) Bucket() int { return c.bucket }

// Addrs are the contact's addresses in the order in which to dial them. The
// slice is shared and must not be changed.
func (c *Contact) Addrs() []Addr { return c.addrs.Load().list }

// LastSeen is the monotonic time in ns of the last proof of life.
func (c *Contact) LastSeen() int64 { return c.lastSeen.Load() }

// Failures counts the probes in a row that had no answer; a touch resets it.
func (c *Contact) Failures() int { return int(c.failures.Load()) }

// Fail counts one more probe without an answer and returns how many there are
// now in a row.
func (c *Contact) Fail() int { return int(c.failures.Add(1)) }

// RTT is the smoothed round-trip time, 0 when it was never measured.
func (c *Contact) RTT() time.Duration { return time.Duration(c.rtt.Load()) }

// ObserveRTT folds one measured round trip into the smoothed one (weight 1/8).
func (c *Contact) ObserveRTT(d time.Duration) {
	if d <= 0 {
		return
	}
	old := c.rtt.Load()
	if old == 0 {
		c.rtt.Store(int64(d))
		return
	}
	c.rtt.Store(old + (int64(d)-old)/8)
}

// Trust is what is known of the contact's conduct.
func (c *Contact) Trust() Trust {
	if t := c.trust.Load(); t != nil {
		return *t
	}
	return Trust{}
}

// SetTrust replaces it.
func (c *Contact) SetTrust(t Trust) { c.trust.Store(&t) }

// Stale reports whether the last proof of life is older than LiveThreshold.
func (c *Contact) Stale(now int64) bool {
	return now-c.lastSeen.Load() > int64(LiveThreshold)
}

// alive records a proof of life.
func (c *Contact) alive(now int64) {
	c.lastSeen.Store(now)
	if c.failures.Load() != 0 { // a load is shared, a store is not
		c.failures.Store(0)
	}
}
