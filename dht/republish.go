package dht

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"signalbox/dht/record"
	"signalbox/dht/table"
	"signalbox/dht/wire"
	"signalbox/engine/view"
)

// When our records go out again.
const (
	republishPart  = 3                // of their lifetime, jittered: between a sixth and a half of it
	republishAgain = 30 * time.Second // at least, between two rounds that peers' coming and going cause
	groupSettles   = 4 * time.Second  // after a change among the peers closest to a key, jittered
	publishRetry   = time.Second      // nobody has taken it; doubling
	publishMost    = time.Minute
	withdrawTries  = 5
	publishAtOnce  = 4 // records
	storesAtOnce   = 6 // peers of one record
	// A record costs a peer that is close to all keys, as in a small network,
	// two requests: 20 a second of its quota of 50.
	publishPace    = publishAtOnce * 100 * time.Millisecond
	staleStep      = uint64(time.Hour / time.Millisecond)
	clockNewsEvery = int64(time.Hour)
)

// groupChange tells that a contact has come, or gone.
type groupChange struct {
	id   table.ID
	gone bool
}

// groupChanged is called for every change of the table. It does not wait.
func (n *Node) groupChanged(id table.ID, gone bool) {
	if n.cfg.Key == nil {
		return
	}
	select {
	case n.records.changed <- groupChange{id, gone}:
	default:
		n.records.missed.Store(true) // the publisher looks at everything
	}
	n.want(jobRecords)
}

// publisher keeps our records in the network. Owned by the records job.
type publisher struct {
	n         *Node
	plans     map[recordKey]*plan
	clockNews int64 // monotonic ns when we last told that our clock is wrong
	tended    int64 // monotonic ns when the memory was last looked through
}

// plan is when one record goes out next, and where it went.
type plan struct {
	key     recordKey
	due     int64 // monotonic ns
	last    int64 // monotonic ns of the last round
	tries   int   // rounds in a row that nobody took it
	seq     uint64
	group   []table.ID // the peers closest to the key, as found in the last round
	clocked bool       // most refused it for its times
	news    bool       // what it says has not been said yet
}

// publishJob publishes what is new, what is due and what has lost peers, a few
// records at a time.
func (n *Node) publishJob() func(ctx context.Context, woken bool) time.Duration {
	var p *publisher
	return func(ctx context.Context, _ bool) time.Duration {
		q := p
		if q == nil {
			q = &publisher{n: n, plans: map[recordKey]*plan{}, clockNews: -clockNewsEvery, tended: n.now()}
			q.all()
		}
		p = nil // after a panic it begins anew
		again := q.pass(ctx)
		p = q
		return again
	}
}

func (p *publisher) pass(ctx context.Context) time.Duration {
	r := &p.n.records
	if now := p.n.now(); now-p.tended >= int64(publishMost) {
		p.tended = now
		r.memory.Tend(r.cfg.Wall())
	}
	for {
		p.changes()
		p.news()
		due, wait := p.pick(p.n.now())
		if len(due) == 0 || ctx.Err() != nil {
			return wait
		}
		timer := time.NewTimer(publishPace)
		p.round(ctx, due)
		if len(due) < publishAtOnce {
			timer.Stop() // no backlog
			continue
		}
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// all begins with every record there is: at the start, and after a panic.
func (p *publisher) all() {
	r := &p.n.records
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.own {
		r.dirty[k] = true
	}
}

// news takes over what was published or withdrawn since.
func (p *publisher) news() {
	r := &p.n.records
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.dirty {
		pl := p.plans[k]
		if pl == nil {
			pl = &plan{key: k}
			p.plans[k] = pl
		}
		pl.due, pl.tries, pl.news = p.n.now(), 0, true
	}
	clear(r.dirty)
}

// pick returns the records that are due, some of them, and else how long to
// wait for the next. News goes before what is said again, then what has waited
// longest.
func (p *publisher) pick(now int64) (due []*plan, wait time.Duration) {
	wait = publishMost
	for _, pl := range p.plans {
		if pl.due > now {
			wait = min(wait, time.Duration(pl.due-now))
			continue
		}
		i, _ := slices.BinarySearchFunc(due, pl, func(a, b *plan) int {
			if a.news != b.news {
				return cmp.Compare(b.rank(), a.rank())
			}
			return cmp.Compare(a.due, b.due)
		})
		if i < publishAtOnce {
			due = slices.Insert(due, i, pl)
			due = due[:min(len(due), publishAtOnce)]
		}
	}
	return due, wait
}

func (pl *plan) rank() int {
	if pl.news {
		return 1
	}
	return 0
}

// changes has records published soon that a change of the table concerns. When
// changes were lost, all of them may be.
func (p *publisher) changes() {
	r := &p.n.records
	all := r.missed.Swap(false)
	for {
		select {
		case c := <-r.changed:
			for _, pl := range p.plans {
				if pl.concerned(c, p.n.table.K()) {
					p.hasten(pl)
				}
			}
			continue
		default: // no more
		}
		break
	}
	for _, pl := range p.plans {
		if all {
			p.hasten(pl)
		}
	}
}

// concerned reports whether c is, or would be, among the k closest to the key.
func (pl *plan) concerned(c groupChange, k int) bool {
	if c.gone || slices.Contains(pl.group, c.id) {
		return c.gone && slices.Contains(pl.group, c.id)
	}
	return len(pl.group) < k || table.Closer(&pl.key.key, &c.id, &pl.group[len(pl.group)-1]) < 0
}

// hasten brings a record forward, not too often.
func (p *publisher) hasten(pl *plan) {
	at := max(p.n.now(), pl.last+int64(republishAgain)) + int64(jitter(groupSettles))
	pl.due = min(pl.due, at)
}

// round publishes some records at once and plans their next time.
func (p *publisher) round(ctx context.Context, due []*plan) {
	var wg sync.WaitGroup
	for _, pl := range due {
		wg.Go(func() {
			pl.due, pl.news = p.n.now()+int64(publishMost), false // what remains after a panic
			p.n.contain("publish", func() { p.n.publishOne(ctx, pl) })
		})
	}
	wg.Wait()
	now := p.n.now()
	for _, pl := range due {
		if p.over(pl) {
			delete(p.plans, pl.key)
		}
		if pl.clocked && now-p.clockNews >= clockNewsEvery {
			p.clockNews = now
			p.n.event(view.Warn, "dht.clock", "dht", "peers refuse our records for their times: is this machine's clock right?", nil)
		}
	}
}

// over reports whether a record has been withdrawn as well as it can be, and
// forgets it.
func (p *publisher) over(pl *plan) bool {
	r := &p.n.records
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.own[pl.key]
	if o == nil {
		return true
	}
	done := o.signed == nil || o.signed.Fresh(r.cfg.Wall()) != nil || o.signed.Withdrawn() && pl.tries == 0 || pl.tries >= withdrawTries
	if !o.withdrawn || !done || r.dirty[pl.key] {
		return false
	}
	delete(r.own, pl.key)
	return true
}

// publishOne signs a record anew, has the peers closest to its key store it
// and plans the next time. It owns pl while it runs.
func (n *Node) publishOne(ctx context.Context, pl *plan) {
	r := &n.records
	s := n.sign(pl)
	if s == nil {
		return // withdrawn before it was published
	}
	found, err := n.LookupAs(ctx, pl.key.key, Ask{For: ForRecord, Label: "where to keep: " + pl.key.kind.String()})
	if err != nil || len(found) == 0 {
		pl.again(n.now(), 0)
		return
	}
	took, refused := n.storeAll(ctx, found, s)
	pl.group = pl.group[:0]
	for _, f := range found {
		pl.group = append(pl.group, f.ID)
	}
	if refused[wire.CodeStale] > 0 {
		// Somebody has a later one of us: our clock was ahead once, or went back.
		pl.seq += staleStep
	}
	pl.clocked = refused[wire.CodeClock] > len(found)/2
	now := n.now()
	r.mu.Lock()
	if o := r.own[pl.key]; o != nil {
		o.holders, o.at = took, now
	}
	r.mu.Unlock()
	pl.again(now, took)
	switch {
	case took == 0:
	case refused[wire.CodeStale] > 0:
		pl.due = now + int64(jitter(publishRetry))
	case 2*took < len(found):
		pl.due = now + int64(jitter(publishMost))
	default:
		pl.due = now + int64(jitter(r.cfg.TTL/republishPart))
	}
}

// again plans the next try after a round in which took peers took the record.
func (pl *plan) again(now int64, took int) {
	pl.last = now
	if took > 0 {
		pl.tries = 0
		return
	}
	pl.due = now + int64(jitter(min(publishRetry<<min(pl.tries, 8), publishMost)))
	pl.tries++
}

// sign makes the record that goes out now; nil when there is nothing to say.
// A withdrawal lives as long as what it takes back.
func (n *Node) sign(pl *plan) *record.Signed {
	r := &n.records
	now := r.cfg.Wall()
	r.mu.Lock()
	o := r.own[pl.key]
	if o == nil || o.withdrawn && (o.signed == nil || o.signed.Fresh(now) != nil) {
		r.mu.Unlock()
		return nil
	}
	st, last, withdrawn := o.Statement, o.signed, o.withdrawn
	r.mu.Unlock()
	ttl := r.cfg.TTL
	if withdrawn {
		st.Addrs = nil
		ttl = min(last.Expires().Sub(now)+time.Second, ttl)
	}
	pl.seq = max(pl.seq+1, uint64(now.UnixMilli()))
	s, err := record.Sign(st.record(pl.seq, now, ttl), r.cfg.Key)
	if err != nil { // Publish has tried it
		n.log.Error("dht record cannot be signed", "err", err)
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.own[pl.key]; o != nil {
		o.signed = s
	}
	return s
}

// storeAll has every one of found store s, a few at a time, and counts who
// took it, and why the others did not.
func (n *Node) storeAll(ctx context.Context, found []Found, s *record.Signed) (took int, refused map[wire.Code]int) {
	places := make(chan struct{}, storesAtOnce)
	var wg sync.WaitGroup
	var mu sync.Mutex // guards the results
	refused = map[wire.Code]int{}
	for _, f := range found {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			n.contain("store", func() {
				code, err := n.storeOn(ctx, f, s)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					took++
				} else {
					refused[code]++
				}
			})
		})
	}
	wg.Wait()
	n.records.counts.published.Add(uint64(took))
	n.records.counts.failed.Add(uint64(len(found) - took))
	return took, refused
}

// storeOn has one peer store s; the code says why it refused, if it did.
func (n *Node) storeOn(ctx context.Context, f Found, s *record.Signed) (wire.Code, error) {
	sess, err := n.connect(ctx, f.ID, f.Addrs, n.table.Get(f.ID) != nil)
	if err != nil {
		return 0, err
	}
	m, _, err := n.request(ctx, sess, wire.Stored, func(buf []byte, req uint64) []byte {
		return wire.AppendStore(buf, req, s.Raw)
	})
	if errors.Is(err, ErrRefused) {
		n.log.Debug("dht record refused", "peer", f.ID.Short(), "code", m.Code, "why", m.Text)
		return m.Code, fmt.Errorf("%w: %s", err, m.Text)
	}
	return 0, err
}
