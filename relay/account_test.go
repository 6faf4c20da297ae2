package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"signalbox/engine/ledger"
)

// machine is the state of one run of TestAccountClosesAtEveryStep.
type machine struct {
	*rig
	ps   []*Participant
	held map[*Participant]int // in the hands of its writer
}

var (
	anyRoom = rapid.SampledFrom([]string{"a", "b", "call-1"})
	anyName = rapid.SampledFrom([]string{"x", "y", "z"})
	flip    = rapid.Bool()
)

func (m *machine) pick(rt *rapid.T) *Participant {
	if len(m.ps) == 0 {
		rt.Skip("nobody")
	}
	return m.ps[rapid.IntRange(0, len(m.ps)-1).Draw(rt, "who")]
}

func (m *machine) check(rt *rapid.T) {
	m.settled()
	for _, v := range m.Relay.Rooms(time.Time{}) {
		if len(v.Participants) == 0 && !v.Locked {
			rt.Fatalf("zombie room %s", v.Name)
		}
	}
}

func (m *machine) join(rt *rapid.T) {
	if p, err := m.Join(request(anyRoom.Draw(rt, "room"), anyName.Draw(rt, "name"), len(m.ps)%4)); err == nil {
		m.ps = append(m.ps, p)
	}
}

func (m *machine) ban(rt *rapid.T) {
	host := byte(rapid.IntRange(0, 3).Draw(rt, "host"))
	pre := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, host}), 32)
	if flip.Draw(rt, "on") {
		_ = m.Ban(pre, "", "")
	} else {
		_ = m.ClearSource(pre)
	}
}

func (m *machine) flood(rt *rapid.T) {
	p := m.pick(rt)
	for i := range rapid.IntRange(1, 30).Draw(rt, "packets") {
		pkt := packet(uint16(i), 0)
		if i%7 == 3 {
			pkt = report(uint16(i), uint8(i*8), 0)
		}
		if i%11 == 5 {
			pkt = pkt[:5]
		}
		if p.Admit(len(pkt), m.now.Load()) {
			m.Forward(i%8, p, pkt, m.now.Load())
		}
	}
}

func (m *machine) take(rt *rapid.T) {
	p := m.pick(rt)
	m.held[p] += len(p.Take(nil, rapid.IntRange(1, 10).Draw(rt, "limit"), m.now.Load()))
}

func (m *machine) done(rt *rapid.T) {
	p := m.pick(rt)
	n := rapid.IntRange(0, m.held[p]).Draw(rt, "sent")
	p.Done(n, 0, m.held[p]-n)
	m.held[p] = 0
}

// TestAccountClosesAtEveryStep does anything in any order on one goroutine.
// After each step the account closes and agrees with the shards' own count.
func TestAccountClosesAtEveryStep(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{
			rig:  newRig(t, Config{QueueCapacity: 8, QueueMaxAge: 50 * time.Millisecond, ClientPPS: 50, MaxRoomSize: 5}),
			held: map[*Participant]int{},
		}
		rt.Repeat(map[string]func(*rapid.T){
			"":      m.check,
			"join":  m.join,
			"leave": func(rt *rapid.T) { m.pick(rt).Leave(0) },
			"kick":  func(rt *rapid.T) { _ = m.Kick(m.pick(rt).ID(), "") },
			"mute":  func(rt *rapid.T) { _ = m.Mute(m.pick(rt).ID(), flip.Draw(rt, "on")) },
			"close": func(rt *rapid.T) { _ = m.CloseRoom(anyRoom.Draw(rt, "room")) },
			"lock":  func(rt *rapid.T) { _ = m.LockRoom(anyRoom.Draw(rt, "room"), flip.Draw(rt, "on")) },
			"ban":   m.ban,
			"flood": m.flood,
			"take":  m.take,
			"done":  m.done,
			"time": func(rt *rapid.T) {
				m.advance(time.Duration(rapid.IntRange(1, 60).Draw(rt, "ms")) * time.Millisecond)
			},
		})
	})
}

// storm is everything at once: shard loops, readers, writers that freeze,
// joins, leaves, levers.
type storm struct {
	*rig
	stop atomic.Bool
	mu   sync.Mutex
	ps   []*Participant // guarded by mu
}

func (s *storm) someone(rnd *rand.Rand) *Participant {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ps) == 0 {
		return nil
	}
	return s.ps[rnd.IntN(len(s.ps))]
}

func (s *storm) loop(shard int) {
	rnd := rand.New(rand.NewPCG(uint64(shard), 7))
	for i := 0; !s.stop.Load(); i++ {
		p := s.someone(rnd)
		if p == nil {
			continue
		}
		pkt := packet(uint16(i), 0)
		switch rnd.IntN(12) {
		case 0:
			pkt = report(uint16(i), uint8(rnd.Uint32()), uint8(rnd.Uint32()))
		case 1:
			pkt = pkt[:3]
		}
		s.Forward(shard, p, pkt, s.now.Add(1000))
		if i%32 == 0 {
			s.FlushShard(shard)
		}
	}
}

func (s *storm) writer(n int) {
	rnd := rand.New(rand.NewPCG(uint64(n), 8))
	var buf [][]byte
	for !s.stop.Load() {
		p := s.someone(rnd)
		if p == nil {
			continue
		}
		buf = p.Take(buf[:0], 1+rnd.IntN(24), s.now.Load())
		if p.num%2 == uint64(n) { // each has one signal writer
			signals(p)
		}
		if rnd.IntN(20) > 0 { // else it has frozen with these in its hands
			p.Done(len(buf)/2, len(buf)/4, len(buf)-len(buf)/2-len(buf)/4)
		}
	}
}

func (s *storm) churn(n int) {
	rnd := rand.New(rand.NewPCG(uint64(n), 9))
	for !s.stop.Load() {
		room := []string{"a", "b", "c", "call-1"}[rnd.IntN(4)]
		if p, err := s.Join(request(room, fmt.Sprint(rnd.IntN(5)), rnd.IntN(8))); err == nil {
			p.Lost(ledger.RxQueue, 1)
			p.Admit(10, s.now.Load())
			s.mu.Lock()
			s.ps = append(s.ps, p)
			s.mu.Unlock()
		}
		p := s.someone(rnd)
		switch rnd.IntN(8) {
		case 0, 1, 2:
			p.Leave(0)
			s.mu.Lock()
			s.ps = slices.DeleteFunc(s.ps, func(o *Participant) bool { return o == p && rnd.IntN(2) == 0 }) // or goes on being used
			if len(s.ps) > 50 {
				s.ps = slices.Clone(s.ps[10:])
			}
			s.mu.Unlock()
		case 3:
			_ = s.Kick(p.ID(), "")
		case 4:
			_ = s.Mute(p.ID(), rnd.IntN(2) == 0)
		case 5:
			pre := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(8))}), 32)
			if s.Ban(pre, "", "") == nil && rnd.IntN(3) > 0 {
				_ = s.ClearSource(pre)
			}
		case 6:
			if rnd.IntN(10) == 0 {
				_ = s.CloseRoom(room)
			}
			_ = s.PinTier(room, []string{"", "Degraded"}[rnd.IntN(2)])
		case 7:
			_ = s.LockRoom(room, rnd.IntN(3) == 0)
			s.Rooms(time.Time{})
			s.Sources()
		}
	}
}

// TestAccountClosesInTheStorm: whatever runs, the account closes at every look
// and none of its counters goes back; at rest it agrees with the shards' own.
func TestAccountClosesInTheStorm(t *testing.T) {
	s := &storm{rig: newRig(t, Config{QueueCapacity: 16, QueueMaxAge: 5 * time.Millisecond, MaxRoomSize: 12, ClientPPS: 3})}
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() { s.loop(i) })
		wg.Go(func() { s.loop(i) }) // a replaced loop that still runs
		wg.Go(func() { s.writer(i) })
		wg.Go(func() { s.churn(i) })
	}
	enough := uint64(30_000)
	if testing.Short() {
		enough = 10_000
	}
	var last ledger.Counts
	for last.Delivered < enough {
		c := s.Counts()
		if c.Unexplained() != 0 {
			t.Errorf("unexplained %d in %+v", c.Unexplained(), c)
			break
		}
		back := c.Copies < last.Copies || c.Delivered < last.Delivered || c.Received < last.Received
		for r := range c.Dropped {
			back = back || c.Dropped[r] < last.Dropped[r]
		}
		if back {
			t.Errorf("a counter went back: %+v after %+v", c, last)
			break
		}
		last = c
	}
	s.stop.Store(true)
	wg.Wait()
	s.settled()
	for _, name := range []string{"a", "b", "c", "call-1"} {
		for _, err := range []error{s.CloseRoom(name), s.LockRoom(name, false), s.PinTier(name, "")} {
			if err != nil && !errors.Is(err, ErrNoRoom) {
				t.Fatal(err)
			}
		}
	}
	s.settled()
	if c := s.Counts(); c.Queued != 0 || s.Sessions() != 0 || s.rooms.Load() != 0 || len(s.live) != 0 {
		t.Fatalf("left over: %d sessions, %d rooms, %+v", s.Sessions(), s.rooms.Load(), c)
	}
}

// TestACopyThatNobodyMadeIsUnexplained: the shards count copies by the length
// of the rosters; one that is in no ring is missed.
func TestACopyThatNobodyMadeIsUnexplained(t *testing.T) {
	r := New(Config{})
	r.shards[0].copies.Add(3) // as if a fan-out had passed over three members
	if c := r.Counts(); c.Unexplained() != 3 {
		t.Errorf("%+v", c)
	}
}

// TestAForgottenReceiverIsUnexplained: a member of the roster whose ring none of
// the room's packets reaches is missed, once for every packet, while the others'
// copies stay explained. That it is in the roster and nothing arrives is made by
// putting somebody of another relay there.
func TestAForgottenReceiverIsUnexplained(t *testing.T) {
	g, elsewhere := newRig(t, Config{}), newRig(t, Config{})
	ps := g.members("r", 5)
	lost := elsewhere.join("r", "lost")
	rm := ps[0].room
	was := rm.roster.Load()
	rm.roster.Store(&roster{version: was.version + 1, members: append(slices.Clone(was.members), lost)})
	for i := range 30 {
		g.say(ps[i%len(ps)], packet(uint16(i), 0))
		if c := g.Counts(); c.Unexplained() != int64(i+1) || c.Copies != uint64(i+1)*5 {
			t.Fatalf("packet %d: unexplained %d: %+v", i, c.Unexplained(), c)
		}
	}
	for _, p := range ps {
		g.drain(p)
	}
	if c := g.Counts(); c.Unexplained() != 30 || c.Delivered != 30*4 {
		t.Errorf("unexplained %d: %+v", c.Unexplained(), c)
	}
}

// TestEveryReceiverGetsEveryPacket: what each says, each other has once, in
// rooms of every size up to more than a batch wakes; and the rosters, the rings
// and the ledger agree on how many copies that is.
func TestEveryReceiverGetsEveryPacket(t *testing.T) {
	var want uint64
	g := newRig(t, Config{})
	for size := 1; size <= 40; size++ {
		ps := g.members(fmt.Sprint("room-", size), size)
		for i, p := range ps {
			g.say(p, packet(uint16(i), uint64(i)))
		}
		want += uint64(size * (size - 1))
		for i, p := range ps {
			var from []uint64
			for _, pkt := range g.drain(p) {
				from = append(from, binary.BigEndian.Uint64(pkt[len(pkt)-8:]))
			}
			if len(from) != size-1 || slices.Contains(from, uint64(i)) || !slices.IsSorted(from) || len(slices.Compact(from)) != size-1 {
				t.Fatalf("room of %d: %d has those of %v", size, i, from)
			}
		}
		if c := g.Counts(); c.Unexplained() != 0 || c.Copies != want || c.Delivered != want || g.FanOut() != want {
			t.Fatalf("room of %d: want %d copies, the shards made %d: %+v", size, want, g.FanOut(), c)
		}
	}
}
