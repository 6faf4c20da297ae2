package dispatch

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// benchMsg has the size of a relay message: a participant, a payload and a
// time.
type benchMsg struct {
	at int64
	_  int64
}

// benchHandler works for a fixed number of steps; 450 ns is about what
// parsing and fanning out to a small room costs.
type benchHandler struct {
	steps int
	sink  [64]struct {
		v uint64
		_ [56]byte
	}
}

func (h *benchHandler) Handle(shard int, _ *benchMsg, _ int64) {
	v := h.sink[shard].v
	for range h.steps {
		v = v*6364136223846793005 + 1442695040888963407
	}
	h.sink[shard].v = v
}
func (h *benchHandler) Flush(int)                 {}
func (h *benchHandler) Describe(*benchMsg) string { return "bench" }

func benchSources(n int) []netip.Addr {
	srcs := make([]netip.Addr, n)
	for i := range srcs {
		srcs[i] = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
	}
	return srcs
}

var benchHandlers = []struct {
	name  string
	steps int
}{{"empty", 0}, {"450ns", 480}}

// BenchmarkSubmit is the cost of a message from admission to handled, the
// submitter offering again what was refused (lossless), as a rate a whole
// process sustains. lost/op is how often it was refused. The submitter's
// reading of the clock, which it needs for its own sake, is shared by 32.
func BenchmarkSubmit(b *testing.B) {
	for _, procs := range []int{1, 2} {
		for _, hd := range benchHandlers {
			b.Run(fmt.Sprintf("dispatch/procs=%d/%s", procs, hd.name), func(b *testing.B) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
				d := New(Config{Plane: "media", Capacity: 1024}, Handler[benchMsg](&benchHandler{steps: hd.steps}))
				defer background(b, d)()
				srcs := benchSources(256)
				lost := 0
				b.ReportAllocs()
				b.ResetTimer()
				var now int64
				for i := range b.N {
					if i&31 == 0 {
						now = d.now()
					}
					for {
						if _, ok := d.Submit(now, srcs[i&255], Media, 120, benchMsg{at: int64(i)}); ok {
							break
						}
						lost++
						runtime.Gosched()
					}
				}
				for a := d.Account(); a.Depth+a.InHand > 0; a = d.Account() {
					runtime.Gosched()
				}
				b.ReportMetric(float64(lost)/float64(b.N), "lost/op")
			})
			b.Run(fmt.Sprintf("chan/procs=%d/%s", procs, hd.name), func(b *testing.B) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
				benchChan(b, hd.steps)
			})
		}
	}
}

// benchChan is the baseline: eight buffered channels and the same hash, with
// no accounting, no lanes, no shares and no supervision.
func benchChan(b *testing.B, steps int) {
	h := &benchHandler{steps: steps}
	d := New(Config{Plane: "media"}, Handler[benchMsg](h))
	var chans [8]chan benchMsg
	var wg sync.WaitGroup
	for i := range chans {
		chans[i] = make(chan benchMsg, 1024)
		wg.Go(func() {
			for m := range chans[i] {
				h.Handle(i, &m, 0)
			}
		})
	}
	srcs := benchSources(256)
	lost := 0
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		ch := chans[d.ShardOf(srcs[i&255])]
	offer:
		for {
			select {
			case ch <- benchMsg{at: int64(i)}:
				break offer
			default:
				lost++
				runtime.Gosched()
			}
		}
	}
	for i := range chans {
		close(chans[i])
	}
	wg.Wait()
	b.ReportMetric(float64(lost)/float64(b.N), "lost/op")
}

// BenchmarkAdmit is admission alone: queueing without a loop, flushed when
// full.
func BenchmarkAdmit(b *testing.B) {
	d := New(Config{Plane: "media", Capacity: 1 << 16}, Handler[benchMsg](&benchHandler{}))
	srcs := benchSources(256)
	b.ReportAllocs()
	now := d.now()
	for i := range b.N {
		if i&0xffff == 0 {
			for s := range 8 {
				d.shards[s].flush(0)
			}
		}
		d.Submit(now, srcs[i&255], Media, 120, benchMsg{at: int64(i)})
	}
}

// BenchmarkViews is what the snapshot of eight busy shards costs.
func BenchmarkViews(b *testing.B) {
	d := New(Config{Plane: "media"}, Handler[benchMsg](&benchHandler{}))
	defer background(b, d)()
	for i, src := range benchSources(4096) {
		d.Submit(d.now(), src, Lane(i&1), 120, benchMsg{})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		d.Views(time.Now())
	}
}

// background runs a dispatcher until the returned function is called.
func background[T any](tb testing.TB, d *Dispatcher[T]) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	wg.Go(func() {
		if err := d.Run(ctx); err != nil {
			failed.Store(&err)
		}
	})
	return func() {
		cancel()
		wg.Wait()
		if err := failed.Load(); err != nil {
			tb.Error(*err)
		}
	}
}
