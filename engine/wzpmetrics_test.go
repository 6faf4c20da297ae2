package engine_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"signalbox/engine"
	"signalbox/engine/bench"
	"signalbox/engine/config"
	"signalbox/engine/metrics"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// wzpMetrics are all of spec wzp 5.21, with a label that tells two series of a
// family apart where there are two to see.
var wzpMetrics = []string{
	"wzp_relay_active_sessions", "wzp_relay_active_rooms", "wzp_relay_packets_forwarded_total", "wzp_relay_bytes_forwarded_total",
	`wzp_relay_auth_attempts_total{result="ok"}`, `wzp_relay_auth_attempts_total{result="fail"}`, "wzp_relay_handshake_duration_seconds_count",
	"wzp_federation_peer_status", "wzp_federation_peer_rtt_ms",
	`wzp_federation_packets_forwarded_total{direction="in",peer="B"}`, `wzp_federation_packets_forwarded_total{direction="out",peer="B"}`,
	"wzp_federation_packets_deduped_total", "wzp_federation_packets_rate_limited_total", "wzp_federation_active_rooms",
	"wzp_relay_session_jitter_buffer_depth", "wzp_relay_session_loss_pct", "wzp_relay_session_rtt_ms",
	"wzp_relay_session_underruns_total", "wzp_relay_session_overruns_total",
	"wzp_relay_session_dred_reconstructions_total", "wzp_relay_session_classical_plc_total",
	"wzp_probe_rtt_ms", "wzp_probe_loss_pct", "wzp_probe_jitter_ms", "wzp_probe_up",
}

// TestEveryWZPMetricMoves drives a node until each metric of wzp-relay has
// shown something other than zero.
func TestEveryWZPMetricMoves(t *testing.T) {
	ss := sites(t, 2)
	target := start(t, nil)
	e := ss[0].open(t, func(c *config.Config) {
		c.Trusted = []config.Trusted{{Fingerprint: ss[1].fp, Label: "B"}}
		c.Legacy.AuthURL, c.Legacy.ProbeTargets = tokens(t), []string{target.Info().Listen, freePort(t)}
		c.Federation.RoomPPS = 5
	})
	link := linkOf(t, e, ss[1])
	left, gate := guests(t, e)
	must(t, gate.Freeze(true))
	var seq uint16
	missing, page := slices.Clone(wzpMetrics), metrics.Handler(e)
	until(t, e, "every metric", func(*view.Snapshot) bool {
		for range 20 {
			seq += 3 // with holes, and each of the link's twice
			pkt := wire.AppendPacket(nil, wire.Packet{Header: wire.Header{Codec: wire.Opus24k, Seq: seq}, Payload: []byte{1}})
			dg := wire.AppendFederated(nil, wire.RoomHash("general"), pkt)
			for _, err := range []error{left.SendDatagram(withReport(seq)), link.SendDatagram(dg), link.SendDatagram(dg)} {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		rec := httptest.NewRecorder()
		page.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		missing = slices.DeleteFunc(missing, func(name string) bool {
			return regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(name)+`(\{[^}]*\})? [^0\n]`).MatchString(rec.Body.String()) ||
				regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(name)+`(\{[^}]*\})? 0\.`).MatchString(rec.Body.String())
		})
		if len(missing) > 0 {
			t.Logf("still nothing of %s", strings.Join(missing, ", "))
		}
		return len(missing) == 0
	})
}

// withReport is a packet so large that who does not read is soon behind.
func withReport(seq uint16) []byte {
	rep := wire.QualityReport{Loss: 5, RTT4: 10, Jitter: 3, CapKbps: 200}
	return wire.AppendPacket(nil, wire.Packet{Header: wire.Header{Codec: wire.Opus24k, Seq: seq, HasReport: true}, Payload: make([]byte, 1000), Report: rep})
}

// linkOf links a relay that shares the room general, from its certificate on.
func linkOf(t *testing.T, e *engine.Engine, from site) *quicnet.Conn {
	t.Helper()
	cert, err := from.keys.TLSCertificate()
	if err != nil {
		t.Fatal(err)
	}
	c := claim(t, e, socket(t, quicnet.ClientConfig{LocalAddr: netip.MustParseAddr("127.0.4.2")}), quicnet.DialConfig{Cert: cert}, from.fp)
	until(t, e, "the link", func(s *view.Snapshot) bool { return linked(s, "B").State == "up" })
	raw, err := wire.EncodeFrame(&wire.GlobalRoomActive{Room: "general", Participants: []wire.RoomParticipant{{Fingerprint: "afar"}}})
	if err != nil {
		t.Fatal(err)
	}
	send(t, c, raw)
	return c
}

// guests are two in the room general, one of whom has told of its decoder and
// is to talk, and one who can be frozen; a third was sent away.
func guests(t *testing.T, e *engine.Engine) (*quicnet.Conn, *quicnet.Gate) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := bench.JoinAs(ctx, socket(t, quicnet.ClientConfig{}), listens(e), "general", "", bench.NewIdentity(), "wrong"); err == nil {
		t.Fatal("in with a wrong token")
	}
	cl, gate := freezable(t, 9)
	deaf, err := bench.JoinAs(ctx, cl, listens(e), "general", "deaf", bench.NewIdentity(), "ok-deaf")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = deaf.ReceiveLoop(t.Context(), func(time.Duration) {}) }()
	c, err := socket(t, quicnet.ClientConfig{}).Dial(ctx, listens(e), quicnet.ALPNWZP, "general")
	if err != nil {
		t.Fatal(err)
	}
	offer, _, err := wire.NewOffer(wire.IdentityKey([32]byte{3}), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []wire.Signal{&wire.AuthToken{Token: "ok-talker"}, offer} {
		raw, err := wire.EncodeFrame(s)
		if err != nil {
			t.Fatal(err)
		}
		send(t, c, raw)
	}
	until(t, e, "two in the room", func(s *view.Snapshot) bool { return len(s.Rooms) == 1 && s.Rooms[0].Local() == 2 })
	send(t, c, frame(`{"LossRecoveryUpdate":{"dred_reconstructions":17,"classical_plc_invocations":4}}`))
	return c, gate
}
