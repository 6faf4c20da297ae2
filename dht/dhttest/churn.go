package dhttest

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// Sessions is a Weibull distribution of how long nodes stay: with shape 1 it
// is exponential; below 1 many leave at once and some stay for days.
type Sessions struct {
	Median time.Duration
	Shape  float64 // default 1
}

// Draw is one session length.
func (d Sessions) Draw(r *rand.Rand) time.Duration {
	shape := or(d.Shape, 1)
	scale := float64(d.Median) / math.Pow(math.Ln2, 1/shape)
	return time.Duration(scale * math.Pow(r.ExpFloat64(), 1/shape))
}

// Churn says how nodes come and go.
type Churn struct {
	Sessions Sessions
	Crash    float64 // share of those who leave without a word; default 1, negative none
	Spare    []*Peer // who stay
	Seeds    []*Peer // what newcomers begin with
}

// churn is a Churn under way.
type churn struct {
	Churn

	mu     sync.Mutex // a leaf; guards the fields below
	over   bool
	left   uint64
	timers map[*Peer]*time.Timer
}

// BeginChurn lets nodes come and go from now on: every one but the spared
// leaves after a session drawn from the distribution, and a new one, with an
// id, an address and a place never seen before, comes in its stead at once. The
// sessions of those already here begin now.
func (s *Swarm) BeginChurn(c Churn) {
	c.Crash = max(or(c.Crash, 1), 0)
	ch := &churn{Churn: c, timers: map[*Peer]*time.Timer{}}
	s.mu.Lock()
	s.churn = ch
	s.mu.Unlock()
	spared := map[*Peer]bool{}
	for _, p := range c.Spare {
		spared[p] = true
	}
	for _, p := range s.Live() {
		if !spared[p] {
			s.schedule(ch, p)
		}
	}
}

// EndChurn lets everybody stay and returns how many have left.
func (s *Swarm) EndChurn() uint64 {
	s.mu.Lock()
	ch := s.churn
	s.churn = nil
	s.mu.Unlock()
	if ch == nil {
		return 0
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.over = true
	for _, t := range ch.timers {
		t.Stop()
	}
	return ch.left
}

// schedule sets the end of a session. What is drawn hangs on the node's
// number, not on the order of calls.
func (s *Swarm) schedule(ch *churn, p *Peer) {
	r := rand.New(rand.NewPCG(s.cfg.Seed, uint64(p.Index))) //nolint:gosec // a simulation
	stay, crash := ch.Sessions.Draw(r), r.Float64() < ch.Crash
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.over {
		return
	}
	ch.timers[p] = time.AfterFunc(stay, func() {
		ch.mu.Lock()
		delete(ch.timers, p)
		if ch.over {
			ch.mu.Unlock()
			return
		}
		ch.left++
		ch.mu.Unlock()
		if crash {
			p.Kill()
		} else {
			p.Stop()
		}
		next, err := s.Add(Spec{Seeds: ch.Seeds})
		if err != nil {
			panic(err) // addresses are never used twice
		}
		s.schedule(ch, next)
	})
}
