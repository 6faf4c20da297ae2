package dispatch

import (
	"time"

	"signalbox/engine/ledger"
	"signalbox/engine/view"
)

// windowLen is the length of a statistics window. Figures cover the present
// window and the one before it: the last 5 to 10 seconds.
const windowLen = int64(5 * time.Second)

// stats are a shard's figures over time. The shard's mutex guards them.
type stats struct {
	cur, prev window
	busy      int64 // ns at work, ended stretches only
	busyFrom  int64 // since when at work, 0: asleep
}

type window struct {
	start int64 // ns
	busy  int64 // stats.busyAt(start)
	waits histogram
}

func (s *stats) wake(now int64) {
	if s.busyFrom == 0 {
		s.busyFrom = now
	}
}

func (s *stats) sleep(now int64) {
	if s.busyFrom != 0 {
		s.busy += now - s.busyFrom
		s.busyFrom = 0
	}
}

func (s *stats) busyAt(now int64) int64 {
	if s.busyFrom != 0 {
		return s.busy + max(0, now-s.busyFrom)
	}
	return s.busy
}

// rotate begins a new window when the present one is over.
func (sh *shard[T]) rotate(now int64) {
	s := &sh.stats
	if now-s.cur.start < windowLen {
		return
	}
	s.prev = s.cur
	s.cur = window{start: now, busy: s.busyAt(now)}
	sh.top.rotate()
}

// peakLen is how long a peak is looked at, at least; twice that at most when
// somebody looks as often.
const peakLen = int64(time.Second)

// turnPeak begins a new peak when the present one is old.
func (sh *shard[T]) turnPeak(now int64) {
	sh.highWater = max(sh.highWater, sh.peak)
	if now-sh.peakAt >= peakLen {
		sh.peakBefore, sh.peak, sh.peakAt = sh.peak, sh.depth(), now
	}
}

// Account is the account of a shard, or of all, at one moment. It closes:
// Received = Processed + Dropped.Total() + Depth + InHand.
type Account struct {
	Received  uint64
	Processed uint64
	Dropped   ledger.Drops
	Depth     int // waiting
	InHand    int // being handled
	Bytes     int // waiting or being handled
}

// Unexplained is what the account does not explain; anything but zero is a
// defect of this package.
func (a *Account) Unexplained() int64 {
	return int64(a.Received) - int64(a.Processed) - int64(a.Dropped.Total()) - int64(a.Depth) - int64(a.InHand)
}

func (a *Account) add(o *Account) {
	a.Received += o.Received
	a.Processed += o.Processed
	a.Dropped.Add(&o.Dropped)
	a.Depth += o.Depth
	a.InHand += o.InHand
	a.Bytes += o.Bytes
}

func (sh *shard[T]) account() Account {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.accountLocked()
}

func (sh *shard[T]) accountLocked() Account {
	sh.settle()
	return Account{
		Received: sh.received, Processed: sh.processed, Dropped: sh.dropped,
		Depth: sh.depth(), InHand: sh.inHand(sh.lane),
		Bytes: sh.lanes[Control].bytes + sh.lanes[Media].bytes,
	}
}

// Account sums the shards' accounts. Each closes under its own lock, so the
// sum closes too.
func (d *Dispatcher[T]) Account() Account {
	var a Account
	for _, sh := range d.shards {
		s := sh.account()
		a.add(&s)
	}
	return a
}

// ShardAccount is the account of one shard.
func (d *Dispatcher[T]) ShardAccount(shard int) (Account, error) {
	sh, err := d.shard(shard)
	if err != nil {
		return Account{}, err
	}
	return sh.account(), nil
}

// Counts is the dispatcher's part of its plane's ledger: everything received,
// and one copy, dropped, for each message that was dropped here. What
// processed messages became is counted by whoever handled them.
func (d *Dispatcher[T]) Counts() ledger.Counts {
	c, _ := d.CountsProcessed()
	return c
}

// CountsProcessed is Counts with the number of messages handled, of the same
// moment in each shard.
func (d *Dispatcher[T]) CountsProcessed() (ledger.Counts, uint64) {
	a := d.Account()
	return ledger.Counts{Received: a.Received, Copies: a.Dropped.Total(), Dropped: a.Dropped}, a.Processed
}

// Views renders the shards for the snapshot.
func (d *Dispatcher[T]) Views(now time.Time) []view.Shard {
	out := make([]view.Shard, len(d.shards))
	at := int64(now.Sub(d.base))
	for i, sh := range d.shards {
		out[i] = sh.view(at)
	}
	return out
}

// still is what view copies under the lock, to be rendered without it.
type still[T any] struct {
	account   Account
	state     string
	highWater int
	peak      int
	oldest    int64 // ns
	last      int64 // ns
	busy      float64
	waits     [2]histogram
	panics    uint64
	restarts  uint64
	lastPanic string
	top       topSources
	elapsed   float64 // of the windows, seconds

	hand    *T
	at      int64 // ns at what it does
	what    string
	working bool
}

func (sh *shard[T]) view(now int64) view.Shard {
	s := sh.freezeFrame(now)
	v := view.Shard{
		Plane: sh.d.cfg.Plane, Index: sh.index, State: s.state,
		Depth: s.account.Depth, Capacity: sh.d.cfg.Capacity, HighWater: s.highWater, Peak: s.peak,
		Received: s.account.Received, Processed: s.account.Processed, Dropped: s.account.Dropped.Map(),
		OldestMS: ms(s.oldest), BusyPct: 100 * s.busy,
		WaitP50US: quantileUS(&s.waits[0], &s.waits[1], 0.50),
		WaitP99US: quantileUS(&s.waits[0], &s.waits[1], 0.99),
		Panics:    s.panics, Restarts: s.restarts, LastPanic: s.lastPanic,
		HotSources: s.top.hot(s.elapsed), Bytes: s.account.Bytes, LastPacketMS: -1,
	}
	if s.last > 0 {
		v.LastPacketMS = ms(max(0, now-s.last))
	}
	if s.working {
		v.Current, v.CurrentMS = s.what, ms(s.at)
		if s.hand != nil {
			v.Current = sh.d.describe(s.hand)
		}
	}
	return v
}

// freezeFrame copies the shard's state.
func (sh *shard[T]) freezeFrame(now int64) (s still[T]) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.rotate(now)
	s.account = sh.accountLocked()
	sh.turnPeak(now) // after accountLocked, which settles
	s.highWater, s.peak, s.last = sh.highWater, max(sh.peak, sh.peakBefore), sh.lastAt
	s.panics, s.restarts, s.lastPanic = sh.panics, sh.restarts, sh.lastPanic
	s.top = sh.top
	s.oldest = sh.oldest(now)
	st := &sh.stats
	s.waits[0], s.waits[1] = st.cur.waits, st.prev.waits
	length := max(1, now-st.prev.start)
	s.busy = max(0, min(1, float64(st.busyAt(now)-st.prev.busy)/float64(length)))
	s.elapsed = max(float64(length)/1e9, 0.1)
	var since int64
	if sh.run != nil {
		since = sh.run.since.Load()
	}
	if since > 0 {
		s.at = max(0, now-since)
		s.nowDoing(sh)
	}
	switch {
	case s.at >= int64(sh.d.cfg.Watchdog.WedgedAfter):
		s.state = "wedged"
	case sh.paused:
		s.state = "paused"
	case sh.resumeAt > now || sh.wantRestart:
		s.state = "restarting"
	default:
		s.state = "running"
	}
	return s
}

// nowDoing notes what the loop has in its hands.
func (s *still[T]) nowDoing(sh *shard[T]) {
	switch {
	case s.account.InHand > 0:
		s.working, s.hand = true, sh.current()
		s.what = "injected fault"
	case sh.run.flushing:
		s.working, s.what = true, "flush"
	}
}

// oldest is the age of the message that waits longest, 0 when none does.
func (sh *shard[T]) oldest(now int64) int64 {
	var age int64
	for l := range sh.lanes {
		q := &sh.lanes[l]
		if i := sh.inHand(Lane(l)); q.n > i {
			age = max(age, now-q.at(i).at)
		}
	}
	return age
}

func ms(ns int64) float64 { return float64(ns) / 1e6 }
