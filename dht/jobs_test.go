package dht

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A job is done when it is due and when it is wanted, once at a time; what is
// wanted meanwhile is done afterwards; a panic is told, and the job goes on.
func TestJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := quiet(t)
		var woken, timed, busy atomic.Int32
		list := []job{{name: "test", run: func(ctx context.Context, w bool) time.Duration {
			if busy.Add(1) > 1 {
				t.Error("twice at a time")
			}
			if w {
				woken.Add(1)
			} else {
				timed.Add(1)
			}
			sleep(ctx, time.Second)
			busy.Add(-1)
			if woken.Load() == 3 && n.Stats().Panics < 2 {
				panic("test")
			}
			return time.Minute
		}, due: time.Now().Add(time.Minute)}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); n.runJobs(ctx, list) }()
		has := func(w, due int32, panics uint64) {
			t.Helper()
			synctest.Wait()
			if woken.Load() != w || timed.Load() != due || n.Stats().Panics != panics {
				t.Errorf("%d wanted, %d due, %d panics; want %d, %d, %d", woken.Load(), timed.Load(), n.Stats().Panics, w, due, panics)
			}
		}
		time.Sleep(59 * time.Second)
		has(0, 0, 0)
		time.Sleep(time.Minute)
		has(0, 1, 0) // from 60 to 61
		n.want(0)
		synctest.Wait()
		n.want(0) // while it is being done
		time.Sleep(2500 * time.Millisecond)
		has(2, 1, 0)
		n.want(0)
		time.Sleep(1100 * time.Millisecond)
		has(3, 1, 1)
		time.Sleep(10 * time.Second) // again after a rest, and again
		has(3, 3, 2)
		time.Sleep(time.Minute)
		has(3, 4, 2)
		n.want(0)
		synctest.Wait()
		cancel()
		<-done
		if busy.Load() != 0 {
			t.Error("it has not ended")
		}
	})
}
