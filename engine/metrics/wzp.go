package metrics

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"signalbox/engine/ledger"
	"signalbox/engine/view"
	"signalbox/relay"
)

// families is every metric but those of an Observer, in the order of the page.
func families() []family {
	return slices.Concat(wzpFamilies(), authFamilies(), signalFamilies(), nodeFamilies(), shardFamilies(), planeFamilies(), dhtFamilies(), recordFamilies(), forwardFamilies())
}

// wzpFamilies are the names of wzp-relay that this node fills with truth (spec
// wzp 5.21). Those it has no figures for are left out rather than left at zero.
func wzpFamilies() []family {
	return []family{
		gaugeOf("wzp_relay_active_sessions", "Participants in rooms, those of other relays not counted.", participants),
		gaugeOf("wzp_relay_active_rooms", "Rooms with somebody in them.", func(s *view.Snapshot) float64 {
			n := 0.0
			for i := range s.Rooms { // a lock keeps a room that is empty
				n += truth(s.Rooms[i].Local() > 0)
			}
			return n
		}),
		counterOf("wzp_relay_packets_forwarded_total", "Media packets forwarded, every copy counted.", func(s *view.Snapshot) float64 { return float64(s.Ledger.Media.Delivered) }),
		{"wzp_relay_auth_attempts_total", "Checks of a token, by how they ended.", counter, []string{"result"}, func(s *view.Snapshot, emit put) {
			checks := s.Signal.Auth.Checks
			var all uint64
			for _, n := range checks {
				all += n
			}
			emit(float64(checks["ok"]), "ok")
			emit(float64(all-checks["ok"]), "fail")
		}},
		perMember("wzp_relay_session_loss_pct", "Loss a participant last reported, in percent.", gauge, reporting, func(p *view.Participant) float64 { return p.LossPct }),
		perMember("wzp_relay_session_rtt_ms", "Round trip a participant last reported, in milliseconds.", gauge, reporting, func(p *view.Participant) float64 { return p.RTTMS }),
		{"wzp_relay_session_dred_reconstructions_total", "Frames a client says it has rebuilt from DRED.", counter, []string{"session_id"}, func(s *view.Snapshot, emit put) {
			recovered(s, func(p *view.Participant) { emit(float64(p.DREDReconstructions), p.ID) })
		}},
		{"wzp_relay_session_classical_plc_total", "Frames a client says it has concealed.", counter, []string{"session_id"}, func(s *view.Snapshot, emit put) {
			recovered(s, func(p *view.Participant) { emit(float64(p.ClassicalPLC), p.ID) })
		}},
		perMember("wzp_relay_session_jitter_buffer_depth", "Packets waiting to be sent to a participant.", gauge, local, func(p *view.Participant) float64 { return float64(p.QueueDepth) }),
		perMember("wzp_relay_session_overruns_total", "Packets a participant was not sent because its queue was full or they waited too long.", counter, local, func(p *view.Participant) float64 {
			return float64(p.Dropped[ledger.QueueHead.String()] + p.Dropped[ledger.QueueAge.String()])
		}),
		perMember("wzp_relay_session_underruns_total", "Packets missing in the sequence a participant has sent.", counter, local, func(p *view.Participant) float64 { return float64(p.SeqGaps) }),
		{"wzp_federation_peer_status", "1 if the federation link is up.", gauge, []string{"peer"}, func(s *view.Snapshot, emit put) {
			eachLink(s, func(l *view.Link) { emit(truth(l.State == "up"), l.Label) })
		}},
		{"wzp_federation_peer_rtt_ms", "Round trip of the federation link, in milliseconds.", gauge, []string{"peer"}, func(s *view.Snapshot, emit put) {
			eachLink(s, func(l *view.Link) { emit(l.RTTMS, l.Label) })
		}},
		{"wzp_federation_packets_forwarded_total", "Packets over the federation link, by direction.", counter, []string{"peer", "direction"}, func(s *view.Snapshot, emit put) {
			eachLink(s, func(l *view.Link) {
				emit(float64(l.Forwarded), l.Label, "out")
				emit(float64(l.Received), l.Label, "in")
			})
		}},
		perProbe("wzp_probe_rtt_ms", "Round trip of the newest probe of a relay, in milliseconds.", func(p *view.Probe) float64 { return p.RTTMS }),
		perProbe("wzp_probe_loss_pct", "Probes of a relay without an answer, of the newest sixty, in percent.", func(p *view.Probe) float64 { return p.LossPct }),
		perProbe("wzp_probe_jitter_ms", "Standard deviation of the round trips of the newest sixty probes, in milliseconds.", func(p *view.Probe) float64 { return p.JitterMS }),
		perProbe("wzp_probe_up", "1 if the relay answers probes.", func(p *view.Probe) float64 { return truth(p.Up) }),
		counterOf("wzp_federation_packets_deduped_total", "Federated packets already seen on another path.", func(s *view.Snapshot) float64 { return float64(s.Ledger.Federation.Dropped["duplicate"]) }),
		counterOf("wzp_federation_packets_rate_limited_total", "Federated packets above the rate of their link.", func(s *view.Snapshot) float64 { return float64(s.Ledger.Federation.Dropped["link_rate"]) }),
		gaugeOf("wzp_federation_active_rooms", "Rooms announced over all federation links.", func(s *view.Snapshot) float64 {
			n := 0
			for i := range s.Links {
				n += len(s.Links[i].Rooms)
			}
			return float64(n)
		}),
	}
}

// perProbe is a gauge of each probed relay, up to the bound.
func perProbe(name, help string, f func(*view.Probe) float64) family {
	return family{name, help, gauge, []string{"target"}, func(s *view.Snapshot, emit put) {
		for i := range s.Probes[:min(len(s.Probes), maxProbes)] {
			emit(f(&s.Probes[i]), s.Probes[i].Target)
		}
	}}
}

func participants(s *view.Snapshot) float64 {
	n := 0
	for i := range s.Rooms {
		n += s.Rooms[i].Local()
	}
	return float64(n)
}

func local(p *view.Participant) bool { return p.Transport != relay.Federated }

func reporting(p *view.Participant) bool { return p.ReportAgeS >= 0 }

// perMember is a family of each participant that is meant, up to the bound.
func perMember(name, help string, kind prometheus.ValueType, meant func(*view.Participant) bool, f func(*view.Participant) float64) family {
	return family{name, help, kind, []string{"session_id"}, func(s *view.Snapshot, emit put) {
		eachMember(s, meant, func(p *view.Participant) { emit(f(p), p.ID) })
	}}
}

// eachMember visits the participants that are meant: those who came first, up
// to the bound, so that a series lasts as long as its session.
func eachMember(s *view.Snapshot, meant func(*view.Participant) bool, f func(*view.Participant)) {
	var ps []*view.Participant
	for i := range s.Rooms {
		for k := range s.Rooms[i].Participants {
			if p := &s.Rooms[i].Participants[k]; meant(p) {
				ps = append(ps, p)
			}
		}
	}
	slices.SortFunc(ps, func(a, b *view.Participant) int {
		return cmp.Or(a.JoinedAt.Compare(b.JoinedAt), cmp.Compare(a.ID, b.ID))
	})
	last := ""
	for _, p := range ps[:min(len(ps), maxSessions)] {
		if p.ID != last { // the same series twice would spoil the whole page
			f(p)
		}
		last = p.ID
	}
}

// eachLink visits federation links by label, one each, up to the bound.
func eachLink(s *view.Snapshot, f func(*view.Link)) {
	ls := make([]*view.Link, 0, len(s.Links))
	for i := range s.Links {
		ls = append(ls, &s.Links[i])
	}
	slices.SortStableFunc(ls, func(a, b *view.Link) int { return cmp.Compare(a.Label, b.Label) })
	ls = slices.CompactFunc(ls, func(a, b *view.Link) bool { return a.Label == b.Label })
	for _, l := range ls[:min(len(ls), maxLinks)] {
		f(l)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
