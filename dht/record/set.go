package record

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"time"
)

// Bounds of what is kept under one key.
const (
	MaxPerKey    = 16 // publishers: a room has a handful of relays
	MaxPerSource = 2  // of them from one network, so that eight networks are needed to fill a key
)

// Refusals of Put.
var (
	ErrStale   = errors.New("record: a newer one is there")
	ErrKeyFull = errors.New("record: the key has all the publishers it may have")
	ErrCrowded = errors.New("record: the key has enough publishers of this network")
)

// Entry is a record and where it came from.
type Entry struct {
	*Signed
	Source netip.Prefix
}

// Put adds e to the records of one key and returns the new set; set itself is
// not modified. What has expired goes. Of one publisher the greatest sequence
// holds. A live record never makes way for another publisher's: when the key
// is full, or has perSource live ones of e's network, e is refused. Only
// withdrawals, which are kept so that an older record cannot come back, make
// way, the one that ends first. e must be fresh.
func Put(set []Entry, e Entry, perSource int, now time.Time) ([]Entry, error) {
	next := make([]Entry, 0, len(set)+1)
	same, crowd := -1, 0
	for _, x := range set {
		switch {
		case x.Fresh(now) != nil:
			continue
		case x.By == e.By:
			same = len(next)
		case x.Source == e.Source && !x.Withdrawn():
			crowd++
		}
		next = append(next, x)
	}
	if same >= 0 {
		switch old := next[same]; {
		case e.Sequence < old.Sequence, e.Sequence == old.Sequence && !bytes.Equal(e.Raw, old.Raw):
			return set, ErrStale
		case e.Sequence == old.Sequence:
			return set, nil // again: nothing changes
		}
	} else if e.Withdrawn() {
		return next, nil // nothing to withdraw, and nobody else can bring it
	}
	if !e.Withdrawn() && crowd >= perSource {
		return set, ErrCrowded
	}
	switch {
	case same >= 0:
		next[same] = e
	case len(next) < MaxPerKey:
		next = append(next, e)
	default:
		i := firstWithdrawn(next)
		if i < 0 {
			return set, ErrKeyFull
		}
		next[i] = e
	}
	slices.SortFunc(next, func(a, b Entry) int { return bytes.Compare(a.By[:], b.By[:]) })
	return next, nil
}

// firstWithdrawn is the withdrawal that ends first, -1 when there is none.
func firstWithdrawn(set []Entry) int {
	best := -1
	for i, x := range set {
		if x.Withdrawn() && (best < 0 || x.Expires().Before(set[best].Expires())) {
			best = i
		}
	}
	return best
}
