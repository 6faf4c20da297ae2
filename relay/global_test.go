package relay

import (
	"testing"
	"time"

	"signalbox/relay/wire"
)

// fakeUplink notes what a room tells it.
type fakeUplink struct {
	g               *GlobalRoom
	out             []string
	changed, closed int
}

func (u *fakeUplink) Out(from string, _ []byte, _ int64) { u.out = append(u.out, from) }
func (u *fakeUplink) Changed()                           { u.changed++ }
func (u *fakeUplink) Closed()                            { u.closed++ }

func elsewhere(name string) []wire.RoomParticipant {
	label := "far"
	return []wire.RoomParticipant{{Fingerprint: name, Alias: &name, RelayLabel: &label}}
}

// TestGlobalRoom: a room's uplink hears of its members and packets; members
// elsewhere are in the list, in the newest form only, and hear nothing here.
func TestGlobalRoom(t *testing.T) {
	var ups []*fakeUplink
	now := time.Now()
	r := New(Config{Global: func(g *GlobalRoom) (Uplink, *Remotes) {
		if g.Name() != "shared" {
			return nil, nil
		}
		ups = append(ups, &fakeUplink{g: g})
		return ups[len(ups)-1], &Remotes{Gen: 1, List: elsewhere("zoe")}
	}})
	join := func(room string) *Participant {
		p, err := r.Join(JoinRequest{Room: room, Fingerprint: "f", Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	join("own")
	a, b := join("shared"), join("shared")
	if len(ups) != 1 || ups[0].changed != 2 || len(ups[0].g.Members()) != 2 {
		t.Fatalf("%+v", ups)
	}
	list := func() int {
		s, _ := a.NextSignal()
		u, ok := s.(*wire.RoomUpdate)
		if !ok {
			return -1
		}
		return int(u.Count)
	}
	if n := list(); n != 3 {
		t.Errorf("told of %d, want two here and one elsewhere", n)
	}
	r.Forward(0, a, packet(1, 1), 1)
	if len(ups[0].out) != 1 || ups[0].out[0] != a.ID() {
		t.Errorf("%v", ups[0].out)
	}
	before := r.FanOut()
	if n, open := ups[0].g.Deliver(packet(2, 2), 1, 1); n != 2 || !open || r.FanOut() != before+2 || len(b.Take(nil, 9, 1)) != 2 || len(a.Take(nil, 9, 1)) != 1 {
		t.Error("what comes from elsewhere goes to everybody here once")
	}
	a.NextSignal()
	ups[0].g.SetRemotes(&Remotes{Gen: 9})
	ups[0].g.SetRemotes(&Remotes{Gen: 3, List: elsewhere("late")})
	if n := list(); n != 2 {
		t.Errorf("told of %d after the newest list, want 2", n)
	}
	if v := r.Rooms(now); !v[1].Global || v[0].Global || v[1].Local() != 2 {
		t.Errorf("%+v", v)
	}
	if err := r.CloseRoom("shared"); err != nil || ups[0].closed == 0 {
		t.Errorf("%v, closed %d times", err, ups[0].closed)
	}
	if _, open := ups[0].g.Deliver(packet(3, 3), 1, 1); open {
		t.Error("a closed room took a packet")
	}
	c := join("shared")
	c.Leave(0)
	if len(ups) != 2 || ups[1].closed == 0 || r.Counts().Copies == 0 {
		t.Errorf("%d rooms, the last closed %d times", len(ups), ups[1].closed)
	}
	if c := r.Counts(); c.Unexplained() != 0 {
		t.Errorf("%+v", c)
	}
}
