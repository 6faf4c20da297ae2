package dht

import (
	"context"
	"fmt"
	"slices"
	"time"

	"signalbox/dht/table"
	"signalbox/engine/view"
)

// Ping asks a peer we know whether it is there and returns the round trip. It
// dials if there is no link, and needs Run for that.
func (n *Node) Ping(ctx context.Context, id table.ID) (time.Duration, error) {
	c := n.table.Get(id)
	if c == nil && n.reg.best(id) == nil {
		return 0, ErrNotFound
	}
	var addrs []table.Addr
	if c != nil {
		addrs = c.Addrs()
	}
	return n.probe(ctx, id, addrs)
}

// Evict removes a peer from the table and closes its links. It may come back.
func (n *Node) Evict(id table.ID) error {
	c := n.table.Remove(id, table.RemovedEvicted)
	if c != nil {
		n.peerRemoved(c, table.RemovedEvicted)
	}
	if !n.closeLinks(id, "evicted") && c == nil {
		return ErrNotFound
	}
	return nil
}

// Block removes a peer, closes its links, and refuses it until Unblock. The
// peer need not be known.
func (n *Node) Block(id table.ID) error {
	c, err := n.table.Block(id)
	if err != nil {
		return err
	}
	if c != nil {
		n.peerRemoved(c, table.RemovedBlocked)
	}
	n.closeLinks(id, "blocked")
	return nil
}

// Unblock lifts a Block; ErrNotFound when there was none.
func (n *Node) Unblock(id table.ID) error {
	if !n.table.Unblock(id) {
		return ErrNotFound
	}
	return nil
}

func (n *Node) closeLinks(id table.ID, why string) bool {
	list := n.reg.of(id)
	for _, s := range list {
		s.link.Close(why)
	}
	return len(list) > 0
}

// Refresh has a bucket, or all of them with -1, looked into soon. It does not
// wait; ErrBusy when too many refreshes are waiting already.
func (n *Node) Refresh(bucket int) error {
	if bucket < -1 || bucket >= table.NumBuckets {
		return fmt.Errorf("%w: no bucket %d", ErrNotFound, bucket)
	}
	select {
	case n.refresh <- bucket:
		n.want(jobRefresh)
		return nil
	default:
		return ErrBusy
	}
}

// Fill writes the node's part of the snapshot.
func (n *Node) Fill(v *view.DHT, now int64) {
	n.table.Fill(v, now)
	for i := range v.PeersTable {
		if id, err := table.ParseID(v.PeersTable[i].ID); err == nil {
			v.PeersTable[i].Links = len(n.reg.of(id))
		}
	}
	n.stats.fill(&v.Lookups)
	n.records.fill(v, now)
	n.fillReach(&v.Reachability)
	v.Lookups.Active = int(n.active.Load())
	n.traces.fill(&v.Lookups, now)
	v.RPC = view.RPC{
		Pending: n.pending.len(),
		Sent:    n.counts.sent.Load(),
		OK:      n.counts.ok.Load(),
		Timeout: n.counts.timeout.Load(),
		Refused: n.counts.refused.Load(),
		Stray:   n.counts.strays(),
	}
	st := n.Stats()
	v.Served = st.Served
	v.Trouble = map[string]uint64{
		"quota": st.Quota, "malformed": st.Malformed, "blocked": st.Blocked, "excused": st.Excused, "late_lost": st.LateLost,
		"send_error": st.SendErr, "revalidation_full": st.RevalBusy, "panic": st.Panics,
	}
}

func seconds(ns int64) float64 { return time.Duration(ns).Seconds() }

func millis(ns int64) float64 { return float64(ns) / float64(time.Millisecond) }

func (s *lookupStats) fill(v *view.Lookups) {
	s.mu.Lock()
	ms, hops := slices.Clone(s.ms), slices.Clone(s.hops)
	v.OK, v.Failed = s.ok, s.failed
	s.mu.Unlock()
	slices.Sort(ms)
	slices.Sort(hops)
	v.P50MS, v.P99MS, v.HopsP50 = percentile(ms, 50), percentile(ms, 99), percentile(hops, 50)
}

// percentile of sorted values by the nearest-rank method; 0 when there are none.
func percentile(sorted []float64, p int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)*p+99)/100-1]
}

// Requests is how many requests were sent and how many of them were not
// answered in time.
func (n *Node) Requests() (sent, timeout uint64) {
	return n.counts.sent.Load(), n.counts.timeout.Load()
}
