package dht

import "time"

// How long what has failed is left alone.
const (
	failedFor    = 30 * time.Second // doubling
	failedForMax = 5 * time.Minute  // longer, and a network whose parting has healed stays apart
)

// failures remembers what has failed and until when it is left alone. It holds
// so many at most: where all of those are fresh, another is not remembered. It
// has no lock of its own.
type failures[K comparable] struct {
	most int
	of   map[K]failure
}

type failure struct {
	until int64 // monotonic ns
	times int
}

func newFailures[K comparable](most int) failures[K] {
	return failures[K]{most: most, of: map[K]failure{}}
}

// due reports whether k may be tried.
func (f *failures[K]) due(k K, now int64) bool {
	x, known := f.of[k]
	return !known || now >= x.until
}

// result notes how a try ended.
func (f *failures[K]) result(k K, ok bool, now int64) {
	if ok {
		delete(f.of, k)
		return
	}
	x, known := f.of[k]
	if !known && len(f.of) >= f.most {
		for k, x := range f.of {
			if x.until <= now {
				delete(f.of, k)
			}
		}
		if len(f.of) >= f.most {
			return
		}
	}
	x.until = now + int64(min(failedFor<<min(x.times, 8), failedForMax))
	x.times++
	f.of[k] = x
}
