package dht

import (
	"net/netip"
	"sync"

	"signalbox/dht/table"
)

// sentBook remembers where we have sent anything lately: who comes from
// elsewhere has found us without our NAT's help.
type sentBook struct {
	mu      sync.Mutex // a leaf; guards the fields below
	at      map[netip.AddrPort]int64
	blind   int64 // before that time the book is not complete
	links   int64 // when those with a link were noted last
	lenient bool  // AllowLoopback: by port too; constant
}

func (b *sentBook) init(lenient bool) {
	b.at, b.blind, b.links, b.lenient = map[netip.AddrPort]int64{}, longAgo, longAgo, lenient
}

func (b *sentBook) key(to netip.AddrPort) netip.AddrPort {
	to = table.Canonical(to)
	if b.lenient {
		return to
	}
	return netip.AddrPortFrom(to.Addr(), 0)
}

// mark notes that something is sent to an address now.
func (b *sentBook) mark(to netip.AddrPort, now int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.key(to)
	if _, known := b.at[k]; !known && len(b.at) >= maxSent {
		for x, at := range b.at {
			if now-at > int64(sentFor) {
				delete(b.at, x)
			}
		}
		if len(b.at) >= maxSent {
			b.blind = now + int64(sentFor)
			return
		}
	}
	b.at[k] = now
}

// again says, once in a while, that it is time to note all who have a link:
// something is sent to them all the time.
func (b *sentBook) again(now int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.links != longAgo && now-b.links < int64(sentAgain) {
		return false
	}
	b.links = now
	return true
}

// never reports that nothing was sent to an address lately, for certain.
func (b *sentBook) never(to netip.AddrPort, now int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, known := b.at[b.key(to)]
	return now >= b.blind && (!known || now-at > int64(sentFor))
}
