package relay

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"signalbox/engine/ledger"
	"signalbox/relay/queue"
	"signalbox/relay/wire"
)

// The states of a participant. It only moves on.
const (
	stateIn       uint32 = iota
	stateLeft            // of its own will: what it said last is still passed on
	stateExpelled        // kicked, replaced, or its room was closed: it is not
)

// Participant is one member of one room, from Join to Leave. A client that
// comes back is another participant.
type Participant struct {
	// Constant after Join.
	relay       *Relay
	room        *room
	num         uint64
	id          string
	fingerprint string
	alias       string // as it goes to clients
	shownAlias  string
	remote      netip.AddrPort
	addr        netip.Addr // of remote, unmapped
	transport   string
	shard       string
	joinedAt    time.Time
	joinedMono  int64
	closeConn   func(reason string)
	maxDatagram func() int
	wake        chan struct{}  // 1 slot: the ring has something
	signalWake  chan struct{}  // 1 slot: there may be a signal
	pair        []*Participant // whom it is heard by if forwarded, one; nil: its room, see JoinPair
	leg         bool           // of a forwarded client, at the other relay
	labelled    bool           // what it takes begins with a label

	// Owned by the connection's reader.
	budget budget

	// Owned by the connection's signal writer.
	toldRoster    uint64
	toldDirective uint64

	// Each owned by the loop that holds the shard's claim.
	marks []uint32

	// Owned by the loop that holds judging.
	judge judge

	// Any goroutine (atomic).
	state      atomic.Uint32
	muted      atomic.Bool
	rule       atomic.Pointer[rule] // what an operator has put on its address; nil: nothing
	judging    atomic.Bool
	tier       atomic.Uint32 // the judge's, for everybody else
	report     atomic.Uint32 // the last one's four bytes
	reportAt   atomic.Int64  // 0: has never reported
	received   atomic.Uint64
	lastPacket atomic.Int64  // 0: none yet
	lastSent   atomic.Int64  // when the transport last took one; 0: never
	seq        atomic.Uint32 // the last sequence number and seqKnown
	gaps       atomic.Uint64
	recovery   recovery
	refused    ledger.Atomics // of what it sent; for its row, not for the account

	ring *queue.Ring[[]byte] // own mutex; constant after Join
}

// ID is the participant's id, unique in the life of the process.
func (p *Participant) ID() string { return p.id }

// Num is the number in ID: what labels tell others it by.
func (p *Participant) Num() uint64 { return p.num }

// RoomName is the name of the room it joined, safe to print.
func (p *Participant) RoomName() string { return p.room.name }

// Remote is the client's address.
func (p *Participant) Remote() netip.AddrPort { return p.remote }

// MaxDatagram is the largest datagram the client's path carries now in bytes,
// for whoever packs several packets into one; 0 when unknown. Whether one
// packet fits, the transport decides.
func (p *Participant) MaxDatagram() int {
	if p.maxDatagram == nil {
		return 0
	}
	return p.maxDatagram()
}

// Admit decides at the connection's reader whether a packet of n bytes may go
// on to a shard: not if the source is banned or above its throttle, nor if the
// client is above its budget. What it refuses it has counted, as received and
// dropped. One goroutine at a time.
func (p *Participant) Admit(n int, now int64) bool {
	p.received.Add(1)
	p.lastPacket.Store(max(now, 1))
	if ru := p.rule.Load(); ru != nil {
		if why, ok := ru.admit(now); !ok {
			p.refuseEarly(why, 1)
			return false
		}
	}
	if !p.budget.take(n, now) {
		p.refuseEarly(ledger.ClientRate, 1)
		return false
	}
	return true
}

// Lost books n packets of the client that were lost before Admit saw them.
func (p *Participant) Lost(why ledger.Reason, n uint64) {
	p.received.Add(n)
	p.refuseEarly(why, n)
}

func (p *Participant) refuseEarly(why ledger.Reason, n uint64) {
	p.relay.early[why].Add(n)
	p.refused[why].Add(n)
}

// NotTaken notes on the client's row that a packet Admit has let pass was then
// refused by the shard, which has counted it.
func (p *Participant) NotTaken(why ledger.Reason) { p.refused[why].Add(1) }

func (p *Participant) refuse(why ledger.Reason) {
	p.relay.refused[why].Add(1)
	p.refused[why].Add(1)
}

// Wake receives when there is something to Take. It may receive for nothing,
// and once for many packets: take until there are none.
func (p *Participant) Wake() <-chan struct{} { return p.wake }

// Take appends up to limit packets to buf, oldest first, and drops those that
// have waited too long. The packets are shared: they must not be written to.
// Until Done they count as queued.
func (p *Participant) Take(buf [][]byte, limit int, now int64) [][]byte {
	return p.ring.Take(buf, limit, now)
}

// Done reports what became of packets taken: handed to the transport, too
// large for the path, refused by the transport otherwise.
func (p *Participant) Done(sent, tooLarge, failed int) {
	if sent > 0 {
		p.lastSent.Store(max(p.relay.cfg.Now(), 1))
	}
	p.ring.Done(sent, tooLarge, failed)
}

func (p *Participant) wakeWriter() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *Participant) wakeSignals() {
	select {
	case p.signalWake <- struct{}{}:
	default:
	}
}

// lastReport is the newest quality report and its age in ns, -1 when there
// has been none.
func (p *Participant) lastReport(now int64) (wire.QualityReport, int64) {
	at := p.reportAt.Load()
	if at == 0 {
		return wire.QualityReport{}, -1
	}
	v := p.report.Load()
	q := wire.QualityReport{Loss: uint8(v >> 24), RTT4: uint8(v >> 16), Jitter: uint8(v >> 8), CapKbps: uint8(v)}
	return q, max(0, now-at)
}

const idPrefix = "p"

func formatID(n uint64) string { return idPrefix + strconv.FormatUint(n, 10) }

func parseID(s string) (uint64, bool) {
	if len(s) < 2 || s[:1] != idPrefix {
		return 0, false
	}
	n, err := strconv.ParseUint(s[1:], 10, 64)
	return n, err == nil && formatID(n) == s
}

// LabelSize is how many bytes a label has: the sender's Num, its low 32 bits in
// big-endian order; 0 is somebody at another relay.
const LabelSize = 4

// label is a packet with its label before it.
func label(from uint64, pkt []byte) []byte {
	b := make([]byte, 0, LabelSize+len(pkt))
	return append(binary.BigEndian.AppendUint32(b, uint32(from)), pkt...)
}

func packetSize(pkt []byte) int { return len(pkt) }
