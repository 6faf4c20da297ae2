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
	if p.state.Load() != stateIn {
		return nil, false
	}
	if ro := p.room.roster.Load(); ro.version != p.toldRoster {
		p.toldRoster = ro.version
		return ro.roomUpdate(), true
	}
	d := p.room.directive.Load()
	if d>>16 == p.toldDirective {
		return nil, false
	}
	p.toldDirective = d >> 16
	return directive(wire.Tier(d&0xff), d>>8&1 == 1), true
}

func directive(t wire.Tier, pinned bool) *wire.QualityDirective {
	reason := "weakest link: " + t.String()
	if pinned {
		reason = "pinned by operator: " + t.String()
	}
	return &wire.QualityDirective{RecommendedProfile: t.Profile(), Reason: &reason}
}
