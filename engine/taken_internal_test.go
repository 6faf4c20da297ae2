package engine

import (
	"net/netip"
	"testing"
	"time"

	"signalbox/engine/ledger"
	"signalbox/relay"
)

// TestALostMessageIsUnexplained: what the dispatcher passes on and no handler is
// given, and a copy that no queue is asked to take, stand in the ledger.
func TestALostMessageIsUnexplained(t *testing.T) {
	e := bare(t)
	var c ledger.Counts
	if got := e.mediaTaken.short(&c, 3); got != 3 {
		t.Errorf("of 3 passed on and none given, %d are missed", got)
	}
	for shard := range 200 {
		e.mediaTaken.add(shard)
	}
	for passed, want := range map[uint64]uint64{199: 0, 200: 0, 207: 7} {
		if got := e.mediaTaken.short(&c, passed); got != want {
			t.Errorf("%d passed on, 200 given: short by %d, want %d", passed, got, want)
		}
	}
	c.Refuse(ledger.ShardPanic, 3)
	c.Refuse(ledger.ShardReplaced, 4)
	if got := e.mediaTaken.short(&c, 200); got != 7 {
		t.Errorf("with 7 whose handler failed: short by %d", got)
	}
	var ps []*relay.Participant
	for i := range 3 {
		p, err := e.relay.Join(relay.JoinRequest{Room: "r", Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 1), Now: time.Now(), Close: func(string) {}})
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	e.relay.Forward(0, ps[0], make([]byte, 20), e.mono())
	if c := e.relay.Counts(); c.Copies != 2 || c.Unexplained() != 0 {
		t.Errorf("%+v", c)
	}
}
