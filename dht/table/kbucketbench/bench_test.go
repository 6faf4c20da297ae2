// Package kbucketbench measures the routing table against its rivals: the
// original's way (a map under a reader-writer lock, an atomic stamp under the
// read lock), a plain mutex, and go-libp2p-kbucket. It is a module of its own,
// so that what the comparison needs is no dependency of the program; the
// workspace file beside it finds the table.
//
//	go test -run '^$' -bench . -benchtime 15x
//
// go.mod is kept with go get; go mod tidy cannot see the workspace.
package kbucketbench

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kb "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/peer"

	"signalbox/dht/table"
)

// design is one way to do it. touch stamps contact i, closest finds the 20
// nearest to key j.
type design struct {
	name    string
	touch   func(i int, now int64)
	closest func(j int)
}

// population is what all designs hold.
type population struct {
	tab   *table.Table
	ids   []table.ID // of contacts
	addrs []netip.AddrPort
	names []peer.ID // kbucket's; empty: it does not take part
	k     int
	keys  []table.ID
}

// offered is what a table keeps of n random peers, k being 20.
func offered(b *testing.B, n int) *population {
	p := empty(b, table.DefaultK)
	for i := range n {
		name := fmt.Sprintf("peer %d", i)
		id := table.ID(sha256.Sum256([]byte(name))) // as kbucket does
		if p.add(i, id) {
			p.names = append(p.names, peer.ID(name))
		}
	}
	return p
}

// held is a table that really holds n contacts: 64 in every bucket. kbucket
// takes part as long as names can be found whose hashes lie there.
func held(b *testing.B, n int) *population {
	p := empty(b, table.MaxK)
	if n <= mined {
		self := sha256.Sum256([]byte("self"))
		in := make([]int, n/table.MaxK+1)
		for i := 0; len(p.ids) < n; i++ {
			name := fmt.Sprintf("peer %d", i)
			id := table.ID(sha256.Sum256([]byte(name)))
			if at := table.BucketIndex((*table.ID)(&self), &id); at < len(in) && in[at] < table.MaxK && p.add(i, id) {
				in[at]++
				p.names = append(p.names, peer.ID(name))
			}
		}
		return p
	}
	for i := 0; len(p.ids) < n; i++ {
		id, _ := p.tab.RandomKey(i/table.MaxK, sha256.Sum256(fmt.Append(nil, i)))
		p.add(i, id)
	}
	return p
}

const mined = 1000 // 16 buckets: some million hashes

func empty(b *testing.B, k int) *population {
	tab, err := table.New(table.Config{Self: sha256.Sum256([]byte("self")), K: k, MaxPerIP: table.Unlimited, MaxPerSubnet: table.Unlimited})
	if err != nil {
		b.Fatal(err)
	}
	p := &population{tab: tab, k: k}
	for i := range 256 {
		p.keys = append(p.keys, sha256.Sum256(fmt.Append(nil, "key", i)))
	}
	return p
}

func (p *population) add(i int, id table.ID) bool {
	a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(11 + i>>16), byte(i >> 8), byte(i), 1}), 4433)
	if !p.tab.Add(0, id, []table.Addr{{AddrPort: a, Type: table.Direct}}, table.Trust{}).Result.In() {
		return false
	}
	p.ids, p.addrs = append(p.ids, id), append(p.addrs, a)
	return true
}

// record is a contact of the rivals that we wrote.
type record struct {
	id       table.ID
	addrs    []table.Addr
	lastSeen atomic.Int64
}

func (p *population) designs(b *testing.B) []design {
	m := map[table.ID]*record{}
	all := make([]*record, len(p.ids))
	for i, id := range p.ids {
		r := &record{id: id, addrs: []table.Addr{{AddrPort: p.addrs[i], Type: table.Direct}}}
		m[id], all[i] = r, r
	}
	stamp := func(i int, now int64) {
		if r := m[p.ids[i]]; r != nil && slices.Contains(r.addrs, table.Addr{AddrPort: p.addrs[i], Type: table.Direct}) {
			r.lastSeen.Store(now)
		}
	}
	scan := func(j int) { // clone all, sort, take: as the original answers FIND_NODE
		list := slices.Clone(all)
		slices.SortFunc(list, func(x, y *record) int { return table.Closer(&p.keys[j], &x.id, &y.id) })
	}
	var rw sync.RWMutex
	var mu sync.Mutex
	out := []design{
		{"table", func(i int, now int64) { p.tab.Touch(p.ids[i], p.addrs[i], table.Direct, now) }, func(j int) {
			var buf [20]*table.Contact
			p.tab.Closest(buf[:0], p.keys[j], 20)
		}},
		{"rwmutex", func(i int, now int64) { rw.RLock(); stamp(i, now); rw.RUnlock() }, func(j int) { rw.RLock(); scan(j); rw.RUnlock() }},
		{"mutex", func(i int, now int64) { mu.Lock(); stamp(i, now); mu.Unlock() }, func(j int) { mu.Lock(); scan(j); mu.Unlock() }},
	}
	if len(p.names) == 0 {
		return out
	}
	rt, err := kb.NewRoutingTable(p.k, kb.ConvertKey("self"), time.Hour, noMetrics{}, time.Hour, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { rt.Close() })
	for _, n := range p.names {
		if _, err := rt.TryAddPeer(n, true, false); err != nil && err != kb.ErrPeerRejectedNoCapacity {
			b.Fatal(err)
		}
	}
	start := time.Now()
	return append(out, design{"kbucket", func(i int, now int64) {
		rt.UpdateLastSuccessfulOutboundQueryAt(p.names[i], start.Add(time.Duration(now)))
	}, func(j int) { rt.NearestPeers(p.keys[j][:], 20) }})
}

// noMetrics knows no latencies: nobody is refused for being slow.
type noMetrics struct{}

func (noMetrics) RecordLatency(peer.ID, time.Duration) {}
func (noMetrics) LatencyEWMA(peer.ID) time.Duration    { return 0 }
func (noMetrics) RemovePeer(peer.ID)                   {}

const touches = 400_000 // of one design in one round

// BenchmarkTouch stamps contacts from every processor while lookups go on,
// round by round in turn, so that whatever else the machine does hits all.
func BenchmarkTouch(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("offered-%d", n), func(b *testing.B) { rounds(b, offered(b, n), touchRound) })
		b.Run(fmt.Sprintf("held-%d", n), func(b *testing.B) { rounds(b, held(b, n), touchRound) })
	}
}

// BenchmarkClosest20 finds the twenty nearest, from every processor.
func BenchmarkClosest20(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("offered-%d", n), func(b *testing.B) { rounds(b, offered(b, n), closestRound) })
	}
	for _, n := range []int{1000, 5000} {
		b.Run(fmt.Sprintf("held-%d", n), func(b *testing.B) { rounds(b, held(b, n), closestRound) })
	}
}

func rounds(b *testing.B, p *population, round func(p *population, d *design) float64) {
	ds := p.designs(b)
	took := make([][]float64, len(ds))
	for b.Loop() {
		for i := range ds {
			took[i] = append(took[i], round(p, &ds[i]))
		}
	}
	base := median(took[0])
	for i := range ds {
		b.ReportMetric(median(took[i]), ds[i].name+"-ns")
		b.ReportMetric(median(took[i])/base, ds[i].name+"-x")
	}
	b.ReportMetric(float64(len(p.ids)), "contacts")
	b.ReportMetric(0, "ns/op")
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// touchRound returns the ns of one touch beside lookups.
func touchRound(p *population, d *design) float64 {
	var stop atomic.Bool
	var lookups, wg sync.WaitGroup
	lookups.Go(func() {
		for j := 0; !stop.Load(); j++ {
			d.closest(j % len(p.keys))
			runtime.Gosched()
		}
	})
	procs := runtime.GOMAXPROCS(0)
	began := time.Now()
	for g := range procs {
		wg.Go(func() {
			i := g * 7919 % len(p.ids)
			for k := range touches / procs {
				if i++; i == len(p.ids) {
					i = 0
				}
				d.touch(i, int64(k))
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	stop.Store(true)
	lookups.Wait()
	return float64(took) / touches
}

// closestRound returns the ns of one lookup in the table.
func closestRound(p *population, d *design) float64 {
	const each = 4000
	procs := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	began := time.Now()
	for g := range procs {
		wg.Go(func() {
			for j := range each / procs {
				d.closest((j + g) % len(p.keys))
			}
		})
	}
	wg.Wait()
	return float64(time.Since(began)) / each
}
