package dispatch

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/engine/ledger"
)

// Random operations in virtual time: the account closes after each of them,
// and at the end every message was handled once or dropped once.
func TestAccountRandomly(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	synctest.Test(t, func(t *testing.T) { randomOps(t, rand.New(rand.NewPCG(seed, 1)), 3000) })
}

func randomOps(t *testing.T, rng *rand.Rand, ops int) {
	rec := &recorder{}
	d := New(Config{Plane: "dht", Shards: 3, Capacity: 24, CapacityBytes: 3000}, Handler[msg](rec))
	stop := background(t, d)
	synctest.Wait() // it runs
	release := make(chan struct{})
	stuck := 0
	acts := []func(){nil, nil, nil, nil, nil, nil, nil, func() { panic("random") }}
	for us := 1; us < 1000; us *= 4 {
		acts = append(acts, func() { time.Sleep(time.Duration(us) * time.Microsecond) })
	}
	for i := range ops {
		shard := rng.IntN(3)
		switch k := rng.IntN(1000); {
		case k < 900:
			m := msg{seq: i, do: acts[rng.IntN(len(acts))]}
			if rng.IntN(1000) == 0 && stuck < 10 {
				stuck++
				m.do = func() { <-release }
			}
			d.Submit(d.now(), source(rng.IntN(12)), Lane(rng.IntN(2)), rng.IntN(200), m)
		case k < 920:
			must(t, d.Pause(shard))
		case k < 950:
			must(t, d.Resume(shard))
		case k < 960:
			must(t, d.Flush(shard))
		case k < 975:
			must(t, d.Restart(shard))
		case k < 985:
			synctest.Wait()
		case k < 988:
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
		default:
			time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
		}
		checkAccount(t, d)
		for _, v := range d.Views(time.Now()) {
			if v.Depth < 0 || v.Depth > v.Capacity || v.Bytes > 3000 || v.HighWater > v.Capacity {
				t.Fatalf("op %d: %+v", i, v)
			}
		}
	}
	time.Sleep(10 * time.Second)
	for s := range 3 {
		must(t, d.Resume(s))
	}
	time.Sleep(10 * time.Second)
	synctest.Wait()
	handled := len(rec.all())
	a := checkAccount(t, d)
	if a.Depth+a.InHand != 0 || int(a.Processed) != handled {
		t.Fatalf("handled %d: %+v", handled, a)
	}
	close(release)
	stop()
	t.Logf("received %d processed %d dropped %v", a.Received, a.Processed, a.Dropped.NonZero())
}

// The same on real goroutines, for the race detector: several submitters, an
// operator, and a reader who finds the account closed whenever it looks.
func TestAccountUnderLoad(t *testing.T) {
	h := &counting{}
	d := New(Config{Plane: "media", Shards: 2, Capacity: 64, Watchdog: Watchdog{
		Every: time.Millisecond, WedgedAfter: 2 * time.Millisecond, ReplaceAfter: 4 * time.Millisecond,
		RestartMin: time.Microsecond, RestartMax: 10 * time.Microsecond,
	}}, Handler[msg](h))
	stop := background(t, d)
	var wg sync.WaitGroup
	var accepted atomic.Uint64
	for g := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 7))
			for i := range 20000 {
				m := msg{seq: i}
				if rng.IntN(500) == 0 {
					m.do = func() { panic("load") }
				}
				if _, ok := d.Submit(d.now(), source(rng.IntN(40)), Lane(rng.IntN(2)), rng.IntN(100), m); ok {
					accepted.Add(1)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	rng := rand.New(rand.NewPCG(1, 2))
	operate := []func(int) error{d.Pause, d.Resume, d.Resume, d.Flush, d.Restart}
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			if err := operate[rng.IntN(len(operate))](rng.IntN(2)); err != nil && !errors.Is(err, ErrStopped) { // not yet running
				t.Error(err)
			}
			checkAccount(t, d)
			d.Views(time.Now())
			runtime.Gosched()
		}
	}
	must(t, d.Resume(0))
	must(t, d.Resume(1))
	stop()
	a := checkAccount(t, d)
	out := accepted.Load() - a.Dropped[ledger.ShardFlushed] - a.Dropped[ledger.ShardPanic] - a.Dropped[ledger.Draining] - a.Dropped[ledger.ShardReplaced]
	if a.Received != 60000 || a.Depth+a.InHand != 0 || a.Processed > out || a.Processed > h.n.Load() {
		t.Fatalf("accepted %d, handled %d: %+v", accepted.Load(), h.n.Load(), a)
	}
	t.Logf("processed %d dropped %v", a.Processed, a.Dropped.NonZero())
}

// counting counts what it handles.
type counting struct{ n atomic.Uint64 }

func (c *counting) Handle(_ int, m *msg, _ int64) {
	if m.do != nil {
		m.do()
	}
	c.n.Add(1)
}
func (c *counting) Flush(int)            {}
func (c *counting) Describe(*msg) string { return "counted" }
