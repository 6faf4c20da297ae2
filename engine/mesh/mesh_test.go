package mesh

import (
	"strings"
	"testing"
	"time"

	"signalbox/engine/view"
)

const ms = int64(time.Millisecond)

func TestWindow(t *testing.T) {
	var w Window
	if w.LossPct(0) != 0 || w.Jitter() != 0 || w.Heard() != 0 {
		t.Fatal("an empty window says something")
	}
	a, b := w.Sent(1000, 1000*ms), w.Sent(1000, 2000*ms) // the wall clock stands still
	if a == b {
		t.Fatal("two pings cannot be told apart")
	}
	if w.LossPct(2999*ms) != 0 {
		t.Error("a ping on its way is lost")
	}
	if !w.Pong(a, 1020*ms) || w.Pong(a, 1030*ms) || w.Pong(77, 1030*ms) {
		t.Error("a pong counts once, for the ping it answers")
	}
	if got := w.LossPct(4000 * ms); got != 50 {
		t.Errorf("loss %v", got)
	}
	if !w.Pong(b, 5000*ms) || w.LossPct(9000*ms) != 0 {
		t.Error("a late pong does not make good")
	}
	if w.RTT() != 3*time.Second || w.Heard() != 5000*ms {
		t.Errorf("rtt %v heard %v", w.RTT(), w.Heard())
	}
	if got := w.Jitter(); got != 1490*time.Millisecond { // of 20 and 3000
		t.Errorf("jitter %v", got)
	}
	for i := range uint64(61) { // a and b make way
		id := w.Sent(10000+1000*i, int64(10000+1000*i)*ms)
		if i%4 != 0 {
			w.Pong(id, int64(10000+1000*i+40)*ms)
		}
	}
	if got := w.LossPct(100_000 * ms); got != 25 {
		t.Errorf("loss %v of the newest sixty", got)
	}
	if w.Jitter() != 0 || w.RTT() != 40*time.Millisecond {
		t.Errorf("jitter %v rtt %v", w.Jitter(), w.RTT())
	}
	if w.Pong(b, 1) {
		t.Error("a ping long gone is answered")
	}
}

// TestTable holds the table to the letter (spec wzp 5.21).
func TestTable(t *testing.T) {
	head := "Relay Mesh Health\n" + strings.Repeat("─", 41) + "\n"
	if got, want := Table(nil), head+"  (no probe targets configured)\n"; got != want {
		t.Errorf("\n%s\n%s", got, want)
	}
	got := Table([]view.Probe{
		{Target: "203.0.113.9:4433", LossPct: 100},
		{Target: "198.51.100.10:4433", Up: true, RTTMS: 12.4, LossPct: 1.66, JitterMS: 3.5},
	})
	want := head + "Target                  RTT   Loss  Jitter  Status\n" +
		"198.51.100.10:4433      12ms   1.7%     4ms  UP\n" +
		"203.0.113.9:4433         0ms 100.0%     0ms  DOWN\n"
	if got != want {
		t.Errorf("\n%s\n%s", got, want)
	}
}
