package relay

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"signalbox/relay/wire"
)

func TestJoinRefusals(t *testing.T) {
	g := newRig(t, Config{MaxSessions: 5, MaxRooms: 2, MaxRoomSize: 3})
	refuse := func(room string, want error) {
		t.Helper()
		if _, err := g.Join(request(room, "x", 9)); !errors.Is(err, want) {
			t.Fatalf("%q: %v, want %v", room, err, want)
		}
	}
	for _, name := range []string{"", "a b", "a\nb", "a\u202eb", strings.Repeat("x", 254), "\xff"} {
		refuse(name, ErrName)
	}
	a := g.members("a", 3)
	refuse("a", ErrRoomFull)
	g.join("b", "one")
	refuse("c", ErrRooms)
	if err := g.LockRoom("b", true); err != nil {
		t.Fatal(err)
	}
	refuse("b", ErrLocked)
	if err := g.LockRoom("b", false); err != nil {
		t.Fatal(err)
	}
	g.join("b", "two")
	refuse("b", ErrFull)
	g.SetDraining(true)
	refuse("b", ErrDraining)
	g.SetDraining(false)
	a[0].Leave(0)
	g.join("a", "again")
	for _, p := range a {
		p.Leave(0)
	}
	if s, n := g.Sessions(), len(g.Rooms(time.Time{})); s != 3 || n != 2 {
		t.Fatalf("%d sessions, %d rooms", s, n)
	}
}

func TestCallRoomHasTwoSeats(t *testing.T) {
	g := newRig(t, Config{})
	alice, bob := g.join("call-1", "alice"), g.join("call-1", "bob")
	if _, err := g.Join(request("call-1", "carol", 3)); !errors.Is(err, ErrRoomFull) {
		t.Fatal(err)
	}
	var closed atomic.Int32
	alice.closeConn = func(string) { closed.Add(1) }
	again := g.join("call-1", "alice") // her old connection is half dead
	if closed.Load() != 1 {
		t.Fatal("the old connection was not closed")
	}
	alice.Leave(0) // its late clean-up
	g.say(bob, packet(0, 0))
	if len(g.drain(again)) != 1 || len(g.drain(alice)) != 0 {
		t.Fatal("the newer connection must have the seat")
	}
	if upd, _ := signals(bob); upd == nil || upd.Count != 2 || upd.Participants[1].Fingerprint != "fp-alice" {
		t.Fatalf("%+v", upd)
	}
	if s := g.Sessions(); s != 2 {
		t.Fatalf("%d sessions", s)
	}
	g.settled()
}

func TestRoomUpdates(t *testing.T) {
	g := newRig(t, Config{})
	names := func(u *wire.RoomUpdate) (out []string) {
		if u == nil {
			return nil
		}
		for _, p := range u.Participants {
			alias := "-"
			if p.Alias != nil {
				alias = *p.Alias
			}
			out = append(out, p.Fingerprint+"/"+alias)
			if p.RelayLabel != nil {
				t.Fatal("a label on a local participant")
			}
		}
		if int(u.Count) != len(u.Participants) {
			t.Fatal("count")
		}
		return out
	}
	a := g.join("r", "a")
	if upd, dir := signals(a); !slices.Equal(names(upd), []string{"fp-a/a"}) || dir != nil {
		t.Fatalf("%v %v", upd, dir)
	}
	q := request("r", "b", 2)
	q.Alias = ""
	b, err := g.Join(q)
	if err != nil {
		t.Fatal(err)
	}
	c := g.join("r", "c")
	for _, p := range []*Participant{a, b, c} {
		if len(p.SignalWake()) != 1 {
			t.Fatal("not woken")
		}
		if upd, _ := signals(p); !slices.Equal(names(upd), []string{"fp-a/a", "fp-b/-", "fp-c/c"}) {
			t.Fatalf("%v", names(upd))
		}
	}
	a.Leave(0)
	if upd, _ := signals(c); !slices.Equal(names(upd), []string{"fp-b/-", "fp-c/c"}) {
		t.Fatalf("%v", names(upd))
	}
	if upd, dir := signals(a); upd != nil || dir != nil {
		t.Fatal("one who left is told nothing")
	}
}

// TestRostersFitInAFrame: what clients take at most is 1 MiB (3.1).
func TestRostersFitInAFrame(t *testing.T) {
	alias := strings.Repeat("\x01", 256) // six times as long in JSON
	for _, n := range []int{10, 1000, 30000} {
		u := &wire.RoomUpdate{Count: uint32(n), Participants: make([]wire.RoomParticipant, n)}
		for i := range u.Participants {
			u.Participants[i] = wire.RoomParticipant{Fingerprint: "0000:0000:0000:0000:0000:0000:0000:0000", Alias: &alias}
		}
		frame := fitting(u)
		if len(frame) == 0 || len(frame) > 4+wire.HardMaxFrame || u.Count != uint32(n) {
			t.Fatalf("%d members: %d bytes, count %d", n, len(frame), u.Count)
		}
		if got := len(u.Participants); (n <= 1000 && got != n) || got < 5000 && n > 1000 || (u.Participants[0].Alias != nil) != (n == 10) {
			t.Fatalf("%d members: %d told, alias %v", n, got, u.Participants[0].Alias)
		}
	}
}

// TestNotTold: what could not be told is due again, as it is by then.
func TestNotTold(t *testing.T) {
	g := newRig(t, Config{})
	a := g.join("r", "a")
	s, frame, ok := a.NextFrame(true)
	if !ok || frame == nil {
		t.Fatal("no frame")
	}
	a.NotTold(s)
	g.join("r", "b")
	if _, _, ok := a.NextFrame(false); ok {
		t.Fatal("a roster that was not asked for")
	}
	if upd, _ := signals(a); upd == nil || upd.Count != 2 {
		t.Fatalf("%+v", upd)
	}
}

// TestThousandJoins: lists are built for those that ask, once a roster, and
// nobody who asks is told of anything but the newest.
func TestThousandJoins(t *testing.T) {
	g := newRig(t, Config{QueueCapacity: 8})
	first := g.join("r", "first")
	signals(first)
	ps := append(g.members("r", 999), first)
	upd, _ := signals(first)
	if upd.Count != 1000 {
		t.Fatalf("%d", upd.Count)
	}
	for _, p := range ps[:10] {
		if u, _ := signals(p); u != upd {
			t.Fatal("the same list was built twice")
		}
	}
}

// TestJoinAgainstLastLeave is the race in which the original lost joiners: a
// room's last member leaves while another joins. Each joiner must be in the
// room that everybody finds under the name.
func TestJoinAgainstLastLeave(t *testing.T) {
	rounds := 1_000_000
	if testing.Short() && os.Getenv("FAULTS") == "" {
		rounds = 10_000
	}
	g := newRig(t, Config{QueueCapacity: 2})
	const workers = 4
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds / workers {
				p, err := g.Join(request("r", "x", w))
				if err != nil {
					t.Error(err)
					return
				}
				if rm := g.findRoom("r"); rm != p.room || !slices.Contains(rm.roster.Load().members, p) {
					t.Errorf("round %d: lost in a room nobody finds", i)
					return
				}
				p.Leave(0)
			}
		})
	}
	wg.Wait()
	if n, s := g.rooms.Load(), g.Sessions(); n != 0 || s != 0 || g.findRoom("r") != nil {
		t.Fatalf("%d rooms, %d sessions left", n, s)
	}
}

// reports gives n equal reports of p.
func (g *rig) reports(p *Participant, n int, loss, rtt4 uint8) {
	for range n {
		g.advance(time.Second)
		g.say(p, report(uint16(p.seq.Load())+1, loss, rtt4))
	}
}

func (g *rig) tier(room string) string {
	g.t.Helper()
	for _, v := range g.Rooms(time.Time{}) {
		if v.Name == room {
			return v.Tier
		}
	}
	g.t.Fatalf("no room %s", room)
	return ""
}

func TestRoomTierFollowsTheWeakest(t *testing.T) {
	g := newRig(t, Config{})
	ps := g.members("r", 3)
	for _, p := range ps {
		signals(p)
	}
	g.reports(ps[0], 30, 0, 0)
	if got := g.tier("r"); got != "Studio64k" {
		t.Fatalf("those that never report hold the room down: %s", got)
	}
	_, dir := signals(ps[2])
	if dir == nil || dir.RecommendedProfile != wire.ProfileStudio64k || *dir.Reason != "weakest link: Studio64k" {
		t.Fatalf("the newest directive goes to everybody: %+v", dir)
	}
	g.reports(ps[1], 2, 255, 255)
	if got := g.tier("r"); got != "Good" { // one that reports starts at Good
		t.Fatal(got)
	}
	g.reports(ps[1], 1, 255, 255)
	v := g.Rooms(time.Time{})[0]
	if v.Tier != "Catastrophic" || v.Weakest != ps[1].ID() || v.Directives != 5 {
		t.Fatalf("%+v", v)
	}
	for _, p := range ps {
		if _, dir := signals(p); dir == nil || dir.RecommendedProfile != wire.ProfileCatastrophic {
			t.Fatalf("%s was told %+v", p.ID(), dir)
		}
	}
	late := g.join("r", "late")
	if _, dir := signals(late); dir == nil || dir.RecommendedProfile != wire.ProfileCatastrophic {
		t.Fatalf("a joiner was told %+v", dir)
	}
	ps[1].Leave(0)
	if got := g.tier("r"); got != "Studio64k" {
		t.Fatalf("the weakest has left and the room is at %s", got)
	}
	ps[0].Leave(0)
	if got := g.tier("r"); got != "Good" {
		t.Fatalf("nobody reports and the room is at %s", got)
	}
}

func TestLiar(t *testing.T) {
	g := newRig(t, Config{TierFloor: wire.Degraded})
	ps := g.members("r", 20)
	g.reports(ps[7], 60, 255, 255)
	v := g.Rooms(time.Time{})[0]
	if v.Tier != "Degraded" || v.Weakest != ps[7].ID() || v.Participants[7].Tier != "Catastrophic" || v.Participants[7].LossPct != 100 {
		t.Fatalf("%+v", v)
	}
	if err := g.Mute(ps[7].ID(), true); err != nil {
		t.Fatal(err)
	}
	if got := g.tier("r"); got != "Good" {
		t.Fatalf("a muted liar still counts: %s", got)
	}
}

func TestPinTier(t *testing.T) {
	g := newRig(t, Config{})
	ps := g.members("r", 2)
	signals(ps[0])
	if err := g.PinTier("r", "studio32K"); err != nil {
		t.Fatal(err)
	}
	_, dir := signals(ps[0])
	if dir == nil || dir.RecommendedProfile != wire.ProfileStudio32k || *dir.Reason != "pinned by operator: Studio32k" {
		t.Fatalf("%+v", dir)
	}
	g.reports(ps[1], 5, 255, 255)
	if _, dir := signals(ps[0]); dir != nil || g.tier("r") != "Studio32k" {
		t.Fatalf("the pin does not hold: %+v", dir)
	}
	if err := g.PinTier("r", ""); err != nil {
		t.Fatal(err)
	}
	if _, dir := signals(ps[0]); dir == nil || dir.RecommendedProfile != wire.ProfileCatastrophic {
		t.Fatalf("%+v", dir)
	}
	if !errors.Is(g.PinTier("r", "loud"), ErrTier) || g.KnownTier("loud") || !g.KnownTier("") {
		t.Fatal("tier names")
	}
}

// TestTierRace: members of one room change tier on different loops at once.
// Whatever the order, in the end the room is where its members are.
func TestTierRace(t *testing.T) {
	g := newRig(t, Config{})
	ps := g.members("r", 20)
	rm := ps[0].room
	g.reports(ps[0], 1, 0, 0)
	g.reports(ps[19], 1, 0, 0)
	rounds := uint64(100_000)
	if testing.Short() {
		rounds = 20_000
	}
	var start, ended atomic.Uint64
	move := func(p *Participant, round uint64, step wire.Tier) {
		p.tier.Store(uint32((wire.Tier(round) * step) % wire.NumTiers))
		rm.retier()
	}
	go func() {
		for round := range rounds {
			for start.Load() == round {
				runtime.Gosched()
			}
			move(ps[0], round, 1)
			ended.Store(round + 1)
		}
	}()
	for round := range rounds {
		start.Store(round + 1)
		move(ps[19], round, 5)
		for ended.Load() == round {
			runtime.Gosched()
		}
		_, want := rm.roster.Load().weakest()
		if got := wire.Tier(rm.directive.Load() & 0xff); got != want {
			t.Fatalf("round %d: room at %s, weakest at %s", round, got, want)
		}
	}
}

func TestLocksAndPinsOutliveTheMembers(t *testing.T) {
	g := newRig(t, Config{})
	a := g.join("r", "a")
	for _, err := range []error{g.LockRoom("r", true), g.PinTier("r", "Degraded"), g.CloseRoom("r")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := g.Join(request("r", "b", 2)); !errors.Is(err, ErrLocked) {
		t.Fatalf("closing has unlocked the room: %v", err)
	}
	a.Leave(0)
	v := g.Rooms(time.Time{})
	if len(v) != 1 || !v[0].Locked || v[0].PinnedTier != "Degraded" || v[0].Tier != "Degraded" || len(v[0].Participants) != 0 {
		t.Fatalf("%+v", v)
	}
	if err := g.LockRoom("r", false); err != nil {
		t.Fatal(err)
	}
	b := g.join("r", "b")
	if _, dir := signals(b); dir == nil || dir.RecommendedProfile != wire.ProfileDegraded {
		t.Fatalf("%+v", dir)
	}
	b.Leave(0)
	if err := g.PinTier("r", ""); err != nil {
		t.Fatal(err)
	}
	if v := g.Rooms(time.Time{}); len(v) != 0 || g.rooms.Load() != 0 {
		t.Fatalf("the room outlives its levers: %+v", v)
	}
	for _, err := range []error{g.LockRoom("r", true), g.PinTier("r", "Good"), g.CloseRoom("r")} {
		if !errors.Is(err, ErrNoRoom) {
			t.Fatal(err)
		}
	}
}

func TestKickAndClose(t *testing.T) {
	g := newRig(t, Config{})
	var why []string
	q := request("r", "a", 1)
	q.Close = func(reason string) { why = append(why, reason) }
	a, err := g.Join(q)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = g.Join(q); err != nil {
		t.Fatal(err)
	}
	b := g.join("r", "b")
	if err := g.Kick(a.ID(), "kicked"); err != nil {
		t.Fatal(err)
	}
	if upd, _ := signals(b); upd.Count != 2 || g.Sessions() != 2 {
		t.Fatal("the kicked is still there")
	}
	for _, id := range []string{a.ID(), "p0", "p01", "x", "", "p99"} {
		if err := g.Kick(id, ""); !errors.Is(err, ErrNoParticipant) {
			t.Fatalf("%q: %v", id, err)
		}
	}
	if err := g.CloseRoom("r"); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(why, []string{"kicked", "room closed"}) || g.Sessions() != 0 || g.rooms.Load() != 0 {
		t.Fatalf("%v, %d sessions, %d rooms", why, g.Sessions(), g.rooms.Load())
	}
	g.settled()
}

func TestView(t *testing.T) {
	g := newRig(t, Config{})
	q := request("r", "a", 1)
	q.Alias = "ev\u202eil\x1b[31m"
	a, err := g.Join(q)
	if err != nil {
		t.Fatal(err)
	}
	b := g.join("r", "b")
	if !a.Admit(20, g.now.Load()) {
		t.Fatal("refused")
	}
	g.say(a, report(0, 51, 10))
	g.advance(2 * time.Second)
	v := g.Rooms(time.Time{})[0]
	pa, pb := v.Participants[0], v.Participants[1]
	if pa.Alias != "evil[31m" || pa.ID != a.ID() || pa.Remote != "10.0.0.1:4000" || pa.Shard != "media/0" || pa.Transport != "quic" {
		t.Fatalf("%+v", pa)
	}
	if pa.LossPct != 20 || pa.RTTMS != 40 || pa.JitterMS != 7 || pa.ReportAgeS != 2 || pa.Received != 1 || pa.LastPacketMS != 2000 {
		t.Fatalf("%+v", pa)
	}
	if pb.ReportAgeS != -1 || pb.QueueDepth != 1 || pb.QueueCapacity != 256 || pb.QueueOldestMS != 2000 || pb.Tier != "Good" || pb.LastPacketMS != 2000 {
		t.Fatalf("%+v", pb)
	}
	g.drain(b)
	if pb = g.Rooms(time.Time{})[0].Participants[1]; pb.Dropped["queue_age"] != 1 || pb.Delivered != 0 {
		t.Fatalf("%+v", pb)
	}
}
