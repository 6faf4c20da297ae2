package dht

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// publishing is a node and the link of a peer that tells where it is.
type publishing struct {
	*testing.T
	n    *Node
	l    *fakeLink
	gens uint64
}

// says publishes over the link and checks the answer.
func (p *publishing) says(counter uint64, want wire.Result, addrs ...table.Addr) {
	p.Helper()
	time.Sleep(time.Minute) // the rate allowed
	if m := publishOver(p.T, p.n, p.l, counter, addrs...); m.Result != want {
		p.Errorf("counter %d: %s, want %s", counter, m.Result, want)
	}
}

// knows checks the contact's list.
func (p *publishing) knows(want ...table.Addr) {
	p.Helper()
	if c := p.n.Table().Get(p.l.peer); c == nil || !slices.Equal(c.Addrs(), want) {
		p.Errorf("%v, want %v", c.Addrs(), want)
	}
}

// reconnects makes a newer link, the older one being gone.
func (p *publishing) reconnects() {
	p.n.Disconnected(p.l)
	p.gens++
	p.l = at(1, p.gens, "1.1.1.1:1")
	p.n.Connected(p.l)
}

// Spec dht 2.9: what a peer says of itself, under the names it has there.
// Departures are marked; decision 13 says why.
func TestCasesPublished(t *testing.T) {
	seen := unverified("1.1.1.1:1")
	seven, six, nowhere := unverified("1.1.1.1:7"), unverified("[2001:db8::1]:7"), unverified("0.0.0.0:7")
	loopback, noPort := unverified("127.0.0.1:7"), unverified("1.1.1.1:0")
	relay := table.Addr{AddrPort: seven.AddrPort, Type: table.Relay}
	for _, c := range []struct {
		name string
		run  func(p *publishing)
	}{
		{"replace_addresses_overwrites_existing_list", func(p *publishing) {
			p.says(1, wire.ResultOK, seven, six)
			p.knows(seven, six)
			p.says(2, wire.ResultOK, seven)
			p.knows(seven)
		}},
		{"replace_addresses_missing_peer_returns_false (departure: who is no contact is answered; the link proves it, and nothing is stored)", func(p *publishing) {
			if err := p.n.Evict(p.l.peer); err != nil {
				p.Fatal(err)
			}
			p.says(1, wire.ResultOK, seven)
			if p.n.Table().Len() != 0 {
				p.Error("it became a contact by saying so")
			}
		}},
		{"replace_addresses_collapses_under_per_ip_family_cap", func(p *publishing) {
			p.says(1, wire.ResultOK, seven, seven, unverified("1.1.1.1:8"), unverified("1.1.1.1:9"))
			if got := p.n.Table().Get(p.l.peer).Addrs(); len(got) != 1 {
				p.Error(got)
			}
		}},
		{"replace_addresses_seq_monotonic (departure: the order is that of the link, then of a counter on it)", func(p *publishing) {
			p.says(10, wire.ResultOK, seven)
			p.says(10, wire.ResultOld, six)
			p.says(5, wire.ResultOld, six)
			p.knows(seven)
			p.says(20, wire.ResultOK, six)
			p.knows(six, seen)
		}},
		{"replace_addresses_rejects_zero_publish_seq", func(p *publishing) {
			p.says(0, wire.ResultOld, seven)
			p.knows(seen)
			p.says(1, wire.ResultOK, seven)
		}},
		{"remove_node_clears_publish_seq (departure: what a lost link said is succeeded by anything)", func(p *publishing) {
			p.says(100, wire.ResultOK, seven)
			p.reconnects()
			p.says(50, wire.ResultOK, unverified("1.1.1.1:8"))
			p.knows(unverified("1.1.1.1:8"))
		}},
		{"replace_addresses_applies_empty_set_after_filtering_all_entries (departure: nothing usable changes nothing)", func(p *publishing) {
			p.says(1, wire.ResultBadAddress, loopback)
			p.knows(seen)
		}},
		{"replace_node_addresses_preserves_state_when_filter_empties_input", func(p *publishing) {
			p.says(1, wire.ResultOK, seven)
			p.says(2, wire.ResultBadAddress, nowhere, noPort)
			p.knows(seven)
		}},
		{"replace_node_addresses_strips_wildcards_keeps_routable", func(p *publishing) {
			p.says(1, wire.ResultOK, nowhere, seven, noPort)
			p.knows(seven)
		}},
		{"replace_node_addresses_strips_wildcards_with_relay_and_direct (departure: a relay's address is another peer's, and nobody's to publish)", func(p *publishing) {
			p.says(1, wire.ResultOK, nowhere, relay, table.Addr{AddrPort: seven.AddrPort, Type: table.Direct})
			p.knows(seven)
			p.says(2, wire.ResultBadAddress, relay)
			p.knows(seven)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &publishing{T: t, n: quiet(t), gens: 1}
				p.l = at(1, 1, "1.1.1.1:1")
				p.n.Connected(p.l)
				p.knows(seen)
				c.run(p)
			})
		})
	}
}
