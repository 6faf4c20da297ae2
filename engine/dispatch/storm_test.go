package dispatch

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/engine/ledger"
)

// The storm that stopped a thousand nodes: everybody announces, asks and
// answers within a second, and each message waits 2 ms for a registration.
const (
	stormPeers    = 1000
	stormRegister = 2 * time.Millisecond
	stormSpacing  = time.Millisecond + 1 // between peers; so that no two things happen at one moment
)

type stormKind uint8

const (
	announce stormKind = iota
	request
	reply
	stormKinds
)

var stormMix = []stormKind{announce, request, request, request, reply}

// crowd are the peers' addresses. Which shard an address goes to is not the same
// in two runs, since the hash is keyed; which shard the n-th peer goes to is.
func crowd[T any](d *Dispatcher[T], seed uint64) []netip.Addr {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var of [8][]netip.Addr
	for i := 0; slices.ContainsFunc(of[:], func(l []netip.Addr) bool { return len(l) < stormPeers/4 }); i++ {
		sh := d.ShardOf(source(i))
		of[sh] = append(of[sh], source(i))
	}
	peers := make([]netip.Addr, stormPeers)
	for p := range peers {
		sh := rnd.IntN(len(of))
		peers[p], of[sh] = of[sh][0], of[sh][1:]
	}
	return peers
}

// storm offers every peer's messages.
func storm(peers []netip.Addr, offer func(src netip.Addr, k stormKind)) {
	for _, p := range peers {
		for _, k := range stormMix {
			offer(p, k)
			synctest.Wait() // the loops have taken what they take: every run is the same
		}
		time.Sleep(stormSpacing)
	}
}

// oldDesign is the design that failed (spec dht 5.1-5.4): one dispatcher, an
// unkeyed hash, eight channels, drop when full whatever it is, and a global
// lock held while the registration is awaited.
type oldDesign struct {
	shards  [8]chan stormKind
	global  chan struct{} // the lock: a channel, so that virtual time passes while it is held
	dropped [stormKinds]int
	handled [stormKinds]atomic.Int64
}

func newOldDesign(slots int) *oldDesign {
	o := &oldDesign{global: make(chan struct{}, 1)}
	for i := range o.shards {
		o.shards[i] = make(chan stormKind, slots)
		go func() {
			for k := range o.shards[i] {
				o.global <- struct{}{}
				time.Sleep(stormRegister)
				<-o.global
				o.handled[k].Add(1)
			}
		}()
	}
	return o
}

func (o *oldDesign) offer(src netip.Addr, k stormKind) {
	f := fnv.New64a()
	b := src.As4()
	f.Write(b[:])
	select {
	case o.shards[f.Sum64()%8] <- k:
	default:
		o.dropped[k]++
	}
}

func (o *oldDesign) stop() {
	for _, ch := range o.shards {
		close(ch)
	}
}

// stormHandler waits for the same registration, on every message, but holds
// nothing while it does.
type stormHandler struct{ handled [stormKinds]atomic.Int64 }

func (h *stormHandler) Handle(_ int, k *stormKind, _ int64) {
	time.Sleep(stormRegister)
	h.handled[*k].Add(1)
}
func (h *stormHandler) Flush(int)                    {}
func (h *stormHandler) Describe(k *stormKind) string { return fmt.Sprint("storm ", *k) }

func TestStorm(t *testing.T) {
	for _, slots := range []int{32, 256} {
		t.Run(fmt.Sprintf("old design, %d slots", slots), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				o := newOldDesign(slots)
				peers := make([]netip.Addr, stormPeers)
				for p := range peers {
					peers[p] = source(p)
				}
				storm(peers, o.offer)
				o.stop()
				time.Sleep(time.Minute)
				t.Logf("of %d announces lost %d, of %d replies lost %d, of %d requests lost %d (%v simulated)",
					stormPeers, o.dropped[announce], stormPeers, o.dropped[reply], 3*stormPeers, o.dropped[request], time.Since(start))
				if o.dropped[announce] == 0 {
					t.Error("the stand-in no longer shows the fault it stands for")
				}
			})
		})
	}
	for _, slots := range []int{32, 256} {
		for _, seed := range []uint64{0, 1, 2, 3, 514} { // the last, of 2,000, is the one that lost a reply while media had a turn of its own
			t.Run(fmt.Sprintf("this dispatcher, %d slots, seed %d", slots, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { weather(t, slots, seed) })
			})
		}
	}
}

// weather puts the storm on this dispatcher, which must keep all control.
func weather(t *testing.T, slots int, seed uint64) {
	h := &stormHandler{}
	d := New(Config{Plane: "dht", Capacity: slots}, Handler[stormKind](h))
	defer background(t, d)()
	var lost [stormKinds]int
	start := time.Now()
	storm(crowd(d, seed), func(src netip.Addr, k stormKind) {
		lane := Control
		if k == request {
			lane = Media
		}
		if _, ok := d.Submit(d.now(), src, lane, 200, k); !ok {
			lost[k]++
		}
		checkAccount(t, d)
	})
	time.Sleep(time.Minute)
	synctest.Wait()
	a := checkAccount(t, d)
	high := 0
	for _, v := range d.Views(time.Now()) {
		high = max(high, v.HighWater)
	}
	t.Logf("of %d announces lost %d, of %d replies lost %d, of %d requests lost %d; deepest queue %d (%v simulated)",
		stormPeers, lost[announce], stormPeers, lost[reply], 3*stormPeers, 3*stormPeers-int(h.handled[request].Load()), high, time.Since(start))
	if h.handled[announce].Load() != stormPeers || h.handled[reply].Load() != stormPeers {
		t.Errorf("control lost: %v announces, %v replies handled", h.handled[announce].Load(), h.handled[reply].Load())
	}
	if a.Received != uint64(stormPeers*len(stormMix)) || a.Received != a.Processed+a.Dropped[ledger.ShardFull] {
		t.Errorf("%+v", a)
	}
}
