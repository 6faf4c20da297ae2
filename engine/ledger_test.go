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
	"signalbox/relay"
	"signalbox/relay/wire"
)

// rig is the media plane without a network: the real dispatcher and the real
// relay, with writers that take or do not take as the test likes.
type rig struct {
	t     *testing.T
	rnd   *rand.Rand
	relay *relay.Relay
	media *dispatch.Dispatcher[mediaMsg]
	given taken
	start time.Time
	here  []*guest
}

// guest is a participant and what its writer holds.
type guest struct {
	p      *relay.Participant
	src    netip.Addr
	seq    uint16
	frozen bool
	held   int
}

type rigHandler struct{ r *rig }

func (h rigHandler) Handle(shard int, m *mediaMsg, now int64) {
	h.r.given.add(shard)
	h.r.relay.Forward(shard, m.from, m.pkt, now)
}
func (h rigHandler) Flush(shard int)           { h.r.relay.FlushShard(shard) }
func (h rigHandler) Describe(*mediaMsg) string { return "a packet" }

func (r *rig) mono() int64 { return int64(time.Since(r.start)) }

// check is the contract's law, at this moment, whatever is under way.
func (r *rig) check(step int, op string) {
	r.t.Helper()
	c, processed := r.media.CountsProcessed()
	c.Copies += r.given.short(&c, processed)
	rc := r.relay.Counts()
	c.Add(&rc)
	if c.Unexplained() != 0 {
		r.t.Fatalf("step %d (%s): %d unexplained: %+v", step, op, c.Unexplained(), c)
	}
}

func (r *rig) join() {
	src := netip.AddrFrom4([4]byte{10, 0, byte(r.rnd.IntN(4)), byte(r.rnd.IntN(250))})
	p, err := r.relay.Join(relay.JoinRequest{
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
		if g.p.Admit(len(pkt), r.mono()) {
			r.media.Submit(r.mono(), g.src, dispatch.Media, len(pkt), mediaMsg{from: g.p, pkt: pkt})
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
	g.held = len(g.p.Take(nil, 24, r.mono()))
}

func (r *rig) leave(i int) {
	g := r.here[i]
	g.p.Done(0, 0, g.held)
	g.p.Leave(r.mono())
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
		r.try(r.media.Pause(shard))
		return "pause"
	case 4, 5:
		r.try(r.media.Resume(shard))
		return "resume"
	case 6:
		r.try(r.media.Flush(shard))
		return "flush"
	case 7:
		r.try(r.media.Restart(shard))
		return "restart"
	case 8:
		r.try(r.media.Inject(shard, func() { r.given.add(shard); panic("planted") }))
		return "panic"
	case 9:
		r.try(r.relay.Mute(g.p.ID(), r.rnd.IntN(2) == 0))
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
		r.try(r.media.Resume(shard))
	}
	for len(r.here) < 5 { // of four rooms, one has two
		r.join()
	}
	until := time.Now().Add(30 * time.Second) // a shard that panicked may still back off
	for r.relay.Counts().Dropped[ledger.QueueHead] == 0 && time.Now().Before(until) {
		for _, g := range r.here {
			r.try(r.relay.Mute(g.p.ID(), false))
			r.flood(g, 10)
		}
		r.check(-1, "overflow")
	}
}

// try is for levers that may refuse: a refused one changes nothing.
func (r *rig) try(error) {}

// TestLedgerClosesWhateverHappens drives the media plane through random joins,
// leaves, floods, pauses, restarts, panics and freezes, and looks at the ledger
// after every step, while the shards are at work.
func TestLedgerClosesWhateverHappens(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := &rig{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), start: time.Now()}
	r.relay = relay.New(relay.Config{QueueCapacity: 32, Now: r.mono})
	r.media = dispatch.New[mediaMsg](dispatch.Config{Plane: planeMedia, Capacity: 64, Epoch: r.start}, rigHandler{r})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.media.Run(ctx) }()
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
	c := r.relay.Counts()
	if c.Copies == 0 || c.Queued != 0 || c.Dropped[ledger.QueueHead] == 0 {
		t.Fatalf("nothing was tried: %+v", c)
	}
}
