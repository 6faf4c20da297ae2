package pane

import (
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"signalbox/engine/view"
)

// TestDeadBucketsAreMarked: a bucket of which a third does not answer has a sign
// of its own, however lately another of it was heard, and the legend explains it
// at every width.
func TestDeadBucketsAreMarked(t *testing.T) {
	bs := []view.Bucket{
		{Index: 0, Size: 6, Capacity: 20, Fresh: 4, Stale: 2, Suspect: 2, LastRefreshS: 1},
		{Index: 1, Size: 7, Capacity: 20, Fresh: 5, Stale: 2, Suspect: 2, LastRefreshS: 1},
		{Index: 2, Size: 1, Capacity: 20, Stale: 1, Suspect: 1, LastRefreshS: 4000},
	}
	for _, w := range []int{38, 44, 76, 200} {
		if got := strings.Fields(ansi.Strip(ageStrips(bs, w, 1, false, mono)[0]))[1]; !strings.HasPrefix(got, "!█!") {
			t.Errorf("at %d columns the map is %q", w, got)
		}
		if l := ansi.Strip(ageLegend(w, mono)); !strings.Contains(l, "! dead") && w >= 44 {
			t.Errorf("at %d columns the legend is %q", w, l)
		}
	}
	if got := bucketWords(&bs[0]); !strings.Contains(got, "2 do not answer") {
		t.Error(got)
	}
}
