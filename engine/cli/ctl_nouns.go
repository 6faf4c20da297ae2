package cli

import (
	"context"
	"io"
	"os/user"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"signalbox/engine/attach"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/view"
)

// noun is something a node has many of, or one.
type noun struct {
	name, short string
	field       string // of the snapshot, for --json
	print       func(io.Writer, *view.Snapshot) error
	verbs       []verb
}

// verb is what can be done to it.
type verb struct {
	use, short string // use: the verb and its arguments, target first
	kind       control.Kind
	value      string // name of the argument that is no target; empty: none
	number     bool   // the value is a number
	noTarget   bool
}

// nouns is the vocabulary of ctl, after the command kinds of contract section 2.
func nouns() []noun {
	return []noun{
		{"shard", "Shards of the dispatcher", "shards", printShards, []verb{
			{use: "pause PLANE/N", short: "Drop what its sources send", kind: control.ShardPause},
			{use: "resume PLANE/N", short: "End the pause", kind: control.ShardResume},
			{use: "restart PLANE/N", short: "Replace its loop", kind: control.ShardRestart},
			{use: "flush PLANE/N", short: "Drop what waits in it", kind: control.ShardFlush},
		}},
		{"room", "Rooms", "rooms", printRooms, []verb{
			{use: "close NAME", short: "End the room for everybody in it", kind: control.RoomClose},
			{use: "lock NAME", short: "Let nobody new in", kind: control.RoomLock},
			{use: "unlock NAME", short: "End the lock", kind: control.RoomUnlock},
			{use: "pin-tier NAME TIER", short: "Hold the room at a quality tier", kind: control.RoomPinTier, value: "tier"},
			{use: "tap NAME", short: "Log its packet headers and signals; * for all rooms", kind: control.RoomTap},
			{use: "untap NAME", short: "End the tap", kind: control.RoomUntap},
		}},
		{"participant", "Participants of all rooms", "rooms", printParticipants, []verb{
			{use: "kick ID", short: "End their connection", kind: control.ParticipantKick},
			{use: "mute ID", short: "Drop what they send", kind: control.ParticipantMute},
			{use: "unmute ID", short: "End the mute", kind: control.ParticipantUnmute},
		}},
		{"peer", "Peers of the routing table", "dht", printPeers, []verb{
			{use: "ping ID", short: "Ask whether it lives", kind: control.PeerPing},
			{use: "evict ID", short: "Take it out of the table", kind: control.PeerEvict},
			{use: "block ID", short: "Evict it and keep it out", kind: control.PeerBlock},
			{use: "unblock ID", short: "End the block", kind: control.PeerUnblock},
		}},
		{"link", "Federation links", "links", printLinks, []verb{
			{use: "reconnect LABEL", short: "Dial again", kind: control.LinkReconnect},
			{use: "mute LABEL", short: "Send nothing over it", kind: control.LinkMute},
			{use: "unmute LABEL", short: "End the mute", kind: control.LinkUnmute},
		}},
		{"call", "Direct calls", "signal", printCalls, []verb{
			{use: "hangup ID", short: "End it for both", kind: control.CallHangup},
		}},
		{"client", "Clients registered for calls", "signal", printClients, []verb{
			{use: "drop FINGERPRINT", short: "Close their signalling connections", kind: control.ClientDrop},
		}},
		{"source", "Restrictions on addresses", "sources", printSources, []verb{
			{use: "ban PREFIX", short: "Refuse an address or prefix", kind: control.SourceBan},
			{use: "throttle PREFIX PPS", short: "Hold it to packets a second", kind: control.SourceThrottle, value: "pps", number: true},
			{use: "clear PREFIX", short: "End the restriction", kind: control.SourceClear},
		}},
		{"routing", "The routing table", "dht", printRouting, []verb{
			{use: "refresh BUCKET|all", short: "Look up fresh peers", kind: control.RoutingRefresh},
		}},
		{"node", "The node itself", "node", printStatus, []verb{
			{use: "drain", short: "Admit nobody new", kind: control.NodeDrain, noTarget: true},
			{use: "undrain", short: "Admit again", kind: control.NodeUndrain, noTarget: true},
			{use: "log-level LEVEL", short: "debug, info, warn or error", kind: control.NodeLogLevel, value: "level", noTarget: true},
			{use: "save", short: "Write what is kept on disk", kind: control.NodeSave, noTarget: true},
		}},
	}
}

// noun makes `ctl NOUN`, which lists, and its verbs below it.
func (t *ctl) noun(n noun) *cobra.Command {
	c := &cobra.Command{Use: n.name, Short: n.short + ": list them, or act on one", Args: cobra.NoArgs}
	if n.name == "node" || n.name == "routing" {
		c.Short = n.short + ": show it, or act on it"
	}
	c.RunE = t.with(func(ctx context.Context, _ *cobra.Command, api *attach.API, _ []string) error {
		if t.json {
			return t.part(ctx, api, n.field)
		}
		s, err := api.Snapshot(ctx)
		if err != nil {
			return err
		}
		return n.print(t.Out, s)
	})
	for _, v := range n.verbs {
		c.AddCommand(t.verb(v))
	}
	if n.name == "routing" {
		c.AddCommand(t.trace())
	}
	return c
}

// verb makes the command that sends one command kind.
func (t *ctl) verb(v verb) *cobra.Command {
	args := 1
	if v.noTarget {
		args--
	}
	if v.value != "" {
		args++
	}
	c := &cobra.Command{Use: v.use, Short: v.short, Args: cobra.ExactArgs(args)}
	ttl := actFlags(c, v.kind.Expires())
	c.RunE = t.with(func(ctx context.Context, c *cobra.Command, api *attach.API, args []string) error {
		cmd, err := v.command(args)
		if err != nil {
			return err
		}
		if err := fillIn(c, &cmd, *ttl); err != nil {
			return err
		}
		return t.act(ctx, api, cmd)
	})
	return c
}

// command makes the command of a verb and its arguments.
func (v verb) command(args []string) (control.Command, error) {
	cmd := control.Command{Kind: v.kind}
	if !v.noTarget {
		cmd.Target, args = args[0], args[1:]
	}
	if v.value == "" {
		return cmd, nil
	}
	cmd.Args = map[string]any{v.value: args[0]}
	if v.number {
		n, err := strconv.ParseFloat(args[0], 64)
		if err != nil {
			return cmd, config.Exit(config.ExitUsage, "%s: %q is no number", v.value, args[0])
		}
		cmd.Args[v.value] = n
	}
	return cmd, nil
}

// actFlags gives c the flags of everything that changes something.
func actFlags(c *cobra.Command, expires bool) *time.Duration {
	var ttl time.Duration
	c.Flags().StringP("reason", "r", "", "why, for the audit log")
	c.Flags().BoolP("dry-run", "n", false, "say what would be done and do nothing")
	c.Flags().Bool("plan", false, "the same as --dry-run: who would be cut, and over what time")
	if expires {
		c.Flags().DurationVar(&ttl, "ttl", 0, "after which it ends by itself (default: as the node has it)")
	}
	return &ttl
}

// fillIn adds what the flags of actFlags say.
func fillIn(c *cobra.Command, cmd *control.Command, ttl time.Duration) (err error) {
	if cmd.Reason, err = c.Flags().GetString("reason"); err != nil {
		return err
	}
	if cmd.Reason == "" {
		cmd.Reason = "ctl"
		if u, err := user.Current(); err == nil {
			cmd.Reason = "ctl of " + u.Username
		}
	}
	cmd.TTLS = ttl.Seconds()
	dry, err := c.Flags().GetBool("dry-run")
	if err != nil {
		return err
	}
	plan, err := c.Flags().GetBool("plan")
	cmd.DryRun = dry || plan
	return err
}

func (t *ctl) undo() *cobra.Command {
	c := &cobra.Command{Use: "undo ID", Short: "Take back a change that is in force", Args: cobra.ExactArgs(1)}
	ttl := actFlags(c, false)
	c.RunE = t.with(func(ctx context.Context, c *cobra.Command, api *attach.API, args []string) error {
		cmd := control.Command{Kind: control.Undo, Target: args[0]}
		if err := fillIn(c, &cmd, *ttl); err != nil {
			return err
		}
		return t.act(ctx, api, cmd)
	})
	return c
}
