package sample

import (
	"fmt"
	"time"

	"signalbox/engine/view"
)

// callers call each other, and their keys' beginnings.
var callers = []string{"mara", "bastien", "esra", "hana", "joão", "ingrid", "kofi", "liang", "noor", "otto", "priya", "quentin"}

func key(i int) string {
	return fmt.Sprintf("%04x:9b%02x:44aa:0c17:5e21:d0f3:%04x:71b9", 0x1a2b+977*i, i, 0x0b11+31*i)
}

// signalling is the calls of a scene, and who is registered.
func signalling(sc Scene, sec float64, at time.Time) view.Signal {
	s := view.Signal{
		Registered: 118, Connections: 121, Anonymous: 2, PresentHere: 131, PresentElsewhere: 64, Calls: view.Calls{Active: 9, Ringing: 1},
		Offers: 4102, Answers: 3377, Hangups: 4090, RingTimeouts: 201, Refused: map[string]uint64{"busy": 88, "offline": 341},
	}
	party := func(i int) view.Party { return view.Party{Fingerprint: key(i), Alias: callers[i%len(callers)]} }
	call := func(id int, state string, age, in float64, a, b view.Party) {
		s.CallList = append(s.CallList, view.Call{ID: fmt.Sprintf("18a5f0c2b3d4%04x", id), Room: fmt.Sprintf("call-18a5f0c2b3d4%04x", id), State: state, AgeS: age + sec, StateAgeS: in + sec, Caller: a, Callee: b})
	}
	if sc != Healthy {
		s.Calls.Pending, s.Calls.Ringing, s.Stalls = 1, 2, 3
		s.Refused["peer_stalled"], s.Refused["not_a_party"] = 3, 1
		call(1, "pending", 1.6, 1.6, party(2), party(8))
		call(2, "ringing", 34, 33.9, party(5), party(6))
		s.Auth = view.Auth{
			Enabled: true, Breaker: "open", Checks: map[string]uint64{"ok": 9120, "denied": 41, "timeout": 5, "open": 212}, CacheHits: 7011, LatencyP50: 21, LatencyP99: 5000,
			LastError: "the auth service does not answer: context deadline exceeded",
		}
	}
	call(3, "ringing", 4, 3.8, party(0), view.Party{Fingerprint: key(40), Relay: "b7f19c2204aa55e1"})
	for i := range 9 {
		call(10+i, "active", 40+211*float64(i), 30+211*float64(i), party(20+2*i), party(21+2*i))
	}
	if sc == BadRoom || sc == Hostile {
		s.CallList[len(s.CallList)-1].Callee.Lost = true
	}
	for i := range 14 {
		c := view.SignalClient{
			ID: uint64(900 - i), Fingerprint: key(i), Alias: callers[i%len(callers)], Remote: fmt.Sprintf("198.51.100.%d:5%04d", 10+i, 100*i), Since: at.Add(-time.Duration(90+613*i) * time.Second),
			Current: true, Signed: i%5 == 0, QueueCapacity: 64, Received: uint64(12 + 31*i), Sent: uint64(15 + 33*i),
		}
		switch {
		case sc != Healthy && i == 0:
			c.Alias, c.Fingerprint, c.Stalled, c.QueueDepth, c.Calls = callers[8], key(8), true, 2, 1
		case i == 1:
			c.Alias, c.Fingerprint, c.Current = callers[3], key(3), false
		case i < 7:
			c.Calls = 1
		}
		if sc == Hostile && i == 2 {
			c.Alias, c.Fingerprint = "\x1b[2J\u202egnp", "\x07\x1b]0;x"
		}
		s.Clients = append(s.Clients, c)
	}
	if sc == Hostile {
		s.CallList[0].Caller.Alias, s.CallList[0].ID, s.CallList[0].State = "\u202e日本\x1b[1m", "\x00\x1b[9A", "odd\r\n"
	}
	return s
}
