package dht

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	mrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
	"signalbox/engine/view"
)

// Periods (spec dht 1.10); every wait is jittered.
const (
	firstSelfLookup  = 10 * time.Second
	selfLookupEvery  = 450 * time.Second // 225-675 s; the original: 300-600 s
	refreshEvery     = 2 * time.Minute
	refreshAfter     = 900 * time.Second // a bucket without proof of life or probe since then
	refreshPerPass   = 4
	checkEvery       = 15 * time.Second
	checksPerPass    = 8  // at least
	checkPasses      = 24 // in which every contact could be asked once: in six minutes
	suspectsEvery    = 3  // passes between two probes of one that did not answer
	readmitPerPass   = 16
	probesAtOnce     = 8
	askSeeds         = 4 // asked beside the neighbours in a self-lookup
	askOthers        = 2
	askConnects      = 3
	maxWitnesses     = 2
	bootEvery        = 15 * time.Second
	bootBackoff      = time.Second
	bootBackoffMax   = time.Minute
	bootContacts     = 8 // contacts re-dialled beside the seeds when isolated
	thinTable        = 8 // with fewer contacts after the first look, it is tried again
	thinLooks        = 6 // within two minutes, at most: there may be no more
	removeAfterStale = 2 // failed probes in a row that remove a stale contact
	removeAfterFresh = 4 // and one that was heard within LiveThreshold
)

// bootstrapJob gets the node into the network, and back into it when all
// links are gone.
func (n *Node) bootstrapJob() func(ctx context.Context, woken bool) time.Duration {
	backoff, looks, isolated, connected, first := bootBackoff, 0, false, false, true
	return func(ctx context.Context, woken bool) time.Duration {
		if woken && !first && !sleep(ctx, jitter(bootBackoff)) { // a lost network takes all links at once
			return 0
		}
		first = false
		wait := bootEvery
		if n.reg.peers.Load() == 0 && n.hasTargets() && !n.bootstrap(ctx) {
			connected = false
			if !isolated && ctx.Err() == nil && !n.restored.pending() {
				isolated = true
				n.event(view.Warn, "dht.isolated", "dht", "no DHT peer can be reached; trying on", map[string]any{"seeds": len(n.seeds.all())})
			}
			wait, backoff = backoff, min(2*backoff, bootBackoffMax)
		} else if n.reg.peers.Load() > 0 {
			if isolated || !connected { // by our dial or by theirs
				n.event(view.Info, "dht.bootstrapped", "dht", "connected to the DHT", map[string]any{"peers": n.table.Len()})
				looks = 0
			}
			isolated, connected, backoff = false, true, bootBackoff
			if looks == 0 || looks < thinLooks && n.table.Len() < thinTable {
				looks++
				n.selfLookup(ctx)
				wait = bootBackoff << looks
			}
		}
		return jitter(wait)
	}
}

// hasTargets reports whether there is anybody to dial for an isolated node.
func (n *Node) hasTargets() bool {
	return len(n.seeds.all()) > 0 || n.table.Len() > 0 || n.restored.len() > 0
}

// bootstrap dials the seeds, the contacts heard last and some of the restored
// candidates, all at once, and is content with the first that connects,
// whoever dialled; the others go on.
func (n *Node) bootstrap(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*dialTimeout)
	defer cancel()
	type target struct {
		id    table.ID
		addrs []table.Addr
	}
	var targets []target
	for _, s := range n.seeds.all() {
		targets = append(targets, target{s.ID, []table.Addr{{AddrPort: s.Addr, Type: table.Unverified}}})
	}
	known := n.table.Contacts(nil)
	slices.SortFunc(known, func(a, b *table.Contact) int { return cmp.Compare(b.LastSeen(), a.LastSeen()) })
	for _, c := range known[:min(len(known), bootContacts)] {
		targets = append(targets, target{c.ID(), c.Addrs()})
	}
	for _, p := range n.restored.batch(redialIsolated) {
		targets = append(targets, target{p.ID, p.Addrs})
	}
	results := make(chan error, len(targets))
	var wg sync.WaitGroup
	for _, t := range targets {
		wg.Go(func() {
			_, err := n.connect(ctx, t.id, t.addrs, true)
			results <- err
		})
	}
	defer wg.Wait()
	defer cancel() // before Wait: only the waiting ends, the dials go on
	for left := len(targets); left > 0; {
		select {
		case err := <-results:
			if err == nil {
				return true
			}
			left--
		case <-n.wakeBoot:
			if n.reg.peers.Load() > 0 {
				return true
			}
		}
	}
	return false
}

// selfLookupPass keeps the neighbourhood known, and the seeds connected, since
// two halves of a parted network find each other through nothing else.
func (n *Node) selfLookupPass(ctx context.Context, _ bool) time.Duration {
	for _, s := range n.seeds.all() {
		if n.table.Get(s.ID) != nil {
			continue
		}
		if _, err := n.connect(ctx, s.ID, []table.Addr{{AddrPort: s.Addr, Type: table.Unverified}}, true); err != nil {
			n.log.Debug("dht seed not reached", "seed", s.ID.Short(), "err", err)
		}
	}
	n.selfLookup(ctx)
	return jitter(selfLookupEvery)
}

func (n *Node) selfLookup(ctx context.Context) {
	if n.table.Len() == 0 {
		return
	}
	n.askWide(ctx)
	if _, err := n.LookupAs(ctx, n.cfg.ID, Ask{For: ForSelf, Label: "our own id"}); err != nil && ctx.Err() == nil {
		n.log.Debug("dht self-lookup failed", "err", err)
	}
}

// askWide asks the seeds and some other contacts who is near us, and connects
// to those we do not know. A lookup begins with our own neighbours, who after a
// parting know as little of the other half as we do; those here may know more.
func (n *Node) askWide(ctx context.Context) {
	var ask []*session
	for _, s := range n.seeds.all() {
		if link := n.reg.best(s.ID); link != nil && len(ask) < askSeeds {
			ask = append(ask, link)
		}
	}
	others := n.table.Contacts(nil)
	mrand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	for _, c := range others[:min(len(others), askOthers)] {
		if link := n.reg.best(c.ID()); link != nil {
			ask = append(ask, link)
		}
	}
	var wg sync.WaitGroup
	for _, s := range ask {
		wg.Go(func() { n.contain("ask wide", func() { n.askNear(ctx, s) }) })
	}
	wg.Wait()
}

// askNear asks one peer who is near us and connects to the nearest it names.
func (n *Node) askNear(ctx context.Context, s *session) {
	m, _, err := n.request(ctx, s, wire.Nodes, func(buf []byte, req uint64) []byte {
		return wire.AppendFindNode(buf, req, &n.cfg.ID)
	})
	if err != nil {
		return
	}
	local := table.LocalScope(table.Canonical(s.link.RemoteAddr()).Addr())
	left := askConnects
	for _, nd := range m.Nodes {
		if left == 0 {
			return
		}
		if nd.ID == n.cfg.ID || n.table.Get(nd.ID) != nil {
			continue
		}
		left--
		if _, err := n.connect(ctx, nd.ID, n.hearsay(nd.Addrs, local), false); err != nil {
			n.log.Debug("dht peer near us not reached", "peer", nd.ID.Short(), "err", err)
		}
	}
}

// refreshPass looks up a random key in the buckets an operator names, else in
// those that have been silent, the longest silent first.
func (n *Node) refreshPass(ctx context.Context, woken bool) time.Duration {
	for {
		select {
		case i := <-n.refresh:
			n.refreshAsked(ctx, i)
			continue
		default: // none, or no more
		}
		break
	}
	if !woken {
		for _, b := range n.silentBuckets(n.now()) {
			n.refreshBucket(ctx, b)
		}
	}
	return jitter(refreshEvery)
}

func (n *Node) refreshAsked(ctx context.Context, bucket int) {
	if bucket >= 0 {
		n.refreshBucket(ctx, bucket)
		return
	}
	n.selfLookup(ctx)
	for b := range n.table.Deepest() + 1 {
		n.refreshBucket(ctx, b)
	}
}

func (n *Node) refreshBucket(ctx context.Context, i int) {
	var noise table.ID
	if _, err := rand.Read(noise[:]); err != nil {
		n.log.Error("dht refresh has no randomness", "err", err)
		return
	}
	key, ok := n.table.RandomKey(i, noise)
	if !ok || ctx.Err() != nil || n.table.Len() == 0 {
		return
	}
	if _, err := n.LookupAs(ctx, key, Ask{For: ForRefresh, Label: fmt.Sprintf("bucket %d", i)}); err != nil && ctx.Err() == nil {
		n.log.Debug("dht refresh failed", "bucket", i, "err", err)
	}
	n.table.Probed(i, n.now())
}

// silentBuckets picks the buckets to refresh. Those deeper than the deepest
// contact are left out: a key in them is as good as a self-lookup.
func (n *Node) silentBuckets(now int64) []int {
	type debt struct {
		bucket int
		age    int64
	}
	var debts []debt
	for i := range n.table.Deepest() + 1 {
		live, probe := n.table.BucketAge(i, now)
		age := never
		if live >= 0 {
			age = live
		}
		if probe >= 0 {
			age = min(age, probe)
		}
		if age > spread(uint64(now-age), uint64(i), n.cfg.ID, int64(refreshAfter)) {
			debts = append(debts, debt{i, age})
		}
	}
	slices.SortStableFunc(debts, func(a, b debt) int { return cmp.Compare(b.age, a.age) })
	var out []int
	for _, d := range debts[:min(len(debts), refreshPerPass)] {
		out = append(out, d.bucket)
	}
	return out
}

const never = int64(1<<63 - 1)

// checkJob asks contacts whether they are alive, so that a dead one goes even
// from a bucket nobody contends for; and offers connected peers that found no
// place earlier.
func (n *Node) checkJob() func(ctx context.Context, woken bool) time.Duration {
	pass, credit := 0, 0
	return func(ctx context.Context, _ bool) time.Duration {
		credit = n.checkCredit(credit)
		credit -= n.check(ctx, pass, credit)
		if pass%suspectsEvery == 0 {
			n.readmit()
		}
		pass++
		return jitter(checkEvery)
	}
}

// checkCredit is how many contacts the next pass may ask: a share of the table,
// so that one of any size is looked through in the same time, and what the pass
// before has left over, once.
func (n *Node) checkCredit(left int) int {
	share := max(checksPerPass, (n.table.Len()+checkPasses-1)/checkPasses)
	return min(left, share) + share
}

// check asks at most credit contacts, and returns how many.
func (n *Node) check(ctx context.Context, pass, credit int) int {
	due := n.due(n.now(), pass, credit)
	n.probeAll(ctx, due, func(c *table.Contact, since int64, err error) {
		limit := removeAfterFresh
		if c.Stale(n.now()) {
			limit = removeAfterStale
		}
		if err != nil && c.Failures() >= limit {
			n.removeSilent(c, since)
		}
	})
	return len(due)
}

// due picks whom to ask now: those whose link was lost, since most of them are
// dead and we would go on telling others of them; now and then those that did
// not answer; and those silent for long, the longest first.
func (n *Node) due(now int64, pass, credit int) []*table.Contact {
	type claim struct {
		c       *table.Contact
		urgency int64
	}
	var claims []claim
	for _, c := range n.table.Contacts(nil) {
		silent := now - c.LastSeen()
		switch {
		case c.Failures() > 0:
			if pass%suspectsEvery == 0 {
				claims = append(claims, claim{c, silent})
			}
		case n.reg.best(c.ID()) == nil:
			claims = append(claims, claim{c, never})
		case silent > n.patience(c):
			claims = append(claims, claim{c, silent})
		}
	}
	slices.SortStableFunc(claims, func(a, b claim) int { return cmp.Compare(b.urgency, a.urgency) })
	var out []*table.Contact
	for _, d := range claims[:min(len(claims), credit)] {
		out = append(out, d.c)
	}
	return out
}

// patience is how long a contact may be silent before it is asked: half of
// LiveThreshold to all of it, another length after every proof of life, so that
// the contacts of a fleet that started at once are not all asked at once.
func (n *Node) patience(c *table.Contact) int64 {
	id := c.ID()
	return spread(uint64(c.LastSeen()), uint64(id[0])<<8|uint64(id[1]), n.cfg.ID, int64(table.LiveThreshold)/4*3)
}

// spread is a time between two thirds and four thirds of d that hangs on what
// it is for, so that what began at once does not come due at once.
func spread(at, what uint64, self table.ID, d int64) int64 {
	x := at ^ what<<32 ^ binary.BigEndian.Uint64(self[8:])
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return d/3*2 + int64(float64((x^x>>31)>>11)/(1<<53)*float64(d/3*2))
}

// probeAll asks every contact, probesAtOnce at a time; f may run concurrently.
// since is when the probe began.
func (n *Node) probeAll(ctx context.Context, list []*table.Contact, f func(c *table.Contact, since int64, err error)) {
	places := make(chan struct{}, probesAtOnce)
	var wg sync.WaitGroup
	for _, c := range list {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			n.contain("probe", func() {
				since := n.now()
				_, err := n.probe(ctx, c.ID(), c.Addrs())
				if err != nil && n.lastHeard.Load() <= since && n.vouch(ctx, c.ID()) {
					n.fault(c.ID(), since, n.now())
				}
				if ctx.Err() == nil {
					f(c, since, err)
				}
			})
		})
	}
	wg.Wait()
}

// vouch asks other connected peers, the ones heard last, whether our network
// works; it is called after a probe during which nobody was heard, as is usual
// in a quiet network.
func (n *Node) vouch(ctx context.Context, except table.ID) bool {
	var heard []*table.Contact
	for _, c := range n.table.Contacts(nil) {
		if c.ID() != except && c.Failures() == 0 && n.reg.best(c.ID()) != nil {
			heard = append(heard, c)
		}
	}
	slices.SortFunc(heard, func(a, b *table.Contact) int { return cmp.Compare(b.LastSeen(), a.LastSeen()) })
	for _, c := range heard[:min(len(heard), maxWitnesses)] {
		if _, err := n.Ping(ctx, c.ID()); err == nil {
			return true
		}
	}
	return false
}

// removeSilent removes a contact that did not answer, unless it was heard
// meanwhile or the silence may be ours: a lost network must not empty the
// table.
func (n *Node) removeSilent(c *table.Contact, since int64) {
	if n.ours(since) {
		return
	}
	if gone := n.table.RemoveSilent(c.ID(), table.RemovedStale, since); gone != nil {
		for _, s := range n.reg.of(c.ID()) {
			s.silent.Store(true)
		}
		n.peerRemoved(gone, table.RemovedStale)
	}
}

// readmit offers some connected peers that are not in the table, and that are
// not as good as dead: a connection outlives its peer by half a minute.
func (n *Node) readmit() {
	left := readmitPerPass
	for s := range n.reg.all {
		if left == 0 {
			return
		}
		if n.table.Get(s.peer) == nil && !s.silent.Load() && !n.table.Blocked(s.peer) {
			n.admit(s)
			left--
		}
	}
}

// revalidation is a candidate that waits for stale contacts to be asked.
type revalidation struct {
	id     table.ID
	addr   table.Addr
	bucket int
	stale  []*table.Contact
}

// revalidatePass settles contention for full buckets (spec dht 1.8). Every
// removal is told when it happens, whatever becomes of the candidate.
func (n *Node) revalidatePass(ctx context.Context, _ bool) time.Duration {
	for {
		select {
		case r := <-n.revalidate:
			n.contain("revalidate", func() { n.settle(ctx, r) })
			n.revalBusy[r.bucket].Store(false)
		default:
			return jobRests
		}
	}
}

func (n *Node) settle(ctx context.Context, r *revalidation) {
	n.probeAll(ctx, r.stale, func(c *table.Contact, since int64, err error) {
		if err != nil {
			n.removeSilent(c, since)
		}
	})
	if ctx.Err() != nil {
		return
	}
	adm := n.table.Readmit(n.now(), r.id, []table.Addr{r.addr}, n.trust.get(r.id))
	n.admitted(r.id, r.addr, adm)
	n.log.Debug("dht bucket contention settled", "bucket", r.bucket, "candidate", r.id.Short(), "result", fmt.Sprint(adm.Result))
}
