package auth

import (
	"slices"
	"sync"
	"time"
)

// latencies are the newest round trips to the service.
type latencies struct {
	mu   sync.Mutex // leaf
	ring [256]time.Duration
	n    int
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring[l.n%len(l.ring)] = d
	l.n++
}

// quantiles are the median and the 99th percentile in milliseconds.
func (l *latencies) quantiles() (p50, p99 float64) {
	l.mu.Lock()
	all := slices.Clone(l.ring[:min(l.n, len(l.ring))])
	l.mu.Unlock()
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	at := func(q int) float64 { return float64(all[(len(all)-1)*q/100].Microseconds()) / 1e3 }
	return at(50), at(99)
}
