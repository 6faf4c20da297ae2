package dht

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// maxSeeds bounds what AddSeed takes.
const maxSeeds = 256

// seedList is the bootstrap peers: those of the Config, and those whose address
// became known later.
type seedList struct {
	mu   sync.Mutex // serialises writers
	list atomic.Pointer[[]Seed]
}

// all is the list, not to be changed.
func (l *seedList) all() []Seed { return *l.list.Load() }

// AddSeed adds a bootstrap peer, or gives one its new address, and has an
// isolated node try it now.
func (n *Node) AddSeed(s Seed) error {
	switch {
	case s.ID.IsZero() || !s.Addr.IsValid():
		return fmt.Errorf("%w: a seed is ID@ADDR", ErrConfig)
	case s.ID == n.cfg.ID:
		return nil // we need not be told of ourselves
	}
	l := &n.seeds
	l.mu.Lock()
	defer l.mu.Unlock()
	next := slices.DeleteFunc(slices.Clone(l.all()), func(o Seed) bool { return o.ID == s.ID })
	if len(next) >= maxSeeds {
		return ErrBusy
	}
	next = append(next, s)
	l.list.Store(&next)
	n.wake()
	return nil
}
