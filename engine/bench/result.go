package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math/bits"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"signalbox/engine/view"
)

// Result is what a workload prints (contract section 6). Times in
// microseconds; CPU is the node's own, per packet that arrived at a receiver.
type Result struct {
	Workload          string    `json:"workload"`
	Params            any       `json:"params"`
	DurationS         float64   `json:"duration_s"`
	Sent              uint64    `json:"sent"`
	Expected          uint64    `json:"expected"`
	Delivered         uint64    `json:"delivered"`
	Lost              int64     `json:"lost"`
	Corrupt           uint64    `json:"corrupt"`   // arrived, but not byte for byte what was sent
	Reordered         uint64    `json:"reordered"` // arrived after a later one of the same sender
	LatencyUS         Quantiles `json:"latency_us"`
	CPUPerDelivered   *float64  `json:"cpu_us_per_delivered"` // null, as the next two: not measured
	AllocsPerForward  *float64  `json:"allocs_per_forward"`   // of the node's whole process, per packet that arrived
	ServerRSSBytes    *uint64   `json:"server_rss_bytes"`
	Note              string    `json:"note,omitempty"` // what the figures are not
	ServerDropped     any       `json:"server_dropped,omitempty"`
	ServerUnexplained *int64    `json:"server_unexplained,omitempty"`
	Machine           Machine   `json:"machine"`
	Commit            string    `json:"commit"`
	Extra             any       `json:"extra,omitempty"`
}

// Quantiles of a latency distribution, in microseconds.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Machine says where a figure was measured; without it a figure is worthless.
type Machine struct {
	CPUs  int    `json:"cpus"`
	Model string `json:"model"`
	Go    string `json:"go"`
	OS    string `json:"os"`
}

func newResult(workload string, params any, took time.Duration) *Result {
	return &Result{Workload: workload, Params: params, DurationS: took.Seconds(), Machine: thisMachine(), Commit: commit()}
}

// measure fills in what the node itself spent between two readings.
func (r *Result) measure(before, after reading) {
	if !before.ok || !after.ok {
		return
	}
	if r.Delivered > 0 {
		r.cost(before, after, r.Delivered)
	}
	r.ServerRSSBytes = &after.rss
	drops := map[string]uint64{}
	for k, v := range after.snap.Ledger.Media.Dropped {
		if v > 0 {
			drops[k] = v
		}
	}
	r.ServerDropped = drops
	u := unexplained(after.snap)
	r.ServerUnexplained = &u
}

// cost is what the node spent on each of n things between two readings.
func (r *Result) cost(before, after reading, n uint64) {
	cpu := float64((after.cpu - before.cpu).Microseconds()) / float64(n)
	allocs := float64(after.snap.Node.Mallocs-before.snap.Node.Mallocs) / float64(n)
	r.CPUPerDelivered, r.AllocsPerForward = &cpu, &allocs
}

func unexplained(s *view.Snapshot) int64 {
	return s.Ledger.Media.Unexplained + s.Ledger.DHT.Unexplained + s.Ledger.Federation.Unexplained
}

func thisMachine() Machine {
	m := Machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH}
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			m.Model = strings.TrimSpace(v)
			break
		}
	}
	return m
}

func commit() string {
	bi, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range bi.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

// WriteJSON prints the contract's object.
func (r *Result) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// WriteTable prints the same for people.
func (r *Result) WriteTable(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	params, err := json.Marshal(r.Params)
	if err != nil {
		return err
	}
	pct := 0.0
	if r.Expected > 0 {
		pct = 100 * float64(r.Lost) / float64(r.Expected)
	}
	fmt.Fprintf(tw, "workload\t%s %s\n", r.Workload, params)
	fmt.Fprintf(tw, "duration\t%.1f s\n", r.DurationS)
	fmt.Fprintf(tw, "sent\t%d\n", r.Sent)
	fmt.Fprintf(tw, "delivered\t%d of %d, lost %d (%.3f %%), corrupt %d, reordered %d\n", r.Delivered, r.Expected, r.Lost, pct, r.Corrupt, r.Reordered)
	fmt.Fprintf(tw, "latency\tp50 %.0f us, p99 %.0f us, max %.0f us\n", r.LatencyUS.P50, r.LatencyUS.P99, r.LatencyUS.Max)
	if r.ServerRSSBytes != nil && r.CPUPerDelivered != nil && r.ServerUnexplained != nil {
		fmt.Fprintf(tw, "node\t%.2f us CPU per delivered, %.2f allocations per delivered, RSS %.1f MiB\n",
			*r.CPUPerDelivered, *r.AllocsPerForward, float64(*r.ServerRSSBytes)/(1<<20))
		fmt.Fprintf(tw, "node drops\t%v, unexplained %d\n", r.ServerDropped, *r.ServerUnexplained)
	}
	if r.Note != "" {
		fmt.Fprintf(tw, "note\t%s\n", r.Note)
	}
	if r.Extra != nil {
		extra, err := json.Marshal(r.Extra)
		if err != nil {
			return err
		}
		fmt.Fprintf(tw, "more\t%s\n", extra)
	}
	fmt.Fprintf(tw, "machine\t%d x %s, %s\n", r.Machine.CPUs, r.Machine.Model, r.Machine.Go)
	return tw.Flush()
}

// histogram counts microseconds in buckets an eighth of a power of two wide:
// at most 12.5 % too high, with no lock and no allocation.
type histogram struct {
	n   [64 * 8]atomic.Uint64
	max atomic.Int64
}

func (h *histogram) add(d time.Duration) {
	us := max(d.Microseconds(), 1)
	e := bits.Len64(uint64(us)) - 1
	sub := 0
	if e >= 3 {
		sub = int(us>>(e-3)) & 7
	}
	h.n[e*8+sub].Add(1)
	for {
		m := h.max.Load()
		if int64(d) <= m || h.max.CompareAndSwap(m, int64(d)) {
			return
		}
	}
}

// merge adds what o has counted.
func (h *histogram) merge(o *histogram) {
	for i := range h.n {
		h.n[i].Add(o.n[i].Load())
	}
	h.max.Store(max(h.max.Load(), o.max.Load()))
}

func (h *histogram) quantiles() Quantiles {
	var total uint64
	for i := range h.n {
		total += h.n[i].Load()
	}
	return Quantiles{P50: h.at(total / 2), P99: h.at(total - total/100), Max: float64(h.max.Load()) / 1e3}
}

// at is the upper bound of the bucket that holds the rank-th value.
func (h *histogram) at(rank uint64) float64 {
	var seen uint64
	for i := range h.n {
		seen += h.n[i].Load()
		if seen >= rank && seen > 0 {
			e, sub := i/8, i%8
			if e < 3 {
				return float64(uint64(1) << (e + 1))
			}
			return float64(uint64(8+sub+1) << (e - 3))
		}
	}
	return 0
}
