package relay

// second is the unit of every rate here, in ns.
const second = int64(1e9)

// budget is a client's allowance: two token buckets, packets and bytes, each
// one second deep. Tokens are kept in billionths so that refilling is exact
// whatever the spacing of calls. Owned by the connection's reader.
type budget struct {
	pps, bps      int64 // constant; tokens a second and depth
	at            int64 // last refill, monotonic ns
	packets, byts int64 // in billionths
}

// The rates are capped so that a full bucket fits in 63 bits.
func newBudget(pps, bps int, now int64) budget {
	b := budget{pps: min(int64(pps), 1e9), bps: min(int64(bps), 4e9), at: now}
	b.packets, b.byts = b.pps*second, b.bps*second
	return b
}

// take spends one packet of n bytes, or nothing when it cannot be afforded.
func (b *budget) take(n int, now int64) bool {
	if dt := min(now-b.at, second); dt > 0 {
		b.packets = min(b.packets+dt*b.pps, b.pps*second)
		b.byts = min(b.byts+dt*b.bps, b.bps*second)
		b.at = now
	}
	cost := int64(n) * second
	if b.packets < second || b.byts < cost {
		return false
	}
	b.packets -= second
	b.byts -= cost
	return true
}
