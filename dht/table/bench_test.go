package table

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// The rivals of perf.md E: the same population in a map under a lock.

type mapTable struct {
	mu  sync.Mutex
	rw  sync.RWMutex
	m   map[ID]*Contact
	all []*Contact
}

var benchSizes = []int{1000, 10000}

func benchTable(b *testing.B, n int) (*Table, []ID, *mapTable) {
	tab := newTable(b, Config{Self: pseudoID(1 << 40), MaxPerIP: Unlimited, MaxPerSubnet: Unlimited})
	ids := fill(tab, n)
	m := &mapTable{m: map[ID]*Contact{}, all: tab.Contacts(nil)}
	for _, c := range m.all {
		m.m[c.id] = c
	}
	return tab, ids, m
}

// BenchmarkTouch stamps contacts from every processor, alone and beside a lookup
// after the other in the same table: what is kept of 1,000 and 10,000 offered
// peers, k being 20, and 10,000 that are really held. With a reader-writer lock
// the lookups hold it as readers, as in the original. The rivals side by side,
// in turn: dht/table/kbucketbench.
func BenchmarkTouch(b *testing.B) {
	for _, n := range benchSizes {
		tab, ids, m := benchTable(b, n)
		touches(b, fmt.Sprintf("offered-%d", n), tab, ids, m)
	}
	tab, ids, m := heldTable(b, benchSizes[len(benchSizes)-1])
	touches(b, fmt.Sprintf("held-%d", len(ids)), tab, ids, m)
}

func touches(b *testing.B, name string, tab *Table, ids []ID, m *mapTable) {
	addr := make([]netip.AddrPort, len(ids))
	for i, id := range ids {
		addr[i] = tab.Get(id).Addrs()[0].AddrPort
	}
	stamp := func(i int) {
		if c := m.m[ids[i]]; c != nil && slices.Contains(c.Addrs(), Addr{addr[i], Direct}) {
			c.lastSeen.Store(int64(i))
		}
	}
	for _, d := range []struct {
		name   string
		touch  func(i int)
		lookup func(target *ID)
	}{
		{"table", func(i int) { tab.Touch(ids[i], addr[i], Direct, int64(i)) }, func(target *ID) {
			var buf [20]*Contact
			tab.Closest(buf[:0], *target, 20)
		}},
		{"rwmutex+map+atomic", func(i int) { m.rw.RLock(); stamp(i); m.rw.RUnlock() }, func(target *ID) { m.rw.RLock(); m.sort(target); m.rw.RUnlock() }},
		{"mutex+map", func(i int) { m.mu.Lock(); stamp(i); m.mu.Unlock() }, func(target *ID) { m.mu.Lock(); m.sort(target); m.mu.Unlock() }},
	} {
		b.Run(d.name+"/"+name+"/alone", func(b *testing.B) { touchFromAll(b, len(ids), d.touch) })
		b.Run(d.name+"/"+name+"/beside", func(b *testing.B) {
			var stop atomic.Bool
			var lookups sync.WaitGroup
			lookups.Go(func() {
				for j := uint64(0); !stop.Load(); j++ {
					target := pseudoID(j + 1<<50)
					d.lookup(&target)
					runtime.Gosched()
				}
			})
			touchFromAll(b, len(ids), d.touch)
			stop.Store(true)
			lookups.Wait()
		})
	}
}

func touchFromAll(b *testing.B, n int, touch func(i int)) {
	b.ReportAllocs()
	var worker atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		i := int(worker.Add(7919)) % n
		for pb.Next() {
			if i++; i == n {
				i = 0
			}
			touch(i)
		}
	})
}

// sort is how the original answers FIND_NODE; the caller holds a lock.
func (m *mapTable) sort(target *ID) []*Contact {
	all := slices.Clone(m.all)
	slices.SortFunc(all, func(x, y *Contact) int { return Closer(target, &x.id, &y.id) })
	return all
}

// heldTable really holds n contacts, 64 in every bucket.
func heldTable(b *testing.B, n int) (*Table, []ID, *mapTable) {
	tab := newTable(b, Config{Self: pseudoID(1 << 40), K: MaxK, MaxPerIP: Unlimited, MaxPerSubnet: Unlimited})
	m := &mapTable{m: map[ID]*Contact{}}
	var ids []ID
	for i := 0; tab.Len() < n; i++ {
		id, _ := tab.RandomKey(i/MaxK, pseudoID(uint64(i)))
		if adm := tab.Add(0, id, at(Direct, "11.0.0.1:1"), Trust{}); adm.Result == Added {
			m.m[id], m.all, ids = adm.Contact, append(m.all, adm.Contact), append(ids, id)
		}
	}
	return tab, ids, m
}

// BenchmarkClosest20 is a FIND_NODE's selection: bounded, against clone and
// sort, as the original does it. 5000 are contacts that are really held.
func BenchmarkClosest20(b *testing.B) {
	for _, n := range append(benchSizes, 5000) {
		populate := benchTable
		if n == 5000 {
			populate = heldTable
		}
		tab, _, m := populate(b, n)
		var targets [256]ID
		for i := range targets {
			targets[i] = pseudoID(uint64(i) + 1<<50)
		}
		b.Run(fmt.Sprintf("table/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			var buf [20]*Contact
			for i := range b.N {
				tab.Closest(buf[:0], targets[i%256], 20)
			}
		})
		b.Run(fmt.Sprintf("rwmutex+sort/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				m.rw.RLock()
				m.sort(&targets[i%256])
				m.rw.RUnlock()
			}
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	tab, ids, _ := benchTable(b, 10000)
	a := tab.Get(ids[0]).Addrs()
	b.ReportAllocs()
	for b.Loop() {
		tab.Remove(ids[0], RemovedEvicted)
		tab.Add(0, ids[0], a, Trust{})
	}
}
