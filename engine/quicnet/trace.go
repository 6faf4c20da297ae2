package quicnet

import (
	"context"
	"sync/atomic"

	"github.com/quic-go/quic-go"
	h3qlog "github.com/quic-go/quic-go/http3/qlog"
	"github.com/quic-go/quic-go/qlog"
	"github.com/quic-go/quic-go/qlogwriter"
)

// totals are an endpoint's counters over all its connections.
type totals struct {
	// Any goroutine (atomic).
	rxDropped atomic.Uint64
	txDropped atomic.Uint64
	retries   atomic.Uint64
	stray     atomic.Uint64
}

// track is what we know of a connection beside quic-go: it travels in the
// connection's context, and is its qlog trace, which is the only way quic-go
// tells of packets it drops from its queues. It counts; it formats nothing.
type track struct {
	// Constant after its making.
	totals *totals
	gate   *gate // nil for a connection we dialled
	seat   seat

	// Any goroutine (atomic).
	rxDropped atomic.Uint64
	txDropped atomic.Uint64
	phase     atomic.Int32
	refs      atomic.Int32
	alpn      atomic.Bool // the client offered no protocol we know

	// Of connections of ALPNH3.
	visit  atomic.Pointer[visit]
	parsed atomic.Uint64 // datagrams http3 has read
}

type trackKey struct{}

// trackOf returns the track in a connection's context, nil if there is none.
func trackOf(ctx context.Context) *track {
	t, _ := ctx.Value(trackKey{}).(*track)
	return t
}

// tracer is quic.Config.Tracer. It must return a nil interface for "none".
func tracer(ctx context.Context, _ bool, _ quic.ConnectionID) qlogwriter.Trace {
	if t := trackOf(ctx); t != nil {
		return t
	}
	return nil
}

// AddProducer implements qlogwriter.Trace.
func (t *track) AddProducer() qlogwriter.Recorder { return t }

// Close implements qlogwriter.Recorder.
func (t *track) Close() error { return nil }

// RecordEvent implements qlogwriter.Recorder. It is called for every packet.
func (t *track) RecordEvent(ev qlogwriter.Event) {
	switch e := ev.(type) {
	case h3qlog.DatagramParsed:
		t.parsed.Add(1)
	case qlog.DatagramDropped:
		// The receive queue of 128 is full, or, sending, the path's limit sank
		// after SendDatagram had accepted it.
		if e.Direction == qlog.DirectionReceiving {
			t.rxDropped.Add(1)
			t.totals.rxDropped.Add(1)
		} else {
			t.txDropped.Add(1)
			t.totals.txDropped.Add(1)
		}
	case qlog.PacketDropped:
		// The queue of 256 packets before the connection's loop is full.
		if e.Trigger == qlog.PacketDropDOSPrevention {
			t.rxDropped.Add(1)
			t.totals.rxDropped.Add(1)
		}
	}
}

// edgeTrace is the transport's recorder: packets of no connection.
type edgeTrace struct{ totals *totals }

// Close implements qlogwriter.Recorder.
func (edgeTrace) Close() error { return nil }

// RecordEvent implements qlogwriter.Recorder.
func (t edgeTrace) RecordEvent(ev qlogwriter.Event) {
	switch e := ev.(type) {
	case qlog.PacketSent:
		if e.Header.PacketType == qlog.PacketTypeRetry {
			t.totals.retries.Add(1)
		}
	case qlog.PacketDropped:
		t.totals.stray.Add(1)
	}
}
