package engine

import (
	"context"

	"golang.org/x/sync/errgroup"

	"signalbox/engine/config"
	"signalbox/engine/eventlog"
	"signalbox/engine/tap"
	"signalbox/engine/view"
	"signalbox/relay/fed"
)

// wzpParts are what wzp-relay does beside rooms, calls and federation. Those
// that are off are nil.
type wzpParts struct {
	forward  *forwarder
	prober   *prober
	taps     *tap.Set
	tapFile  *tap.File
	eventLog *eventlog.Log
}

// openWZP makes the parts that are configured.
func (e *Engine) openWZP() error {
	l := &e.cfg.Legacy
	if l.RemoteRelay != "" {
		if err := checkForward(&e.cfg); err != nil {
			return err
		}
		e.forward = newForwarder(e, l.RemoteRelay)
	}
	if len(l.ProbeTargets) > 0 {
		e.prober = newProber(e, l.ProbeTargets)
	}
	e.openTaps()
	if l.EventLog != "" {
		log, err := eventlog.Open(eventlog.Config{Path: l.EventLog, Error: func(err error) {
			e.event(view.Event{Kind: "event_log_failed", Severity: view.Warn, Message: "the event log is not written: " + err.Error()})
		}})
		if err != nil {
			return &config.ExitError{Code: config.ExitCantCreate, Err: err}
		}
		e.eventLog = log
	}
	return nil
}

// runWZP runs them until ctx ends.
func (e *Engine) runWZP(ctx context.Context, g *errgroup.Group) {
	if e.forward != nil {
		g.Go(func() error { e.forward.run(ctx); return nil })
	}
	if e.prober != nil {
		g.Go(func() error { e.prober.run(ctx); return nil })
	}
	g.Go(func() error { e.runTaps(ctx); return nil })
	if e.eventLog != nil {
		g.Go(func() error { e.eventLog.Run(ctx); return nil })
	}
}

// fillWZP is their part of the snapshot.
func (e *Engine) fillWZP(s *view.Snapshot) {
	if e.forward != nil {
		s.Forward = e.forward.view()
	}
	if e.prober != nil {
		s.Probes = e.prober.view()
	}
	s.Taps = e.tapViews()
	if e.eventLog != nil {
		st := e.eventLog.Stats()
		s.EventLog = &view.EventLog{Path: e.cfg.Legacy.EventLog, Written: st.Written, Dropped: st.Dropped, Rotated: st.Rotated, Error: st.Error}
	}
}

// heardAs are the event log's names of the steps of a packet on a link.
var heardAs = map[fed.Step]string{
	fed.HeardMalformed: eventlog.IngressMalformed, fed.HeardPacket: eventlog.Ingress, fed.HeardDuplicate: eventlog.DedupDrop, fed.HeardUnknown: eventlog.RoomNotFound,
	fed.HeardRate: eventlog.RateLimitDrop, fed.HeardDelivered: eventlog.LocalDeliver, fed.HeardClosed: eventlog.LocalDeliverError,
}

// heard writes the event log of what links bring, if there is one: the keys of
// each event are those of spec wzp 5.20.
func (e *Engine) heard() func(fed.Heard) {
	if e.cfg.Legacy.EventLog == "" {
		return nil
	}
	return func(h fed.Heard) { // no link is up before the file is open
		entry := eventlog.Entry{Event: heardAs[h.Step]}
		if h.Packet != nil {
			entry.Seq = eventlog.Of(h.Packet.Seq)
		}
		switch h.Step {
		case fed.HeardMalformed:
			entry.Len = eventlog.Of(h.Bytes)
		case fed.HeardPacket:
			entry = eventlog.Packet(eventlog.Ingress, h.Peer, h.Packet)
		case fed.HeardDuplicate, fed.HeardUnknown:
			entry.Peer = h.Peer
		case fed.HeardRate:
			entry.Room = h.Room
		case fed.HeardClosed:
			entry.Room, entry.Reason = h.Room, "room closed"
		case fed.HeardDelivered:
			entry.Room, entry.ToCount = h.Room, eventlog.Of(h.To)
		}
		e.eventLog.Emit(entry)
	}
}
