package relay

import (
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"testing"
)

// The lookup and walk of one packet's receivers, four ways, with a send that
// only counts: what the roster is compared with. Every way walks all rooms in
// turn from GOMAXPROCS loops.

type peer struct {
	id   uint64
	got  atomic.Uint64
	room string
	_    [64]byte
}

type peerRoom struct{ members map[uint64]*peer }

const benchRooms = 50

func benchPeers(size int) [][]*peer {
	rooms := make([][]*peer, benchRooms)
	for r := range rooms {
		for i := range size {
			rooms[r] = append(rooms[r], &peer{id: uint64(r*1000 + i), room: fmt.Sprintf("room-%d", r)})
		}
	}
	return rooms
}

func runWalk[P any](b *testing.B, rooms [][]P, walk func(P)) {
	b.ReportAllocs()
	var loops atomic.Uint64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		k := int(loops.Add(1)) * 17
		for pb.Next() {
			k++
			rm := rooms[k%benchRooms]
			walk(rm[k%len(rm)])
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	for _, size := range []int{5, 20, 100} {
		rooms := benchPeers(size)
		for _, way := range []struct {
			name string
			run  func(*testing.B, [][]*peer)
		}{{"mutexmap", mutexMap}, {"stripescopy", stripesCopy}, {"syncmap", syncMap}, {"roster", heldRoster}} {
			b.Run(fmt.Sprintf("%s/%d", way.name, size), func(b *testing.B) { way.run(b, rooms) })
		}
	}
}

// mutexMap is one map of rooms, maps too, under one mutex.
func mutexMap(b *testing.B, rooms [][]*peer) {
	var mu sync.Mutex
	all := map[string]*peerRoom{}
	fill(rooms, func(name string, rm *peerRoom) { all[name] = rm })
	runWalk(b, rooms, func(p *peer) {
		mu.Lock()
		for id, m := range all[p.room].members {
			if id != p.id {
				m.got.Add(1)
			}
		}
		mu.Unlock()
	})
}

// stripesCopy is 64 maps, and the list of members copied under the lock.
func stripesCopy(b *testing.B, rooms [][]*peer) {
	type st struct {
		mu  sync.RWMutex
		all map[string]*peerRoom
	}
	var stripes [64]st
	seed := maphash.MakeSeed()
	at := func(name string) *st { return &stripes[maphash.String(seed, name)%64] }
	fill(rooms, func(name string, rm *peerRoom) {
		if s := at(name); s.all == nil {
			s.all = map[string]*peerRoom{}
		}
		at(name).all[name] = rm
	})
	runWalk(b, rooms, func(p *peer) {
		s := at(p.room)
		s.mu.RLock()
		rm := s.all[p.room]
		others := make([]*peer, 0, len(rm.members))
		for id, m := range rm.members {
			if id != p.id {
				others = append(others, m)
			}
		}
		s.mu.RUnlock()
		for _, m := range others {
			m.got.Add(1)
		}
	})
}

// syncMap is a sync.Map of sync.Maps.
func syncMap(b *testing.B, rooms [][]*peer) {
	var all sync.Map
	fill(rooms, func(name string, rm *peerRoom) {
		members := &sync.Map{}
		for id, m := range rm.members {
			members.Store(id, m)
		}
		all.Store(name, members)
	})
	runWalk(b, rooms, func(p *peer) {
		v, _ := all.Load(p.room)
		v.(*sync.Map).Range(func(id, m any) bool {
			if id.(uint64) != p.id {
				m.(*peer).got.Add(1)
			}
			return true
		})
	})
}

// heldRoster is this package's own: Participant.others.
func heldRoster(b *testing.B, rooms [][]*peer) {
	g := newRig(b, Config{QueueCapacity: 1})
	own := make([][]*Participant, len(rooms))
	for i, rm := range rooms {
		own[i] = g.members(rm[0].room, len(rm))
	}
	runWalk(b, own, func(p *Participant) {
		for _, m := range p.others() {
			if m != p {
				m.received.Add(1)
			}
		}
	})
}

func fill(rooms [][]*peer, put func(string, *peerRoom)) {
	for _, rm := range rooms {
		pr := &peerRoom{members: map[uint64]*peer{}}
		for _, p := range rm {
			pr.members[p.id] = p
		}
		put(rm[0].room, pr)
	}
}

// BenchmarkForward is the whole path: parse, police, one ring per receiver,
// the wake and the writer's Take and Done, from one shard loop.
func BenchmarkForward(b *testing.B) {
	for _, size := range []int{5, 20, 100} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			g := newRig(b, Config{})
			ps := g.members("r", size)
			pkt := packet(0, 0)
			buf := make([][]byte, 0, 32)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				g.Forward(0, ps[i%size], pkt, 1)
				if i++; i%24 == 0 {
					g.FlushShard(0)
					for _, p := range ps {
						<-p.Wake()
						buf = p.Take(buf[:0], 32, 1)
						p.Done(len(buf), 0, 0)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(size-1), "ns/copy")
		})
	}
}
