package record

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"signalbox/dht/table"
)

func network(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n), 0}), 24)
}

func entry(t interface{ Fatal(...any) }, by byte, seq uint64, net int, at time.Time, ttl time.Duration, withdrawn bool) Entry {
	r := template(seq)
	r.Issued, r.TTL = at, ttl
	if !withdrawn {
		r.Addrs = []netip.AddrPort{netip.MustParseAddrPort("1.2.3.4:5")}
	}
	return Entry{sign(t, r, by), network(net)}
}

func TestPut(t *testing.T) {
	at := epoch
	put := func(set []Entry, e Entry, want error) []Entry {
		t.Helper()
		next, err := Put(set, e, MaxPerSource, at)
		if !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
		if err != nil && !slices.Equal(next, set) {
			t.Fatal("a refusal has changed the set")
		}
		return next
	}
	var set []Entry
	set = put(set, entry(t, 1, 5, 1, at, time.Hour, true), nil)
	if len(set) != 0 {
		t.Error("a withdrawal of nothing is kept")
	}
	first := entry(t, 1, 5, 1, at, time.Hour, false)
	set = put(set, first, nil)
	set = put(set, first, nil)
	put(set, entry(t, 1, 4, 1, at, time.Hour, false), ErrStale)
	put(set, entry(t, 1, 5, 1, at, time.Minute, false), ErrStale) // another of the same sequence
	set = put(set, entry(t, 2, 1, 1, at, time.Hour, false), nil)
	put(set, entry(t, 3, 1, 1, at, time.Hour, false), ErrCrowded)
	set = put(set, entry(t, 1, 6, 1, at, time.Hour, false), nil) // its own place
	set = put(set, entry(t, 1, 7, 1, at, time.Hour, true), nil)  // withdrawn
	put(set, first, ErrStale)                                    // and does not come back
	set = put(set, entry(t, 3, 1, 1, at, time.Hour, false), nil) // its place is free for the network
	for i := len(set); i < MaxPerKey; i++ {
		set = put(set, entry(t, byte(10+i), 1, 10+i, at, time.Hour, false), nil)
	}
	set = put(set, entry(t, 40, 1, 40, at, time.Hour, false), nil) // the withdrawal makes way
	put(set, entry(t, 41, 9, 41, at, time.Hour, false), ErrKeyFull)
	at = at.Add(time.Hour)
	if set = put(set, entry(t, 41, 9, 41, at, time.Hour, false), nil); len(set) != 1 {
		t.Error("expired records take place", len(set))
	}
}

// The oracle keeps every record it was told in a map, by publisher, and knows
// the rules as sentences; the set must agree with it after every step. Whatever
// strangers do, a live record goes only when it is replaced by its publisher
// or expires.
func TestPutAgainstOracle(t *testing.T) {
	signed := map[[5]int64]Entry{} // signing is what takes time
	rapid.Check(t, func(t *rapid.T) {
		now := epoch
		oracle := map[table.ID]Entry{}
		var set []Entry
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 120).Draw(t, "s")) * time.Second)
			by, net := rapid.Byte().Draw(t, "by")%40, rapid.IntRange(0, 20).Draw(t, "net")
			seq := rapid.Uint64Range(1, 4).Draw(t, "seq")
			ttl := time.Duration(rapid.IntRange(1, 60).Draw(t, "ttl")) * time.Minute
			gone := rapid.IntRange(0, 4).Draw(t, "gone") == 0
			k := [5]int64{int64(by), int64(seq), now.Unix(), int64(ttl), int64(net) << 1}
			if gone {
				k[4]++
			}
			e, ok := signed[k]
			if !ok {
				e = entry(t, by, seq, net, now, ttl, gone)
				signed[k] = e
			}
			next, err := Put(set, e, MaxPerSource, now)
			want := judge(oracle, e, now)
			if !errors.Is(err, want) {
				t.Fatalf("got %v, the oracle says %v", err, want)
			}
			set = next
			check(t, set, oracle, now)
		}
	})
}

// judge is Put's rules, applied to the oracle.
func judge(oracle map[table.ID]Entry, e Entry, now time.Time) error {
	live := map[table.ID]Entry{}
	crowd := 0
	for id, x := range oracle {
		if now.Before(x.Issued.Add(x.TTL)) {
			live[id] = x
			if id != e.By && x.Source == e.Source && len(x.Addrs) > 0 {
				crowd++
			}
		}
	}
	old, known := live[e.By]
	switch {
	case known && bytes.Equal(old.Raw, e.Raw):
		return nil
	case known && old.Sequence >= e.Sequence:
		return ErrStale
	case !known && len(e.Addrs) == 0:
		return nil
	case len(e.Addrs) > 0 && crowd >= MaxPerSource:
		return ErrCrowded
	case !known && len(live) >= MaxPerKey:
		var out *Entry
		for _, x := range live {
			if len(x.Addrs) > 0 {
				continue
			}
			a := x
			if out == nil || a.Expires().Before(out.Expires()) || a.Expires().Equal(out.Expires()) && bytes.Compare(a.By[:], out.By[:]) < 0 {
				out = &a
			}
		}
		if out == nil {
			return ErrKeyFull
		}
		delete(oracle, out.By)
	}
	oracle[e.By] = e
	return nil
}

func check(t *rapid.T, set []Entry, oracle map[table.ID]Entry, now time.Time) {
	if len(set) > MaxPerKey {
		t.Fatal("unbounded", len(set))
	}
	got := map[table.ID]bool{}
	for _, x := range set {
		if x.Fresh(now) != nil {
			continue // goes with the next change
		}
		if got[x.By] {
			t.Fatal("two of one publisher")
		}
		got[x.By] = true
		if o, ok := oracle[x.By]; !ok || !bytes.Equal(o.Raw, x.Raw) {
			t.Fatalf("the set has a record the oracle has not: by %s", x.By.Short())
		}
	}
	for id, x := range oracle {
		if x.Fresh(now) == nil && !got[id] {
			t.Fatalf("the set has lost a record of %s", id.Short())
		}
	}
}
