package queue

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"signalbox/engine/ledger"
)

// oracle is the ring as a naive slice.
type oracle struct {
	capacity, maxBytes int
	maxAge             int64
	items              []entry[[]byte]
	inFlight           int
	want               ledger.Counts
}

func (o *oracle) expire(now int64) {
	for len(o.items) > 0 && now-o.items[0].at > o.maxAge {
		o.items = o.items[1:]
		o.want.Dropped[ledger.QueueAge]++
	}
}

func (o *oracle) bytes() (n int) {
	for _, e := range o.items {
		n += len(e.item)
	}
	return n
}

func (o *oracle) push(pkt []byte, now int64) {
	o.want.Copies++
	o.expire(now)
	if len(pkt) > o.maxBytes {
		o.want.Dropped[ledger.TooLarge]++
		return
	}
	for len(o.items) == o.capacity || o.bytes()+len(pkt) > o.maxBytes {
		o.items = o.items[1:]
		o.want.Dropped[ledger.QueueHead]++
	}
	o.items = append(o.items, entry[[]byte]{pkt, now})
}

func (o *oracle) take(limit int, now int64) (out [][]byte) {
	o.expire(now)
	for len(out) < limit && len(o.items) > 0 {
		out = append(out, o.items[0].item)
		o.items = o.items[1:]
	}
	o.inFlight += len(out)
	return out
}

func (o *oracle) done(sent, failed int) {
	o.inFlight -= sent + failed
	o.want.Delivered += uint64(sent)
	o.want.Dropped[ledger.WriteError] += uint64(failed)
}

func newRing(capacity, maxBytes int, maxAge int64) *Ring[[]byte] {
	return New(capacity, maxBytes, maxAge, func(b []byte) int { return len(b) })
}

// TestRingAgainstSlice compares the ring with the oracle over random work.
func TestRingAgainstSlice(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		o := &oracle{capacity: 1 + rnd.IntN(9), maxBytes: 20 + rnd.IntN(60), maxAge: int64(5 + rnd.IntN(30))}
		q := newRing(o.capacity, o.maxBytes, o.maxAge)
		now := int64(0)
		for step := range 400 {
			now += int64(rnd.IntN(4))
			switch rnd.IntN(5) {
			case 3:
				limit := rnd.IntN(4)
				if got, want := q.Take(nil, limit, now), o.take(limit, now); !slices.EqualFunc(got, want, bytes.Equal) {
					t.Fatalf("seed %d step %d: took %v, want %v", seed, step, got, want)
				}
			case 4:
				sent := rnd.IntN(o.inFlight + 1)
				failed := rnd.IntN(o.inFlight - sent + 1)
				q.Done(sent, 0, failed)
				o.done(sent, failed)
			default:
				pkt := bytes.Repeat([]byte{byte(step)}, 1+rnd.IntN(25))
				q.Push(pkt, now)
				o.push(pkt, now)
			}
			o.want.Queued = uint64(len(o.items) + o.inFlight)
			if got := counts(q); got != o.want || got.Unexplained() != 0 {
				t.Fatalf("seed %d step %d:\n got %+v\nwant %+v", seed, step, got, o.want)
			}
		}
		closesFor(t, q, o.want.Queued)
	}
}

// closesFor closes a ring that holds so many and tries to use it after.
func closesFor(t *testing.T, q *Ring[[]byte], held uint64) {
	t.Helper()
	final := q.Close(ledger.Gone)
	if final.Queued != 0 || final.Unexplained() != 0 || final.Dropped[ledger.Gone] != held {
		t.Fatalf("closed with %+v", final)
	}
	if q.Push([]byte{1}, 0) || counts(q) != final {
		t.Fatal("a closed ring must take and count nothing")
	}
	if q.Done(5, 5, 5); counts(q) != final {
		t.Fatal("a closed ring must not book")
	}
}

func counts(q *Ring[[]byte]) (c ledger.Counts) {
	q.AddTo(&c)
	return c
}

// TestRingFrozenWriter: the age shown is that of what the stuck writer holds.
func TestRingFrozenWriter(t *testing.T) {
	q := newRing(4, 1000, 500)
	q.Push([]byte{1}, 10)
	q.Take(nil, 1, 20)
	for now := int64(30); now < 5000; now += 100 {
		q.Push([]byte{2}, now)
	}
	v := q.View(5000)
	if v.Oldest != 4990 || v.Depth != 4 || v.Capacity != 4 {
		t.Fatalf("%+v", v)
	}
}
