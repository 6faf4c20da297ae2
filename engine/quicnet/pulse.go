package quicnet

import (
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
)

// A pulse is measured again after so many packets and so long.
const (
	pulsePackets = 64
	pulseWindow  = 50 * time.Millisecond
	pulseFloor   = 0.75 // of the rate that begins it: below, it ends
)

// pulse lets packets gather for a moment before they are read, when so many
// arrive that a wake-up for each costs more than the moment is worth: what
// has gathered is read, decrypted, fanned out and acknowledged together, and
// what several talkers say to one receiver leaves in one packet. A socket
// where little arrives is read at once.
type pulse struct {
	// Constant after newPulse.
	tick  time.Duration // how long they gather; 0: never
	above float64       // packets a second from which they do

	// quic-go's reading goroutine.
	began   time.Time // of the measurement
	packets int       // since then
	drained bool      // the latest read found fewer packets than it had room for

	// Any goroutine (atomic).
	on atomic.Bool
}

// due says whether to wait before the next read.
func (p *pulse) due() bool { return p.drained && p.on.Load() }

// inForce is how long packets gather now; 0: they do not.
func (p *pulse) inForce() time.Duration {
	if p.on.Load() {
		return p.tick
	}
	return 0
}

// note is told what a read brought.
func (p *pulse) note(n, room int, now func() time.Time) {
	p.drained = n < room
	p.packets += n
	on := p.on.Load()
	if p.tick == 0 || !on && p.packets < pulsePackets {
		return
	}
	t := now()
	took := t.Sub(p.began)
	if took < pulseWindow {
		return
	}
	limit := p.above
	if on {
		limit *= pulseFloor
	}
	if more := float64(p.packets) >= limit*took.Seconds(); more != on {
		p.on.Store(more)
	}
	p.began, p.packets = t, 0
}

// ReadBatch is what quic-go reads with: recvmmsg, into as many messages as
// there is room for. Errors are those of the socket.
func (s *socket) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	if s.pulse.due() {
		time.Sleep(s.pulse.tick) //nolint:forbidigo // a timer and its channel cost a wake-up more; it is over in a moment
	}
	n, err := s.batch.ReadBatch(ms, flags)
	s.pulse.note(n, len(ms), time.Now)
	return n, err
}
