package cli

import (
	"strings"
	"testing"

	"signalbox/engine/view"
)

// TestDoctorNamesLinks: links in trouble and refused relays are named, with the
// line that would admit them; links that are well are not.
func TestDoctorNamesLinks(t *testing.T) {
	got := checkLinks(&view.Snapshot{
		Links: []view.Link{
			{Label: "well", State: "up", Verified: true},
			{Label: "waits", State: "down"},
			{Label: "lost", State: "down", URL: "192.0.2.1:1", LastError: "nothing heard"},
			{Label: "claims", State: "up"},
		},
		Refusals: []view.Refusal{{Remote: "192.0.2.9:1", Reason: "it is not known", Line: "unproven = true"}},
	})
	if len(got) != 3 || checkLinks(nil) != nil {
		t.Fatalf("%+v", got)
	}
	for i, want := range []string{"lost is down: nothing heard", "claims is linked but", "192.0.2.9:1 was refused"} {
		if got[i].Status != warned || !strings.Contains(got[i].Detail, want) {
			t.Errorf("%+v, want %q", got[i], want)
		}
	}
	if !strings.Contains(got[2].Remedy, "unproven = true") {
		t.Errorf("%+v", got[2])
	}
}
