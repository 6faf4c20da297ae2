package bench

import (
	"context"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/engine/config"
	"signalbox/engine/dispatch"
)

// DispatchParams describe a load on the dispatcher alone, in this process.
type DispatchParams struct {
	Sources  int     `json:"sources"`   // distinct addresses
	HotShare float64 `json:"hot_share"` // share of the messages the first address sends, 0 to 1
	Wedge    int     `json:"wedge"`     // shard whose handler is stuck for ever; -1: none
	RatePPS  int     `json:"rate_pps"`  // healthy messages a second offered
	Seconds  float64 `json:"seconds"`
	Shards   int     `json:"shards"`
	Capacity int     `json:"capacity"`
}

type benchMsg struct {
	at  int64
	hot bool
}

// dispatchProbe is the handler: about a microsecond of work.
type dispatchProbe struct {
	hist    *histogram
	base    time.Time
	handled atomic.Uint64
	sink    atomic.Uint64
}

func (p *dispatchProbe) Handle(_ int, m *benchMsg, _ int64) {
	var x uint64
	for i := range uint64(400) {
		x = x*2862933555777941757 + i
	}
	p.sink.Store(x)
	if !m.hot {
		p.hist.add(time.Duration(int64(time.Since(p.base)) - m.at))
		p.handled.Add(1)
	}
}
func (p *dispatchProbe) Flush(int)                 { runtime.KeepAlive(p) }
func (p *dispatchProbe) Describe(*benchMsg) string { return "a bench message" }

// dispatchLoad is one run.
type dispatchLoad struct {
	p       DispatchParams
	d       *dispatch.Dispatcher[benchMsg]
	probe   *dispatchProbe
	sources []netip.Addr
	hot     netip.Addr

	offered, refused, onWedged, hotOffered, hotRefused atomic.Uint64
}

// RunDispatch offers messages from many sources and reports what the healthy
// ones lost while one floods or one shard is stuck.
func RunDispatch(ctx context.Context, p DispatchParams) (*Result, error) {
	if p.Sources < 1 || p.Sources > 1<<20 || p.HotShare < 0 || p.HotShare >= 1 || p.Wedge >= p.Shards {
		return nil, config.Exit(config.ExitUsage, "bench: dispatch: %d sources, hot share %v, wedge %d of %d shards is out of range", p.Sources, p.HotShare, p.Wedge, p.Shards)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &dispatchLoad{p: p, probe: &dispatchProbe{hist: &histogram{}, base: time.Now()}}
	l.d = dispatch.New(dispatch.Config{
		Plane: "bench", Shards: p.Shards, Capacity: p.Capacity, Epoch: l.probe.base,
		Watchdog: dispatch.Watchdog{ReplaceAfter: time.Hour}, // a stuck shard stays stuck: that is the measurement
	}, l.probe)
	for i := range p.Sources {
		l.sources = append(l.sources, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	l.hot = l.sources[0]
	var wg sync.WaitGroup
	wg.Go(func() { l.run(ctx) })
	stuck := make(chan struct{})
	defer close(stuck)
	if p.Wedge >= 0 {
		if err := l.d.Inject(p.Wedge, func() { <-stuck }); err != nil {
			return nil, err
		}
	}
	before := ownSpent()
	start := time.Now()
	l.offer(ctx, start.Add(time.Duration(p.Seconds*float64(time.Second))))
	took := time.Since(start)
	res := l.result(took)
	l.spent(res, before, ownSpent())
	cancel()
	return res, nil
}

func (l *dispatchLoad) run(ctx context.Context) {
	if err := l.d.Run(ctx); err != nil {
		panic(err) // Run fails only when it is called twice
	}
}

// offer sends ticks of healthy messages at the rate, and the hot source's in
// between, until end.
func (l *dispatchLoad) offer(ctx context.Context, end time.Time) {
	const tick = time.Millisecond
	per := max(l.p.RatePPS/1000, 1)
	hotPer := 0
	if l.p.HotShare > 0 {
		hotPer = int(float64(per) * l.p.HotShare / (1 - l.p.HotShare))
	}
	t := time.NewTicker(tick)
	defer t.Stop()
	for i := 1; time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for k := range max(per, hotPer) {
			if k < per {
				i = i%max(len(l.sources)-1, 1) + 1
				l.submit(l.sources[i%len(l.sources)], false)
			}
			if k < hotPer {
				l.submit(l.hot, true)
			}
		}
	}
}

func (l *dispatchLoad) submit(src netip.Addr, hot bool) {
	m := benchMsg{at: int64(time.Since(l.probe.base)), hot: hot}
	_, ok := l.d.Submit(m.at, src, dispatch.Media, 120, m)
	switch {
	case hot:
		l.hotOffered.Add(1)
		if !ok {
			l.hotRefused.Add(1)
		}
	case l.d.ShardOf(src) == l.p.Wedge:
		l.onWedged.Add(1)
	default:
		l.offered.Add(1)
		if !ok {
			l.refused.Add(1)
		}
	}
}

func (l *dispatchLoad) result(took time.Duration) *Result {
	r := newResult("dispatch", l.p, took)
	r.Note = "no node: the dispatcher runs in this process, and CPU, allocations and memory are of both it and the load, for each message handled"
	r.Sent = l.offered.Load() + l.onWedged.Load() + l.hotOffered.Load()
	r.Expected = l.offered.Load()
	r.Delivered = r.Expected - l.refused.Load()
	r.Lost = int64(l.refused.Load())
	r.LatencyUS = l.probe.hist.quantiles()
	a := l.d.Account()
	drops, missing := a.Dropped.NonZero(), a.Unexplained()
	r.ServerDropped, r.ServerUnexplained = drops, &missing
	r.Extra = map[string]any{
		"hot_offered": l.hotOffered.Load(), "hot_refused": l.hotRefused.Load(), "on_wedged_shard": l.onWedged.Load(),
		"note": "expected, delivered and lost are those of healthy sources on healthy shards", "dropped": drops,
	}
	return r
}

// spending is what this process has spent so far.
type spending struct {
	cpu     time.Duration
	mallocs uint64
	rss     uint64
	ok      bool
}

func ownSpent() spending {
	self := Node{PID: os.Getpid()}
	cpu, err := self.CPU()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return spending{cpu: cpu, mallocs: m.Mallocs, rss: self.RSS(), ok: err == nil}
}

// spent fills in what the run has cost.
func (l *dispatchLoad) spent(r *Result, before, after spending) {
	n := float64(l.d.Account().Processed)
	if !before.ok || !after.ok || n == 0 {
		return
	}
	cpu, allocs := float64((after.cpu-before.cpu).Microseconds())/n, float64(after.mallocs-before.mallocs)/n
	r.CPUPerDelivered, r.AllocsPerForward, r.ServerRSSBytes = &cpu, &allocs, &after.rss
}
