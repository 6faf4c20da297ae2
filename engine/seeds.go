package engine

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"signalbox/dht"
	"signalbox/dht/table"
	"signalbox/engine/config"
	"signalbox/engine/view"
)

// Pace of looking up the names of bootstrap peers.
const (
	nameLimit      = 5 * time.Second
	nameBackoff    = time.Second
	nameBackoffMax = time.Minute
)

// namedSeed is a bootstrap peer whose address is to be looked up.
type namedSeed struct {
	id   table.ID
	host string
	port uint16
}

// seeds reads the bootstrap peers: those with an address, and those with a
// name, which a node that starts does not wait for.
func (e *Engine) seeds() (out []dht.Seed, names []namedSeed, err error) {
	for _, s := range e.cfg.DHT.Join {
		id, addr, err := config.ParseJoin(s)
		if err != nil {
			return nil, nil, err
		}
		tid, err := table.ParseID(id)
		if err != nil {
			return nil, nil, fmt.Errorf("dht.join %q: %w", s, err)
		}
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, nil, fmt.Errorf("dht.join %q: %w", s, err)
		}
		n, err := net.LookupPort("udp", port)
		if err != nil {
			return nil, nil, fmt.Errorf("dht.join %q: %w", s, err)
		}
		if ip, err := netip.ParseAddr(host); err == nil {
			out = append(out, dht.Seed{ID: tid, Addr: netip.AddrPortFrom(ip.Unmap(), uint16(n))})
			continue
		}
		names = append(names, namedSeed{tid, host, uint16(n)})
	}
	return out, names, nil
}

// nameLoop looks up the names of bootstrap peers until each has an address. A
// name that has none is told of once, and stands in the verdict until it has.
func (e *Engine) nameLoop(ctx context.Context) {
	left, told, backoff := e.seedNames, map[string]bool{}, nameBackoff
	for len(left) > 0 {
		var missing []namedSeed
		var hosts []string
		for _, s := range left {
			addr, err := lookupName(ctx, s)
			if err == nil {
				err = e.dht.AddSeed(dht.Seed{ID: s.id, Addr: addr})
			}
			if err == nil {
				continue
			}
			if ctx.Err() != nil {
				return
			}
			missing, hosts = append(missing, s), append(hosts, s.host)
			if !told[s.host] {
				told[s.host] = true
				e.event(view.Event{Kind: "seed_unresolved", Severity: view.Warn, Subject: s.host, Message: "a bootstrap peer's name has no address, and is looked up again: " + err.Error()})
			}
		}
		left = missing
		e.nameless.Store(&hosts)
		if len(left) == 0 {
			return
		}
		t := time.NewTimer(backoff)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		backoff = min(2*backoff, nameBackoffMax)
	}
}

func lookupName(ctx context.Context, s namedSeed) (netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, nameLimit)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", s.host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	best := ips[0]
	for _, ip := range ips { // every network has IPv4
		if ip.Unmap().Is4() {
			best = ip
			break
		}
	}
	return netip.AddrPortFrom(best.Unmap(), s.port), nil
}

// seedCauses are what is wrong with the bootstrap peers' names.
func seedCauses(s *view.Snapshot) []view.Cause {
	var out []view.Cause
	for _, host := range s.DHT.Unresolved {
		out = append(out, view.Cause{
			Severity: view.Warn, Pane: "routing", Subject: "bootstrap peers", Message: clean(host) + " has no address: the name cannot be looked up",
			Remedy: "look at the name in --dht-join and at DNS; it is looked up again within a minute",
		})
	}
	return out
}
