package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"signalbox/engine/attach"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/view"
)

// trace makes `ctl routing trace`, which follows the lookup it starts.
func (t *ctl) trace() *cobra.Command {
	c := &cobra.Command{
		Use: "trace TARGET", Short: "Look an id up and print whom the node asks, hop by hop", Args: cobra.ExactArgs(1),
		Long: `TARGET is an id of 64 hex digits, a room's name or a user's fingerprint; room:NAME
and fp:TEXT say which. With --json the whole lookup is printed when it has ended.

Exit codes beside those of ctl: 1 when nobody answered.`,
	}
	ttl := actFlags(c, false)
	c.RunE = t.with(func(ctx context.Context, c *cobra.Command, api *attach.API, args []string) error {
		cmd := control.Command{Kind: control.RoutingTrace, Target: args[0]}
		if err := fillIn(c, &cmd, *ttl); err != nil {
			return err
		}
		if cmd.DryRun {
			return t.act(ctx, api, cmd)
		}
		res, err := api.Do(ctx, cmd)
		if err != nil {
			return err
		}
		if !res.OK {
			if err := printResult(t.Err, &res); err != nil {
				return err
			}
			return &config.ExitError{Code: refusalCode(res.Code)}
		}
		return t.follow(ctx, api, res.Ref)
	})
	return c
}

var errFollowed = errors.New("followed to the end")

// follow prints the lookup with the number ref until it ends.
func (t *ctl) follow(ctx context.Context, api *attach.API, ref string) error {
	p := tracePrinter{w: t.Out, quiet: t.json, printed: map[int]bool{}}
	var last *view.LookupTrace
	seen := false
	err := api.Lines(ctx, "/v1/stream?interval_ms=100", func(line []byte) error {
		var s struct {
			DHT struct {
				Lookups view.Lookups `json:"lookups"`
			} `json:"dht"`
		}
		if err := json.Unmarshal(line, &s); err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
		tr := traceOf(&s.DHT.Lookups, ref)
		switch {
		case tr == nil && seen:
			return errFollowed // washed out by later ones
		case tr == nil:
			return nil // the snapshot is older than the command
		}
		seen, last = true, tr
		if err := p.print(tr); err != nil {
			return err
		}
		if tr.State != view.LookupActive {
			return errFollowed
		}
		return nil
	})
	if !errors.Is(err, errFollowed) {
		return err
	}
	if t.json {
		if err := json.NewEncoder(t.Out).Encode(last); err != nil {
			return err
		}
	}
	if last.State == view.LookupFailed {
		return &config.ExitError{Code: config.ExitFailure} // said already
	}
	return nil
}

func traceOf(v *view.Lookups, ref string) *view.LookupTrace {
	for i := range v.Trace {
		if fmt.Sprint(v.Trace[i].Seq) == ref {
			return &v.Trace[i]
		}
	}
	return nil
}

// tracePrinter prints each query once, when it has ended.
type tracePrinter struct {
	w       io.Writer
	quiet   bool
	begun   bool
	printed map[int]bool // by place in Queries
}

func (p *tracePrinter) print(tr *view.LookupTrace) error {
	if p.quiet {
		return nil
	}
	if !p.begun {
		p.begun = true
		if _, err := fmt.Fprintf(p.w, "lookup %d of %s, %s\n%3s %4s %-16s %9s %9s %5s %4s  %-12s %s\n", tr.Seq, safe(tr.Label), safe(tr.Target),
			"HOP", "PATH", "PEER", "AT_MS", "TOOK_MS", "BITS", "NEW", "OUTCOME", "ADDRESS"); err != nil {
			return err
		}
	}
	ended := tr.State != view.LookupActive
	for i := range tr.Queries {
		q := &tr.Queries[i]
		waiting := q.Outcome == view.QueryWaiting || q.Outcome == view.QuerySlow
		if p.printed[i] || waiting && !ended {
			continue
		}
		p.printed[i] = true
		if _, err := fmt.Fprintf(p.w, "%3d %4d %-16.16s %9.1f %9.1f %5d %4d  %-12s %s\n", q.Hop, q.Path+1, safe(q.Peer), q.StartMS, q.TookMS, q.Bits,
			q.New, safe(q.Outcome), safe(q.Addr)); err != nil {
			return err
		}
	}
	if !ended {
		return nil
	}
	if tr.More > 0 {
		if _, err := fmt.Fprintf(p.w, "and %d more\n", tr.More); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(p.w, "%s (%s): asked %d, %d answered, %d failed, %d left waiting; %d found in %.0f ms, the closest %.16s after %d hops shares %d bits\n",
		safe(tr.State), safe(tr.Stop), tr.Asked, tr.Answered, tr.Failed, tr.Waiting, tr.Found, tr.TookMS, safe(tr.Closest), tr.Hops, tr.Bits)
	return err
}
