package dhttest

import (
	"testing"
	"testing/synctest"
	"time"

	"signalbox/dht/table"
	"signalbox/engine/view"
)

// add makes one node for a test.
func add(t *testing.T, s *Swarm, seeds ...*Peer) *Peer {
	t.Helper()
	p, err := s.Add(Spec{Seeds: seeds})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEveryoneFindsEveryone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Seed: 11, KeepEvents: true})
		defer s.Close()
		nodes := []*Peer{add(t, s)}
		for i := 1; i < 30; i++ {
			nodes = append(nodes, add(t, s, nodes[0], nodes[i/2]))
		}
		s.Sleep(time.Minute)
		for _, a := range nodes {
			for _, b := range nodes {
				if o := a.Measure(t.Context(), b.ID); a != b && (o.Err != nil || !o.Exact) {
					t.Fatalf("%d does not find %d: %+v", a.Index, b.Index, o)
				}
			}
			if n := a.Saw("dht.isolated", ""); n != 0 {
				t.Error("isolated", n)
			}
		}
		var v view.DHT
		nodes[3].Fill(&v, s.Now())
		for range 100 { // some maintenance may be under way
			if v.RPC.Pending == 0 {
				break
			}
			s.Sleep(50 * time.Millisecond)
			nodes[3].Fill(&v, s.Now())
		}
		if v.Lookups.OK < 29 || v.Lookups.Failed != 0 || v.RPC.OK == 0 || v.RPC.Timeout != 0 || v.RPC.Pending != 0 ||
			v.Lookups.P50MS <= 0 || v.Lookups.HopsP50 < 1 || v.Peers < 20 || v.Touch.Fast == 0 {
			t.Errorf("%+v %+v %+v peers %d", v.Lookups, v.RPC, v.Touch, v.Peers)
		}
		if st := nodes[3].Stats(); st.Malformed+st.WrongPeer+st.Panics+st.SendErr+st.Quota != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// Spec dht 12, 46: a seed that is down at the start is dialled again, and the
// backoff ends when it is back.
func TestSeedThatComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Seed: 12, KeepEvents: true})
		defer s.Close()
		seed := add(t, s)
		seed.Isolate(true)
		n := add(t, s, seed)
		s.Sleep(10 * time.Minute)
		if n.Saw("dht.isolated", "") != 1 || n.Table().Len() != 0 {
			t.Error("isolation is not told exactly once")
		}
		seed.Isolate(false)
		s.Sleep(2 * time.Minute)
		if n.Table().Get(seed.ID) == nil || seed.Table().Get(n.ID) == nil || n.Saw("dht.bootstrapped", "") != 1 {
			t.Error("not connected after the seed is back")
		}
		// All links go at once: the way back is quick.
		n.Cut()
		s.Sleep(10 * time.Second)
		if n.Stats().Links == 0 {
			t.Error("not reconnected")
		}
	})
}

// Who knows few after joining looks again soon; who knows enough does not.
func TestThinTableLooksAgain(t *testing.T) {
	for _, tt := range []struct{ others, least, most int }{{3, 4, 7}, {20, 1, 2}} {
		synctest.Test(t, func(t *testing.T) {
			s := New(Config{Seed: 14})
			defer s.Close()
			nodes := []*Peer{add(t, s)}
			for range tt.others - 1 {
				nodes = append(nodes, add(t, s, nodes[0]))
			}
			s.Sleep(2 * time.Minute)
			n := add(t, s, nodes[0])
			s.Sleep(40 * time.Second)
			var v view.DHT
			n.Fill(&v, s.Now())
			if k := int(v.Lookups.OK); k < tt.least || k > tt.most {
				t.Errorf("%d lookups among %d others", k, tt.others)
			}
		})
	}
}

// six is a small network in which everybody knows everybody.
func six(t *testing.T, seed uint64) (*Swarm, []*Peer) {
	t.Helper()
	s := New(Config{Seed: seed, KeepEvents: true})
	t.Cleanup(s.Close)
	nodes := []*Peer{add(t, s)}
	for range 5 {
		nodes = append(nodes, add(t, s, nodes[0]))
	}
	s.Sleep(time.Minute)
	if n := nodes[1].Table().Len(); n != 5 {
		t.Fatal("knows", n)
	}
	return s, nodes
}

// checkedOnce is long enough for a node to look after its contacts once.
const checkedOnce = 20 * time.Second

// A lost connection is no death; a silent peer is asked, then removed, and the
// removal is told.
func TestDeadPeerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, nodes := six(t, 13)
		a, dead, cut := nodes[1], nodes[2], nodes[3]
		cut.Cut()
		dead.Kill()
		s.Sleep(checkedOnce) // four probes without an answer take longer
		if a.Table().Get(dead.ID) == nil || a.Table().Get(cut.ID) == nil {
			t.Error("a lost connection removes")
		}
		s.Sleep(10 * time.Minute)
		if a.Table().Get(dead.ID) != nil || a.Saw("dht.peer_removed", dead.ID.String()) != 1 {
			t.Error("the dead peer is still there, or its removal was not told")
		}
		if a.Table().Get(cut.ID) == nil || a.Table().Len() != 4 {
			t.Error("a live peer has gone")
		}
	})
}

// When the fault is our own network's, nobody is removed or charged.
func TestOwnOutageCostsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, nodes := six(t, 14)
		a := nodes[1]
		a.Isolate(true)
		s.Sleep(2 * time.Hour)
		if a.Table().Len() != 5 {
			t.Error("the table has shrunk to", a.Table().Len())
		}
		for _, c := range a.Table().Contacts(nil) {
			if score := c.Trust().Score(s.Now()); score < 0.5 {
				t.Errorf("%s was charged: %v", c.ID().Short(), score)
			}
		}
		a.Isolate(false)
		s.Sleep(5 * time.Minute)
		if a.Stats().Links == 0 {
			t.Error("not back")
		}
	})
}

// The network accounts for every message.
func TestTrafficAddsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := grown(t, Config{Seed: 15, Loss: 0.05}, 60, time.Minute)
		s.Sleep(10 * time.Minute)
		s.Live()[7].Kill()
		s.Partition(func(p *Peer) int { return p.Index % 2 })
		s.Sleep(10 * time.Minute)
		s.Close() // nothing is sent any more
		tr := s.Traffic()
		if tr.Sent != tr.Arrived+tr.Lost+tr.Swallowed+tr.Crossed+uint64(tr.Messages) || tr.Lost == 0 || tr.Swallowed == 0 || tr.Panics > 0 {
			t.Errorf("%+v", tr)
		}
		if share := float64(tr.Lost) / float64(tr.Sent); share < 0.04 || share > 0.06 {
			t.Error("lost", share)
		}
	})
}

// One seed, one network: ids, places, latencies, losses, sessions.
func TestSameSeedSameNetwork(t *testing.T) {
	run := func(seed uint64) (ids []table.ID, took []time.Duration, stay []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			s, _ := grown(t, Config{Seed: seed}, 30, 0)
			live := s.Live()
			for _, p := range live {
				ids = append(ids, p.ID)
				took = append(took, s.latency(live[0], p))
			}
			for range 100 {
				stay = append(stay, draw(s, Sessions{Median: time.Hour, Shape: 0.6}.Draw))
			}
		})
		return ids, took, stay
	}
	ids, took, stay := run(5)
	ids2, took2, stay2 := run(5)
	ids3, _, _ := run(6)
	for i := range ids {
		if ids[i] != ids2[i] || took[i] != took2[i] || ids[i] == ids3[i] {
			t.Fatal("node", i)
		}
	}
	below := 0
	for i := range stay {
		if stay[i] != stay2[i] {
			t.Fatal("session", i)
		}
		if stay[i] < time.Hour {
			below++
		}
	}
	if below < 35 || below > 65 {
		t.Error(below, "of 100 sessions are shorter than the median")
	}
}
