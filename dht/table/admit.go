package table

import (
	"cmp"
	"net/netip"
	"slices"
)

// Result says how an admission ended. It is the one enumeration: what can
// happen to a candidate is listed, counted and shown.
type Result uint8

// How an admission can end (spec dht 1.6).
const (
	Added       Result = iota // a new contact
	Updated                   // already a contact: proof of life, addresses merged
	Swapped                   // a new contact in the place of others
	StaleNeeded               // nothing changed: ask the stale ones first, then Readmit
	IsSelf                    // the candidate is this node
	IsBlocked                 // an operator has blocked it
	NoAddress                 // it came without an address
	Unspecified               // no address of it can name a node
	Loopback                  // it has loopback addresses only, which are not allowed
	IPLimit                   // too many contacts share its IP already
	SubnetLimit               // too many contacts share its /24 or /48 already
	Full                      // its bucket is full of live contacts
	NumResults
)

var resultNames = [NumResults]string{
	"added", "updated", "swapped", "stale_needed", "self", "blocked", "no_address",
	"unspecified", "loopback", "ip_limit", "subnet_limit", "full",
}

// String is the name used in the snapshot and in events.
func (r Result) String() string {
	if r < NumResults {
		return resultNames[r]
	}
	return "unknown"
}

// In reports whether the candidate is a contact now.
func (r Result) In() bool { return r == Added || r == Updated || r == Swapped }

// Admission is the outcome of Add.
type Admission struct {
	Result  Result
	Contact *Contact   // the contact when Result.In()
	Removed []*Contact // who had to leave for it (Swapped)
	Stale   []*Contact // whom to ask whether they are alive (StaleNeeded), longest silent first
}

// Add offers id, authenticated by its connection, for admission, with the
// addresses it is known under. Nothing learned from third parties may be
// offered (spec dht 3.5). Trust never bars entry; it decides who yields.
func (t *Table) Add(now int64, id ID, addrs []Addr, trust Trust) Admission {
	return t.add(now, id, addrs, trust, true)
}

// Readmit is Add after the stale contacts have been asked: it does not name
// any again.
func (t *Table) Readmit(now int64, id ID, addrs []Addr, trust Trust) Admission {
	return t.add(now, id, addrs, trust, false)
}

func (t *Table) add(now int64, id ID, addrs []Addr, trust Trust, askStale bool) Admission {
	list, bad := t.clean(addrs)
	t.mu.Lock()
	defer t.mu.Unlock()
	adm := t.decide(now, id, list, bad, trust, askStale)
	t.results[adm.Result].Add(1)
	return adm
}

// clean normalises addrs, skipping the unusable ones (a good address is not
// refused because of a bad one beside it), and folds them into one list. bad
// says why the list is empty, when it is.
func (t *Table) clean(addrs []Addr) (list []Addr, bad Result) {
	bad = NoAddress
	var buf [MaxAddrs + 1]Addr
	for _, x := range addrs {
		a, ok := normalise(x.AddrPort, x.Type, t.cfg.AllowLoopback)
		switch {
		case !ok:
			bad = Unspecified
		case !t.cfg.AllowLoopback && a.AddrPort.Addr().IsLoopback():
			bad = Loopback
		default:
			if out, change := mergeAddr(buf[:], list, a); change {
				list = slices.Clone(out)
			}
		}
	}
	return list, bad
}

func (t *Table) decide(now int64, id ID, list []Addr, bad Result, trust Trust, askStale bool) Admission {
	switch {
	case id == t.self:
		return Admission{Result: IsSelf}
	case t.Blocked(id):
		return Admission{Result: IsBlocked}
	case len(list) == 0:
		return Admission{Result: bad}
	}
	s := t.snap.Load()
	if c := s.find(&t.self, &id); c != nil {
		c.alive(now)
		t.clock(c.bucket).stamp(now)
		for _, l := range slices.Backward(list) { // last first: the head of list ends up at the head
			t.mergeLocked(s, c, l)
		}
		return Admission{Result: Updated, Contact: c}
	}
	p := plan{t: t, s: s, now: now, id: id, bucket: BucketIndex(&t.self, &id)}
	if r := p.make(list, trust.Score(now)); !r.In() {
		if askStale && len(p.stale) > 0 {
			slices.SortStableFunc(p.stale, func(a, b *Contact) int { return cmp.Compare(a.LastSeen(), b.LastSeen()) })
			return Admission{Result: StaleNeeded, Stale: p.stale}
		}
		return Admission{Result: r}
	}
	c := &Contact{id: id, bucket: p.bucket, since: now}
	c.addrs.Store(newAddrList(list))
	c.alive(now)
	c.SetTrust(trust)
	t.snap.Store(s.with(c, p.victims...))
	t.clock(c.bucket).stamp(now)
	t.removed[RemovedSwap].Add(uint64(len(p.victims)))
	r := Added
	if len(p.victims) > 0 {
		r = Swapped
	}
	return Admission{Result: r, Contact: c, Removed: p.victims}
}

// plan is the admission of one new candidate under way: nothing is changed
// until the whole of it is known to work out.
type plan struct {
	t       *Table
	s       *snapshot
	now     int64
	id      ID
	bucket  int
	victims []*Contact // who would have to leave
	stale   []*Contact // who stands in the way and has been silent for long
}

func (p *plan) make(list []Addr, trust float64) Result {
	for _, ip := range p.limited(list) {
		if r := p.clear(p.s.contacts(p.bucket), ip); r != Added {
			return r
		}
	}
	if group, in := p.closeGroup(); in {
		for _, ip := range p.limited(list) {
			if r := p.clear(group, ip); r != Added {
				return r
			}
		}
	}
	return p.room(trust)
}

// limited lists the distinct IPs that count for diversity, in list order.
func (p *plan) limited(list []Addr) []netip.Addr {
	var ips []netip.Addr
	for _, a := range list {
		if ip := a.AddrPort.Addr(); !ip.IsLoopback() && !slices.Contains(ips, ip) {
			ips = append(ips, ip)
		}
	}
	return ips
}

// closeGroup returns the k contacts closest to self that would stay, without
// the one the candidate displaces, and whether the candidate belongs to them.
func (p *plan) closeGroup() ([]*Contact, bool) {
	t := p.t
	near := p.s.closest(nil, &t.self, &t.self, t.cfg.K+len(p.victims))
	near = slices.DeleteFunc(near, p.leaves)
	near = near[:min(len(near), t.cfg.K)]
	if len(near) < t.cfg.K {
		return near, true
	}
	last := near[len(near)-1]
	if Closer(&t.self, &p.id, &last.id) > 0 {
		return nil, false
	}
	return near[:len(near)-1], true
}

func (p *plan) leaves(c *Contact) bool { return slices.Contains(p.victims, c) }

// clear makes room in scope for one more contact with ip, narrow tier first
// (spec dht 1.7): while a tier is at its limit, the farthest from self of those
// members goes that are farther than the candidate and not protected by trust
// and life. Each stands by its own merit: protection earned by one shields no
// other (docs/decisions). Added means that ip fits.
func (p *plan) clear(scope []*Contact, ip netip.Addr) Result {
	t := p.t
	net := Subnet(ip)
	tiers := [...]struct {
		limit  int
		match  func(netip.Addr) bool
		result Result
	}{
		{t.cfg.MaxPerIP, func(a netip.Addr) bool { return a == ip }, IPLimit},
		{t.cfg.MaxPerSubnet, net.Contains, SubnetLimit},
	}
	for _, tier := range tiers {
		for {
			n, yields := p.count(scope, tier.match)
			if n < tier.limit {
				break
			}
			if yields == nil {
				p.blame(scope, tier.match)
				return tier.result
			}
			p.victims = append(p.victims, yields)
		}
	}
	return Added
}

// count returns how many staying members of scope have a matching address, and
// which of them would yield to the candidate first, nil when none would.
func (p *plan) count(scope []*Contact, match func(netip.Addr) bool) (n int, yields *Contact) {
	self := &p.t.self
	for _, c := range scope {
		if p.leaves(c) || !c.matches(match) {
			continue
		}
		n++
		farther := Closer(self, &c.id, &p.id) > 0 && (yields == nil || Closer(self, &c.id, &yields.id) > 0)
		if farther && (c.Trust().Score(p.now) < ProtectionThreshold || c.Stale(p.now)) {
			yields = c
		}
	}
	return n, yields
}

// blame notes the stale ones among the members in the way: a silent neighbour
// must not bar a live newcomer for ever.
func (p *plan) blame(scope []*Contact, match func(netip.Addr) bool) {
	for _, c := range scope {
		if !p.leaves(c) && c.Stale(p.now) && c.matches(match) {
			p.stale = append(p.stale, c)
		}
	}
}

func (c *Contact) matches(match func(netip.Addr) bool) bool {
	return slices.ContainsFunc(c.addrs.Load().list, func(a Addr) bool {
		ip := a.AddrPort.Addr()
		return !ip.IsLoopback() && match(ip)
	})
}

// room checks the bucket's capacity (spec dht 1.6 step 11): a free place, a
// member that leaves anyway, the least trusted one if the candidate is above
// the threshold and it below, or else the stale ones to be asked.
func (p *plan) room(trust float64) Result {
	members := p.s.contacts(p.bucket)
	if len(members) < p.t.cfg.K || slices.ContainsFunc(members, p.leaves) {
		return Added
	}
	if limit := p.t.cfg.SwapThreshold; limit > 0 && trust >= limit {
		var worst *Contact
		low := limit
		for _, c := range members {
			if s := c.Trust().Score(p.now); s < low {
				worst, low = c, s
			}
		}
		if worst != nil {
			p.victims = append(p.victims, worst)
			return Added
		}
	}
	for _, c := range members {
		if c.Stale(p.now) {
			p.stale = append(p.stale, c)
		}
	}
	return Full
}

// roomFor reports whether member c may add ip: in its bucket, and in the close
// group if it belongs to it, one more contact with that ip is within limits.
func (t *Table) roomFor(s *snapshot, c *Contact, ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	net := Subnet(ip)
	fits := func(scope []*Contact) bool {
		var same, near int
		for _, m := range scope {
			if m == c {
				continue
			}
			if m.matches(func(a netip.Addr) bool { return a == ip }) {
				same++
			}
			if m.matches(net.Contains) {
				near++
			}
		}
		return same < t.cfg.MaxPerIP && near < t.cfg.MaxPerSubnet
	}
	if !fits(s.contacts(c.bucket)) {
		return false
	}
	group := s.closest(nil, &t.self, &t.self, t.cfg.K)
	return !slices.Contains(group, c) || fits(group)
}
