package dispatch

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/engine/ledger"
	"signalbox/engine/view"
)

// load submits 2,000 messages a second from 64 sources, round robin, for a
// time, and returns how many of each shard were refused.
func load(d *Dispatcher[msg], span time.Duration) (refused [8]int) {
	for i := range int(span.Seconds() * 2000) {
		src := source(i % 64)
		if _, ok := d.Submit(d.now(), src, Media, 120, msg{src: i % 64, seq: i}); !ok {
			refused[d.ShardOf(src)]++
		}
		time.Sleep(500 * time.Microsecond)
	}
	return refused
}

// One shard out of order, whichever way, costs the other seven nothing.
func TestIsolation(t *testing.T) {
	ways := map[string]func(d *Dispatcher[msg], shard int, release chan struct{}) error{
		"paused": func(d *Dispatcher[msg], shard int, _ chan struct{}) error { return d.Pause(shard) },
		"stuck": func(d *Dispatcher[msg], shard int, release chan struct{}) error {
			return d.Inject(shard, func() { <-release })
		},
		"panicking": func(d *Dispatcher[msg], shard int, _ chan struct{}) error {
			var again func()
			again = func() {
				if err := d.Inject(shard, again); err != nil {
					return
				}
				panic("again")
			}
			return d.Inject(shard, again)
		},
	}
	for name, hurt := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := &recorder{}
				d := New(Config{Plane: "media"}, Handler[msg](rec))
				defer background(t, d)()
				release := make(chan struct{})
				defer close(release)
				if err := hurt(d, 3, release); err != nil {
					t.Fatal(err)
				}
				refused := load(d, 4*time.Second)
				synctest.Wait()
				for i, n := range refused {
					if i != 3 && n > 0 {
						t.Errorf("shard %d refused %d", i, n)
					}
				}
				checkAccount(t, d)
				t.Log("refused per shard:", refused)
			})
		})
	}
}

// T03: a wedge is shown within 2 s, replaced within 10 s, and the account of
// it is exact; the loop left behind touches nothing when it comes back.
// stuckHere is what a wedged loop's stack must name.
//
//go:noinline
func stuckHere(until chan struct{}) { <-until }

// stuckElsewhere is what a handler started, and no part of that stack.
//
//go:noinline
func stuckElsewhere(until chan struct{}) { <-until }

func TestWedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, evs := &recorder{}, &eventLog{}
		d := New(Config{Plane: "media", Event: evs.add}, Handler[msg](rec))
		defer background(t, d)()
		release := make(chan struct{})
		shard := 3
		src := sourceIn(d, shard, 0)
		start := time.Now()
		// The poison is the second of a batch whose rest must survive it.
		if err := d.Pause(shard); err != nil {
			t.Fatal(err)
		}
		d.Resume(shard)
		d.Submit(d.now(), src, Media, 1, msg{seq: 0, do: func() {
			for i := 1; i < 10; i++ {
				m := msg{seq: i}
				if i == 3 {
					m.do = func() { go stuckElsewhere(release); stuckHere(release) }
				}
				d.Submit(d.now(), src, Media, 1, m)
			}
		}})
		synctest.Wait()
		if a, _ := d.ShardAccount(shard); a.InHand != 1 || a.Depth != 6 || a.Processed != 3 {
			t.Fatalf("before: %+v", a)
		}
		time.Sleep(2*time.Second - time.Since(start))
		synctest.Wait()
		v := d.Views(time.Now())[shard]
		if v.State != "wedged" || v.Current != "message 0/3" || v.CurrentMS < 1500 {
			t.Fatalf("after 2 s: %+v", v)
		}
		if w := evs.of("shard_wedged"); len(w) != 1 || !strings.Contains(w[0].Message, "message 0/3") {
			t.Fatalf("%+v", w)
		} else if s, _ := w[0].Fields["stack"].(string); !strings.Contains(s, "stuckHere") || strings.Contains(s, "stuckElsewhere") {
			t.Fatalf("the stack does not say where it is stuck: %q", s)
		}
		time.Sleep(10*time.Second - time.Since(start))
		synctest.Wait()
		v = d.Views(time.Now())[shard]
		if v.State != "running" || v.Restarts != 1 || v.Processed != 9 || v.Dropped["shard_replaced"] != 1 {
			t.Fatalf("after 10 s: %+v", v)
		}
		repl := evs.of("shard_replaced")
		if len(repl) != 1 || repl[0].Severity != view.Alarm || repl[0].Fields["message"] != "message 0/3" || repl[0].Subject != "media/3" {
			t.Fatalf("%+v", repl)
		}
		before := checkAccount(t, d)
		close(release)
		synctest.Wait()
		if after := checkAccount(t, d); after != before {
			t.Fatalf("the loop left behind changed the account: %+v, then %+v", before, after)
		}
		if n := d.shards[shard].left; n != 0 {
			t.Fatalf("%d loops still counted as stuck", n)
		}
		d.Submit(d.now(), src, Media, 1, msg{})
		synctest.Wait()
		if a := checkAccount(t, d); a.Processed != 10 {
			t.Fatalf("%+v", a)
		}
	})
}

// All goroutines are asked where they are once for all the loops that are stuck,
// and not again soon, however many get stuck.
func TestStacksAreTakenRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		evs := &eventLog{}
		d := New(Config{Plane: "media", Event: evs.add}, Handler[msg](&recorder{}))
		defer background(t, d)()
		told := func(shards ...int) (with, without int) {
			release := make(chan struct{})
			before := len(evs.of("shard_wedged"))
			for _, sh := range shards {
				if err := d.Inject(sh, func() { stuckHere(release) }); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * time.Second)
			close(release)
			synctest.Wait()
			for _, e := range evs.of("shard_wedged")[before:] {
				if s, _ := e.Fields["stack"].(string); strings.Contains(s, "stuckHere") {
					with++
				} else {
					without++
				}
			}
			return with, without
		}
		if with, without := told(0, 1, 2, 3, 4); with != 5 || without != 0 {
			t.Errorf("of five at once, %d with a stack and %d without", with, without)
		}
		if with, without := told(5, 6); with != 0 || without != 2 {
			t.Errorf("soon after, %d with a stack and %d without", with, without)
		}
		time.Sleep(stacksEvery)
		if with, without := told(7); with != 1 || without != 0 {
			t.Errorf("later, %d with a stack and %d without", with, without)
		}
	})
}

// A Flush that never returns is a wedge too, but no message was in hand.
func TestWedgedFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		rec := &recorder{onFlush: func() { <-release }}
		evs := &eventLog{}
		d := New(Config{Plane: "media", Shards: 1, Event: evs.add}, Handler[msg](rec))
		defer background(t, d)()
		d.Submit(d.now(), source(0), Media, 1, msg{})
		synctest.Wait()
		if v := d.Views(time.Now())[0]; v.Current != "flush" {
			t.Fatalf("current is %q", v.Current)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		a := checkAccount(t, d)
		if a.Processed != 1 || a.Dropped.Total() != 0 || len(evs.of("shard_replaced")) != 1 {
			t.Fatalf("%+v", a)
		}
		close(release)
	})
}

// T04: a thousand panics, each contained, each message counted, no other lost.
func TestPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, evs := &recorder{}, &eventLog{}
		d := New(Config{Plane: "dht", Shards: 1, Capacity: 4096, Event: evs.add}, Handler[msg](rec))
		defer background(t, d)()
		const panics = 1000
		for i := range panics {
			d.Submit(d.now(), source(i), Media, 1, msg{seq: i, do: func() { explode(i) }})
			d.Submit(d.now(), source(i), Media, 1, msg{seq: i})
			synctest.Wait()
			if i == 0 {
				if v := d.Views(time.Now())[0]; v.State != "restarting" {
					t.Fatalf("state %s", v.State)
				}
			}
			time.Sleep(100 * time.Millisecond) // back within this
			synctest.Wait()
			if a := d.Account(); a.Processed != uint64(i+1) || a.Depth != 0 {
				t.Fatalf("100 ms after panic %d: %+v", i, a)
			}
		}
		v := d.Views(time.Now())[0]
		if v.Panics != panics || v.Dropped["shard_panic"] != panics || v.Processed != panics || v.State != "running" {
			t.Fatalf("%+v", v)
		}
		if !strings.Contains(v.LastPanic, "dispatch.explode") || !strings.HasPrefix(v.LastPanic, "poison 999") {
			t.Fatalf("last panic: %s", v.LastPanic)
		}
		news := evs.of("shard_panic")
		if len(news) != panics || news[0].Severity != view.Alarm || news[0].Fields["message"] != "message 0/0" ||
			news[2].Fields["input"] != "0002" || news[2].Fields["input_bytes"] != 2 ||
			news[0].Fields["shard"] != 0 || !strings.Contains(news[0].Fields["stack"].(string), "dispatch.explode") {
			t.Fatalf("%d events, first %+v", len(news), news[0])
		}
		checkAccount(t, d)
	})
}

func explode(i int) { panic("poison " + itoa(i)) }

func itoa(i int) string {
	if i < 10 {
		return string(rune('0' + i))
	}
	return itoa(i/10) + string(rune('0'+i%10))
}

// A batch of nothing but poison, a panicking Flush, a Goexit, a panicking
// Describe: all contained.
func TestPanicsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		d := New(Config{Plane: "dht", Shards: 1}, Handler[msg](rec))
		defer background(t, d)()
		for i := range 20 {
			d.Submit(d.now(), source(i), Media, 1, msg{seq: i, do: func() { panic(errors.New("poison")) }})
		}
		d.Submit(d.now(), source(0), Control, 1, msg{do: runtime.Goexit})
		d.Submit(d.now(), source(0), Media, 1, msg{seq: 100})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if a := checkAccount(t, d); a.Processed != 1 || a.Dropped[ledger.ShardPanic] != 21 {
			t.Fatalf("%+v", a)
		}
		rec.mu.Lock()
		rec.onFlush = func() { panic("flush") }
		rec.mu.Unlock()
		d.Submit(d.now(), source(0), Media, 1, msg{})
		time.Sleep(time.Second)
		synctest.Wait()
		v := d.Views(time.Now())[0]
		if v.Panics != 22 || v.Processed != 2 || v.State != "running" {
			t.Fatalf("%+v", v)
		}
	})
}

func TestPauseFlushRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, evs := &recorder{}, &eventLog{}
		d := New(Config{Plane: "media", Shards: 1, Event: evs.add}, Handler[msg](rec))
		stop := background(t, d)
		hold := make(chan struct{})
		d.Submit(d.now(), source(0), Media, 1, msg{do: func() { <-hold }})
		for i := range 10 {
			d.Submit(d.now(), source(i), Media, 1, msg{seq: i})
		}
		synctest.Wait()
		must(t, d.Pause(0))
		must(t, d.Pause(0))
		close(hold)
		synctest.Wait()
		if a := checkAccount(t, d); a.Processed != 1 || a.Depth != 10 || a.InHand != 0 {
			t.Fatalf("paused: %+v", a)
		}
		if r, ok := d.Submit(d.now(), source(0), Control, 1, msg{}); ok || r != ledger.ShardPaused {
			t.Fatalf("paused shard: %v %v", r, ok)
		}
		must(t, d.Restart(0))
		synctest.Wait()
		v := d.Views(time.Now())[0]
		if v.State != "paused" || v.Depth != 10 || v.Restarts != 1 {
			t.Fatalf("restarted while paused: %+v", v)
		}
		must(t, d.Resume(0))
		synctest.Wait()
		if a := checkAccount(t, d); a.Processed != 11 || a.Dropped[ledger.ShardPaused] != 1 {
			t.Fatalf("resumed: %+v", a)
		}
		hold = make(chan struct{})
		d.Submit(d.now(), source(0), Media, 1, msg{do: func() { <-hold }})
		synctest.Wait()
		for i := range 10 {
			d.Submit(d.now(), source(i), Lane(i&1), 1, msg{seq: i})
		}
		must(t, d.Flush(0))
		if a := checkAccount(t, d); a.Dropped[ledger.ShardFlushed] != 10 || a.InHand != 1 || a.Depth != 0 {
			t.Fatalf("flushed: %+v", a)
		}
		close(hold)
		synctest.Wait()
		for kind, want := range map[string]int{"shard_paused": 1, "shard_resumed": 1, "shard_flushed": 1, "shard_restarted": 1, "shard_drops": 1} {
			if n := len(evs.of(kind)); n != want {
				t.Errorf("%d %s events, want %d", n, kind, want)
			}
		}
		if err := d.Pause(8); !errors.Is(err, ErrNoShard) {
			t.Errorf("pausing shard 8: %v", err)
		}
		stop()
		if r, ok := d.Submit(d.now(), source(0), Media, 1, msg{}); ok || r != ledger.Draining {
			t.Errorf("after the end: %v %v", r, ok)
		}
		if err := d.Restart(0); !errors.Is(err, ErrStopped) {
			t.Errorf("restart after the end: %v", err)
		}
		if err := d.Run(context.Background()); err == nil {
			t.Error("ran twice")
		}
		checkAccount(t, d)
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An operator's restart of a wedged shard does not wait for the watchdog.
func TestRestartWedged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(Config{Plane: "media", Shards: 1}, Handler[msg](&recorder{}))
		defer background(t, d)()
		release := make(chan struct{})
		must(t, d.Inject(0, func() { <-release }))
		time.Sleep(1600 * time.Millisecond)
		if v := d.Views(time.Now())[0]; v.State != "wedged" || v.Current != "injected fault" {
			t.Fatalf("%+v", v)
		}
		must(t, d.Restart(0))
		d.Submit(d.now(), source(0), Media, 1, msg{})
		synctest.Wait()
		if a := checkAccount(t, d); a.Processed != 1 || a.Dropped[ledger.ShardReplaced] != 1 {
			t.Fatalf("%+v", a)
		}
		close(release)
	})
}

// Run ends although a loop is stuck, and what waited is accounted for.
func TestStopWithStuckLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(Config{Plane: "media", Shards: 2}, Handler[msg](&recorder{}))
		stop := background(t, d)
		release := make(chan struct{})
		must(t, d.Inject(1, func() { <-release }))
		synctest.Wait()
		for i := range 20 {
			d.Submit(d.now(), source(i), Media, 1, msg{})
		}
		start := time.Now()
		stop()
		if took := time.Since(start); took > 1100*time.Millisecond {
			t.Errorf("the end took %v", took)
		}
		a := checkAccount(t, d)
		if a.Depth+a.InHand != 0 || a.Dropped[ledger.ShardReplaced] != 1 {
			t.Fatalf("%+v", a)
		}
		close(release)
		synctest.Wait()
		if after := checkAccount(t, d); after != a {
			t.Fatalf("changed after the end: %+v", after)
		}
	})
}

// The first drop of a burst is told at once, then one line per interval.
func TestDropsAreToldInMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		evs := &eventLog{}
		d := New(Config{Plane: "media", Shards: 1, Event: evs.add}, Handler[msg](&recorder{}))
		defer background(t, d)()
		must(t, d.Pause(0))
		for range 12 * 100 { // 12 s at 100/s
			d.Submit(d.now(), source(0), Media, 1, msg{})
			synctest.Wait()
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		news := evs.of("shard_drops")
		if len(news) != 4 || news[0].Fields["dropped"] != uint64(1) {
			t.Fatalf("%d lines: %+v", len(news), news)
		}
		total := uint64(1)
		for _, ev := range news[1:] {
			total += ev.Fields["suppressed"].(uint64)
		}
		if total != 1200 || news[1].Fields["source"] != source(0).String() {
			t.Fatalf("the lines tell of %d drops: %+v", total, news[1])
		}
		d.Submit(d.now(), source(0), Media, 1, msg{})
		synctest.Wait()
		if n := len(evs.of("shard_drops")); n != 5 {
			t.Fatalf("a new burst is not told: %d lines", n)
		}
	})
}

// The figures a console shows, from a shard with a known rhythm.
func TestViewFigures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(Config{Plane: "media", Shards: 1}, Handler[msg](&recorder{}))
		defer background(t, d)()
		work := func() { time.Sleep(5 * time.Millisecond) }
		for range 1000 { // two at once every 20 ms: busy half the time, one of two waits 5 ms
			d.Submit(d.now(), source(0), Media, 1, msg{do: work})
			d.Submit(d.now(), source(0), Media, 1, msg{do: work})
			time.Sleep(20 * time.Millisecond)
		}
		v := d.Views(time.Now())[0]
		if v.BusyPct < 48 || v.BusyPct > 52 || v.WaitP50US > 1 || v.WaitP99US < 5000 || v.WaitP99US > 6300 {
			t.Errorf("busy %v %%, wait %v / %v us", v.BusyPct, v.WaitP50US, v.WaitP99US)
		}
		if h := v.HotSources; len(h) != 1 || h[0].RatePPS < 95 || h[0].RatePPS > 105 || h[0].SharePct != 100 {
			t.Errorf("hot: %+v", h)
		}
		if v.HighWater != 1 && v.HighWater != 2 {
			t.Errorf("high water %d", v.HighWater)
		}
		for range 4 {
			d.Submit(d.now(), source(0), Media, 10, msg{do: work})
		}
		time.Sleep(7 * time.Millisecond)
		v = d.Views(time.Now())[0]
		if v.Depth != 2 || v.OldestMS != 7 || v.CurrentMS != 2 || v.Bytes != 30 || v.Current != "message 0/0" {
			t.Errorf("depth %d oldest %v current %v %q bytes %d", v.Depth, v.OldestMS, v.CurrentMS, v.Current, v.Bytes)
		}
	})
}
