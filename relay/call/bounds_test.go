package call

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"signalbox/relay/wire"
)

// TestMaxCalls: beyond it nobody here and no relay begins one.
func TestMaxCalls(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxCalls = 1 })
	b.away(nil)
	alice, bob, carol, dave := b.register(1), b.register(2), b.register(3), b.register(4)
	b.call("x", alice, bob, Ringing)
	carol.offers("y", dave.who)
	carol.expects("Hangup Error y")
	b.FromRelay("R", &wire.DirectCallOffer{CallID: "z", CallerFingerprint: "theirs", TargetFingerprint: dave.who.fp}, b.now)
	dave.expects()
	if n := b.refusals("full"); n != 2 {
		t.Errorf("%d refusals, want 2", n)
	}
	alice.hangsUp("x")
	b.FromRelay("R", &wire.DirectCallOffer{CallID: "z", CallerFingerprint: "theirs", TargetFingerprint: dave.who.fp}, b.now)
	dave.expects("Offer z")
}

// TestNobodyCallsInOurClientsName: a relay that says that one of ours calls is
// refused, and our client is not rung.
func TestNobodyCallsInOurClientsName(t *testing.T) {
	b := newBench(t, nil)
	r := b.away(nil)
	alice, bob := b.register(1), b.register(2)
	b.FromRelay("R", &wire.DirectCallOffer{CallID: "x", CallerFingerprint: alice.who.fp, TargetFingerprint: bob.who.fp}, b.now)
	bob.expects()
	same(t, "R", r.take("R"), []string{"Hangup Error x", "Answer Reject x"})
	if n := b.refusals("identity"); n != 1 {
		t.Errorf("%d refusals, want 1", n)
	}
}

// TestTheOthersStopRinging: of several relays that were asked, those that have
// not answered are told when one has.
func TestTheOthersStopRinging(t *testing.T) {
	b := newBench(t, nil)
	alice := b.register(1)
	r := b.away(map[string][]string{"bob": {"A", "B", "C"}})
	alice.says(&wire.DirectCallOffer{CallID: "x", TargetFingerprint: "bob"})
	for _, relay := range []string{"A", "B", "C"} {
		r.take(relay)
	}
	b.FromRelay("B", &wire.DirectCallAnswer{CallID: "x", AcceptMode: wire.AcceptGeneric}, b.now)
	same(t, "A", r.take("A"), []string{"Hangup Normal x"})
	same(t, "C", r.take("C"), []string{"Hangup Normal x"})
	same(t, "B", r.take("B"), nil)
}

// TestOneStrangerAtACallee: while one relay's call rings at somebody, another
// relay's does not.
func TestOneStrangerAtACallee(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Stranger = func(string) bool { return true } })
	r := b.away(nil)
	bob := b.register(1)
	for _, relay := range []string{"A", "B"} {
		b.FromRelay(relay, &wire.DirectCallOffer{CallID: relay, CallerFingerprint: "of " + relay, TargetFingerprint: bob.who.fp}, b.now)
	}
	bob.expects("Offer A")
	same(t, "B", r.take("B"), []string{"Hangup Busy B", "Answer Reject B"})
	if n := b.refusals("busy"); n != 1 {
		t.Errorf("%d refusals, want 1", n)
	}
}

// TestAllWhoWereAskedStopRinging when nobody has answered and the caller has had
// enough, or has waited too long; of very many relays only some are asked.
func TestAllWhoWereAskedStopRinging(t *testing.T) {
	b := newBench(t, nil)
	alice := b.register(1)
	var many []string
	for i := range maxAsked + 5 {
		many = append(many, fmt.Sprint("R", i))
	}
	r := b.away(map[string][]string{"bob": many})
	wants := func(what string) {
		t.Helper()
		for i, relay := range many {
			if i < maxAsked {
				same(t, relay, r.take(relay), []string{what})
			} else {
				same(t, relay, r.take(relay), nil)
			}
		}
	}
	alice.says(&wire.DirectCallOffer{CallID: "x", TargetFingerprint: "bob"})
	wants("Offer x")
	alice.hangsUp("x")
	wants("Hangup Normal x")
	alice.says(&wire.DirectCallOffer{CallID: "y", TargetFingerprint: "bob"})
	wants("Offer y")
	b.later(2 * time.Minute)
	wants("Hangup Timeout y")
}

// TestCallersWithoutANameOfSize are nobody whom a relay could call for.
func TestCallersWithoutANameOfSize(t *testing.T) {
	b := newBench(t, nil)
	b.away(nil)
	bob := b.register(1)
	for i, caller := range []string{"", strings.Repeat("x", maxFingerprint+1)} {
		b.FromRelay("R", &wire.DirectCallOffer{CallID: fmt.Sprint(i), CallerFingerprint: caller, TargetFingerprint: bob.who.fp}, b.now)
	}
	bob.expects()
	if n := b.refusals("invalid"); n != 2 {
		t.Errorf("%d refusals, want 2", n)
	}
}
