package sim

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"signalbox/engine/bench"
	"signalbox/engine/quicnet"
)

// A storm's crowd: it comes at once, stays a while and goes, again and again.
const (
	stormCrowd = 150
	stormStay  = 6 * time.Second
	stormBreak = 4 * time.Second
)

// storm: a crowd behind one address joins all at once, as after a restart of
// something that everybody depends on. Handshakes cost the node more than
// anything else a stranger can ask for; those who are in must not notice.
func storm(ctx context.Context, f *Fleet) error {
	cl, err := quicnet.NewClient(quicnet.ClientConfig{LocalAddr: netip.AddrFrom4([4]byte{127, 0, callerHost, stormHost})})
	if err != nil {
		return err
	}
	f.g.Go(func() error { <-ctx.Done(); return cl.Close() })
	f.g.Go(func() error {
		for ctx.Err() == nil {
			wave(ctx, cl, f.addr())
			select {
			case <-ctx.Done():
			case <-time.After(stormBreak):
			}
		}
		return nil
	})
	return directCalls(ctx, f)
}

// wave is one arrival of the crowd. Whoever does not get in comes again with
// the next.
func wave(ctx context.Context, cl *quicnet.Client, addr netip.AddrPort) {
	var wg sync.WaitGroup
	for i := range stormCrowd {
		wg.Go(func() {
			c, err := bench.Join(ctx, cl, addr, fmt.Sprintf("lobby-%d", i/10), fmt.Sprintf("guest-%d", i))
			if err != nil {
				return
			}
			defer c.Close()
			stay, cancel := context.WithTimeout(ctx, stormStay)
			defer cancel()
			c.ReadSignals(stay)
		})
	}
	wg.Wait()
}
