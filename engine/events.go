package engine

import (
	"sync"
	"time"

	"signalbox/engine/view"
)

// eventCap bounds the event ring; a reader that falls further behind is told
// how many it missed (contract section 2).
const eventCap = 4096

// eventLog is a bounded ring of must-see news.
type eventLog struct {
	tap func(*view.Event) // constant after New; nil: nobody is shown them

	mu   sync.Mutex // leaf
	ring []view.Event
	next uint64 // sequence number the next event gets; the first is 1
}

func newEventLog() *eventLog { return &eventLog{ring: make([]view.Event, 0, 64), next: 1} }

// add stores ev under the next sequence number and returns that number. A zero
// time is filled in, and so are fields that there are none of: readers find an
// object there (contract section 2).
func (l *eventLog) add(ev view.Event) uint64 {
	if ev.At.IsZero() {
		ev.At = time.Now()
	}
	ev.At = ev.At.UTC()
	if ev.Severity == "" {
		ev.Severity = view.Info
	}
	if ev.Fields == nil {
		ev.Fields = map[string]any{}
	}
	if l.tap != nil {
		l.tap(&ev)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ev.Seq = l.next
	l.next++
	if len(l.ring) < eventCap {
		l.ring = append(l.ring, ev)
	} else {
		l.ring[(ev.Seq-1)%eventCap] = ev
	}
	return ev.Seq
}

// after returns the events with a sequence number above seq, oldest first, and
// how many of those the ring no longer holds.
func (l *eventLog) after(seq uint64) ([]view.Event, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq >= l.next-1 { // not seq+1, which may overflow
		return nil, 0
	}
	first := l.next - uint64(len(l.ring))
	from := seq + 1
	var missed uint64
	if from < first {
		missed = first - from
		from = first
	}
	out := make([]view.Event, 0, l.next-from)
	for s := from; s < l.next; s++ {
		out = append(out, l.ring[(s-1)%eventCap])
	}
	return out, missed
}

// endingLog keeps the last connections that ended, and why (reliability N10).
type endingLog struct {
	mu   sync.Mutex // leaf
	ring []view.Ending
	pos  int
}

const (
	endingCap   = 4096
	endingShown = 64 // a snapshot carries the newest few
)

func (l *endingLog) add(e view.Ending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ring) < endingCap {
		l.ring = append(l.ring, e)
		return
	}
	l.ring[l.pos] = e
	l.pos = (l.pos + 1) % endingCap
}

// newest returns up to endingShown endings, newest first.
func (l *endingLog) newest() []view.Ending {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.ring), endingShown)
	out := make([]view.Ending, 0, n)
	for i := 1; i <= n; i++ {
		out = append(out, l.ring[(l.pos-i+2*len(l.ring))%len(l.ring)])
	}
	return out
}
