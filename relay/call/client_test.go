package call

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"signalbox/relay/wire"
)

// TestStalledCalleeFailsAlone: who reads nothing fails its calls within 2 s,
// and nobody waits for it.
func TestStalledCalleeFailsAlone(t *testing.T) {
	b := newBench(t, nil)
	alice, bob, carol, dave := b.register(1), b.register(2), b.register(3), b.register(4)
	alice.offers("x", bob.who)
	f, ok := bob.Next() // written, not read
	if !ok || f.Deadline != b.now+int64(2*time.Second) {
		t.Fatalf("%+v", f)
	}
	b.call("y", carol, dave, Active) // meanwhile
	carol.hangsUp("y")
	dave.expects("Hangup Normal y")
	b.later(2 * time.Second)
	bob.Unread(f, b.now)
	alice.expects("Hangup Error x")
	if b.refusals("peer_stalled") != 1 || b.event("peer_stalled") != 1 || bob.closed != "" {
		t.Error("not seen as stalled, or closed at once")
	}
	alice.offers("z", bob.who)
	alice.expects("Hangup Error z") // at once now
	bob.Late()                      // it was only slow
	bob.expects("Hangup Error x")
	b.call("w", alice, bob, Active)
}

// TestClientWithoutCreditIsClosed has a client that cannot be given anything.
func TestClientWithoutCreditIsClosed(t *testing.T) {
	b := newBench(t, nil)
	alice, bob := b.register(1), b.register(2)
	b.call("x", alice, bob, Active)
	alice.says(&wire.MediaPathReport{CallID: "x"})
	f, _ := bob.Next()
	bob.Failed(f, b.now)
	alice.expects("Hangup Normal x")
	if bob.closed != "peer_stalled" || b.Registered(bob.who.fp) {
		t.Errorf("closed %q", bob.closed)
	}
	bob.Leave(true, b.now) // its connection's end changes nothing more
	if v := b.View(b.now); v.Connections != 1 || v.Stalls != 1 {
		t.Errorf("%+v", v)
	}
}

// TestQueueIsBounded has a client that never takes anything be told too much.
func TestQueueIsBounded(t *testing.T) {
	b := newBench(t, nil)
	alice, bob := b.register(1), b.register(2)
	b.call("x", alice, bob, Active)
	for i := range 200 {
		b.later(100 * time.Millisecond)
		alice.says(&wire.MediaPathReport{CallID: "x"})
		if bob.closed != "" {
			if i != queueFrames {
				t.Errorf("closed after %d", i)
			}
			break
		}
	}
	if bob.closed != "peer_stalled" {
		t.Fatal("a full queue is not noticed")
	}
	alice.expects("Hangup Normal x")
}

func TestLateEndOfOldConnection(t *testing.T) {
	b := newBench(t, nil)
	alice, bob := b.register(1), b.register(2)
	b.call("x", alice, bob, Active)
	again := b.register(2) // its old connection is half dead
	b.later(30 * time.Second)
	bob.Leave(false, b.now)
	if !b.Registered(bob.who.fp) || b.state("x") != "active" {
		t.Fatal("the old connection's end unregistered its successor")
	}
	alice.hangsUp("x")
	again.expects("Hangup Normal x")
	if loc, ok := b.presence.Where(bob.who.fp); !ok || !loc.Signal {
		t.Error("not present")
	}
}

// TestReconnectAThousandTimes is one identity that comes back again and again
// before its old connections time out.
func TestReconnectAThousandTimes(t *testing.T) {
	b := newBench(t, nil)
	alice := b.register(1)
	var old []*phone
	for i := range 1000 {
		bob := b.register(2)
		b.call(fmt.Sprint("c", i), alice, bob, Active)
		bob.hangsUp(fmt.Sprint("c", i))
		alice.expects(fmt.Sprintf("Hangup Normal c%d", i))
		old = append(old, bob)
		b.later(time.Second)
		if len(old) > 30 { // idle timeout
			old[0].Leave(false, b.now)
			old = old[1:]
		}
	}
	if v := b.View(b.now); v.Registered != 2 || v.Connections > 2+b.cfg.MaxPerIdentity {
		t.Errorf("%d registered, %d connections", v.Registered, v.Connections)
	}
	for _, p := range old[:len(old)-1] {
		p.Leave(false, b.now)
	}
	b.later(35 * time.Second)
	b.call("last", alice, old[len(old)-1], Active)
}

func TestReconnectBringsTheOfferAgain(t *testing.T) {
	b := newBench(t, nil)
	alice, bob := b.register(1), b.register(2)
	alice.offers("x", bob.who) // into a connection that is dead already
	again, err := b.try(bob.who, "192.0.2.3:1000", nil)
	if err != nil {
		t.Fatal(err)
	}
	bob.Leave(false, b.now)
	again.expects("RegisterPresenceAck", "Offer x")
	alice.expects("Ringing x")
}

func TestDisconnects(t *testing.T) {
	for _, c := range []struct {
		name  string
		st    State
		clean bool
		wait  time.Duration
		back  bool
		want  []string
	}{
		{"closed while it rings", Ringing, true, 0, false, []string{"Hangup Normal x"}},
		{"lost while it rings", Ringing, false, 0, false, []string{"Hangup Normal x"}},
		{"closed in the call", Active, true, 0, false, []string{"Hangup Normal x"}},
		{"lost in the call", Active, false, 9 * time.Second, false, nil},
		{"lost in the call for good", Active, false, 10 * time.Second, false, []string{"Hangup Error x"}},
		{"lost in the call and back", Active, false, 9 * time.Second, true, nil},
	} {
		for _, leaver := range []int{1, 2} {
			t.Run(fmt.Sprint(c.name, leaver), func(t *testing.T) {
				b := newBench(t, nil)
				ps := map[int]*phone{1: b.register(1), 2: b.register(2)}
				b.call("x", ps[1], ps[2], c.st)
				ps[leaver].Leave(c.clean, b.now)
				b.later(c.wait)
				if c.back {
					b.register(leaver)
					b.later(time.Minute)
				}
				ps[3-leaver].expects(c.want...)
				if (b.state("x") == "") != (c.want != nil) {
					t.Errorf("the call is %q", b.state("x"))
				}
			})
		}
	}
}

func TestRegistrations(t *testing.T) {
	b := newBench(t, func(c *Config) { c.CertHash = [32]byte{7} })
	p := somebody(1)
	signed := wire.SignPresence(p.key, [32]byte{7})
	if _, err := b.try(p, "192.0.2.1:1", wire.SignPresence(p.key, [32]byte{8})); !errors.Is(err, ErrSignature) {
		t.Errorf("a signature for another relay: %v", err)
	}
	if _, err := b.try(p, "192.0.2.1:1", []byte{1}); !errors.Is(err, ErrSignature) {
		t.Errorf("garbage: %v", err)
	}
	plain, err := b.try(p, "192.0.2.1:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.try(p, "192.0.2.66:1", nil); err != nil || b.event("identity_moved") != 1 || b.View(b.now).Moves != 1 {
		t.Errorf("a second address: %v", err)
	}
	if _, err := b.try(p, "192.0.2.2:1", signed); err != nil {
		t.Error(err)
	}
	if _, err := b.try(p, "192.0.2.3:1", nil); !errors.Is(err, ErrTaken) {
		t.Errorf("unsigned beside signed: %v", err)
	}
	if plain.closed != "" {
		t.Error("a second connection closed the first")
	}
	b.cfg.RequireSignature = true
	if _, err := b.try(somebody(2), "192.0.2.3:1", nil); !errors.Is(err, ErrUnsigned) {
		t.Errorf("unsigned under the policy: %v", err)
	}
	if ph, err := b.try(person{}, "192.0.2.4:1", nil); err != nil {
		t.Errorf("the zero identity: %v", err)
	} else {
		ph.says(&wire.Reflect{})
		if got := ph.reads(); len(got) != 2 || got[1].(*wire.ReflectResponse).ObservedAddr != "192.0.2.4:1" {
			t.Errorf("%v", got)
		}
		ph.offers("x", p)
		ph.expects("Hangup Error x")
		ph.Leave(true, b.now)
	}
	if n := b.View(b.now).Anonymous; n != 0 {
		t.Errorf("%d anonymous", n)
	}
}

// TestTokenIdentity: with a token the identity is the token's.
func TestTokenIdentity(t *testing.T) {
	b := newBench(t, nil)
	c, err := b.Register(Registration{
		Message: &wire.RegisterPresence{}, Fingerprint: "token-fp", Remote: func() (a netip.AddrPort) { return a }, RelayAddr: func() string { return "" }, Close: func(string) {},
	}, b.now)
	if err != nil || c.Fingerprint() != "token-fp" || !b.Registered("token-fp") {
		t.Fatal(err)
	}
}

// TestManyRegistrationsAreBounded fills the registry, and empties it again.
func TestManyRegistrationsAreBounded(t *testing.T) {
	b := newBench(t, nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var all []*phone
	for i := range 10_000 {
		var p person
		p.pub[0], p.pub[1], p.pub[2] = byte(i), byte(i>>8), 1
		ph, err := b.try(p, "192.0.2.1:1", nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ph)
	}
	if _, err := b.try(somebody(1), "192.0.2.1:1", nil); !errors.Is(err, ErrFull) {
		t.Fatalf("one more: %v", err)
	}
	runtime.ReadMemStats(&after)
	if each := (after.HeapAlloc - before.HeapAlloc) / 10_000; each > 8<<10 {
		t.Errorf("%d bytes for each", each)
	}
	if v := b.View(b.now); v.Registered != 10_000 || len(v.Clients) != shownClients {
		t.Errorf("%d registered, %d shown", v.Registered, len(v.Clients))
	}
	for _, p := range all {
		p.Leave(true, b.now)
	}
	if v := b.View(b.now); v.Registered != 0 || v.Connections != 0 || len(b.parties) != 0 || v.PresentHere != 0 {
		t.Errorf("left behind: %+v", v)
	}
}
