package pane

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/style"
)

// Change is one difference between two snapshots, in words.
type Change struct {
	Style style.Style
	Sign  string // + appeared, - gone, ~ changed
	Text  string
	rank  int     // what matters most comes first
	size  float64 // then what changed most
}

// Ranks of changes.
const (
	rankVerdict = iota
	rankState
	rankDrops
	rankMembers
	rankFlow
)

// differ collects changes from one snapshot to another.
type differ struct {
	a, b *view.Snapshot
	out  []Change
}

// Changes tells what is different in b, what matters most first. Counters that
// were set back by a restart of the node are told as such, once.
func Changes(a, b *view.Snapshot) []Change {
	d := &differ{a: a, b: b}
	if !a.Node.StartedAt.Equal(b.Node.StartedAt) {
		d.add(rankVerdict, style.Bad, "~", 0, "the node was started anew in between: counters began again")
		d.a = &view.Snapshot{Node: a.Node}
	}
	d.verdict()
	d.shards()
	d.planes()
	d.rooms()
	d.links()
	d.dht()
	d.kernel()
	d.levers()
	slices.SortStableFunc(d.out, func(x, y Change) int {
		return cmp.Or(cmp.Compare(x.rank, y.rank), cmp.Compare(y.size, x.size))
	})
	return d.out
}

func (d *differ) add(rank int, s style.Style, sign string, size float64, format string, args ...any) {
	d.out = append(d.out, Change{s, sign, cell.Clean(fmt.Sprintf(format, args...)), rank, size})
}

// verdict compares the causes by what they are about, since their words carry
// figures.
func (d *differ) verdict() {
	if x, y := d.a.Node.Health.Verdict, d.b.Node.Health.Verdict; x != y && x != "" {
		d.add(rankVerdict, verdictStyle(y), "~", 2, "verdict: %s, was %s", y, x)
	}
	of := func(s *view.Snapshot) map[string]view.Cause {
		m := map[string]view.Cause{}
		for _, c := range s.Node.Health.Causes {
			m[c.Pane+" "+c.Subject] = c
		}
		return m
	}
	before, now := of(d.a), of(d.b)
	for k, c := range now {
		if _, ok := before[k]; !ok {
			d.add(rankVerdict, style.Bad, "+", 1, "%s: %s", c.Subject, c.Message)
		}
	}
	for k, c := range before {
		if _, ok := now[k]; !ok {
			d.add(rankVerdict, style.OK, "-", 0, "no longer: %s: %s", c.Subject, c.Message)
		}
	}
	if x, y := d.a.Node.State, d.b.Node.State; x != y && x != "" {
		d.add(rankState, style.Warn, "~", 0, "node: %s, was %s", y, x)
	}
}

func verdictStyle(v string) style.Style {
	if v == "ok" {
		return style.OK
	}
	return style.Bad
}

// drops tells how each reason grew.
func (d *differ) drops(what string, before, now map[string]uint64) {
	var parts []string
	sum := uint64(0)
	for _, k := range sortedKeys(now) {
		if n := now[k] - min(before[k], now[k]); n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", k, cell.Count(float64(n))))
			sum += n
		}
	}
	if sum > 0 {
		d.add(rankDrops, style.Bad, "~", float64(sum), "%s dropped %s more: %s", what, cell.Count(float64(sum)), strings.Join(parts, ", "))
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (d *differ) shards() {
	before := map[string]*view.Shard{}
	for i := range d.a.Shards {
		before[d.a.Shards[i].Key()] = &d.a.Shards[i]
	}
	for i := range d.b.Shards {
		s := &d.b.Shards[i]
		p := before[s.Key()]
		if p == nil {
			p = &view.Shard{State: s.State}
		}
		if p.State != s.State {
			d.add(rankState, style.Warn, "~", 1, "shard %s: %s, was %s", s.Key(), s.State, p.State)
		}
		if s.Panics > p.Panics {
			d.add(rankState, style.Bad, "~", 2, "shard %s: %d panics contained", s.Key(), s.Panics-p.Panics)
		}
		if s.Restarts > p.Restarts {
			d.add(rankState, style.Warn, "~", 1, "shard %s: %d restarts", s.Key(), s.Restarts-p.Restarts)
		}
		d.drops("shard "+s.Key(), p.Dropped, s.Dropped)
	}
}

func (d *differ) planes() {
	for _, x := range []struct {
		name string
		a, b *view.Plane
	}{
		{"media", &d.a.Ledger.Media, &d.b.Ledger.Media},
		{"federation", &d.a.Ledger.Federation, &d.b.Ledger.Federation},
		{"dht", &d.a.Ledger.DHT, &d.b.Ledger.DHT},
	} {
		if x.b.Unexplained != 0 {
			d.add(rankVerdict, style.Bad, "~", 3, "%s: %d copies are unexplained", x.name, x.b.Unexplained)
		}
		if n := x.b.Delivered - min(x.a.Delivered, x.b.Delivered); n > 0 {
			d.add(rankFlow, style.Dim, "~", float64(n), "%s: %s delivered", x.name, cell.Count(float64(n)))
		}
	}
}

func (d *differ) rooms() {
	before := map[string]*view.Room{}
	members := map[string]*view.Participant{}
	for i := range d.a.Rooms {
		r := &d.a.Rooms[i]
		before[r.Name] = r
		for j := range r.Participants {
			members[r.Name+"\x00"+r.Participants[j].ID] = &r.Participants[j]
		}
	}
	for i := range d.b.Rooms {
		r := &d.b.Rooms[i]
		p := before[r.Name]
		delete(before, r.Name)
		if p == nil {
			d.add(rankMembers, style.Info, "+", float64(len(r.Participants)), "room %s with %d", r.Name, len(r.Participants))
			continue
		}
		if p.Tier != r.Tier {
			d.add(rankState, style.Warn, "~", 0, "room %s: tier %s, was %s", r.Name, r.Tier, p.Tier)
		}
		for j := range r.Participants {
			q := &r.Participants[j]
			k := r.Name + "\x00" + q.ID
			if members[k] == nil {
				d.add(rankMembers, style.Info, "+", 1, "%s joined room %s", nameOf(q), r.Name)
				continue
			}
			d.drops(fmt.Sprintf("for %s in %s we", nameOf(q), r.Name), members[k].Dropped, q.Dropped)
			delete(members, k)
		}
		for j := range p.Participants {
			if k := p.Name + "\x00" + p.Participants[j].ID; members[k] != nil {
				d.add(rankMembers, style.Info, "-", 1, "%s left room %s", nameOf(&p.Participants[j]), r.Name)
			}
		}
	}
	for _, r := range before {
		d.add(rankMembers, style.Info, "-", float64(len(r.Participants)), "room %s with %d", r.Name, len(r.Participants))
	}
}

func nameOf(p *view.Participant) string {
	if p.Alias != "" {
		return p.Alias
	}
	return p.ID
}

func (d *differ) links() {
	before := map[string]*view.Link{}
	for i := range d.a.Links {
		before[d.a.Links[i].Label] = &d.a.Links[i]
	}
	for i := range d.b.Links {
		l := &d.b.Links[i]
		p := before[l.Label]
		delete(before, l.Label)
		switch {
		case p == nil:
			d.add(rankMembers, style.Info, "+", 2, "link %s, %s", l.Label, l.State)
			continue
		case p.State != l.State:
			d.add(rankState, style.Warn, "~", 2, "link %s: %s, was %s", l.Label, l.State, p.State)
		}
		d.drops("link "+l.Label, p.Dropped, l.Dropped)
	}
	for k := range before {
		d.add(rankMembers, style.Warn, "-", 2, "link %s", k)
	}
}

func (d *differ) dht() {
	x, y := &d.a.DHT, &d.b.DHT
	if x.Peers != y.Peers || x.Stale != y.Stale {
		d.add(rankMembers, style.Info, "~", float64(max(x.Peers-y.Peers, y.Peers-x.Peers)), "routing table: %d peers, %d stale; was %d, %d stale", y.Peers, y.Stale, x.Peers, x.Stale)
	}
	if n := y.RPC.Timeout - min(x.RPC.Timeout, y.RPC.Timeout); n > 0 {
		d.add(rankDrops, style.Warn, "~", float64(n), "dht: %s requests were not answered in time", cell.Count(float64(n)))
	}
	if n := y.Lookups.Failed - min(x.Lookups.Failed, y.Lookups.Failed); n > 0 {
		d.add(rankDrops, style.Warn, "~", float64(n), "dht: %s lookups failed", cell.Count(float64(n)))
	}
}

func (d *differ) kernel() {
	if x, y := d.a.Node.Version, d.b.Node.Version; x != y && x != "" {
		d.add(rankState, style.Warn, "~", 3, "version %s, was %s", y, x)
	}
	if x, y := d.a.Kernel.RcvbufBytes, d.b.Kernel.RcvbufBytes; x != y && x != 0 {
		d.add(rankState, style.Warn, "~", 0, "socket receive buffer %s, was %s", cell.Bytes(uint64(max(y, 0))), cell.Bytes(uint64(max(x, 0))))
	}
	if x, y := d.a.Kernel.GSO, d.b.Kernel.GSO; x != y && d.a.Kernel.RcvbufBytes != 0 {
		d.add(rankState, style.Warn, "~", 0, "segmentation offload (GSO) on: %t, was %t", y, x)
	}
	if n := d.b.Kernel.UDPRcvbufErrors - min(d.a.Kernel.UDPRcvbufErrors, d.b.Kernel.UDPRcvbufErrors); n > 0 {
		d.add(rankDrops, style.Bad, "~", float64(n), "the kernel dropped %s datagrams before us", cell.Count(float64(n)))
	}
	if n := d.b.Edge.RxQueueDrops - min(d.a.Edge.RxQueueDrops, d.b.Edge.RxQueueDrops); n > 0 {
		d.add(rankDrops, style.Bad, "~", float64(n), "QUIC receive queues dropped %s datagrams", cell.Count(float64(n)))
	}
}

func (d *differ) levers() {
	before := map[string]view.Undo{}
	for _, u := range d.a.Undo {
		before[u.ID] = u
	}
	for _, u := range d.b.Undo {
		if _, ok := before[u.ID]; !ok {
			d.add(rankState, style.Warn, "+", 3, "%s %s by %s: %s", u.Kind, u.Target, u.Author, cmp.Or(u.Reason, "no reason given"))
		}
		delete(before, u.ID)
	}
	for _, u := range before {
		d.add(rankState, style.OK, "-", 3, "no longer in force: %s %s by %s", u.Kind, u.Target, u.Author)
	}
}
