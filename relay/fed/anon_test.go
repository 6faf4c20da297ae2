package fed

import (
	"slices"
	"testing"
	"time"
)

// TestMembersWithoutFingerprint: browsers without a token are as many on every
// list as there are, however many relays say so; and a relay of another make that
// tells of them again makes no more of them.
func TestMembersWithoutFingerprint(t *testing.T) {
	for _, vanilla := range []bool{false, true} {
		w := newWorld(t, 3, "general")
		w.nodes[1].vanilla = vanilla
		w.full()
		a := w.nodes[0].joinAs("general", "ann", "")
		b := w.nodes[0].joinAs("general", "ben", "")
		c := w.nodes[1].joinAs("general", "cat", "")
		d := w.nodes[2].join("general", "dan")
		w.settle()
		for _, m := range []*member{a, b, c, d} {
			got := m.listed()
			for i := range got {
				got[i] = got[i][:3]
			}
			if !slices.Equal(got, []string{"ann", "ben", "cat", "dan"}) {
				t.Errorf("relay 1 of another make: %v: %s sees %v", vanilla, m.name, m.listed())
			}
		}
		ids := map[string]bool{}
		for _, r := range w.nodes[2].relay.Rooms(time.Unix(0, w.now)) {
			for _, p := range r.Participants {
				ids[p.ID] = true
			}
		}
		if len(ids) != 4 {
			t.Errorf("rows that cannot be told apart: %v", ids)
		}
		b.leave()
		w.settle()
		if got := d.listed(); len(got) != 3 {
			t.Errorf("after one left: %v", got)
		}
	}
}
