package pane

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/key"
	"signalbox/tui/style"
)

func (p *Routing) wordsBox(w, h int, frame bool, st *style.Set) []string {
	if h <= 0 {
		return nil
	}
	return section(box{title: "what that means"}, w, h, frame && h >= 5, st, func(w, _ int) []string { return p.words(w, st) })
}

// words say what the numbers mean, what is wrong and what to do about it; the
// essential comes first.
func (p *Routing) words(w int, st *style.Set) []string {
	t := &p.d.Snap.DHT
	const lw = 11
	var out []string
	para := func(name string, lv level, words string) {
		words = lv.sign(&st.Glyph) + " " + words
		if lv == fine {
			words = words[2:]
		}
		for i, part := range cell.Wrap(words, w-lw, 2) {
			if i > 0 {
				name = ""
			}
			out = append(out, cell.NewLine(st, w).Cell(style.Dim, name, lw).Add(lv.text(), part).String())
		}
	}
	n := func(v uint64) string { return cell.Count(float64(v)) }
	lv, text := diversity(t)
	para("diversity", lv, text)
	lv, text = freshness(t)
	para("freshness", lv, text)
	judged := fine
	if t.Lookups.OK+t.Lookups.Failed >= 20 { // fewer say nothing by their share: the first ones of a node find nobody
		judged = over(failPct(t.Lookups.OK, t.Lookups.Failed), 10, 40)
	}
	para("lookups", judged, fmt.Sprintf("%s, %s ok, %s failed, p50 %s, p99 %s, %.0f hops",
		activeWords(&t.Lookups), n(t.Lookups.OK), n(t.Lookups.Failed), cell.Millis(t.Lookups.P50MS), cell.Millis(t.Lookups.P99MS), t.Lookups.HopsP50))
	para("requests", over(failPct(t.RPC.OK, t.RPC.Timeout), 10, 40), fmt.Sprintf("%s ok, %s timed out, %s refused, %d waiting; strays: %s",
		n(t.RPC.OK), n(t.RPC.Timeout), n(t.RPC.Refused), t.RPC.Pending, reasonWords(t.RPC.Stray)))
	c := &t.Cache
	rate := "nothing asked yet"
	if c.Hits+c.Misses > 0 {
		rate = cell.Pct(100 - failPct(c.Hits, c.Misses))
	}
	para("cache", fine, fmt.Sprintf("%s hits (%s), %s misses, %s evicted, %s in use", n(c.Hits), rate, n(c.Misses), n(c.Evicted), cell.Bytes(c.Bytes)))
	lv, text = reachWords(&t.Reachability)
	para("reach", lv, text)
	lv, text = recordWords(&t.Records)
	para("records", lv, text)
	lv, text = savedWords(&t.Saved, p.d.Snap.At)
	para("saved", lv, text)
	para("admission", fine, admissionWords(t.Admission)+"; left: "+reasonWords(t.Removed))
	para("serving", fine, n(t.Served)+" requests of others; trouble: "+reasonWords(t.Trouble))
	para("touches", fine, fmt.Sprintf("%s fast (no lock), %s slow, %s of unknown peers", n(t.Touch.Fast), n(t.Touch.Slow), n(t.Touch.Missing)))
	return out
}

// activeWords name the newest lookup under way.
func activeWords(v *view.Lookups) string {
	for i := range v.Trace {
		if tr := &v.Trace[i]; tr.State == view.LookupActive {
			return fmt.Sprintf("%d active (%s %d/%d)", v.Active, traceName(tr, 20), tr.Answered, tr.Asked)
		}
	}
	return fmt.Sprintf("%d active", v.Active)
}

// reachWords say whether others can reach us, and how we reach those who
// cannot be reached.
func reachWords(v *view.Reachability) (level, string) {
	lv, out := fine, ""
	switch v.Verdict {
	case "public":
		out = "public: others reach us"
	case "nat":
		out = "behind a NAT: others reach us with help"
	case "symmetric":
		lv, out = watch, "behind a NAT that changes ports: only relays reach us; open UDP to us, or set --advertise"
	default:
		out = "not known yet: too few networks have told where they see us"
	}
	return lv, out + fmt.Sprintf("; %d tell us, %d linked by relay, %s holes punched, %s not; %d of %d pairs relayed for others",
		v.Observers, v.Relayed, cell.Count(float64(v.PunchedOK)), cell.Count(float64(v.PunchedFailed)), v.Relaying.Pairs, v.Relaying.Capacity)
}

// recordWords say what we publish and what we keep for others.
func recordWords(v *view.Records) (level, string) {
	lv, out := fine, fmt.Sprintf("%d rooms and %d presences of ours; %d of others kept, %s refused", v.Rooms, v.Presences, v.Foreign, cell.Count(float64(total(v.Refused))))
	for i := range v.Own {
		if o := &v.Own[i]; !o.Withdrawn && o.AgeS >= 0 && o.Holders == 0 {
			return watch, out + "; nobody keeps " + cell.Name(o.Label, 24) + ": it cannot be found"
		}
	}
	if v.Bad > 0 {
		out += fmt.Sprintf("; %s answers were forged", cell.Count(float64(v.Bad)))
	}
	return lv, out
}

// freshness says how much of the table can be believed.
func freshness(t *view.DHT) (level, string) {
	total, bad := max(t.Peers, 1), t.Stale+t.Suspect
	share := 100 * float64(bad) / float64(total)
	var oldest *view.Bucket
	for i := range t.Buckets {
		if b := &t.Buckets[i]; b.Size > 0 && (oldest == nil || b.LastRefreshS > oldest.LastRefreshS) {
			oldest = b
		}
	}
	facts := fmt.Sprintf("%d of %d silent for 15 min, %d did not answer%s", t.Stale, t.Peers, t.Suspect, worstBuckets(t))
	switch {
	case t.Peers == 0:
		return fine, "there is nothing to be fresh"
	case 3*t.Suspect >= total && t.Peers >= 3:
		return broken, facts + ": is our own network whole? If so E evicts the dead"
	case share >= 50:
		return broken, facts + ": answers name the dead; f and all refreshes"
	case share >= 20:
		return watch, facts + ": f refreshes, the checks go on by themselves"
	case bad > 0:
		return fine, facts + "; they are being asked"
	case oldest != nil:
		return fine, fmt.Sprintf("all proven within 15 min; longest ago bucket %d, %s", oldest.Index, cell.Seconds(oldest.LastRefreshS))
	}
	return fine, facts
}

// worstBuckets names the buckets with the most contacts that cannot be believed.
func worstBuckets(t *view.DHT) string {
	bad := map[int]int{}
	for i := range t.PeersTable {
		if peerLevel(&t.PeersTable[i]) > fine {
			bad[t.PeersTable[i].Bucket]++
		}
	}
	idx := slices.SortedFunc(maps.Keys(bad), func(a, b int) int { return cmp.Or(cmp.Compare(bad[b], bad[a]), cmp.Compare(b, a)) })
	if len(idx) == 0 {
		return ""
	}
	parts := make([]string, 0, 3)
	for _, i := range idx[:min(3, len(idx))] {
		parts = append(parts, fmt.Sprint(i))
	}
	if len(idx) > 3 {
		parts = append(parts, fmt.Sprintf("%d more", len(idx)-3))
	}
	return ", in buckets " + strings.Join(parts, ", ")
}

// savedWords say what is on disk for the next start, and what the last run
// left for this one.
func savedWords(v *view.Saved, now time.Time) (level, string) {
	lv, out := fine, "not yet"
	if !v.At.IsZero() {
		out = fmt.Sprintf("%s ago, %s", cell.Seconds(max(0, now.Sub(v.At).Seconds())), plural(v.Peers, "peer"))
	}
	if v.Kept != "" {
		out += " (kept: " + cell.Clean(v.Kept) + ")"
	}
	if v.Error != "" {
		lv, out = broken, out+"; fails: "+cell.Clean(v.Error)
	}
	if v.RestoredFrom != "" {
		out += fmt.Sprintf("; %d of %d of the last run are back", v.Redialled, v.Restored)
	}
	if v.Discarded != "" {
		lv, out = max(lv, watch), out+"; the last run's was not used: "+cell.Clean(v.Discarded)
	}
	return lv, out
}

func failPct(ok, failed uint64) float64 {
	if ok+failed == 0 {
		return 0
	}
	return 100 * float64(failed) / float64(ok+failed)
}

// diversity says on how many parties the table depends.
func diversity(t *view.DHT) (level, string) {
	v := &t.Diversity
	facts := fmt.Sprintf("%s, %s, %s, largest %s", plural(t.Peers, "peer"), plural(v.DistinctIPs, "IP"), plural(v.DistinctSubnets, "subnet"), cell.Pct(v.LargestSubnetPct))
	switch {
	case t.Peers == 0:
		return watch, "nobody is known: this node is alone; give it a seed with --dht-join ID@ADDR"
	case allHere(t.PeersTable):
		return fine, facts + ", all on this machine: a test, where diversity says nothing"
	case v.LargestSubnetPct >= 50 && t.Peers >= 4:
		return broken, facts + ": whoever runs it decides what we see; add seeds of other networks, block whom you do not know"
	case v.LargestSubnetPct >= 33 && t.Peers >= 4:
		return watch, facts + ": much rests on one party; add seeds of other networks"
	case t.Peers < 8:
		return watch, facts + ": few peers, the table is thin; f finds more if there are any"
	}
	return fine, facts + ": no one can cut us off"
}

// allHere reports whether every contact is at a loopback address.
func allHere(peers []view.Peer) bool {
	for i := range peers {
		for _, a := range addrsOf(&peers[i]) {
			if !a.IsLoopback() {
				return false
			}
		}
	}
	return len(peers) > 0 && len(addrsOf(&peers[0])) > 0
}

func admissionWords(m map[string]uint64) string {
	if len(reasons(m)) == 0 {
		return "nobody has asked to be in the table yet"
	}
	return reasonWords(m)
}

// dead are the contacts that did not answer, as many as one plan can hold.
func (p *Routing) dead() (ids []string) {
	for i := range p.d.Snap.DHT.PeersTable {
		if m := &p.d.Snap.DHT.PeersTable[i]; m.State == "suspect" && len(ids) < deadAtOnce {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

const deadAtOnce = 64

func (p *Routing) noDead() string {
	if len(p.dead()) == 0 {
		return "every contact answers"
	}
	return ""
}

// evictDead takes out of the table whom nobody can reach.
func (p *Routing) evictDead() key.Intent {
	in := key.Intent{Title: "evict the dead"}
	for _, id := range p.dead() {
		in.Cmds = append(in.Cmds, control.Command{Kind: control.PeerEvict, Target: id})
	}
	in.On = plural(len(in.Cmds), "contact") + " that did not answer"
	return in
}
