package pane

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"signalbox/engine/ledger"
	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/style"
)

// Loss is one reason for which packets were dropped.
type Loss struct {
	Plane, Reason string
	Rate          float64 // a second, now
	Total         uint64
	Where         string // who loses most by it now, or ever
	What          string // the reason in a sentence
	Do            string // and what to do
}

// whatToDo says for each reason which key helps.
var whatToDo = map[string]string{
	"shard_full": "2, then t throttles or b bans the source that fills it", "shard_paused": "2, then r resumes the shard",
	"shard_panic": "2, enter shows the stack; report it", "source_banned": "6 says who banned it and why; u takes it back",
	"source_throttled": "6 says who throttled it and why; u takes it back", "client_rate": "3, enter: m mutes or K kicks who sends too much",
	"malformed": "3, enter: a client sends what nobody can read; K kicks it", "muted": "6 says who muted them; u takes it back",
	"queue_head": "3, enter: the receiver is too slow; K lets it reconnect", "queue_age": "3, enter: the receiver is too slow; K lets it reconnect",
	"too_large": "their path: smaller packets, or another way to them", "write_error": "3, enter: their connection is ending",
	"link_down": "8, then R dials the relay anew", "link_rate": "8: the relay sends more than a link may", "duplicate": "nothing: it came twice, once was enough",
	"unknown_room": "8: a relay sends a room that nobody shares here", "loop": "nothing: it came back to where it began", "gone": "nothing: they had left",
	"room_gone": "nothing: the room was closed", "draining": "nothing: the node is draining", "rx_queue": "look at cpu: we read too slowly, or a client bursts",
	"kernel": "raise net.core.rmem_max; signalbox doctor prints the line", "shard_flushed": "nothing: an operator asked for it", "shard_replaced": "2: the shard was stuck; 5 says on what",
}

// Losses lists every reason that was hit, what is lost now first.
func Losses(d *Data) []Loss {
	var out []Loss
	names, acc, _ := d.Planes()
	var base [3]*view.Plane
	if d.Base != nil {
		l := &d.Base.Ledger
		base = [3]*view.Plane{&l.Media, &l.Federation, &l.DHT}
	}
	for i, a := range acc {
		for reason, n := range a.Dropped {
			if n == 0 {
				continue
			}
			x := Loss{Plane: names[i], Reason: reason, Total: n, What: ledger.HelpFor(reason), Do: whatToDo[reason], Where: whereLost(d, names[i], reason)}
			if base[i] != nil {
				x.Rate = d.per(n, base[i].Dropped[reason])
			}
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b Loss) int {
		return cmp.Or(cmp.Compare(b.Rate, a.Rate), cmp.Compare(b.Total, a.Total), cmp.Compare(a.Plane+a.Reason, b.Plane+b.Reason))
	})
	return out
}

// whereLost names who loses most for a reason: now, or if nobody does, ever.
func whereLost(d *Data, plane, reason string) string {
	best, rate, sum := "", 0.0, uint64(0)
	offer := func(name string, now, before map[string]uint64) {
		n := now[reason]
		r := 0.0
		if before != nil {
			r = d.per(n, before[reason])
		}
		if n > 0 && (r > rate || r == rate && n > sum) {
			best, rate, sum = name, r, n
		}
	}
	for i := range d.Snap.Shards {
		s := &d.Snap.Shards[i]
		if s.Plane != plane {
			continue
		}
		var before map[string]uint64
		if b := d.shards[s.Key()]; b != nil {
			before = b.Dropped
		}
		offer("shard "+s.Key()+fedBy(s), s.Dropped, before)
	}
	if plane == "media" {
		for i := range d.Snap.Rooms {
			for j := range d.Snap.Rooms[i].Participants {
				p := &d.Snap.Rooms[i].Participants[j]
				var before map[string]uint64
				if b := d.parts[p.ID]; b != nil {
					before = b.Dropped
				}
				offer(callsign(p, 20)+" in "+cell.Name(d.Snap.Rooms[i].Name, 20), p.Dropped, before)
			}
		}
	}
	if plane == "federation" {
		for i := range d.Snap.Links {
			l := &d.Snap.Links[i]
			var before map[string]uint64
			if b := d.links[l.Label]; b != nil {
				before = b.Dropped
			}
			offer("link "+cell.Name(l.Label, 24), l.Dropped, before)
		}
	}
	return best
}

// fedBy names the source that a shard has most of its traffic from.
func fedBy(s *view.Shard) string {
	if len(s.HotSources) == 0 {
		return ""
	}
	h := &s.HotSources[0]
	return fmt.Sprintf(", %s of it from %s", cell.Pct(h.SharePct), cell.Name(h.IP, 40))
}

// LossRows tells where packets are dropped and why, from the kernel up.
func LossRows(d *Data, w int, st *style.Set) []string {
	var out []string
	k, e := &d.Snap.Kernel, &d.Snap.Edge
	below := func(name string, n, before uint64, fine, do string) {
		rate := 0.0
		if d.Base != nil {
			rate = d.per(n, before)
		}
		out = append(out, lossHead("below us", name, rate, n, w, st))
		if n == 0 {
			do = fine
		}
		out = append(out, cell.NewLine(st, w).Space(4).Add(style.Dim, do).String())
	}
	b := d.Base
	if b == nil {
		b = d.Snap
	}
	gso := "no GSO"
	if k.GSO {
		gso = "GSO"
	}
	below("kernel", k.UDPRcvbufErrors, b.Kernel.UDPRcvbufErrors, "the socket buffer, "+cell.Bytes(uint64(max(k.RcvbufBytes, 0)))+", has never run over; "+gso, whatToDo["kernel"])
	below("rx_queue", e.RxQueueDrops, b.Edge.RxQueueDrops, "QUIC's receive queues have never run over", whatToDo["rx_queue"])
	for _, x := range Losses(d) {
		out = append(out, lossHead(x.Plane, x.Reason, x.Rate, x.Total, w, st))
		words := x.What
		if x.Where != "" {
			words += "; most at " + x.Where
		}
		for _, part := range cell.Wrap(cell.Clean(words), w-4, 2) {
			out = append(out, cell.NewLine(st, w).Space(4).Add(style.Text, part).String())
		}
		if x.Do != "" && !strings.HasPrefix(x.Do, "nothing") {
			out = append(out, cell.NewLine(st, w).Space(4).Add(style.Focus, st.Glyph.Arrow+" ").Add(style.Text, x.Do).String())
		}
	}
	if un := d.Unexplained(); un != 0 {
		out = append(out, cell.NewLine(st, w).Add(style.Bad, fmt.Sprintf("%s %d packets are unexplained: the ledger does not close; take a bundle", st.Glyph.Bad, un)).String())
	}
	return out
}

func lossHead(plane, reason string, rate float64, n uint64, w int, st *style.Set) string {
	s, sign := style.Text, " "
	switch {
	case rate > 0 && reason != "duplicate" && reason != "loop":
		s, sign = style.Bad, st.Glyph.Bad
	case n == 0:
		s, sign = style.OK, st.Glyph.Check
	}
	ln := cell.NewLine(st, w).Add(s, sign+" ").Cell(style.Dim, plane, 11).Cell(s, cell.Name(reason, 18), 19)
	ln.Right(s, cell.Rate(rate)+"/s", 10).Right(style.Dim, cell.Count(float64(n))+" ever", 14)
	return ln.String()
}

// WeakPair is who of the worst room is heard or hears badly, and with whom: the
// two to be explained when nobody is marked.
func WeakPair(d *Data) (from, to string) {
	for _, i := range worstRooms(d) {
		r := &d.Snap.Rooms[i]
		weak := weakest(d, r)
		if weak == nil {
			continue
		}
		var other *view.Participant
		for j := range r.Participants { // the one who talks most is who is missed most
			if p := &r.Participants[j]; p.ID != weak.ID && p.Transport != federated && (other == nil || d.Part(p).In > d.Part(other).In) {
				other = p
			}
		}
		if other == nil {
			continue
		}
		if _, _, why := judgePart(d, weak); strings.Contains(why, "uplink") || strings.Contains(why, "nobody hears them") {
			return weak.ID, other.ID
		}
		return other.ID, weak.ID
	}
	return "", ""
}
