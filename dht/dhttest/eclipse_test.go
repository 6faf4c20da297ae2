package dhttest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/dht"
	"signalbox/dht/table"
)

// TestEclipse: what a siege hides. Honest nodes that know nobody but the victim
// appear around it when the Sybils are there already. In the buckets below ten
// the victim's table is full of honest contacts, above of Sybils alone; for the
// newcomers there is a place in neither.
func TestEclipse(t *testing.T) {
	for _, tt := range []struct {
		name    string
		subnets int
	}{
		{"nobody", 0},
		{"one /24", 1},
		{"50 /24s", 50},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if testing.Short() {
				t.Skip("a siege and what comes after take minutes under the race detector")
			}
			synctest.Test(t, func(t *testing.T) { eclipse(t, tt.subnets) })
		})
	}
}

// Where newcomers appear, and how many: half of them are looked for in one way,
// half in the other.
var beyond = []int{0, 3, 6, 9, 10, 12, 15}

const beyondEach = 8

func eclipse(t *testing.T, subnets int) {
	s := New(Config{Seed: 32})
	defer s.Close()
	victim, honest := fortress(t, s)
	if subnets > 0 {
		siege(t, s, victim, subnets)
	}
	came := map[int][]*Peer{}
	for _, b := range beyond {
		for range beyondEach {
			p, err := s.Add(Spec{ID: IDInBucket(victim.ID, b, draw(s, RandomID)), Seeds: []*Peer{victim}})
			if err != nil {
				t.Fatal(err)
			}
			came[b] = append(came[b], p)
		}
	}
	s.Sleep(10 * time.Minute)
	known := 0
	for _, list := range came {
		for _, p := range list {
			if victim.Table().Get(p.ID) != nil {
				known++
			}
		}
	}
	t.Logf("%d of %d newcomers are contacts of the victim", known, beyondEach*len(beyond))
	// Bucket 5 of the victim, and bucket 9, its nearest honest neighbours.
	for _, who := range []struct {
		name string
		*Peer
	}{{"the victim", victim}, {"another", honest[110]}, {"a neighbour", honest[199]}} {
		for i, paths := range []int{1, dht.MaxPaths} {
			var line []string
			all := 0
			for _, b := range beyond {
				found := 0
				for _, x := range came[b][i*beyondEach/2:][:beyondEach/2] {
					if look(t, who.Peer, x.ID, paths).Exact {
						found++
					}
				}
				all += found
				line = append(line, fmt.Sprintf("%d: %d", b, found))
			}
			want := beyondEach / 2 * len(beyond)
			t.Logf("%s, paths %d: %d of %d found; of 4 in bucket %s", who.name, paths, all, want, strings.Join(line, ", "))
			if all < want*7/10 { // 16, those up to bucket 9, when a link alone finds nobody
				t.Errorf("%s finds %d of %d", who.name, all, want)
			}
		}
	}
	honestNearKeys(t, s, victim, honest[110])
}

// honestNearKeys tells how many of the peers found nearest to a key are honest:
// those with whom a record under it would be.
func honestNearKeys(t *testing.T, s *Swarm, victim, from *Peer) {
	for _, b := range []int{0, 6, 12, -1} {
		for _, paths := range []int{1, dht.MaxPaths} {
			found, good := 0, 0
			for range 4 {
				key := draw(s, RandomID)
				if b >= 0 {
					key = IDInBucket(victim.ID, b, key)
				}
				list, err := from.LookupAs(t.Context(), key, dht.Ask{Paths: paths})
				if err != nil {
					t.Error(err)
				}
				for _, f := range list {
					found++
					if p := s.named(f.ID); p != nil && p.Node != nil {
						good++
					}
				}
			}
			t.Logf("keys in bucket %d of the victim (-1: anywhere), paths %d: %d of the %d nearest found are honest", b, paths, good, found)
		}
	}
}

func look(t *testing.T, from *Peer, target table.ID, paths int) Outcome {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return from.MeasureAs(ctx, target, dht.Ask{Paths: paths})
}

// named is the live peer of that id.
func (s *Swarm) named(id table.ID) *Peer {
	for _, p := range s.Live() {
		if p.ID == id {
			return p
		}
	}
	return nil
}
