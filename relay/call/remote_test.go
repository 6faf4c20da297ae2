package call

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"signalbox/relay/wire"
)

// two are two relays that reach each other: what one forwards, the other gets.
type two struct{ a, b *bench }

func (w two) carry() {
	for moved := true; moved; {
		moved = false
		for _, s := range w.a.remote.take("B") {
			w.b.FromRelay("A", s, w.b.now)
			moved = true
		}
		for _, s := range w.b.remote.take("A") {
			w.a.FromRelay("B", s, w.a.now)
			moved = true
		}
	}
}

func twoRelays(t *testing.T) (w two, alice, bob *phone) {
	w = two{newBench(t, nil), newBench(t, nil)}
	alice, bob = w.a.register(1), w.b.register(2)
	w.a.away(map[string][]string{bob.who.fp: {"B"}})
	w.b.away(map[string][]string{alice.who.fp: {"A"}})
	return w, alice, bob
}

// ring brings a call across both relays to ringing.
func (w two) ring(alice, bob *phone, id string) {
	alice.offers(id, bob.who)
	w.carry()
	alice.expects("Ringing " + id)
	bob.expects("Offer " + id)
	w.carry()
}

func TestCallAcrossRelays(t *testing.T) {
	w, alice, bob := twoRelays(t)
	w.ring(alice, bob, "x")
	if w.a.state("x") != "ringing" || w.b.state("x") != "ringing" {
		t.Fatalf("%s here, %s there", w.a.state("x"), w.b.state("x"))
	}
	bob.accepts("x")
	w.carry()
	bob.expects("Setup x")
	alice.expects("Answer AcceptTrusted x", "Setup x")
	if !w.a.MayJoin("call-x", alice.who.fp) || !w.b.MayJoin("call-x", bob.who.fp) || w.b.MayJoin("call-x", somebody(5).fp) {
		t.Error("admission")
	}
	alice.says(&wire.MediaPathReport{CallID: "x"})
	w.carry()
	bob.expects("MediaPathReport")
	bob.says(&wire.MediaPathReport{CallID: "x"})
	w.carry()
	alice.expects("MediaPathReport")
	w.a.RelayDown("B", w.a.now)
	if w.a.state("x") != "active" {
		t.Error("an active call ends with the link")
	}
	alice.hangsUp("x")
	w.carry()
	bob.expects("Hangup Normal x")
	alice.expects()
	if w.a.state("x")+w.b.state("x") != "" {
		t.Error("it lives on")
	}
}

// TestEndsAcrossRelays: whoever ends a call, and however, the other side hears.
func TestEndsAcrossRelays(t *testing.T) {
	for _, c := range []struct {
		name       string
		do         func(w two, alice, bob *phone)
		alice, bob []string
	}{
		{"reject", func(_ two, _, bob *phone) { bob.rejects("x") }, []string{"Hangup Declined x"}, nil},
		{"caller hangs up", func(_ two, alice, _ *phone) { alice.hangsUp("x") }, nil, []string{"Hangup Normal x"}},
		{"callee hangs up", func(_ two, _, bob *phone) { bob.hangsUp("x") }, []string{"Hangup Normal x"}, nil},
		{"caller leaves", func(w two, alice, _ *phone) { alice.Leave(true, w.a.now) }, nil, []string{"Hangup Normal x"}},
		{"callee leaves", func(w two, _, bob *phone) { bob.Leave(true, w.b.now) }, []string{"Hangup Normal x"}, nil},
		{"timeout at the caller's", func(w two, _, _ *phone) { w.a.later(time.Minute) }, []string{"Hangup Timeout x"}, []string{"Hangup Timeout x"}},
		{"timeout at the callee's", func(w two, _, _ *phone) { w.b.later(time.Minute) }, []string{"Hangup Timeout x"}, []string{"Hangup Timeout x"}},
		{"the callee's relay drains", func(w two, _, _ *phone) { w.b.SetDraining(true, w.b.now) }, []string{"Hangup Error x"}, []string{"Hangup Error x"}},
		{"link down, seen by the caller's", func(w two, _, _ *phone) { w.a.RelayDown("B", w.a.now) }, []string{"Hangup Error x"}, nil},
		{"link down, seen by the callee's", func(w two, _, _ *phone) { w.b.RelayDown("A", w.b.now) }, nil, []string{"Hangup Error x"}},
		{"operator", func(w two, _, _ *phone) { w.b.HangUp("x", "", w.b.now) }, []string{"Hangup Normal x"}, []string{"Hangup Normal x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, alice, bob := twoRelays(t)
			w.ring(alice, bob, "x")
			c.do(w, alice, bob)
			w.carry()
			alice.expects(c.alice...)
			bob.expects(c.bob...)
			if w.a.refusals("not_a_party")+w.b.refusals("not_a_party") != 0 {
				t.Error("an honest relay was taken for an intruder")
			}
		})
	}
}

// TestRefusedAcrossRelays: the caller is told why.
func TestRefusedAcrossRelays(t *testing.T) {
	w, alice, bob := twoRelays(t)
	carol := w.b.register(3)
	w.b.call("y", carol, bob, Active)
	alice.offers("x", bob.who)
	w.carry()
	alice.expects("Ringing x", "Hangup Busy x")
	carol.hangsUp("y")
	bob.expects("Hangup Normal y")
	alice.offers("z", bob.who)
	w.carry()
	f, _ := bob.Next()
	w.b.later(2 * time.Second)
	bob.Unread(f, w.b.now)
	w.carry()
	alice.expects("Ringing z", "Hangup Error z")
}

// TestOldRelays are those of the original: they say a rejection by Hangup,
// understand a rejecting answer only, and never say that it rings.
func TestOldRelays(t *testing.T) {
	w, _, bob := twoRelays(t)
	w.b.FromRelay("A", &wire.DirectCallOffer{CallID: "x", CallerFingerprint: "their user", TargetFingerprint: bob.who.fp}, w.b.now)
	bob.expects("Offer x")
	bob.rejects("x")
	same(t, "their relay", w.b.remote.take("A"), []string{"Ringing x", "Hangup Declined x", "Answer Reject x"})
}

// TestAskingManyRelays: who has the callee is not known.
func TestAskingManyRelays(t *testing.T) {
	b := newBench(t, nil)
	alice := b.register(1)
	r := b.away(map[string][]string{"bob": {"A", "B", "C"}})
	r.down["C"] = true
	alice.says(&wire.DirectCallOffer{CallID: "x", TargetFingerprint: "bob"})
	alice.expects("Ringing x")
	same(t, "A", r.take("A"), []string{"Offer x"})
	same(t, "B", r.take("B"), []string{"Offer x"})
	id := "x"
	yes := &wire.DirectCallAnswer{CallID: id, AcceptMode: wire.AcceptGeneric}
	if b.FromRelay("C", yes, b.now) {
		t.Error("a relay that was not reached has answered")
	}
	b.FromRelay("A", &wire.Hangup{Reason: wire.HangupBusy, CallID: &id}, b.now)
	alice.expects()
	b.FromRelay("B", &wire.CallRinging{CallID: id}, b.now)
	alice.expects()
	if !b.FromRelay("B", yes, b.now) || b.FromRelay("B", yes, b.now) || b.FromRelay("A", yes, b.now) {
		t.Error("one answer, and one only, makes the call")
	}
	alice.expects("Answer AcceptGeneric x", "Setup x")
	alice.hangsUp(id)
	same(t, "B", r.take("B"), []string{"Hangup Normal x"})
	same(t, "A", r.take("A"), nil)

	alice.says(&wire.DirectCallOffer{CallID: "y", TargetFingerprint: "bob"})
	alice.expects("Ringing y")
	b.FromRelay("A", &wire.DirectCallAnswer{CallID: "y", AcceptMode: wire.AcceptReject}, b.now)
	b.RelayDown("B", b.now)
	alice.expects("Hangup Error y")

	r.down["A"], r.down["B"] = true, true
	alice.says(&wire.DirectCallOffer{CallID: "z", TargetFingerprint: "bob"})
	alice.expects("Ringing z", "Hangup Error z")
}

func TestSeek(t *testing.T) {
	var sought []string
	b := newBench(t, func(c *Config) {
		c.Seek = func(fp, id string) bool { sought = append(sought, fp+" "+id); return fp != "nowhere" }
	})
	alice := b.register(1)
	r := b.away(nil)
	alice.says(&wire.DirectCallOffer{CallID: "n", TargetFingerprint: "nowhere"})
	alice.expects("Hangup Normal n")
	alice.says(&wire.DirectCallOffer{CallID: "x", TargetFingerprint: "bob"})
	alice.expects()
	if fmt.Sprint(sought) != "[nowhere n bob x]" || b.state("x") != "pending" {
		t.Fatal(sought, b.state("x"))
	}
	b.Found("x", []string{"B"}, b.now)
	b.Found("x", nil, b.now) // once
	alice.expects("Ringing x")
	same(t, "B", r.take("B"), []string{"Offer x"})
	alice.hangsUp("x")

	alice.says(&wire.DirectCallOffer{CallID: "y", TargetFingerprint: "bob"})
	b.later(5 * time.Second) // no answer
	alice.expects("Hangup Normal y")

	alice.says(&wire.DirectCallOffer{CallID: "z", TargetFingerprint: somebody(2).fp})
	bob, err := b.try(somebody(2), "192.0.2.5:5", nil) // they come to us
	if err != nil {
		t.Fatal(err)
	}
	bob.expects("RegisterPresenceAck", "Offer z")
	alice.expects("Ringing z")
	b.later(10 * time.Second)
	if b.state("z") != "ringing" {
		t.Error(b.state("z"))
	}
}

// TestBooksAreEmptyInTheEnd runs through many calls of every kind.
func TestBooksAreEmptyInTheEnd(t *testing.T) {
	w, alice, bob := twoRelays(t)
	for i := range 50 {
		id := fmt.Sprint("c", i)
		w.ring(alice, bob, id)
		if i%2 == 0 {
			bob.accepts(id)
		}
		w.carry()
		[]*phone{alice, bob}[i%3%2].hangsUp(id)
		w.carry()
		alice.reads()
		bob.reads()
		w.a.later(10 * time.Second)
		w.b.later(10 * time.Second)
	}
	for _, b := range []*bench{w.a, w.b} {
		if len(b.calls) != 0 || len(b.parties) != 0 {
			t.Errorf("left: %d calls, %d parties", len(b.calls), len(b.parties))
		}
	}
}

func TestPresence(t *testing.T) {
	p := NewPresence()
	one, two := p.Enter("ann", "Ann", ""), p.Enter("ann", "", "lobby")
	p.Learn("B", "192.0.2.2:4433", []string{"bob", "ann", "", strings.Repeat("x", 129)}, 0)
	if l, _ := p.Where("ann"); !l.Local || !l.Signal || fmt.Sprint(l.Rooms) != "[lobby]" || l.Alias != "Ann" {
		t.Errorf("%+v", l)
	}
	if l, ok := p.Where("bob"); !ok || l.Relay != "B" || l.Addr != "192.0.2.2:4433" {
		t.Errorf("%+v", l)
	}
	one.Leave()
	one.Leave()
	if l, _ := p.Where("ann"); !l.Local || l.Signal {
		t.Errorf("one connection of two has ended: %+v", l)
	}
	two.Leave()
	if l, _ := p.Where("ann"); l.Local || l.Relay != "B" {
		t.Errorf("%+v", l)
	}
	p.Learn("C", "c", []string{"bob"}, int64(10*time.Second)) // moved
	p.Expire(int64(35 * time.Second))
	if l, _ := p.Where("bob"); l.Relay != "C" {
		t.Errorf("%+v", l)
	}
	if _, ok := p.Where("ann"); ok {
		t.Error("an expired relay's name is still there")
	}
	p.Forget("C")
	if l, r, refused := p.Counts(); l != 0 || r != 0 || refused != 2 {
		t.Errorf("%d local, %d remote, %d refused", l, r, refused)
	}
}

// TestPresenceIsBounded has relays tell more than they may.
func TestPresenceIsBounded(t *testing.T) {
	p := NewPresence()
	many := make([]string, 12_000)
	for r := range 300 {
		for i := range many {
			many[i] = fmt.Sprint(r, "/", i)
		}
		if r > 11 {
			many = many[:1]
		}
		p.Learn(fmt.Sprint("relay ", r), "", many, 0)
	}
	if _, n, _ := p.Counts(); n != maxRemote || len(p.relays) != maxRelays {
		t.Errorf("%d names of %d relays", n, len(p.relays))
	}
	p.Expire(int64(remoteTTL))
	if _, n, _ := p.Counts(); n != 0 {
		t.Errorf("%d names for ever", n)
	}
}

// TestStrangersRingFew: a relay that nobody has named makes four of our clients
// ring and no more, until one answers or it hangs up; one that is named as many
// as it has callers for.
func TestStrangersRingFew(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Stranger = func(relay string) bool { return relay == "S" } })
	b.away(nil)
	var ps []*phone
	for i := range 8 {
		ps = append(ps, b.register(i+1))
	}
	offer := func(relay string, i int) {
		b.FromRelay(relay, &wire.DirectCallOffer{CallID: fmt.Sprint(relay, i), CallerFingerprint: fmt.Sprint("caller ", i), TargetFingerprint: ps[i].who.fp}, b.now)
	}
	for i := range 6 {
		offer("S", i)
	}
	for i, p := range ps[:6] {
		if i < maxStrangers {
			p.expects(fmt.Sprint("Offer S", i))
		} else {
			p.expects()
		}
	}
	if n := b.refusals("full"); n != 2 {
		t.Errorf("%d offers were refused, want 2", n)
	}
	ps[0].accepts("S0")
	id := "S1"
	b.FromRelay("S", &wire.Hangup{CallID: &id}, b.now)
	for i := 4; i < 8; i++ {
		offer("S", i)
	}
	if n := b.refusals("full"); n != 4 {
		t.Errorf("%d offers were refused in all, want 4: two places were free", n)
	}
	for i := 6; i < 8; i++ {
		offer("N", i)
	}
	ps[7].expects("Offer N7")
	for i := range 8 {
		for _, relay := range []string{"S", "N"} {
			id := fmt.Sprint(relay, i)
			b.FromRelay(relay, &wire.Hangup{CallID: &id}, b.now)
		}
	}
	if len(b.waiting) != 0 {
		t.Errorf("after all have ended, still ringing: %v", b.waiting)
	}
}
