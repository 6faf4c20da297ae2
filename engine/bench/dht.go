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
	if !pause(ctx, 10*time.Second) { // self-lookups that follow the joins
		return nil, ctx.Err()
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
	return f.result(time.Since(start), join, all, steps, total, before, after), nil
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

// soak goes through the steps. The first and the last are alike: what has grown
// worse between them has grown worse by age.
func (f *fleet) soak(ctx context.Context) (steps []step, total stage, err error) {
	each := time.Duration(f.p.Seconds / 4 * float64(time.Second))
	all := &histogram{}
	for _, s := range []struct {
		name    string
		rejoins float64
	}{{"quiet, first", 0}, {"half of the rejoins", f.p.Rejoins / 2}, {"all rejoins", f.p.Rejoins}, {"quiet, last", 0}} {
		st, hist, err := f.step(ctx, s.name, each, s.rejoins)
		if err != nil {
			return steps, total, err
		}
		steps = append(steps, st)
		all.merge(hist)
		total.Lookups += st.Lookups
		total.Found += st.Found
	}
	total.LookupUS = all.quantiles()
	return steps, total, nil
}

func (f *fleet) step(ctx context.Context, name string, d time.Duration, rejoins float64) (step, *histogram, error) {
	before, err := sample(ctx, f.nut)
	if err != nil {
		return step{}, nil, err
	}
	f.take()
	f.rejoined.Store(0)
	f.skipped.Store(0)
	control, requests := f.count.controlDropped.Load(), f.count.requestsDropped.Load()
	rpc, cpu, start := f.rpc(), ownCPU(), time.Now()
	during, cancel := context.WithTimeout(ctx, d)
	var wg sync.WaitGroup
	wg.Go(func() { f.ask(during, ctx) })
	if rejoins > 0 {
		wg.Go(func() { f.churn(during, ctx, rejoins) })
	}
	wg.Wait()
	cancel()
	took := time.Since(start).Seconds()
	after, err := sample(ctx, f.nut)
	if err != nil {
		return step{}, nil, err
	}
	hist := f.hist.Load()
	got, now := f.take(), f.rpc()
	return step{
		Name: name, Seconds: took, Rejoins: f.rejoined.Load(), Lookups: got.Lookups, Found: got.Found, Skipped: f.skipped.Load(), LookupUS: got.LookupUS,
		Requests: now.Sent - rpc.Sent, Timeouts: now.Timeout - rpc.Timeout,
		ControlDropped: f.count.controlDropped.Load() - control, RequestDropped: f.count.requestsDropped.Load() - requests,
		Links: f.count.links.Load(), FleetCPUPct: 100 * (ownCPU() - cpu).Seconds() / took,
		NodeCPUPct: 100 * (after.cpu - before.cpu).Seconds() / took, NodeRSSBytes: after.rss,
		NodeDropped: dropped(after.snap) - dropped(before.snap),
	}, hist, nil
}

func dropped(s *view.Snapshot) (n uint64) {
	for _, v := range s.Ledger.DHT.Dropped {
		n += v
	}
	return n
}

// stable are the nodes that do not rejoin: those who ask and are asked for.
func (f *fleet) stable() []*leanNode {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[:len(f.nodes)/2]
}

// ask starts lookups at the rate until during ends, and waits for them.
func (f *fleet) ask(during, ctx context.Context) {
	t := time.NewTicker(time.Duration(float64(time.Second) / f.p.Rate))
	defer t.Stop()
	nodes := f.stable()
	places := make(chan struct{}, max(int(f.p.Rate*4), 16))
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-during.Done():
			return
		case <-t.C:
		}
		from, to := nodes[rand.IntN(len(nodes))], nodes[rand.IntN(len(nodes))]
		target := to.id
		if from == to {
			target = f.nutID
		}
		select {
		case places <- struct{}{}:
			wg.Go(func() {
				defer func() { <-places }()
				f.lookup(ctx, from, target)
			})
		default:
			f.skipped.Add(1)
		}
	}
}

// churn has nodes of the second half leave and come back as somebody new.
func (f *fleet) churn(during, ctx context.Context, rate float64) {
	t := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer t.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	half := len(f.nodes) / 2
	for i := 0; ; i++ {
		select {
		case <-during.Done():
			return
		case <-t.C:
		}
		at := half + i%(len(f.nodes)-half)
		wg.Go(func() {
			if err := f.rejoin(ctx, at); err == nil {
				f.rejoined.Add(1)
			}
		})
	}
}

// rejoin replaces node at.
func (f *fleet) rejoin(ctx context.Context, at int) error {
	f.mu.Lock()
	old := f.nodes[at]
	f.nodes[at] = nil
	f.mu.Unlock()
	if old == nil {
		return errNotJoined // its last rejoin is still under way
	}
	var v view.DHT
	old.node.Fill(&v, 0)
	old.close()
	n, err := startLean(ctx, old.addr, f.seeds, f.p.K, &f.count)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.past.Sent += v.RPC.Sent
	f.past.Timeout += v.RPC.Timeout
	if err == nil {
		f.nodes[at] = n
	}
	return err
}

// rpc sums the fleet's requests.
func (f *fleet) rpc() view.RPC {
	f.mu.Lock()
	defer f.mu.Unlock()
	sum := f.past
	for _, n := range f.nodes {
		if n == nil {
			continue
		}
		sent, timeout := n.node.Requests()
		sum.Sent += sent
		sum.Timeout += timeout
	}
	return sum
}

// ownCPU is this process's user and system time.
func ownCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (f *fleet) result(took time.Duration, join Quantiles, all stage, steps []step, total stage, before, after reading) *Result {
	r := newResult("dht", f.p, took)
	r.Sent, r.Expected, r.Delivered = total.Lookups, total.Lookups, total.Found
	r.Lost = int64(total.Lookups - total.Found)
	r.LatencyUS = total.LookupUS
	r.measure(before, after)
	handled := after.snap.Ledger.DHT.Delivered - before.snap.Ledger.DHT.Delivered
	if handled > 0 { // a delivered packet of this workload is a message the node has handled
		r.cost(before, after, handled)
	}
	self := Node{PID: os.Getpid()}
	var control uint64
	for _, s := range steps {
		control += s.ControlDropped
	}
	r.Extra = map[string]any{
		"joined_us": join, "all_found": all, "steps": steps, "control_dropped": control, "node_messages_handled": handled,
		"node_dropped": dropped(after.snap), "fleet_rss_bytes_per_node": self.RSS() / uint64(f.p.Nodes-1), "links_per_node": float64(f.count.links.Load()) / float64(f.p.Nodes-1),
		"last_over_first_p50": steps[len(steps)-1].LookupUS.P50 / max(steps[0].LookupUS.P50, 1), "link_queue_full": f.count.linkFull.Load(),
		"note": "sent, delivered and latency are the soak's lookups; CPU and allocations are the node under test's per DHT message it handled",
	}
	return r
}
