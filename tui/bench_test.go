package tui

import (
	"testing"

	"signalbox/tui/internal/sample"
)

// BenchmarkFrame is what one tick with new numbers costs at 200x50.
func BenchmarkFrame(b *testing.B) {
	for _, tab := range []string{"1", "2", "3", "4"} {
		b.Run(tab, func(b *testing.B) {
			src := sample.NewSource(sample.HotShard, 0)
			m := New(src, Options{})
			m.w, m.h = 200, 50
			for range 60 {
				src.Step(4)
				m.poll(m.opt.Now())
			}
			m.paneKey(tab)
			b.ReportAllocs()
			for b.Loop() {
				m.apply()
				m.paint(m.opt.Now())
			}
		})
	}
}
