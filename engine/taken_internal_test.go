package engine

import (
	"context"
	"encoding/hex"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/engine/dispatch"
	"signalbox/engine/ledger"
	"signalbox/engine/view"
	"signalbox/relay"
)

// TestALostMessageIsUnexplained: what the dispatcher passes on and no handler is
// given, and a copy that no queue is asked to take, stand in the ledger.
func TestALostMessageIsUnexplained(t *testing.T) {
	e := bare(t)
	var c ledger.Counts
	if got := e.mediaTaken.short(&c, 3); got != 3 {
		t.Errorf("of 3 passed on and none given, %d are missed", got)
	}
	for shard := range 200 {
		e.mediaTaken.add(shard)
	}
	for passed, want := range map[uint64]uint64{199: 0, 200: 0, 207: 7} {
		if got := e.mediaTaken.short(&c, passed); got != want {
			t.Errorf("%d passed on, 200 given: short by %d, want %d", passed, got, want)
		}
	}
	c.Refuse(ledger.ShardPanic, 3)
	c.Refuse(ledger.ShardReplaced, 4)
	if got := e.mediaTaken.short(&c, 200); got != 7 {
		t.Errorf("with 7 whose handler failed: short by %d", got)
	}
	var ps []*relay.Participant
	for i := range 3 {
		p, err := e.relay.Join(relay.JoinRequest{Room: "r", Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 1), Now: time.Now(), Close: func(string) {}})
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	e.relay.Forward(0, ps[0], make([]byte, 20), e.mono())
	if c := e.relay.Counts(); c.Copies != 2 || c.Unexplained() != 0 {
		t.Errorf("%+v", c)
	}
}

// TestPanickingInputIsKept: the event of a panic holds the packet that made the
// handler panic, byte for byte, and that packet is not tried again.
func TestPanickingInputIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		e := r.e
		ctx, cancel := context.WithCancel(t.Context())
		defer func() { cancel(); time.Sleep(wedgeFor) }()
		e.media = dispatch.New[mediaMsg](dispatch.Config{Plane: planeMedia, Shards: 1, Epoch: e.started, Event: e.event}, mediaHandler{e})
		go func() {
			if err := e.media.Run(ctx); err != nil {
				t.Error(err)
			}
		}()
		pkt := []byte{0xde, 0xad, 0xbe, 0xef, 0, 1, 2, 3, 4, 5, 6, 7, 8}
		e.media.Submit(e.mono(), netip.AddrFrom4([4]byte{10, 1, 0, 1}), dispatch.Media, len(pkt), mediaMsg{pkt: pkt}) // of nobody: Forward panics
		time.Sleep(time.Second)
		synctest.Wait()
		all, _ := e.Events(0)
		at := slices.IndexFunc(all, func(ev view.Event) bool { return ev.Kind == "shard_panic" })
		if at < 0 || all[at].Fields["input"] != hex.EncodeToString(pkt) || all[at].Fields["input_bytes"] != len(pkt) {
			t.Fatalf("%d: %+v", at, all)
		}
		if v := e.media.Views(time.Now())[0]; v.Panics != 1 || v.State != "running" || v.Dropped["shard_panic"] != 1 {
			t.Errorf("%+v", v)
		}
	})
}

// swallow is a loop that passes over every seventh message and counts it as
// handled.
type swallow[T any] struct {
	dispatch.Handler[T]
	seen *int // of one shard, so that one loop counts
	lost *uint64
}

func (h swallow[T]) Handle(shard int, m *T, now int64) {
	if *h.seen++; *h.seen%7 == 0 {
		*h.lost++
		return
	}
	h.Handler.Handle(shard, m, now)
}

// TestASwallowedMessageIsUnexplained: each message that a running dispatcher
// counts as processed and no handler was given is missing in the plane's ledger,
// no more and no fewer, in the midst of faults that are not losses.
func TestASwallowedMessageIsUnexplained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		e := r.e
		var seen [2]int
		var lost [2]uint64
		e.media = dispatch.New[mediaMsg](dispatch.Config{Plane: planeMedia, Shards: 1, Epoch: e.started}, swallow[mediaMsg]{mediaHandler{e}, &seen[0], &lost[0]})
		e.dhtq = dispatch.New[dhtMsg](dispatch.Config{Plane: planeDHT, Shards: 1, Epoch: e.started}, swallow[dhtMsg]{dhtStand{e}, &seen[1], &lost[1]})
		ctx, cancel := context.WithCancel(t.Context())
		defer func() { cancel(); time.Sleep(wedgeFor) }()
		for _, run := range []func(context.Context) error{e.media.Run, e.dhtq.Run} {
			go func() {
				if err := run(ctx); err != nil {
					t.Error(err)
				}
			}()
		}
		for len(r.here) < 5 { // of four rooms, one has two
			r.join()
		}
		src := netip.AddrFrom4([4]byte{10, 1, 0, 1})
		for round := range 40 {
			for _, g := range r.here {
				r.flood(g, 11)
			}
			for i := range 20 {
				act := dhtQuick
				if i == 3 {
					act = dhtPanics
				}
				e.dhtq.Submit(e.mono(), src, dispatch.Control, 100, dhtMsg{payload: []byte{act}})
			}
			if round%8 == 3 {
				r.try(e.InjectFault(planeMedia, src, func() { panic("planted") }))
				r.try(e.InjectFault(planeDHT, src, func() { time.Sleep(wedgeFor) }))
				time.Sleep(wedgeFor)
			}
			time.Sleep(time.Second) // the shards have backed off, the clients' budgets are full
			synctest.Wait()
			media, d := e.mediaCounts(), e.dhtCounts()
			if media.Unexplained() != int64(lost[0]) || d.Unexplained() != int64(lost[1]) {
				t.Fatalf("round %d: swallowed %d and %d, unexplained %d and %d", round, lost[0], lost[1], media.Unexplained(), d.Unexplained())
			}
		}
		if lost[0] < 100 || lost[1] < 100 {
			t.Errorf("only %d and %d swallowed", lost[0], lost[1])
		}
	})
}
