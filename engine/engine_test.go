package engine_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"signalbox/engine"
	"signalbox/engine/bench"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// patience is how long a condition may take on a loaded machine; it decides
// nothing but when to give up.
const patience = 30 * time.Second

// start runs a node on loopback until the test ends.
func start(t *testing.T, change func(*config.Config)) *engine.Engine {
	t.Helper()
	cfg := config.Default()
	cfg.StateDir = filepath.Join(t.TempDir(), "state")
	cfg.ListenAddr = "127.0.0.1:0"
	cfg.DHT.AllowLoopback = true
	if change != nil {
		change(&cfg)
	}
	e, err := engine.New(cfg, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	<-e.Ready()
	return e
}

// until waits for a snapshot that satisfies cond, checking on the way that the
// ledger of every snapshot closes.
func until(t *testing.T, e *engine.Engine, what string, cond func(*view.Snapshot) bool) *view.Snapshot {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last uint64
	for time.Now().Before(deadline) {
		s := e.Snapshot()
		if s.Seq != last {
			last = s.Seq
			closes(t, s)
			if cond(s) {
				return s
			}
		}
		<-tick.C
	}
	t.Fatalf("gave up waiting for: %s", what)
	return nil
}

func closes(t *testing.T, s *view.Snapshot) {
	t.Helper()
	for name, p := range map[string]view.Plane{"media": s.Ledger.Media, "federation": s.Ledger.Federation, "dht": s.Ledger.DHT} {
		var dropped uint64
		for _, n := range p.Dropped {
			dropped += n
		}
		if p.Unexplained != 0 || p.Copies != p.Delivered+dropped+p.Queued {
			t.Fatalf("ledger %s does not close at %d: %+v", name, s.Seq, p)
		}
	}
}

// callers joins n callers, each from a loopback address of its own.
func callers(t *testing.T, e *engine.Engine, room string, n int) ([]*bench.Caller, []*quicnet.Gate) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Logf("caller ended: %v", err)
		}
	})
	addr := netip.MustParseAddrPort(e.Info().Listen)
	cs, gates := make([]*bench.Caller, n), make([]*quicnet.Gate, n)
	for i := range n {
		cl, gate, err := quicnet.NewFreezableClient(quicnet.ClientConfig{LocalAddr: netip.AddrFrom4([4]byte{127, 0, 3, byte(i + 1)})})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cl.Close() })
		c, err := bench.Join(ctx, cl, addr, room, fmt.Sprintf("caller %d", i))
		if err != nil {
			until(t, e, "the ending", func(s *view.Snapshot) bool { return len(s.Endings) > 0 })
			t.Fatalf("%v; the node says %+v", err, e.Snapshot().Endings)
		}
		g.Go(func() error { return c.ReceiveLoop(ctx, func(time.Duration) {}) })
		g.Go(func() error { c.ReadSignals(ctx); return nil })
		cs[i], gates[i] = c, gate
	}
	return cs, gates
}

// talk sends n packets from each caller, a little apart, the first with a
// quality report.
func talk(t *testing.T, cs []*bench.Caller, n int) {
	t.Helper()
	tick := time.NewTicker(4 * time.Millisecond)
	defer tick.Stop()
	for k := range n {
		<-tick.C
		for i, c := range cs {
			var rep *wire.QualityReport
			if k%25 == 0 {
				rep = &wire.QualityReport{Loss: 2, RTT4: 10, Jitter: 3, CapKbps: 200}
			}
			if err := c.Send(uint64(i), 100, rep); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func received(cs []*bench.Caller) (n uint64) {
	for _, c := range cs {
		n += c.Received.Load()
	}
	return n
}

func do(t *testing.T, e *engine.Engine, c control.Command) control.Result {
	t.Helper()
	c.Author, c.Role = "test", control.Operator
	r, err := e.Do(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK {
		t.Fatalf("%s %s: %s %s", c.Kind, c.Target, r.Code, r.Message)
	}
	return r
}

func TestFiveCallersHearEachOther(t *testing.T) {
	e := start(t, nil)
	cs, _ := callers(t, e, "Standup", 5) // SNI is lower-cased
	const packets = 100
	talk(t, cs, packets)
	const want = 5 * 4 * packets
	s := until(t, e, "every copy delivered", func(s *view.Snapshot) bool {
		return s.Ledger.Media.Delivered >= want && received(cs) >= want
	})
	if len(s.Rooms) != 1 || s.Rooms[0].Name != "standup" {
		t.Fatalf("rooms: %+v", s.Rooms)
	}
	for _, p := range s.Rooms[0].Participants {
		if p.ReportAgeS < 0 || p.RTTMS != 40 || p.SeqGaps != 0 || len(p.Dropped) != 0 {
			t.Errorf("participant: %+v", p)
		}
	}
	for i, c := range cs {
		if c.Received.Load() != 4*packets || c.Corrupt.Load() != 0 || c.Reordered.Load() != 0 {
			t.Errorf("caller %d received %d, %d of them corrupt", i, c.Received.Load(), c.Corrupt.Load())
		}
	}
	until(t, e, "everyone told of five members", func(*view.Snapshot) bool {
		for _, c := range cs {
			if c.RoomCount.Load() != 5 {
				return false
			}
		}
		return true
	})
	for _, c := range cs {
		c.Close()
	}
	until(t, e, "the room is gone", func(s *view.Snapshot) bool { return len(s.Rooms) == 0 })
}

func TestPausedShardHarmsNobodyElse(t *testing.T) {
	e := start(t, nil)
	cs, _ := callers(t, e, "pause", 6)
	victim := until(t, e, "six members", func(s *view.Snapshot) bool {
		return len(s.Rooms) == 1 && len(s.Rooms[0].Participants) == 6
	}).Rooms[0].Participants[0].Shard
	do(t, e, control.Command{Kind: control.ShardPause, Target: victim, TTLS: 3600})
	talk(t, cs, 50)
	s := until(t, e, "the paused shard drops and the verdict names it", func(s *view.Snapshot) bool {
		for _, c := range s.Node.Health.Causes {
			if c.Subject == victim && c.Severity == view.Alarm {
				return true
			}
		}
		return false
	})
	for _, sh := range s.Shards {
		for reason, n := range sh.Dropped {
			if n > 0 && (sh.Key() != victim || reason != "shard_paused") {
				t.Errorf("%s dropped %d as %s", sh.Key(), n, reason)
			}
		}
	}
	do(t, e, control.Command{Kind: control.ShardResume, Target: victim})
	before := received(cs)
	talk(t, cs, 10)
	until(t, e, "all six are heard again", func(*view.Snapshot) bool { return received(cs) >= before+6*5*10 })
}

func TestPanicInShardIsContained(t *testing.T) {
	e := start(t, nil)
	cs, _ := callers(t, e, "panic", 3)
	host := netip.MustParseAddr("127.0.3.1")
	if err := e.InjectFault("media", host, func() { panic("planted") }); err != nil {
		t.Fatal(err)
	}
	until(t, e, "the panic is counted and the shard runs", func(s *view.Snapshot) bool {
		for _, sh := range s.Shards {
			if sh.Panics == 1 && sh.State == "running" {
				return sh.LastPanic != ""
			}
		}
		return false
	})
	evs, _ := e.Events(0)
	found := false
	for _, ev := range evs {
		found = found || ev.Kind == "shard_panic" && ev.Fields["stack"] != ""
	}
	if !found {
		t.Error("no event carries the stack")
	}
	before := received(cs)
	talk(t, cs, 20)
	until(t, e, "everyone is still heard", func(*view.Snapshot) bool { return received(cs) >= before+3*2*20 })
}

func TestWedgedShardIsShownAndRecovers(t *testing.T) {
	e := start(t, nil)
	cs, _ := callers(t, e, "wedge", 4)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	if err := e.InjectFault("media", netip.MustParseAddr("127.0.3.1"), func() { <-release }); err != nil {
		t.Fatal(err)
	}
	s := until(t, e, "a shard is shown wedged", func(s *view.Snapshot) bool {
		for _, sh := range s.Shards {
			if sh.State == "wedged" {
				return s.Node.Health.Verdict == "failing"
			}
		}
		return false
	})
	for _, sh := range s.Shards {
		if sh.State == "wedged" {
			do(t, e, control.Command{Kind: control.ShardRestart, Target: sh.Key()})
		}
	}
	until(t, e, "all shards run", func(s *view.Snapshot) bool {
		for _, sh := range s.Shards {
			if sh.State != "running" {
				return false
			}
		}
		return true
	})
	before := received(cs)
	talk(t, cs, 20)
	until(t, e, "everyone is heard", func(*view.Snapshot) bool { return received(cs) >= before+4*3*20 })
}

func TestFrozenReceiverLosesAlone(t *testing.T) {
	e := start(t, func(c *config.Config) { c.Relay.QueueCapacity = 64 })
	cs, gates := callers(t, e, "freeze", 6)
	talk(t, cs, 10)
	until(t, e, "all heard", func(*view.Snapshot) bool { return received(cs) >= 6*5*10 })
	if err := gates[5].Freeze(true); err != nil {
		t.Skipf("this kernel refuses socket filters: %v", err)
	}
	base := received(cs[:5])
	const packets = 150
	talk(t, cs[:5], packets)
	s := until(t, e, "the frozen one's drops stand on screen", func(s *view.Snapshot) bool {
		return received(cs[:5]) >= base+5*4*packets && s.Ledger.Media.Dropped["queue_head"]+s.Ledger.Media.Dropped["queue_age"] > 0
	})
	for _, p := range s.Rooms[0].Participants {
		lost := p.Dropped["queue_head"] + p.Dropped["queue_age"]
		if (p.Alias == "caller 5") != (lost > 0) {
			t.Errorf("%s lost %d", p.Alias, lost)
		}
	}
	if err := gates[5].Freeze(false); err != nil {
		t.Fatal(err)
	}
	before := cs[5].Received.Load()
	until(t, e, "it recovers", func(*view.Snapshot) bool {
		talk(t, cs[:1], 1)
		return cs[5].Received.Load() > before
	})
}

func TestCommandsAreAuditedUndoneAndExpire(t *testing.T) {
	e := start(t, nil)
	callers(t, e, "levers", 2)
	s := until(t, e, "two members", func(s *view.Snapshot) bool { return len(s.Rooms) == 1 && len(s.Rooms[0].Participants) == 2 })
	p := s.Rooms[0].Participants[0]
	dry := do(t, e, control.Command{Kind: control.ParticipantMute, Target: p.ID, DryRun: true})
	if len(dry.Plan) == 0 || len(e.Audit()) != 1 { // the start
		t.Fatalf("a dry run changed something: %+v", dry)
	}
	muted := func(want bool) func(*view.Snapshot) bool {
		return func(s *view.Snapshot) bool { return s.Rooms[0].Participants[0].Muted == want }
	}
	r := do(t, e, control.Command{Kind: control.ParticipantMute, Target: p.ID, Reason: "noise"})
	until(t, e, "muted", muted(true))
	do(t, e, control.Command{Kind: control.Undo, Target: r.Undo})
	until(t, e, "not muted", muted(false))
	do(t, e, control.Command{Kind: control.ParticipantMute, Target: p.ID, TTLS: 0.5})
	until(t, e, "muted again", muted(true))
	until(t, e, "expired", muted(false))
	denied, err := e.Do(context.Background(), control.Command{Kind: control.RoomClose, Target: "levers", Role: control.Viewer})
	if err != nil || denied.Code != control.Denied {
		t.Fatalf("a viewer may act: %+v %v", denied, err)
	}
	// The start, a mute, its undo, another, its expiry and the refusal.
	if a := e.Audit(); len(a) != 6 || a[0].OK || a[1].Author != "expiry" || a[4].UndoneBy != "test" || a[4].Reason != "noise" {
		t.Fatalf("audit: %+v", a)
	}
}
