package metrics

import "signalbox/engine/view"

// verdicts are how a check of a token can end.
var verdicts = []string{"ok", "denied", "error", "timeout", "busy", "open"}

// authFamilies are about the service behind auth_url.
func authFamilies() []family {
	return []family{
		gaugeOf("signalbox_auth_enabled", "1 if tokens are checked.", func(s *view.Snapshot) float64 { return truth(s.Signal.Auth.Enabled) }),
		{"signalbox_auth_checks_total", "Checks of a token, by verdict; open: the service was being left alone.", counter, []string{"verdict"}, func(s *view.Snapshot, emit put) {
			for _, v := range verdicts {
				emit(float64(s.Signal.Auth.Checks[v]), v)
			}
		}},
		{"signalbox_auth_breaker_state", "1 for the state of the circuit breaker before the auth service.", gauge, []string{"state"}, func(s *view.Snapshot, emit put) {
			oneOf(emit, s.Signal.Auth.Breaker, "closed", "open", "half-open")
		}},
		{"signalbox_auth_latency_seconds", "Time the newest requests to the auth service took, by quantile.", gauge, []string{"quantile"}, func(s *view.Snapshot, emit put) {
			emit(s.Signal.Auth.LatencyP50/1e3, "0.5")
			emit(s.Signal.Auth.LatencyP99/1e3, "0.99")
		}},
		gaugeOf("signalbox_auth_in_flight", "Requests to the auth service under way.", func(s *view.Snapshot) float64 { return float64(s.Signal.Auth.InFlight) }),
		gaugeOf("signalbox_auth_waiting", "Checks waiting for one of the places.", func(s *view.Snapshot) float64 { return float64(s.Signal.Auth.Waiting) }),
		counterOf("signalbox_auth_cache_hits_total", "Checks answered by a verdict that was kept.", func(s *view.Snapshot) float64 { return float64(s.Signal.Auth.CacheHits) }),
		counterOf("signalbox_auth_replays_total", "Handshakes refused because their key had been used before.", func(s *view.Snapshot) float64 { return float64(s.Signal.Auth.Replays) }),
	}
}

// signalFamilies are about direct calls and presence.
func signalFamilies() []family {
	return []family{
		gaugeOf("signalbox_signal_registered", "Identities registered for calls.", func(s *view.Snapshot) float64 { return float64(s.Signal.Registered) }),
		gaugeOf("signalbox_signal_connections", "Signalling connections.", func(s *view.Snapshot) float64 { return float64(s.Signal.Connections) }),
		{"signalbox_presence", "Identities that can be reached, by where.", gauge, []string{"where"}, func(s *view.Snapshot, emit put) {
			emit(float64(s.Signal.PresentHere), "here")
			emit(float64(s.Signal.PresentElsewhere), "elsewhere")
		}},
		{"signalbox_calls", "Direct calls, by state.", gauge, []string{"state"}, func(s *view.Snapshot, emit put) {
			emit(float64(s.Signal.Calls.Pending), "pending")
			emit(float64(s.Signal.Calls.Ringing), "ringing")
			emit(float64(s.Signal.Calls.Active), "active")
		}},
		{"signalbox_call_signals_total", "Signals of direct calls that were acted on.", counter, []string{"signal"}, func(s *view.Snapshot, emit put) {
			emit(float64(s.Signal.Offers), "offer")
			emit(float64(s.Signal.Answers), "answer")
			emit(float64(s.Signal.Hangups), "hangup")
			emit(float64(s.Signal.RingTimeouts), "ring_timeout")
		}},
		{"signalbox_signal_refused_total", "Signals refused, by cause.", counter, []string{"cause"}, func(s *view.Snapshot, emit put) { byName(emit, s.Signal.Refused) }},
		counterOf("signalbox_signal_stalls_total", "Clients that did not take what they were told.", func(s *view.Snapshot) float64 { return float64(s.Signal.Stalls) }),
		counterOf("signalbox_signal_moves_total", "Identities registered from a second address.", func(s *view.Snapshot) float64 { return float64(s.Signal.Moves) }),
	}
}
