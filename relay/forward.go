package relay

import (
	"encoding/binary"
	"sync/atomic"

	"signalbox/engine/ledger"
	"signalbox/relay/wire"
)

// dirtyCap is how many receivers a shard remembers to wake. A batch that
// reaches more wakes these in between.
const dirtyCap = 1024

// shard is what one loop of the dispatcher keeps between Forward and
// FlushShard. Normally one loop uses it. When a loop was wedged and replaced
// two may for a moment: the claim keeps them apart without making one wait.
type shard struct {
	// Any goroutine (atomic).
	claimed atomic.Bool
	flush   atomic.Bool   // FlushShard was called and has not been done
	copies  atomic.Uint64 // fan-out, see Relay.FanOut
	bytes   atomic.Uint64 // their payload, see Relay.FanOutBytes

	// Owned by who holds the claim.
	epoch uint32 // of this batch; a receiver marked with it is in dirty
	dirty []*Participant

	_ [64]byte // no two shards on a cache line
}

// Forward hands one packet of p to everybody else in its room: parse, police,
// judge, fan out (5.3). shard is the index of the calling loop. The packet is
// shared by all receivers and must not be changed afterwards. It allocates
// nothing, but one labelled copy if a browser in the room wants that, and locks nothing but one receiver's ring at a time.
func (r *Relay) Forward(shard int, p *Participant, pkt []byte, now int64) {
	if ru := p.rule.Load(); ru != nil && ru.bans(now) {
		// Admitted before the ban came down.
		ru.dropped.Add(1)
		p.refuse(ledger.SourceBanned)
		return
	}
	if p.muted.Load() {
		p.refuse(ledger.Muted)
		return
	}
	if p.room.closed.Load() {
		p.refuse(ledger.RoomGone)
		return
	}
	if p.state.Load() == stateExpelled {
		p.refuse(ledger.Gone)
		return
	}
	m, err := wire.Parse(pkt)
	if err != nil {
		p.refuse(ledger.Malformed)
		return
	}
	if m.HasReport && !p.leg { // those a leg brings are of people elsewhere
		p.judgeReport(m.Report, now)
	}
	r.fanOut(shard, p, pkt, len(m.Payload), now)
	if up := p.room.up; up != nil {
		up.Out(p.id, pkt, now)
	}
}

// others is who hears the participant, itself perhaps among them, for the cost
// of one atomic load: the list is never changed, only replaced.
func (p *Participant) others() []*Participant {
	if p.pair != nil {
		return p.pair
	}
	return p.room.roster.Load().members
}

func (r *Relay) fanOut(index int, p *Participant, pkt []byte, payload int, now int64) {
	if uint(index) >= uint(len(r.shards)) {
		index = 0 // an unknown loop shares the first one's, as the claim allows
	}
	sh := &r.shards[index]
	mine := sh.claimed.CompareAndSwap(false, true)
	if mine {
		defer sh.release()
	}
	members := p.others()
	n := len(members)
	var labelled []byte // one for all that want it
	for _, m := range members {
		if m == p {
			n--
			continue
		}
		out := pkt
		if m.labelled {
			if labelled == nil {
				labelled = label(p.num, pkt)
			}
			out = labelled
		}
		switch {
		case !m.ring.Push(out, now):
			r.late[ledger.Gone].Add(1)
		case !mine:
			m.wakeWriter()
		case m.marks[index] != sh.epoch:
			m.marks[index] = sh.epoch
			if len(sh.dirty) == dirtyCap {
				sh.wakeAll()
				m.marks[index] = sh.epoch
			}
			sh.dirty = append(sh.dirty, m)
		}
	}
	sh.copies.Add(uint64(n))
	sh.bytes.Add(uint64(n * payload))
}

// FlushShard wakes every writer that the shard's batch has given something,
// once each. The loop calls it at the end of every batch.
func (r *Relay) FlushShard(shard int) {
	if uint(shard) >= uint(len(r.shards)) {
		shard = 0
	}
	sh := &r.shards[shard]
	sh.flush.Store(true)
	sh.drain()
}

// drain does a flush that is due. If somebody else holds the claim, they will
// see that it is due when they let go.
func (sh *shard) drain() {
	for sh.flush.Load() && sh.claimed.CompareAndSwap(false, true) {
		sh.flush.Store(false)
		sh.wakeAll()
		sh.claimed.Store(false)
	}
}

func (sh *shard) release() {
	sh.claimed.Store(false)
	if sh.flush.Load() {
		sh.drain()
	}
}

// wakeAll ends a batch. The claim is held.
func (sh *shard) wakeAll() {
	for _, m := range sh.dirty {
		m.wakeWriter()
	}
	clear(sh.dirty) // those that leave are not kept alive from here
	sh.dirty = sh.dirty[:0]
	if sh.epoch++; sh.epoch == 0 {
		sh.epoch = 1 // 0 is the mark of those never marked
	}
}

// Sequence numbers are counted as missing over at most a minute of packets;
// a jump beyond that, in either direction, is a client that began anew.
const (
	seqKnown  = 1 << 16
	seqWindow = 3000
)

// Saw notes the sequence number of a packet as it came from the network, before
// anything here can refuse it, so that gaps are what was lost on the client's
// way to us and nothing of ours. Only the connection's reader calls it.
func (p *Participant) Saw(pkt []byte) {
	if len(pkt) >= wire.HeaderSize && !p.leg { // a leg brings many senders' numbers
		p.countGap(binary.BigEndian.Uint16(pkt[2:]))
	}
}

// countGap counts the numbers missing before this one. Late ones are not taken
// off again.
func (p *Participant) countGap(seq uint16) {
	old := p.seq.Load()
	if old&seqKnown != 0 {
		ahead := int16(seq - uint16(old) - 1)
		switch {
		case ahead >= 0 && ahead < seqWindow:
			if ahead > 0 {
				p.gaps.Add(uint64(ahead))
			}
		case ahead < 0 && ahead > -seqWindow:
			return // late
		}
	}
	p.seq.Store(seqKnown | uint32(seq))
}

// judgeReport feeds the participant's judge and, if that or the fact that it
// reports changes anything, the room's tier (5.5). Should two loops meet here,
// after one was replaced, the second's report is only noted.
func (p *Participant) judgeReport(q wire.QualityReport, now int64) {
	p.report.Store(uint32(q.Loss)<<24 | uint32(q.RTT4)<<16 | uint32(q.Jitter)<<8 | uint32(q.CapKbps))
	first := p.reportAt.Swap(max(now, 1)) == 0
	changed := false
	if p.judging.CompareAndSwap(false, true) {
		changed = p.judge.report(classify(q), now)
		p.tier.Store(uint32(p.judge.tier))
		p.judging.Store(false)
	}
	if changed || first {
		p.room.retier()
	}
}
