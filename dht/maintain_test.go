package dht

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"testing"

	"signalbox/dht/table"
)

// TestChecksKeepPaceWithTheTable: a table of any size, all of whose contacts
// want to be asked, is looked through in as many passes; what one pass leaves
// over counts once in the next, and no more.
func TestChecksKeepPaceWithTheTable(t *testing.T) {
	for _, size := range []int{60, 300, 600} {
		n := quiet(t, func(c *Config) { c.K, c.AllowLoopback = 64, true })
		for i := range size {
			id := table.ID(sha256.Sum256(fmt.Append(nil, i)))
			bucket := i % 16
			copy(id[:2], n.cfg.ID[:2])
			id[bucket/8] ^= 0x80 >> (bucket % 8)
			addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{20, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
			if a := n.table.Add(1, id, []table.Addr{{AddrPort: addr, Type: table.Direct}}, table.Trust{}); a.Result != table.Added {
				t.Fatalf("%d of %d: %v", i, size, a.Result)
			}
		}
		passes, credit := 0, 0
		for asked := 0; asked < size; passes++ {
			credit = n.checkCredit(credit)
			got := len(n.due(1, 1, credit))
			credit -= got
			asked += got
		}
		if passes > checkPasses || credit < 0 {
			t.Errorf("%d contacts take %d passes", size, passes)
		}
		if most := n.checkCredit(1 << 20); most > 2*max(checksPerPass, size/checkPasses+1) {
			t.Errorf("%d contacts asked at once of %d", most, size)
		}
	}
}
