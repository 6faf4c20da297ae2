package sim

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"time"

	"signalbox/engine/config"
	"signalbox/engine/state"
)

// place is a relay of the mesh before it runs: who it will be, and where.
type place struct{ label, fingerprint, addr string }

// cities name the relays of the mesh; the first is the one that is watched.
var cities = [relays]string{"prague", "tokyo", "lisbon"}

// sharedRooms are those that the relays share.
var sharedRooms = []string{"standup", "podcast"}

// placeRelays finds a free port for each relay, so that all can know all before
// the first one runs.
func (f *Fleet) placeRelays() error {
	for i, city := range cities {
		seed, err := hex.DecodeString(f.seedHex(i))
		if err != nil {
			return err
		}
		keys, err := state.NewKeys([state.SeedSize]byte(seed))
		if err != nil {
			return err
		}
		cert, err := keys.TLSCertificate()
		if err != nil {
			return err
		}
		c, err := net.ListenPacket("udp", fmt.Sprintf("127.0.%d.%d:0", relayHost, i+1))
		if err != nil {
			return fmt.Errorf("sim: %w", err)
		}
		f.places = append(f.places, place{city, state.TLSFingerprint(cert.Certificate[0]), c.LocalAddr().String()})
		if err := c.Close(); err != nil {
			return err
		}
	}
	return nil
}

// federate links relay i with the others, each from its own side.
func (f *Fleet) federate(cfg *config.Config, i int) {
	cfg.ListenAddr = f.places[i].addr
	for _, r := range sharedRooms {
		cfg.GlobalRooms = append(cfg.GlobalRooms, config.GlobalRoom{Name: r})
	}
	for k, p := range f.places {
		if k != i {
			cfg.Peers = append(cfg.Peers, config.Peer{URL: p.addr, Fingerprint: p.fingerprint, Label: p.label})
		}
	}
}

// blackholePeer: what the main node and one of its peers send each other is
// lost, in both directions and without a word, for most of every minute. The
// third relay still reaches both, and carries their media while it lasts.
func blackholePeer(ctx context.Context, f *Fleet) error {
	const dark, light = 45 * time.Second, 15 * time.Second
	far := relays - 1
	f.g.Go(func() error {
		for on := true; ctx.Err() == nil; on = !on {
			f.all[0].Blackhole(f.addrOf(far), on)
			f.all[far].Blackhole(f.addrOf(0), on)
			d := light
			if on {
				d = dark
			}
			select {
			case <-ctx.Done():
			case <-time.After(d):
			}
		}
		return nil
	})
	return nil
}
