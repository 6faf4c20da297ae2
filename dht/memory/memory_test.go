package memory

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"signalbox/dht/record"
)

func num(n int) [32]byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	return sha256.Sum256(b[:])
}

// entry is a record as Put sees it; the signature is not Put's to judge, so
// there is none.
func entry(publisher, key int, seq uint64, now time.Time, ttl time.Duration) record.Entry {
	return from(publisher, publisher, key, seq, now, ttl)
}

func from(network, publisher, key int, seq uint64, now time.Time, ttl time.Duration) record.Entry {
	s := &record.Signed{Record: record.Record{
		Kind: record.Room, Key: num(key), Public: num(publisher), Sequence: seq, Issued: now, TTL: ttl,
		Addrs: []netip.AddrPort{netip.MustParseAddrPort("1.2.3.4:5")},
	}, By: num(publisher)}
	s.Raw = make([]byte, 204)
	binary.BigEndian.PutUint64(s.Raw, seq)
	ip := netip.AddrFrom4([4]byte{byte(network >> 16), byte(network >> 8), byte(network), 0})
	return record.Entry{Signed: s, Source: netip.PrefixFrom(ip, 24)}
}

// open makes a memory for the time of a bubble.
func open(t *testing.T, bytes int64) *Memory {
	t.Helper()
	m := New(Config{Bytes: bytes})
	m.Open()
	t.Cleanup(m.Close)
	return m
}

// exact compares the account with what is there.
func exact(t interface{ Fatalf(string, ...any) }, m *Memory) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var bytes, shares int64
	records := 0
	for key, it := range m.index {
		if it.key != key || it.base == nil || (it.base != it) != m.following[key] {
			t.Fatalf("an item out of order")
		}
		bytes += it.cost
		records += len(it.set)
		for i := range it.set {
			shares += shareOf(it.set[i].Signed)
		}
	}
	for _, n := range m.sources {
		shares -= n
	}
	if bytes != m.stats.Bytes || records != m.stats.Records || shares != 0 {
		t.Fatalf("the account says %d bytes, %d records; there are %d, %d; shares are off by %d", m.stats.Bytes, m.stats.Records, bytes, records, shares)
	}
}

// Ristretto loses a second Set of a key it has not yet taken in; we do not.
func TestPutsAtOnceAreAllKept(t *testing.T) {
	// With one processor the cache's goroutine does not run before we wait.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, func(t *testing.T) {
		m := open(t, 1<<20)
		now := time.Now()
		for p := range record.MaxPerKey {
			if err := m.Put(entry(p, 1, 1, now, time.Hour), now); err != nil {
				t.Fatal(err)
			}
			if got := len(m.Records(num(1), now)); got != p+1 {
				t.Fatalf("%d of %d", got, p+1)
			}
		}
		for range 3 {
			synctest.Wait()
			exact(t, m)
			m.Tend(now)
			if got := len(m.Records(num(1), now)); got != record.MaxPerKey {
				t.Fatal("lost some: ", got)
			}
		}
		if len(m.following) != 0 {
			t.Error("the cache has not got the last")
		}
		if err := m.Put(entry(99, 1, 1, now, time.Hour), now); !errors.Is(err, record.ErrKeyFull) {
			t.Error(err)
		}
	})
}

func TestTimeIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := open(t, 1<<20)
		put := func(e record.Entry) {
			t.Helper()
			if err := m.Put(e, time.Now()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		put(entry(1, 1, 1, time.Now(), 10*time.Minute))
		put(entry(2, 1, 1, time.Now(), 20*time.Minute))
		put(entry(1, 2, 1, time.Now(), 10*time.Minute))
		time.Sleep(10 * time.Minute)
		if n := len(m.Records(num(1), time.Now())); n != 1 {
			t.Error("of two records one has expired, there are", n)
		}
		time.Sleep(10*time.Minute + time.Second) // all have, and the cache has not noticed
		put(entry(3, 1, 1, time.Now(), 10*time.Minute))
		time.Sleep(9 * time.Minute)
		if n := len(m.Records(num(1), time.Now())); n != 1 {
			t.Error("the successor of the expired has gone with them")
		}
		time.Sleep(2 * time.Minute)
		exact(t, m)
		if s := m.Stats(); s.Bytes != 0 || s.Records != 0 || s.Evicted != 0 || s.Expired != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// What the cache says of an entry that has been replaced is old news.
func TestLateNewsOfAPredecessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := open(t, 1<<20)
		now := time.Now()
		key := keyOf(forRecords, 0, &entry(1, 1, 1, now, time.Hour).Key)
		for seq := range uint64(2) {
			first := m.index[key]
			if err := m.Put(entry(1, 1, 1+seq, now, time.Hour), now); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			m.gone(first, true)
		}
		exact(t, m)
		if s := m.Stats(); s.Evicted != 0 || len(m.Records(num(1), now)) != 1 {
			t.Errorf("%+v", s)
		}
		m.gone(m.index[key], true)
		if s := m.Stats(); s.Evicted != 1 || s.Bytes != 0 || len(m.Records(num(1), now)) != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestRecall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := open(t, 1<<20)
		now := time.Now()
		if _, ok := m.Recall(record.Room, num(1), now); ok {
			t.Error("recalls what was not")
		}
		m.Remember(record.Room, num(1), nil, 10*time.Second, now)
		if found, ok := m.Recall(record.Room, num(1), now); !ok || len(found) != 0 {
			t.Error("forgets that there was nothing")
		}
		if _, ok := m.Recall(record.Presence, num(1), now); ok {
			t.Error("takes one kind for the other")
		}
		time.Sleep(10 * time.Second)
		if _, ok := m.Recall(record.Room, num(1), time.Now()); ok {
			t.Error("a negative answer does not end")
		}
		now = time.Now()
		short := entry(1, 1, 1, now, 5*time.Second).Signed
		m.Remember(record.Room, num(1), []*record.Signed{short}, time.Minute, now)
		synctest.Wait()
		if found, ok := m.Recall(record.Room, num(1), now); !ok || len(found) != 1 {
			t.Error("forgets what it found")
		}
		m.Forget(record.Room, num(1))
		if _, ok := m.Recall(record.Room, num(1), now); ok {
			t.Error("does not forget")
		}
		m.Remember(record.Room, num(1), []*record.Signed{short}, time.Minute, now)
		time.Sleep(5 * time.Second)
		if _, ok := m.Recall(record.Room, num(1), time.Now()); ok {
			t.Error("a result outlives its record")
		}
		if s := m.Stats(); s.Hits != 2 || s.Misses != 5 {
			t.Errorf("%+v", s)
		}
		time.Sleep(10 * time.Second)
		exact(t, m)
		if s := m.Stats(); s.Bytes != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Nobody gets more than a share, and a flood of many leaves the memory bounded
// and counted; what is asked for stays.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1 << 20
		m := open(t, size)
		now := time.Now()
		refused := 0
		for i := range 100_000 {
			if errors.Is(m.Put(entry(1, i, 1, now, time.Hour), now), ErrShare) {
				refused++
			}
		}
		synctest.Wait()
		exact(t, m)
		if s := m.Stats(); s.Bytes > size/shareParts || refused < 99_000 {
			t.Errorf("one publisher: %d refused, %+v", refused, s)
		}
		// One network of many publishers.
		for i := range 10_000 {
			if errors.Is(m.Put(from(2, 100+i, i, 1, now, time.Hour), now), ErrShare) {
				refused++
			}
		}
		if refused < 108_000 {
			t.Error("one network:", refused)
		}
		// Records that are wanted, and a hundred thousand of everybody.
		wanted := func() (n int) {
			for k := range 50 {
				n += len(m.Records(num(1_000_000+k), now))
				synctest.Wait() // the cache counts in bursts, and loses some
			}
			return n
		}
		for k := range 50 {
			if err := m.Put(entry(1_000_000+k, 1_000_000+k, 1, now, time.Hour), now); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			synctest.Wait()
			wanted()
		}
		took, busy := 0, 0
		for i := range 100_000 {
			switch err := m.Put(entry(3000+i, 3000+i, 1, now, time.Hour), now); {
			case err == nil:
				took++
			case errors.Is(err, ErrBusy):
				busy++
			}
			if s := m.Stats(); s.Bytes > size+size/slackParts {
				t.Fatalf("%+v", s)
			}
			if i%500 == 0 {
				synctest.Wait()
				wanted()
			}
		}
		synctest.Wait()
		exact(t, m)
		s := m.Stats()
		if s.Bytes > size || s.Records > size/500 || s.Evicted < uint64(took)*9/10 || s.Dropped != uint64(busy) || took+busy != 100_000 {
			t.Errorf("took %d, busy %d, %+v", took, busy, s)
		}
		if n := wanted(); n < 45 {
			t.Errorf("of 50 wanted records %d have survived", n)
		}
	})
}

// A cost is what the heap grows by, within reason; else the bound means
// nothing.
func TestCostIsReal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heap := func() int64 {
			runtime.GC()
			runtime.GC()
			var s runtime.MemStats
			runtime.ReadMemStats(&s)
			return int64(s.HeapAlloc)
		}
		m := open(t, 64<<20)
		now := time.Now()
		key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
		one, err := record.Sign(entry(1, 1, 1, now, time.Hour).Record, key)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Put(record.Entry{Signed: one}, now); err != nil { // the cache itself
			t.Fatal(err)
		}
		synctest.Wait()
		before, counted := heap(), m.Stats().Bytes
		const n = 8000
		for i := range n {
			s, err := record.Decode(one.Raw) // as from the network
			if err != nil {
				t.Fatal(err)
			}
			s.Key, s.By = num(i), num(i)
			if err := m.Put(record.Entry{Signed: s, Source: entry(i, 0, 0, now, 0).Source}, now); err != nil {
				t.Fatal(err)
			}
			if i%100 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		grown, charged := heap()-before, m.Stats().Bytes-counted
		runtime.KeepAlive(m)
		t.Logf("%d bytes charged, %d grown: %d and %d each", charged, grown, charged/n, grown/n)
		if grown > charged*5/4 || grown < charged/2 {
			t.Errorf("%d bytes are charged, the heap has grown by %d", charged, grown)
		}
	})
}

// Whatever happens in whatever order, the account is that of what is there.
func TestAccountProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.IntRange(0, 1<<20), 1, 150).Draw(rt, "steps")
		synctest.Test(t, func(*testing.T) {
			m := New(Config{Bytes: 24 << 10}) // room for some thirty
			m.Open()
			defer m.Close()
			for _, s := range steps {
				now, k := time.Now(), s>>4&31
				switch s & 15 {
				case 0:
					synctest.Wait()
				case 1:
					time.Sleep(time.Duration(s>>9) * time.Second)
				case 2:
					m.Tend(now)
				case 3:
					m.Forget(record.Room, num(k))
				case 4, 5:
					m.Remember(record.Room, num(k), []*record.Signed{entry(k, k, 1, now, time.Minute).Signed}, time.Minute, now)
				case 6:
					m.Records(num(k), now)
				default:
					synctest.Wait() // so that nothing is evicted between Try and Put
					e := entry(s>>9&15, k, uint64(s>>13&3), now, time.Duration(1+s>>15)*time.Minute)
					try, err := m.Try(e, now), m.Put(e, now)
					if try != nil && !errors.Is(err, try) {
						rt.Fatalf("Try says %v, Put %v", try, err)
					}
				}
				exact(rt, m)
			}
			synctest.Wait()
			time.Sleep(3 * time.Hour)
			m.Tend(time.Now())
			time.Sleep(time.Minute)
			exact(rt, m)
			if s := m.Stats(); s.Bytes != 0 || s.Records != 0 || len(m.following) != 0 {
				rt.Fatalf("left over: %+v", s)
			}
		})
	})
}

func TestOffAndClosed(t *testing.T) {
	now := time.Now()
	for name, m := range map[string]*Memory{"off": New(Config{Bytes: -1}), "closed": New(Config{Bytes: 1 << 20}), "not open": New(Config{Bytes: 1 << 20})} {
		if name != "not open" {
			m.Open()
		}
		if name == "closed" {
			if err := m.Put(entry(1, 1, 1, now, time.Hour), now); err != nil {
				t.Fatal(err)
			}
			m.Close()
		}
		if err := m.Put(entry(2, 1, 1, now, time.Hour), now); !errors.Is(err, ErrOff) {
			t.Errorf("%s: %v", name, err)
		}
		m.Remember(record.Room, num(1), nil, time.Minute, now)
		m.Tend(now)
		if s := m.Stats(); s.Bytes != 0 || s.Records != 0 || len(m.Records(num(1), now)) != 0 {
			t.Errorf("%s: %+v", name, s)
		}
		m.Close()
	}
}
