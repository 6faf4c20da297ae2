package relay

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"signalbox/engine/ledger"
	"signalbox/engine/view"
)

// maxRules bounds what operators can put on addresses.
const maxRules = 1024

// throttleBurst is how far a throttled source may run ahead of its rate, ns.
const throttleBurst = int64(250 * time.Millisecond)

// The errors of the levers on sources.
var (
	ErrPrefix   = errors.New("not an address prefix")
	ErrRate     = errors.New("not a rate")
	ErrNoSource = errors.New("no restriction on that prefix")
	ErrSources  = errors.New("there are as many restrictions as there may be")
)

// rule is what an operator has put on an address prefix.
type rule struct {
	// Constant after it is made.
	prefix    netip.Prefix // masked, IPv4 unmapped
	pps       float64      // 0: banned
	gap       int64        // ns between packets at pps
	until     time.Time    // zero: until it is cleared
	untilMono int64
	author    string
	reason    string

	// Any goroutine (atomic).
	ahead   atomic.Int64 // when the rate has caught up with what was admitted
	dropped atomic.Uint64
}

func (ru *rule) expired(now int64) bool { return !ru.until.IsZero() && now >= ru.untilMono }

func (ru *rule) bans(now int64) bool { return ru.pps == 0 && !ru.expired(now) }

// admit spends one packet of the rule's rate, shared by all readers whose
// clients it covers.
func (ru *rule) admit(now int64) (ledger.Reason, bool) {
	switch {
	case ru.expired(now):
		return 0, true
	case ru.pps == 0:
		ru.dropped.Add(1)
		return ledger.SourceBanned, false
	}
	for {
		old := ru.ahead.Load()
		next := max(old, now) + ru.gap
		if next-now > max(throttleBurst, ru.gap) {
			ru.dropped.Add(1)
			return ledger.SourceThrottled, false
		}
		if ru.ahead.CompareAndSwap(old, next) {
			return 0, true
		}
	}
}

// match finds the rule for an address: a ban if any covers it, else the
// throttle of the longest prefix.
func match(rules *[]*rule, addr netip.Addr, now int64) *rule {
	if rules == nil {
		return nil
	}
	var best *rule
	for _, ru := range *rules {
		if ru.expired(now) || !ru.prefix.Contains(addr) {
			continue
		}
		if ru.pps == 0 {
			return ru
		}
		if best == nil || ru.prefix.Bits() > best.prefix.Bits() {
			best = ru
		}
	}
	return best
}

// Gate applies the restrictions to what comes from one address otherwise than
// from a participant. One goroutine at a time.
type Gate struct {
	// Constant after Relay.Gate.
	relay *Relay
	addr  netip.Addr

	// Owned by the caller of Admit.
	seen *[]*rule // the list that rule is from
	rule *rule
}

// Gate makes the gate of an address.
func (r *Relay) Gate(addr netip.Addr) *Gate { return &Gate{relay: r, addr: addr.Unmap()} }

// Admit decides whether a message may go on; if not, why. The rate of a
// throttle is shared with the participants it covers.
func (g *Gate) Admit(now int64) (ledger.Reason, bool) {
	if rules := g.relay.rules.Load(); rules != g.seen {
		g.seen, g.rule = rules, match(rules, g.addr, now)
	}
	if g.rule == nil {
		return 0, true
	}
	return g.rule.admit(now)
}

// Banned says whether the address may not connect.
func (r *Relay) Banned(addr netip.Addr) bool {
	rules := r.rules.Load()
	if rules == nil {
		return false
	}
	now := r.cfg.Now()
	ru := match(rules, addr.Unmap(), now)
	return ru != nil && ru.bans(now)
}

// Ban drops every packet from the prefix until ClearSource. It takes the place
// of a throttle on the same prefix.
func (r *Relay) Ban(prefix netip.Prefix, author, reason string) error {
	return r.BanUntil(prefix, time.Time{}, author, reason)
}

// BanUntil is Ban that ends by itself; the zero time never does.
func (r *Relay) BanUntil(prefix netip.Prefix, until time.Time, author, reason string) error {
	return r.restrict(&rule{prefix: prefix, until: until, author: author, reason: reason})
}

// Throttle admits pps packets a second from the whole prefix together, until
// ClearSource. It takes the place of a ban on the same prefix.
func (r *Relay) Throttle(prefix netip.Prefix, pps float64, author, reason string) error {
	return r.ThrottleUntil(prefix, pps, time.Time{}, author, reason)
}

// ThrottleUntil is Throttle that ends by itself; the zero time never does.
func (r *Relay) ThrottleUntil(prefix netip.Prefix, pps float64, until time.Time, author, reason string) error {
	if !(pps >= 1e-3 && pps <= 1e9) {
		return ErrRate
	}
	return r.restrict(&rule{prefix: prefix, pps: pps, gap: int64(float64(second) / pps), until: until, author: author, reason: reason})
}

func (r *Relay) restrict(ru *rule) error {
	p, err := canonical(ru.prefix)
	if err != nil {
		return err
	}
	ru.prefix = p
	if !ru.until.IsZero() {
		ru.untilMono = r.cfg.Now() + int64(time.Until(ru.until))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.editRulesLocked(func(rules []*rule) ([]*rule, error) {
		rules = slices.DeleteFunc(rules, func(o *rule) bool { return o.prefix == p })
		if len(rules) >= maxRules {
			return nil, ErrSources
		}
		return append(rules, ru), nil
	})
}

// ClearSource lifts the restriction on exactly this prefix.
func (r *Relay) ClearSource(prefix netip.Prefix) error {
	p, err := canonical(prefix)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.editRulesLocked(func(rules []*rule) ([]*rule, error) {
		n := len(rules)
		if rules = slices.DeleteFunc(rules, func(o *rule) bool { return o.prefix == p }); len(rules) == n {
			return nil, ErrNoSource
		}
		return rules, nil
	})
}

// Sources are the restrictions in force, by prefix. Those that have run out
// are removed.
func (r *Relay) Sources() []view.Source {
	out := []view.Source{}
	rules := r.rules.Load()
	if rules == nil {
		return out
	}
	now := r.cfg.Now()
	expired := func(ru *rule) bool { return ru.expired(now) }
	if slices.ContainsFunc(*rules, expired) {
		r.mu.Lock()
		// The edit drops what has run out; nothing else is to be done.
		if err := r.editRulesLocked(func(rules []*rule) ([]*rule, error) { return rules, nil }); err == nil {
			rules = r.rules.Load()
		}
		r.mu.Unlock()
	}
	if rules == nil {
		return out
	}
	for _, ru := range *rules {
		s := view.Source{
			Prefix: ru.prefix.String(), Kind: "banned", RatePPS: ru.pps, Until: ru.until,
			Dropped: ru.dropped.Load(), Author: ru.author, Reason: ru.reason,
		}
		if ru.pps > 0 {
			s.Kind = "throttled"
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b view.Source) int { return cmp.Compare(a.Prefix, b.Prefix) })
	return out
}

// editRulesLocked replaces the list by what edit makes of a copy without the
// expired ones, and gives every participant its rule anew. mu is held.
func (r *Relay) editRulesLocked(edit func([]*rule) ([]*rule, error)) error {
	now := r.cfg.Now()
	var rules []*rule
	if old := r.rules.Load(); old != nil {
		rules = slices.DeleteFunc(slices.Clone(*old), func(ru *rule) bool { return ru.expired(now) })
	}
	rules, err := edit(rules)
	if err != nil {
		return err
	}
	next := &rules
	if len(rules) == 0 {
		next = nil
	}
	r.rules.Store(next)
	for _, p := range r.live {
		if ru := match(next, p.addr, now); ru != p.rule.Load() {
			p.rule.Store(ru)
		}
	}
	return nil
}

// canonical masks a prefix and unmaps IPv4 in IPv6.
func canonical(p netip.Prefix) (netip.Prefix, error) {
	if !p.IsValid() {
		return p, ErrPrefix
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return p, ErrPrefix
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}
