package pane

import (
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"signalbox/engine/view"
)

// TestARoomLacksWhomALinkBrought: while a link is down, a room it had members in
// is not fine, unless another relay brings them; and the link says what it had.
func TestARoomLacksWhomALinkBrought(t *testing.T) {
	here := view.Participant{ID: "p1", Alias: "Rosa", Tier: "Good", QueueCapacity: 256, Delivered: 9}
	s := &view.Snapshot{
		Rooms: []view.Room{{Name: "podcast", Tier: "Good", Global: true, Participants: []view.Participant{here}}},
		Links: []view.Link{{Label: "lisbon", State: "down", URL: "192.0.2.1:1", LastError: "no answer", LastRooms: []string{"podcast"}, LastMembers: 2, Rooms: []string{}}},
	}
	d := &Data{Snap: s}
	rooms, links := NewRooms(), NewLinks()
	text := func() string {
		rooms.Apply(d)
		links.Apply(d)
		return ansi.Strip(strings.Join(append(rooms.Draw(120, 20, mono), links.Draw(120, 20, mono)...), "\n"))
	}
	for _, want := range []string{"the link to lisbon is down: its members are missing", "none now; had 2 members in 1 room: podcast"} {
		if got := text(); !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if lv := roomLevel(d, &s.Rooms[0]); lv != watch {
		t.Errorf("the room's level is %v", lv)
	}
	s.Rooms[0].Participants = append(s.Rooms[0].Participants, view.Participant{ID: "f/lisbon/x", Transport: federated, RelayLabel: "lisbon"})
	if got := text(); strings.Contains(got, "missing") {
		t.Errorf("somebody of lisbon is there:\n%s", got)
	}
}

// TestOneOrderOfGravity: the room's weakest is whom the verdict names first, and
// the overview's cursor stays on the gravest cause until somebody moves it.
func TestOneOrderOfGravity(t *testing.T) {
	lou := view.Participant{ID: "p1", Alias: "Lou", Tier: "Catastrophic", LossPct: 18, ReportAgeS: 1, QueueCapacity: 256, Delivered: 9}
	fred := view.Participant{ID: "p2", Alias: "Fred", Tier: "Good", QueueDepth: 250, QueueCapacity: 256, Delivered: 9}
	s := &view.Snapshot{Rooms: []view.Room{{Name: "hall", Tier: "Catastrophic", Weakest: "p1", Participants: []view.Participant{lou, fred}}}}
	about := func(sev, who string) view.Cause {
		return view.Cause{Severity: sev, Pane: "rooms", Subject: "hall/" + who, Message: who}
	}
	d := &Data{Snap: s, Second: s}
	o := NewOverview()
	s.Node.Health.Causes = []view.Cause{about(view.Warn, "Lou")}
	o.Apply(d)
	s.Node.Health.Causes = []view.Cause{about(view.Alarm, "Fred"), about(view.Warn, "Lou")}
	o.Apply(d)
	if c := o.cause(o.causes.sel); c.Subject != "hall/Fred" {
		t.Errorf("the cursor is on %s", c.Subject)
	}
	if w := weakest(d, &s.Rooms[0]); w.Alias != "Fred" {
		t.Errorf("the weakest is %s", w.Alias)
	}
	o.Act(Down, "")
	s.Node.Health.Causes = []view.Cause{about(view.Alarm, "Ann"), about(view.Alarm, "Fred"), about(view.Warn, "Lou")}
	o.Apply(d)
	if c := o.cause(o.causes.sel); c.Subject != "hall/Lou" {
		t.Errorf("a cursor that was moved is on %s", c.Subject)
	}
}
