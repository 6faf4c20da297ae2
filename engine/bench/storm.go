package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"signalbox/engine/quicnet"
)

// stormRoom is how many of a storm's clients share a room.
const stormRoom = 10

// stormReport is what became of clients that all came at once.
type stormReport struct {
	Clients int            `json:"clients"`
	Joined  int            `json:"joined"`
	Retries int            `json:"retries"`  // attempts after a refusal or a timeout
	AllInS  float64        `json:"all_in_s"` // until the last one that got in was in
	JoinUS  Quantiles      `json:"join_us"`
	Refused map[string]int `json:"refused"` // by what the client was told
	hist    histogram
	mu      sync.Mutex
}

// insist joins as a client does that wants to get in: refused, it comes again
// after a moment.
func (rep *stormReport) insist(ctx context.Context, cl *quicnet.Client, addr netip.AddrPort, i int) (*Caller, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		c, err := Join(ctx, cl, addr, fmt.Sprintf("storm-%d", i/stormRoom), fmt.Sprintf("storm-%d", i))
		if err == nil || !pause(ctx, wait/2+rand.N(wait)) {
			return c, err
		}
		rep.mu.Lock()
		rep.Retries++
		rep.mu.Unlock()
	}
}

// storm makes n clients join at once and stay until ctx ends.
func storm(ctx context.Context, addr netip.AddrPort, n int) (*stormReport, error) {
	rep := &stormReport{Clients: n, Refused: map[string]int{}}
	cl, err := quicnet.NewClient(quicnet.ClientConfig{})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = cl.Close() }) // which ends its connections too
	start := time.Now()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			began := time.Now()
			c, err := rep.insist(ctx, cl, addr, i)
			took := time.Since(began)
			rep.mu.Lock()
			defer rep.mu.Unlock()
			if err != nil {
				rep.Refused[err.Error()]++
				return
			}
			rep.Joined++
			rep.hist.add(took)
			rep.AllInS = max(rep.AllInS, time.Since(start).Seconds())
			go c.ReadSignals(ctx)
		})
	}
	wg.Wait()
	rep.JoinUS = rep.hist.quantiles()
	return rep, nil
}
