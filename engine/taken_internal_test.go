package engine

import (
	"net/netip"
	"testing"
	"time"

	"signalbox/relay"
)

// TestALostMessageIsUnexplained: what the dispatcher passes on and no handler is
// given, and a copy that no queue is asked to take, stand in the ledger.
func TestALostMessageIsUnexplained(t *testing.T) {
	e := bare(t)
	if got := e.mediaTaken.short(3); got != 3 {
		t.Errorf("of 3 passed on and none given, %d are missed", got)
	}
	for shard := range 200 {
		e.mediaTaken.add(shard)
	}
	if a, b, c := e.mediaTaken.short(199), e.mediaTaken.short(200), e.mediaTaken.short(207); a != 0 || b != 0 || c != 7 {
		t.Errorf("short by %d, %d, %d", a, b, c)
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
