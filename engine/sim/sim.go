// Package sim runs a small fleet on loopback inside this process: nodes, DHT
// peers and callers, with faults planted by scenario. The demo, the pictures
// and the end-to-end tests are made of it.
package sim

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"signalbox/engine"
	"signalbox/engine/config"
	"signalbox/engine/quicnet"
)

// Sizes of the fleet. Three nodes serve rooms; the rest are DHT company.
const (
	relays      = 3
	dhtPeers    = 13
	peerShards  = 1
	peerQueue   = 64
	callerHost  = 2  // callers come from 127.0.2.x
	relayHost   = 1  // nodes listen on 127.0.1.x
	hotHost     = 66 // the caller address of the hot-shard scenario
	stormHost   = 77 // of the crowd in storm
	directoryOK = 0o700
)

// Options choose what is played.
type Options struct {
	Scenario string // one of Scenarios; empty is calm
	Seed     uint64 // same seed, same identities and same callers
	Log      *slog.Logger
	Metrics  string // address for the first node's metrics; empty: off
}

// Fleet is a running fleet. Main is the node whose console one watches.
type Fleet struct {
	// Constant after Start.
	Main *engine.Engine
	opts Options
	dir  string
	all  []*engine.Engine
	ends []context.CancelFunc // of all, in the same order
	g    *errgroup.Group
	stop context.CancelFunc
	ctx  context.Context // of the fleet's life: faults outlive the call that plants them

	// Owned by Start and its scenario.
	callers int
	places  []place
}

// Scenarios lists the names, sorted.
func Scenarios() []string { return slices.Sorted(maps.Keys(scenarios)) }

// Start brings the fleet up and plants the scenario's fault. The fleet runs
// until ctx ends; Wait then returns.
func Start(ctx context.Context, o Options) (*Fleet, error) {
	if o.Scenario == "" {
		o.Scenario = "calm"
	}
	play, ok := scenarios[o.Scenario]
	if !ok {
		return nil, fmt.Errorf("sim: no scenario %q; there are %s", o.Scenario, strings.Join(Scenarios(), ", "))
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := os.MkdirTemp("", "signalbox-demo-")
	if err != nil {
		return nil, fmt.Errorf("sim: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	g, gctx := errgroup.WithContext(ctx)
	f := &Fleet{opts: o, dir: dir, g: g, stop: cancel, ctx: gctx}
	if err := f.bringUp(gctx, play); err != nil {
		cancel()
		return nil, errors.Join(err, g.Wait(), os.RemoveAll(dir))
	}
	return f, nil
}

func (f *Fleet) bringUp(ctx context.Context, play scenario) error {
	if err := f.placeRelays(); err != nil {
		return err
	}
	for i := range relays + dhtPeers {
		if err := f.addNode(ctx, i); err != nil {
			return err
		}
	}
	f.Main = f.all[0]
	if err := f.calmCallers(ctx); err != nil {
		return err
	}
	if play != nil {
		return play(ctx, f)
	}
	return nil
}

// addNode starts one node; every node after the first joins the DHT through it.
func (f *Fleet) addNode(ctx context.Context, i int) error {
	cfg := config.Default()
	cfg.StateDir = filepath.Join(f.dir, fmt.Sprintf("n%02d", i))
	cfg.ListenAddr = fmt.Sprintf("127.0.%d.%d:0", relayHost, i+1)
	cfg.AdminSocket = filepath.Join(cfg.StateDir, "a.sock")
	cfg.DHT.AllowLoopback = true
	if i == 0 {
		cfg.MetricsAddr = f.opts.Metrics
	} else {
		cfg.Flight.Trace = config.TraceOff // one recorder of a process can: that of the node which is watched
	}
	if i < relays {
		f.federate(&cfg, i)
	}
	if i >= relays {
		cfg.Dispatch.Shards, cfg.Dispatch.Capacity = peerShards, peerQueue
	}
	if i > 0 {
		in := f.all[0].Info()
		cfg.DHT.Join = []string{in.NodeID + "@" + in.Listen}
	}
	if err := os.MkdirAll(cfg.StateDir, directoryOK); err != nil {
		return fmt.Errorf("sim: %w", err)
	}
	if err := os.WriteFile(filepath.Join(cfg.StateDir, "identity"), []byte(f.seedHex(i)+"\n"), 0o600); err != nil {
		return fmt.Errorf("sim: %w", err)
	}
	e, err := engine.New(cfg, engine.Options{Log: f.opts.Log.With("node", i)})
	if err != nil {
		return fmt.Errorf("sim: node %d: %w", i, err)
	}
	run, end := context.WithCancel(ctx)
	f.all, f.ends = append(f.all, e), append(f.ends, end)
	f.g.Go(func() error { defer end(); return e.Run(run) })
	select {
	case <-e.Ready():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *Fleet) seedHex(i int) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], f.opts.Seed)
	binary.BigEndian.PutUint64(b[8:], uint64(i))
	s := sha256.Sum256(append([]byte("signalbox demo "), b[:]...))
	return hex.EncodeToString(s[:])
}

// addr is where the main node listens.
func (f *Fleet) addr() netip.AddrPort { return f.addrOf(0) }

func (f *Fleet) addrOf(node int) netip.AddrPort {
	return netip.MustParseAddrPort(f.all[node].Info().Listen) // its own ready line
}

// client opens a caller's socket on an address of its own.
func (f *Fleet) client(ctx context.Context, host netip.Addr) (*quicnet.Client, *quicnet.Gate, error) {
	cl, gate, err := quicnet.NewFreezableClient(quicnet.ClientConfig{LocalAddr: host})
	if err != nil {
		return nil, nil, err
	}
	f.g.Go(func() error { <-ctx.Done(); return cl.Close() })
	return cl, gate, nil
}

// nextHost gives every caller an address of its own, so that callers spread
// over the shards as strangers would.
func (f *Fleet) nextHost() netip.Addr {
	f.callers++
	return netip.AddrFrom4([4]byte{127, 0, callerHost, byte(100 + f.callers%150)})
}

// Stop ends the fleet.
func (f *Fleet) Stop() { f.stop() }

// Wait returns once the fleet has ended, with its temporary files gone.
func (f *Fleet) Wait() error {
	err := f.g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(f.dir))
}
