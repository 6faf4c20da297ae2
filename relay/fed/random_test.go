package fed

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// chaos drives a random mesh through joins, leaves, links that come and go,
// mutes and talk.
type chaos struct {
	w     *world
	ms    []*member
	names int
}

func (c *chaos) step() string {
	w := c.w
	a, b := w.rnd.IntN(len(w.nodes)), w.rnd.IntN(len(w.nodes))
	switch w.rnd.IntN(9) {
	case 0:
		if a != b && !w.nodes[a].mesh.Linked(w.nodes[b].fp) {
			w.link(a, b)
			return "link"
		}
	case 1:
		if len(w.wires) > 0 && w.rnd.IntN(3) == 0 {
			w.wires[w.rnd.IntN(len(w.wires))].dead = true
			return "cut"
		}
	case 2, 3:
		c.names++
		c.ms = append(c.ms, w.nodes[a].join([]string{"general", "podcast"}[w.rnd.IntN(2)], fmt.Sprint("m", c.names)))
		return "join"
	case 4:
		if len(c.ms) > 0 {
			i := w.rnd.IntN(len(c.ms))
			c.ms[i].leave()
			c.ms = slices.Delete(c.ms, i, i+1)
			return "leave"
		}
	case 5:
		w.nodes[a].mesh.Mute(w.nodes[b].fp, w.rnd.IntN(4) == 0)
		return "mute"
	default:
		for _, m := range c.ms {
			m.talk()
		}
		return "talk"
	}
	return "nothing"
}

// reach are the relays a relay can reach.
func (w *world) reach(from int) map[int]bool {
	seen := map[int]bool{from: true}
	for todo := []int{from}; len(todo) > 0; todo = todo[1:] {
		for _, c := range w.wires {
			for _, e := range [][2]int{{c.a.n.i, c.b.n.i}, {c.b.n.i, c.a.n.i}} {
				if e[0] == todo[0] && !seen[e[1]] {
					seen[e[1]] = true
					todo = append(todo, e[1])
				}
			}
		}
	}
	return seen
}

// rest compares what everybody believes with what is so, once all is quiet.
func (c *chaos) rest(seed uint64, step int) {
	w := c.w
	for i := range w.nodes {
		for k := range w.nodes {
			w.nodes[i].mesh.Mute(w.nodes[k].fp, false)
		}
	}
	w.settle()
	for _, m := range c.ms {
		var want []string
		ok := w.reach(m.n.i)
		for _, o := range c.ms {
			label := fmt.Sprint("R", o.n.i)
			if o.n == m.n {
				label = ""
			}
			if ok[o.n.i] && o.p.RoomName() == m.p.RoomName() {
				want = append(want, o.name+"@"+label)
			}
		}
		slices.Sort(want)
		if got := m.listed(); !slices.Equal(got, want) {
			w.t.Fatalf("seed %d step %d: %s at relay %d sees\n%v, want\n%v", seed, step, m.name, m.n.i, got, want)
		}
		for text, n := range m.got {
			if n > 1 {
				w.t.Fatalf("seed %d step %d: %s got %q %d times", seed, step, m.name, text, n)
			}
		}
		clear(m.got)
	}
	said := map[string]*member{}
	for _, m := range c.ms {
		said[m.talk()] = m
	}
	w.settle()
	for _, m := range c.ms {
		ok := w.reach(m.n.i)
		for text, from := range said {
			want := 0
			if from != m && ok[from.n.i] && from.p.RoomName() == m.p.RoomName() {
				want = 1
			}
			if m.got[text] != want {
				w.t.Fatalf("seed %d step %d: %s at %d got %q of relay %d %d times, want %d", seed, step, m.name, m.n.i, text, from.n.i, m.got[text], want)
			}
		}
		clear(m.got)
	}
}

// TestWhateverHappens: through random joins, leaves, flapping links and mutes
// on random meshes, some relays of another make, the account closes after
// every step, nothing is ever heard twice, and whenever all is quiet everybody
// sees and hears exactly whom they can reach.
func TestWhateverHappens(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 15
	}
	for seed := range uint64(seeds) {
		w := newWorld(t, 3+int(seed%5), "general", "podcast")
		w.rnd = rand.New(rand.NewPCG(seed, 2))
		if seed%3 == 1 {
			w.nodes[0].vanilla = true
		}
		c := &chaos{w: w}
		for step := range 150 {
			what := c.step()
			for _, n := range w.nodes {
				n.check(what)
			}
			if w.rnd.IntN(3) > 0 {
				w.pump()
			}
			w.now += int64(time.Millisecond)
			if step%30 == 29 {
				c.rest(seed, step)
			}
		}
	}
}
