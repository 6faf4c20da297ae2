package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signalbox/engine/attach"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/view"
)

// systemSocket is where a node that systemd runs has its socket.
const systemSocket = "/run/signalbox/admin.sock"

// socket is the admin socket that is meant: the argument, else the one of the
// settings, else, if there is none, the system's node.
func (a *app) socket(c *cobra.Command, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	cfg, origins, err := a.load(c, false)
	if err != nil {
		return "", err
	}
	path := cfg.AdminPath()
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && strings.HasPrefix(origins["admin_socket"], "default") && strings.HasPrefix(origins["state_dir"], "default") {
		if _, err := os.Stat(systemSocket); err == nil {
			return systemSocket, nil
		}
	}
	return path, nil
}

// ctl is what every verb works with.
type ctl struct {
	*app
	json bool
}

func (a *app) ctlCommand() *cobra.Command {
	t := &ctl{app: a}
	c := group(&cobra.Command{
		Use:   "ctl VERB",
		Short: "Look at a running node and act on it, for scripts",
		Long: `Asks the node over its admin socket. With --json the answer is the node's own
JSON (the same as of curl --unix-socket).

Exit codes: 0 done, 1 refused, 64 the command makes no sense, 69 no node answers,
75 busy, 77 denied.`,
	})
	addSocketFlags(c)
	c.PersistentFlags().BoolVar(&t.json, "json", false, "print the node's own JSON")
	c.AddCommand(t.status(), t.snapshot(), t.events(), t.audit(), t.explain(), t.bundle(), t.undo())
	for _, n := range nouns() {
		c.AddCommand(t.noun(n))
	}
	return c
}

// with runs f with an API on the node that is meant.
func (t *ctl) with(f func(ctx context.Context, c *cobra.Command, api *attach.API, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		path, err := t.socket(c, nil)
		if err != nil {
			return err
		}
		api := attach.NewAPI(path)
		defer api.Close()
		return t.codeOf(f(c.Context(), c, api, args))
	}
}

// codeOf gives a refusal of the node the exit code it calls for.
func (t *ctl) codeOf(err error) error {
	if se, ok := errors.AsType[*attach.StatusError](err); ok {
		return &config.ExitError{Code: refusalCode(se.Result.Code), Err: err}
	}
	return err
}

// refusalCode is the exit code of a command that was not carried out.
func refusalCode(c control.Code) int {
	switch c {
	case control.Denied:
		return config.ExitNoPerm
	case control.Busy:
		return config.ExitTempFail
	case control.Invalid:
		return config.ExitUsage
	default:
		return config.ExitFailure
	}
}

// get prints the answer to a GET as it came.
func (t *ctl) get(ctx context.Context, api *attach.API, target string) error {
	b, err := api.Get(ctx, target)
	if err != nil {
		return err
	}
	_, err = t.Out.Write(b)
	return err
}

// part prints one field of the snapshot as the node wrote it.
func (t *ctl) part(ctx context.Context, api *attach.API, field string) error {
	b, err := api.Get(ctx, "/v1/snapshot")
	if err != nil {
		return err
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	_, err = fmt.Fprintf(t.Out, "%s\n", raw[field])
	return err
}

func (t *ctl) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Is it well? A few lines", Args: cobra.NoArgs,
		RunE: t.with(func(ctx context.Context, _ *cobra.Command, api *attach.API, _ []string) error {
			if t.json {
				return t.part(ctx, api, "node")
			}
			s, err := api.Snapshot(ctx)
			if err != nil {
				return err
			}
			return printStatus(t.Out, s)
		}),
	}
}

func (t *ctl) snapshot() *cobra.Command {
	return &cobra.Command{
		Use: "snapshot", Short: "Everything, as JSON", Args: cobra.NoArgs,
		RunE: t.with(func(ctx context.Context, _ *cobra.Command, api *attach.API, _ []string) error {
			return t.get(ctx, api, "/v1/snapshot")
		}),
	}
}

func (t *ctl) events() *cobra.Command {
	var after uint64
	var follow bool
	c := &cobra.Command{Use: "events", Short: "What has happened", Args: cobra.NoArgs}
	c.Flags().Uint64Var(&after, "after", 0, "only events after this sequence number")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	c.RunE = t.with(func(ctx context.Context, _ *cobra.Command, api *attach.API, _ []string) error {
		target := "/v1/events?after=" + strconv.FormatUint(after, 10)
		if follow {
			target += "&follow=1"
		}
		err := api.Lines(ctx, target, func(line []byte) error {
			if t.json {
				_, err := fmt.Fprintf(t.Out, "%s\n", line)
				return err
			}
			var ev view.Event
			if err := json.Unmarshal(line, &ev); err != nil {
				return fmt.Errorf("event: %w", err)
			}
			return printEvent(t.Out, &ev)
		})
		if follow && ctx.Err() != nil {
			return nil // interrupted, as it was meant to be
		}
		return err
	})
	return c
}

func (t *ctl) audit() *cobra.Command {
	return &cobra.Command{
		Use: "audit", Short: "Who did what, when and why", Args: cobra.NoArgs,
		RunE: t.with(func(ctx context.Context, _ *cobra.Command, api *attach.API, _ []string) error {
			if t.json {
				return t.get(ctx, api, "/v1/audit")
			}
			recs, err := api.Audit(ctx)
			if err != nil {
				return err
			}
			return printAudit(t.Out, recs)
		}),
	}
}

func (t *ctl) explain() *cobra.Command {
	return &cobra.Command{
		Use: "explain FROM TO | CALL", Short: "Why TO does not hear FROM, or how a call stands, hop by hop", Args: cobra.RangeArgs(1, 2),
		Long: "Names are participants' ids, aliases or fingerprints; a call is named by its id.\nThe exit code is 1 when nobody here is called so.",
		RunE: t.with(func(ctx context.Context, _ *cobra.Command, api *attach.API, args []string) error {
			x, err := api.Explain(ctx, args[0], append(args, "")[1])
			if err != nil {
				return err
			}
			if t.json {
				err = json.NewEncoder(t.Out).Encode(x)
			} else {
				err = printExplanation(t.Out, &x)
			}
			if err == nil && len(x.Hops) == 0 {
				return &config.ExitError{Code: config.ExitFailure} // the verdict says who is not known here
			}
			return err
		}),
	}
}

func (t *ctl) bundle() *cobra.Command {
	return &cobra.Command{
		Use: "bundle [FILE]", Short: "Collect what a bug report needs into a .tar.gz", Args: cobra.MaximumNArgs(1),
		Long: "Writes the snapshot, events, audit records, goroutines and heap of the node into\nFILE (default signalbox-<time>.tar.gz here). It holds addresses and names of\nparticipants; no keys.",
		RunE: t.with(func(ctx context.Context, _ *cobra.Command, api *attach.API, args []string) error {
			path := bundleName(time.Now())
			if len(args) > 0 {
				path = args[0]
			}
			if err := writeBundle(ctx, api, path); err != nil {
				return err
			}
			if t.json {
				return json.NewEncoder(t.Out).Encode(map[string]string{"path": path})
			}
			_, err := fmt.Fprintln(t.Out, path)
			return err
		}),
	}
}

// act carries out one command and prints what came of it.
func (t *ctl) act(ctx context.Context, api *attach.API, cmd control.Command) error {
	res, err := api.Do(ctx, cmd)
	if err != nil {
		return err
	}
	if t.json {
		err = json.NewEncoder(t.Out).Encode(res)
	} else {
		err = printResult(t.Out, &res)
	}
	if err == nil && !res.OK {
		return &config.ExitError{Code: refusalCode(res.Code)} // printed already
	}
	return err
}
