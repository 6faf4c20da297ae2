package table

import (
	"fmt"
	"slices"
	"testing"
)

// Spec dht 9.2 and the admission rows of 2.9. Self is zero; the ids of bucket
// 0 are ordered by distance through their last byte.

func id0(first byte) ID { return ID{first} }

func TestDiversityLimits(t *testing.T) {
	v4 := func(host ...int) (out []string) {
		for _, h := range host {
			out = append(out, fmt.Sprintf("93.184.216.%d:1", h))
		}
		return out
	}
	v6 := func(from, n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("[2001:db8::%x]:1", from+i))
		}
		return out
	}
	tests := []struct {
		name  string
		cfg   Config
		fit   []string
		extra string
		want  Result
	}{
		{"v6 /48", Config{}, v6(1, 5), "[2001:db8::99]:1", SubnetLimit},
		{"v4 exact", Config{}, v4(1, 1), "93.184.216.1:9", IPLimit},
		{"v4 /24", Config{}, v4(1, 2, 3, 4, 5), "93.184.216.6:1", SubnetLimit},
		{"local scope counts too", Config{}, []string{"192.168.1.1:1", "192.168.1.1:2"}, "192.168.1.1:3", IPLimit},
		{"families are counted apart", Config{}, append(v4(1, 1), v6(1, 5)...), "[2001:db8::99]:1", SubnetLimit},
		{"raised ip limit", Config{MaxPerIP: 3, MaxPerSubnet: Unlimited}, v4(1, 1, 1), "93.184.216.1:4", IPLimit},
		{"lowered subnet limit", Config{MaxPerSubnet: 1}, v4(1), "93.184.216.2:1", SubnetLimit},
		{"raised v6 subnet limit", Config{MaxPerSubnet: 8}, v6(1, 8), "[2001:db8::99]:1", SubnetLimit},
		{"lowered v6 subnet limit", Config{MaxPerSubnet: 1}, v6(1, 1), "[2001:db8::2]:1", SubnetLimit},
		{"mapped counts as v4", Config{}, v4(1, 1), "[::ffff:93.184.216.1]:1", IPLimit},
		{"v6 exact", Config{}, []string{"[2001:db8::1]:1", "[2001:db8::1]:2"}, "[2001:db8::1]:3", IPLimit},
		{"small k", Config{K: 4}, v4(1), "93.184.216.2:1", SubnetLimit},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tab := newTable(t, tt.cfg)
			for i, a := range tt.fit {
				offer(t, tab, b0(byte(i+1)), Added, a)
			}
			offer(t, tab, b0(200), tt.want, tt.extra) // farther than all: swaps nobody
			offer(t, tab, b0(201), Added, "8.8.8.8:1")
		})
	}
}

func TestUnlimitedDisablesDiversity(t *testing.T) {
	tab := newTable(t, Config{MaxPerIP: Unlimited, MaxPerSubnet: Unlimited})
	for i := range byte(8) {
		offer(t, tab, b0(i), Added, "1.1.1.1:1")
	}
}

func TestDiversitySwap(t *testing.T) {
	const ip = "93.184.216.1:1"
	late := int64(LiveThreshold) + 2*second
	tests := []struct {
		name    string
		trustFF float64
		now     int64
		cand    ID
		want    Result
		removed []ID
	}{
		{"trust protects, but not its neighbour", 0.8, 0, id0(0x80), Swapped, []ID{id0(0xfe)}},
		{"untrusted is swapped", 0.3, 0, id0(0x80), Swapped, []ID{id0(0xff)}},
		{"stale trusted is swapped", 0.9, late, id0(0x80), Swapped, []ID{id0(0xff)}},
		{"a farther candidate cannot swap", 0.3, 0, ID{0xff, 0xff}, IPLimit, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tab := newTable(t, Config{})
			tab.Add(0, id0(0xff), at(Direct, ip), NewTrust(tt.trustFF, 0))
			tab.Add(0, id0(0xfe), at(Direct, ip), NewTrust(0.5, 0))
			if tt.now > 0 { // keep the trust as it was meant
				tab.Get(id0(0xff)).SetTrust(NewTrust(tt.trustFF, tt.now))
			}
			adm := tab.Add(tt.now, tt.cand, at(Direct, ip), Trust{})
			var gone []ID
			for _, c := range adm.Removed {
				gone = append(gone, c.ID())
			}
			if adm.Result != tt.want || !slices.Equal(gone, tt.removed) {
				t.Errorf("%v, removed %v", adm.Result, gone)
			}
			if (tab.Get(id0(0xfe)) == nil) != slices.Contains(tt.removed, id0(0xfe)) {
				t.Error("the wrong one was taken")
			}
			if (tab.Get(tt.cand) != nil) != tt.want.In() || tab.Len() != 2 {
				t.Error("membership is wrong")
			}
		})
	}
}

// A silent neighbour must not bar a farther live newcomer for ever.
func TestStaleNeighbourIsAsked(t *testing.T) {
	tab := newTable(t, Config{})
	const ip = "93.184.216.1:1"
	offer(t, tab, b0(1), Added, ip)
	offer(t, tab, b0(2), Added, ip)
	late := int64(LiveThreshold) + second
	adm := tab.Add(late, b0(9), at(Direct, ip), Trust{})
	if adm.Result != StaleNeeded || len(adm.Stale) != 2 {
		t.Fatalf("%v %v", adm.Result, adm.Stale)
	}
	if r := tab.Readmit(late, b0(9), at(Direct, ip), Trust{}).Result; r != IPLimit {
		t.Fatal(r)
	}
	if tab.RemoveSilent(b0(1), RemovedStale, late) == nil {
		t.Fatal("not removed")
	}
	if r := tab.Readmit(late, b0(9), at(Direct, ip), Trust{}).Result; r != Added {
		t.Fatal(r)
	}
}

func TestCloseGroupDiversity(t *testing.T) {
	deep := func(bucket int) (id ID) { id[bucket/8] = 0x80 >> (bucket % 8); return id }
	t.Run("rejects excess", func(t *testing.T) {
		tab := newTable(t, Config{})
		for i := range 5 {
			offer(t, tab, deep(255-i), Added, fmt.Sprintf("93.184.216.%d:1", i+1))
		}
		offer(t, tab, deep(250), SubnetLimit, "93.184.216.9:1")
	})
	t.Run("closer evicts farthest", func(t *testing.T) {
		tab := newTable(t, Config{})
		for i, b := range []int{255, 254, 252, 251, 250} {
			offer(t, tab, deep(b), Added, fmt.Sprintf("93.184.216.%d:1", i+1))
		}
		adm := offer(t, tab, deep(253), Swapped, "93.184.216.9:1")
		if len(adm.Removed) != 1 || adm.Removed[0].ID() != deep(250) {
			t.Errorf("removed %v", adm.Removed)
		}
	})
}

func TestPreconditions(t *testing.T) {
	tab := newTable(t, Config{})
	offer(t, tab, tab.Self(), IsSelf, "1.1.1.1:1")
	offer(t, tab, b0(1), NoAddress)
	offer(t, tab, b0(1), Unspecified, "0.0.0.0:1", "[::]:1")
	offer(t, tab, b0(1), Unspecified, "224.0.0.1:1")
	offer(t, tab, b0(1), Loopback, "127.0.0.1:1")
	offer(t, tab, b0(1), Loopback, "[::1]:1")
	// A good address is not refused for the bad one beside it.
	adm := offer(t, tab, b0(1), Added, "127.0.0.1:1", "0.0.0.0:1", "1.1.1.1:1")
	if text(adm.Contact.Addrs()) != "d 1.1.1.1:1," {
		t.Error(text(adm.Contact.Addrs()))
	}
	loop := newTable(t, Config{AllowLoopback: true})
	for i := range byte(8) {
		offer(t, loop, b0(i), Added, "127.0.0.1:1")
	}
	offer(t, loop, b0(100), Added, "10.0.0.1:1")
}

func TestUpdate(t *testing.T) {
	tab := newTable(t, Config{})
	tab.Add(0, b0(1), at(Relay, "1.1.1.1:1"), Trust{})
	adm := offer(t, tab, b0(1), Updated, "1.1.1.1:1")
	if text(adm.Contact.Addrs()) != "d 1.1.1.1:1," || tab.Len() != 1 {
		t.Error(text(adm.Contact.Addrs()))
	}
	offer(t, tab, b0(1), Updated, "2.2.2.2:1")
	if text(adm.Contact.Addrs()) != "d 2.2.2.2:1," {
		t.Error(text(adm.Contact.Addrs()))
	}
}

// A peer must not move, once in, to where it would not have been admitted.
func TestAddressChangeIsHeldToTheLimits(t *testing.T) {
	tab := newTable(t, Config{})
	const crowded = "93.184.216.1:1"
	offer(t, tab, b0(1), Added, crowded)
	offer(t, tab, b0(2), Added, crowded)
	offer(t, tab, b0(3), Added, "8.8.8.8:1")
	if got := tab.Touch(b0(3), ap(crowded), Direct, 7); got != Slow {
		t.Fatal(got)
	}
	offer(t, tab, b0(3), Updated, crowded)
	if c := tab.Get(b0(3)); text(c.Addrs()) != "d 8.8.8.8:1," {
		t.Error(text(c.Addrs()))
	}
	// A new port on an IP it already has is no new party.
	tab.Touch(b0(2), ap("93.184.216.1:2"), Direct, 7)
	if c := tab.Get(b0(2)); text(c.Addrs()) != "d 93.184.216.1:2," {
		t.Error(text(c.Addrs()))
	}
}

func fullBucket(t *testing.T, cfg Config, trust ...float64) *Table {
	t.Helper()
	cfg.K = 4
	tab := newTable(t, cfg)
	for i := range 4 {
		tr := Trust{}
		if i < len(trust) {
			tr = NewTrust(trust[i], 0)
		}
		if r := tab.Add(0, b0(byte(i+1)), at(Direct, fmt.Sprintf("1.1.%d.1:1", i)), tr).Result; r != Added {
			t.Fatal(r)
		}
	}
	return tab
}

func TestCapacity(t *testing.T) {
	late := int64(LiveThreshold) + second
	tests := []struct {
		name    string
		cfg     Config
		trust   []float64
		now     int64
		cand    float64
		want    Result
		removed byte
	}{
		{"fresh and neutral", Config{}, nil, 0, 0.5, Full, 0},
		{"stale ones are named", Config{}, nil, late, 0.5, StaleNeeded, 0},
		{"lowest trust yields", Config{}, []float64{.5, .05, .5, .5}, 0, 0.5, Swapped, 2},
		{"the lowest of several", Config{}, []float64{.10, .5, .05, .5}, 0, 0.5, Swapped, 3},
		{"first of equals", Config{}, []float64{.5, .1, .1, .5}, 0, 0.5, Swapped, 2},
		{"an untrusted candidate swaps nobody", Config{}, []float64{.1, .1, .1, .1}, 0, 0.1, Full, 0},
		{"threshold off", Config{SwapThreshold: -1}, []float64{.01}, 0, 0.5, Full, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tab := fullBucket(t, tt.cfg, tt.trust...)
			adm := tab.Add(tt.now, b0(9), at(Direct, "9.9.9.9:1"), NewTrust(tt.cand, tt.now))
			if adm.Result != tt.want {
				t.Fatal(adm.Result)
			}
			if tt.removed != 0 && (len(adm.Removed) != 1 || adm.Removed[0].ID() != b0(tt.removed)) {
				t.Errorf("removed %v", adm.Removed)
			}
			if tt.want == StaleNeeded && (len(adm.Stale) != 4 || tab.Get(b0(9)) != nil) {
				t.Errorf("stale %v", adm.Stale)
			}
			if n := len(tab.Bucket(0)); n != 4 {
				t.Errorf("the bucket holds %d", n)
			}
		})
	}
	t.Run("low trust is admitted where there is room", func(t *testing.T) {
		tab := newTable(t, Config{})
		if r := tab.Add(0, b0(1), at(Direct, "1.1.1.1:1"), NewTrust(0.1, 0)).Result; r != Added {
			t.Error(r)
		}
	})
	t.Run("revalidation", func(t *testing.T) {
		tab := fullBucket(t, Config{})
		if r := tab.Readmit(late, b0(9), at(Direct, "9.9.9.9:1"), Trust{}).Result; r != Full {
			t.Error(r)
		}
		if tab.RemoveSilent(b0(1), RemovedStale, -1) != nil {
			t.Error("removed although it was heard after the probe began")
		}
		tab.RemoveSilent(b0(1), RemovedStale, late)
		if r := tab.Readmit(late, b0(9), at(Direct, "9.9.9.9:1"), Trust{}).Result; r != Added {
			t.Error(r)
		}
	})
}

func TestStaleLists(t *testing.T) {
	tab := newTable(t, Config{})
	offer(t, tab, b0(1), Added, "1.1.1.1:1")
	offer(t, tab, b0(2), Added, "2.2.2.2:1")
	offer(t, tab, b0(3), Added, "3.3.3.3:1")
	tab.Touch(b0(1), ap("1.1.1.1:1"), Direct, second)
	late := int64(LiveThreshold) + 2*second
	tab.Touch(b0(3), ap("3.3.3.3:1"), Direct, late)
	got := tab.Stale(nil, late)
	if len(got) != 2 || got[0].ID() != b0(2) || got[1].ID() != b0(1) {
		t.Errorf("%v", got)
	}
}

// reliability.md T32: 2 000 identities from one /24 against 200 honest contacts.
func TestSybilsFromOneSubnet(t *testing.T) {
	tab := newTable(t, Config{Self: pseudoID(1 << 40)})
	honest := fill(tab, 1000)
	for i := range 2000 {
		tab.Add(second, pseudoID(uint64(1<<20+i)), at(Direct, fmt.Sprintf("93.184.216.%d:%d", i%250+1, i+1)), Trust{})
	}
	kept := 0
	for _, id := range honest {
		if tab.Get(id) != nil {
			kept++
		}
	}
	if kept*100 < 95*len(honest) {
		t.Errorf("%d of %d honest contacts kept", kept, len(honest))
	}
	for i := range NumBuckets {
		if err := checkBucket(tab, i); err != nil {
			t.Error(err)
		}
	}
}
