package dht

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"signalbox/dht/snapshot"
	"signalbox/dht/table"
	"signalbox/engine/view"
)

// Dialling what an earlier life of this node has left (spec dht 8.4).
const (
	redialFor      = 20 * time.Second // no new dial after that; those under way finish
	redialsAtOnce  = 16
	redialAddrs    = 2
	redialIsolated = 16 // candidates per attempt while nobody can be reached
)

// restored are the candidates of an earlier life. They are no contacts: each
// enters the table like anybody else, when it has proven who it is.
type restored struct {
	mu        sync.Mutex // a leaf; guards the fields below
	given     bool
	over      bool // the first dialling has ended, or there was nothing to dial
	list      []snapshot.Peer
	next      int // where the next attempt of an isolated node begins
	connected int
}

// pending reports whether the first dialling of the candidates is still to
// come or under way.
func (r *restored) pending() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.given && !r.over
}

func (r *restored) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.list)
}

// batch is the part of the candidates an isolated node dials now; every call
// goes on where the last ended. It is empty before the first dialling is over.
func (r *restored) batch(n int) []snapshot.Peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		return nil
	}
	var out []snapshot.Peer
	for range min(n, len(r.list)) {
		out = append(out, r.list[r.next])
		r.next = (r.next + 1) % len(r.list)
	}
	return out
}

// Restore gives the node what an earlier life of it has left, age ago: peers to
// dial beside the seeds, and scores that count once their peers have proven who
// they are. It may be called once, before Run or after.
func (n *Node) Restore(peers []snapshot.Peer, scores []snapshot.Score, age time.Duration) error {
	list := make([]snapshot.Peer, 0, min(len(peers), snapshot.MaxPeers))
	for _, p := range peers[:min(len(peers), snapshot.MaxPeers)] {
		if p.Addrs = n.redialable(p.Addrs); p.ID != n.cfg.ID && len(p.Addrs) > 0 {
			list = append(list, p)
		}
	}
	r := &n.restored
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.given {
		return fmt.Errorf("%w: Restore was called before", ErrConfig)
	}
	r.given, r.over, r.list = true, len(list) == 0, list
	n.trust.restore(scores, n.now()-int64(max(age, 0)))
	n.want(jobRestore)
	return nil
}

func (n *Node) redialable(addrs []table.Addr) []table.Addr {
	out := make([]table.Addr, 0, redialAddrs)
	for _, a := range addrs {
		ok := a.Type != table.Relay && table.Storable(a.AddrPort) && !n.self[a.AddrPort] && (n.cfg.AllowLoopback || !a.AddrPort.Addr().IsLoopback())
		if ok && len(out) < redialAddrs {
			out = append(out, a)
		}
	}
	return out
}

// Restored is how many candidates Restore has brought and how many of them
// have connected.
func (n *Node) Restored() (candidates, connected int) {
	n.restored.mu.Lock()
	defer n.restored.mu.Unlock()
	return len(n.restored.list), n.restored.connected
}

// restorePass dials the restored candidates once, in parallel with the seeds.
func (n *Node) restorePass(ctx context.Context, _ bool) time.Duration {
	if n.restored.pending() {
		n.redial(ctx)
	}
	return jobRests
}

func (n *Node) redial(ctx context.Context) {
	r := &n.restored
	defer func() { // also after a panic: an isolated node must go on with its batches
		r.mu.Lock()
		r.over = true
		r.mu.Unlock()
	}()
	r.mu.Lock()
	list := r.list
	r.mu.Unlock()
	last := n.now() + int64(redialFor)
	end := time.NewTimer(redialFor)
	defer end.Stop()
	places := make(chan struct{}, redialsAtOnce)
	var wg sync.WaitGroup
	tried := 0
dialling:
	for _, p := range list {
		select {
		case places <- struct{}{}:
		case <-end.C:
			break dialling
		case <-ctx.Done():
			break dialling
		}
		if n.now() >= last {
			break
		}
		tried++
		wg.Go(func() {
			defer func() { <-places }()
			n.contain("restore", func() {
				if _, err := n.connect(ctx, p.ID, p.Addrs, true); err == nil {
					r.mu.Lock()
					r.connected++
					r.mu.Unlock()
				}
			})
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return
	}
	_, connected := n.Restored()
	n.event(view.Info, "dht.restored", "dht", fmt.Sprintf("%d of %d peers of the last run are connected", connected, len(list)),
		map[string]any{"candidates": len(list), "tried": tried, "connected": connected})
}

// Remember returns what to keep for the next start: contacts, those that
// matter most first, and scores that say something. It takes the table's
// snapshot and the trust book's lock for the time of a copy.
func (n *Node) Remember() ([]snapshot.Peer, []snapshot.Score) {
	list := n.table.Contacts(nil)
	near := map[table.ID]bool{}
	for _, c := range n.table.Closest(nil, n.cfg.ID, n.table.K()) {
		near[c.ID()] = true
	}
	// The neighbourhood answers for us, the others make the far lookups short.
	// Those that do not answer just now come last.
	rank := func(c *table.Contact) int {
		switch {
		case c.Failures() > 0:
			return 2
		case near[c.ID()]:
			return 0
		default:
			return 1
		}
	}
	type ranked struct {
		c    *table.Contact
		rank int
		seen int64
	}
	order := make([]ranked, len(list))
	for i, c := range list { // both may change while we sort
		order[i] = ranked{c, rank(c), c.LastSeen()}
	}
	slices.SortFunc(order, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.seen, a.seen))
	})
	peers := make([]snapshot.Peer, 0, min(len(order), snapshot.MaxPeers))
	for _, o := range order[:min(len(order), snapshot.MaxPeers)] {
		peers = append(peers, snapshot.Peer{ID: o.c.ID(), Addrs: o.c.Addrs()})
	}
	return peers, n.trust.scores(n.now())
}
