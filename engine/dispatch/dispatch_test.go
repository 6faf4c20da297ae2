package dispatch

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/engine/ledger"
	"signalbox/engine/view"
)

// msg is what the tests send: do runs in Handle, when set.
type msg struct {
	src  int
	seq  int
	lane Lane
	do   func()
}

// recorder is a handler that remembers what it handled.
type recorder struct {
	mu      sync.Mutex
	got     []msg
	shards  []int
	flushes int
	onFlush func()
}

func (r *recorder) Handle(shard int, m *msg, _ int64) {
	if m.do != nil {
		m.do()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, *m)
	r.shards = append(r.shards, shard)
}

func (r *recorder) Flush(int) {
	r.mu.Lock()
	r.flushes++
	f := r.onFlush
	r.mu.Unlock()
	if f != nil {
		f()
	}
}

func (r *recorder) Input(m *msg) []byte { return []byte{byte(m.src), byte(m.seq)} }

func (r *recorder) Describe(m *msg) string { return fmt.Sprintf("message %d/%d", m.src, m.seq) }

func (r *recorder) all() []msg {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]msg(nil), r.got...)
}

// eventLog collects events.
type eventLog struct {
	mu  sync.Mutex
	evs []view.Event
}

func (l *eventLog) add(ev view.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evs = append(l.evs, ev)
}

func (l *eventLog) of(kind string) []view.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []view.Event
	for _, ev := range l.evs {
		if ev.Kind == kind {
			out = append(out, ev)
		}
	}
	return out
}

func source(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// sourceIn finds the n-th source whose shard is the given one.
func sourceIn[T any](d *Dispatcher[T], shard, n int) netip.Addr {
	for i := 0; ; i++ {
		if d.ShardOf(source(i)) == shard {
			if n--; n < 0 {
				return source(i)
			}
		}
	}
}

func checkAccount[T any](t *testing.T, d *Dispatcher[T]) Account {
	t.Helper()
	a := d.Account()
	if u := a.Unexplained(); u != 0 {
		t.Fatalf("account does not close by %d: %+v", u, a)
	}
	return a
}

func TestSourceKey(t *testing.T) {
	cases := map[string]string{
		"192.0.2.7":                 "192.0.2.7",
		"::ffff:192.0.2.7":          "192.0.2.7",
		"2001:db8:1:2:3:4:5:6":      "2001:db8:1:2::",
		"2001:db8:1:2::":            "2001:db8:1:2::",
		"fe80::1%eth0":              "fe80::",
		"0:0:c000:207::1":           "0:0:c000:207::",
		"::":                        "::",
		"::ffff:0:0":                "0.0.0.0",
		"2001:db8:1:2:ffff:ffff::1": "2001:db8:1:2::",
	}
	d := New(Config{Plane: "media", Shards: 64}, Handler[msg](&recorder{}))
	for in, want := range cases {
		a := netip.MustParseAddr(in)
		if got := SourceKey(a).String(); got != want {
			t.Errorf("SourceKey(%s) = %s, want %s", in, got, want)
		}
		if hashSource(d.seed, a) != hashSource(d.seed, SourceKey(a)) {
			t.Errorf("%s and its key hash differently", in)
		}
	}
	if SourceKey(netip.Addr{}).IsValid() {
		t.Error("the invalid address has a key")
	}
	if hashSource(d.seed, netip.MustParseAddr("0:0:c000:207::")) == hashSource(d.seed, netip.MustParseAddr("192.0.2.7")) {
		t.Error("an IPv4 address and the IPv6 prefix of the same bits hash alike")
	}
}

// Ten thousand sources that an unkeyed hash sends to one shard (T03b).
func TestCollidingSourcesSpread(t *testing.T) {
	const want = 10000
	d := New(Config{Plane: "dht"}, Handler[msg](&recorder{}))
	var perShard [8]int
	for i, n := 0, 0; n < want; i++ {
		a := source(i)
		f := fnv.New64a()
		b := a.As16()
		f.Write(b[:])
		if f.Sum64()%8 != 3 {
			continue
		}
		perShard[d.ShardOf(a)]++
		n++
	}
	for i, n := range perShard {
		if float64(n) > 1.5*want/8 {
			t.Errorf("shard %d has %d of %d sources: %v", i, n, want, perShard)
		}
	}
	t.Log("sources per shard:", perShard)
	e := New(Config{Plane: "dht"}, Handler[msg](&recorder{}))
	for i := range 64 {
		if d.ShardOf(source(i)) != e.ShardOf(source(i)) {
			return
		}
	}
	t.Error("two dispatchers put 64 sources into the same shards: the hash has no key")
}

func TestOrderPerSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		d := New(Config{Plane: "media", Capacity: 4096}, Handler[msg](rec))
		defer background(t, d)()
		const sources, each = 40, 100
		for seq := range each {
			for s := range sources {
				if _, ok := d.Submit(d.now(), source(s), Media, 10, msg{src: s, seq: seq}); !ok {
					t.Fatal("dropped")
				}
			}
			if seq%7 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		var next [sources]int
		for i, m := range rec.all() {
			if m.seq != next[m.src] {
				t.Fatalf("source %d: message %d after %d", m.src, m.seq, next[m.src]-1)
			}
			next[m.src]++
			if rec.shards[i] != d.ShardOf(source(m.src)) {
				t.Fatalf("source %d handled in shard %d", m.src, rec.shards[i])
			}
		}
		if a := checkAccount(t, d); a.Processed != sources*each {
			t.Fatalf("processed %d", a.Processed)
		}
	})
}

// Control goes first, and a waiting control message waits for one media
// message at most, the one in hand.
func TestControlBeforeMedia(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		d := New(Config{Plane: "media", Shards: 1, Capacity: 64}, Handler[msg](rec))
		defer background(t, d)()
		hold := make(chan struct{})
		d.Submit(d.now(), source(0), Media, 1, msg{seq: -1, lane: Media, do: func() { <-hold }})
		synctest.Wait()
		for i := range 20 {
			d.Submit(d.now(), source(i), Media, 1, msg{seq: i, lane: Media})
		}
		synctest.Wait()
		for i := range 20 {
			d.Submit(d.now(), source(i), Control, 1, msg{seq: i, lane: Control})
		}
		close(hold)
		synctest.Wait()
		got := rec.all()
		if len(got) != 41 {
			t.Fatalf("handled %d", len(got))
		}
		for i, m := range got[1:] {
			if want := Lane(i / 20); m.lane != want {
				t.Fatalf("message %d is of lane %d", i, m.lane)
			}
		}

		// In the middle of a media batch.
		hold = make(chan struct{})
		for i := range 10 {
			m := msg{src: 1, seq: i, lane: Media}
			if i == 3 {
				m.do = func() { <-hold }
			}
			d.Submit(d.now(), source(1), Media, 1, m)
		}
		synctest.Wait()
		d.Submit(d.now(), source(2), Control, 1, msg{src: 2, lane: Control})
		close(hold)
		synctest.Wait()
		if m := rec.all()[41+4]; m.lane != Control {
			t.Fatalf("after the message in hand came %+v, not control", m)
		}
	})
}

// Media has a turn from time to time even while control never ends.
func TestControlDoesNotStarveMedia(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		d := New(Config{Plane: "media", Shards: 1, Capacity: 64}, Handler[msg](rec))
		defer background(t, d)()
		var again func()
		left := 2000
		again = func() {
			if left--; left > 0 {
				d.Submit(d.now(), source(left%8), Control, 1, msg{lane: Control, do: again})
			}
		}
		d.Pause(0)
		d.Resume(0)
		d.Submit(d.now(), source(0), Control, 1, msg{lane: Control, do: again})
		d.Submit(d.now(), source(9), Media, 1, msg{lane: Media})
		synctest.Wait()
		for i, m := range rec.all() {
			if m.lane == Media {
				if i > 300 {
					t.Fatalf("media waited for %d control messages", i)
				}
				return
			}
		}
		t.Fatal("media never came")
	})
}

// Media's turn, however slow its messages, lasts no longer than control has
// places left, and it has one although control never pauses.
func TestMediaTurnLeavesControlItsPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		d := New(Config{Plane: "dht", Shards: 1, Capacity: 32}, Handler[msg](rec))
		defer background(t, d)()
		wait := func(lane Lane, each time.Duration, i int) msg {
			return msg{seq: i, lane: lane, do: func() { time.Sleep(each) }}
		}
		for i := range 7 { // with all of control's places they fill the shard: none is pushed out
			d.Submit(d.now(), source(i), Media, 1, wait(Media, 10*time.Millisecond, i))
		}
		for i := range 150 { // as fast as they are handled
			time.Sleep(time.Millisecond)
			if why, ok := d.Submit(d.now(), source(i), Control, 1, wait(Control, time.Millisecond, i)); !ok {
				t.Fatalf("control message %d refused: %s", i, why)
			}
			synctest.Wait()
		}
		media := 0
		for _, m := range rec.all() {
			if m.lane == Media {
				media++
			}
		}
		if media < 2 { // the first, before there was any control, and a turn
			t.Errorf("%d media messages beside 150 of control", media)
		}
		time.Sleep(time.Second)
		if checkAccount(t, d); len(rec.all()) != 150+7 {
			t.Errorf("handled %d", len(rec.all()))
		}
	})
}

// Whatever media does, control is taken: it pushes media out.
func TestControlIsNotDroppedForMedia(t *testing.T) {
	d := New(Config{Plane: "media", Shards: 1, Capacity: 64, CapacityBytes: 64 * 100}, Handler[msg](&recorder{}))
	for i := range 1000 {
		d.Submit(d.now(), source(i), Media, 100, msg{})
	}
	if a := checkAccount(t, d); a.Depth != 64 || a.Bytes != 6400 {
		t.Fatalf("media fills %d messages, %d bytes", a.Depth, a.Bytes)
	}
	for i := range 48 {
		if r, ok := d.Submit(d.now(), source(i), Control, 100, msg{}); !ok {
			t.Fatalf("control message %d refused: %s", i, r)
		}
	}
	if _, ok := d.Submit(d.now(), source(99), Control, 100, msg{}); ok {
		t.Fatal("control took more than three quarters")
	}
	a := checkAccount(t, d)
	if a.Depth != 64 || a.Bytes != 6400 || a.Dropped[ledger.ShardFull] != 1000-64+48+1 {
		t.Fatalf("%+v", a)
	}
}

func TestBytesAreBounded(t *testing.T) {
	d := New(Config{Plane: "dht", Shards: 1, Capacity: 1000, CapacityBytes: 10000}, Handler[msg](&recorder{}))
	for i := range 100 {
		d.Submit(d.now(), source(i), Media, 999, msg{})
	}
	a := checkAccount(t, d)
	if a.Bytes > 10000 || a.Depth < 8 {
		t.Fatalf("%d messages, %d bytes", a.Depth, a.Bytes)
	}
	if _, ok := d.Submit(d.now(), source(0), Control, 20000, msg{}); ok {
		t.Fatal("took a message larger than the shard")
	}
	checkAccount(t, d)
}

// A flood from one source leaves room for everyone else.
func TestFairShare(t *testing.T) {
	for _, lane := range []Lane{Control, Media} {
		d := New(Config{Plane: "dht", Shards: 1, Capacity: 256}, Handler[msg](&recorder{}))
		for range 10000 {
			d.Submit(d.now(), source(0), lane, 10, msg{})
		}
		alone := checkAccount(t, d).Depth
		lost := 0
		for i := range 20 {
			for range 10 {
				d.Submit(d.now(), source(0), lane, 10, msg{})
			}
			if _, ok := d.Submit(d.now(), source(1+i), lane, 10, msg{}); !ok {
				lost++
			}
		}
		if lost > 0 {
			t.Errorf("lane %d: the flood (%d alone) cost others %d messages", lane, alone, lost)
		}
	}
}

// Under constant pressure the flood holds its share at most, and the others
// lose nothing.
func TestFairShareWhileOthersWait(t *testing.T) {
	d := New(Config{Plane: "dht", Shards: 1, Capacity: 256}, Handler[msg](&recorder{}))
	d.Submit(d.now(), source(1), Media, 10, msg{})
	for i := range 3000 {
		d.Submit(d.now(), source(0), Media, 10, msg{src: i})
	}
	sh := d.shards[0]
	if n := sh.lanes[Media].n - 1; n > 128 {
		t.Fatalf("the flood holds %d of 256", n)
	}
	for i := range 30 {
		if _, ok := d.Submit(d.now(), source(2+i), Media, 10, msg{}); !ok {
			t.Fatalf("source %d lost its message", i)
		}
	}
	hot := d.Views(time.Now())[0].HotSources
	if len(hot) == 0 || hot[0].IP != source(0).String() || hot[0].SharePct < 90 || hot[0].Dropped == 0 || hot[0].RatePPS == 0 {
		t.Fatalf("hot sources: %+v", hot)
	}
}

func TestSubmitDoesNotAllocate(t *testing.T) {
	d := New(Config{Plane: "media", Shards: 8, Capacity: 64}, Handler[msg](&recorder{}))
	i := 0
	submit := func() {
		i++
		d.Submit(d.now(), source(i%100), Lane(i&1), 100, msg{seq: i}) // taken, refused and pushing out
		if i%300 == 0 {
			for s := range 8 {
				d.shards[s].flush(ledger.ShardFlushed)
			}
		}
	}
	for range 2000 {
		submit()
	}
	if n := testing.AllocsPerRun(2000, submit); n != 0 {
		t.Errorf("%v allocations per Submit", n)
	}
	checkAccount(t, d)
}

func TestHistogram(t *testing.T) {
	var a, b histogram
	if quantileUS(&a, &b, 0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	for us := 1; us <= 10000; us++ {
		h := &a
		if us%2 == 0 {
			h = &b
		}
		h[waitBucket(int64(us)*1000)]++
	}
	for _, q := range []float64{0.5, 0.99} {
		if got := quantileUS(&a, &b, q); got < q*10000 || got > q*10000*1.26 {
			t.Errorf("quantile %v = %v us", q, got)
		}
	}
	for ns, last := int64(1), uint8(0); ns > 0; ns *= 2 {
		b := waitBucket(ns)
		if b < last || int(b) >= histBuckets {
			t.Errorf("bucket of %d is %d after %d", ns, b, last)
		}
		last = b
	}
}

// Many light sources do not hide a heavy one.
func TestTopSources(t *testing.T) {
	d := New(Config{Plane: "dht", Shards: 1, Capacity: 64}, Handler[msg](&recorder{}))
	heavy := netip.MustParseAddr("2001:db8::1")
	for i := range 20000 {
		d.Submit(d.now(), source(i), Media, 1, msg{})
		if i%5 == 0 {
			d.Submit(d.now(), heavy, Media, 1, msg{})
		}
	}
	hot := d.Views(time.Now())[0].HotSources
	if len(hot) > hotMax || hot[0].IP != "2001:db8::" || hot[0].SharePct < 12 || hot[0].SharePct > 18 {
		t.Fatalf("%+v", hot)
	}
}
