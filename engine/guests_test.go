package engine_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"signalbox/engine"
	"signalbox/engine/bench"
	"signalbox/engine/config"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// visitor is another relay's end of a link, by hand.
type visitor struct {
	t    *testing.T
	fp   string
	c    *quicnet.Conn
	said chan wire.Signal
}

// visitorAt links as the site's relay, which proves itself.
func visitorAt(t *testing.T, e *engine.Engine, s site) *visitor {
	t.Helper()
	cert, err := s.keys.TLSCertificate()
	must(t, err)
	v := &visitor{t, s.fp, claim(t, e, socket(t, quicnet.ClientConfig{}), quicnet.DialConfig{Cert: cert}, s.fp), make(chan wire.Signal, 1024)}
	go func() {
		defer close(v.said)
		for {
			st, err := v.c.AcceptStream(t.Context())
			if err != nil {
				return
			}
			m, err := wire.ReadFrame(st, wire.HardMaxFrame)
			st.CancelRead(0)
			st.CancelWrite(0)
			if err == nil {
				v.said <- m
			}
		}
	}()
	return v
}

func (v *visitor) tell(s wire.Signal) {
	v.t.Helper()
	for {
		st, err := v.c.OpenStream()
		if errors.Is(err, quicnet.ErrNoCredit) {
			<-time.After(time.Millisecond)
			continue
		}
		must(v.t, err)
		st.CancelRead(0)
		must(v.t, errors.Join(wire.WriteFrame(st, s), st.Close()))
		return
	}
}

// hears is what the relay has said of calls until it has answered a ping, and so
// has done all that it was told before.
func (v *visitor) hears() (calls []wire.Signal) {
	v.t.Helper()
	const mark = 1 << 40
	v.tell(&wire.Ping{TimestampMS: mark})
	ctx, cancel := context.WithTimeout(v.t.Context(), patience)
	defer cancel()
	for {
		select {
		case m, ok := <-v.said:
			switch m := m.(type) {
			case *wire.FederatedSignalForward:
				calls = append(calls, m.Inner)
			case *wire.Pong:
				if m.TimestampMS == mark {
					return calls
				}
			}
			if !ok {
				v.t.Fatal("the link has ended")
			}
		case <-ctx.Done():
			v.t.Fatal("no answer to a ping")
		}
	}
}

func open(c *config.Config) { c.Federation.Discover = config.DirectoryOn }

// TestWhatAGuestMayDo: a relay that nobody has named is not believed who is where,
// is told of nobody's calls, and makes four of our clients ring at a time.
func TestWhatAGuestMayDo(t *testing.T) {
	ss := sites(t, 2)
	e := ss[0].open(t, open)
	v := visitorAt(t, e, ss[1])
	until(t, e, "a guest", func(s *view.Snapshot) bool { return len(s.Links) == 1 && s.Links[0].State == "up" && s.Links[0].Found })
	box := "v=1"
	v.tell(&wire.FederationHello{TLSFingerprint: v.fp, Signalbox: &box})
	v.tell(&wire.PresenceUpdate{Fingerprints: []string{"far"}, RelayAddr: "192.0.2.1:4433"})
	v.hears()
	if l, ok := e.Presence().Where("far"); ok {
		t.Errorf("it is believed: %+v", l)
	}
	alice := phone(t, e, someone("Alice"))
	must(t, alice.Call("far", "x"))
	for ended := false; !ended; {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		s, err := alice.Next(ctx)
		cancel()
		must(t, err)
		_, ended = s.(*wire.Hangup)
	}
	if calls := v.hears(); len(calls) != 0 {
		t.Errorf("it is asked: %T %+v", calls[0], calls[0])
	}
	var ps []*bench.Phone
	for i := range 5 {
		ps = append(ps, phone(t, e, someone(fmt.Sprint("Bob", i))))
		v.tell(&wire.FederatedSignalForward{OriginRelayFP: v.fp, Inner: &wire.DirectCallOffer{
			CallerFingerprint: fmt.Sprint("caller ", i), TargetFingerprint: ps[i].Fingerprint(), CallID: fmt.Sprint("c", i),
			SupportedProfiles: []wire.Profile{}, Signature: []byte{},
		}})
	}
	for i, p := range ps[:4] {
		if o := hears[*wire.DirectCallOffer](t, p); o.CallID != fmt.Sprint("c", i) {
			t.Errorf("%+v", o)
		}
	}
	refused := 0
	for _, s := range v.hears() {
		if h, ok := s.(*wire.Hangup); ok && *h.CallID == "c4" {
			refused++
		}
	}
	if n := e.Calls().View(0).Refused["full"]; refused != 1 || n != 1 {
		t.Errorf("the fifth: refused %d times, counted %d", refused, n)
	}
}

// TestGuestsAreFew: the ninth is sent away.
func TestGuestsAreFew(t *testing.T) {
	ss := sites(t, 10)
	e := ss[0].open(t, open)
	for _, s := range ss[1:9] {
		visitorAt(t, e, s)
	}
	up := func(s *view.Snapshot) (n int) {
		for _, l := range s.Links {
			if l.State == "up" && l.Found {
				n++
			}
		}
		return n
	}
	until(t, e, "eight guests", func(s *view.Snapshot) bool { return up(s) == 8 })
	visitorAt(t, e, ss[9])
	s := until(t, e, "the ninth is refused", func(s *view.Snapshot) bool { return len(s.Refusals) == 1 && s.Refusals[0].Fingerprint == ss[9].fp })
	if up(s) != 8 {
		t.Errorf("%d guests", up(s))
	}
}

// TestARelaysSignalsAreReadAtARate: 200 a second after the first 200, so that 300
// take half a second at least, on however fast a machine.
func TestARelaysSignalsAreReadAtARate(t *testing.T) {
	ss := sites(t, 2)
	e := ss[0].open(t, open)
	v := visitorAt(t, e, ss[1])
	v.hears()
	began := time.Now()
	for i := range 310 {
		v.tell(&wire.Ping{TimestampMS: uint64(i)})
	}
	v.hears()
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("310 signals were read in %v", took)
	}
}
