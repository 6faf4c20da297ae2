package relay

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
	items              []entry
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
		n += len(e.pkt)
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
	o.items = append(o.items, entry{pkt, now})
}

func (o *oracle) take(limit int, now int64) (out [][]byte) {
	o.expire(now)
	for len(out) < limit && len(o.items) > 0 {
		out = append(out, o.items[0].pkt)
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
				if got, want := q.take(nil, limit, now), o.take(limit, now); !slices.EqualFunc(got, want, bytes.Equal) {
					t.Fatalf("seed %d step %d: took %v, want %v", seed, step, got, want)
				}
			case 4:
				sent := rnd.IntN(o.inFlight + 1)
				failed := rnd.IntN(o.inFlight - sent + 1)
				q.done(sent, 0, failed)
				o.done(sent, failed)
			default:
				pkt := bytes.Repeat([]byte{byte(step)}, 1+rnd.IntN(25))
				q.push(pkt, now)
				o.push(pkt, now)
			}
			o.want.Queued = uint64(len(o.items) + o.inFlight)
			if got := q.counts(); got != o.want || got.Unexplained() != 0 {
				t.Fatalf("seed %d step %d:\n got %+v\nwant %+v", seed, step, got, o.want)
			}
		}
		closesFor(t, &q, o.want.Queued)
	}
}

// closesFor closes a ring that holds so many and tries to use it after.
func closesFor(t *testing.T, q *ring, held uint64) {
	t.Helper()
	final := q.close()
	if final.Queued != 0 || final.Unexplained() != 0 || final.Dropped[ledger.Gone] != held {
		t.Fatalf("closed with %+v", final)
	}
	if q.push([]byte{1}, 0) || q.counts() != final {
		t.Fatal("a closed ring must take and count nothing")
	}
	if q.done(5, 5, 5); q.counts() != final {
		t.Fatal("a closed ring must not book")
	}
}

func (q *ring) counts() (c ledger.Counts) {
	q.addTo(&c)
	return c
}

// TestRingFrozenWriter: the age shown is that of what the stuck writer holds.
func TestRingFrozenWriter(t *testing.T) {
	q := newRing(4, 1000, 500)
	q.push([]byte{1}, 10)
	q.take(nil, 1, 20)
	for now := int64(30); now < 5000; now += 100 {
		q.push([]byte{2}, now)
	}
	v := q.view(5000)
	if v.oldest != 4990 || v.depth != 4 || v.capacity != 4 {
		t.Fatalf("%+v", v)
	}
}

func TestBudgetExactExcess(t *testing.T) {
	const pps, bps = 400, 512_000
	t.Run("packets", func(t *testing.T) {
		b := newBudget(pps, bps, 0)
		admitted := 0
		for i := range 20_000 * 3 { // 20,000 packets/s for three seconds
			if b.take(100, int64(i)*second/20_000) {
				admitted++
			}
		}
		// one burst of a second and what flows in until the last packet
		if want := pps + pps*3 - 1; admitted != want {
			t.Fatalf("admitted %d, want %d", admitted, want)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		b := newBudget(pps, bps, 0)
		admitted := 0
		for i := range 1000 {
			if b.take(1400, int64(i)*second/1000) {
				admitted++
			}
		}
		if want := (bps + bps*999/1000) / 1400; admitted != want {
			t.Fatalf("admitted %d, want %d", admitted, want)
		}
	})
	t.Run("within it nothing is refused", func(t *testing.T) {
		b := newBudget(pps, bps, 0)
		for i := range pps * 10 {
			if !b.take(1280, int64(i)*second/pps) {
				t.Fatalf("packet %d refused", i)
			}
		}
	})
	t.Run("a second's silence is all it can save", func(t *testing.T) {
		b := newBudget(pps, bps, 0)
		n := 0
		for b.take(1, 3600*second) {
			n++
		}
		if n != pps {
			t.Fatalf("burst of %d", n)
		}
	})
}
