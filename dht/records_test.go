package dht

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/dht/record"
	"signalbox/dht/table"
	"signalbox/dht/wire"
	"signalbox/engine/view"
)

func testKey(i int) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	binary.BigEndian.PutUint64(seed, uint64(i))
	return ed25519.NewKeyFromSeed(seed)
}

// relay is a node that can sign; its Run ends with stop.
type relay struct {
	*memNode
	key  ed25519.PrivateKey
	stop func()
}

// relay makes node i with a key; change may alter its configuration.
func (m *memNet) relay(t *testing.T, i int, change func(*Config), seeds ...*relay) *relay {
	t.Helper()
	key := testKey(i)
	r := &relay{key: key, memNode: &memNode{
		net: m, id: record.PublisherID(key.Public().(ed25519.PublicKey)),
		addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{20, 1, byte(i), 1}), 4433),
	}}
	cfg := Config{
		ID: r.id, ListenAddrs: []netip.AddrPort{r.addr}, Now: m.now, Dialer: r.memNode, Event: r.onEvent,
		RecordConfig: RecordConfig{Key: key, CacheBytes: 1 << 20},
	}
	for _, s := range seeds {
		cfg.Seeds = append(cfg.Seeds, Seed{s.id, s.addr})
	}
	if change != nil {
		change(&cfg)
	}
	node, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Node = node
	m.mu.Lock()
	m.nodes[r.addr] = r.memNode
	m.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	ended := false
	r.stop = func() {
		cancel()
		if !ended {
			ended = true
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(r.stop)
	synctest.Wait() // it runs
	return r
}

// kill ends a node without a word to anybody.
func (r *relay) kill() {
	r.net.setDown(r.memNode, true)
	r.net.cut(r.memNode)
	r.stop()
}

func (r *relay) room(name string) Statement {
	return Statement{Kind: record.Room, Key: record.RoomKey(name), Label: name, TLS: [32]byte{1}, Addrs: []netip.AddrPort{r.addr}}
}

func (r *relay) publish(t *testing.T, rooms ...string) {
	t.Helper()
	for _, name := range rooms {
		if err := r.Publish(r.room(name)); err != nil {
			t.Fatal(err)
		}
	}
}

// servers are the publishers of a room as r finds them.
func (r *relay) servers(t *testing.T, room string) map[table.ID]bool {
	t.Helper()
	claims, err := r.Find(t.Context(), record.Room, record.RoomKey(room))
	if err != nil && !errors.Is(err, ErrNoRecord) {
		t.Fatalf("%s: %v", room, err)
	}
	out := map[table.ID]bool{}
	for _, c := range claims {
		out[c.By] = true
		if len(c.Addrs) != 1 || c.TLS != [32]byte{1} {
			t.Errorf("a claim is not what was published: %+v", c)
		}
	}
	return out
}

func (r *relay) records() view.Records {
	var v view.DHT
	r.Fill(&v, r.net.now())
	return v.Records
}

// Everybody finds everybody, who never heard of each other, through one seed.
func TestSwarmFindsRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		nodes := []*relay{m.relay(t, 0, nil)}
		for i := 1; i < 50; i++ {
			nodes = append(nodes, m.relay(t, i, nil, nodes[0]))
		}
		for i, n := range nodes {
			n.publish(t, fmt.Sprint("room ", i))
			if i%10 == 0 {
				n.publish(t, "everywhere")
			}
		}
		time.Sleep(2 * time.Minute)
		for i, n := range nodes {
			for k := i + 1; k < len(nodes)+i; k += 7 {
				of := nodes[k%len(nodes)]
				if got := n.servers(t, fmt.Sprint("room ", k%len(nodes))); len(got) != 1 || !got[of.id] {
					t.Fatalf("%d does not find room %d: %d", i, k%len(nodes), len(got))
				}
			}
			if got := n.servers(t, "everywhere"); len(got) != 5 {
				t.Errorf("%d finds %d of 5 servers", i, len(got))
			}
			if got := n.servers(t, "nowhere"); len(got) != 0 {
				t.Error("found what nobody publishes")
			}
		}
		var v view.DHT
		nodes[7].Fill(&v, m.now())
		own := v.Records.Own
		if v.Records.Rooms != 1 || len(own) != 1 || own[0].Label != "room 7" || own[0].Holders < 15 || own[0].ExpiresS <= 0 ||
			v.Records.Foreign == 0 || v.Records.Published < 15 || v.Records.Bad != 0 || v.Cache.Bytes == 0 || v.Cache.Hits == 0 || v.Cache.Misses == 0 {
			t.Errorf("%+v %+v", v.Records, v.Cache)
		}
		if s := nodes[7].Stats(); s.Malformed+s.WrongPeer+s.Panics+s.SendErr+s.Quota != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// The peers that hold a record die, all at once; it is found again, and an hour
// after its publisher has died too, no more.
func TestRecordsSurviveTheirHolders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		small := func(c *Config) { c.K = table.MinK }
		nodes := []*relay{m.relay(t, 0, small)}
		for i := 1; i < 50; i++ {
			nodes = append(nodes, m.relay(t, i, small, nodes[i/3], nodes[i/2]))
		}
		time.Sleep(2 * time.Minute)
		pub, asker := nodes[10], nodes[11]
		pub.publish(t, "ops")
		time.Sleep(10 * time.Second)
		if !asker.servers(t, "ops")[pub.id] {
			t.Fatal("not found at first")
		}
		key := record.RoomKey("ops")
		killed := 0
		for _, n := range nodes {
			if n != pub && n != asker && n != nodes[0] && len(n.Node.records.memory.Records(key, time.Now())) > 0 {
				n.kill()
				killed++
			}
		}
		if killed < table.MinK-2 {
			t.Fatal("only held by", killed)
		}
		found := 0
		for range 12 { // an hour
			time.Sleep(5 * time.Minute)
			if asker.servers(t, "ops")[pub.id] {
				found++
			}
		}
		if found < 9 { // it is away until the publisher's next round
			t.Errorf("found %d times of 12", found)
		}
		if !asker.servers(t, "ops")[pub.id] {
			t.Error("not found in the end")
		}
		pub.kill()
		time.Sleep(record.MaxTTL + time.Minute)
		if len(asker.servers(t, "ops")) != 0 {
			t.Error("the record outlives its time")
		}
		for _, n := range nodes {
			if f := n.records().Foreign; f != 0 {
				t.Errorf("%d records are kept for ever", f)
			}
		}
	})
}

// In a network where nothing happens a record never ends while its publisher
// lives; and a peer that comes to be among the closest is told soon.
func TestRecordsAreRepublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		nodes := []*relay{m.relay(t, 0, nil)}
		for i := 1; i < 8; i++ {
			nodes = append(nodes, m.relay(t, i, nil, nodes[0]))
		}
		time.Sleep(time.Minute)
		pub := nodes[5]
		pub.publish(t, "ops")
		for range 40 {
			time.Sleep(5 * time.Minute)
			for _, n := range nodes {
				if len(n.servers(t, "ops")) != 1 {
					t.Fatal("not found after", time.Duration(m.now()))
				}
				if n != pub && len(n.Node.records.memory.Records(record.RoomKey("ops"), time.Now())) != 1 {
					t.Fatal("a peer has lost it after", time.Duration(m.now()))
				}
			}
		}
		if n := pub.records().Published; n > 7*40 {
			t.Error("published too often:", n)
		}
		for i := range 5 { // each within its first minute, the periodic round takes ten at the least
			late := m.relay(t, 20+i, nil, nodes[0])
			time.Sleep(time.Minute)
			if len(late.Node.records.memory.Records(record.RoomKey("ops"), time.Now())) != 1 {
				t.Error("a newcomer is not told")
			}
		}
	})
}

// Nodes come and go all the time; rooms are found nearly always.
func TestRecordsUnderChurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		nodes := []*relay{m.relay(t, 0, nil)}
		for i := 1; i < 50; i++ {
			nodes = append(nodes, m.relay(t, i, nil, nodes[0], nodes[i/2]))
		}
		for i := range 10 {
			nodes[i].publish(t, fmt.Sprint("room ", i))
		}
		time.Sleep(time.Minute)
		next, tried, found := 50, 0, 0
		rounds := 30 // an hour; two of forty go every two minutes, two come
		if testing.Short() {
			rounds = 8
		}
		for round := range rounds {
			for range 2 {
				i := 10 + next%40
				nodes[i].kill()
				nodes[i] = m.relay(t, next, nil, nodes[0], nodes[1])
				next++
			}
			time.Sleep(2 * time.Minute)
			asker := nodes[10+(round*7)%40]
			for i := range 10 {
				tried++
				if asker.servers(t, fmt.Sprint("room ", i))[nodes[i].id] {
					found++
				}
			}
		}
		if found < tried*98/100 {
			t.Errorf("found %d of %d", found, tried)
		}
	})
}

func TestWithdraw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		nodes := []*relay{m.relay(t, 0, nil)}
		for i := 1; i < 8; i++ {
			nodes = append(nodes, m.relay(t, i, nil, nodes[0]))
		}
		a, b := nodes[1], nodes[2]
		a.publish(t, "ops", "dev")
		b.publish(t, "ops")
		time.Sleep(time.Minute)
		if len(nodes[3].servers(t, "ops")) != 2 {
			t.Fatal("not found")
		}
		if err := a.Withdraw(record.Room, record.RoomKey("ops")); err != nil {
			t.Fatal(err)
		}
		if err := a.Withdraw(record.Room, record.RoomKey("ops")); !errors.Is(err, ErrNotFound) {
			t.Error("withdrawn twice:", err)
		}
		time.Sleep(foundFor)
		for _, n := range nodes {
			if got := n.servers(t, "ops"); len(got) != 1 || !got[b.id] {
				t.Errorf("%s finds %d", n.id.Short(), len(got))
			}
		}
		if v := a.records(); v.Rooms != 1 {
			t.Errorf("%+v", v)
		}
		a.publish(t, "ops") // it has thought better of it
		time.Sleep(foundFor)
		if got := nodes[3].servers(t, "ops"); len(got) != 2 {
			t.Error("not back: ", len(got))
		}
		a.WithdrawAll()
		time.Sleep(foundFor)
		if len(nodes[3].servers(t, "ops")) != 1 || len(nodes[3].servers(t, "dev")) != 0 || a.records().Rooms != 0 {
			t.Error("not everything is withdrawn")
		}
	})
}

// store has a send raw to b and returns the answer.
func (r *relay) store(t *testing.T, to *relay, raw []byte) wire.Message {
	t.Helper()
	s, err := r.connect(t.Context(), to.id, []table.Addr{{AddrPort: to.addr, Type: table.Direct}}, true)
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := r.request(t.Context(), s, wire.Stored, func(buf []byte, req uint64) []byte { return wire.AppendStore(buf, req, raw) })
	if err != nil && !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
	return m
}

func (r *relay) signed(t *testing.T, room string, seq uint64, issued time.Time, ttl time.Duration) []byte {
	t.Helper()
	st := r.room(room)
	s, err := record.Sign(st.record(seq, issued, ttl), r.key)
	if err != nil {
		t.Fatal(err)
	}
	return s.Raw
}

// Every STORE is answered, and the answer says why not.
func TestStoreIsJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		holder := m.relay(t, 0, nil)
		off := m.relay(t, 1, func(c *Config) { c.CacheBytes = -1 })
		a, b := m.relay(t, 2, nil), m.relay(t, 3, nil)
		now := time.Now()
		good := a.signed(t, "ops", 5, now, time.Hour)
		forged := bytes.Clone(a.signed(t, "ops", 9, now, time.Hour))
		forged[len(forged)-1] ^= 1
		otherVersion := bytes.Clone(good)
		otherVersion[0]++
		for _, tt := range []struct {
			name string
			from *relay
			to   *relay
			raw  []byte
			code wire.Code // 0: stored
		}{
			{"good", a, holder, good, 0},
			{"again", a, holder, good, 0},
			{"older", a, holder, a.signed(t, "ops", 4, now, time.Hour), wire.CodeStale},
			{"another of the same sequence", a, holder, a.signed(t, "ops", 5, now, time.Minute), wire.CodeStale},
			{"newer", a, holder, a.signed(t, "ops", 6, now, time.Hour), 0},
			{"replayed by itself", a, holder, good, wire.CodeStale},
			{"replayed by another", b, holder, good, wire.CodeNotPublisher},
			{"of another, new", b, holder, a.signed(t, "ops", 7, now, time.Hour), wire.CodeNotPublisher},
			{"forged", a, holder, forged, wire.CodeInvalid},
			{"nonsense", a, holder, []byte("nonsense"), wire.CodeInvalid},
			{"of times to come", a, holder, otherVersion, wire.CodeInvalid},
			{"expired", a, holder, a.signed(t, "ops", 7, now.Add(-time.Hour), time.Hour), wire.CodeClock},
			{"future", a, holder, a.signed(t, "ops", 7, now.Add(record.MaxSkew+time.Minute), time.Hour), wire.CodeClock},
			{"within the skew", a, holder, a.signed(t, "ops", 7, now.Add(record.MaxSkew-time.Minute), time.Hour), 0},
			{"another publisher", b, holder, b.signed(t, "ops", 1, now, time.Hour), 0},
			{"a node that keeps nothing", a, off, good, wire.CodeNotKept},
		} {
			answer := tt.from.store(t, tt.to, tt.raw)
			if answer.Code != tt.code || tt.code == 0 && answer.Type != wire.Stored || tt.code != 0 && answer.Text == "" {
				t.Errorf("%s: %+v, want code %d", tt.name, answer, tt.code)
			}
		}
		v := holder.records()
		if v.Foreign != 2 || v.Kept != 5 || v.Refused["stale"] != 3 || v.Refused["not_publisher"] != 2 || v.Refused["invalid"] != 3 || v.Refused["clock"] != 2 {
			t.Errorf("%+v", v)
		}
		if got := off.records(); got.Refused["not_kept"] != 1 {
			t.Errorf("%+v", got)
		}
		// The honest one is not charged for the forger's version, nor the forger
		// for a version of times to come: three faults are three, not four.
		if got := holder.Node.trust.get(b.id).Score(m.now()); got < 0.5 {
			t.Error("b was charged:", got)
		}
		if got := holder.Node.trust.get(a.id).Score(m.now()); got >= 0.5 {
			t.Error("a was not:", got)
		}
	})
}

// A key that strangers fill keeps those who were there, and nobody is pushed
// out of it, whatever they send.
func TestStrangersPushNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		holder := m.relay(t, 0, nil)
		now := time.Now()
		honest := []*relay{m.relay(t, 1, nil, holder), m.relay(t, 2, nil, holder)}
		for _, h := range honest {
			h.publish(t, "ops")
		}
		time.Sleep(10 * time.Second)
		full := 0
		for i := range 30 {
			s := m.relay(t, 10+i, nil)
			for seq := range uint64(3) {
				if s.store(t, holder, s.signed(t, "ops", 1+seq<<60, now, time.Hour)).Code == wire.CodeFull {
					full++
				}
			}
		}
		if full != 3*(30+len(honest)-record.MaxPerKey) {
			t.Error("refused as full:", full)
		}
		asker := m.relay(t, 3, nil, holder)
		time.Sleep(10 * time.Second)
		got := asker.servers(t, "ops")
		if len(got) != record.MaxPerKey || !got[honest[0].id] || !got[honest[1].id] {
			t.Errorf("%d are found, the honest ones: %v %v", len(got), got[honest[0].id], got[honest[1].id])
		}
	})
}

// Many records at once stay within the quotas of a small network, and what is
// new goes before what is repeated.
func TestPublishingIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		large := func(c *Config) { c.CacheBytes = 64 << 20 }
		nodes := []*relay{m.relay(t, 0, large)}
		for i := 1; i < 6; i++ {
			nodes = append(nodes, m.relay(t, i, large, nodes[0]))
		}
		time.Sleep(time.Minute)
		a := nodes[2]
		const n = 600
		for i := range n {
			s := a.room("x")
			s.Kind, s.Key, s.Label = record.Presence, record.PresenceKey(fmt.Sprint("user ", i)), ""
			if err := a.Publish(s); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Minute)
		for i := 0; i < n; i += 50 {
			claims, err := nodes[3].Find(t.Context(), record.Presence, record.PresenceKey(fmt.Sprint("user ", i)))
			if err != nil || len(claims) != 1 || claims[0].By != a.id {
				t.Errorf("user %d: %v, %v", i, claims, err)
			}
		}
		for _, x := range nodes {
			if s := x.Stats(); s.Quota != 0 {
				t.Errorf("%d requests beyond a quota", s.Quota)
			}
		}
		if v := a.records(); v.Presences != n || len(v.Own) != 0 {
			t.Errorf("%+v", v)
		}
	})
	p := &publisher{plans: map[recordKey]*plan{}}
	for i := range 40 {
		p.plans[recordKey{key: table.ID{byte(i)}}] = &plan{due: int64(100 - i), news: i < 3}
	}
	due, _ := p.pick(95)
	var got []int64
	for _, pl := range due {
		got = append(got, pl.due)
	}
	if fmt.Sprint(got) != "[61 62 63 64]" {
		t.Error("those that have waited longest first:", got)
	}
	if due, _ = p.pick(100); len(due) != 4 || due[0].due != 98 || due[2].due != 100 || due[3].due != 61 {
		t.Error("news first")
	}
}

// Answers that nobody asked for leave nothing behind (reliability.md T33).
func TestForgedValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		n, a := m.relay(t, 0, nil), m.relay(t, 1, nil)
		if _, err := a.connect(t.Context(), n.id, []table.Addr{{AddrPort: n.addr, Type: table.Direct}}, true); err != nil {
			t.Fatal(err)
		}
		l := n.reg.best(a.id).link
		rec := a.signed(t, "ops", 1, time.Now(), time.Hour)
		w := wire.BeginValues(nil, 0, [][]byte{rec, rec})
		forged := w.Bytes()
		const many = 100_000
		before := n.Stats().Unmatched
		for i := range many {
			binary.BigEndian.PutUint64(forged[2:], uint64(i))
			n.Handle(0, l, forged, m.now())
		}
		var v view.DHT
		n.Fill(&v, m.now())
		if s := n.Stats(); s.Unmatched-before != many || v.Records.Foreign != 0 || v.Cache.Bytes != 0 || v.RPC.Pending > maxPending {
			t.Errorf("%+v %+v", s, v.Records)
		}
	})
}

// What a holder says is believed as far as it is signed.
func TestGatherBelievesSignatures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		n, a, b := m.relay(t, 0, nil), m.relay(t, 1, nil), m.relay(t, 2, nil)
		now := time.Now()
		old, cur := a.signed(t, "ops", 1, now, time.Hour), a.signed(t, "ops", 2, now, time.Hour)
		forged := bytes.Clone(a.signed(t, "ops", 3, now, time.Hour))
		forged[len(forged)-1] ^= 1
		// b's key over a's record: b's statement, not a's.
		stolen := bytes.Clone(cur)
		copy(stolen[34:], b.key.Public().(ed25519.PublicKey))
		g := &gathering{kind: record.Room, key: record.RoomKey("ops"), wall: now, best: map[table.ID]*gathered{}}
		take := func(name string, want bool, raws ...[]byte) {
			t.Helper()
			if bad := g.take(raws, false); bad != want {
				t.Errorf("%s: bad is %v", name, bad)
			}
		}
		take("nothing", false)
		take("the old", false, old)
		take("the new", false, cur)
		take("the old again", false, old)
		take("forged", true, forged)
		take("stolen", true, stolen)
		take("of another key", true, a.signed(t, "dev", 9, now, time.Hour))
		take("nonsense", true, []byte("nonsense"))
		take("expired", false, a.signed(t, "ops", 9, now.Add(-time.Hour), time.Hour))
		if x := g.best[a.id]; len(g.best) != 1 || x == nil || x.s.Sequence != 2 || x.holders != 1 {
			t.Fatalf("%+v", g.best)
		}
		if g.enough() {
			t.Error("three that gave are no four")
		}
		take("another", false, b.signed(t, "ops", 1, now, time.Hour), cur)
		if g.enough() {
			t.Error("the last had news")
		}
		take("the same", false, cur)
		take("the same", false, cur)
		if !g.enough() {
			t.Error("four gave, the last two nothing new")
		}
		// Those that more peers know of come first, and local addresses count
		// only from a neighbour.
		st := b.room("ops")
		st.Addrs = []netip.AddrPort{netip.MustParseAddrPort("192.168.1.1:1"), netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("9.9.9.9:9")}
		lan, err := record.Sign(st.record(2, now, time.Hour), b.key)
		if err != nil {
			t.Fatal(err)
		}
		take("with local addresses", false, lan.Raw)
		out := g.result(n.Node)
		if len(out) != 2 || out[0].By != a.id || fmt.Sprint(out[1].Addrs) != "[9.9.9.9:9]" {
			t.Errorf("%v", out)
		}
		g.take([][]byte{lan.Raw}, true)
		if out := g.result(n.Node); fmt.Sprint(out[1].Addrs) != "[192.168.1.1:1 9.9.9.9:9]" {
			t.Errorf("%v", out[1].Addrs)
		}
	})
}

// Answers are remembered, and calls at once share a lookup.
func TestFindRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		seed := m.relay(t, 0, nil)
		a, b := m.relay(t, 1, nil, seed), m.relay(t, 2, nil, seed)
		time.Sleep(time.Minute)
		lookups := func() uint64 {
			var v view.DHT
			b.Fill(&v, m.now())
			n := uint64(0)
			for _, tr := range v.Lookups.Trace { // of records: the node's own upkeep looks up, too
				if tr.For == ForRecord {
					n++
				}
			}
			return n
		}
		find := func(want error) {
			t.Helper()
			if _, err := b.Find(t.Context(), record.Room, record.RoomKey("ops")); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		before := lookups()
		results := make(chan error, 20)
		for range cap(results) {
			go func() {
				_, err := b.Find(t.Context(), record.Room, record.RoomKey("ops"))
				results <- err
			}()
		}
		for range cap(results) {
			if err := <-results; !errors.Is(err, ErrNoRecord) {
				t.Error(err)
			}
		}
		find(ErrNoRecord)
		if n := lookups() - before; n != 1 {
			t.Errorf("%d lookups for one question", n)
		}
		a.publish(t, "ops")
		time.Sleep(5 * time.Second)
		find(nil) // it has been stored on b itself, which forgets that there was nothing
		find(nil)
		if n := lookups() - before; n != 2 {
			t.Errorf("%d lookups", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.Find(ctx, record.Room, record.RoomKey("other")); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// A node that cannot ask says so, which is another thing than that there is
// nothing; and what it publishes itself it finds.
func TestFindAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet().relay(t, 0, nil)
		if _, err := n.Find(t.Context(), record.Room, record.RoomKey("ops")); !errors.Is(err, ErrNoPeers) {
			t.Error(err)
		}
		n.publish(t, "ops")
		time.Sleep(time.Minute)
		if !n.servers(t, "ops")[n.id] {
			t.Error("does not know itself")
		}
		n.stop()
		if _, err := n.Find(t.Context(), record.Room, record.RoomKey("other")); !errors.Is(err, ErrNotRunning) {
			t.Error(err)
		}
	})
}

func TestPublishRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		n, mute := m.relay(t, 0, nil), m.relay(t, 1, func(c *Config) { c.Key = nil })
		ok := n.room("ops")
		for name, change := range map[string]func(*Statement){
			"no address": func(s *Statement) { s.Addrs = nil },
			"port 0":     func(s *Statement) { s.Addrs = []netip.AddrPort{netip.MustParseAddrPort("1.2.3.4:0")} },
			"many":       func(s *Statement) { s.Addrs = slices.Repeat(s.Addrs, record.MaxAddrs+1) },
			"no kind":    func(s *Statement) { s.Kind = 0 },
		} {
			s := ok
			change(&s)
			if err := n.Publish(s); !errors.Is(err, ErrConfig) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := mute.Publish(ok); !errors.Is(err, ErrConfig) {
			t.Error("without a key:", err)
		}
		for i := range MaxOwnRecords {
			binary.BigEndian.PutUint64(ok.Key[:], uint64(i))
			if err := n.Publish(ok); err != nil {
				t.Fatal(i, err)
			}
		}
		ok.Key[31]++
		if err := n.Publish(ok); !errors.Is(err, ErrBusy) {
			t.Error("unbounded:", err)
		}
	})
	cfg := Config{ID: testID(1), Dialer: &memNode{}, RecordConfig: RecordConfig{Key: testKey(1)}}
	if _, err := New(cfg); !errors.Is(err, ErrConfig) {
		t.Error("a key that is not the id's:", err)
	}
}

// A wrong clock is told, not suffered in silence; a sequence that was ahead is
// overtaken.
func TestOwnClockIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		seed := m.relay(t, 0, nil)
		others := []*relay{m.relay(t, 1, nil, seed), m.relay(t, 2, nil, seed)}
		late := m.relay(t, 3, func(c *Config) { c.Wall = func() time.Time { return time.Now().Add(-2 * time.Hour) } }, seed)
		time.Sleep(time.Minute)
		late.publish(t, "ops")
		time.Sleep(10 * time.Minute)
		if late.saw("dht.clock", "") != 1 || others[0].records().Refused["clock"] == 0 {
			t.Error("nobody is told about the clock")
		}
		// Its predecessor under the same identity was ahead by four minutes.
		a := others[0]
		ahead := a.signed(t, "dev", uint64(time.Now().Add(4*time.Minute).UnixMilli()), time.Now(), time.Hour)
		for _, h := range []*relay{seed, others[1], late} {
			a.store(t, h, ahead)
		}
		a.publish(t, "dev")
		time.Sleep(20 * time.Second)
		v := a.records()
		if len(v.Own) != 1 || v.Own[0].Holders < 2 {
			t.Errorf("%+v", v)
		}
	})
}

// Only the peers that would be asked for a key keep its records.
func TestFarFromTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		n := m.relay(t, 0, func(c *Config) { c.K = table.MinK })
		now := m.now()
		add := func(i int) {
			id := testID(i)
			n.Table().Add(now, id, []table.Addr{{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{30, byte(i >> 8), byte(i), 1}), 1), Type: table.Direct}}, table.Trust{})
		}
		key := table.Distance(n.id, table.ID{0xff, 0xff}) // the other end of the space
		if n.far(&key) {
			t.Error("far with an empty table")
		}
		for i := range 1000 {
			add(i)
		}
		if !n.far(&key) {
			t.Error("near a key at the other end of the space")
		}
		if n.far(&n.id) {
			t.Error("far from itself")
		}
		a := m.relay(t, 1, nil)
		for i := range 100 {
			room := fmt.Sprint("room ", i)
			k := record.RoomKey(room)
			answer := a.store(t, n, a.signed(t, room, 1, time.Now(), time.Hour))
			if want := n.far(&k); want != (answer.Code == wire.CodeFar) {
				t.Fatalf("far is %v, the answer %+v", want, answer)
			}
		}
	})
}

// A flood over one link costs what the link's quota allows, every request is
// answered or counted, and the share of one network stays small.
func TestStoreFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		holder, a := m.relay(t, 0, nil), m.relay(t, 1, nil)
		s, err := a.connect(t.Context(), holder.id, []table.Addr{{AddrPort: holder.addr, Type: table.Direct}}, true)
		if err != nil {
			t.Fatal(err)
		}
		const n = 3000
		for i := range n {
			raw := a.signed(t, fmt.Sprint("room ", i), 1, time.Now(), time.Hour)
			if err := s.link.Send(wire.AppendStore(nil, uint64(i), raw)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond) // twice the quota
		}
		time.Sleep(time.Second)
		st, v := holder.Stats(), holder.records()
		var refused uint64
		for _, r := range v.Refused {
			refused += r
		}
		all := v.Kept + refused + st.Quota // and a few lookups of a's own
		if st.Quota == 0 || all < n || all > n+10 || v.Refused["full"] == 0 {
			t.Errorf("%d were kept, %d refused, %d beyond the quota, of %d", v.Kept, refused, st.Quota, n)
		}
		var d view.DHT
		holder.Fill(&d, m.now())
		if d.Cache.Bytes > (1<<20)/8 {
			t.Errorf("one network fills the cache: %d bytes", d.Cache.Bytes)
		}
	})
}
