package fed

import (
	"fmt"
	"testing"
	"time"
)

// TestAnnouncementsToTheNumber: a change at one of two or three relays costs one
// announcement for each other relay, be they a full mesh or a chain, and none
// besides; a relay of another make in a mesh is told of it by all of them and tells
// them all. There is no other while nothing changes.
func TestAnnouncementsToTheNumber(t *testing.T) {
	const changes = 60 // joins, and as many leaves
	for _, tc := range []struct {
		relays, vanilla int
		chain           bool
		want            int // of 2 * changes
	}{
		{relays: 2, vanilla: -1, want: 120},
		{relays: 2, vanilla: 1, want: 120},
		{relays: 3, vanilla: -1, want: 240},
		{relays: 3, vanilla: 0, want: 480},
		{relays: 3, vanilla: -1, chain: true, want: 240},
	} {
		t.Run(fmt.Sprintf("%+v", tc), func(t *testing.T) {
			w := newWorld(t, tc.relays, "general")
			if tc.vanilla >= 0 {
				w.nodes[tc.vanilla].vanilla = true
			}
			if tc.chain {
				w.chain()
			} else {
				w.full()
			}
			w.lists = 0
			var ms []*member
			for i := range changes {
				ms = append(ms, w.nodes[i%tc.relays].join("general", fmt.Sprint("m", i)))
				w.settle()
				if got := len(ms[0].listed()); got != i+1 {
					t.Fatalf("%d members are listed after %d joins", got, i+1)
				}
			}
			w.pass(10 * time.Second)
			for _, m := range ms {
				m.leave()
				w.settle()
			}
			last := w.lists
			w.pass(10 * time.Second)
			if w.lists != last {
				t.Errorf("%d announcements after the last change", w.lists-last)
			}
			t.Logf("%d announcements over %d links for %d changes", w.lists, len(w.wires), 2*changes)
			if w.lists != tc.want {
				t.Errorf("%d announcements, want %d", w.lists, tc.want)
			}
		})
	}
}
