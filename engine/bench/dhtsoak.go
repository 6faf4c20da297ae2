package bench

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"signalbox/engine/view"
)

// soak goes through the steps. The first and the last are alike: what has grown
// worse between them has grown worse by age.
func (f *fleet) soak(ctx context.Context) (steps []step, total stage, err error) {
	each := time.Duration(f.p.Seconds / 4 * float64(time.Second))
	all := &histogram{}
	for _, s := range []struct {
		name    string
		rejoins float64
	}{{"quiet, first", 0}, {"half of the rejoins", f.p.Rejoins / 2}, {"all rejoins", f.p.Rejoins}, {"quiet, last", 0}} {
		if err := collect(ctx); err != nil {
			return steps, total, err
		}
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
