package relay

import "testing"

func TestBudgetExactExcess(t *testing.T) {
	const pps, bps = 400, 512_000
	t.Run("packets", func(t *testing.T) {
		b := newBudget(pps, bps, 0)
		admitted := 0
		for i := range 20_000 * 3 { // 20,000 packets/s for three seconds
			if b.take(100, int64(i)*second/20_000) {
				admitted++
			}
		}
		// one burst of a second and what flows in until the last packet
		if want := pps + pps*3 - 1; admitted != want {
			t.Fatalf("admitted %d, want %d", admitted, want)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		b := newBudget(pps, bps, 0)
		admitted := 0
		for i := range 1000 {
			if b.take(1400, int64(i)*second/1000) {
				admitted++
			}
		}
		if want := (bps + bps*999/1000) / 1400; admitted != want {
			t.Fatalf("admitted %d, want %d", admitted, want)
		}
	})
	t.Run("within it nothing is refused", func(t *testing.T) {
		b := newBudget(pps, bps, 0)
		for i := range pps * 10 {
			if !b.take(1280, int64(i)*second/pps) {
				t.Fatalf("packet %d refused", i)
			}
		}
	})
	t.Run("a second's silence is all it can save", func(t *testing.T) {
		b := newBudget(pps, bps, 0)
		n := 0
		for b.take(1, 3600*second) {
			n++
		}
		if n != pps {
			t.Fatalf("burst of %d", n)
		}
	})
}
