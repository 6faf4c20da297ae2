package quicnet

import (
	"testing"
	"time"
)

// feed tells a pulse of reads of n packets each, at a rate, for some time.
func feed(p *pulse, now *time.Time, n int, perSecond float64, lasting time.Duration) {
	for end := now.Add(lasting); now.Before(end); {
		*now = now.Add(time.Duration(float64(n) / perSecond * float64(time.Second)))
		p.note(n, 8, func() time.Time { return *now })
	}
}

func TestPacketsGatherOnlyWhileManyArrive(t *testing.T) {
	now := time.Now()
	p := &pulse{tick: time.Millisecond, above: 4000, began: now}
	for _, step := range []struct {
		name string
		rate float64
		want time.Duration
	}{
		{"a quiet room", 250, 0},
		{"just below", 3900, 0},
		{"many", 7500, time.Millisecond},
		{"fewer, but not yet few", 3500, time.Millisecond},
		{"few", 2500, 0},
		{"a flood", 400_000, time.Millisecond},
		{"silence but for one", 2, 0},
	} {
		feed(p, &now, 2, step.rate, 2*time.Second)
		if got := p.inForce(); got != step.want {
			t.Errorf("%s, %v packets/s: they gather for %v, want %v", step.name, step.rate, got, step.want)
		}
	}
}

// What has not been read yet has waited long enough.
func TestPacketsGatherOnlyInAnEmptySocket(t *testing.T) {
	now := time.Now()
	p := &pulse{tick: time.Millisecond, above: 4000, began: now}
	feed(p, &now, 8, 100_000, time.Second)
	if p.inForce() == 0 || p.due() {
		t.Fatalf("in force %v; due %v after reads that were full", p.inForce(), p.due())
	}
	if p.note(3, 8, func() time.Time { return now }); !p.due() {
		t.Fatal("the socket is empty, and more is to come")
	}
}

func TestPacketsNeverGatherWithoutATick(t *testing.T) {
	now := time.Now()
	p := &pulse{above: 4000, began: now}
	feed(p, &now, 3, 1e6, time.Second)
	if p.due() || p.inForce() != 0 {
		t.Fatal("they gather")
	}
}
