package engine_test

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"signalbox/engine"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/view"
)

// ask repeats a question to the DHT until the answer is as wanted. Each try
// waits for what is remembered of the last to be forgotten.
func ask(t *testing.T, what string, find func(context.Context) ([]engine.Place, error), ok func([]engine.Place) bool) []engine.Place {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		places, err := find(ctx)
		if err == nil && ok(places) {
			return places
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("gave up asking %s: %v, %v", what, places, err)
		}
	}
}

// A relay that never heard of the others finds who serves a room, and who has a
// user, from one address to join; the places it is given are those relays; and
// one that drains is found no more.
func TestDirectory(t *testing.T) {
	seed := start(t, nil)
	join := func(rooms ...string) func(*config.Config) {
		return func(c *config.Config) {
			c.DHT.Join = []string{seed.Info().NodeID + "@" + seed.Info().Listen}
			for _, r := range rooms {
				c.GlobalRooms = append(c.GlobalRooms, config.GlobalRoom{Name: r})
			}
		}
	}
	a, b := start(t, join("ops", "only a")), start(t, join("ops"))
	held := func(e *engine.Engine, room string) {
		t.Helper()
		until(t, e, "its rooms are published", func(s *view.Snapshot) bool {
			return slices.ContainsFunc(s.DHT.Records.Own, func(o view.OwnRecord) bool { return o.Label == room && o.Kind == "room" && o.Holders > 0 })
		})
	}
	held(a, "ops")
	held(a, "only a")
	held(b, "ops")
	const user = "ABCD:ef01:2345:6789:abcd:ef01:2345:6789"
	if err := b.PublishPresence(user); err != nil {
		t.Fatal(err)
	}

	c := start(t, join())
	room := func(name string) func(context.Context) ([]engine.Place, error) {
		return func(ctx context.Context) ([]engine.Place, error) { return c.FindRoom(ctx, name) }
	}
	places := ask(t, "for the room of two", room("ops"), func(p []engine.Place) bool { return len(p) == 2 })
	for _, e := range []*engine.Engine{a, b} {
		in := e.Info()
		i := slices.IndexFunc(places, func(p engine.Place) bool { return p.NodeID == in.NodeID })
		if i < 0 {
			t.Fatalf("%s is not among %+v", in.NodeID, places)
		}
		if p := places[i]; p.TLSFingerprint != in.TLSFingerprint || p.Fingerprint != in.Fingerprint || !slices.Equal(p.Addrs, []netip.AddrPort{netip.MustParseAddrPort(in.Listen)}) ||
			!p.Expires.After(time.Now()) {
			t.Errorf("got %+v, want %+v", p, in)
		}
	}
	if p := ask(t, "for the room of one", room("only a"), func(p []engine.Place) bool { return len(p) == 1 }); p[0].NodeID != a.Info().NodeID {
		t.Errorf("%+v", p)
	}
	if p := ask(t, "for nobody's room", room("nobody's"), func([]engine.Place) bool { return true }); len(p) != 0 {
		t.Errorf("%+v", p)
	}
	find := func(ctx context.Context) ([]engine.Place, error) {
		return c.FindFingerprint(ctx, "abcdef0123456789abcdef0123456789")
	}
	if p := ask(t, "for a user", find, func(p []engine.Place) bool { return len(p) == 1 }); p[0].NodeID != b.Info().NodeID {
		t.Errorf("%+v", p)
	}
	// a serves the room itself and asks for the others.
	others := func(ctx context.Context) ([]engine.Place, error) { return a.FindRoom(ctx, "ops") }
	if p := ask(t, "for the others", others, func(p []engine.Place) bool { return len(p) == 1 }); p[0].NodeID != b.Info().NodeID {
		t.Errorf("%+v", p)
	}
	until(t, seed, "it keeps records for the others", func(s *view.Snapshot) bool {
		return s.DHT.Records.Foreign >= 4 && s.DHT.Cache.Bytes > 0 && s.DHT.Records.Kept >= 4
	})

	// A drained node and a user that has gone are withdrawn, where they were
	// stored; whoever asked before may remember them for a minute.
	b.WithdrawPresence(user)
	do(t, a, control.Command{Kind: control.NodeDrain, Reason: "test"})
	gone := func(s *view.Snapshot) bool { return s.DHT.Records.Rooms == 0 && s.DHT.Records.Presences == 0 }
	until(t, a, "its rooms are withdrawn", gone)
	until(t, b, "its user is withdrawn", func(s *view.Snapshot) bool { return s.DHT.Records.Presences == 0 })
	d := start(t, join())
	late := func(ctx context.Context) ([]engine.Place, error) { return d.FindRoom(ctx, "ops") }
	if p := ask(t, "after a has drained", late, func(p []engine.Place) bool { return len(p) == 1 }); p[0].NodeID != b.Info().NodeID {
		t.Errorf("%+v", p)
	}
	do(t, a, control.Command{Kind: control.NodeUndrain, Reason: "test"})
	held(a, "ops")
}

// A node that keeps nothing for others is found, and finds, all the same.
func TestDirectoryWithoutCache(t *testing.T) {
	seed := start(t, nil)
	off := func(c *config.Config) {
		c.DHT.Join = []string{seed.Info().NodeID + "@" + seed.Info().Listen}
		c.DHT.CacheBytes = 0
		c.GlobalRooms = []config.GlobalRoom{{Name: "ops"}}
	}
	a, b := start(t, off), start(t, off)
	for _, e := range []*engine.Engine{a, b} {
		ask(t, "for the other", func(ctx context.Context) ([]engine.Place, error) { return e.FindRoom(ctx, "ops") },
			func(p []engine.Place) bool { return len(p) == 1 })
	}
	if s := a.Snapshot(); s.DHT.Cache.Bytes != 0 || s.DHT.Records.Foreign != 0 {
		t.Errorf("%+v %+v", s.DHT.Cache, s.DHT.Records)
	}
	if err := a.PublishPresence(""); err == nil {
		t.Error("nobody is listed")
	}
}
