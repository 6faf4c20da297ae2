package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"signalbox/engine/dispatch"
	"signalbox/engine/ledger"
	"signalbox/engine/tap"
	"signalbox/relay"
	"signalbox/relay/wire"
)

// rig is the planes without a network: the real dispatchers and the real relay,
// with writers that take or do not take as the test likes.
type rig struct {
	t       *testing.T
	rnd     *rand.Rand
	e       *Engine
	here    []*guest
	offered uint64 // to the media plane, faults included
}

// newRig makes queues so small that they fill.
func newRig(t *testing.T, seed uint64) *rig {
	t.Logf("seed %d", seed)
	e := bare(t)
	e.taps = tap.New(e.log, e.log)
	e.relay = relay.New(relay.Config{QueueCapacity: 32, Now: e.mono})
	e.media = dispatch.New[mediaMsg](dispatch.Config{Plane: planeMedia, Capacity: 64, Epoch: e.started}, mediaHandler{e})
	return &rig{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), e: e}
}

// guest is a participant and what its writer holds.
type guest struct {
	p      *relay.Participant
	src    netip.Addr
	seq    uint16
	frozen bool
	held   int
}

// check is the contract's law, at this moment, whatever is under way.
func (r *rig) check(step int, op string) {
	r.t.Helper()
	c := r.e.mediaCounts()
	if c.Unexplained() != 0 || c.Received != r.offered {
		r.t.Fatalf("step %d (%s): %d unexplained, %d offered: %+v", step, op, c.Unexplained(), r.offered, c)
	}
}

func (r *rig) join() {
	src := netip.AddrFrom4([4]byte{10, 0, byte(r.rnd.IntN(4)), byte(r.rnd.IntN(250))})
	p, err := r.e.relay.Join(relay.JoinRequest{
		Room: fmt.Sprintf("room-%d", r.rnd.IntN(4)), Remote: netip.AddrPortFrom(src, 1), Transport: "quic", Now: time.Now(),
	})
	if err == nil {
		r.here = append(r.here, &guest{p: p, src: src})
	}
}

func (r *rig) flood(g *guest, n int) {
	for range n {
		pkt := wire.AppendHeader(nil, wire.Header{Codec: wire.Opus24k, Seq: g.seq})
		if r.rnd.IntN(20) == 0 {
			pkt = pkt[:5] // malformed
		}
		g.seq++
		g.p.Saw(pkt)
		r.offered++
		if now := r.e.mono(); g.p.Admit(len(pkt), now) {
			r.e.submit(now, g.src, g.p, pkt)
		}
	}
}

// write lets a writer take what waits and settle what it took before.
func (r *rig) write(g *guest) {
	if g.frozen {
		return
	}
	if g.held > 0 {
		bad := r.rnd.IntN(g.held + 1)
		g.p.Done(g.held-bad, bad/2, bad-bad/2)
	}
	g.held = len(g.p.Take(nil, 24, r.e.mono()))
}

func (r *rig) leave(i int) {
	g := r.here[i]
	g.p.Done(0, 0, g.held)
	g.p.Leave(r.e.mono())
	r.here = append(r.here[:i], r.here[i+1:]...)
}

// step does one random thing and says what.
func (r *rig) step() string {
	if len(r.here) < 3 {
		r.join()
		return "join"
	}
	i := r.rnd.IntN(len(r.here))
	g, shard := r.here[i], r.rnd.IntN(8)
	switch r.rnd.IntN(14) {
	case 0:
		r.join()
		return "join"
	case 1:
		r.leave(i)
		return "leave"
	case 2:
		g.frozen = !g.frozen
		return "freeze"
	case 3:
		r.try(r.e.media.Pause(shard))
		return "pause"
	case 4, 5:
		r.try(r.e.media.Resume(shard))
		return "resume"
	case 6:
		r.try(r.e.media.Flush(shard))
		return "flush"
	case 7:
		r.try(r.e.media.Restart(shard))
		return "restart"
	case 8:
		r.fault(g.src, func() { panic("planted") })
		return "panic"
	case 9:
		r.try(r.e.relay.Mute(g.p.ID(), r.rnd.IntN(2) == 0))
		return "mute"
	case 10, 11:
		r.write(g)
		return "write"
	default:
		r.flood(g, r.rnd.IntN(400))
		return "flood"
	}
}

// overflow makes sure that some packets have come through to a receiver who takes
// none, whatever the dice left paused, muted or empty.
func (r *rig) overflow() {
	for shard := range 8 {
		r.try(r.e.media.Resume(shard))
	}
	for len(r.here) < 5 { // of four rooms, one has two
		r.join()
	}
	until := time.Now().Add(30 * time.Second) // a shard that panicked may still back off
	for r.e.relay.Counts().Dropped[ledger.QueueHead] == 0 && time.Now().Before(until) {
		for _, g := range r.here {
			r.try(r.e.relay.Mute(g.p.ID(), false))
			r.flood(g, 10)
		}
		r.check(-1, "overflow")
	}
}

// fault plants one. It is offered like a message, and may be refused like one.
func (r *rig) fault(host netip.Addr, f func()) {
	r.offered++
	r.try(r.e.InjectFault(planeMedia, host, f))
}

// try is for levers that may refuse: a refused one changes nothing.
func (r *rig) try(error) {}

// TestLedgerClosesWhateverHappens drives the media plane through random joins,
// leaves, floods, pauses, restarts, panics and freezes, and looks at the ledger
// after every step, while the shards are at work.
func TestLedgerClosesWhateverHappens(t *testing.T) {
	r := newRig(t, rand.Uint64())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.e.media.Run(ctx) }()
	steps := 5000
	if testing.Short() {
		steps = 1000
	}
	for i := range steps {
		r.check(i, r.step())
	}
	r.overflow()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for len(r.here) > 0 {
		r.leave(0)
		r.check(steps, "the end")
	}
	c := r.e.relay.Counts()
	if c.Copies == 0 || c.Queued != 0 || c.Dropped[ledger.QueueHead] == 0 {
		t.Fatalf("nothing was tried: %+v", c)
	}
}
