package call

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"signalbox/relay/wire"
)

// TestBooksAgree has a few people and two other relays do anything in any
// order, and checks the hub's books after every step.
func TestBooksAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t, func(c *Config) {
			c.Seek = func(fp, _ string) bool { return fp == "sought" }
		})
		b.away(map[string][]string{"at A": {"A"}, "at A or B": {"A", "B"}})
		var phones []*phone
		ids := []string{"c1", "C1", "c2", "c3", "c4"}
		for range rapid.IntRange(1, 120).Draw(rt, "steps") {
			who := rapid.IntRange(0, 4).Draw(rt, "who")
			id := rapid.SampledFrom(ids).Draw(rt, "id")
			if who == 4 || len(phones) == 0 {
				anything(rt, b, &phones, id)
			} else {
				says(rt, b, phones[rapid.IntRange(0, len(phones)-1).Draw(rt, "phone")], id)
			}
			agree(rt, b)
		}
		for _, p := range phones {
			p.Leave(true, b.now)
		}
		b.later(2 * time.Minute)
		b.remote.down["A"], b.remote.down["B"] = true, true
		agree(rt, b)
		for key, k := range b.calls {
			rt.Fatalf("call %s outlives everybody: %+v", key, k)
		}
		if len(b.parties) != 0 || len(b.clients) != 0 || b.conns != 0 {
			rt.Fatalf("left behind: %d parties, %d clients, %d connections", len(b.parties), len(b.clients), b.conns)
		}
	})
}

// anything is what others than a client's words bring about.
func anything(rt *rapid.T, b *bench, phones *[]*phone, id string) {
	relay := rapid.SampledFrom([]string{"A", "B"}).Draw(rt, "relay")
	pick := func() *phone {
		if len(*phones) == 0 {
			return nil
		}
		return (*phones)[rapid.IntRange(0, len(*phones)-1).Draw(rt, "which")]
	}
	switch rapid.IntRange(0, 9).Draw(rt, "what") {
	case 0, 1:
		n := rapid.IntRange(0, 3).Draw(rt, "person")
		if p, err := b.try(somebody(n), fmt.Sprintf("192.0.2.%d:9", n+1), nil); err == nil {
			*phones = append(*phones, p)
		}
	case 2:
		if p := pick(); p != nil {
			p.Leave(rapid.Bool().Draw(rt, "clean"), b.now)
		}
	case 3:
		b.later(time.Duration(rapid.IntRange(0, 40).Draw(rt, "s")) * time.Second)
	case 4:
		b.RelayDown(relay, b.now)
	case 5:
		b.Found(id, rapid.SampledFrom([][]string{nil, {"B"}}).Draw(rt, "found"), b.now)
	case 6:
		to := somebody(rapid.IntRange(0, 3).Draw(rt, "to")).fp
		b.FromRelay(relay, &wire.DirectCallOffer{CallID: id, CallerFingerprint: "theirs", TargetFingerprint: to}, b.now)
	case 7:
		b.FromRelay(relay, &wire.DirectCallAnswer{CallID: id, AcceptMode: wire.AcceptMode(rapid.IntRange(0, 2).Draw(rt, "mode"))}, b.now)
	case 8:
		b.FromRelay(relay, &wire.Hangup{CallID: &id}, b.now)
	case 9:
		b.remote.down[relay] = !b.remote.down[relay]
		b.SetDraining(rapid.IntRange(0, 9).Draw(rt, "drain") == 0, b.now)
	}
}

// says has a client say or do something.
func says(rt *rapid.T, b *bench, p *phone, id string) {
	if p.gone {
		return
	}
	switch rapid.IntRange(0, 6).Draw(rt, "verb") {
	case 0:
		to := rapid.SampledFrom([]string{somebody(0).fp, somebody(1).fp, somebody(2).fp, "at A", "at A or B", "nowhere", "sought"}).Draw(rt, "to")
		p.offers(id, person{fp: to})
	case 1:
		p.accepts(id)
	case 2:
		p.rejects(id)
	case 3:
		p.hangsUp(id)
	case 4:
		p.says(&wire.Hangup{})
	case 5:
		p.reads()
	case 6:
		if f, ok := p.Next(); ok {
			switch rapid.IntRange(0, 1).Draw(rt, "fate") {
			case 0:
				p.Unread(f, b.now)
			case 1:
				p.Failed(f, b.now)
			}
		}
	}
}

// agree checks what must hold of the books at any moment.
func agree(rt *rapid.T, b *bench) {
	conns := b.anonymous
	for fp, cs := range b.clients {
		conns += len(cs)
		for _, c := range cs {
			if c.gone || c.fp != fp {
				rt.Fatalf("%s is registered as %s, gone %v", c.fp, fp, c.gone)
			}
		}
	}
	if conns != b.conns {
		rt.Fatalf("%d connections, %d counted", conns, b.conns)
	}
	for key, k := range b.calls {
		if k.key != key {
			rt.Fatalf("call %s is booked as %s", k.key, key)
		}
		here := 0
		for _, p := range []*party{&k.caller, &k.callee} {
			if p.relay != "" {
				continue
			}
			here++
			if b.parties[p.fp][key] != k {
				rt.Fatalf("call %s is not booked for %s", key, p.fp)
			}
			if len(b.clients[p.fp]) == 0 && p.lost == 0 && !k.seeking {
				rt.Fatalf("call %s (%s) has a party without a connection: %+v", key, k.state, p)
			}
		}
		if here == 0 {
			rt.Fatalf("call %s is nobody's here", key)
		}
	}
	for fp, m := range b.parties {
		if len(m) == 0 {
			rt.Fatalf("an empty book for %s", fp)
		}
		for key, k := range m {
			if b.calls[key] != k {
				rt.Fatalf("%s has a call %s that is gone", fp, key)
			}
		}
	}
}
