package engine

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"signalbox/engine/ledger"
	"signalbox/engine/view"
)

// usage turns process CPU time into a share of one core.
type usage struct {
	cpu  time.Duration
	at   time.Time
	pct  float64
	slow slowFacts
}

// slowFacts are read once a second, not on every sample.
type slowFacts struct {
	at     time.Time
	kernel view.Kernel
	limit  uint64
	heap   uint64
}

func (e *Engine) publishLoop(ctx context.Context) {
	t := time.NewTicker(publishEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		case <-t.C:
		}
		e.guarded("publisher", func() {
			now := time.Now()
			e.expire(now)
			e.publish(now)
			e.record(now)
		})
	}
}

// guarded contains a panic of one round so that the loop goes on.
func (e *Engine) guarded(role string, f func()) {
	defer e.contain(role, func() {})
	f()
}

// publish builds one snapshot from what each part hands over and makes it the
// newest. Nothing here stops the packet path: every part takes its own short
// lock, one at a time.
func (e *Engine) publish(now time.Time) {
	start := time.Now()
	e.seq++
	s := &view.Snapshot{Seq: e.seq, At: now.UTC(), Links: e.fed.mesh.Links(e.mono(), now), Refusals: e.fed.listRefusals()}
	s.Shards = append(e.media.Views(now), e.dhtq.Views(now)...)
	s.Rooms = e.relay.Rooms(now)
	s.Sources = e.relay.Sources()
	s.Ledger = e.ledger()
	s.Signal = e.hub.View(e.mono())
	s.Signal.Lost = e.signalsLost.Load()
	s.Signal.Auth = e.authView()
	s.Edge = e.edge.Stats()
	e.dht.Fill(&s.DHT, e.mono())
	if names := e.nameless.Load(); names != nil {
		s.DHT.Unresolved = *names
	}
	e.saver.fill(&s.DHT.Saved)
	_, s.DHT.Saved.Redialled = e.dht.Restored()
	s.Undo = e.force.newest()
	s.Endings = e.endings.newest()
	s.Audit = e.audit.state()
	s.Flight = e.flight.Stats()
	e.fillWZP(s)
	e.node(s, now)
	e.judge.verdict(s)
	s.Node.SampleUS = float64(time.Since(start).Nanoseconds()) / 1e3
	if e.mark == nil || s.At.Sub(e.mark.At) >= recentStep {
		if e.mark != nil {
			e.before.Store(e.mark)
		}
		e.mark = s
	}
	e.snap.Store(s)
}

// node fills in the process and the kernel below it.
func (e *Engine) node(s *view.Snapshot, now time.Time) {
	e.usage.sample(now)
	f := &e.usage.slow
	if now.Sub(f.at) >= time.Second {
		*f = slowFacts{at: now, kernel: e.edge.Kernel(), limit: cgroupLimit(), heap: readMetric("/memory/classes/heap/objects:bytes")}
	}
	s.Kernel = f.kernel
	st := "starting"
	select {
	case <-e.ready:
		st = "ready"
	default:
	}
	switch {
	case e.stopping.Load():
		st = "stopping"
	case e.draining.Load():
		st = "draining"
	}
	s.Node = view.Node{
		NodeID: e.info.NodeID, Fingerprint: e.info.Fingerprint, TLSFingerprint: e.info.TLSFingerprint, Version: BuildID(),
		StartedAt: e.started.UTC(), UptimeS: now.Sub(e.started).Seconds(), State: st, Listen: []string{e.info.Listen},
		Goroutines: runtime.NumGoroutine(), HeapBytes: f.heap, Mallocs: readMetric("/gc/heap/allocs:objects"), CPUPct: e.usage.pct, CgroupLimitBytes: f.limit,
	}
}

// ledger is the account of every plane.
func (e *Engine) ledger() view.Ledger {
	media, links, d := e.mediaCounts(), e.fed.mesh.Counts(), e.dhtCounts()
	kernel := ledger.Counts{}
	kernel.Refuse(ledger.Kernel, e.usage.slow.kernel.UDPRcvbufErrors)
	media.Add(&kernel)
	return view.Ledger{Media: plane(&media), Federation: plane(&links), DHT: plane(&d)}
}

// mediaCounts adds up the parts of the media plane. Every part closes under its
// own lock at the moment it is read, so the sum closes too.
func (e *Engine) mediaCounts() ledger.Counts {
	c, processed := e.media.CountsProcessed()
	c.Copies += e.mediaTaken.short(&c, processed)
	r := e.relay.Counts()
	c.Add(&r)
	return c
}

// dhtCounts does so for the dht plane: one message is one copy, delivered once
// handled.
func (e *Engine) dhtCounts() ledger.Counts {
	c, handled := e.dhtq.CountsProcessed()
	c.Delivered += handled - e.dhtTaken.short(&c, handled)
	c.Copies += handled
	refused := e.dhtRefused.Load()
	n := refused.Total()
	c.Add(&ledger.Counts{Received: n, Copies: n, Dropped: refused})
	return c
}

func plane(c *ledger.Counts) view.Plane {
	return view.Plane{
		Received: c.Received, Copies: c.Copies, Delivered: c.Delivered, Dropped: c.Dropped.Map(), Queued: c.Queued, Unexplained: c.Unexplained(),
	}
}

func (u *usage) sample(now time.Time) {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return
	}
	cpu := time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	if dt := now.Sub(u.at); !u.at.IsZero() && dt > 0 {
		inst := 100 * float64(cpu-u.cpu) / float64(dt)
		u.pct += (inst - u.pct) / 4 // about a second of smoothing at four samples a second
	}
	u.cpu, u.at = cpu, now
}

// readMetric reads one uint64 of runtime/metrics; 0 when there is none.
func readMetric(name string) uint64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64()
}

// cgroupLimit reads the memory limit of cgroup v2; 0 when there is none.
func cgroupLimit() uint64 {
	b, err := os.ReadFile("/sys/fs/cgroup/memory.max")
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// BuildID is the commit this binary was built from, short, or "unknown": what
// the version connection answers (spec wzp 4.7).
var BuildID = sync.OnceValue(func() string {
	bi, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range bi.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 7 {
			return s.Value[:7]
		}
	}
	return "unknown"
})

// handshakeTimes is the histogram of relay handshakes (spec wzp 5.21).
type handshakeTimes struct {
	mu    sync.Mutex // leaf
	count [11]uint64
	sum   float64
}

// HandshakeBuckets are the upper bounds in seconds of spec wzp 5.21.
var HandshakeBuckets = []float64{0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5}

// ForwardedBytes is the payload the rooms have copied (spec wzp 5.3 step 10).
func (e *Engine) ForwardedBytes() uint64 { return e.relay.FanOutBytes() }

// Handshakes is the histogram of relay handshakes: how many ended within each
// of HandshakeBuckets, each counted once, the slower ones last, and the sum in
// seconds.
func (e *Engine) Handshakes() (counts []uint64, sum float64) {
	h := &e.handshakes
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]uint64(nil), h.count[:]...), h.sum
}

func (e *Engine) observeHandshake(d time.Duration) {
	h := &e.handshakes
	h.mu.Lock()
	defer h.mu.Unlock()
	s := d.Seconds()
	h.sum += s
	for i, b := range HandshakeBuckets {
		if s <= b {
			h.count[i]++
			return
		}
	}
	h.count[len(HandshakeBuckets)]++
}
