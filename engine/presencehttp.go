package engine

import (
	"encoding/json"
	"fmt"
	"net/http"

	"signalbox/relay/call"
)

// maxListed bounds what one request lists.
const maxListed = 10_000

// presenceHTTP serves who is where, beside the metrics, at the paths of
// wzp-relay (spec wzp 5.14, 5.21). It names people, so the operator must have
// allowed it.
func (e *Engine) presenceHTTP(next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", next)
	answer := func(pattern string, f func(r *http.Request) any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store")
			if !e.cfg.Signal.ExposePresence {
				http.Error(w, "who is here is not shown: signal.expose_presence is off", http.StatusForbidden)
				return
			}
			b, err := json.MarshalIndent(f(r), "", "  ")
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			// An error means that the reader has gone, and there is nobody to tell.
			_, _ = fmt.Fprintf(w, "%s\n", b)
		})
	}
	answer("GET /presence", func(*http.Request) any {
		all := e.presence.All(maxListed)
		out := make([]located, 0, len(all))
		for _, l := range all {
			out = append(out, located{l.Fingerprint, location(l)})
		}
		return out
	})
	answer("GET /presence/{fp}", func(r *http.Request) any {
		fp := r.PathValue("fp")
		l, ok := e.presence.Where(fp)
		if !ok {
			return located{fp, nil}
		}
		return located{fp, location(l)}
	})
	answer("GET /peers", func(*http.Request) any { return e.presencePeers() })
	answer("GET /route/{fp}", func(r *http.Request) any {
		fp := r.PathValue("fp")
		kind, chain := e.route(fp)
		return struct {
			Fingerprint string   `json:"fingerprint"`
			Route       string   `json:"route"`
			RelayChain  []string `json:"relay_chain"`
		}{fp, kind, chain}
	})
	return mux
}

// located is an identity and its place: "Local", {"Remote": address} or null.
type located struct {
	Fingerprint string `json:"fingerprint"`
	Location    any    `json:"location"`
}

func location(l call.Location) any {
	if l.Local {
		return "Local"
	}
	return map[string]string{"Remote": l.Addr}
}

// presencePeer is what one relay has told.
type presencePeer struct {
	Addr         string   `json:"addr"`
	Fingerprints []string `json:"fingerprints"`
	RTTMS        *float64 `json:"rtt_ms"`
}

func (e *Engine) presencePeers() []presencePeer {
	told := e.presence.Relays(e.mono())
	out := make([]presencePeer, 0, len(told))
	for _, t := range told {
		out = append(out, presencePeer{Addr: t.Addr, Fingerprints: t.Fingerprints})
	}
	return out
}
