package dispatch

import (
	"testing"
	"testing/synctest"
	"time"
)

// A burst that has come and gone between two looks is seen in the peak, for a
// second at least and no longer than two; the high water mark keeps it.
func TestPeakOutlivesTheBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(Config{Plane: "media", Shards: 1, Capacity: 256}, Handler[msg](&recorder{}))
		defer background(t, d)()
		look := func() (depth, peak, high int) {
			v := d.Views(time.Now())[0]
			return v.Depth, v.Peak, v.HighWater
		}
		time.Sleep(3 * time.Second)
		look()
		held := make(chan struct{})
		if err := d.Inject(0, func() { <-held }); err != nil { // so that they wait
			t.Fatal(err)
		}
		synctest.Wait()
		for i := range 100 {
			d.Submit(d.now(), source(i), Media, 1, msg{seq: i})
		}
		close(held)
		synctest.Wait()
		for quarter := range 12 {
			depth, peak, high := look()
			want := 0
			if quarter < 8 { // two seconds
				want = 100
			}
			if depth != 0 || peak != want || high != 100 {
				t.Errorf("after %d ms: depth %d, peak %d, high water %d", 250*quarter, depth, peak, high)
			}
			time.Sleep(250 * time.Millisecond)
		}
	})
}
