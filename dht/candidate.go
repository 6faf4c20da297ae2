package dht

import (
	"slices"
	"time"

	"signalbox/dht/table"
)

// candState is how far a lookup has got with a candidate.
type candState uint8

const (
	candNew candState = iota
	candAsked
	candAnswered
	candFailed
)

// Bounds of what a lookup remembers.
const (
	maxReports   = 5 // about one candidate, of the reporters closest to it
	agreeAmong   = 3 // an address that two of the three closest report counts as agreed
	minPatience  = 200 * time.Millisecond
	paceGain     = 8 // as of TCP's round trip estimate
	paceVariance = 4
)

// candidate is a peer a lookup may ask. Paths share it: whichever asks it
// first owns it, and nobody asks it again.
type candidate struct {
	id      table.ID
	own     []table.Addr // of a contact of ours, from links to it: no hearsay
	heard   []report     // by the reporter's distance to id, at most maxReports
	met     table.Addr   // where it answered
	depth   int          // hops from our table
	state   candState
	started int64        // monotonic ns
	slow    bool         // gave up its place
	path    *path        // that asked it
	lists   int          // paths it is listed in
	row     int          // its place in the trace, plus one
	tried   []table.Addr // what others had said when it was asked
	unmet   bool         // it failed before there was a link
	retried bool
}

// report is what one peer says about another.
type report struct {
	by    table.ID
	addrs []table.Addr
}

// hear notes a report. Every reporter counts once, and those closest to the
// subject know it best.
func (c *candidate) hear(by table.ID, addrs []table.Addr) {
	if c.state == candAnswered {
		return
	}
	i, dup := slices.BinarySearchFunc(c.heard, by, func(r report, by table.ID) int { return table.Closer(&c.id, &r.by, &by) })
	if dup || i == maxReports {
		return
	}
	c.heard = slices.Insert(c.heard, i, report{by, addrs})
	c.heard = c.heard[:min(len(c.heard), maxReports)]
}

// again makes c a candidate once more when nothing it was dialled at led to it
// and others say, or have said since, something else.
func (c *candidate) again() {
	if c.state == candFailed && c.unmet && !c.retried && len(c.told()) > 0 {
		c.retried, c.state, c.slow = true, candNew, false
	}
}

// told reconciles the reports (spec dht 3.6): first the addresses on which two
// of the reporters closest to the subject agree, then those of the closest
// reporter, and of one reporter the better type first. The first report may be
// a lie, and so may be the loudest. What was tried already is left out.
func (c *candidate) told() []table.Addr {
	type claim struct {
		addr  table.Addr
		votes int
		rank  int // of the closest reporter
	}
	var claims []claim
	for rank, r := range c.heard {
		for _, a := range r.addrs {
			if slices.ContainsFunc(c.tried, func(b table.Addr) bool { return a.AddrPort == b.AddrPort }) {
				continue
			}
			i := slices.IndexFunc(claims, func(x claim) bool { return x.addr.AddrPort == a.AddrPort })
			if i < 0 {
				i = len(claims)
				claims = append(claims, claim{addr: a, rank: rank})
			}
			claims[i].addr.Type = min(claims[i].addr.Type, a.Type)
			if rank < agreeAmong {
				claims[i].votes++
			}
		}
	}
	slices.SortStableFunc(claims, func(a, b claim) int {
		if agreed, other := a.votes > 1, b.votes > 1; agreed != other {
			if agreed {
				return -1
			}
			return 1
		}
		if a.rank != b.rank {
			return a.rank - b.rank
		}
		return int(a.addr.Type) - int(b.addr.Type)
	})
	out := make([]table.Addr, 0, min(len(claims), table.MaxAddrs))
	for _, x := range claims[:cap(out)] {
		out = append(out, x.addr)
	}
	return out
}

// addrs are where c can be reached as far as this lookup knows, where it
// answered first.
func (c *candidate) addrs() []table.Addr {
	list := c.own
	if len(list) == 0 {
		list = slices.Concat(c.tried, c.told())
	}
	i := slices.IndexFunc(list, func(a table.Addr) bool { return a.AddrPort == c.met.AddrPort })
	if i <= 0 {
		return list
	}
	out := append([]table.Addr{list[i]}, list[:i]...)
	return append(out, list[i+1:]...)
}

// path is one of a lookup's ways to its target. It knows only what the peers
// it has asked told it, and no two paths ask the same peer.
type path struct {
	list []*candidate // by distance to the target, at most maxCandidates
	busy int          // places taken: queries under way that are not slow
	gave int          // peers that had records
}

// add lists c, by distance, in a path that has heard of it. When the list is
// full the farthest goes, c itself included; one that was asked stays in any
// case.
func (l *lookup) add(p *path, c *candidate) {
	i, dup := slices.BinarySearchFunc(p.list, c, func(a, b *candidate) int {
		return table.Closer(&l.target, &a.id, &b.id)
	})
	if dup {
		return
	}
	if len(p.list) >= maxCandidates {
		last := p.list[len(p.list)-1]
		if i == len(p.list) || last.state != candNew {
			return
		}
		p.list = p.list[:len(p.list)-1]
		if last.lists--; last.lists == 0 {
			delete(l.known, last.id)
		}
	}
	c.lists++
	l.known[c.id] = c
	p.list = slices.Insert(p.list, i, c)
}

// closest are the k closest candidates of the path that have not failed and
// are not slow, and the slow ones among them.
func (p *path) closest(k int) []*candidate {
	var out []*candidate
	for _, c := range p.list {
		if k == 0 {
			break
		}
		if c.state == candFailed {
			continue
		}
		out = append(out, c)
		if !c.slow || c.state == candAnswered {
			k--
		}
	}
	return out
}

// next is the closest candidate not asked yet among those.
func (p *path) next(k int) *candidate {
	for _, c := range p.list {
		switch {
		case k == 0:
			return nil
		case c.state == candNew:
			return c
		case c.state == candAnswered || c.state == candAsked && !c.slow:
			k--
		}
	}
	return nil
}

// pace is how fast peers have answered so far, their connections included: a
// mean and a mean deviation, as of TCP's timer.
type pace struct {
	mean, dev time.Duration
}

func (p *pace) observe(d time.Duration) {
	if p.mean == 0 {
		p.mean, p.dev = max(d, 1), d/2
		return
	}
	p.dev += ((p.mean - d).Abs() - p.dev) / (paceGain / 2)
	p.mean += (d - p.mean) / paceGain
}

// patience is how long a query keeps its place. Before the first answer nobody
// can tell what is slow.
func (p *pace) patience() time.Duration {
	if p.mean == 0 {
		return grace
	}
	return min(max(p.mean+paceVariance*p.dev, minPatience), grace)
}
