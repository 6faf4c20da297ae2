package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"signalbox/engine/ledger"
	"signalbox/engine/view"
)

// newsMax bounds the events that wait for the reporter; the oldest goes first.
const newsMax = 512

// reporter carries events from places that must not wait for a logger or an
// event sink to one goroutine that may.
type reporter struct {
	// Constant after newReporter.
	wake chan struct{}

	mu   sync.Mutex   // leaf
	news []view.Event // mu guards
	lost uint64       // mu guards
}

func newReporter() *reporter { return &reporter{wake: make(chan struct{}, 1)} }

func (r *reporter) kick() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reporter) add(ev view.Event) {
	r.mu.Lock()
	if len(r.news) >= newsMax {
		r.news = append(r.news[:0], r.news[1:]...)
		r.lost++
	}
	r.news = append(r.news, ev)
	r.mu.Unlock()
	r.kick()
}

func (r *reporter) take() (news []view.Event, lost uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	news, lost = r.news, r.lost
	r.news, r.lost = nil, 0
	return news, lost
}

// report passes events on until stop is closed and nothing is left.
func (d *Dispatcher[T]) report(stop <-chan struct{}) {
	for {
		last := false
		select {
		case <-stop:
			last = true
		case <-d.rep.wake:
		}
		news, lost := d.rep.take()
		for i := range news {
			d.emit(news[i])
		}
		if lost > 0 {
			d.log.Warn("dispatcher events suppressed", "plane", d.cfg.Plane, "count", lost)
		}
		for _, sh := range d.shards {
			d.reportDrops(sh)
		}
		if last {
			return
		}
	}
}

// event tells of something from the caller's own goroutine.
func (d *Dispatcher[T]) event(sh *shard[T], kind, severity, message string, fields map[string]any) {
	d.emit(view.Event{At: time.Now(), Kind: kind, Severity: severity, Subject: sh.subject, Message: message, Fields: fields})
}

// post tells of something from a goroutine that must not wait.
func (d *Dispatcher[T]) post(sh *shard[T], kind, severity, message string, fields map[string]any) {
	d.rep.add(view.Event{At: time.Now(), Kind: kind, Severity: severity, Subject: sh.subject, Message: message, Fields: fields})
}

func (d *Dispatcher[T]) emit(ev view.Event) {
	level := slog.LevelInfo
	switch ev.Severity {
	case view.Warn:
		level = slog.LevelWarn
	case view.Alarm:
		level = slog.LevelError
	}
	d.log.Log(context.Background(), level, "dispatch event", "detail", ev.Message, "kind", ev.Kind, "subject", ev.Subject, "fields", ev.Fields)
	d.cfg.Event(ev)
}

// burst tracks a burst of refusals in a shard, so that its first drop is told
// at once and the rest in one line per interval. The shard's mutex guards it.
type burst struct {
	state burstState
	told  uint64 // refusals told of
	at    int64  // when, ns
}

type burstState uint8

const (
	quiet burstState = iota
	begun
	announced
)

// open notes a refusal; true when somebody must be told now.
func (b *burst) open(why ledger.Reason) bool {
	if b.state != quiet || why == ledger.Draining {
		return false
	}
	b.state = begun
	return true
}

// dropNews is one line about a burst.
type dropNews struct {
	first    bool
	count    uint64 // refused since the line before
	full     uint64 // ever, by reason
	paused   uint64
	depth    int
	capacity int
	source   string // the source with the most refusals, if known
}

// dropLine says whether it is time for a line about a shard's refusals.
func (sh *shard[T]) dropLine(now int64) (n dropNews, ok bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	b := &sh.burst
	if b.state == quiet || b.state == announced && now-b.at < int64(sh.d.cfg.LogEvery) {
		return n, false
	}
	sh.settle()
	n = dropNews{
		first: b.state == begun,
		full:  sh.dropped[ledger.ShardFull], paused: sh.dropped[ledger.ShardPaused],
		depth: sh.depth(), capacity: sh.d.cfg.Capacity, source: sh.top.worst(),
	}
	n.count = n.full + n.paused - b.told
	if n.count == 0 {
		b.state = quiet
		return n, false
	}
	b.state, b.told, b.at = announced, n.full+n.paused, now
	return n, true
}

func (d *Dispatcher[T]) reportDrops(sh *shard[T]) {
	n, ok := sh.dropLine(d.now())
	if !ok {
		return
	}
	fields := map[string]any{
		"shard": sh.index, "shard_full": n.full, "shard_paused": n.paused,
		"depth": n.depth, "capacity": n.capacity, "source": n.source,
	}
	if n.first {
		fields["dropped"] = n.count
		d.event(sh, "shard_drops", view.Warn, fmt.Sprintf("dropping: queue at %d of %d", n.depth, n.capacity), fields)
		return
	}
	fields["suppressed"] = n.count
	d.event(sh, "shard_drops", view.Warn, fmt.Sprintf("still dropping: %d more in the last %s", n.count, d.cfg.LogEvery), fields)
}
