package dispatch

import "math/bits"

// The wait histogram: four buckets per octave of nanoseconds, from 256 ns to
// over a minute, so a quantile is right within 19 %.
const (
	histFloor   = 8 // log2 of the first octave, ns
	histOctaves = 29
	histBuckets = histOctaves * 4
)

type histogram [histBuckets]uint32

// waitBucket is the bucket of a wait in nanoseconds.
func waitBucket(ns int64) uint8 {
	if ns < 1<<histFloor {
		return 0
	}
	top := bits.Len64(uint64(ns)) - 1
	b := (top-histFloor)*4 + int(ns>>(top-2)&3)
	return uint8(min(b, histBuckets-1))
}

// bucketUS is the upper end of a bucket in microseconds.
func bucketUS(b int) float64 {
	octave := float64(uint64(1) << (b/4 + histFloor))
	return octave * (1 + float64(b%4+1)/4) / 1000
}

// quantileUS is the q-quantile of two windows together, in microseconds; 0
// when there is nothing in them.
func quantileUS(a, b *histogram, q float64) float64 {
	var total uint64
	for i := range a {
		total += uint64(a[i]) + uint64(b[i])
	}
	if total == 0 {
		return 0
	}
	rank := uint64(q * float64(total-1))
	var seen uint64
	for i := range a {
		if seen += uint64(a[i]) + uint64(b[i]); seen > rank {
			return bucketUS(i)
		}
	}
	return bucketUS(histBuckets - 1)
}
