package call

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// bench is a hub with clients that read what they are told only when asked to,
// and other relays that note what they are sent. Time is a number.
type bench struct {
	*Hub
	t      *testing.T
	now    int64
	events []view.Event
	remote *relays
}

// relays is every other relay.
type relays struct {
	routes map[string][]string
	down   map[string]bool
	got    map[string][]wire.Signal
}

func (r *relays) Route(fp string) []string { return r.routes[fp] }

func (r *relays) Forward(relay string, s wire.Signal) error {
	if r.down[relay] {
		return errors.New("down")
	}
	r.got[relay] = append(r.got[relay], s)
	return nil
}

func (r *relays) take(relay string) []wire.Signal {
	got := r.got[relay]
	delete(r.got, relay)
	return got
}

func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, now: int64(time.Hour)}
	cfg := Config{Build: "test", Event: func(e view.Event) { b.events = append(b.events, e) }}
	if change != nil {
		change(&cfg)
	}
	b.Hub = New(cfg, NewPresence())
	return b
}

func (b *bench) away(routes map[string][]string) *relays {
	b.remote = &relays{routes: routes, down: map[string]bool{}, got: map[string][]wire.Signal{}}
	b.SetRemote(b.remote)
	return b.remote
}

func (b *bench) later(d time.Duration) {
	b.now += int64(d)
	b.Tick(b.now)
}

// person is one identity.
type person struct {
	key ed25519.PrivateKey
	pub [32]byte
	fp  string
}

func somebody(n int) person {
	var seed [32]byte
	copy(seed[:], fmt.Sprint("person ", n))
	p := person{key: wire.IdentityKey(seed)}
	copy(p.pub[:], p.key.Public().(ed25519.PublicKey))
	p.fp = wire.Fingerprint(p.pub[:])
	return p
}

// phone is one connection of somebody.
type phone struct {
	*Client
	b      *bench
	who    person
	closed string
}

func (b *bench) try(p person, addr string, signature []byte) (*phone, error) {
	ph := &phone{b: b, who: p}
	from := netip.MustParseAddrPort(addr)
	c, err := b.Register(Registration{
		Message: &wire.RegisterPresence{IdentityPub: p.pub, Signature: signature}, Remote: func() netip.AddrPort { return from },
		RelayAddr: func() string { return "[2001:db8::1]:4433" }, Close: func(r string) { ph.closed = r },
	}, b.now)
	ph.Client = c
	return ph, err
}

// register lets somebody in who has read the acknowledgement.
func (b *bench) register(n int) *phone {
	b.t.Helper()
	ph, err := b.try(somebody(n), fmt.Sprintf("192.0.2.%d:1000", n%250+1), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if got := ph.reads(); len(got) != 1 || got[0].Variant() != "RegisterPresenceAck" {
		b.t.Fatalf("the first thing told is %v", got)
	}
	return ph
}

// reads takes and reads everything the client is told.
func (p *phone) reads() []wire.Signal {
	p.b.t.Helper()
	var out []wire.Signal
	for {
		f, ok := p.Next()
		if !ok {
			return out
		}
		s, err := wire.ReadFrame(bytes.NewReader(f.Bytes), 0)
		if err != nil {
			p.b.t.Fatal(err)
		}
		out = append(out, s)
		p.Told(f, p.b.now)
	}
}

func (p *phone) says(s wire.Signal) { p.Handle(s, p.b.now) }

func (p *phone) offers(id string, to person) {
	addr := "192.0.2.9:7"
	p.says(&wire.DirectCallOffer{
		CallerFingerprint: "somebody else", TargetFingerprint: to.fp, CallID: id, CallerReflexiveAddr: &addr, CallerLocalAddrs: []string{"10.0.0.9:7"},
	})
}

func (p *phone) accepts(id string) {
	addr := "192.0.2.8:8"
	p.says(&wire.DirectCallAnswer{CallID: id, AcceptMode: wire.AcceptTrusted, CalleeReflexiveAddr: &addr})
}

func (p *phone) rejects(id string) {
	p.says(&wire.DirectCallAnswer{CallID: id, AcceptMode: wire.AcceptReject})
}

func (p *phone) hangsUp(id string) { p.says(&wire.Hangup{CallID: &id}) }

// expects reads and compares by text: "CallRinging", "Hangup Busy x".
func (p *phone) expects(want ...string) {
	p.b.t.Helper()
	same(p.b.t, p.Name(), p.reads(), want)
}

func same(t *testing.T, who string, got []wire.Signal, want []string) {
	t.Helper()
	var texts []string
	for _, s := range got {
		texts = append(texts, text(s))
	}
	if fmt.Sprint(texts) != fmt.Sprint(want) {
		t.Fatalf("%s was told %q, want %q", who, texts, want)
	}
}

func text(s wire.Signal) string {
	switch m := s.(type) {
	case *wire.Hangup:
		id := "all"
		if m.CallID != nil {
			id = *m.CallID
		}
		return fmt.Sprint("Hangup ", m.Reason, " ", id)
	case *wire.DirectCallAnswer:
		return fmt.Sprint("Answer ", m.AcceptMode, " ", m.CallID)
	case *wire.DirectCallOffer:
		return "Offer " + m.CallID
	case *wire.CallSetup:
		return "Setup " + m.CallID
	case *wire.CallRinging:
		return "Ringing " + m.CallID
	}
	return s.Variant()
}

// state is the state of a call as it is shown; empty: there is none.
func (b *bench) state(id string) string {
	for _, c := range b.View(b.now).CallList {
		if c.ID == id {
			return c.State
		}
	}
	return ""
}

func (b *bench) refusals(cause string) uint64 { return b.View(b.now).Refused[cause] }

func (b *bench) event(kind string) int {
	n := 0
	for _, e := range b.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// call brings a call between two phones to a state.
func (b *bench) call(id string, from, to *phone, st State) {
	b.t.Helper()
	from.offers(id, to.who)
	if st >= Ringing {
		to.expects("Offer " + id)
		from.expects("Ringing " + id)
	}
	if st == Active {
		to.accepts(id)
		from.expects("Answer AcceptTrusted "+id, "Setup "+id)
		to.expects("Setup " + id)
	}
	if got := b.state(id); got != st.String() {
		b.t.Fatalf("the call is %s, not %s", got, st)
	}
}
