package table

import (
	"fmt"
	"net/netip"
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

func BenchmarkTouch(b *testing.B) {
	for _, n := range benchSizes {
		tab, ids, m := benchTable(b, n)
		addr := make([]netip.AddrPort, len(ids))
		for i, id := range ids {
			addr[i] = tab.Get(id).Addrs()[0].AddrPort
		}
		var worker atomic.Int64
		run := func(name string, f func(i int)) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					i := int(worker.Add(7919)) % len(ids)
					for pb.Next() {
						if i++; i == len(ids) {
							i = 0
						}
						f(i)
					}
				})
			})
		}
		run("table", func(i int) { tab.Touch(ids[i], addr[i], Direct, int64(i)) })
		run("rwmutex+map+atomic", func(i int) {
			m.rw.RLock()
			if c := m.m[ids[i]]; c != nil && slices.Contains(c.Addrs(), Addr{addr[i], Direct}) {
				c.lastSeen.Store(int64(i))
			}
			m.rw.RUnlock()
		})
		run("mutex+map", func(i int) {
			m.mu.Lock()
			if c := m.m[ids[i]]; c != nil && slices.Contains(c.Addrs(), Addr{addr[i], Direct}) {
				c.lastSeen.Store(int64(i))
			}
			m.mu.Unlock()
		})
	}
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
				all := slices.Clone(m.all)
				m.rw.RUnlock()
				target := targets[i%256]
				slices.SortFunc(all, func(x, y *Contact) int { return Closer(&target, &x.id, &y.id) })
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
