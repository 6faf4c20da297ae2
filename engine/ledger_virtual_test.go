package engine

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/engine/dispatch"
	"signalbox/engine/ledger"
)

// wedgeFor is longer than the watchdog lets a loop be stuck.
const wedgeFor = 12 * time.Second

// What a message of the dht plane does to its shard: its first byte.
const (
	dhtQuick byte = iota
	dhtSlow
	dhtPanics
	dhtWedges
)

// dhtStand stands for the node: it is given messages, and does with its loop
// what their first byte says.
type dhtStand struct{ e *Engine }

func (h dhtStand) Handle(shard int, m *dhtMsg, _ int64) {
	h.e.dhtTaken.add(shard)
	switch m.payload[0] {
	case dhtSlow:
		time.Sleep(3 * time.Millisecond)
	case dhtPanics:
		panic("planted")
	case dhtWedges:
		time.Sleep(wedgeFor)
	}
}
func (h dhtStand) Flush(int)               {}
func (h dhtStand) Describe(*dhtMsg) string { return "a message" }

// virtual is the rig on virtual time, with the dht plane beside it: time is one
// of the things that are done to them.
type virtual struct {
	*rig
	dhtOffered uint64
	stuck      int // messages that wedge, sent so far
}

func newVirtual(t *testing.T, seed uint64) *virtual {
	v := &virtual{rig: newRig(t, seed)}
	v.e.dhtq = dispatch.New[dhtMsg](dispatch.Config{Plane: planeDHT, Capacity: 64, Epoch: v.e.started}, dhtStand{v.e})
	return v
}

// check is the law for both planes, and that they have heard of everything.
func (v *virtual) check(step int, op string) {
	v.t.Helper()
	v.rig.check(step, op)
	c := v.e.dhtCounts()
	if c.Unexplained() != 0 || c.Received != v.dhtOffered {
		v.t.Fatalf("step %d (%s): dht: %d unexplained, %d offered: %+v", step, op, c.Unexplained(), v.dhtOffered, c)
	}
}

func (v *virtual) peer() netip.Addr { return netip.AddrFrom4([4]byte{10, 1, 0, byte(v.rnd.IntN(64))}) }

// ask offers messages of peers, replies before requests.
func (v *virtual) ask(n int) {
	for range n {
		act := dhtQuick
		switch k := v.rnd.IntN(300); {
		case k == 0 && v.stuck < 40:
			act = dhtWedges
			v.stuck++
		case k < 3:
			act = dhtPanics
		case k < 60:
			act = dhtSlow
		}
		v.dhtOffered++
		v.e.dhtq.Submit(v.e.mono(), v.peer(), dispatch.Lane(v.rnd.IntN(2)), 100, dhtMsg{payload: []byte{act}})
	}
}

// wedge has a fault wait in a loop for longer than the watchdog allows.
func (v *virtual) wedge() {
	wait := func() { time.Sleep(wedgeFor) }
	if v.rnd.IntN(2) == 0 {
		v.fault(v.here[v.rnd.IntN(len(v.here))].src, wait)
		return
	}
	v.dhtOffered++
	v.try(v.e.InjectFault(planeDHT, v.peer(), wait))
}

// age lets what waits for its receiver grow too old, or nearly so.
func (v *virtual) age() { time.Sleep(time.Duration(v.rnd.IntN(1200)) * time.Millisecond) }

// flushBehind has packets wait behind a fault, and flushes them.
func (v *virtual) flushBehind(g *guest) {
	v.fault(g.src, func() { time.Sleep(50 * time.Millisecond) })
	synctest.Wait()
	v.flood(g, 40)
	v.try(v.e.media.Flush(v.e.media.ShardOf(g.src)))
}

// serve lets all writers take what the shards have for them.
func (v *virtual) serve() {
	synctest.Wait()
	for _, g := range v.here {
		g.frozen = v.rnd.IntN(8) == 0
		v.write(g)
	}
}

// step does one random thing to either plane, or lets time pass.
func (v *virtual) step() string {
	if len(v.here) < 3 {
		v.join()
		return "join"
	}
	shard := v.rnd.IntN(8)
	switch v.rnd.IntN(37) {
	case 0:
		v.wedge()
		return "wedge"
	case 1, 2:
		v.age()
		return "age"
	case 3:
		v.try(v.e.dhtq.Pause(shard))
		return "dht pause"
	case 4, 5:
		v.try(v.e.dhtq.Resume(shard))
		return "dht resume"
	case 6:
		v.try(v.e.dhtq.Flush(shard))
		return "dht flush"
	case 7:
		v.try(v.e.dhtq.Restart(shard))
		return "dht restart"
	case 8, 9, 10, 11:
		v.ask(v.rnd.IntN(600))
		return "ask"
	case 12, 13, 14:
		time.Sleep(time.Duration(v.rnd.IntN(20)) * time.Millisecond)
		return "time"
	case 15:
		synctest.Wait()
		return "rest"
	case 16, 17, 18, 19:
		v.serve()
		return "serve"
	case 20:
		v.flushBehind(v.here[v.rnd.IntN(len(v.here))])
		return "flush behind a fault"
	default:
		return v.rig.step()
	}
}

// run does so many steps, with a look at both ledgers after each, and ends.
func (v *virtual) run(steps int) {
	ctx, cancel := context.WithCancel(v.t.Context())
	defer func() { cancel(); time.Sleep(wedgeFor) }() // time is ours while there is a loop that waits
	done := make(chan error, 2)
	go func() { done <- v.e.media.Run(ctx) }()
	go func() { done <- v.e.dhtq.Run(ctx) }()
	synctest.Wait()
	for i := range steps {
		v.check(i, v.step())
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			v.t.Fatal(err)
		}
		v.check(steps, "stopped")
	}
	for len(v.here) > 0 {
		v.leave(0)
		v.check(steps, "the end")
	}
	time.Sleep(wedgeFor) // loops that were replaced come back, and touch nothing
	v.check(steps, "after the end")
}

// TestLedgerClosesInVirtualTime drives both planes through everything that has
// a reason of its own, those that take time included, and looks at the ledgers
// after every step. Each reason must really have been reached.
func TestLedgerClosesInVirtualTime(t *testing.T) {
	ofShards := []ledger.Reason{ledger.ShardPanic, ledger.ShardReplaced, ledger.ShardFull, ledger.ShardPaused, ledger.ShardFlushed}
	ofQueues := []ledger.Reason{ledger.QueueHead, ledger.QueueAge, ledger.TooLarge, ledger.WriteError, ledger.Malformed, ledger.Muted, ledger.ClientRate}
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVirtual(t, seed)
				start := time.Now()
				v.run(4000)
				media, d := v.e.mediaCounts(), v.e.dhtCounts()
				if media.Queued != 0 || media.Delivered < 100 || d.Delivered < 100 {
					t.Errorf("media %+v, dht %+v", media, d)
				}
				for _, why := range ofShards {
					if media.Dropped[why] == 0 || d.Dropped[why] == 0 {
						t.Errorf("%s: media %d, dht %d: not reached", why, media.Dropped[why], d.Dropped[why])
					}
				}
				for _, why := range ofQueues {
					if media.Dropped[why] == 0 {
						t.Errorf("%s: not reached", why)
					}
				}
				t.Logf("%v simulated; media: %d copies, %d delivered, %v; dht: %d copies, %d delivered, %v",
					time.Since(start).Round(time.Second), media.Copies, media.Delivered, media.Dropped.NonZero(), d.Copies, d.Delivered, d.Dropped.NonZero())
			})
		})
	}
}
