package metrics

import (
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/charmbracelet/x/exp/golden"
	dto "github.com/prometheus/client_model/go"

	"signalbox/engine/ledger"
	"signalbox/engine/view"
)

type fake struct {
	s     *view.Snapshot
	asked atomic.Int64
}

func (f *fake) Snapshot() *view.Snapshot { f.asked.Add(1); return f.s }

// observed is a fake that is an Observer.
type observed struct{ fake }

func (*observed) ForwardedBytes() uint64 { return 1000 }

func (*observed) Handshakes() ([]uint64, float64) {
	return []uint64{0, 3, 0, 1, 0, 0, 0, 0, 0, 0, 2}, 12.5
}

// small is a node with one of everything.
func small() *view.Snapshot {
	var d ledger.Drops
	d[ledger.QueueHead] = 5
	plane := view.Plane{Received: 10, Copies: 25, Delivered: 20, Dropped: d.Map()}
	return &view.Snapshot{
		Seq: 1, At: time.Now(),
		Node:   view.Node{State: "ready", Version: "abc1234", Health: view.Health{Verdict: "degraded", Reasons: []string{"thin table"}}},
		Kernel: view.Kernel{GSO: true},
		Shards: []view.Shard{{Plane: "media", State: "running", Capacity: 256, Dropped: map[string]uint64{"shard_full": 2}}, {Plane: "dht", State: "wedged"}},
		Ledger: view.Ledger{Media: plane},
		Rooms: []view.Room{{Name: "r", Participants: []view.Participant{
			{ID: "1", LossPct: 1.5, RTTMS: 40, Recovery: view.Recovery{DREDReconstructions: 7, ClassicalPLC: 4}}, {ID: "2", ReportAgeS: -1, Muted: true, QueueDepth: 3, SeqGaps: 6, Dropped: map[string]uint64{"queue_head": 4, "queue_age": 5, "gone": 1}}, {ID: "f/B/x", Transport: "federated", ReportAgeS: -1},
		}}},
		Links:   []view.Link{{Label: "B", State: "up", Rooms: []string{"r"}, Received: 3, Forwarded: 4}},
		Forward: &view.Forward{State: "up", Attempts: 3, Failures: 1, Legs: []view.Leg{{ID: "2"}}}, EventLog: &view.EventLog{Written: 5, Dropped: 1},
		Probes: []view.Probe{{Target: "192.0.2.1:4433", Up: true, RTTMS: 12, LossPct: 1.5, JitterMS: 2}},
		DHT:    view.DHT{Admission: map[string]uint64{"added": 1}, Removed: map[string]uint64{"stale": 1}, Trouble: map[string]uint64{"quota": 1}},
		Edge:   view.Edge{Refused: map[string]uint64{"alpn": 1}},
		Signal: view.Signal{Refused: map[string]uint64{"busy": 1}, Auth: view.Auth{Enabled: true, Breaker: "closed", Checks: map[string]uint64{"ok": 5, "denied": 2, "timeout": 1}}},
	}
}

func gather(t *testing.T, src Source) map[string]*dto.MetricFamily {
	t.Helper()
	fams, err := newRegistry(src).Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*dto.MetricFamily{}
	for _, f := range fams {
		out[f.GetName()] = f
	}
	return out
}

// TestNames holds every name, type, label and help text: dashboards live on
// them. Run with -update after a change that CHANGELOG.md tells of.
func TestNames(t *testing.T) {
	fams := gather(t, &observed{fake{s: small()}})
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(fams)) {
		if !strings.HasPrefix(name, "wzp_") && !strings.HasPrefix(name, "signalbox_") {
			continue
		}
		f := fams[name]
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		fmt.Fprintf(&b, "%s %s {%s} %s\n", name, strings.ToLower(f.GetType().String()), strings.Join(labels, ","), f.GetHelp())
	}
	golden.RequireEqual(t, b.String())
}

// TestWZPTypes checks the table of spec wzp 5.21.
func TestWZPTypes(t *testing.T) {
	fams := gather(t, &observed{fake{s: small()}})
	for name, want := range map[string]dto.MetricType{
		"wzp_relay_active_sessions": dto.MetricType_GAUGE, "wzp_relay_active_rooms": dto.MetricType_GAUGE,
		"wzp_relay_packets_forwarded_total": dto.MetricType_COUNTER, "wzp_relay_bytes_forwarded_total": dto.MetricType_COUNTER,
		"wzp_relay_auth_attempts_total": dto.MetricType_COUNTER, "wzp_relay_handshake_duration_seconds": dto.MetricType_HISTOGRAM,
		"wzp_relay_session_loss_pct": dto.MetricType_GAUGE, "wzp_relay_session_rtt_ms": dto.MetricType_GAUGE,
		"wzp_federation_peer_status": dto.MetricType_GAUGE, "wzp_federation_peer_rtt_ms": dto.MetricType_GAUGE,
		"wzp_federation_packets_forwarded_total": dto.MetricType_COUNTER, "wzp_federation_packets_deduped_total": dto.MetricType_COUNTER,
		"wzp_federation_packets_rate_limited_total": dto.MetricType_COUNTER, "wzp_federation_active_rooms": dto.MetricType_GAUGE,
	} {
		if f := fams[name]; f == nil || f.GetType() != want {
			t.Errorf("%s is %v", name, f.GetType())
		}
	}
	for _, m := range fams["wzp_relay_auth_attempts_total"].GetMetric() {
		if want := map[string]float64{"ok": 5, "fail": 3}[m.GetLabel()[0].GetValue()]; m.GetCounter().GetValue() != want {
			t.Errorf("auth attempts %v", m)
		}
	}
	for name, want := range map[string]float64{
		"wzp_relay_active_sessions": 2, "wzp_relay_active_rooms": 1, "wzp_relay_packets_forwarded_total": 20, "wzp_relay_bytes_forwarded_total": 1000,
		"wzp_relay_session_loss_pct": 1.5, "wzp_relay_session_rtt_ms": 40, "wzp_relay_session_dred_reconstructions_total": 7, "wzp_relay_session_classical_plc_total": 4,
		"wzp_probe_rtt_ms": 12, "wzp_probe_loss_pct": 1.5, "wzp_probe_jitter_ms": 2, "wzp_probe_up": 1,
	} {
		if m := fams[name].GetMetric(); len(m) != 1 || m[0].GetGauge().GetValue()+m[0].GetCounter().GetValue() != want {
			t.Errorf("%s is %v, want %v", name, m, want)
		}
	}
	for name, want := range map[string]float64{"jitter_buffer_depth": 3, "overruns_total": 9, "underruns_total": 6} {
		m := fams["wzp_relay_session_"+name].GetMetric()
		if len(m) != 2 || m[1].GetGauge().GetValue()+m[1].GetCounter().GetValue() != want {
			t.Errorf("%s is %v, want %v of the second session", name, m, want)
		}
	}
	if n := len(fams["wzp_relay_session_loss_pct"].GetMetric()); n != 1 {
		t.Errorf("%d sessions shown: only one has reported", n)
	}
	h := fams["wzp_relay_handshake_duration_seconds"].GetMetric()[0].GetHistogram()
	if h.GetSampleCount() != 6 || h.GetSampleSum() != 12.5 || h.GetBucket()[1].GetCumulativeCount() != 3 || h.GetBucket()[9].GetCumulativeCount() != 4 {
		t.Errorf("histogram %v", h)
	}
}

func TestEveryReasonFromTheStart(t *testing.T) {
	fams := gather(t, &fake{s: &view.Snapshot{At: time.Now()}})
	if n := len(fams["signalbox_dropped_total"].GetMetric()); n != 3*int(ledger.NumReasons) {
		t.Errorf("%d series of drops, want %d", n, 3*ledger.NumReasons)
	}
	if fams["wzp_relay_bytes_forwarded_total"] != nil {
		t.Error("a family without figures is shown")
	}
}

// TestSeriesAreBounded has a node in a crowd.
func TestSeriesAreBounded(t *testing.T) {
	s := small()
	s.Shards, s.Rooms, s.Links = nil, nil, nil
	for i := range 256 {
		s.Shards = append(s.Shards, view.Shard{Plane: "media", Index: i}, view.Shard{Plane: "dht", Index: i})
	}
	for i := range 500 {
		r := view.Room{Name: fmt.Sprint("room ", i)}
		for k := range 20 {
			r.Participants = append(r.Participants, view.Participant{ID: fmt.Sprint(i*100 + k), LossPct: math.NaN(), Recovery: view.Recovery{ClassicalPLC: 1}})
		}
		s.Rooms = append(s.Rooms, r)
		s.Links = append(s.Links, view.Link{Label: fmt.Sprint("link ", i%400)}) // some twice
		s.DHT.Admission[fmt.Sprint("result ", i)] = 1
		s.Probes = append(s.Probes, view.Probe{Target: fmt.Sprint("target ", i)})
		s.Edge.Refused[fmt.Sprint("cause ", i)] = 1
	}
	n := 0
	for _, f := range gather(t, &observed{fake{s: s}}) {
		for _, m := range f.GetMetric() {
			n += 1 + len(m.GetHistogram().GetBucket())
		}
	}
	if n > 2000 {
		t.Errorf("%d series", n)
	}
	if n < 1000 {
		t.Errorf("%d series: too much is cut off", n)
	}
}

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(b)
}

func TestHandler(t *testing.T) {
	f := &fake{s: small()}
	h := Handler(f)
	code, body := get(t, h, "/metrics")
	if code != http.StatusOK || !strings.Contains(body, `signalbox_dropped_total{plane="media",reason="queue_head"} 5`) {
		t.Errorf("%d: %.200s", code, body)
	}
	if _, mesh := get(t, h, "/mesh"); !strings.HasSuffix(mesh, "192.0.2.1:4433          12ms   1.5%     2ms  UP\n") {
		t.Errorf("%q", mesh)
	}
	if get(t, h, "/metrics"); f.asked.Load() != 2 {
		t.Errorf("%d snapshots for two scrapes in a row", f.asked.Load())
	}
	for _, tc := range []struct {
		name, path string
		change     func(*view.Snapshot)
		want       int
	}{
		{"ready", "/readyz", func(*view.Snapshot) {}, 200},
		{"alive", "/healthz", func(*view.Snapshot) {}, 200},
		{"draining is not ready", "/readyz", func(s *view.Snapshot) { s.Node.State = "draining" }, 503},
		{"draining is alive", "/healthz", func(s *view.Snapshot) { s.Node.State = "draining" }, 200},
		{"a stuck publisher", "/healthz", func(s *view.Snapshot) { s.At = s.At.Add(-time.Minute) }, 503},
		{"a stuck publisher is not ready", "/readyz", func(s *view.Snapshot) { s.At = s.At.Add(-time.Minute) }, 503},
	} {
		f.s = small()
		tc.change(f.s)
		if code, body := get(t, h, tc.path); code != tc.want || body == "" {
			t.Errorf("%s: %d %q", tc.name, code, body)
		}
	}
	if code, _ := get(t, h, "/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("pprof on the metrics address: %d", code)
	}
}
