package attach

import (
	"bytes"
	"encoding/json"
	"slices"

	"signalbox/engine/view"
)

// decoder reads the snapshots of one stream. What seldom changes and is long,
// the drop counters of a shard and whom a lookup has asked, is taken from the
// snapshot before where its text is the same: snapshots are never modified. It
// has one owner.
type decoder struct {
	drops  []kept[map[string]uint64] // by the shard's place
	asked  map[uint64]kept[[]view.LookupQuery]
	unused map[uint64]kept[[]view.LookupQuery] // of the snapshot before, being refilled
}

// kept is a value with the text it was read from.
type kept[T any] struct {
	text []byte
	v    T
}

// read returns the value of a text, that of k where the text is the same.
func (k kept[T]) read(text []byte) (kept[T], error) {
	if k.text != nil && bytes.Equal(k.text, text) {
		return k, nil
	}
	n := kept[T]{text: slices.Clone(text)}
	if len(text) == 0 {
		return kept[T]{}, nil
	}
	return n, json.Unmarshal(text, &n.v)
}

// The shapes of a snapshot in which what may be kept is text still.
type (
	snapshotText struct {
		view.Snapshot
		Shards []shardText `json:"shards"`
		DHT    dhtText     `json:"dht"`
	}
	shardText struct {
		view.Shard
		Dropped json.RawMessage `json:"dropped"`
	}
	dhtText struct {
		view.DHT
		Lookups lookupsText `json:"lookups"`
	}
	lookupsText struct {
		view.Lookups
		Trace []traceText `json:"trace"`
	}
	traceText struct {
		view.LookupTrace
		Queries json.RawMessage `json:"queries"`
	}
)

// decode reads one snapshot.
func (d *decoder) decode(line []byte) (*view.Snapshot, error) {
	var t snapshotText
	if err := json.Unmarshal(line, &t); err != nil {
		return nil, err
	}
	s := t.Snapshot // a copy: the texts are not kept with it
	if t.Shards != nil {
		s.Shards = make([]view.Shard, len(t.Shards))
	}
	d.drops = slices.Grow(d.drops, max(0, len(t.Shards)-len(d.drops)))[:len(t.Shards)]
	for i := range t.Shards {
		var err error
		if d.drops[i], err = d.drops[i].read(t.Shards[i].Dropped); err != nil {
			return nil, err
		}
		s.Shards[i] = t.Shards[i].Shard
		s.Shards[i].Dropped = d.drops[i].v
	}
	s.DHT = t.DHT.DHT
	s.DHT.Lookups = t.DHT.Lookups.Lookups
	if t.DHT.Lookups.Trace != nil {
		s.DHT.Lookups.Trace = make([]view.LookupTrace, len(t.DHT.Lookups.Trace))
	}
	now := d.unused
	if now == nil {
		now = map[uint64]kept[[]view.LookupQuery]{}
	}
	clear(now)
	for i := range t.DHT.Lookups.Trace {
		l := &t.DHT.Lookups.Trace[i]
		k, err := d.asked[l.Seq].read(l.Queries)
		if err != nil {
			return nil, err
		}
		now[l.Seq] = k
		s.DHT.Lookups.Trace[i] = l.LookupTrace
		s.DHT.Lookups.Trace[i].Queries = k.v
	}
	d.asked, d.unused = now, d.asked
	return &s, nil
}
