package fed

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// everybody has one member of each relay talk, and wants each packet to arrive
// once at everybody else and never at the speaker.
func (w *world) everybody(ms []*member, packets int) {
	w.t.Helper()
	var said []string
	for range packets {
		for _, m := range ms {
			said = append(said, m.talk())
		}
		w.pump()
	}
	w.settle()
	for _, m := range ms {
		for _, text := range said {
			want := 1
			if len(text) > len(m.name) && text[:len(m.name)+1] == m.name+" " {
				want = 0
			}
			if m.got[text] != want {
				w.t.Fatalf("%s got %q %d times, want %d", m.name, text, m.got[text], want)
			}
		}
		clear(m.got)
	}
}

// shapes are the graphs that are tried.
var shapes = map[string]struct {
	n     int
	edges [][2]int
	full  bool
}{
	"two":           {n: 2, full: true},
	"three":         {n: 3, full: true},
	"four":          {n: 4, full: true},
	"eight":         {n: 8, full: true},
	"chain of 3":    {n: 3, edges: [][2]int{{0, 1}, {1, 2}}},
	"chain of 4":    {n: 4, edges: [][2]int{{0, 1}, {2, 1}, {2, 3}}},
	"ring of 4":     {n: 4, edges: [][2]int{{0, 1}, {1, 2}, {2, 3}, {3, 0}}},
	"ring of 5":     {n: 5, edges: [][2]int{{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 0}}},
	"star":          {n: 5, edges: [][2]int{{0, 1}, {0, 2}, {0, 3}, {0, 4}}},
	"kite":          {n: 5, edges: [][2]int{{0, 1}, {1, 2}, {2, 0}, {2, 3}, {3, 4}}},
	"mesh less one": {n: 4, edges: [][2]int{{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}}},
}

func (w *world) build(edges [][2]int) {
	for _, e := range edges {
		w.link(e[0], e[1])
	}
	w.settle()
}

// TestShapes: in every shape of mesh, of signalboxes and with one relay of
// another make in it, media arrives exactly once, everybody is listed with the
// relay they are at, and when they leave nobody stays behind.
func TestShapes(t *testing.T) {
	for name, s := range shapes {
		for vanilla := -1; vanilla < s.n; vanilla++ {
			t.Run(fmt.Sprintf("%s, of another make %d", name, vanilla), func(t *testing.T) {
				w := newWorld(t, s.n, "general")
				if vanilla >= 0 {
					w.nodes[vanilla].vanilla = true
				}
				if s.full {
					w.full()
				} else {
					w.build(s.edges)
				}
				var ms []*member
				for i, n := range w.nodes {
					ms = append(ms, n.join("general", fmt.Sprint("m", i)))
				}
				w.settle()
				w.everybody(ms, 5)
				for i, m := range ms {
					want := []string{}
					for k := range ms {
						label := fmt.Sprint("R", k)
						if k == i {
							label = ""
						}
						want = append(want, fmt.Sprintf("m%d@%s", k, label))
					}
					slices.Sort(want)
					if got := m.listed(); !slices.Equal(got, want) {
						t.Errorf("at relay %d: %v, want %v", i, got, want)
					}
				}
				for len(ms) > 1 {
					gone := ms[len(ms)-1]
					ms = ms[:len(ms)-1]
					gone.leave()
					w.settle()
					for _, m := range ms {
						if got := m.listed(); len(got) != len(ms) {
							t.Fatalf("%s has left, %s sees %v", gone.name, m.name, got)
						}
					}
				}
			})
		}
	}
}

// TestAnnouncements: 4 relays in a full mesh, 100 joins and 100 leaves cost at
// most two messages for each link and change, and after the last change there
// are none (T06c).
func TestAnnouncements(t *testing.T) {
	w := newWorld(t, 4, "general")
	w.full()
	links := len(w.wires)
	w.lists = 0
	var ms []*member
	for i := range 100 {
		ms = append(ms, w.nodes[i%4].join("general", fmt.Sprint("m", i)))
		w.settle()
	}
	for _, m := range ms {
		m.leave()
		w.settle()
	}
	if limit := 2 * links * 200; w.lists > limit || w.lists < 200 {
		t.Errorf("%d messages for 200 changes over %d links; the limit is %d", w.lists, links, limit)
	}
	t.Logf("%d messages for 200 changes over %d links", w.lists, links)
	w.lists = 0
	w.pass(30 * time.Second)
	if w.lists != 0 {
		t.Errorf("%d messages in 30 s without a change", w.lists)
	}
	for _, n := range w.nodes {
		for _, p := range n.mesh.peers {
			if len(p.rooms) != 0 {
				t.Errorf("relay %d still lists members of %s", n.i, p.Label)
			}
		}
	}
}

// TestFullMeshCopies: a full mesh carries each packet once over each of the
// speaker's links and nowhere else.
func TestFullMeshCopies(t *testing.T) {
	w := newWorld(t, 8, "general")
	w.full()
	var ms []*member
	for i, n := range w.nodes {
		ms = append(ms, n.join("general", fmt.Sprint("m", i)))
	}
	w.settle()
	w.dgs = 0
	ms[0].talk()
	w.settle()
	if w.dgs != 7 {
		t.Errorf("%d datagrams for one packet among 8 relays, want 7", w.dgs)
	}
	w.everybody(ms, 3)
}

// TestOriginGone: members two hops away go when the link to their relay does,
// and come back with it.
func TestOriginGone(t *testing.T) {
	for _, vanilla := range []int{-1, 0, 1, 2} {
		w := newWorld(t, 3, "general")
		if vanilla >= 0 {
			w.nodes[vanilla].vanilla = true
		}
		w.link(0, 1)
		far := w.link(1, 2)
		a, c := w.nodes[0].join("general", "a"), w.nodes[2].join("general", "c")
		w.settle()
		if got := a.listed(); !slices.Equal(got, []string{"a@", "c@R2"}) {
			t.Fatalf("%v", got)
		}
		far.dead = true
		w.settle()
		if got := a.listed(); !slices.Equal(got, []string{"a@"}) {
			t.Fatalf("the way is gone, and still %v", got)
		}
		w.link(2, 1)
		w.settle()
		if got := a.listed(); !slices.Equal(got, []string{"a@", "c@R2"}) {
			t.Fatalf("%v", got)
		}
		w.everybody([]*member{a, c}, 3)
	}
}

// TestDelayedEdge: a triangle with 3 s on one edge delivers each frame once,
// and nothing grows (T06d).
func TestDelayedEdge(t *testing.T) {
	w := newWorld(t, 3, "general")
	w.full()
	w.delay = func(from, to *node) int64 {
		if from.i+to.i == 1 {
			return int64(3 * time.Second)
		}
		return 0
	}
	var ms []*member
	for i, n := range w.nodes {
		n.vanilla = true // so that every packet takes both ways
		ms = append(ms, n.join("general", fmt.Sprint("m", i)))
	}
	w.settle()
	w.wires[0].a.l.box.Store(false)
	for _, c := range w.wires {
		c.a.l.box.Store(false)
		c.b.l.box.Store(false)
	}
	for _, n := range w.nodes {
		n.mesh.mu.Lock()
		n.mesh.fanLocked(n.mesh.rooms["general"])
		n.mesh.mu.Unlock()
	}
	for range 60 {
		for _, m := range ms {
			m.talk()
		}
		for w.pump() {
		}
		w.now += int64(time.Second)
	}
	w.settle()
	for _, m := range ms {
		if len(m.got) != 120 {
			t.Errorf("%s got %d frames, want 120", m.name, len(m.got))
		}
		for text, n := range m.got {
			if n != 1 {
				t.Errorf("%s got %q %d times", m.name, text, n)
			}
		}
	}
}

// TestRawAndHashed: the hashed and the raw name are one room, on one relay and
// on two.
func TestRawAndHashed(t *testing.T) {
	w := newWorld(t, 2, "general")
	w.full()
	ms := []*member{
		w.nodes[0].join("general", "native"), w.nodes[0].join("a47b63f7d5b511ba5bc4089a74446906", "browser"), w.nodes[1].join("General", "far"),
	}
	w.settle()
	w.everybody(ms, 3)
	if got := ms[1].listed(); !slices.Equal(got, []string{"browser@", "far@R1", "native@"}) {
		t.Error(got)
	}
}

// TestSetPeers: a configuration that is read again adds, renames and removes
// relays; links to those that stay as they were are not touched.
func TestSetPeers(t *testing.T) {
	w := newWorld(t, 4, "general")
	w.full()
	for i, n := range w.nodes[:3] {
		n.join("general", fmt.Sprint(i))
	}
	w.settle()
	m := w.nodes[0].mesh
	var list []Peer
	for _, p := range m.peers {
		list = append(list, p.Peer)
	}
	slices.SortFunc(list, func(a, b Peer) int { return cmp.Compare(a.Label, b.Label) })
	if added := m.SetPeers(list, true, w.now); len(added) != 0 {
		t.Fatalf("the same list adds %v", added)
	}
	stays, renamed, leaves := m.peers[list[0].Fingerprint], list[1], list[2]
	link := stays.primary
	m.Mute(renamed.Fingerprint, true)
	renamed.Label = "another"
	fresh := Peer{Fingerprint: strings.Repeat("ab", 32), Label: "fresh", URL: "192.0.2.1:4433"}
	added := m.SetPeers([]Peer{list[0], renamed, fresh, {Fingerprint: fresh.Fingerprint, Label: "twice"}, {Fingerprint: m.cfg.Self}}, true, w.now)
	if !slices.Equal(added, []Peer{renamed, fresh}) {
		t.Errorf("added %v", added)
	}
	if m.peers[leaves.Fingerprint] != nil || len(m.peers) != 3 || !m.Muted(renamed.Fingerprint) {
		t.Errorf("%d peers", len(m.peers))
	}
	if len(m.leaving) != 2 {
		t.Errorf("%d are leaving", len(m.leaving))
	}
	w.settle()
	if stays.primary != link || link.ended.Load() {
		t.Error("the link to one that stays has ended")
	}
	for _, n := range w.nodes {
		n.check("after the change")
	}
}
