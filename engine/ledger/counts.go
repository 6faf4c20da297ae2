package ledger

import "sync/atomic"

// Drops counts packets by reason. The zero value is ready to use. It is a
// plain value: whoever owns it decides what guards it.
type Drops [NumReasons]uint64

// Total is the sum over all reasons.
func (d *Drops) Total() uint64 {
	var n uint64
	for _, v := range d {
		n += v
	}
	return n
}

// Add adds o to d.
func (d *Drops) Add(o *Drops) {
	for i, v := range o {
		d[i] += v
	}
}

// Map renders the counts by name, every reason present, zero included
// (contract section 3: each registered at zero).
func (d *Drops) Map() map[string]uint64 {
	m := make(map[string]uint64, NumReasons)
	for i, v := range d {
		m[reasonNames[i]] = v
	}
	return m
}

// NonZero renders only the reasons that were hit, for rows whose full map
// would be mostly zeros. It is never nil.
func (d *Drops) NonZero() map[string]uint64 {
	m := map[string]uint64{}
	for i, v := range d {
		if v > 0 {
			m[reasonNames[i]] = v
		}
	}
	return m
}

// Counts is one account: what was offered and what became of it. Parts of a
// plane each keep a Counts that closes under the part's own lock, so the sum
// over the parts closes too, without stopping anybody.
type Counts struct {
	Received  uint64 // packets that reached us, lost ones we know of included
	Copies    uint64 // copies that had to go somewhere
	Delivered uint64 // copies handed to the transport, or handled
	Queued    uint64 // copies waiting, those in a writer's hands included
	Dropped   Drops
}

// Add adds o to c.
func (c *Counts) Add(o *Counts) {
	c.Received += o.Received
	c.Copies += o.Copies
	c.Delivered += o.Delivered
	c.Queued += o.Queued
	c.Dropped.Add(&o.Dropped)
}

// Refuse books one packet refused before fan-out: received, one copy, dropped.
func (c *Counts) Refuse(r Reason, n uint64) {
	c.Received += n
	c.Copies += n
	c.Dropped[r] += n
}

// Unexplained is copies - delivered - dropped - queued. Anything but zero is a
// defect of ours.
func (c *Counts) Unexplained() int64 {
	return int64(c.Copies) - int64(c.Delivered) - int64(c.Dropped.Total()) - int64(c.Queued)
}

// Atomics counts drops by reason from any goroutine. Each entry is one copy
// refused before fan-out, so it stands on both sides of the ledger at once and
// cannot tear.
type Atomics [NumReasons]atomic.Uint64

// Load reads the counters into a plain value.
func (a *Atomics) Load() Drops {
	var d Drops
	for i := range a {
		d[i] = a[i].Load()
	}
	return d
}
