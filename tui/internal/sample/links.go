package sample

import (
	"strings"
	"time"

	"signalbox/engine/view"
)

// links are the relays the node is linked with; all but the healthy scene have
// one that is down and one that nobody vouches for.
func links(sc Scene, sec float64, at time.Time) []view.Link {
	n := func(base, pps float64) uint64 { return uint64(base + pps*sec) }
	out := []view.Link{
		{
			Label: "relay-fra", State: "up", RTTMS: 11.2, Verified: true, Signalbox: true, Direction: "outbound", URL: "192.0.2.20:4433", Remote: "192.0.2.20:4433", Connections: 1,
			TLSFingerprint: fingerprint("1f"), Since: at.Add(-9 * time.Hour), Rooms: []string{"radio night"}, Members: 4, Received: n(8120331, 200), Forwarded: n(7990112, 550),
			Deduped: n(120, 0), Dropped: map[string]uint64{"duplicate": n(120, 0)}, QueueDepth: int(3 * wave(sec, 2)), QueueCapacity: 1024,
		},
		{
			Label: "relay-sin", State: "up", RTTMS: 181, Verified: true, Direction: "inbound", URL: "203.0.113.9:4433", Remote: "203.0.113.9:4433", Connections: 2,
			TLSFingerprint: fingerprint("2e"), Since: at.Add(-3 * time.Hour), Rooms: []string{"radio night"}, Members: 2, Received: n(401233, 100), Forwarded: n(398001, 550),
			Deduped: n(9000, 40), Dropped: map[string]uint64{"duplicate": n(9000, 40)}, QueueDepth: int(9 * wave(sec, 5)), QueueCapacity: 1024,
		},
	}
	if sc == Healthy {
		return out
	}
	return append(out,
		view.Link{
			Label: "relay-gru", State: "down", LastError: "nothing heard for 6s", Direction: "outbound", URL: "198.51.100.3:4433", TLSFingerprint: fingerprint("3d"),
			Since: at.Add(-41 * time.Second), Dropped: map[string]uint64{"link_down": 12}, QueueCapacity: 1024, Received: 88210, Forwarded: 90114,
		},
		view.Link{
			Label: "club", State: "up", RTTMS: 40, Direction: "inbound", Remote: "198.51.100.77:51822", Connections: 1, TLSFingerprint: fingerprint("4c"),
			Since: at.Add(-12 * time.Minute), Dropped: map[string]uint64{"unknown_room": 31}, QueueCapacity: 1024, Received: n(12000, 50),
		},
	)
}

// fingerprint is a fingerprint as certificates have.
func fingerprint(pair string) string {
	return strings.Repeat(pair+":", 31) + pair
}
