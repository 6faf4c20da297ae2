package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"signalbox/engine/ledger"
	"signalbox/relay/wire"
)

func TestForwardReachesAllOthersUnchanged(t *testing.T) {
	g := newRig(t, Config{})
	ps := g.members("r", 5)
	elsewhere := g.join("other", "x")
	var sent [][]byte
	for i := range 100 {
		pkt := packet(uint16(i), uint64(i))
		sent = append(sent, bytes.Clone(pkt))
		g.Forward(i%8, ps[2], pkt, g.now.Load())
	}
	for i, p := range ps {
		got := g.drain(p)
		if i == 2 {
			if len(got) != 0 {
				t.Fatal("the sender hears itself")
			}
			continue
		}
		if len(got) != len(sent) {
			t.Fatalf("%s got %d of %d", p.ID(), len(got), len(sent))
		}
		for k := range got {
			if !bytes.Equal(got[k], sent[k]) {
				t.Fatalf("packet %d was changed or out of order", k)
			}
		}
	}
	if len(g.drain(elsewhere)) != 0 {
		t.Fatal("another room hears it")
	}
	if c := g.Counts(); c.Copies != 400 || c.Delivered != 400 || c.Received != 0 {
		t.Fatalf("%+v", c)
	}
	g.settled()
}

func TestForwardEmptyRoomIsNoDrop(t *testing.T) {
	g := newRig(t, Config{})
	p := g.join("r", "alone")
	g.say(p, packet(0, 0))
	if c := g.Counts(); c != (ledger.Counts{}) {
		t.Fatalf("%+v", c)
	}
}

func TestForwardRefusals(t *testing.T) {
	g := newRig(t, Config{})
	ps := g.members("r", 3)
	want := map[ledger.Reason]uint64{}
	refuse := func(why ledger.Reason, p *Participant, pkt []byte) {
		t.Helper()
		before := g.Counts()
		g.say(p, pkt)
		want[why]++
		c := g.Counts()
		if c.Dropped[why] != before.Dropped[why]+1 || c.Copies != before.Copies+1 || c.Received != before.Received {
			t.Fatalf("%v: %+v", why, c)
		}
		g.settled()
	}
	refuse(ledger.Malformed, ps[0], []byte("short"))
	bad := packet(1, 1)
	bad[0] = 9 << 2
	refuse(ledger.Malformed, ps[0], bad)
	refuse(ledger.Malformed, ps[0], report(1, 0, 0)[:wire.HeaderSize+3])
	refuse(ledger.Malformed, ps[0], nil)
	if err := g.Mute(ps[0].ID(), true); err != nil {
		t.Fatal(err)
	}
	refuse(ledger.Muted, ps[0], packet(2, 2))
	if err := g.Kick(ps[1].ID(), "kicked"); err != nil {
		t.Fatal(err)
	}
	refuse(ledger.Gone, ps[1], packet(3, 3))
	if err := g.CloseRoom("r"); err != nil {
		t.Fatal(err)
	}
	if err := g.Mute(ps[2].ID(), true); err == nil {
		t.Fatal("those of a closed room are gone")
	}
	refuse(ledger.RoomGone, ps[2], packet(4, 4))
	for why, n := range want {
		if got := g.Counts().Dropped[why]; got != n {
			t.Errorf("%v: %d, want %d", why, got, n)
		}
	}
}

// TestForwardAfterLeave: what somebody said before leaving is passed on, and a
// copy for somebody who has left is not lost from the account.
func TestForwardAfterLeave(t *testing.T) {
	g := newRig(t, Config{})
	ps := g.members("r", 3)
	ps[0].Leave(0)
	g.say(ps[0], packet(0, 7))
	if got := g.drain(ps[1]); len(got) != 1 {
		t.Fatalf("last words lost: %d", len(got))
	}
	ps[2].ring.Close(ledger.Gone) // as when Leave comes between the roster's load and the push
	g.say(ps[1], packet(0, 8))
	if c := g.Counts(); c.Dropped[ledger.Gone] != 2 || c.Unexplained() != 0 {
		t.Fatalf("%+v", c)
	}
}

func TestLeaveDropsWhatWaits(t *testing.T) {
	g := newRig(t, Config{})
	ps := g.members("r", 2)
	for i := range 10 {
		g.say(ps[0], packet(uint16(i), 0))
	}
	held := ps[1].Take(nil, 4, g.now.Load())
	g.settled()
	ps[1].Leave(0)
	ps[1].Leave(0)
	ps[1].Done(len(held), 0, 0)
	if c := g.Counts(); c.Copies != 10 || c.Dropped[ledger.Gone] != 10 || c.Queued != 0 {
		t.Fatalf("%+v", c)
	}
	g.settled()
	if n := g.Sessions(); n != 1 {
		t.Fatalf("%d sessions", n)
	}
}

func TestSeqGaps(t *testing.T) {
	for name, c := range map[string]struct {
		seqs []uint16
		gaps uint64
	}{
		"in order":         {[]uint16{5, 6, 7}, 0},
		"one missing":      {[]uint16{5, 7}, 1},
		"across the wrap":  {[]uint16{65534, 65535, 0, 2}, 1},
		"late and twice":   {[]uint16{5, 8, 6, 7, 8, 9}, 2},
		"begun anew":       {[]uint16{9000, 9001, 0, 1, 3}, 1},
		"far ahead":        {[]uint16{1, 20000, 20001}, 0},
		"a minute missing": {[]uint16{0, 3000}, 2999},
	} {
		g := newRig(t, Config{})
		p := g.join("r", "a")
		for _, s := range c.seqs {
			p.Saw(packet(s, 0))
		}
		if got := p.gaps.Load(); got != c.gaps {
			t.Errorf("%s: %d, want %d", name, got, c.gaps)
		}
	}
}

// TestFlushWakesOnce: a batch of many packets wakes each receiver once, and
// not before the flush.
func TestFlushWakesOnce(t *testing.T) {
	g := newRig(t, Config{})
	ps := g.members("r", 4)
	for i := range 32 {
		g.Forward(3, ps[i%2], packet(uint16(i), 0), 1)
	}
	for _, p := range ps {
		if len(p.Wake()) != 0 {
			t.Fatal("woken before the flush")
		}
	}
	if n := len(g.shards[3].dirty); n != 4 {
		t.Fatalf("%d marked, want each of 4 once", n)
	}
	g.FlushShard(3)
	for _, p := range ps {
		if len(p.Wake()) != 1 {
			t.Fatal("not woken")
		}
	}
	if g.FlushShard(3); len(g.shards[3].dirty) != 0 {
		t.Fatal("still marked")
	}
}

// TestStaleLoopStillWakes: while a replaced loop holds the shard's claim,
// nobody misses a wake, and a flush that came meanwhile is made up for.
func TestStaleLoopStillWakes(t *testing.T) {
	g := newRig(t, Config{})
	ps := g.members("r", 3)
	g.Forward(1, ps[0], packet(0, 0), 1) // marks 1 and 2
	g.shards[1].claimed.Store(true)
	g.Forward(1, ps[1], packet(0, 0), 1) // cannot mark: wakes 0 and 2 itself
	if len(ps[0].Wake()) != 1 || len(ps[2].Wake()) != 1 || len(ps[1].Wake()) != 0 {
		t.Fatal("a loop without the claim must wake at once")
	}
	g.FlushShard(1)
	if len(ps[1].Wake()) != 0 {
		t.Fatal("flushed under another's claim")
	}
	g.shards[1].release()
	if len(ps[1].Wake()) != 1 {
		t.Fatal("the flush was lost")
	}
}

func TestMoreReceiversThanAShardRemembers(t *testing.T) {
	g := newRig(t, Config{MaxRoomSize: 2000, QueueCapacity: 4})
	ps := g.members("r", dirtyCap+300)
	g.say(ps[0], packet(0, 0))
	for _, p := range ps[1:] {
		if len(p.Wake()) != 1 {
			t.Fatal("not woken")
		}
	}
}

// TestForwardTakesNoLock runs the packet path, tier changes included, while
// every mutex but the rings' is held. It hangs if the path takes one.
func TestForwardTakesNoLock(t *testing.T) {
	g := newRig(t, Config{})
	ps := g.members("r", 20)
	g.mu.Lock()
	ps[0].room.mu.Lock()
	for i := range g.stripes {
		g.stripes[i].mu.Lock()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 200 {
			pkt := packet(uint16(i), 0)
			if i%2 == 0 {
				pkt = report(uint16(i), 255, 255)
			}
			if ps[i%20].Admit(len(pkt), g.now.Load()) {
				g.Forward(i%8, ps[i%20], pkt, g.now.Load())
			}
			g.FlushShard(i % 8)
			p := ps[(i+1)%20]
			p.Done(len(p.Take(nil, 8, g.now.Load())), 0, 0)
			signals(p)
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the packet path waits for a lock")
	}
	for i := range g.stripes {
		g.stripes[i].mu.Unlock()
	}
	ps[0].room.mu.Unlock()
	g.mu.Unlock()
	if d := ps[0].room.directive.Load(); wire.Tier(d&0xff) != wire.Catastrophic {
		t.Fatal("the tier was not changed on the way")
	}
	g.settled()
}

func TestForwardAllocatesNothing(t *testing.T) {
	for _, n := range []int{2, 5, 100} {
		g := newRig(t, Config{})
		ps := g.members("r", n)
		voice, bad := packet(1, 1), report(1, 255, 255)
		good := report(1, 0, 0)
		buf := make([][]byte, 0, 24)
		i := 0
		allocs := testing.AllocsPerRun(2000, func() {
			pkt := voice
			switch i++; { // reports enough to move the tier up and down
			case i%100 < 20:
				pkt = bad
			case i%100 < 60:
				pkt = good
			}
			g.now.Add(int64(20 * time.Millisecond))
			if ps[0].Admit(len(pkt), g.now.Load()) {
				g.Forward(0, ps[0], pkt, g.now.Load())
			}
			if i%32 == 0 {
				g.FlushShard(0)
			}
			buf = ps[1].Take(buf[:0], 24, g.now.Load())
			ps[1].Done(len(buf), 0, 0)
		})
		if allocs != 0 {
			t.Errorf("room of %d: %v allocations a packet", n, allocs)
		}
	}
}

// TestFrozenReceiver: of 100 receivers one takes nothing; only it loses, by
// exactly what was sent less what it holds, and what it gets when it wakes up
// is fresh.
func TestFrozenReceiver(t *testing.T) {
	g := newRig(t, Config{})
	ps := g.members("r", 100)
	frozen := ps[50]
	const sent = 3000
	for i := range sent {
		g.advance(20 * time.Millisecond)
		g.say(ps[0], packet(uint16(i), uint64(i)))
		for _, p := range ps[1:] {
			if p != frozen && len(g.drain(p)) != 1 {
				t.Fatalf("packet %d: %s lost it", i, p.ID())
			}
		}
	}
	v := frozen.ring.View(g.now.Load())
	if v.Dropped.Total() != uint64(sent-v.Depth) || v.Dropped[ledger.QueueAge] != v.Dropped.Total() {
		t.Fatalf("%+v", v)
	}
	got := g.drain(frozen)
	if len(got) != v.Depth || !bytes.Equal(got[len(got)-1], packet(sent-1, sent-1)) {
		t.Fatalf("%d packets, the last not the newest", len(got))
	}
	if oldest := v.Oldest; oldest > int64(500*time.Millisecond) {
		t.Fatalf("stale: %d ns", oldest)
	}
	g.settled()
}

// TestFloodCostsOnlyTheFlooder is a member at 20,000 packets/s: limited to its
// budget, the excess counted exactly, the others whole.
func TestFloodCostsOnlyTheFlooder(t *testing.T) {
	g := newRig(t, Config{})
	ps := g.members("r", 3)
	const ms, flood = 2000, 20
	passed, heard := 0, 0
	for i := range ms {
		for k := range flood {
			if p := ps[0]; p.Admit(20, g.now.Load()) {
				passed++
				g.Forward(0, p, packet(uint16(i*flood+k), 0), g.now.Load())
			}
		}
		if i%20 == 0 {
			if !ps[1].Admit(20, g.now.Load()) {
				t.Fatal("a well-behaved client is refused")
			}
			g.Forward(1, ps[1], packet(uint16(i/20), 1), g.now.Load())
		}
		for _, pkt := range g.drain(ps[2]) {
			if pkt[len(pkt)-1] == 1 {
				heard++
			}
		}
		g.drain(ps[1])
		g.advance(time.Millisecond)
	}
	if heard != ms/20 {
		t.Fatalf("heard %d of %d", heard, ms/20)
	}
	if want := 400 + 400*(ms-1)/1000; passed != want {
		t.Fatalf("%d passed, want %d", passed, want)
	}
	c := g.Counts()
	if want := uint64(ms*flood - passed); c.Dropped[ledger.ClientRate] != want || c.Received != want {
		t.Fatalf("excess %d, counted %+v", want, c)
	}
	g.settled()
}

func TestLostBeforeAdmit(t *testing.T) {
	g := newRig(t, Config{})
	p := g.join("r", "a")
	p.Lost(ledger.RxQueue, 7)
	if c := g.Counts(); c.Received != 7 || c.Copies != 7 || c.Dropped[ledger.RxQueue] != 7 {
		t.Fatalf("%+v", c)
	}
	if v := g.Rooms(time.Time{})[0].Participants[0]; v.Dropped["rx_queue"] != 7 || v.Received != 7 {
		t.Fatalf("%+v", v)
	}
}

func ExampleRelay_Forward() {
	r := New(Config{})
	alice, _ := r.Join(request("lobby", "alice", 1))
	bob, _ := r.Join(request("lobby", "bob", 2))
	now := int64(1)
	if pkt := packet(0, 42); alice.Admit(len(pkt), now) {
		r.Forward(0, alice, pkt, now)
		r.FlushShard(0)
	}
	<-bob.Wake()
	got := bob.Take(nil, 24, now)
	bob.Done(len(got), 0, 0)
	c := r.Counts()
	fmt.Println(len(got), c.Copies, c.Delivered, c.Unexplained())
	// Output: 1 1 1 0
}

// TestLabels: who wants to know whose a packet is does, the others get it as it
// came.
func TestLabels(t *testing.T) {
	g := newRig(t, Config{})
	ps := g.members("r", 2)
	q := request("r", "browser", 9)
	q.Labelled, q.Transport = true, "ws"
	b, err := g.Join(q)
	if err != nil {
		t.Fatal(err)
	}
	for i, from := range []*Participant{ps[0], ps[1], ps[1]} {
		g.say(from, packet(uint16(i), uint64(i)))
	}
	pkts := b.Take(nil, 9, g.now.Load())
	for i, from := range []*Participant{ps[0], ps[1], ps[1]} {
		if got := pkts[i]; binary.BigEndian.Uint32(got) != uint32(from.Num()) || !bytes.Equal(got[LabelSize:], packet(uint16(i), uint64(i))) {
			t.Errorf("packet %d: %x", i, got)
		}
	}
	b.Done(3, 0, 0)
	if rest := ps[0].Take(nil, 9, g.now.Load()); len(rest) != 2 || !bytes.Equal(rest[0], packet(1, 1)) {
		t.Errorf("the native one has %x", rest)
	}
	ms := b.Members()
	if len(ms) != 3 || ms[1].Num != ps[1].Num() || ms[1].Alias != "m1" || ms[2].Transport != "ws" {
		t.Errorf("%+v", ms)
	}
}
