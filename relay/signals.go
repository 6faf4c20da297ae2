package relay

import "signalbox/relay/wire"

// SignalWake receives when there may be a signal for the client. Ask
// NextSignal until there is none.
func (p *Participant) SignalWake() <-chan struct{} { return p.signalWake }

// NextSignal returns what the client must be told next: the newest RoomUpdate,
// then the newest QualityDirective, each once. Nothing is queued, so a client
// that is slow to read is told less often, never something old, and nobody
// waits for it. The signal is shared and read-only. One goroutine at a time.
func (p *Participant) NextSignal() (wire.Signal, bool) {
	s, _, ok := p.NextFrame(true)
	return s, ok
}

// NextFrame is NextSignal, without RoomUpdates unless roster is set, and with
// the frame where one was encoded for all members; nil otherwise.
func (p *Participant) NextFrame(roster bool) (s wire.Signal, frame []byte, ok bool) {
	if p.state.Load() != stateIn {
		return nil, nil, false
	}
	if ro := p.room.roster.Load(); roster && ro.version != p.toldRoster {
		p.toldRoster = ro.version
		u := ro.roomUpdate()
		return u, ro.frame, true
	}
	d := p.room.directive.Load()
	if d>>16 == p.toldDirective {
		return nil, nil, false
	}
	p.toldDirective = d >> 16
	return directive(wire.Tier(d&0xff), d>>8&1 == 1), nil, true
}

// NotTold takes back that the client was told s: the newest of its kind is due
// again.
func (p *Participant) NotTold(s wire.Signal) {
	switch s.(type) {
	case *wire.RoomUpdate:
		p.toldRoster = 0
	case *wire.QualityDirective:
		p.toldDirective = 0
	}
}

func directive(t wire.Tier, pinned bool) *wire.QualityDirective {
	reason := "weakest link: " + t.String()
	if pinned {
		reason = "pinned by operator: " + t.String()
	}
	return &wire.QualityDirective{RecommendedProfile: t.Profile(), Reason: &reason}
}
