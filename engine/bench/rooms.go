package bench

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"signalbox/engine/config"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// RoomsParams describe a load of rooms.
type RoomsParams struct {
	Rooms   int     `json:"rooms"`
	People  int     `json:"people"`  // per room
	Talkers int     `json:"talkers"` // per room; the rest listen
	PPS     int     `json:"pps"`     // packets a second and talker
	Payload int     `json:"payload"` // bytes after the media header
	Seconds float64 `json:"seconds"`
	Reports bool    `json:"reports"` // every talker reports its quality once a second
	Freeze  int     `json:"freeze"`  // listeners of room 0 whose traffic stops for the middle third
	Flood   int     `json:"flood"`   // forged QUIC Initials a second for the middle third
	Garbage int     `json:"garbage"` // packets of noise a second for the middle third
	Storm   int     `json:"storm"`   // clients that join rooms of their own, all at once, after the first third
}

// fill applies defaults.
func (p *RoomsParams) fill() error {
	if p.Talkers <= 0 || p.Talkers > p.People {
		p.Talkers = p.People
	}
	if p.PPS <= 0 {
		p.PPS = 50
	}
	if p.Payload < payloadHead {
		p.Payload = 108 // 120 bytes with the header
	}
	if p.Seconds <= 0 {
		p.Seconds = 10
	}
	if p.Freeze < 0 || p.Freeze > p.People-p.Talkers {
		return fmt.Errorf("bench: %d frozen listeners, but only %d of %d people listen", p.Freeze, p.People-p.Talkers, p.People)
	}
	if p.Rooms < 1 || p.People < 2 || p.Rooms*p.People > 20000 {
		return config.Exit(config.ExitUsage, "bench: %d rooms of %d people is out of range", p.Rooms, p.People)
	}
	return nil
}

// party is one load of callers, joined and reading.
type party struct {
	// Constant after joinAll.
	rooms [][]*Caller
	gates []*quicnet.Gate // of the frozen, the last ones of room 0

	phase atomic.Int32 // third of the time that is running
	hist  [phases]histogram
	storm *stormReport // written by middleThird, read after it has ended
	all   histogram

	floodMu sync.Mutex
	floods  map[string]flooding // by kind, each when it has ended
}

const phases = 3

// seen books one arrival at somebody who is not frozen.
func (pt *party) seen(age time.Duration) {
	pt.all.add(age)
	pt.hist[pt.phase.Load()].add(age)
}

// joinAll connects every caller, a few at a time, and starts their readers.
func joinAll(ctx context.Context, g *errgroup.Group, addr netip.AddrPort, p RoomsParams) (*party, error) {
	cl, err := quicnet.NewClient(quicnet.ClientConfig{})
	if err != nil {
		return nil, err
	}
	g.Go(func() error { <-ctx.Done(); return cl.Close() })
	pt := &party{rooms: make([][]*Caller, p.Rooms), gates: make([]*quicnet.Gate, p.Freeze), floods: map[string]flooding{}}
	jg, jctx := errgroup.WithContext(ctx)
	jg.SetLimit(8)
	for r := range p.Rooms {
		pt.rooms[r] = make([]*Caller, p.People)
		for i := range p.People {
			jg.Go(func() error {
				own := cl
				if k := i - (p.People - p.Freeze); r == 0 && k >= 0 {
					var err error
					if own, pt.gates[k], err = quicnet.NewFreezableClient(quicnet.ClientConfig{SocketBuffer: 1 << 20}); err != nil {
						return err
					}
					g.Go(func() error { <-ctx.Done(); return own.Close() })
				}
				c, err := Join(jctx, own, addr, fmt.Sprintf("bench-%d", r), fmt.Sprintf("caller-%d-%d", r, i))
				pt.rooms[r][i] = c
				return err
			})
		}
	}
	if err := jg.Wait(); err != nil {
		return nil, config.Exit(config.ExitUnavailable, "%w", err)
	}
	for r, room := range pt.rooms {
		for i, c := range room {
			seen := pt.seen
			if r == 0 && i >= p.People-p.Freeze {
				seen = func(time.Duration) {}
			}
			g.Go(func() error { return c.ReceiveLoop(ctx, seen) })
			g.Go(func() error { c.ReadSignals(ctx); return nil })
		}
	}
	return pt, nil
}

// received is what has arrived at those who are not frozen.
func (pt *party) received() (n, corrupt, reordered uint64) {
	for r, room := range pt.rooms {
		if r == 0 {
			room = room[:len(room)-len(pt.gates)]
		}
		for _, c := range room {
			n += c.Received.Load()
			corrupt += c.Corrupt.Load()
			reordered += c.Reordered.Load()
		}
	}
	return n, corrupt, reordered
}

// talk makes the first p.Talkers of every room send at p.PPS until the time is
// over; each paces itself, phases spread evenly.
func (pt *party) talk(ctx context.Context, p RoomsParams) (uint64, error) {
	var sent atomic.Uint64
	var wg sync.WaitGroup
	gap := time.Second / time.Duration(p.PPS)
	total := int(p.Seconds * float64(p.PPS))
	n := 0
	for r, room := range pt.rooms {
		for i := range p.Talkers {
			c, phase, tag := room[i], time.Duration(n)*7919*time.Microsecond%gap, uint64(r)<<32|uint64(i)
			n++
			wg.Go(func() { talkOne(ctx, c, p, tag, phase, gap, total, &sent) })
		}
	}
	wg.Wait()
	return sent.Load(), ctx.Err()
}

func talkOne(ctx context.Context, c *Caller, p RoomsParams, tag uint64, phase, gap time.Duration, total int, sent *atomic.Uint64) {
	next := time.Now().Add(phase)
	t := time.NewTimer(time.Until(next))
	defer t.Stop()
	for k := range total {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		var rep *wire.QualityReport
		if p.Reports && k%p.PPS == 0 {
			rep = &wire.QualityReport{Loss: 1, RTT4: 8, Jitter: 3, CapKbps: 200}
		}
		if err := c.Send(tag, p.Payload, rep); err != nil {
			return
		}
		sent.Add(1)
		next = next.Add(gap)
		t.Reset(time.Until(next))
	}
}

// RunRooms runs the workload against addr. node may be nil when it is not
// ours to measure.
func RunRooms(ctx context.Context, workload string, addr netip.AddrPort, node *Node, p RoomsParams) (*Result, error) {
	if err := p.fill(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	pt, err := joinAll(gctx, g, addr, p)
	if err != nil {
		return nil, err
	}
	if err := settle(ctx); err != nil {
		return nil, err
	}
	before, err := sample(ctx, node)
	if err != nil {
		return nil, err
	}
	recv0, _, _ := pt.received()
	start := time.Now()
	g.Go(func() error { return pt.middleThird(gctx, addr, p) })
	sent, err := pt.talk(ctx, p)
	if err != nil {
		return nil, err
	}
	expected := sent*uint64(p.People-1) - pt.missed(sent, p)
	pt.waitFor(ctx, recv0+expected)
	took := time.Since(start)
	after, err := sample(ctx, node)
	if err != nil {
		return nil, err
	}
	recv, corrupt, reordered := pt.received()
	res := newResult(workload, p, took)
	res.Sent, res.Expected, res.Delivered = sent, expected, recv-recv0
	res.Lost = int64(expected) - int64(res.Delivered)
	res.Corrupt, res.Reordered = corrupt, reordered
	res.LatencyUS = pt.all.quantiles()
	res.measure(before, after)
	if p.Freeze > 0 || p.Flood > 0 || p.Garbage > 0 || p.Storm > 0 {
		res.Extra = pt.faultReport(before, after)
	}
	cancel()
	for _, room := range pt.rooms {
		for _, c := range room {
			c.Close()
		}
	}
	return res, g.Wait()
}

// faultReport is how it was before, during and after the fault, for those whom
// it should not have touched, and what it has left behind in the node.
func (pt *party) faultReport(before, after reading) map[string]any {
	out := map[string]any{
		"before_us": pt.hist[0].quantiles(), "during_us": pt.hist[1].quantiles(), "after_us": pt.hist[2].quantiles(),
		"floods": pt.flooded(), "frozen_received": pt.frozenReceived(),
		"note": "expected, delivered and lost are those of receivers that were not frozen",
	}
	if pt.storm != nil {
		out["storm"] = pt.storm
	}
	if before.ok && after.ok {
		out["node_goroutines"] = [2]int{before.snap.Node.Goroutines, after.snap.Node.Goroutines}
		out["node_rss_bytes"] = [2]uint64{before.rss, after.rss}
	}
	return out
}

// waitFor waits for the last packets on their way: until all are here, or
// nothing has come for a second.
func (pt *party) waitFor(ctx context.Context, want uint64) {
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	last, quiet := uint64(0), 0
	for quiet < 20 {
		n, _, _ := pt.received()
		if n >= want {
			return
		}
		if n == last {
			quiet++
		} else {
			last, quiet = n, 0
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// settle lets handshakes and path probing end before anything is measured.
func settle(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second):
		return nil
	}
}

// reading is the node at one moment.
type reading struct {
	ok   bool
	cpu  time.Duration
	rss  uint64
	snap *view.Snapshot
}

func sample(ctx context.Context, n *Node) (reading, error) {
	if n == nil || n.PID == 0 {
		return reading{}, nil
	}
	// The snapshot is up to 250 ms old; a moment later it has the present.
	select {
	case <-ctx.Done():
		return reading{}, ctx.Err()
	case <-time.After(300 * time.Millisecond):
	}
	s, err := n.Snapshot(ctx)
	if err != nil {
		return reading{}, err
	}
	cpu, err := n.CPU()
	return reading{ok: true, cpu: cpu, rss: n.RSS(), snap: s}, err
}

// missed is how many copies were meant for the frozen, of sent packets in all.
func (pt *party) missed(sent uint64, p RoomsParams) uint64 {
	return sent / uint64(p.Rooms) * uint64(p.Freeze)
}

func (pt *party) frozenReceived() []uint64 {
	out := []uint64{}
	room := pt.rooms[0]
	for _, c := range room[len(room)-len(pt.gates):] {
		out = append(out, c.Received.Load())
	}
	return out
}

// middleThird freezes and floods for the middle third of the time.
func (pt *party) middleThird(ctx context.Context, addr netip.AddrPort, p RoomsParams) error {
	third := time.Duration(p.Seconds / phases * float64(time.Second))
	if !pause(ctx, third) {
		return nil
	}
	pt.phase.Store(1)
	for _, g := range pt.gates {
		if err := g.Freeze(true); err != nil {
			return err
		}
	}
	if p.Storm > 0 {
		rep, err := storm(ctx, addr, p.Storm)
		if err != nil {
			return err
		}
		pt.storm = rep
	}
	if err := pt.flood(ctx, addr, third, p); err != nil || ctx.Err() != nil {
		return err
	}
	pt.phase.Store(2)
	for _, g := range pt.gates {
		if err := g.Freeze(false); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// flood lasts as long, whether anything is sent or not.
func (pt *party) flood(ctx context.Context, addr netip.AddrPort, lasting time.Duration, p RoomsParams) error {
	fctx, cancel := context.WithTimeout(ctx, lasting)
	defer cancel()
	var g errgroup.Group
	for name, f := range map[string]struct {
		pps    int
		packet func([]byte) []byte
	}{"forged_initials": {p.Flood, forgedInitial}, "garbage": {p.Garbage, garbage}} {
		if f.pps == 0 {
			continue
		}
		g.Go(func() error {
			did, err := flood(fctx, addr, f.pps, f.packet)
			pt.floodMu.Lock()
			pt.floods[name] = did
			pt.floodMu.Unlock()
			return err
		})
	}
	<-fctx.Done()
	return g.Wait()
}

func (pt *party) flooded() map[string]flooding {
	pt.floodMu.Lock()
	defer pt.floodMu.Unlock()
	return maps.Clone(pt.floods)
}
