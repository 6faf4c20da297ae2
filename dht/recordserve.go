package dht

import (
	"errors"
	"sync/atomic"

	"signalbox/dht/memory"
	"signalbox/dht/record"
	"signalbox/dht/table"
	"signalbox/dht/wire"
)

// refusal codes of a STORE that have a counter, in the order of their codes.
var refusalNames = [...]string{"not_publisher", "invalid", "stale", "clock", "full", "far", "not_kept"}

// recordCounts are counters of the records. Any goroutine (atomic).
type recordCounts struct {
	kept, bad         atomic.Uint64 // records taken; others' answers with records that are none
	published, failed atomic.Uint64 // STOREs of ours, by outcome
	refused           [len(refusalNames)]atomic.Uint64
}

func (c *recordCounts) refuse(code wire.Code) {
	if i := int(code) - int(wire.CodeNotPublisher); i >= 0 && i < len(c.refused) {
		c.refused[i].Add(1)
	}
}

func (c *recordCounts) refusals() map[string]uint64 {
	m := make(map[string]uint64, len(refusalNames))
	for i, name := range refusalNames {
		m[name] = c.refused[i].Load()
	}
	return m
}

// valuesBuf is scratch for one VALUES.
type valuesBuf [wire.MaxMessage]byte

// serveStore takes a record or says why not. What is cheap to see is seen
// before the signature is checked.
func (n *Node) serveStore(l Link, req uint64, raw []byte, buf *replyBuf, now int64) {
	code, why := n.keep(l, raw, now)
	if code == 0 {
		n.records.counts.kept.Add(1)
		n.send(l, wire.AppendStored(buf[:0], req))
		return
	}
	n.records.counts.refuse(code)
	n.send(l, wire.AppendError(buf[:0], req, code, why.Error()))
}

var (
	errNotPublisher = errors.New("a record is taken over its publisher's own link")
	errFar          = errors.New("many peers are closer to the key")
)

// keep judges a record that has come over l; code 0: it is kept.
func (n *Node) keep(l Link, raw []byte, now int64) (wire.Code, error) {
	r := &n.records
	peer, wall := l.PeerID(), r.cfg.Wall()
	s, err := record.Decode(raw)
	if err != nil {
		if !newer(err) {
			n.observe(peer, false, now)
		}
		return wire.CodeInvalid, err
	}
	if s.By != peer {
		return wire.CodeNotPublisher, errNotPublisher
	}
	if err := s.Fresh(wall); err != nil {
		return wire.CodeClock, err
	}
	if n.far(&s.Key) {
		return wire.CodeFar, errFar
	}
	e := record.Entry{Signed: s, Source: table.Subnet(table.Canonical(l.RemoteAddr()).Addr())}
	if err := r.memory.Try(e, wall); err != nil {
		return storeCode(err), err
	}
	if err := s.Verify(); err != nil {
		n.observe(peer, false, now)
		return wire.CodeInvalid, err
	}
	if err := r.memory.Put(e, wall); err != nil {
		return storeCode(err), err
	}
	r.memory.Forget(s.Kind, s.Key) // what a lookup found earlier is old
	return 0, nil
}

// storeCode is the refusal for an error of memory.Put.
func storeCode(err error) wire.Code {
	switch {
	case errors.Is(err, record.ErrStale):
		return wire.CodeStale
	case errors.Is(err, memory.ErrOff):
		return wire.CodeNotKept
	case errors.Is(err, memory.ErrBusy):
		return wire.CodeBusy
	default:
		return wire.CodeFull
	}
}

// far reports whether a full answer's worth of live contacts, and some, are
// closer to key than we: nobody would look for it here.
func (n *Node) far(key *table.ID) bool {
	cb := n.contactPool.Get().(*contactBuf)
	defer n.contactPool.Put(cb)
	defer clear(cb.contacts[:]) // the pool must not keep contacts alive
	closer := 0
	want := min(n.table.K(), wire.MaxContacts) + spareContacts
	for _, c := range n.table.Closest(cb.contacts[:0], *key, want) {
		if id := c.ID(); c.Failures() == 0 && table.Closer(key, &id, &n.cfg.ID) < 0 {
			closer++
		}
	}
	return closer == want
}

// serveGet answers with the records under key and the contacts closest to it.
func (n *Node) serveGet(l Link, req uint64, key *table.ID) {
	vb := n.valuesPool.Get().(*valuesBuf)
	defer n.valuesPool.Put(vb)
	wall := n.records.cfg.Wall()
	var raws [wire.MaxValues + 1][]byte
	list := raws[:0]
	if own := n.records.ownSigned(*key, wall); own != nil {
		list = append(list, own.Raw)
	}
	for _, s := range n.records.memory.Records(*key, wall) {
		list = append(list, s.Raw)
	}
	w := wire.BeginValues(vb[:0], req, list)
	n.appendClosest(l, &w, key)
	n.send(l, w.Bytes())
}
