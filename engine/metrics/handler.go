package metrics

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"signalbox/engine/mesh"
	"signalbox/engine/view"
)

const (
	maxScrapes    = 4 // at the same time
	scrapeTimeout = 5 * time.Second

	// A node whose publisher has stood still for so long serves nobody,
	// whatever else it says of itself.
	staleAfter = 10 * time.Second
)

// Handler serves /metrics, /mesh, /healthz and /readyz for one node.
func Handler(src Source) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(&cached{inner: newRegistry(src)}, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout,
	}))
	mux.HandleFunc("GET /mesh", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, mesh.Table(src.Snapshot().Probes)) })
	mux.HandleFunc("GET /healthz", probe(src, healthy))
	mux.HandleFunc("GET /readyz", probe(src, ready))
	return mux
}

// probe answers 200 or 503 and, in words, why.
func probe(src Source, judge func(*view.Snapshot, time.Time) (ok bool, why string)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		ok, why := judge(src.Snapshot(), time.Now())
		code := http.StatusOK
		if !ok {
			code = http.StatusServiceUnavailable
		}
		say(w, code, why+"\n")
	}
}

func say(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	// An error means that whoever asked has gone, and there is nobody to tell.
	_, _ = io.WriteString(w, text)
}

// healthy is whether the process should go on: a degraded node should, so that
// a restart does not end the calls that still work.
func healthy(s *view.Snapshot, now time.Time) (bool, string) {
	if age := now.Sub(s.At); age > staleAfter {
		return false, fmt.Sprintf("stuck: the last snapshot is %.0f s old", age.Seconds())
	}
	return true, "alive: " + verdict(s)
}

// ready is whether newcomers should be sent here.
func ready(s *view.Snapshot, now time.Time) (bool, string) {
	if ok, why := healthy(s, now); !ok {
		return false, why
	}
	if s.Node.State != "ready" {
		return false, s.Node.State
	}
	return true, "ready: " + verdict(s)
}

func verdict(s *view.Snapshot) string {
	var out strings.Builder
	out.WriteString(s.Node.Health.Verdict)
	for _, r := range s.Node.Health.Reasons {
		out.WriteString("\n" + r)
	}
	return out.String()
}
