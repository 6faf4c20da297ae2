package call

import (
	"fmt"
	"testing"
	"time"

	"signalbox/relay/wire"
)

func TestCallThroughEveryState(t *testing.T) {
	b := newBench(t, nil)
	alice, bob := b.register(1), b.register(2)
	alice.offers("X", bob.who)
	if b.state("X") != "pending" {
		t.Fatal("it rings before the callee's client has read the offer")
	}
	alice.expects()
	got := bob.reads()
	o := got[0].(*wire.DirectCallOffer)
	if o.CallerFingerprint != alice.who.fp || *o.CallerReflexiveAddr != "192.0.2.9:7" {
		t.Errorf("the offer says %+v", o)
	}
	alice.expects("Ringing X")
	if b.state("X") != "ringing" {
		t.Errorf("state %s", b.state("X"))
	}
	bob.accepts("X")
	for who, told := range map[*phone]struct{ direct, local string }{alice: {"192.0.2.8:8", "[]"}, bob: {"192.0.2.9:7", "[10.0.0.9:7]"}} {
		got := who.reads()
		s := got[len(got)-1].(*wire.CallSetup)
		if s.Room != "call-X" || s.RelayAddr != "[2001:db8::1]:4433" || *s.PeerDirectAddr != told.direct || fmt.Sprint(s.PeerLocalAddrs) != told.local {
			t.Errorf("setup %+v", s)
		}
	}
	if !b.MayJoin("call-x", alice.who.fp) || !b.MayJoin("call-x", bob.who.fp) || b.MayJoin("call-x", somebody(3).fp) || b.MayJoin("call-x", "") || b.MayJoin("call-", alice.who.fp) || !b.MayJoin("lobby", "") {
		t.Error("admission to the call's room is wrong")
	}
	alice.says(&wire.MediaPathReport{CallID: "X", DirectOK: true})
	bob.expects("MediaPathReport")
	alice.hangsUp("X")
	bob.expects("Hangup Normal X")
	alice.expects()
	if b.state("X") != "" || b.MayJoin("call-x", alice.who.fp) {
		t.Error("the call outlives its end")
	}
	v := b.View(b.now)
	if v.Offers != 1 || v.Answers != 1 || v.Hangups != 1 || v.RingTimeouts != 0 {
		t.Errorf("counted %+v", v)
	}
}

// TestThirdPartiesAreRefused has a stranger say every verb of every state, and
// then checks that the call went on as if nobody had.
func TestThirdPartiesAreRefused(t *testing.T) {
	verbs := map[string]func(p *phone){
		"accept": func(p *phone) { p.accepts("X") },
		"reject": func(p *phone) { p.rejects("X") },
		"hangup": func(p *phone) { p.hangsUp("X") },
		"hangup of all": func(p *phone) {
			p.says(&wire.Hangup{})
		},
		"report": func(p *phone) { p.says(&wire.MediaPathReport{CallID: "X", DirectOK: true}) },
		"the same id": func(p *phone) {
			p.offers("x", somebody(1))
		},
		"ringing": func(p *phone) { p.says(&wire.CallRinging{CallID: "X"}) },
		"setup":   func(p *phone) { p.says(&wire.CallSetup{CallID: "X"}) },
		"forward": func(p *phone) {
			id := "X"
			p.says(&wire.FederatedSignalForward{Inner: &wire.Hangup{CallID: &id}})
		},
	}
	for name, verb := range verbs {
		for st := Pending; st <= Active; st++ {
			for _, who := range []string{"stranger", "anonymous", "another relay"} {
				t.Run(fmt.Sprint(who, " ", name, " ", st), func(t *testing.T) {
					b := newBench(t, nil)
					alice, bob := b.register(1), b.register(2)
					b.call("X", alice, bob, st)
					switch who {
					case "stranger":
						verb(b.register(3))
					case "anonymous":
						ph, err := b.try(person{}, "192.0.2.77:1", nil)
						if err != nil {
							t.Fatal(err)
						}
						verb(ph)
					default:
						id := "X"
						for _, s := range []wire.Signal{
							&wire.Hangup{CallID: &id}, &wire.Hangup{}, &wire.DirectCallAnswer{CallID: id, AcceptMode: wire.AcceptReject}, &wire.DirectCallAnswer{CallID: id, AcceptMode: wire.AcceptTrusted},
							&wire.CallRinging{CallID: id}, &wire.MediaPathReport{CallID: id}, &wire.DirectCallOffer{CallID: id, CallerFingerprint: "f", TargetFingerprint: alice.who.fp},
							&wire.DirectCallOffer{CallID: "y", CallerFingerprint: alice.who.fp, TargetFingerprint: bob.who.fp},
						} {
							b.FromRelay("evil", s, b.now)
						}
						b.RelayDown("evil", b.now)
					}
					if b.state("X") != st.String() {
						t.Fatalf("the call is %q now", b.state("X"))
					}
					if st == Pending {
						bob.expects("Offer X")
						alice.expects("Ringing X")
						return
					}
					alice.expects()
					bob.expects()
				})
			}
		}
	}
}

// TestPartiesOutOfTurn has parties say what is not theirs to say.
func TestPartiesOutOfTurn(t *testing.T) {
	b := newBench(t, nil)
	alice, bob := b.register(1), b.register(2)
	b.call("x", alice, bob, Ringing)
	alice.accepts("x") // her own call
	alice.rejects("x")
	bob.says(&wire.MediaPathReport{CallID: "x"}) // there is no path yet
	if b.state("x") != "ringing" || b.refusals("wrong_state") != 3 {
		t.Fatalf("%s, %d refused", b.state("x"), b.refusals("wrong_state"))
	}
	bob.accepts("x")
	alice.expects("Answer AcceptTrusted x", "Setup x")
	bob.expects("Setup x")
	bob.accepts("x") // again
	bob.rejects("x") // too late: that is what Hangup is for
	alice.expects()
	bob.expects()
	if b.state("x") != "active" {
		t.Fatal(b.state("x"))
	}
}

func TestRejectTellsTheCaller(t *testing.T) {
	b := newBench(t, nil)
	alice, bob := b.register(1), b.register(2)
	b.call("x", alice, bob, Ringing)
	bob.rejects("x")
	alice.expects("Hangup Declined x")
	bob.expects()
	if b.state("x") != "" {
		t.Error("it lives")
	}
}

func TestRingTimeout(t *testing.T) {
	b := newBench(t, nil)
	alice, bob := b.register(1), b.register(2)
	b.call("x", alice, bob, Ringing)
	b.later(59 * time.Second)
	alice.expects()
	b.later(time.Second)
	alice.expects("Hangup Timeout x")
	bob.expects("Hangup Timeout x")
	if v := b.View(b.now); v.RingTimeouts != 1 || len(v.CallList) != 0 {
		t.Errorf("%+v", v)
	}
	b.call("y", alice, bob, Active)
	b.later(time.Hour)
	if b.state("y") != "active" {
		t.Error("an answered call times out")
	}
}

func TestBusy(t *testing.T) {
	for st := Pending; st <= Active; st++ {
		b := newBench(t, nil)
		alice, bob, carol := b.register(1), b.register(2), b.register(3)
		b.call("x", alice, bob, st)
		carol.offers("y", bob.who)
		carol.expects("Hangup Busy y")
		carol.offers("z", alice.who)
		carol.expects("Hangup Busy z")
		if b.state("x") != st.String() || b.refusals("busy") != 2 {
			t.Errorf("%s: %s, %d", st, b.state("x"), b.refusals("busy"))
		}
	}
}

// TestBothCallEachOther: the first offer counts.
func TestBothCallEachOther(t *testing.T) {
	b := newBench(t, nil)
	alice, bob := b.register(1), b.register(2)
	alice.offers("x", bob.who)
	bob.offers("y", alice.who)
	bob.expects("Offer x", "Hangup Busy y")
	alice.expects("Ringing x")
}

func TestOffersThatCannotBe(t *testing.T) {
	b := newBench(t, nil)
	alice, bob, carol, dave := b.register(1), b.register(2), b.register(3), b.register(4)
	alice.offers("x", somebody(9))
	alice.expects("Hangup Normal x") // not online
	alice.offers("x", alice.who)
	alice.expects("Hangup Error x")
	for _, id := range []string{"", "a b", "ü", "a.b", string(make([]byte, 59)), "\x00"} {
		alice.offers(id, bob.who)
		alice.expects("Hangup Error " + id)
	}
	alice.says(&wire.DirectCallOffer{CallID: "x", TargetFingerprint: bob.who.fp, IdentityPub: bob.who.pub})
	alice.expects("Hangup Error x") // with somebody else's key
	b.call("Same", alice, bob, Ringing)
	alice.offers("Same", bob.who) // sent twice
	alice.expects()
	bob.expects()
	carol.offers("same", dave.who) // one name for a server name
	carol.expects("Hangup Error same")
	dave.expects()
	b.SetDraining(true, b.now)
	alice.expects("Hangup Error Same")
	bob.expects("Hangup Error Same")
	alice.offers("x", bob.who)
	alice.expects("Hangup Error x")
	b.SetDraining(false, b.now)
	b.call("x", alice, bob, Active)
	b.SetDraining(true, b.now)
	if b.state("x") != "active" {
		t.Error("draining ends a call that is on")
	}
}

func TestOneCallerBeginsFew(t *testing.T) {
	b := newBench(t, nil)
	alice := b.register(1)
	for i := range 5 {
		to := b.register(10 + i)
		alice.offers(fmt.Sprint("c", i), to.who)
	}
	alice.expects("Hangup Error c4")
	if n := b.View(b.now).Calls.Pending; n != 4 {
		t.Errorf("%d calls", n)
	}
}

func TestHangupOfAll(t *testing.T) {
	b := newBench(t, nil)
	alice, bob, carol := b.register(1), b.register(2), b.register(3)
	b.call("x", alice, bob, Active)
	b.call("y", alice, carol, Ringing)
	alice.says(&wire.Hangup{})
	bob.expects("Hangup Normal x")
	carol.expects("Hangup Normal y")
	if v := b.View(b.now); len(v.CallList) != 0 || v.Hangups != 2 {
		t.Errorf("%+v", v)
	}
}

func TestBothHangUpAtOnce(t *testing.T) {
	b := newBench(t, nil)
	alice, bob := b.register(1), b.register(2)
	b.call("x", alice, bob, Active)
	alice.hangsUp("x")
	bob.hangsUp("x")
	alice.expects()
	bob.expects("Hangup Normal x")
	if v := b.View(b.now); v.Hangups != 1 || v.Refused["unknown_call"] != 1 {
		t.Errorf("%+v", v)
	}
}

func TestSignalsAreRationed(t *testing.T) {
	b := newBench(t, nil)
	alice := b.register(1)
	for range 100 {
		alice.says(&wire.Reflect{})
		alice.reads()
	}
	if n := b.refusals("rate"); n != 40 {
		t.Errorf("%d of 100 at once refused", n)
	}
	b.later(time.Second)
	alice.says(&wire.Ping{TimestampMS: 7})
	if got := alice.reads(); len(got) != 1 || got[0].(*wire.Pong).TimestampMS != 7 {
		t.Errorf("after a second: %v", got)
	}
}

func TestOperatorHangsUpAndDrops(t *testing.T) {
	b := newBench(t, nil)
	alice, bob := b.register(1), b.register(2)
	b.call("X", alice, bob, Active)
	if b.HangUp("none", "", b.now) || !b.HangUp("x", "an operator ended it", b.now) {
		t.Fatal("found the wrong call")
	}
	alice.expects("Hangup Normal X")
	bob.expects("Hangup Normal X")
	b.call("y", alice, bob, Ringing)
	if !b.Drop(bob.who.fp, "dropped", b.now) || b.Drop("nobody", "dropped", b.now) {
		t.Fatal("dropped the wrong one")
	}
	alice.expects("Hangup Normal y")
	if bob.closed != "dropped" || b.Registered(bob.who.fp) {
		t.Error("bob is still there")
	}
	bob.Leave(true, b.now)
}
