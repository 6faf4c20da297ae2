package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/engine/dispatch"
)

const (
	dispatchNodeName = "dispatch-node" // the hidden command that runs ServeDispatch
	maxBenchSources  = 1 << 20
	dispatchSettle   = 2 * time.Second // for what waits when the offer ends
)

type benchMsg struct {
	at  int64
	hot bool
}

// dispatchProbe is the handler: about a microsecond of work.
type dispatchProbe struct {
	hist *histogram
	base time.Time
	sink atomic.Uint64
}

func (p *dispatchProbe) Handle(_ int, m *benchMsg, _ int64) {
	var x uint64
	for i := range uint64(400) {
		x = x*2862933555777941757 + i
	}
	p.sink.Store(x)
	if !m.hot {
		p.hist.add(time.Duration(int64(time.Since(p.base)) - m.at))
	}
}
func (p *dispatchProbe) Flush(int)                 { runtime.KeepAlive(p) }
func (p *dispatchProbe) Describe(*benchMsg) string { return "a bench message" }

// dispatched is what the dispatcher's process reports.
type dispatched struct {
	Healthy     uint64            `json:"healthy"`   // of healthy sources on healthy shards
	Refused     uint64            `json:"refused"`   // of those
	OnWedged    uint64            `json:"on_wedged"` // of healthy sources on the stuck shard
	Hot         uint64            `json:"hot"`
	HotRefused  uint64            `json:"hot_refused"`
	Latency     Quantiles         `json:"latency_us"`
	Dropped     map[string]uint64 `json:"dropped"`
	Unexplained int64             `json:"unexplained"`
	CPU         *float64          `json:"cpu_us"` // for each message handled; null: not measured
	Allocs      *float64          `json:"allocs"`
	RSS         *uint64           `json:"rss"`
}

func (d *dispatched) result(p DispatchParams, took time.Duration) *Result {
	r := newResult("dispatch", p, took)
	r.Note = dispatchNote
	r.Sent = d.Healthy + d.OnWedged + d.Hot
	r.Expected, r.Delivered, r.Lost = d.Healthy, d.Healthy-d.Refused, int64(d.Refused) //nolint:gosec // a count
	r.LatencyUS, r.ServerDropped, r.ServerUnexplained = d.Latency, d.Dropped, &d.Unexplained
	r.CPUPerDelivered, r.AllocsPerForward, r.ServerRSSBytes = d.CPU, d.Allocs, d.RSS
	r.Extra = map[string]any{
		"hot_offered": d.Hot, "hot_refused": d.HotRefused, "on_wedged_shard": d.OnWedged,
		"note": "expected, delivered and lost are those of healthy sources on healthy shards", "dropped": d.Dropped,
	}
	return r
}

// dispatchStand is a dispatcher that is fed from a pipe. One goroutine owns it.
type dispatchStand struct {
	p       DispatchParams
	d       *dispatch.Dispatcher[benchMsg]
	probe   *dispatchProbe
	sources []netip.Addr
	rep     dispatched
}

// ServeDispatch runs a dispatcher, gives it the messages that in names as
// DispatchParams.offer writes them, and reports to out when in ends.
func ServeDispatch(ctx context.Context, in io.Reader, out io.Writer) error {
	r := bufio.NewReaderSize(in, 64<<10)
	line, err := r.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("bench: the parameters: %w", err)
	}
	s := &dispatchStand{probe: &dispatchProbe{hist: &histogram{}, base: time.Now()}}
	if err := json.Unmarshal(line, &s.p); err != nil {
		return fmt.Errorf("bench: the parameters: %w", err)
	}
	if err := s.p.check(); err != nil {
		return err
	}
	s.d = dispatch.New(dispatch.Config{
		Plane: "bench", Shards: s.p.Shards, Capacity: s.p.Capacity, Epoch: s.probe.base,
		Watchdog: dispatch.Watchdog{ReplaceAfter: time.Hour}, // a stuck shard stays stuck: that is the measurement
	}, s.probe)
	for i := range s.p.Sources {
		s.sources = append(s.sources, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		if err := s.d.Run(ctx); err != nil {
			panic(err) // Run fails only when it is called twice
		}
	})
	return s.serve(ctx, r, out)
}

func (s *dispatchStand) serve(ctx context.Context, r io.Reader, out io.Writer) error {
	stuck := make(chan struct{})
	defer close(stuck)
	if s.p.Wedge >= 0 {
		if err := s.d.Inject(s.p.Wedge, func() { <-stuck }); err != nil {
			return err
		}
	}
	before := ownSpent()
	if err := s.take(r); err != nil {
		return err
	}
	s.settle(ctx)
	s.spent(before, ownSpent())
	a := s.d.Account()
	s.rep.Latency, s.rep.Dropped, s.rep.Unexplained = s.probe.hist.quantiles(), a.Dropped.NonZero(), a.Unexplained()
	return json.NewEncoder(out).Encode(&s.rep)
}

// take submits what is offered until the offer ends.
func (s *dispatchStand) take(r io.Reader) error {
	var rec [4]byte
	for {
		if _, err := io.ReadFull(r, rec[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("bench: the offer: %w", err)
		}
		i := binary.BigEndian.Uint32(rec[:])
		if int(i) >= len(s.sources) {
			return fmt.Errorf("bench: the offer: source %d of %d", i, len(s.sources))
		}
		s.submit(s.sources[i], i == 0 && s.p.HotShare > 0)
	}
}

func (s *dispatchStand) submit(src netip.Addr, hot bool) {
	m := benchMsg{at: int64(time.Since(s.probe.base)), hot: hot}
	_, ok := s.d.Submit(m.at, src, dispatch.Media, 120, m)
	refused := uint64(0)
	if !ok {
		refused = 1
	}
	switch {
	case hot:
		s.rep.Hot++
		s.rep.HotRefused += refused
	case s.d.ShardOf(src) == s.p.Wedge:
		s.rep.OnWedged++
	default:
		s.rep.Healthy++
		s.rep.Refused += refused
	}
}

// settle gives the healthy shards time to finish what waits.
func (s *dispatchStand) settle(ctx context.Context) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(dispatchSettle); time.Now().Before(end); {
		waits := 0
		for i, v := range s.d.Views(time.Now()) {
			if i != s.p.Wedge {
				waits += v.Depth
			}
		}
		if waits == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
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
func (s *dispatchStand) spent(before, after spending) {
	n := float64(s.d.Account().Processed)
	if !before.ok || !after.ok || n == 0 {
		return
	}
	cpu, allocs := float64((after.cpu-before.cpu).Microseconds())/n, float64(after.mallocs-before.mallocs)/n
	s.rep.CPU, s.rep.Allocs, s.rep.RSS = &cpu, &allocs, &after.rss
}
