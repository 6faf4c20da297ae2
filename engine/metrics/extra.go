package metrics

import "signalbox/engine/view"

// forwardFamilies are of forward mode, the event log and the taps; without
// series where those are off.
func forwardFamilies() []family {
	ifForward := func(f func(*view.Forward, put)) func(*view.Snapshot, put) {
		return func(s *view.Snapshot, emit put) {
			if s.Forward != nil {
				f(s.Forward, emit)
			}
		}
	}
	return []family{
		{"signalbox_forward_state", "1 for the state of the remote relay.", gauge, []string{"state"}, ifForward(func(f *view.Forward, emit put) {
			oneOf(emit, f.State, "unknown", "up", "down")
		})},
		{"signalbox_forward_clients", "Clients forwarded to the remote relay.", gauge, nil, ifForward(func(f *view.Forward, emit put) { emit(float64(len(f.Legs))) })},
		{"signalbox_forward_refused_total", "Clients refused because the remote relay could not be reached.", counter, nil, ifForward(func(f *view.Forward, emit put) { emit(float64(f.Refused)) })},
		{"signalbox_forward_attempts_total", "Connections to the remote relay tried, by how that ended.", counter, []string{"result"}, ifForward(func(f *view.Forward, emit put) {
			emit(float64(f.Attempts-min(f.Attempts, f.Failures)), "ok")
			emit(float64(f.Failures), "failed")
		})},
		{"signalbox_event_log_entries_total", "Entries for the event log, by what became of them.", counter, []string{"result"}, func(s *view.Snapshot, emit put) {
			if s.EventLog != nil {
				emit(float64(s.EventLog.Written), "written")
				emit(float64(s.EventLog.Dropped), "dropped")
			}
		}},
		gaugeOf("signalbox_taps", "Debug taps that are on.", func(s *view.Snapshot) float64 { return float64(len(s.Taps)) }),
	}
}

// maxRecovery bounds the clients whose decoders are shown.
const maxRecovery = 32

// recovered visits clients that have told of their decoder, up to the bound.
func recovered(s *view.Snapshot, f func(*view.Participant)) {
	n := 0
	seen := map[string]bool{}
	for i := range s.Rooms {
		for k := range s.Rooms[i].Participants {
			p := &s.Rooms[i].Participants[k]
			if p.DREDReconstructions+p.ClassicalPLC == 0 || seen[p.ID] || n == maxRecovery {
				continue
			}
			seen[p.ID] = true
			n++
			f(p)
		}
	}
}
