package dispatch

// entry is one waiting message. What is beside the message is kept to 16
// bytes, so that an entry with a message of 48 is one cache line.
type entry[T any] struct {
	m     T
	at    int64 // when it was admitted, monotonic ns
	size  int32
	slots uint16 // the source's counters in the lane's share table
	fault uint16 // an injected fault instead of a message: its key in ring.faults
}

// ring is the queue of one lane. Everything in it is guarded by the shard's
// mutex, with one exception: the loop reads the entries of its open batch, in
// the array the batch was opened on, without the lock. So those entries are
// never written until the loop's word says they are done, and growing leaves
// the old array as it is.
type ring[T any] struct {
	buf   []entry[T]
	head  int
	n     int
	bytes int

	// held is kept only while the lane is under pressure (watching): an idle
	// lane has no need of shares, and the two cores passing a message on do
	// not have to pass the table's cache lines on as well.
	watching bool
	held     *shareTable

	faults map[uint16]func()
	fault  uint16
}

const ringStart = 16 // first array, grown by doubling: idle lanes cost little

// index is the place in buf of the i-th oldest.
func (r *ring[T]) index(i int) int {
	if i += r.head; i >= len(r.buf) {
		i -= len(r.buf)
	}
	return i
}

func (r *ring[T]) at(i int) *entry[T] { return &r.buf[r.index(i)] }

// slot makes room for one more, at most limit, and returns it to be filled.
func (r *ring[T]) slot(limit int, size int32, slots uint16) *entry[T] {
	if r.n == len(r.buf) {
		r.grow(min(max(2*len(r.buf), ringStart), limit))
	}
	e := r.at(r.n)
	e.size, e.slots = size, slots
	r.n++
	r.bytes += int(size)
	if r.watching {
		r.held.add(slots, size)
	}
	return e
}

func (r *ring[T]) grow(to int) {
	buf := make([]entry[T], max(to, r.n))
	for i := range r.n {
		buf[i] = *r.at(i)
	}
	r.buf, r.head = buf, 0
}

// detach moves what waits to a new array, because a loop that was left behind
// may still read the old one.
func (r *ring[T]) detach() { r.grow(len(r.buf)) }

// shift removes the n oldest.
func (r *ring[T]) shift(n int) {
	for range n {
		r.forget(&r.buf[r.head])
		if r.head++; r.head == len(r.buf) {
			r.head = 0
		}
	}
}

// pop removes the newest.
func (r *ring[T]) pop() { r.forget(r.at(r.n - 1)) }

func (r *ring[T]) forget(e *entry[T]) {
	r.n--
	r.bytes -= int(e.size)
	if r.watching {
		r.held.remove(e.slots, e.size)
	}
	if e.fault != 0 {
		delete(r.faults, e.fault)
	}
	*e = entry[T]{}
}

// watch keeps the share table from when the lane is an eighth full, in
// messages or in bytes, until it is a sixteenth full.
func (r *ring[T]) watch(limit, limitBytes int) bool {
	switch {
	case !r.watching && (r.n > limit/8 || r.bytes > limitBytes/8):
		if r.held == nil {
			r.held = new(shareTable)
		}
		*r.held = shareTable{}
		for i := range r.n {
			e := r.at(i)
			r.held.add(e.slots, e.size)
		}
		r.watching = true
	case r.watching && r.n <= limit/16 && r.bytes <= limitBytes/16:
		r.watching = false
	}
	return r.watching
}

// addFault keeps f under a new key.
func (r *ring[T]) addFault(f func()) uint16 {
	if r.faults == nil {
		r.faults = map[uint16]func(){}
	}
	r.fault++
	for r.fault == 0 || r.faults[r.fault] != nil {
		r.fault++
	}
	r.faults[r.fault] = f
	return r.fault
}
