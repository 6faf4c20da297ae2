package attach

import (
	"hash/maphash"
	"net/url"
	"strconv"
	"time"

	"signalbox/engine/view"
)

// pace is how often a follower of /v1/stream is written to.
type pace struct {
	every time.Duration // at the most
	calm  time.Duration // while the node is well and packets flow as before
	idle  time.Duration // while nothing happens at all

	last *view.Snapshot // that was written
	sent time.Time
	sign uint64 // of last
}

// paceOf reads interval_ms, calm_ms and idle_ms. Neither of the latter means
// less than the one before.
func paceOf(q url.Values) (*pace, error) {
	p := &pace{}
	var err error
	if p.every, err = millis(q, "interval_ms", defaultInterval); err != nil {
		return nil, err
	}
	p.every = min(max(p.every, minInterval), maxInterval)
	if p.calm, err = millis(q, "calm_ms", p.every); err != nil {
		return nil, err
	}
	p.calm = min(max(p.calm, p.every), maxInterval)
	if p.idle, err = millis(q, "idle_ms", p.calm); err != nil {
		return nil, err
	}
	p.idle = min(max(p.idle, p.calm), maxInterval)
	return p, nil
}

// due says whether s is to be written now, which counts as done.
func (p *pace) due(s *view.Snapshot, now time.Time) bool {
	if p.last != nil {
		since := now.Sub(p.sent) + p.every/2 // ticks come a little early or late
		switch {
		case s.Seq == p.last.Seq:
			return false
		case since >= p.idle:
		case !busy(p.last, s):
			return false
		case since >= p.calm:
		case s.Node.Health.Verdict == wellVerdict && signs(s) == p.sign:
			return false
		}
	}
	p.last, p.sent = s, now
	if p.calm > p.every {
		p.sign = signs(s)
	}
	return true
}

const wellVerdict = "ok"

// busy says whether anything has happened between two snapshots, other than
// that time has passed.
func busy(a, b *view.Snapshot) bool {
	type marks struct {
		media, dht, federation    uint64
		rooms, connections, undos int
		accepted                  uint64
		verdict, state, newest    string
		waiting, stopped          int // messages in shards, and shards that do not run
	}
	of := func(s *view.Snapshot) marks {
		m := marks{
			media: s.Ledger.Media.Received, dht: s.Ledger.DHT.Received, federation: s.Ledger.Federation.Received,
			rooms: len(s.Rooms), connections: s.Edge.Connections, undos: len(s.Undo), accepted: s.Edge.Accepted,
			verdict: s.Node.Health.Verdict, state: s.Node.State,
		}
		if len(s.Undo) > 0 {
			m.newest = s.Undo[0].ID
		}
		for i := range s.Shards {
			m.waiting += s.Shards[i].Depth
			if s.Shards[i].State != "running" {
				m.stopped++
			}
		}
		return m
	}
	return of(a) != of(b)
}

var signSeed = maphash.MakeSeed()

// signs sums up what an operator wants to see at once: everything but the
// figures of packets that flow as they should.
func signs(s *view.Snapshot) uint64 {
	var h maphash.Hash
	h.SetSeed(signSeed)
	text := func(parts ...string) {
		for _, p := range parts {
			h.WriteString(p)
			h.WriteByte(0)
		}
	}
	num := func(ns ...uint64) {
		var b [24]byte
		for _, n := range ns {
			h.Write(append(strconv.AppendUint(b[:0], n, 36), 0))
		}
	}
	text(s.Node.Health.Verdict, s.Node.State)
	for i := range s.Node.Health.Causes {
		text(s.Node.Health.Causes[i].Subject, s.Node.Health.Causes[i].Remedy)
	}
	for i := range s.Undo {
		text(s.Undo[i].ID)
	}
	num(uint64(len(s.Sources)), uint64(s.Edge.Connections), uint64(s.DHT.Peers), uint64(len(s.Endings)))
	for i := range s.Rooms {
		r := &s.Rooms[i]
		text(r.Name, r.Tier, r.PinnedTier)
		num(uint64(len(r.Participants)))
	}
	for i := range s.Links {
		text(s.Links[i].Label, s.Links[i].State)
	}
	for i := range s.Signal.CallList {
		text(s.Signal.CallList[i].ID, s.Signal.CallList[i].State)
	}
	for i := range s.Shards {
		text(s.Shards[i].State)
		num(total(s.Shards[i].Dropped), s.Shards[i].Panics)
	}
	for _, p := range []*view.Plane{&s.Ledger.Media, &s.Ledger.Federation, &s.Ledger.DHT} {
		num(total(p.Dropped), uint64(p.Unexplained))
	}
	return h.Sum64()
}

func total(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}
