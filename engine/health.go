package engine

import (
	"fmt"
	"net"
	"slices"
	"sort"
	"strings"
	"time"

	"signalbox/engine/view"
)

// Thresholds of the verdict. They are shown in words with the raw figures, so
// an operator can disagree with them.
const (
	recentDrops     = 10 * time.Second // a drop this recent is a present one
	restrictedDrops = 2 * time.Second  // the same, of drops that an operator's word ends at once
	frozenAfterMS   = 2000.0           // a receiver whose queue is this old is frozen
	badLossPct      = 5.0
	badRTTMS        = 200.0
	oldReportS      = 15.0
	staleSharePct   = 50.0
	fewPeers        = 4 // fewer say nothing by their share
	hotSharePct     = 50.0
	shardFullPct    = 80.0
	stillDrops      = 2 * time.Second // since the last drop, while one says that it drops
	kernelRecent    = 30 * time.Second
	maxCausesShown  = 16
	isolatedAfterS  = 20.0
	afterglow       = 30 * time.Second // what comes and goes is told of until it has stayed away so long
	stuckMS         = 250.0            // a receiver with a younger and short queue takes its packets
	someDrops       = 5                // fewer in recentDrops are no news
	severalLose     = 3                // receivers that lose at once, and are delivered to: it is us
	manyOf          = 4                // where they are a quarter of all
	reachedMS       = 500.0            // a receiver that was handed a packet since is delivered to
)

// trend remembers a counter and when it last grew.
type trend struct {
	last  uint64
	grew  time.Time
	delta uint64 // growth over the last sample that grew
	seen  uint64 // snapshot number, to forget subjects that are gone

	base, before uint64 // the value when the window began, and the growth in the one before
	began        time.Time
}

// judge turns a snapshot into a verdict. It is owned by the publisher.
type judge struct {
	trends map[string]*trend
	round  uint64
	seeds  int // bootstrap peers the node was given

	retryAlways bool // Retry is not a sign of anything: it is always on
}

func newJudge() *judge { return &judge{trends: map[string]*trend{}} }

// grew notes value for key and says whether it has grown lately. The first
// sight of a key counts as growth only from zero.
func (j *judge) grew(key string, value uint64, now time.Time, within time.Duration) (uint64, bool) {
	t := j.trends[key]
	if t == nil {
		t = &trend{}
		j.trends[key] = t
	}
	if value > t.last {
		t.delta, t.grew = value-t.last, now
	}
	t.last, t.seen = value, j.round
	return t.delta, !t.grew.IsZero() && now.Sub(t.grew) <= within
}

// lost is by how much value has grown lately: in recentDrops at least, in twice
// that at most. It wants grew to have been asked first.
func (j *judge) lost(key string, now time.Time) uint64 {
	t := j.trends[key]
	first := t.began.IsZero()
	if d := now.Sub(t.began); d >= recentDrops {
		t.before = 0
		if d < 2*recentDrops {
			t.before = t.last - t.base
		}
		t.base, t.began = t.last, now
		if first {
			t.base -= t.delta // it has grown before anybody asked
		}
	}
	return t.before + t.last - min(t.base, t.last)
}

// dropped says in words how much is dropped: a rate over the last ten seconds or
// two while it goes on, so that it stands still while it is read, and then how
// much it was. It wants grew to have been asked first.
func (j *judge) dropped(key string, now time.Time) string {
	n := j.lost(key, now)
	t := j.trends[key]
	if now.Sub(t.grew) > stillDrops {
		return fmt.Sprintf("%d messages dropped a moment ago", n)
	}
	over := now.Sub(t.began)
	if t.before > 0 {
		over += recentDrops
	}
	return fmt.Sprintf("%.0f messages/s dropped", float64(n)/max(over.Seconds(), 1))
}

// lately says whether on was true within the afterglow.
func (j *judge) lately(key string, on bool, now time.Time) bool {
	var more uint64
	if t := j.trends[key]; t != nil {
		more = t.last
	}
	if on {
		more++
	}
	_, yes := j.grew(key, more, now, afterglow)
	return yes
}

// verdict fills s.Node.Health: the causes worst first, each with its remedy.
func (j *judge) verdict(s *view.Snapshot) {
	j.round++
	var cs []view.Cause
	cs = append(cs, ledgerCauses(s)...)
	for i := range s.Shards {
		cs = append(cs, j.shardCauses(&s.Shards[i], s.At)...)
	}
	var rooms []view.Cause
	for i := range s.Rooms {
		rooms = append(rooms, j.roomCauses(s, &s.Rooms[i])...)
	}
	rooms, ours := together(s.Rooms, rooms)
	cs = append(cs, rooms...)
	cs = append(cs, j.linkCauses(s, ours)...)
	cs = append(cs, j.nodeCauses(s)...)
	cs = append(cs, j.dhtCauses(s)...)
	cs = append(cs, forwardCauses(s.Forward)...)
	cs = append(cs, seedCauses(s)...)
	cs = append(cs, savedCauses(&s.DHT.Saved, s.At)...)
	cs = append(cs, j.callCauses(s)...)
	for k, t := range j.trends {
		if t.seen != j.round {
			delete(j.trends, k)
		}
	}
	sort.SliceStable(cs, func(a, b int) bool { return cs[a].Severity == view.Alarm && cs[b].Severity != view.Alarm })
	h := view.Health{Verdict: "ok", Reasons: []string{}, Causes: cs}
	if len(cs) > 0 {
		h.Verdict = "degraded"
		if cs[0].Severity == view.Alarm {
			h.Verdict = "failing"
		}
	}
	if len(cs) > maxCausesShown {
		h.Causes = cs[:maxCausesShown]
	}
	for _, c := range h.Causes {
		h.Reasons = append(h.Reasons, c.Subject+": "+c.Message)
	}
	if h.Causes == nil {
		h.Causes = []view.Cause{}
	}
	s.Node.Health = h
}

func ledgerCauses(s *view.Snapshot) []view.Cause {
	var cs []view.Cause
	for _, p := range []struct {
		name string
		v    *view.Plane
	}{{planeMedia, &s.Ledger.Media}, {"federation", &s.Ledger.Federation}, {planeDHT, &s.Ledger.DHT}} {
		if p.v.Unexplained != 0 {
			cs = append(cs, view.Cause{
				Severity: view.Alarm, Pane: "overview", Subject: "ledger " + p.name,
				Message: fmt.Sprintf("%d copies are unexplained: the node's own accounting is broken", p.v.Unexplained),
				Remedy:  "take a bundle (signalbox ctl bundle) and report it",
			})
		}
	}
	return cs
}

func (j *judge) shardCauses(v *view.Shard, now time.Time) []view.Cause {
	key := v.Key()
	drops := v.Dropped["shard_full"] + v.Dropped["shard_paused"]
	_, dropping := j.grew("shard/"+key, drops, now, recentDrops)
	lost := j.dropped("shard/"+key, now)
	_, replaced := j.grew("replaced/"+key, v.Restarts, now, recentDrops)
	_, panicked := j.grew("panic/"+key, v.Panics, now, 2*recentDrops)
	c := view.Cause{Severity: view.Alarm, Pane: "shards", Subject: key}
	var out []view.Cause
	switch {
	case v.State == "wedged":
		c.Message = fmt.Sprintf("wedged for %.1f s on %s; %d waiting", v.CurrentMS/1e3, orNothing(v.Current), v.Depth)
		c.Remedy = "it is replaced within 10 s; R restarts it now (shards pane)"
		out = append(out, c)
	case v.State == "paused":
		c.Severity = view.Warn
		c.Message = fmt.Sprintf("paused by an operator; %d waiting", v.Depth)
		if dropping {
			c.Severity, c.Message = view.Alarm, c.Message+", its sources' packets are dropped"
		}
		c.Remedy = "r resumes it (shards pane)"
		out = append(out, c)
	case dropping && replaced && v.Panics == 0:
		c.Severity = view.Warn
		c.Message = fmt.Sprintf("its loop was replaced a moment ago; %d messages were dropped meanwhile", drops)
		c.Remedy = "it runs again; the events (5) say what it was stuck on"
		out = append(out, c)
	case dropping:
		c.Message = "full: " + lost
		c.Remedy = "more traffic than one loop carries; the shards (2) show its sources"
		if h := hottest(v); h != nil {
			c.Message = fmt.Sprintf("full, %.0f %% of it from %s: %s", h.SharePct, h.IP, lost)
			c.Remedy = fmt.Sprintf("throttle or ban %s (t or b on the shard)", h.IP)
		}
		out = append(out, c)
	case float64(v.Depth)*100 > shardFullPct*float64(max(v.Capacity, 1)):
		c.Severity = view.Warn
		c.Message = fmt.Sprintf("%d of %d queued, oldest %.0f ms", v.Depth, v.Capacity, v.OldestMS)
		c.Remedy = "watch it: drops come next"
		out = append(out, c)
	}
	if panicked {
		out = append(out, view.Cause{
			Severity: view.Warn, Pane: "shards", Subject: key,
			Message: fmt.Sprintf("its handler panicked (%d in all); the packet is quarantined", v.Panics),
			Remedy:  "enter on the shard shows the stack; report it",
		})
	}
	return out
}

func hottest(v *view.Shard) *view.HotSource {
	if len(v.HotSources) > 0 && v.HotSources[0].SharePct >= hotSharePct {
		return &v.HotSources[0]
	}
	return nil
}

func orNothing(s string) string {
	if s == "" {
		return "nothing it can name"
	}
	return s
}

// queueDrops are what a receiver loses because it does not take its packets.
func queueDrops(p *view.Participant) uint64 { return p.Dropped["queue_head"] + p.Dropped["queue_age"] }

func (j *judge) roomCauses(s *view.Snapshot, r *view.Room) []view.Cause {
	var out []view.Cause
	now := s.At
	for i := range r.Participants {
		p := &r.Participants[i]
		name := participantName(p)
		_, losing := j.grew("recv/"+p.ID, queueDrops(p), now, recentDrops)
		lost := j.lost("recv/"+p.ID, now)
		_, over := j.grew("rate/"+p.ID, p.Dropped["client_rate"], now, recentDrops)
		stopped := j.stopped(s, p)
		c := view.Cause{Severity: view.Alarm, Pane: "rooms", Subject: r.Name + "/" + name}
		switch {
		case losing && lost >= someDrops && (p.QueueOldestMS > stuckMS || 8*p.QueueDepth > p.QueueCapacity):
			c.Message = fmt.Sprintf("%s queue %d/%d, %d dropped; only they lose", notTaking, p.QueueDepth, p.QueueCapacity, queueDrops(p))
			c.Remedy = "their link or device is stuck; K kicks them so that they reconnect"
			out = append(out, c)
		case stopped != "":
			c.Severity = view.Warn
			c.Message = stopped
			c.Remedy = "the events (5) say who and why; u takes it back, it ends by itself"
			out = append(out, c)
		case losing && lost >= someDrops:
			c.Severity = view.Warn
			c.Message = fmt.Sprintf("%s %d packets dropped a moment ago", tookAgain, lost)
			c.Remedy = "nothing, if it ends here; their link or device was busy"
			out = append(out, c)
		case over:
			c.Severity = view.Warn
			c.Message = fmt.Sprintf("sends more than its budget: %d packets refused", p.Dropped["client_rate"])
			c.Remedy = "mute (m) or kick (K) them, or ban their source (b)"
			out = append(out, c)
		case p.ReportAgeS >= 0 && p.ReportAgeS < oldReportS && (p.LossPct >= badLossPct || p.RTTMS >= badRTTMS):
			c.Severity = view.Warn
			c.Message = fmt.Sprintf("reports %.0f %% loss, %.0f ms: the room is at %s", p.LossPct, p.RTTMS, tierText(r))
			c.Remedy = "their network, not ours, unless drops grow here; T pins the room's tier"
			out = append(out, c)
		}
	}
	return out
}

// tookAgain begins what is said of receivers that are no longer stuck, notTaking
// of those that are.
const (
	tookAgain = "takes its packets again:"
	notTaking = "does not take its packets:"
)

// together makes one cause of receivers that lose at the same time although all
// of them are being delivered to, where they are many of those there are: what
// they have in common is us.
func together(rooms []view.Room, cs []view.Cause) (out []view.Cause, ours bool) {
	reached, all := map[string]bool{}, 0
	for i := range rooms {
		all += rooms[i].Local()
		for k := range rooms[i].Participants {
			p := &rooms[i].Participants[k]
			reached[rooms[i].Name+"/"+participantName(p)] = p.LastDeliveredMS >= 0 && p.LastDeliveredMS < reachedMS
		}
	}
	common := func(c view.Cause) bool {
		return strings.HasPrefix(c.Message, tookAgain) || strings.HasPrefix(c.Message, notTaking) && reached[c.Subject]
	}
	n, first := 0, view.Cause{Severity: view.Warn}
	for i := range cs {
		if !common(cs[i]) {
			continue
		}
		if n++; n == 1 || cs[i].Severity == view.Alarm && first.Severity != view.Alarm {
			first = cs[i]
		}
	}
	if n < severalLose || n*manyOf < all {
		return cs, false
	}
	message := "lost packets at the same moment and take them again, " + first.Subject + " among them: it was this machine, not they"
	if first.Severity == view.Alarm {
		message = "lose packets at the same moment, " + first.Subject + " among them, and all are delivered to: it is this machine, not they"
	}
	return append(slices.DeleteFunc(cs, common), view.Cause{
		Severity: first.Severity, Pane: "rooms", Subject: fmt.Sprintf("%d receivers", n), Machine: true,
		Message: message, Remedy: "look for what else takes the CPU; see cpu in the header",
	}), true
}

// stopped says which restriction drops what the participant sends now; empty:
// none does, or it has been lifted.
func (j *judge) stopped(s *view.Snapshot, p *view.Participant) (words string) {
	kind := ""
	if rule := ruleOn(s, p.Remote); rule != nil {
		kind = rule.Kind
	}
	for _, r := range []struct {
		reason  string
		inForce bool
		words   string
	}{
		{"source_banned", kind == kindBanned, "an operator has banned their address: all they send is dropped"},
		{"source_throttled", kind == kindThrottled, "an operator has throttled their address: part of what they send is dropped"},
		{"muted", p.Muted, "an operator has muted them: all they send is dropped"},
	} {
		if _, lately := j.grew(r.reason+"/"+p.ID, p.Dropped[r.reason], s.At, restrictedDrops); lately && r.inForce && words == "" {
			words = r.words
		}
	}
	return words
}

func tierText(r *view.Room) string {
	if r.PinnedTier != "" {
		return r.PinnedTier + " (pinned)"
	}
	return r.Tier
}

func (j *judge) nodeCauses(s *view.Snapshot) []view.Cause {
	var out []view.Cause
	if n, lately := j.grew("kernel", s.Kernel.UDPRcvbufErrors, s.At, kernelRecent); lately {
		out = append(out, view.Cause{
			Severity: view.Alarm, Pane: "overview", Subject: "kernel",
			Message: fmt.Sprintf("dropped %d packets before us: socket buffer %d KiB", n, s.Kernel.RcvbufBytes>>10),
			Remedy:  "raise net.core.rmem_max (signalbox doctor prints the line)",
		})
	}
	if _, lately := j.grew("rxqueue", s.Edge.RxQueueDrops, s.At, recentDrops); lately {
		out = append(out, view.Cause{
			Severity: view.Warn, Pane: "rooms", Subject: "edge",
			Message: fmt.Sprintf("%d datagrams lost in QUIC receive queues: a client bursts, or this machine is out of CPU", s.Edge.RxQueueDrops),
			Remedy:  "compare cpu in the header; look for the burst in rooms",
		})
	}
	if j.lately("storm", s.Edge.RetryActive && !j.retryAlways, s.At) {
		c := view.Cause{
			Severity: view.Warn, Pane: "events", Subject: "edge",
			Message: "handshakes come faster than normal: clients must prove their address (Retry)",
			Remedy:  "nothing to do if calls work; it is a reconnect storm or a flood",
		}
		if ip, n, all := busiest(s); ip != "" {
			c.Subject = ip
			c.Message = fmt.Sprintf("storm of handshakes, %d of the newest %d clients from here: they must prove their address (Retry)", n, all)
			c.Remedy = "nothing to do if calls work; else :source.throttle " + ip
		}
		out = append(out, c)
	}
	if why := s.Audit.Error; why != "" {
		out = append(out, view.Cause{
			Severity: view.Alarm, Pane: "overview", Subject: "audit log",
			Message: fmt.Sprintf("cannot be written, %d records are missing from it; commands are carried out all the same: %s", s.Audit.Unwritten, why),
			Remedy:  "look at the disk and the permissions of the state directory",
		})
	}
	if s.Node.State == "draining" {
		out = append(out, view.Cause{
			Severity: view.Warn, Pane: "overview", Subject: "node", Message: "draining: nobody new is admitted", Remedy: "u undoes it (undrain)",
		})
	}
	return out
}

// crowd is how many clients an address must have to be named in a storm.
const crowd = 20

// busiest is the address of most of those who are here or have just gone; empty
// when there is no such.
func busiest(s *view.Snapshot) (ip string, n, all int) {
	count := map[string]int{}
	note := func(remote string) {
		if host, _, err := net.SplitHostPort(remote); err == nil {
			count[host]++
			all++
		}
	}
	for i := range s.Rooms {
		for k := range s.Rooms[i].Participants {
			note(s.Rooms[i].Participants[k].Remote)
		}
	}
	for i := range s.Endings {
		if s.At.Sub(s.Endings[i].At) < afterglow {
			note(s.Endings[i].Remote)
		}
	}
	for host, c := range count {
		if c > n || c == n && host < ip {
			ip, n = host, c
		}
	}
	if n < crowd || 2*n < all {
		return "", 0, all
	}
	return ip, n, all
}

func (j *judge) dhtCauses(s *view.Snapshot) []view.Cause {
	d := &s.DHT
	switch {
	case d.Peers == 0 && j.seeds+d.Saved.Restored > 0 && s.Node.UptimeS > isolatedAfterS:
		c := view.Cause{
			Severity: view.Alarm, Pane: "routing", Subject: "routing table",
			Message: fmt.Sprintf("empty: none of the %d bootstrap peers and %d remembered ones can be reached", j.seeds, d.Saved.Restored),
			Remedy:  "it keeps dialling them; check --dht-join and the firewall",
		}
		if why := d.Saved.Discarded; why != "" {
			c.Message += "; routing.json was not used: " + why
		}
		return []view.Cause{c}
	case d.Peers == 0:
		return nil // no peers and no seeds is a relay on its own, which is fine
	}
	if pct := 100 * float64(d.Stale) / float64(d.Peers); pct >= staleSharePct {
		return []view.Cause{{
			Severity: view.Warn, Pane: "routing", Subject: "routing table",
			Message: fmt.Sprintf("%.0f %% of %d contacts have not been heard of for 15 minutes", pct, d.Peers),
			Remedy:  "f refreshes it (routing pane)",
		}}
	}
	if pct := 100 * float64(d.Suspect) / float64(d.Peers); pct >= staleSharePct && d.Peers >= fewPeers {
		return []view.Cause{{
			Severity: view.Warn, Pane: "routing", Subject: "routing table",
			Message: fmt.Sprintf("%d of %d contacts do not answer any more", d.Suspect, d.Peers),
			Remedy:  "E evicts them, f finds others (pane 4), if our own network is whole",
		}}
	}
	return nil
}
