// Package mesh is the arithmetic and the table of the relay mesh: what the last
// sixty pings to a relay say of the way to it (spec wzp 5.15), and the text that
// wzp-relay shows of all of them (5.21). It has no clock, no lock and no
// connection.
package mesh

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"signalbox/engine/view"
)

const (
	size     = 60              // pings remembered
	overdue  = 2 * time.Second // without a pong: lost until it comes
	ruleLen  = 41
	notAdded = "  (no probe targets configured)"
)

// ping is one that was sent.
type ping struct {
	id   uint64 // the timestamp it carries, Unix ms
	at   int64  // monotonic ns
	rtt  int64  // ns
	back bool
}

// Window remembers the newest pings of one connection. The zero value is ready.
type Window struct {
	pings  [size]ping
	n      int // of pings in use
	next   int
	lastID uint64
	latest int64 // round trip of the newest pong
	heard  int64 // when that came; 0: none has
}

// Sent notes a ping sent now and returns the timestamp it is to carry: unixMS,
// or the next that no other ping has.
func (w *Window) Sent(unixMS uint64, now int64) uint64 {
	w.lastID = max(unixMS, w.lastID+1)
	w.pings[w.next] = ping{id: w.lastID, at: now}
	w.next = (w.next + 1) % size
	w.n = min(w.n+1, size)
	return w.lastID
}

// Pong notes an answer. One to no ping we know of, or to one answered already,
// is false.
func (w *Window) Pong(id uint64, now int64) bool {
	for i := range w.pings[:w.n] {
		if p := &w.pings[i]; p.id == id && !p.back {
			p.back, p.rtt = true, max(0, now-p.at)
			w.latest, w.heard = p.rtt, max(now, 1)
			return true
		}
	}
	return false
}

// Heard is when the newest pong came; 0: none has.
func (w *Window) Heard() int64 { return w.heard }

// RTT is the newest round trip.
func (w *Window) RTT() time.Duration { return time.Duration(w.latest) }

// LossPct is the share of the pings without a pong. Those that are still on
// their way do not count.
func (w *Window) LossPct(now int64) float64 {
	lost, all := 0, 0
	for _, p := range w.pings[:w.n] {
		switch {
		case p.back:
			all++
		case now-p.at >= int64(overdue):
			all++
			lost++
		}
	}
	if all == 0 {
		return 0
	}
	return 100 * float64(lost) / float64(all)
}

// Jitter is the population standard deviation of the round trips.
func (w *Window) Jitter() time.Duration {
	var n, sum float64
	for _, p := range w.pings[:w.n] {
		if p.back {
			n++
			sum += float64(p.rtt)
		}
	}
	if n == 0 {
		return 0
	}
	mean, sq := sum/n, 0.0
	for _, p := range w.pings[:w.n] {
		if p.back {
			sq += (float64(p.rtt) - mean) * (float64(p.rtt) - mean)
		}
	}
	return time.Duration(math.Sqrt(sq / n))
}

// Table is the text of /mesh and --mesh-status.
func Table(probes []view.Probe) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Relay Mesh Health\n%s\n", strings.Repeat("─", ruleLen))
	if len(probes) == 0 {
		b.WriteString(notAdded + "\n")
		return b.String()
	}
	fmt.Fprintf(&b, "%-20s %6s %6s %7s  %s\n", "Target", "RTT", "Loss", "Jitter", "Status")
	sorted := slices.Clone(probes)
	slices.SortFunc(sorted, func(a, b view.Probe) int { return cmp.Compare(a.Target, b.Target) })
	for _, p := range sorted {
		status := "DOWN"
		if p.Up {
			status = "UP"
		}
		fmt.Fprintf(&b, "%-20s %5.0fms %5.1f%% %5.0fms  %s\n", p.Target, p.RTTMS, p.LossPct, p.JitterMS, status)
	}
	return b.String()
}
