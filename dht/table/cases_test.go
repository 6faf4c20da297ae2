package table

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
)

// namedCase is a case of the original's suites under its name there, with what
// this table does. Departures are marked, and argued for in docs/decisions.
type namedCase struct {
	name string
	run  func(t *testing.T)
}

func runCases(t *testing.T, cases []namedCase) {
	t.Helper()
	seen := map[string]bool{}
	for _, c := range cases {
		if seen[c.name] {
			t.Fatalf("%s twice", c.name)
		}
		seen[c.name] = true
		t.Run(c.name, c.run)
	}
}

// with makes a table that has the ids, each at an address of its own network.
func withIDs(t *testing.T, cfg Config, ids ...ID) *Table {
	t.Helper()
	tab := newTable(t, cfg)
	for i, id := range ids {
		offer(t, tab, id, Added, fmt.Sprintf("11.%d.%d.1:1", i/250, i%250))
	}
	return tab
}

func idsOf(list []*Contact) (out []ID) {
	for _, c := range list {
		out = append(out, c.ID())
	}
	return out
}

// one is a contact with a list of addresses.
func one(t *testing.T, list []Addr) (*Table, *Contact) {
	t.Helper()
	tab := newTable(t, Config{})
	adm := tab.Add(0, b0(1), list, Trust{})
	if adm.Result != Added {
		t.Fatal(adm.Result)
	}
	return tab, adm.Contact
}

func addrsAre(t *testing.T, c *Contact, want string) {
	t.Helper()
	if got := text(c.Addrs()); got != want {
		t.Errorf("addresses %q, want %q", got, want)
	}
}

const lateNow = int64(LiveThreshold) + second

// Spec dht 2.9: touch.
func TestCasesTouch(t *testing.T) {
	touch := func(have []Addr, addr netip.AddrPort, typ AddrType, want Touched, after string) func(*testing.T) {
		return func(t *testing.T) {
			tab, c := one(t, have)
			if got := tab.Touch(c.ID(), addr, typ, 7); got != want || c.LastSeen() != 7 {
				t.Errorf("%v, last seen %d", got, c.LastSeen())
			}
			addrsAre(t, c, after)
		}
	}
	const a, b = "1.2.3.4:1", "5.6.7.8:1"
	runCases(t, []namedCase{
		{"T1 self", func(t *testing.T) {
			tab := newTable(t, Config{Self: pseudoID(3)})
			if tab.Touch(pseudoID(3), ap(a), Direct, 1) != Missing {
				t.Error("self is a contact")
			}
		}},
		{"T2 absent", func(t *testing.T) {
			tab := newTable(t, Config{})
			tab.mu.Lock() // not taken
			defer tab.mu.Unlock()
			if tab.Touch(b0(9), ap(a), Direct, 1) != Missing {
				t.Error("an absent one was touched")
			}
		}},
		{"T3 no address", touch(at(Direct, a), netip.AddrPort{}, Direct, Fast, "d 1.2.3.4:1,")},
		{"T4 same", touch(at(Direct, a), ap(a), Direct, Fast, "d 1.2.3.4:1,")},
		{"T5 promotion", touch(at(Direct, a), ap(a), Relay, Slow, "r 1.2.3.4:1,")},
		{"T6 demotion", touch(at(Relay, a), ap(a), Direct, Slow, "d 1.2.3.4:1,")},
		{"T7 loopback beside another", touch(at(Direct, "10.0.0.1:1"), ap("127.0.0.1:1"), Direct, Fast, "l 10.0.0.1:1,")},
		{"T8 loopback only", func(t *testing.T) {
			tab := newTable(t, Config{AllowLoopback: true})
			c := offer(t, tab, b0(1), Added, "127.0.0.1:1").Contact
			if tab.Touch(b0(1), ap("[::1]:1"), Direct, 7) != Slow {
				t.Error("not merged")
			}
			addrsAre(t, c, "d [::1]:1,d 127.0.0.1:1,")
		}},
		{"T9 new address", touch(at(Direct, a), ap(b), Direct, Slow, "d 5.6.7.8:1,")},
		{"T10 readers and touches take no lock", casesLockFree},
		{"test_touch_node_merges_address", touch(at(Direct, a), ap(b), Direct, Slow, "d 5.6.7.8:1,")},
		{"test_touch_node_none_preserves_addresses", touch(at(Direct, a), netip.AddrPort{}, Direct, Fast, "d 1.2.3.4:1,")},
		{"test_touch_node_moves_to_tail (departure: order is by id and means nothing; freshness is what counts)", func(t *testing.T) {
			tab := withIDs(t, Config{}, b0(1), b0(2), b0(3))
			tab.Touch(b0(1), netip.AddrPort{}, Direct, 2*second)
			if !slices.Equal(idsOf(tab.Bucket(0)), []ID{b0(1), b0(2), b0(3)}) {
				t.Error("the order moved")
			}
			if st := tab.Stale(nil, lateNow); len(st) != 2 || st[0].ID() == b0(1) {
				t.Error("the touch does not count")
			}
		}},
		{"test_touch_node_missing_returns_false", func(t *testing.T) {
			if withIDs(t, Config{}, b0(1)).Touch(b0(99), netip.AddrPort{}, Direct, 1) != Missing {
				t.Error("found")
			}
		}},
		{"test_loopback_injection_prevented_in_touch", touch(at(Direct, "10.0.0.1:1"), ap("127.0.0.1:1"), Direct, Fast, "l 10.0.0.1:1,")},
	})
}

// casesLockFree runs the whole read path, touches included, while the table's
// mutex is held: whoever took it would never return.
func casesLockFree(t *testing.T) {
	tab := newTable(t, Config{MaxPerIP: Unlimited, MaxPerSubnet: Unlimited})
	ids := fill(tab, 500)
	tab.mu.Lock()
	defer tab.mu.Unlock()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var buf [20]*Contact
			for i := range 2000 {
				id := ids[(i*31+g)%len(ids)]
				c := tab.Get(id)
				for _, try := range []struct {
					addr netip.AddrPort
					typ  AddrType
				}{{netip.AddrPort{}, Direct}, {c.Addrs()[0].AddrPort, Direct}, {ap("127.0.0.1:1"), Direct}, {ap("9.9.9.9:9"), Unverified}} {
					if tab.Touch(id, try.addr, try.typ, int64(i)) != Fast {
						t.Error("not fast")
					}
				}
				tab.Closest(buf[:0], pseudoID(uint64(i)), 20)
				_, _ = tab.Len(), tab.Blocked(id)
				_, _ = tab.BucketAge(c.Bucket(), int64(i))
				_, _ = tab.Bucket(c.Bucket()), tab.Deepest()
				tab.Probed(c.Bucket(), int64(i))
				c.ObserveRTT(5)
				c.SetTrust(NewTrust(0.6, 1))
			}
			tab.Stale(nil, 1)
			tab.Contacts(nil)
			tab.Touches()
		})
	}
	wg.Wait()
}

// Spec dht 2.9: ids, buckets, closest.
func TestCasesTable(t *testing.T) {
	runCases(t, []namedCase{
		{"test_xor_distance", func(t *testing.T) {
			var f ID
			for i := range f {
				f[i] = 0xff
			}
			if Distance(ID{}, f) != f {
				t.Error(Distance(ID{}, f))
			}
		}},
		{"test_find_closest_nodes_no_duplicates_at_bucket_zero", func(t *testing.T) {
			tab := withIDs(t, Config{}, id0(0x80), id0(0x40))
			if got := idsOf(tab.Closest(nil, id0(0x80), 8)); !slices.Equal(got, []ID{id0(0x80), id0(0x40)}) {
				t.Error(got)
			}
		}},
		{"test_find_closest_nodes_no_duplicates_at_bucket_255", func(t *testing.T) {
			x, y := ID{31: 1}, ID{31: 2}
			tab := withIDs(t, Config{}, x, y)
			if got := idsOf(tab.Closest(nil, x, 8)); !slices.Equal(got, []ID{x, y}) {
				t.Error(got)
			}
		}},
		{"test_find_closest_nodes_returns_sorted_by_distance", func(t *testing.T) {
			tab := withIDs(t, Config{}, id0(0x80), id0(0x40), id0(0x20), id0(0x10), id0(0x08))
			if got := idsOf(tab.Closest(nil, ID{}, 3)); !slices.Equal(got, []ID{id0(0x08), id0(0x10), id0(0x20)}) {
				t.Error(got)
			}
		}},
		{"test_find_closest_nodes_empty_table", func(t *testing.T) {
			if len(newTable(t, Config{}).Closest(nil, pseudoID(1), 20)) != 0 {
				t.Error("somebody")
			}
		}},
		{"test_generate_random_key_for_bucket_lands_in_correct_bucket", func(t *testing.T) {
			tab := newTable(t, Config{Self: pseudoID(5)})
			self := tab.Self()
			for _, i := range []int{0, 1, 7, 8, 15, 127, 128, 200, 255} {
				if k, ok := tab.RandomKey(i, pseudoID(uint64(i)+99)); !ok || BucketIndex(&self, &k) != i {
					t.Errorf("bucket %d: %s", i, k)
				}
			}
		}},
		{"test_generate_random_key_for_bucket_out_of_range", func(t *testing.T) {
			for _, i := range []int{256, 1000} {
				if _, ok := newTable(t, Config{}).RandomKey(i, ID{}); ok {
					t.Error(i)
				}
			}
		}},
		{"test_generate_random_key_for_bucket_produces_different_keys", func(t *testing.T) {
			tab := newTable(t, Config{})
			x, _ := tab.RandomKey(4, pseudoID(1))
			y, _ := tab.RandomKey(4, pseudoID(2))
			if x == y {
				t.Error("the same")
			}
		}},
		{"test_stale_bucket_indices_returns_empty_when_fresh", func(t *testing.T) {
			tab := withIDs(t, Config{}, b0(1))
			if live, _ := tab.BucketAge(0, 5); live != 5 || len(tab.Stale(nil, 5)) != 0 {
				t.Error("not fresh")
			}
		}},
		{"bucket_refresh_candidates", func(t *testing.T) {
			tab := newTable(t, Config{})
			for i := range NumBuckets {
				if live, probe := tab.BucketAge(i, 5); live >= 0 || probe >= 0 {
					t.Fatal("an empty bucket has an age")
				}
			}
			tab.Probed(3, 5)
			if live, probe := tab.BucketAge(3, 9); live >= 0 || probe != 4 {
				t.Error(live, probe)
			}
		}},
		{"marking_bucket_probe_finished_does_not_refresh_live_peer_timestamp", func(t *testing.T) {
			tab := withIDs(t, Config{}, b0(1))
			tab.Probed(0, 5*second)
			if live, probe := tab.BucketAge(0, 6*second); live != 6*second || probe != second {
				t.Error(live, probe)
			}
			if tab.Get(b0(1)).LastSeen() != 0 {
				t.Error("the contact was touched")
			}
		}},
		{"test_local_lookup_excludes_self", func(t *testing.T) {
			tab := withIDs(t, Config{}, b0(1))
			if slices.Contains(idsOf(tab.Closest(nil, tab.Self(), 20)), tab.Self()) {
				t.Error("self is its own contact")
			}
		}},
		{"test_collect_stale_peers_in_bucket", func(t *testing.T) {
			tab := withIDs(t, Config{}, b0(1), b0(2))
			tab.Touch(b0(2), netip.AddrPort{}, Direct, lateNow)
			if got := idsOf(tab.Stale(nil, lateNow)); !slices.Equal(got, []ID{b0(1)}) {
				t.Error(got)
			}
		}},
		{"test_peer_removal_produces_events", func(t *testing.T) {
			if tab := withIDs(t, Config{}, b0(1)); tab.Remove(b0(1), RemovedEvicted) == nil || tab.Removals(RemovedEvicted) != 1 {
				t.Error("nothing to tell")
			}
		}},
		{"test_remove_absent_peer_produces_no_events", func(t *testing.T) {
			if tab := withIDs(t, Config{}, b0(1)); tab.Remove(b0(2), RemovedEvicted) != nil || tab.Removals(RemovedEvicted) != 0 {
				t.Error("something to tell")
			}
		}},
		{"test_k_closest_changed_event_on_first_insertion (departure: no such event; who needs the close group asks for it, without a lock)", func(t *testing.T) {
			tab := withIDs(t, Config{}, b0(1))
			before := idsOf(tab.Closest(nil, tab.Self(), tab.K()))
			offer(t, tab, b0(2), Added, "9.9.9.9:1")
			if after := idsOf(tab.Closest(nil, tab.Self(), tab.K())); slices.Equal(before, after) {
				t.Error("the close group did not change")
			}
		}},
		{"test_trust_event_for_absent_peer_does_not_affect_rt", func(t *testing.T) {
			tab := withIDs(t, Config{}, b0(1))
			(&Contact{id: b0(2)}).SetTrust(NewTrust(1, 0))
			if tab.Len() != 1 {
				t.Error(tab.Len())
			}
		}},
		{"test_non_ip_transport_bypasses_diversity (departure: QUIC only, every address has an IP)", func(t *testing.T) {
			offer(t, newTable(t, Config{}), b0(1), NoAddress)
		}},
	})
}

// Spec dht 2.9: admission.
func TestCasesAdmission(t *testing.T) {
	const ip = "93.184.216.1:1"
	// pair are FF and FE at one IP, with the trust of FF; the candidate is 80.
	pair := func(t *testing.T, trustFF, trustFE float64, now int64) (*Table, Admission) {
		tab := newTable(t, Config{})
		tab.Add(0, id0(0xff), at(Direct, ip), NewTrust(trustFF, 0))
		tab.Add(0, id0(0xfe), at(Direct, ip), NewTrust(trustFE, 0))
		return tab, tab.Add(now, id0(0x80), at(Direct, ip), Trust{})
	}
	swapped := func(t *testing.T, adm Admission, who ID) {
		t.Helper()
		if adm.Result != Swapped || len(adm.Removed) != 1 || adm.Removed[0].ID() != who {
			t.Errorf("%v, removed %v", adm.Result, idsOf(adm.Removed))
		}
	}
	loopback := func(allow bool, addr string, want Result) func(*testing.T) {
		return func(t *testing.T) { offer(t, newTable(t, Config{AllowLoopback: allow}), b0(1), want, addr) }
	}
	runCases(t, []namedCase{
		{"test_duplicate_admission_updates_existing", func(t *testing.T) {
			tab := newTable(t, Config{})
			offer(t, tab, b0(1), Added, "11.0.0.1:1")
			adm := offer(t, tab, b0(1), Updated, "11.0.0.2:1")
			addrsAre(t, adm.Contact, "d 11.0.0.2:1,")
		}},
		{"test_update_short_circuit_no_events", func(t *testing.T) {
			tab := withIDs(t, Config{}, b0(1))
			if adm := offer(t, tab, b0(1), Updated, "11.0.0.1:1"); len(adm.Removed)+len(adm.Stale) != 0 || tab.Results(Added) != 1 {
				t.Error("told twice")
			}
		}},
		{"test_add_node_rejects_empty_addresses", func(t *testing.T) { offer(t, newTable(t, Config{}), b0(1), NoAddress) }},
		{"test_add_node_oversized_same_family_collapses_to_cap", func(t *testing.T) {
			_, c := one(t, twelve())
			addrsAre(t, c, "d 11.0.0.12:1,")
		}},
		{"test_add_node_replace_collapses_under_cap", func(t *testing.T) {
			tab := withIDs(t, Config{}, b0(1))
			adm := tab.Add(0, b0(1), twelve(), Trust{})
			addrsAre(t, adm.Contact, "d 11.0.0.12:1,")
		}},
		{"test_loopback_rejected_when_allow_loopback_false", loopback(false, "127.0.0.1:1", Loopback)},
		{"test_loopback_rejected_when_allow_loopback_false v6", loopback(false, "[::1]:1", Loopback)},
		{"test_loopback_accepted_when_allow_loopback_true", loopback(true, "127.0.0.1:1", Added)},
		{"test_non_loopback_unaffected_by_allow_loopback_flag", loopback(true, "10.0.0.1:1", Added)},
		{"test_testnet_config_disables_ip_diversity", func(t *testing.T) {
			tab := newTable(t, Config{MaxPerIP: Unlimited, MaxPerSubnet: Unlimited})
			for i := range byte(8) {
				offer(t, tab, b0(i), Added, ip)
			}
		}},
		{"test_low_trust_candidate_still_admitted", func(t *testing.T) {
			if r := newTable(t, Config{}).Add(0, b0(1), at(Direct, ip), NewTrust(0.1, 0)).Result; r != Added {
				t.Error(r)
			}
		}},
		{"test_stale_trusted_peer_can_be_swapped", func(t *testing.T) {
			tab, adm := pair(t, 0.8, 0.5, lateNow)
			swapped(t, adm, id0(0xff))
			if tab.Get(id0(0xfe)) == nil {
				t.Error("both left")
			}
		}},
		{"test_live_trusted_peer_holds_slot", func(t *testing.T) {
			tab, adm := pair(t, 0.8, 0.8, 0)
			if adm.Result != IPLimit || tab.Get(id0(0xff)) == nil {
				t.Error(adm.Result)
			}
		}},
		{"test_peer_added_event_on_insertion", func(t *testing.T) {
			if adm := offer(t, newTable(t, Config{}), b0(1), Added, ip); adm.Contact == nil {
				t.Error("nobody to tell of")
			}
		}},
		{"test_swap_eviction_produces_both_events", func(t *testing.T) {
			_, adm := pair(t, 0.3, 0.5, 0)
			swapped(t, adm, id0(0xff))
			if adm.Contact == nil || adm.Contact.ID() != id0(0x80) {
				t.Error("the newcomer is not told of")
			}
		}},
		{"test_eclipse_resistance_live_trusted_peers", func(t *testing.T) {
			tab, adm := pair(t, 0.9, 0.9, 0)
			if adm.Result != IPLimit || tab.Len() != 2 {
				t.Error(adm.Result, tab.Len())
			}
		}},
		{"test_stale_trusted_peer_displaced_by_closer_candidate", func(t *testing.T) {
			_, adm := pair(t, 0.9, 0.9, lateNow)
			swapped(t, adm, id0(0xff))
		}},
		{"test_stale_revalidation_needed_when_bucket_full_with_stale_peers", func(t *testing.T) {
			tab := fullBucket(t, Config{})
			adm := tab.Add(lateNow, b0(9), at(Direct, "9.9.9.9:1"), Trust{})
			if adm.Result != StaleNeeded || len(adm.Stale) != 4 || tab.Len() != 4 {
				t.Error(adm.Result, len(adm.Stale))
			}
		}},
		{"test_no_stale_revalidation_when_bucket_full_no_stale", func(t *testing.T) {
			offer(t, fullBucket(t, Config{}), b0(9), Full, "9.9.9.9:1")
		}},
		{"test_re_evaluate_admission_after_eviction", func(t *testing.T) {
			tab := fullBucket(t, Config{})
			tab.Remove(b0(1), RemovedEvicted)
			if r := tab.Readmit(0, b0(9), at(Direct, "9.9.9.9:1"), Trust{}).Result; r != Added {
				t.Error(r)
			}
		}},
		{"test_re_evaluate_admits_low_trust_candidate", func(t *testing.T) {
			if r := newTable(t, Config{}).Readmit(0, b0(9), at(Direct, ip), NewTrust(0.1, 0)).Result; r != Added {
				t.Error(r)
			}
		}},
		{"test_re_evaluate_does_not_trigger_second_revalidation", func(t *testing.T) {
			if adm := fullBucket(t, Config{}).Readmit(lateNow, b0(9), at(Direct, "9.9.9.9:1"), Trust{}); adm.Result != Full || len(adm.Stale) != 0 {
				t.Error(adm.Result)
			}
		}},
		{"test_trust_swap_out_replaces_lowest_trust_peer", func(t *testing.T) {
			swapped(t, fullBucket(t, Config{}, .5, .05, .5, .5).Add(0, b0(9), at(Direct, "9.9.9.9:1"), Trust{}), b0(2))
		}},
		{"test_trust_swap_out_picks_lowest_when_multiple_below_threshold", func(t *testing.T) {
			swapped(t, fullBucket(t, Config{}, .10, .5, .05, .5).Add(0, b0(9), at(Direct, "9.9.9.9:1"), Trust{}), b0(3))
		}},
		{"test_no_trust_swap_when_all_peers_above_threshold", func(t *testing.T) {
			offer(t, fullBucket(t, Config{}, .5, .5, .5, .5), b0(9), Full, "9.9.9.9:1")
		}},
		{"test_no_trust_swap_when_threshold_is_zero", func(t *testing.T) {
			tab := fullBucket(t, Config{SwapThreshold: -1}, .01) // negative is how it is switched off here
			offer(t, tab, b0(9), Full, "9.9.9.9:1")
			if tab.Get(b0(1)) == nil {
				t.Error("the member has gone")
			}
		}},
		{"add_node_strips_wildcards", func(t *testing.T) {
			_, c := one(t, at(Direct, "0.0.0.0:1", "11.0.0.1:1", "[::]:9", "11.0.0.9:0"))
			addrsAre(t, c, "d 11.0.0.1:1,")
		}},
		{"add_node_rejects_only_wildcards", func(t *testing.T) { offer(t, newTable(t, Config{}), b0(1), Unspecified, "0.0.0.0:1") }},
		{"engine_add_node_admits_mixed_wildcard_and_routable", func(t *testing.T) {
			offer(t, newTable(t, Config{}), b0(1), Added, "0.0.0.0:1", "11.0.0.1:1")
		}},
		{"engine_add_node_rejects_only_wildcard", func(t *testing.T) { offer(t, newTable(t, Config{}), b0(1), Unspecified, "[::]:1") }},
		{"one tier per call (departure: every tier is cleared in one call)", func(t *testing.T) {
			tab := newTable(t, Config{K: 8}) // 2 per IP, 2 per /24
			offer(t, tab, b0(50), Added, "93.184.216.1:1")
			offer(t, tab, b0(51), Added, "93.184.216.2:1")
			// The limit was lowered under what is there already: both tiers are over.
			tab.cfg.MaxPerIP, tab.cfg.MaxPerSubnet = 1, 1
			adm := offer(t, tab, b0(1), Swapped, "93.184.216.1:1")
			if got := idsOf(adm.Removed); !slices.Equal(got, []ID{b0(50), b0(51)}) {
				t.Error(got)
			}
		}},
		{"whole-record rejection (departure: a bad address does not spoil a good one)", func(t *testing.T) {
			adm := offer(t, newTable(t, Config{}), b0(1), Added, "127.0.0.1:1", "224.0.0.1:1", "11.0.0.1:1")
			addrsAre(t, adm.Contact, "d 11.0.0.1:1,")
		}},
		{"outcomes do not depend on the order of addresses", func(t *testing.T) {
			var want []ID
			for i := range 20 {
				tab := newTable(t, Config{})
				offer(t, tab, b0(60), Added, "93.184.216.1:1")
				offer(t, tab, b0(61), Added, "93.184.216.1:2")
				offer(t, tab, b0(62), Added, "[2001:db8::1]:1")
				offer(t, tab, b0(63), Added, "[2001:db8::1]:2")
				adm := offer(t, tab, b0(1), Swapped, "93.184.216.1:9", "[2001:db8::1]:9")
				if got := idsOf(adm.Removed); i == 0 {
					want = got
				} else if !slices.Equal(got, want) {
					t.Fatal(got, want)
				}
			}
		}},
	})
}

func twelve() (out []Addr) {
	for i := range 12 {
		out = append(out, at(Direct, fmt.Sprintf("11.0.0.%d:1", i+1))...)
	}
	return out
}

// Spec dht 2.9: the merge of addresses, cap included.
func TestCasesAddresses(t *testing.T) {
	merged := func(want string, in ...[]Addr) func(*testing.T) {
		return func(t *testing.T) {
			_, c := one(t, slices.Concat(in...))
			addrsAre(t, c, want)
		}
	}
	const v4, v6 = "11.0.0.1:1", "[2001:db8::1]:1"
	const v4b, v6b = "11.0.0.2:1", "[2001:db8::2]:1"
	runCases(t, []namedCase{
		{"cap_allows_relay_plus_best_non_relay_per_family", merged("r 11.0.0.1:1,r [2001:db8::1]:1,d 11.0.0.2:1,d [2001:db8::2]:1,",
			at(Direct, v6b, v4b), at(Relay, v6, v4))},
		{"cap_direct_dominates_unverified_same_family", merged("d 11.0.0.1:1,", at(Direct, v4), at(Unverified, v4b))},
		{"cap_direct_preserves_lan", merged("d 11.0.0.1:1,l 10.0.0.1:1,", at(Direct, v4), at(Lan, "10.0.0.1:1"))},
		{"cap_unverified_preserves_lan", merged("u 11.0.0.1:1,l 10.0.0.1:1,", at(Unverified, v4), at(Lan, "10.0.0.1:1"))},
		{"cap_relay_plus_unverified_allowed", merged("r 11.0.0.1:1,u 11.0.0.2:1,", at(Relay, v4), at(Unverified, v4b))},
		{"cap_ipv4_and_ipv6_are_independent", merged("d [2001:db8::1]:1,d 11.0.0.1:1,", at(Direct, v4, v6))},
		{"cap_merge_direct_then_lan", merged("d 11.0.0.1:1,l 10.0.0.1:1,", at(Direct, v4), at(Lan, "10.0.0.1:1"))},
		{"cap_merge_lan_then_direct", merged("d 11.0.0.1:1,l 10.0.0.1:1,", at(Lan, "10.0.0.1:1"), at(Direct, v4))},
		{"cap_newest_relay_replaces_stale_same_family_relay", merged("r 11.0.0.2:1,", at(Relay, v4, v4b))},
		{"cap_newest_relay_preserves_different_family_relay", merged("r 11.0.0.1:1,r [2001:db8::1]:1,", at(Relay, v6, v4))},
		{"cap_normalizes_legacy_multi_entry_input", merged("d 11.0.0.3:1,", at(Direct, v4, v4b, "11.0.0.3:1"))},
		{"untagged_address_type_falls_back_to_unverified (departure: every address has a type; one that is unknown is not stored)", func(t *testing.T) {
			if adm := newTable(t, Config{}).Add(0, b0(1), []Addr{{ap(v4), NumAddrTypes}}, Trust{}); adm.Result != Unspecified {
				t.Error(adm.Result)
			}
		}},
		{"replace_addresses_canonicalizes_local_scope_direct_to_lan", merged("l 192.168.1.10:1,", at(Direct, "192.168.1.10:1"))},
		{"is_storable_address", func(t *testing.T) {
			for s, want := range map[string]bool{
				"0.0.0.0:1": false, "[::]:1": false, "11.0.0.1:0": false, "[2001:db8::1]:0": false, "224.0.0.1:1": false, "255.255.255.255:1": false,
				v4: true, v6: true, "127.0.0.1:1": true, "[::1]:1": true,
			} {
				if Storable(Canonical(ap(s))) != want {
					t.Error(s)
				}
			}
		}},
	})
}

// Spec dht 9.2: the original's security suite.
func TestCasesSecurity(t *testing.T) {
	seq := func(n int, addr func(i int) string) (out []string) {
		for i := range n {
			out = append(out, addr(i+1))
		}
		return out
	}
	limit := func(cfg Config, fit []string, extra string, want Result) func(*testing.T) {
		return func(t *testing.T) {
			tab := newTable(t, cfg)
			for i, a := range fit {
				offer(t, tab, b0(byte(i)), Added, a)
			}
			offer(t, tab, b0(200), want, extra)
		}
	}
	v6 := func(i int) string { return fmt.Sprintf("[2001:db8::%x]:1", i) }
	v4 := func(i int) string { return fmt.Sprintf("93.184.216.%d:1", i) }
	same := func(int) string { return "93.184.216.34:1" }
	same6 := func(int) string { return "[2001:db8::7]:1" }
	swap := func(trustFF, trustFE float64, cand ID, want Result, gone ...ID) func(*testing.T) {
		return func(t *testing.T) {
			tab := newTable(t, Config{})
			tab.Add(0, id0(0xff), at(Direct, v4(1)), NewTrust(trustFF, 0))
			tab.Add(0, id0(0xfe), at(Direct, v4(1)), NewTrust(trustFE, 0))
			adm := tab.Add(0, cand, at(Direct, v4(1)), Trust{})
			if adm.Result != want || !slices.Equal(idsOf(adm.Removed), gone) || tab.Len() != 2 {
				t.Errorf("%v, removed %v", adm.Result, idsOf(adm.Removed))
			}
		}
	}
	deep := func(bucket int) (id ID) { id[bucket/8] = 0x80 >> (bucket % 8); return id }
	runCases(t, []namedCase{
		{"test_ip_diversity_enforcement_ipv6", limit(Config{}, seq(5, v6), v6(6), SubnetLimit)},
		{"test_ip_diversity_enforcement_ipv4", limit(Config{}, seq(2, same), same(0), IPLimit)},
		{"test_ipv4_subnet_24_limit", limit(Config{}, seq(5, v4), v4(6), SubnetLimit)},
		{"test_mixed_ipv4_ipv6_enforcement v4", limit(Config{}, append(seq(2, same), seq(4, v6)...), same(0), IPLimit)},
		{"test_mixed_ipv4_ipv6_enforcement v6", limit(Config{}, append(seq(2, same), seq(5, v6)...), v6(9), SubnetLimit)},
		{"test_ipv4_ip_override_raises_limit", limit(Config{MaxPerIP: 3, MaxPerSubnet: Unlimited}, seq(3, same), same(0), IPLimit)},
		{"test_ipv4_subnet_override_lowers_limit", limit(Config{MaxPerSubnet: 1}, seq(1, v4), v4(2), SubnetLimit)},
		{"test_ipv6_subnet_override_raises_limit", limit(Config{MaxPerSubnet: 8}, seq(8, v6), v6(9), SubnetLimit)},
		{"test_ipv6_subnet_override_lowers_limit", limit(Config{MaxPerSubnet: 1}, seq(1, v6), v6(2), SubnetLimit)},
		{"test_no_override_uses_defaults", limit(Config{}, seq(2, same), same(0), IPLimit)},
		{"test_trust_protects_peer_from_swap (departure: FF keeps its place, and FE, which nothing protects, yields)", swap(0.8, 0.5, id0(0x80), Swapped, id0(0xfe))},
		{"test_trust_protects_peer_from_swap, both", swap(0.8, 0.8, id0(0x80), IPLimit)},
		{"test_untrusted_peer_can_be_swapped", swap(0.3, 0.5, id0(0x80), Swapped, id0(0xff))},
		{"test_self_insertion_rejected", func(t *testing.T) { tab := newTable(t, Config{}); offer(t, tab, tab.Self(), IsSelf, v4(1)) }},
		{"test_ipv4_mapped_ipv6_counts_as_ipv4", limit(Config{}, seq(2, same), "[::ffff:93.184.216.34]:1", IPLimit)},
		{"test_ipv6_exact_ip_limit", limit(Config{}, seq(2, same6), same6(0), IPLimit)},
		{"test_farther_candidate_cannot_swap", swap(0.3, 0.3, ID{0xff, 0xff}, IPLimit)},
		{"test_close_group_ip_diversity_rejects_excess", func(t *testing.T) {
			tab := newTable(t, Config{})
			for i := range 5 {
				offer(t, tab, deep(255-i), Added, v4(i+1))
			}
			offer(t, tab, deep(250), SubnetLimit, v4(9))
		}},
		{"test_close_group_swap_closer_evicts_farthest", func(t *testing.T) {
			tab := newTable(t, Config{})
			for i, b := range []int{255, 254, 252, 251, 250} {
				offer(t, tab, deep(b), Added, v4(i+1))
			}
			if adm := offer(t, tab, deep(253), Swapped, v4(9)); !slices.Equal(idsOf(adm.Removed), []ID{deep(250)}) {
				t.Error(idsOf(adm.Removed))
			}
		}},
	})
}
