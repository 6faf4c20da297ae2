package table

import (
	"net/netip"
	"time"

	"signalbox/engine/view"
)

// Contact states of the snapshot. Every contact is in exactly one: suspect
// when its last probe had no answer, else fresh or stale by LiveThreshold.
const (
	stateFresh   = "fresh"
	stateStale   = "stale"
	stateSuspect = "suspect"
)

func (c *Contact) state(now int64) string {
	switch {
	case c.Failures() > 0:
		return stateSuspect
	case c.Stale(now):
		return stateStale
	default:
		return stateFresh
	}
}

// Fill writes the table's part of the snapshot: members, buckets, touches,
// admissions, diversity. It takes no lock. Per bucket, Fresh + Stale = Size
// (a suspect is stale there); over all, Fresh + Stale + Suspect = Peers.
func (t *Table) Fill(v *view.DHT, now int64) {
	s := t.snap.Load()
	v.Peers, v.Fresh, v.Stale, v.Suspect = s.size, 0, 0, 0
	v.Buckets = []view.Bucket{}
	v.PeersTable = make([]view.Peer, 0, s.size)
	for i := range s.buckets {
		t.fillBucket(v, s, i, now)
	}
	v.Touch = t.Touches()
	v.Admission = make(map[string]uint64, NumResults)
	for i := range t.results {
		v.Admission[resultNames[i]] = t.results[i].Load()
	}
	v.Removed = make(map[string]uint64, NumRemovals)
	for i := range t.removed {
		v.Removed[removalNames[i]] = t.removed[i].Load()
	}
	v.Diversity = diversity(s)
}

func (t *Table) fillBucket(v *view.DHT, s *snapshot, i int, now int64) {
	members := s.contacts(i)
	live, _ := t.BucketAge(i, now)
	if len(members) == 0 && live < 0 {
		return
	}
	b := view.Bucket{Index: i, Size: len(members), Capacity: t.cfg.K, LastRefreshS: -1}
	if live >= 0 {
		b.LastRefreshS = seconds(live)
	}
	for _, c := range members {
		p := c.view(now)
		v.PeersTable = append(v.PeersTable, p)
		b.OldestS = max(b.OldestS, p.LastSeenS)
		switch p.State {
		case stateFresh:
			b.Fresh++
			v.Fresh++
		case stateStale:
			b.Stale++
			v.Stale++
		default:
			b.Stale++
			b.Suspect++
			v.Suspect++
		}
	}
	v.Buckets = append(v.Buckets, b)
}

func (c *Contact) view(now int64) view.Peer {
	list := c.Addrs()
	p := view.Peer{
		ID:        c.id.String(),
		Addrs:     make([]view.Addr, len(list)),
		Bucket:    c.bucket,
		LastSeenS: seconds(max(now-c.LastSeen(), 0)),
		RTTMS:     float64(c.RTT()) / float64(time.Millisecond),
		Trust:     c.Trust().Score(now),
		State:     c.state(now),
		Failures:  c.Failures(),
		SinceS:    seconds(max(now-c.since, 0)),
	}
	for i, a := range list {
		p.Addrs[i] = view.Addr{Addr: a.AddrPort.String(), Type: a.Type.String()}
	}
	return p
}

// Touches sums the touch counters.
func (t *Table) Touches() view.Touch {
	var v view.Touch
	for i := range t.touches {
		s := &t.touches[i]
		v.Fast += s.fast.Load()
		v.Slow += s.slow.Load()
		v.Missing += s.missing.Load()
	}
	return v
}

// Removals returns how many contacts left for the given reason.
func (t *Table) Removals(why Removal) uint64 { return t.removed[why].Load() }

// Results returns how many admissions ended with r.
func (t *Table) Results(r Result) uint64 { return t.results[r].Load() }

// diversity counts the parties behind the contacts; the largest subnet's share
// is the share of contacts with an address in it.
func diversity(s *snapshot) view.Diversity {
	ips := map[netip.Addr]struct{}{}
	nets := map[netip.Prefix]int{}
	largest := 0
	s.all(func(c *Contact) bool {
		mine := map[netip.Prefix]struct{}{}
		for _, a := range c.Addrs() {
			ip := a.AddrPort.Addr()
			ips[ip] = struct{}{}
			mine[Subnet(ip)] = struct{}{}
		}
		for n := range mine {
			nets[n]++
			largest = max(largest, nets[n])
		}
		return true
	})
	d := view.Diversity{DistinctIPs: len(ips), DistinctSubnets: len(nets)}
	if s.size > 0 {
		d.LargestSubnetPct = 100 * float64(largest) / float64(s.size)
	}
	return d
}

func seconds(ns int64) float64 { return time.Duration(ns).Seconds() }
