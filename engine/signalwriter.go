package engine

import (
	"context"
	"time"

	"signalbox/engine/quicnet"
	"signalbox/relay"
	"signalbox/relay/wire"
)

// Pace of what members are told. A roster goes to each of n members and is n
// names long, so in time that grows with its square all of a room's rosters
// together stay below 10 MB/s, however many come and go.
const (
	rosterPace    = 10 * time.Microsecond
	rosterPaceMax = 5 * time.Second
	retellFirst   = time.Second
	retellMost    = 5 * time.Second
)

// rosterRest is how long a member of a room of n is not told of another roster.
func rosterRest(n int) time.Duration {
	return min(time.Duration(n)*time.Duration(n)*rosterPace, rosterPaceMax)
}

// signalWriter sends the newest RoomUpdate and QualityDirective. A client that
// does not read loses signals, never its media (spec wzp 7.1 row 2); when it
// reads again, it is told the newest.
func (e *Engine) signalWriter(ctx context.Context, c *quicnet.Conn, p *relay.Participant) {
	t := time.NewTimer(rosterPaceMax) // when to look again, whoever wakes us
	defer t.Stop()
	var quiet, hold time.Time // until then rosters wait, and everything
	retell := retellFirst
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.SignalWake():
			if time.Until(hold) > 0 {
				continue // the timer is set
			}
		case <-t.C:
		}
		for {
			rest := time.Until(quiet)
			s, frame, ok := p.NextFrame(rest <= 0)
			if !ok {
				if rest > 0 {
					t.Reset(rest)
				}
				break
			}
			e.tapSignal(p, s)
			if err := e.tell(c, s, frame); err != nil {
				if retell == retellFirst {
					e.signalsLost.Add(1)
				}
				p.NotTold(s)
				hold = time.Now().Add(retell)
				t.Reset(retell)
				retell = min(2*retell, retellMost)
				break
			}
			retell = retellFirst
			if u, ok := s.(*wire.RoomUpdate); ok {
				quiet = time.Now().Add(rosterRest(len(u.Participants)))
			}
		}
	}
}

// tell sends a signal, as the frame it was encoded in if there is one.
func (e *Engine) tell(c *quicnet.Conn, s wire.Signal, frame []byte) error {
	if frame == nil {
		return e.writeSignal(c, s)
	}
	return writeRaw(c, frame)
}
