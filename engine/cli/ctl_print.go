package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/relay"
)

// safe is text of the network, fit for a terminal; a dash when empty.
func safe(s string) string { return cmp.Or(relay.Sanitize(s), "-") }

// table writes rows in columns, the first one the heading.
func table(w io.Writer, heading string, rows func(row func(cells ...any))) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var err error
	put := func(s string) {
		if err == nil {
			_, err = io.WriteString(t, s+"\n")
		}
	}
	put(strings.Join(strings.Fields(heading), "\t"))
	rows(func(cells ...any) {
		text := make([]string, len(cells))
		for i, c := range cells {
			text[i] = safe(fmt.Sprint(c))
		}
		put(strings.Join(text, "\t"))
	})
	if err != nil {
		return err
	}
	return t.Flush()
}

// drops is a map of counts in words, the largest first.
func drops(m map[string]uint64) string {
	names := slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) })
	var out []string
	for _, n := range names {
		if m[n] > 0 {
			out = append(out, fmt.Sprintf("%s=%d", n, m[n]))
		}
	}
	return strings.Join(out, " ")
}

func printStatus(w io.Writer, s *view.Snapshot) error {
	people := 0
	for i := range s.Rooms {
		people += s.Rooms[i].Local()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, %s, up %s, snapshot %s old\n", safe(s.Node.State), safe(s.Node.Health.Verdict), safe(s.Node.Version),
		(time.Duration(s.Node.UptimeS) * time.Second), time.Since(s.At).Round(time.Millisecond))
	fmt.Fprintf(&b, "node      %s\nlisten    %s\n", safe(s.Node.NodeID), safe(strings.Join(s.Node.Listen, " ")))
	fmt.Fprintf(&b, "rooms     %d with %d participants, %d connections\n", len(s.Rooms), people, s.Edge.Connections)
	fmt.Fprintf(&b, "dht       %d peers, %d fresh, %d stale\n", s.DHT.Peers, s.DHT.Fresh, s.DHT.Stale)
	for _, p := range []struct {
		name string
		p    *view.Plane
	}{{"media", &s.Ledger.Media}, {"dht", &s.Ledger.DHT}} {
		fmt.Fprintf(&b, "%-9s received %d, delivered %d, queued %d, unexplained %d, dropped %s\n", p.name,
			p.p.Received, p.p.Delivered, p.p.Queued, p.p.Unexplained, cmp.Or(drops(p.p.Dropped), "none"))
	}
	for _, c := range s.Node.Health.Causes {
		fmt.Fprintf(&b, "%-9s %s: %s", safe(c.Severity), safe(c.Subject), safe(c.Message))
		if c.Remedy != "" {
			fmt.Fprintf(&b, " (%s)", safe(c.Remedy))
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func printShards(w io.Writer, s *view.Snapshot) error {
	return table(w, "SHARD STATE DEPTH CAPACITY HIGH OLDEST_MS BUSY_PCT P99_US RECEIVED PROCESSED PANICS DROPPED", func(row func(...any)) {
		for i := range s.Shards {
			v := &s.Shards[i]
			row(v.Key(), v.State, v.Depth, v.Capacity, v.HighWater, int(v.OldestMS), int(v.BusyPct), int(v.WaitP99US), v.Received, v.Processed, v.Panics, drops(v.Dropped))
		}
	})
}

func printRooms(w io.Writer, s *view.Snapshot) error {
	return table(w, "ROOM PEOPLE TIER PINNED LOCKED WEAKEST AGE", func(row func(...any)) {
		for i := range s.Rooms {
			r := &s.Rooms[i]
			row(r.Name, len(r.Participants), r.Tier, r.PinnedTier, r.Locked, r.Weakest, s.At.Sub(r.CreatedAt).Round(time.Second))
		}
	})
}

func printParticipants(w io.Writer, s *view.Snapshot) error {
	return table(w, "ID ROOM ALIAS REMOTE TIER LOSS_PCT RTT_MS MUTED RECEIVED DELIVERED QUEUE DROPPED", func(row func(...any)) {
		for i := range s.Rooms {
			for k := range s.Rooms[i].Participants {
				p := &s.Rooms[i].Participants[k]
				row(p.ID, s.Rooms[i].Name, p.Alias, p.Remote, p.Tier, p.LossPct, p.RTTMS, p.Muted, p.Received, p.Delivered,
					fmt.Sprintf("%d/%d", p.QueueDepth, p.QueueCapacity), drops(p.Dropped))
			}
		}
	})
}

func printPeers(w io.Writer, s *view.Snapshot) error {
	return table(w, "ID STATE BUCKET LAST_SEEN_S RTT_MS TRUST ADDRESSES", func(row func(...any)) {
		for i := range s.DHT.PeersTable {
			p := &s.DHT.PeersTable[i]
			var addrs []string
			for _, a := range p.Addrs {
				addrs = append(addrs, a.Addr+" "+a.Type)
			}
			row(p.ID, p.State, p.Bucket, int(p.LastSeenS), p.RTTMS, p.Trust, strings.Join(addrs, ", "))
		}
	})
}

func printRouting(w io.Writer, s *view.Snapshot) error {
	if _, err := fmt.Fprintf(w, "%d peers, %d fresh, %d stale, %d suspect; %d addresses in %d subnets, the largest with %.0f %%\n", s.DHT.Peers,
		s.DHT.Fresh, s.DHT.Stale, s.DHT.Suspect, s.DHT.Diversity.DistinctIPs, s.DHT.Diversity.DistinctSubnets, s.DHT.Diversity.LargestSubnetPct); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, savedWords(&s.DHT.Saved, s.At)); err != nil {
		return err
	}
	if err := printRecords(w, &s.DHT); err != nil {
		return err
	}
	return table(w, "BUCKET SIZE CAPACITY FRESH STALE OLDEST_S PROVEN_S_AGO", func(row func(...any)) {
		for _, b := range s.DHT.Buckets {
			row(b.Index, b.Size, b.Capacity, b.Fresh, b.Stale, int(b.OldestS), int(b.LastRefreshS))
		}
	})
}

// savedWords say what is on disk for the next start and what the last left.
func savedWords(v *view.Saved, now time.Time) string {
	out := "not saved yet"
	if !v.At.IsZero() {
		out = fmt.Sprintf("saved %.0f s ago: %d peers, %d scores", now.Sub(v.At).Seconds(), v.Peers, v.Scores)
	}
	if v.Error != "" {
		out += "; saving fails: " + safe(v.Error)
	}
	if v.RestoredFrom != "" {
		out += fmt.Sprintf("; %d of %d peers of the last run are back", v.Redialled, v.Restored)
	}
	if v.Discarded != "" {
		out += "; the last run's file was not used: " + safe(v.Discarded)
	}
	return out
}

// printRecords shows what the node publishes and what it keeps for others.
func printRecords(w io.Writer, d *view.DHT) error {
	r := &d.Records
	if _, err := fmt.Fprintf(w, "records: %d rooms and %d presences of our own, %d of others; cache %d bytes, %d hits, %d misses, %d evicted\n",
		r.Rooms, r.Presences, r.Foreign, d.Cache.Bytes, d.Cache.Hits, d.Cache.Misses, d.Cache.Evicted); err != nil {
		return err
	}
	if len(r.Own) == 0 {
		return nil
	}
	return table(w, "PUBLISHED KIND HOLDERS AGE_S EXPIRES_S WITHDRAWN", func(row func(...any)) {
		for i := range r.Own {
			o := &r.Own[i]
			row(o.Label, o.Kind, o.Holders, int(o.AgeS), int(o.ExpiresS), o.Withdrawn)
		}
	})
}

func printLinks(w io.Writer, s *view.Snapshot) error {
	return table(w, "LINK STATE DIRECTION VERIFIED RTT_MS RECEIVED FORWARDED QUEUE DROPPED LAST_ERROR", func(row func(...any)) {
		for i := range s.Links {
			l := &s.Links[i]
			row(l.Label, l.State, l.Direction, l.Verified, l.RTTMS, l.Received, l.Forwarded, l.QueueDepth, drops(l.Dropped), l.LastError)
		}
	})
}

func printSources(w io.Writer, s *view.Snapshot) error {
	return table(w, "PREFIX KIND PPS UNTIL DROPPED AUTHOR REASON", func(row func(...any)) {
		for _, r := range s.Sources {
			row(r.Prefix, r.Kind, r.RatePPS, clock(r.Until), r.Dropped, r.Author, r.Reason)
		}
	})
}

func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func printEvent(w io.Writer, e *view.Event) error {
	_, err := fmt.Fprintf(w, "%s %-5s %s %s: %s\n", clock(e.At), safe(e.Severity), safe(e.Kind), safe(e.Subject), safe(e.Message))
	return err
}

func printAudit(w io.Writer, recs []view.Audit) error {
	return table(w, "AT AUTHOR COMMAND TARGET CODE UNDO UNDONE_BY REASON", func(row func(...any)) {
		for _, r := range recs {
			row(clock(r.At), r.Author, r.Kind, r.Target, r.Code, r.UndoID, r.UndoneBy, r.Reason)
		}
	})
}

func printExplanation(w io.Writer, x *view.Explanation) error {
	if err := table(w, "HOP VERDICT LAST_PACKET_MS RATE_PPS QUEUE DROPPED", func(row func(...any)) {
		for _, h := range x.Hops {
			row(h.Name, h.Verdict, int(h.LastPacketAgo), int(h.RatePPS), h.QueueDepth, drops(h.Dropped))
		}
	}); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, safe(x.Verdict)); err != nil || x.Remedy == "" {
		return err
	}
	_, err := fmt.Fprintln(w, "->", safe(x.Remedy))
	return err
}

func printResult(w io.Writer, r *control.Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", safe(string(r.Code)), safe(r.Message))
	for _, p := range r.Plan {
		if p != r.Message {
			fmt.Fprintf(&b, "  %s\n", safe(p))
		}
	}
	if r.Undo != "" {
		fmt.Fprintf(&b, "undo with: signalbox ctl undo %s\n", safe(r.Undo))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
