package sim

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"signalbox/engine/bench"
	"signalbox/engine/dispatch"
	"signalbox/engine/quicnet"
	"signalbox/relay/wire"
)

// scenario plants a fault in a fleet that is calm.
type scenario func(ctx context.Context, f *Fleet) error

var scenarios = map[string]scenario{
	"blackhole-peer": blackholePeer,
	"calm":           directCalls,
	"stale-table":    staleTable,
	"hot-shard":      hotShard,
	"storm":          storm,
	"bad-room":       badRoom,
	"wedged-shard":   func(_ context.Context, f *Fleet) error { return f.faultEvery(12*time.Second, wedge) },
	"panic":          func(_ context.Context, f *Fleet) error { return f.faultEvery(4*time.Second, panicking) },
}

// callerPlan is one caller's behaviour.
type callerPlan struct {
	room, alias string
	key         ed25519.PrivateKey // nil: somebody new
	host        netip.Addr
	pps         int                 // 0: listens only
	report      *wire.QualityReport // nil: never reports
	freezes     bool                // its traffic stops again and again
	node        int                 // the relay it is at; 0: the one that is watched
}

// good is the report of someone with a fine network.
var good = wire.QualityReport{Loss: 0, RTT4: 9, Jitter: 4, CapKbps: 200}

// calmCallers fills the rooms every scenario starts from.
func (f *Fleet) calmCallers(ctx context.Context) error {
	rooms := []struct {
		name    string
		people  []string
		talkers int
	}{
		{"standup", []string{"Ana", "Bela", "Chidi", "Dora", "Emil"}, 3},
		{"town-hall", []string{"Speaker", "Host", "Gil", "Hana", "Ivo", "Jun", "Kaya", "Lars", "Mei", "Noor"}, 2},
		{"ops", []string{"Olga", "Pavel", "Quinn"}, 1},
		{"podcast", []string{"Rosa", "Sami"}, 2},
	}
	for _, r := range rooms {
		for i, who := range r.people {
			p := callerPlan{room: r.name, alias: who, host: f.nextHost(), report: &good}
			if i < r.talkers {
				p.pps = 50
			}
			if err := f.addCaller(ctx, p); err != nil {
				return err
			}
		}
	}
	for _, p := range []callerPlan{
		{room: "standup", alias: "Yuki", node: 1, pps: 50}, {room: "podcast", alias: "Tiago", node: 2, pps: 50}, {room: "podcast", alias: "Aiko", node: 1},
	} {
		p.host, p.report = f.nextHost(), &good
		if err := f.addCaller(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// addCaller joins one caller and lets it talk and report until ctx ends.
func (f *Fleet) addCaller(ctx context.Context, p callerPlan) error {
	cl, gate, err := f.client(ctx, p.host)
	if err != nil {
		return err
	}
	if p.key == nil {
		p.key = bench.NewIdentity()
	}
	c, err := bench.JoinAs(ctx, cl, f.addrOf(p.node), p.room, p.alias, p.key, "")
	if err != nil {
		return fmt.Errorf("sim: %s joins %s: %w", p.alias, p.room, err)
	}
	if p.freezes {
		f.g.Go(func() error { return freezeCycle(ctx, gate) })
	}
	f.g.Go(func() error { return ended(ctx, c.ReceiveLoop(ctx, func(time.Duration) {})) })
	f.g.Go(func() error { c.ReadSignals(ctx); return nil })
	f.g.Go(func() error { talk(ctx, c, p, gate); c.Close(); return nil })
	return nil
}

// ended forgives a caller whom an operator has kicked or banned: that is what
// the levers are for.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, quicnet.ErrClosed) {
		return nil
	}
	return err
}

// talk sends p.pps packets a second; one in a second's worth carries a report.
// A listener sends only that one.
func talk(ctx context.Context, c *bench.Caller, p callerPlan, gate *quicnet.Gate) {
	pps := max(p.pps, 1)
	t := time.NewTicker(time.Second / time.Duration(pps))
	defer t.Stop()
	for k := 0; ; k++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if gate.Frozen() {
			continue // a frozen machine does not talk either, and Send would wait
		}
		var rep *wire.QualityReport
		if p.report != nil && k%pps == 0 {
			rep = p.report
		}
		if c.Send(uint64(k), 108, rep) != nil {
			return
		}
	}
}

// badRoom: in town-hall one receiver's traffic stops without a close, and one
// has a bad network and says so.
func badRoom(ctx context.Context, f *Fleet) error {
	if err := f.addCaller(ctx, callerPlan{room: "town-hall", alias: "Frozen Fred", host: f.nextHost(), pps: 50, report: &good, freezes: true}); err != nil {
		return err
	}
	lossy := wire.QualityReport{Loss: 46, RTT4: 62, Jitter: 38, CapKbps: 200}
	return f.addCaller(ctx, callerPlan{room: "town-hall", alias: "Lossy Lou", host: f.nextHost(), pps: 50, report: &lossy})
}

// staleTable: most of the DHT's nodes die without a word, and stay in the
// tables of those that knew them until they are found out.
func staleTable(ctx context.Context, f *Fleet) error {
	f.g.Go(func() error {
		for i := relays; i < len(f.ends)-2; i++ {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(700 * time.Millisecond):
			}
			f.ends[i]()
		}
		return nil
	})
	return nil
}

// freezeCycle stops the gate's traffic for 22 s of every 26: less than the
// idle timeout, so that the receiver stays a member and comes back.
func freezeCycle(ctx context.Context, g *quicnet.Gate) error {
	const frozen, thawed = 22 * time.Second, 4 * time.Second
	for {
		for _, step := range []struct {
			freeze bool
			d      time.Duration
		}{{false, thawed}, {true, frozen}} {
			if err := g.Freeze(step.freeze); err != nil {
				return ended(ctx, err)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(step.d):
			}
		}
	}
}

// hotShard: many callers behind one address send far above everyone else, and
// the handler of their shard is slow, so its queue overflows while the other
// shards stay lossless.
func hotShard(ctx context.Context, f *Fleet) error {
	host := netip.AddrFrom4([4]byte{127, 0, callerHost, hotHost})
	for i := range 12 {
		p := callerPlan{room: fmt.Sprintf("flood-%d", i/2), alias: fmt.Sprintf("bot-%d", i), host: host, pps: 250}
		if err := f.addCaller(ctx, p); err != nil {
			return err
		}
	}
	f.g.Go(func() error {
		for ctx.Err() == nil {
			// A slow handler: the loop is held for 150 ms three times a second.
			err := f.Main.InjectFault("media", host, func() {
				select {
				case <-ctx.Done():
				case <-time.After(150 * time.Millisecond):
				}
			})
			if err != nil && !errors.Is(err, dispatch.ErrRefused) {
				return ended(ctx, err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(330 * time.Millisecond): // out of step with the snapshots
			}
		}
		return nil
	})
	return nil
}

// wedge is a handler that never returns.
func wedge(ctx context.Context) { <-ctx.Done() }

// panicking is a handler with a defect.
func panicking(context.Context) {
	panic("planted by the demo: a handler that does not expect this packet")
}

// faultEvery plants a fault in the shard of the first caller, again and again.
func (f *Fleet) faultEvery(d time.Duration, fault func(context.Context)) error {
	host := netip.AddrFrom4([4]byte{127, 0, callerHost, 101})
	f.g.Go(func() error {
		t := time.NewTicker(d)
		defer t.Stop()
		for {
			err := f.Main.InjectFault("media", host, func() { fault(f.ctx) })
			if err != nil && !errors.Is(err, dispatch.ErrRefused) {
				return ended(f.ctx, err)
			}
			select {
			case <-f.ctx.Done():
				return nil
			case <-t.C:
			}
		}
	})
	return nil
}
