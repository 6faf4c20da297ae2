// Package metrics shows a node's snapshot to Prometheus: the wzp_* families
// that wzp-relay's dashboards read, where this node has something true to say
// in them (spec wzp 5.21), and signalbox_* by plane, shard, reason and state.
// Nothing is counted here and nothing is global: every figure comes from
// view.Snapshot, so a scrape costs the packet path nothing.
//
// The number of series is bounded, whatever happens on the network: labels are
// shards, reasons and states of our own, or the first few of what others name.
package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"

	"signalbox/engine/view"
)

// Source is the node whose figures are shown.
type Source interface {
	Snapshot() *view.Snapshot
}

// Observer is a Source that also knows what the snapshot does not carry.
// Without it the two families made of it are not shown.
type Observer interface {
	// ForwardedBytes is the media payload handed on, in bytes, every copy
	// counted (spec wzp 5.3 step 10).
	ForwardedBytes() uint64
	// Handshakes are the relay handshakes by duration: how many ended within
	// each of HandshakeBuckets and not within the one before, the last entry
	// those above all, and the sum of all durations in seconds.
	Handshakes() (counts []uint64, sum float64)
}

// HandshakeBuckets are the upper bounds in seconds of spec wzp 5.21.
func HandshakeBuckets() []float64 {
	return []float64{0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5}
}

// The bounds on series (contract section 4: at most 2,000 in all).
const (
	maxSeries   = 1800 // of ours; the rest is for Go and the process
	maxShards   = 24   // of each plane
	maxSessions = 150
	maxLinks    = 64
	maxProbes   = 32
	maxNames    = 24 // of a label whose values come from elsewhere in the node
)

// put emits one series.
type put func(value float64, labels ...string)

// family is one metric: its type, and how it is read from a snapshot.
type family struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
	read       func(s *view.Snapshot, emit put)
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

// gaugeOf is a family of one unlabelled gauge.
func gaugeOf(name, help string, f func(s *view.Snapshot) float64) family {
	return family{name, help, gauge, nil, func(s *view.Snapshot, emit put) { emit(f(s)) }}
}

// counterOf is a family of one unlabelled counter.
func counterOf(name, help string, f func(s *view.Snapshot) float64) family {
	return family{name, help, counter, nil, func(s *view.Snapshot, emit put) { emit(f(s)) }}
}

// collector turns a source's newest snapshot into metrics.
type collector struct {
	// Constant after newCollector.
	src       Source
	fams      []family
	descs     []*prometheus.Desc
	handshake *prometheus.Desc
	bytes     *prometheus.Desc
}

func newCollector(src Source) *collector {
	c := &collector{src: src, fams: families()}
	for _, f := range c.fams {
		c.descs = append(c.descs, prometheus.NewDesc(f.name, f.help, f.labels, nil))
	}
	c.handshake = prometheus.NewDesc("wzp_relay_handshake_duration_seconds", "How long relay handshakes took.", nil, nil)
	c.bytes = prometheus.NewDesc("wzp_relay_bytes_forwarded_total", "Media payload bytes forwarded, every copy counted.", nil, nil)
	return c
}

// Describe lists every family.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
	ch <- c.handshake
	ch <- c.bytes
}

// Collect reads the newest snapshot, once for all families.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.src.Snapshot()
	left := maxSeries
	for i, f := range c.fams {
		f.read(s, func(v float64, labels ...string) {
			if left--; left >= 0 {
				ch <- prometheus.MustNewConstMetric(c.descs[i], f.kind, v, labels...)
			}
		})
	}
	o, ok := c.src.(Observer)
	if !ok {
		return
	}
	ch <- prometheus.MustNewConstMetric(c.bytes, counter, float64(o.ForwardedBytes()))
	counts, sum := o.Handshakes()
	cumulative := map[float64]uint64{}
	var n uint64
	for i, le := range HandshakeBuckets() {
		if i < len(counts) {
			n += counts[i]
		}
		cumulative[le] = n
	}
	for _, above := range counts[min(len(counts), len(cumulative)):] {
		n += above
	}
	ch <- prometheus.MustNewConstHistogram(c.handshake, n, sum, cumulative)
}

// newRegistry holds the collector, and the runtime's and the process's own.
func newRegistry(src Source) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(newCollector(src), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// cached gathers at most once per renderEvery, however many scrape.
type cached struct {
	// Constant after construction.
	inner prometheus.Gatherer

	mu  sync.Mutex // held while gathering, so that one does it for all
	at  time.Time
	got []*dto.MetricFamily
	err error
}

const renderEvery = time.Second

// Gather returns the families, which nobody modifies.
func (c *cached) Gather() ([]*dto.MetricFamily, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.at.IsZero() || now.Sub(c.at) >= renderEvery {
		c.got, c.err = c.inner.Gather()
		c.at = now
	}
	return c.got, c.err
}
