package pane

import (
	"cmp"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"

	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/style"
)

// Limits from which the console speaks of trouble. They are about showing;
// the node's own verdict comes in the snapshot.
const (
	fillWarn, fillBad = 0.60, 0.85 // of a queue
	lossWarn, lossBad = 2.0, 5.0   // percent; Good and Degraded of the judge
	rttWarn, rttBad   = 100, 200   // ms; Degraded and Catastrophic of the judge
	jitterWarn        = 30         // ms
	silentMS          = 5000       // no packet for so long
	reachedMS         = 500.0      // one they were handed within that reaches them
	reportOldS        = 15         // no report for so long
	waitWarnUS        = 20_000     // one packet's time
	freshS            = 900        // a contact's proof of life is fresh (spec dht)
)

// level is how bad something is.
type level uint8

const (
	fine level = iota
	watch
	broken
)

// sign and style of a level, so that it shows without colour.
func (l level) sign(g *style.Glyph) string { return [...]string{" ", g.Warn, g.Bad}[l] }

func (l level) style() style.Style { return [...]style.Style{style.OK, style.Warn, style.Bad}[l] }

// text is the style for plain values: healthy ones need no colour.
func (l level) text() style.Style { return [...]style.Style{style.Text, style.Warn, style.Bad}[l] }

func over(v, warn, bad float64) level {
	switch {
	case v >= bad:
		return broken
	case v >= warn:
		return watch
	}
	return fine
}

// severity reads a cause's or an event's severity.
func severity(s string) level {
	switch s {
	case view.Alarm:
		return broken
	case view.Warn:
		return watch
	}
	return fine
}

// judgeShard says how a shard is, and in words why.
func judgeShard(d *Data, s *view.Shard) (level, string) {
	lv, words := ownView(d, s)
	// The node remembers for some seconds what this moment's rates do not show:
	// the rows and the headline must not deny what the verdict and the tab say.
	for i := range d.Snap.Node.Health.Causes {
		c := &d.Snap.Node.Health.Causes[i]
		if said := severity(c.Severity); c.Pane == "shards" && c.Subject == s.Key() && said > lv {
			lv, words = said, c.Message
		}
	}
	return lv, words
}

// ownView judges a shard by its figures of this moment.
func ownView(d *Data, s *view.Shard) (level, string) {
	r := d.Shard(s)
	f := fill(s.Depth, s.Capacity)
	switch {
	case s.State == "wedged":
		return broken, fmt.Sprintf("no progress for %s; its sources wait behind one message", cell.Millis(s.CurrentMS))
	case s.State == "paused":
		return watch, "paused by an operator: what its sources send is dropped"
	case s.State == "restarting":
		return watch, "its loop is being replaced after a panic or a wedge"
	case s.State != "running" && s.State != "":
		return watch, "state " + s.State
	case r.Drop > 0 && f >= fillBad:
		return broken, fmt.Sprintf("more comes in than it can do: queue %s, dropping %s/s as %s%s", cell.Pct(100*f), cell.Rate(r.Drop), d.shardReason(s), hotWords(s))
	case r.Drop > 0:
		return watch, fmt.Sprintf("dropping %s/s as %s%s", cell.Rate(r.Drop), d.shardReason(s), hotWords(s))
	case f >= fillBad:
		return broken, "its queue is nearly full" + hotWords(s)
	case f >= fillWarn:
		return watch, "its queue is filling" + hotWords(s)
	case s.WaitP99US >= waitWarnUS:
		return watch, "one in a hundred waits " + cell.Micros(s.WaitP99US) + ", more than a packet's time"
	}
	if s.Panics > 0 {
		return fine, fmt.Sprintf("fine now; %d panics contained so far", s.Panics)
	}
	return fine, "keeping up"
}

// hotWords names a source that makes most of a shard's traffic.
func hotWords(s *view.Shard) string {
	for _, h := range s.HotSources {
		if h.SharePct >= 40 {
			return fmt.Sprintf("; %s makes %s of it", cell.Name(h.IP, 40), cell.Pct(h.SharePct))
		}
	}
	return ""
}

// fault says who can mend a participant's trouble.
type fault uint8

const (
	faultNone fault = iota
	faultThey
	faultWe
	faultOpen // cannot be told from here
	faultOp   // an operator did it
)

func (f fault) word() string { return [...]string{"fine", "they", "WE", "unclear", "operator"}[f] }

// judgePart says how a participant is, who is at fault, and why, from both
// sides: what they report, and what we did with their packets.
func judgePart(d *Data, p *view.Participant) (level, fault, string) {
	if p.Transport == federated {
		return fine, faultNone, federatedWhy(p)
	}
	r := d.Part(p)
	f := fill(p.QueueDepth, p.QueueCapacity)
	lost := gapPct(r)
	if sh := d.shardOf(p.Shard); sh != nil {
		if lv, why := judgeShard(d, sh); lv == broken || lv == watch && sh.State != "running" {
			if h := floods(sh, p); h != nil {
				return lv, faultThey, fmt.Sprintf("they are the flood: %.0f%% of shard %s comes from %s, and it drops what is too much", h.SharePct, cell.Name(p.Shard, 20), h.IP)
			}
			return lv, faultWe, fmt.Sprintf("our shard %s, which their packets pass: %s", cell.Name(p.Shard, 20), why)
		}
	}
	switch {
	case p.Muted:
		return watch, faultOp, "muted by an operator: nobody hears them, they hear the others"
	case f >= fillWarn || r.Drop > 0 && slow(d, p):
		lv := over(f, 0, fillBad)
		if d.starved() && reached(p) {
			return max(lv, watch), faultWe, fmt.Sprintf("this machine: many receivers lose at once; our queue to them is %s full, dropping %s/s", cell.Pct(100*f), cell.Rate(r.Drop))
		}
		if r.Drop > 0 && slow(d, p) {
			lv = broken // as the verdict has it
		}
		return lv, faultThey, fmt.Sprintf("their downlink: our queue to them is %s full, dropping %s/s as %s", cell.Pct(100*f), cell.Rate(r.Drop), d.partReason(p))
	case r.Drop > 0 && d.partReason(p) == "too_large":
		return watch, faultThey, "their path carries only small datagrams: the larger packets do not fit"
	case lost >= lossWarn && rxLoss(d):
		return over(lost, lossWarn, lossBad), faultWe, fmt.Sprintf("%s of their packets are missing, and our receive queue is losing some", cell.Pct(lost))
	case lost >= lossWarn:
		return over(lost, lossWarn, lossBad), faultThey, fmt.Sprintf("their uplink: %s of their packets never reached us", cell.Pct(lost))
	case p.LossPct >= lossWarn:
		return over(p.LossPct, lossWarn, lossBad), faultThey, fmt.Sprintf("their downlink: they miss %s of what we delivered in full", cell.Pct(p.LossPct))
	case p.RTTMS >= rttWarn:
		return over(p.RTTMS, rttWarn, rttBad), faultThey, fmt.Sprintf("their path is long: %s there and back", cell.Millis(p.RTTMS))
	case p.JitterMS >= jitterWarn:
		return watch, faultThey, fmt.Sprintf("their path is uneven: jitter %s", cell.Millis(p.JitterMS))
	case p.LastPacketMS >= silentMS:
		return watch, faultOpen, fmt.Sprintf("silent for %s: muted at their end, or cut off", cell.Millis(p.LastPacketMS))
	case p.ReportAgeS >= reportOldS:
		return watch, faultOpen, fmt.Sprintf("no quality report for %s: what they hear is unknown", cell.Seconds(p.ReportAgeS))
	case p.ReportAgeS < 0:
		return fine, faultNone, "never reports quality; what we deliver goes out in full"
	}
	return fine, faultNone, "delivered in full, and they report it arrives"
}

// floods is the participant's own address, if that is what makes most of its
// shard's traffic.
func floods(sh *view.Shard, p *view.Participant) *view.HotSource {
	host, _, err := net.SplitHostPort(p.Remote)
	if err != nil || sh.State != "running" {
		return nil
	}
	for i := range sh.HotSources {
		if h := &sh.HotSources[i]; h.IP == host && h.SharePct >= 50 {
			return h
		}
	}
	return nil
}

// starved says whether the node blames itself for what receivers lose.
func (d *Data) starved() bool {
	return slices.ContainsFunc(d.Snap.Node.Health.Causes, func(c view.Cause) bool { return c.Machine })
}

// reached: they were handed a packet a moment ago.
func reached(p *view.Participant) bool {
	return p.LastDeliveredMS >= 0 && p.LastDeliveredMS < reachedMS
}

// slow: the drops are those of a queue its receiver does not empty.
func slow(d *Data, p *view.Participant) bool {
	r := d.partReason(p)
	return r == "queue_head" || r == "queue_age"
}

// gapPct is the part of a participant's packets that never came.
func gapPct(r PartRates) float64 {
	if r.In+r.Gap <= 0 {
		return 0
	}
	return 100 * r.Gap / (r.In + r.Gap)
}

// rxLoss: packets are being lost between the wire and our readers.
func rxLoss(d *Data) bool {
	if d.Base == nil {
		return false
	}
	return d.Snap.Kernel.UDPRcvbufErrors > d.Base.Kernel.UDPRcvbufErrors || d.Snap.Edge.RxQueueDrops > d.Base.Edge.RxQueueDrops
}

// tierRank orders tiers, worst first; unknown ones rank as Good.
func tierRank(t string) int {
	switch strings.ToLower(t) {
	case "catastrophic":
		return 0
	case "degraded":
		return 1
	case "studio32k":
		return 3
	case "studio48k":
		return 4
	case "studio64k":
		return 5
	}
	return 2
}

func tierLevel(t string) level { return [...]level{broken, watch, fine, fine, fine, fine}[tierRank(t)] }

// worstLoss is the highest loss any member reports.
func worstLoss(r *view.Room) float64 {
	w := 0.0
	for i := range r.Participants {
		w = max(w, r.Participants[i].LossPct)
	}
	return w
}

// roomScore orders rooms: the higher the worse.
func roomScore(d *Data, r *view.Room) float64 {
	s := float64(5 - tierRank(r.Tier))
	worst := fine
	for i := range r.Participants {
		lv, _, _ := judgePart(d, &r.Participants[i])
		worst = max(worst, lv)
	}
	if lostTo(d, r) != nil {
		worst = max(worst, watch)
	}
	return 1000*float64(worst) + 100*s + math.Floor(worstLoss(r)) // whole percents: noise must not reorder rows
}

// worstRooms returns the rooms' indexes, worst first. Equal rooms keep the
// order of their names, so that the list stands still.
func worstRooms(d *Data) []int {
	type scored struct {
		i     int
		score float64
	}
	all := make([]scored, len(d.Snap.Rooms))
	for i := range d.Snap.Rooms {
		all[i] = scored{i, roomScore(d, &d.Snap.Rooms[i])}
	}
	slices.SortStableFunc(all, func(a, b scored) int {
		if c := cmp.Compare(b.score, a.score); c != 0 {
			return c
		}
		return cmp.Compare(d.Snap.Rooms[a.i].Name, d.Snap.Rooms[b.i].Name)
	})
	out := make([]int, len(all))
	for i, s := range all {
		out[i] = s.i
	}
	return out
}

// weakest finds who is worst off in a room: whom the node's verdict names first,
// as the headline does, then by our own judgement; of two that are as bad, who
// sets the room's tier.
func weakest(d *Data, r *view.Room) *view.Participant {
	var worst *view.Participant
	var most [3]level
	for i := range r.Participants {
		p := &r.Participants[i]
		lv, _, _ := judgePart(d, p)
		rank := [3]level{accused(d, r, p), lv, fine}
		if r.Weakest != "" && p.ID == r.Weakest {
			rank[2] = watch
		}
		c := slices.Compare(rank[:], most[:])
		if worst == nil || c > 0 || c == 0 && p.LossPct > worst.LossPct {
			worst, most = p, rank
		}
	}
	return worst
}

// accused is how bad the node's verdict finds a member.
func accused(d *Data, r *view.Room, p *view.Participant) level {
	name := cmp.Or(p.Alias, p.Fingerprint[:min(9, len(p.Fingerprint))], p.ID)
	for i := range d.Snap.Node.Health.Causes {
		if c := &d.Snap.Node.Health.Causes[i]; c.Pane == "rooms" && c.Subject == r.Name+"/"+name {
			return severity(c.Severity)
		}
	}
	return fine
}

// roomLevel is the worst of a room's tier and its members.
func roomLevel(d *Data, r *view.Room) level {
	lv := tierLevel(r.Tier)
	for i := range r.Participants {
		l, _, _ := judgePart(d, &r.Participants[i])
		lv = max(lv, l)
	}
	if lostTo(d, r) != nil {
		lv = max(lv, watch)
	}
	return lv
}

// lostTo is a link that is down and whose members are missing from the room: no
// other relay brings what they say.
func lostTo(d *Data, r *view.Room) *view.Link {
	for i := range d.Snap.Links {
		l := &d.Snap.Links[i]
		if l.State == "up" || l.State == "muted" || !slices.Contains(l.LastRooms, r.Name) {
			continue
		}
		if !slices.ContainsFunc(r.Participants, func(p view.Participant) bool { return p.RelayLabel == l.Label }) {
			return l
		}
	}
	return nil
}

// missing says whose members a room lacks.
func missing(l *view.Link) string {
	return "the link to " + cell.Name(l.Label, 24) + " is down: its members are missing"
}

// callsign is what an operator calls a participant.
func callsign(p *view.Participant, w int) string {
	if strings.TrimSpace(cell.Clean(p.Alias)) != "" {
		return cell.Name(p.Alias, w)
	}
	if len(p.Fingerprint) >= 9 {
		return cell.Name(p.Fingerprint[:9], w)
	}
	return cell.Name(p.ID, w)
}

// reasonCount is one drop reason and how often it was hit.
type reasonCount struct {
	name string
	n    uint64
}

// reasons lists the drop reasons that were hit, most first.
func reasons(m map[string]uint64) []reasonCount {
	out := make([]reasonCount, 0, len(m))
	for k, v := range m {
		if v > 0 {
			out = append(out, reasonCount{k, v})
		}
	}
	slices.SortFunc(out, func(a, b reasonCount) int {
		if c := cmp.Compare(b.n, a.n); c != 0 {
			return c
		}
		return cmp.Compare(a.name, b.name)
	})
	return out
}

func topReason(m map[string]uint64) string {
	if r := reasons(m); len(r) > 0 {
		return r[0].name
	}
	return "nothing"
}

// reasonWords is "shard_full 1.2k, queue_age 3", or "none".
func reasonWords(m map[string]uint64) string {
	rs := reasons(m)
	if len(rs) == 0 {
		return "none"
	}
	parts := make([]string, len(rs))
	for i, r := range rs {
		parts[i] = r.name + " " + cell.Count(float64(r.n))
	}
	return strings.Join(parts, ", ")
}
