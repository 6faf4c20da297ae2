package sim

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"signalbox/engine/bench"
	"signalbox/relay/wire"
)

// pair are two who call each other, again and again.
type pair struct {
	caller, callee string
	far            int           // the relay of the callee; the caller is at the one that is watched
	ring           time.Duration // until the callee answers
	talk           time.Duration // until the caller hangs up; 0: as long as the fleet lives
	rest           time.Duration // until the next call
}

// pairs make one call that stands, one that stands across relays, and one that
// rings, stands and ends by turns.
var pairs = []pair{
	{caller: "Vera", callee: "Wim", ring: 2 * time.Second},
	{caller: "Xenia", callee: "Yosef", far: 1, ring: 3 * time.Second},
	{caller: "Zoe", callee: "Adam", ring: 8 * time.Second, talk: 20 * time.Second, rest: 4 * time.Second},
}

// again is how long a phone that was refused or cut off waits.
const again = 3 * time.Second

// phone is one of a pair.
type phone struct {
	f     *Fleet
	alias string
	key   ed25519.PrivateKey
	host  netip.Addr
	node  int
}

// directCalls lets pairs call each other.
func directCalls(ctx context.Context, f *Fleet) error {
	for _, p := range pairs {
		a := &phone{f: f, alias: p.caller, key: bench.NewIdentity(), host: f.nextHost()}
		b := &phone{f: f, alias: p.callee, key: bench.NewIdentity(), host: f.nextHost(), node: p.far}
		to := wire.Fingerprint(b.key.Public().(ed25519.PublicKey))
		f.g.Go(func() error { a.live(ctx, func(on *bench.Phone) { a.callAgain(ctx, on, to, p) }); return nil })
		f.g.Go(func() error { b.live(ctx, func(on *bench.Phone) { b.pickUp(ctx, on, p.ring) }); return nil })
	}
	return nil
}

// live keeps a phone registered: an operator may drop it, and a storm may keep
// it out for a while.
func (ph *phone) live(ctx context.Context, use func(on *bench.Phone)) {
	for ctx.Err() == nil {
		ph.once(ctx, use)
		pause(ctx, again)
	}
}

func (ph *phone) once(ctx context.Context, use func(on *bench.Phone)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cl, _, err := ph.f.client(ctx, ph.host)
	if err != nil {
		return
	}
	on, err := bench.Register(ctx, cl, ph.f.addrOf(ph.node), bench.Identity{Key: ph.key, Alias: ph.alias})
	if err != nil {
		return
	}
	defer on.Close()
	use(on)
}

// callAgain calls until the phone is cut off.
func (ph *phone) callAgain(ctx context.Context, on *bench.Phone, to string, p pair) {
	for n := 1; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("%s-%d", strings.ToLower(ph.alias), n)
		if on.Call(to, id) != nil || !ph.one(ctx, on, id, p.talk) {
			return
		}
		pause(ctx, again+p.rest)
	}
}

// one follows a call until it has ended; false: the phone was cut off.
func (ph *phone) one(ctx context.Context, on *bench.Phone, id string, talk time.Duration) bool {
	in, over := context.WithCancel(ctx) // ends with the call
	defer over()
	for {
		s, err := on.Next(in)
		if err != nil { // cut off, or they have said what they wanted to
			return in.Err() != nil && ctx.Err() == nil && on.HangUp(id) == nil
		}
		switch m := s.(type) {
		case *wire.CallSetup:
			if m.CallID != id {
				continue
			}
			if talk > 0 {
				end := time.AfterFunc(talk, over)
				defer end.Stop()
			}
			if ph.talks(in, m.Room) != nil {
				return on.HangUp(id) == nil
			}
		case *wire.Hangup: // theirs, or an operator's
			if m.CallID == nil || *m.CallID == id {
				return true
			}
		}
	}
}

// pickUp answers every call after it has rung for a while.
func (ph *phone) pickUp(ctx context.Context, on *bench.Phone, ring time.Duration) {
	over := map[string]context.CancelFunc{}
	defer func() {
		for _, f := range over {
			f()
		}
	}()
	for {
		s, err := on.Next(ctx)
		if err != nil {
			return
		}
		switch m := s.(type) {
		case *wire.DirectCallOffer:
			id := m.CallID
			time.AfterFunc(ring, func() { _ = on.Answer(id, wire.AcceptTrusted) }) // the phone may be gone
		case *wire.CallSetup:
			in, cancel := context.WithCancel(ctx)
			over[m.CallID] = cancel
			if ph.talks(in, m.Room) != nil {
				cancel()
			}
		case *wire.Hangup:
			for id, f := range over {
				if m.CallID == nil || *m.CallID == id {
					f()
					delete(over, id)
				}
			}
		}
	}
}

// talks joins the call's room and talks until ctx ends.
func (ph *phone) talks(ctx context.Context, room string) error {
	return ph.f.addCaller(ctx, callerPlan{room: room, alias: ph.alias, key: ph.key, host: ph.host, node: ph.node, pps: 50, report: &good})
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
