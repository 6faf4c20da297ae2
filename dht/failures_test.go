package dht

import (
	"testing"
	"time"
)

// TestFailuresAreBounded: what fails again is left alone longer, up to a most;
// strangers cannot fill the memory, nor push out what is fresh in it.
func TestFailuresAreBounded(t *testing.T) {
	f := newFailures[int](4)
	wait := []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute}
	now := int64(0)
	for _, w := range wait {
		f.result(0, false, now)
		if f.due(0, now+int64(w)-1) || !f.due(0, now+int64(w)) {
			t.Fatalf("after %d failures it is not left alone for %s", f.of[0].times, w)
		}
		now += int64(w)
	}
	for k := 1; k < 100; k++ {
		f.result(k, false, now)
	}
	if len(f.of) != 4 || f.due(4, now) || !f.due(5, now) { // 0 was over, and made room
		t.Fatalf("%d are remembered: %v", len(f.of), f.of)
	}
	if f.result(2, true, now); !f.due(2, now) || len(f.of) != 3 {
		t.Fatal("a success is not one")
	}
}
