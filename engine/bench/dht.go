package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"signalbox/dht"
	"signalbox/dht/table"
	"signalbox/engine/config"
	"signalbox/engine/view"
)

// DHTParams describe a fleet of DHT nodes on loopback and what is asked of it.
type DHTParams struct {
	Nodes   int     `json:"nodes"` // the one under test included
	K       int     `json:"k"`
	Joiners int     `json:"joiners"`   // nodes that join at a time
	Rate    float64 `json:"lookups_s"` // lookups a second in the soak
	Rejoins float64 `json:"rejoins_s"` // nodes that leave and join anew a second, in the busiest step
	Seconds float64 `json:"seconds"`   // of soak
}

const (
	fleetSeeds   = 4
	joinedAt     = 8               // contacts that make a node a member
	joinWait     = 2 * time.Minute // a busy machine is slow; joined_us says how slow
	foundAtOnce  = 16
	lookupBudget = 30 * time.Second
	fdsPerNode   = 4
)

// step is one stage of the soak.
type step struct {
	Name           string    `json:"name"`
	Seconds        float64   `json:"seconds"`
	Rejoins        uint64    `json:"rejoins"`
	Lookups        uint64    `json:"lookups"`
	Found          uint64    `json:"found"`
	Skipped        uint64    `json:"skipped"` // lookups not begun: too many under way already
	LookupUS       Quantiles `json:"lookup_us"`
	Requests       uint64    `json:"requests"`
	Timeouts       uint64    `json:"timeouts"` // requests whose reply did not come within their deadline
	ControlDropped uint64    `json:"control_dropped"`
	RequestDropped uint64    `json:"requests_dropped"`
	Links          int64     `json:"links"`
	FleetCPUPct    float64   `json:"fleet_cpu_pct"` // of one core
	NodeCPUPct     float64   `json:"node_cpu_pct"`
	NodeRSSBytes   uint64    `json:"node_rss_bytes"`
	NodeDropped    uint64    `json:"node_dropped"` // dht plane of the node under test, all reasons
}

// fleet is a run under way.
type fleet struct {
	// Constant after newFleet.
	p     DHTParams
	nut   *Node
	seeds []dht.Seed
	nutID table.ID
	count fleetCounts

	hist atomic.Pointer[histogram]

	asked, found, skipped atomic.Uint64 // of the present stage
	rejoined              atomic.Uint64

	mu    sync.Mutex // a leaf; guards the fields below
	nodes []*leanNode
	past  view.RPC // of nodes that have left
}

// RunDHT builds a fleet around the node under test, has everybody look for
// somebody, and then soaks it: lookups without pause while nodes leave and
// join, in steps, the last of which is as quiet as the first.
func RunDHT(ctx context.Context, nut *Node, p DHTParams) (*Result, error) {
	if p.Nodes < 10 || p.Nodes > 5000 || p.Joiners < 1 || p.Rate <= 0 || p.Seconds < 4 {
		return nil, config.Exit(config.ExitUsage, "bench: dht: %d nodes, %d joiners, %v lookups a second for %v s is out of range", p.Nodes, p.Joiners, p.Rate, p.Seconds)
	}
	if err := enoughFiles(p.Nodes); err != nil {
		return nil, err
	}
	defer ownHeap()()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f, err := newFleet(ctx, nut, p)
	if err != nil {
		return nil, err
	}
	defer f.close()
	start := time.Now()
	join, err := f.join(ctx)
	if err != nil {
		return nil, err
	}
	settled, err := f.settle(ctx)
	if err != nil {
		return nil, err
	}
	if err := collect(ctx); err != nil {
		return nil, err
	}
	all, err := f.allFound(ctx)
	if err != nil {
		return nil, err
	}
	before, err := sample(ctx, nut)
	if err != nil {
		return nil, err
	}
	steps, total, err := f.soak(ctx)
	if err != nil {
		return nil, err
	}
	after, err := sample(ctx, nut)
	if err != nil {
		return nil, err
	}
	return f.result(time.Since(start), join, settled, all, steps, total, before, after), nil
}

// enoughFiles raises the limit of open files as far as it may; every node has
// a socket.
func enoughFiles(nodes int) error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("bench: limit of open files: %w", err)
	}
	want := uint64(nodes*fdsPerNode + 256)
	if l.Cur < want && l.Cur < l.Max {
		l.Cur = min(want, l.Max)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
			return fmt.Errorf("bench: limit of open files: %w", err)
		}
	}
	if l.Cur < uint64(nodes+256) {
		return fmt.Errorf("bench: %d nodes need %d open files, %d are allowed: raise ulimit -n", nodes, nodes+256, l.Cur)
	}
	return nil
}

func newFleet(ctx context.Context, nut *Node, p DHTParams) (*fleet, error) {
	if nut == nil {
		return nil, errors.New("bench: dht wants a node of its own")
	}
	s, err := nut.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	id, err := table.ParseID(s.Node.NodeID)
	if err != nil {
		return nil, err
	}
	f := &fleet{p: p, nut: nut, nutID: id, seeds: []dht.Seed{{ID: id, Addr: nut.Addr}}}
	f.hist.Store(&histogram{})
	return f, nil
}

func (f *fleet) close() {
	f.mu.Lock()
	nodes := f.nodes
	f.nodes = nil
	f.mu.Unlock()
	var wg sync.WaitGroup
	for _, n := range nodes {
		if n != nil {
			n.stop()
			wg.Go(n.close)
		}
	}
	wg.Wait()
}

// fleetAddr gives every node a loopback address of its own.
func fleetAddr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 16 + byte(i>>16), byte(i >> 8), byte(i)}), 4433)
}

// join starts the nodes, Joiners at a time, each waited for until it knows
// somebody. It returns how long one took.
func (f *fleet) join(ctx context.Context) (Quantiles, error) {
	hist := &histogram{}
	f.nodes = make([]*leanNode, f.p.Nodes-1)
	var g errgroup.Group
	g.SetLimit(f.p.Joiners)
	for i := range f.nodes {
		if i == fleetSeeds { // the first are seeds for the rest
			if err := g.Wait(); err != nil {
				return Quantiles{}, err
			}
			for _, n := range f.nodes[:fleetSeeds] {
				f.seeds = append(f.seeds, dht.Seed{ID: n.id, Addr: n.addr})
			}
		}
		g.Go(func() error {
			start := time.Now()
			n, err := startLean(ctx, fleetAddr(i+1), f.seeds, f.p.K, &f.count)
			if err != nil {
				return err
			}
			f.mu.Lock()
			f.nodes[i] = n
			f.mu.Unlock()
			if err := n.member(ctx, min(joinedAt, i+1)); err != nil {
				return fmt.Errorf("bench: node %d of %d, with %d contacts: %w", i+1, f.p.Nodes, n.node.Table().Len(), err)
			}
			hist.add(time.Since(start))
			return nil
		})
	}
	return hist.quantiles(), errors.Join(g.Wait(), ctx.Err())
}

var errNotJoined = errors.New("not a member of the network in time")

// member waits until the node has so many contacts.
func (n *leanNode) member(ctx context.Context, contacts int) error {
	limit := time.NewTimer(joinWait)
	defer limit.Stop()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for n.node.Table().Len() < contacts {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return errNotJoined
		case <-t.C:
		}
	}
	return nil
}

// Fewest and most time between the last join and the first lookup.
const (
	settleLook = 5 * time.Second
	settleMost = 5 * time.Minute
)

// settle waits until tables have filled after the joins: until links grow by
// less than one in a hundred in two looks running. It returns how long that
// took.
func (f *fleet) settle(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	for calm, last := 0, f.count.links.Load(); calm < 2 && time.Since(start) < settleMost; {
		if !pause(ctx, settleLook) {
			return 0, ctx.Err()
		}
		calm++
		now := f.count.links.Load()
		if now > last+last/100 {
			calm = 0
		}
		last = now
	}
	return time.Since(start), nil
}

// stage is what a number of lookups came to.
type stage struct {
	Lookups  uint64    `json:"lookups"`
	Found    uint64    `json:"found"`
	LookupUS Quantiles `json:"lookup_us"`
}

// lookup has one node look for another and books the outcome.
func (f *fleet) lookup(ctx context.Context, from *leanNode, target table.ID) {
	ctx, cancel := context.WithTimeout(ctx, lookupBudget)
	defer cancel()
	start := time.Now()
	found, err := from.node.Lookup(ctx, target)
	if err != nil && ctx.Err() != nil && time.Since(start) < lookupBudget {
		return // the run is over
	}
	f.hist.Load().add(time.Since(start))
	f.asked.Add(1)
	if err == nil && len(found) > 0 && found[0].ID == target {
		f.found.Add(1)
	}
}

// take returns what has been booked since the last take.
func (f *fleet) take() stage {
	h := f.hist.Swap(&histogram{})
	return stage{Lookups: f.asked.Swap(0), Found: f.found.Swap(0), LookupUS: h.quantiles()}
}

// allFound has every node look for another, and for the node under test.
func (f *fleet) allFound(ctx context.Context) (stage, error) {
	var g errgroup.Group
	g.SetLimit(foundAtOnce)
	perm := rand.Perm(len(f.nodes))
	for i, n := range f.nodes {
		g.Go(func() error {
			target := f.nodes[perm[i]].id
			if target == n.id {
				target = f.nutID
			}
			f.lookup(ctx, n, target)
			return ctx.Err()
		})
	}
	err := g.Wait()
	return f.take(), err
}

func (f *fleet) result(took time.Duration, join Quantiles, settled time.Duration, all stage, steps []step, total stage, before, after reading) *Result {
	r := newResult("dht", f.p, took)
	r.Sent, r.Expected, r.Delivered = total.Lookups, total.Lookups, total.Found
	for _, s := range steps {
		r.Expected += s.Skipped // one that had no place is not found either
	}
	r.Lost = int64(r.Expected - r.Delivered)
	r.LatencyUS = total.LookupUS
	r.measure(before, after)
	handled := after.snap.Ledger.DHT.Delivered - before.snap.Ledger.DHT.Delivered
	if handled > 0 { // a delivered packet of this workload is a message the node has handled
		r.cost(before, after, handled)
	}
	self := Node{PID: os.Getpid()}
	rpc := f.rpc()
	r.Extra = map[string]any{
		"joined_us": join, "settled_s": settled.Seconds(), "all_found": all, "steps": steps, "control_dropped": f.count.controlDropped.Load(), "requests_dropped": f.count.requestsDropped.Load(),
		"requests": rpc.Sent, "timeouts": rpc.Timeout, // these four of the whole run, joins included
		"node_messages_handled": handled,
		"node_dropped":          dropped(after.snap), "fleet_rss_bytes_per_node": self.RSS() / uint64(f.p.Nodes-1), "links_per_node": float64(f.count.links.Load()) / float64(f.p.Nodes-1),
		"last_over_first_p50": steps[len(steps)-1].LookupUS.P50 / max(steps[0].LookupUS.P50, 1), "link_queue_full": f.count.linkFull.Load(),
		"note": "sent, delivered and latency are the soak's lookups; CPU and allocations are the node under test's per DHT message it handled",
	}
	return r
}
