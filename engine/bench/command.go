package bench

import (
	"context"
	"fmt"
	"net/netip"
	"os"

	"github.com/spf13/cobra"

	"signalbox/dht/table"
	"signalbox/engine/config"
)

// Command is `signalbox bench` (contract section 6).
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench WORKLOAD",
		Short: "Put a measured load on a node",
		Long: `Puts a measured load on a node of its own, started as a separate process on
loopback so that its CPU is its own, or on --target. Loss is reported beside
latency, and the node's CPU per delivered packet is the headline.`,
	}
	c.AddCommand(roomsCommand("room", "One room", RoomsParams{Rooms: 1, People: 5}),
		roomsCommand("rooms", "Many rooms", RoomsParams{Rooms: 10, People: 5}),
		roomsCommand("join-storm", "A room, and a crowd that joins at once: callers", RoomsParams{Rooms: 1, People: 5, Storm: 1000, Seconds: 30}), dispatchCommand(), dispatchNodeCommand(), dhtCommand(), federationCommand())
	return c
}

// output are the flags every workload has.
type output struct {
	json   bool
	target string
}

func (o *output) flags(c *cobra.Command, remote bool) {
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON object")
	if remote {
		c.Flags().StringVar(&o.target, "target", "", "an address to load instead of a node of our own")
	}
}

func (o *output) print(c *cobra.Command, r *Result) error {
	if o.json {
		return r.WriteJSON(c.OutOrStdout())
	}
	return r.WriteTable(c.OutOrStdout())
}

func roomsCommand(name, short string, p RoomsParams) *cobra.Command {
	var o output
	c := &cobra.Command{Use: name, Short: short + " of callers that exchange media", Args: cobra.NoArgs}
	o.flags(c, true)
	f := c.Flags()
	if name == "rooms" {
		f.IntVar(&p.Rooms, "rooms", p.Rooms, "rooms")
	}
	f.IntVar(&p.People, "people", p.People, "people in each room")
	f.IntVar(&p.Talkers, "talkers", 0, "people in each room that talk (default: all)")
	f.IntVar(&p.PPS, "pps", 50, "packets a second of each talker")
	f.IntVar(&p.Payload, "payload", 108, "bytes of payload after the 12 byte header")
	if name == "join-storm" {
		f.IntVar(&p.Storm, "clients", p.Storm, "clients that join at once, ten to a room, after the first third")
	}
	f.Float64Var(&p.Seconds, "seconds", max(p.Seconds, 10), "how long they talk")
	f.BoolVar(&p.Reports, "reports", false, "each talker reports its quality once a second")
	f.IntVar(&p.Freeze, "freeze", 0, "listeners of the first room whose traffic stops, without a close, for the middle third")
	f.IntVar(&p.Flood, "flood", 0, "forged QUIC Initials a second for the middle third")
	f.IntVar(&p.Garbage, "garbage", 0, "packets of noise a second for the middle third")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if p.Rooms < 1 || p.People < 1 || p.PPS < 1 || p.Seconds <= 0 || p.Talkers < 0 {
			return config.Exit(config.ExitUsage, "bench %s: rooms, people, pps and seconds must be above 0, talkers 0 or more", name)
		}
		r, err := withNode(c.Context(), o.target, func(ctx context.Context, addr netip.AddrPort, n *Node) (*Result, error) {
			return RunRooms(ctx, name, addr, n, p)
		})
		if err != nil {
			return err
		}
		return o.print(c, r)
	}
	return c
}

func dispatchCommand() *cobra.Command {
	var o output
	var p DispatchParams
	c := &cobra.Command{Use: "dispatch", Short: "The dispatcher alone, in a process of its own", Args: cobra.NoArgs}
	o.flags(c, false)
	f := c.Flags()
	f.IntVar(&p.Sources, "sources", 1000, "distinct source addresses")
	f.Float64Var(&p.HotShare, "hot-share", 0, "share of all messages that come from one address, 0 to 0.99")
	f.IntVar(&p.Wedge, "wedge", -1, "shard whose handler is stuck for ever")
	f.IntVar(&p.RatePPS, "rate", 100000, "healthy messages a second")
	f.Float64Var(&p.Seconds, "seconds", 5, "how long")
	f.IntVar(&p.Shards, "shards", 8, "shards")
	f.IntVar(&p.Capacity, "capacity", 1024, "messages a shard holds")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := p.check(); err != nil {
			return err
		}
		exe, err := os.Executable()
		if err != nil {
			return err
		}
		r, err := RunDispatch(c.Context(), exe, p)
		if err != nil {
			return err
		}
		return o.print(c, r)
	}
	return c
}

// dispatchNodeCommand is the process that dispatch measures.
func dispatchNodeCommand() *cobra.Command {
	return &cobra.Command{
		Use: dispatchNodeName, Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return ServeDispatch(c.Context(), c.InOrStdin(), c.OutOrStdout())
		},
	}
}

func dhtCommand() *cobra.Command {
	var o output
	p := DHTParams{K: table.DefaultK}
	c := &cobra.Command{
		Use: "dht", Short: "A fleet of DHT nodes on loopback around the node under test", Args: cobra.NoArgs,
		Long: `Starts a node under test in a process of its own and a fleet of lean nodes in
this one, each with a loopback address, a socket and a certificate of its own.
Everybody looks for somebody; then lookups go on without pause while nodes leave
and join, in four steps, the last as quiet as the first.`,
	}
	o.flags(c, false)
	f := c.Flags()
	f.IntVar(&p.Nodes, "nodes", 1000, "nodes")
	f.IntVar(&p.K, "k", p.K, "contacts per bucket, and nodes a lookup finds")
	f.IntVar(&p.Joiners, "joiners", 8, "nodes that join at a time")
	f.Float64Var(&p.Rate, "rate", 5, "lookups a second in the soak; each makes a link or two dozen")
	f.Float64Var(&p.Rejoins, "rejoins", 1, "nodes a second that leave and come back as others, in the busiest step")
	f.Float64Var(&p.Seconds, "seconds", 120, "how long the soak is")
	c.RunE = func(c *cobra.Command, _ []string) error {
		r, err := withNode(c.Context(), "", func(ctx context.Context, _ netip.AddrPort, n *Node) (*Result, error) {
			return RunDHT(ctx, n, p)
		})
		if err != nil {
			return err
		}
		return o.print(c, r)
	}
	return c
}

// withNode runs f against the target, or against a node started for it.
func withNode(ctx context.Context, target string, f func(context.Context, netip.AddrPort, *Node) (*Result, error)) (*Result, error) {
	if target != "" {
		addr, err := netip.ParseAddrPort(target)
		if err != nil {
			return nil, config.Exit(config.ExitUsage, "bench: --target: %w", err)
		}
		return f(ctx, addr, nil)
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	n, err := StartNode(ctx, exe)
	if err != nil {
		return nil, err
	}
	r, err := f(ctx, n.Addr, n)
	if serr := n.Stop(); err == nil && serr != nil {
		err = fmt.Errorf("bench: the node did not end well: %w", serr)
	}
	return r, err
}
