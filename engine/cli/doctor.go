package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signalbox/engine/attach"
	"signalbox/engine/config"
	"signalbox/engine/view"
)

// How a check ended, and doctor's exit code when it is the worst.
type outcome int

const (
	good outcome = iota
	warned
	failed
)

func (o outcome) String() string { return [...]string{"ok", "warn", "fail"}[o] }

// MarshalText has JSON say it in words.
func (o outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// finding is what one check found.
type finding struct {
	Check  string  `json:"check"`
	Status outcome `json:"status"`
	Detail string  `json:"detail"`
	Remedy string  `json:"remedy,omitempty"`
}

// diagnosis is what doctor prints.
type diagnosis struct {
	Status outcome   `json:"status"`
	Checks []finding `json:"checks"`
}

func (d *diagnosis) add(f finding) {
	d.Status = max(d.Status, f.Status)
	d.Checks = append(d.Checks, f)
}

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "doctor", Short: "Check this machine and this configuration", Args: cobra.NoArgs,
		Long: "Checks what a node needs of this machine and of its configuration, and says how\nto put right what is wrong. Exit codes: 0 all good, 1 warnings, 2 failures.",
	}
	addNodeFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	c.RunE = func(c *cobra.Command, _ []string) error {
		d := a.diagnose(c)
		var err error
		if asJSON {
			err = json.NewEncoder(a.Out).Encode(d)
		} else {
			err = d.print(a.Out)
		}
		if err == nil && d.Status > good {
			err = &config.ExitError{Code: int(d.Status)} // printed already
		}
		return err
	}
	return c
}

// diagnose runs every check. Those that need a configuration are left out when
// there is no valid one.
func (a *app) diagnose(c *cobra.Command) *diagnosis {
	d := &diagnosis{}
	cfg, _, err := a.load(c, false)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			d.add(finding{"configuration", failed, strings.TrimSpace(line), "put it right and run signalbox config check"})
		}
	} else {
		d.add(finding{Check: "configuration", Detail: "valid"})
		for _, w := range cfg.Warnings {
			d.add(finding{"configuration", warned, w, ""})
		}
		running := runningNode(c.Context(), cfg.AdminPath(), d)
		for _, f := range checkLinks(running) {
			d.add(f)
		}
		d.add(checkStateDir(cfg.StateDir))
		d.add(checkIdentity(cfg.IdentityPath()))
		d.add(checkPort(cfg.ListenAddr, running))
		d.add(checkAdvertised(&cfg))
	}
	for _, f := range checkUDPBuffers("/proc/sys/net/core") {
		d.add(f)
	}
	d.add(checkGSO())
	d.add(checkFiles())
	d.add(checkClock(time.Now()))
	d.add(checkMemory(a.env))
	return d
}

// runningNode asks the node that has this state directory, if one runs.
func runningNode(ctx context.Context, socket string, d *diagnosis) *view.Snapshot {
	api := attach.NewAPI(socket)
	defer api.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := api.Snapshot(ctx)
	switch {
	case errors.Is(err, attach.ErrNotRunning):
		d.add(finding{Check: "node", Detail: "not running"})
		return nil
	case err != nil:
		d.add(finding{"node", warned, err.Error(), "run doctor as the node's user"})
		return nil
	}
	f := finding{Check: "node", Detail: fmt.Sprintf("running for %s, %s", time.Duration(s.Node.UptimeS)*time.Second, s.Node.Health.Verdict)}
	if s.Node.Health.Verdict != "ok" {
		f.Status, f.Detail = warned, f.Detail+": "+strings.Join(s.Node.Health.Reasons, "; ")
		f.Remedy = "see signalbox ctl status"
	}
	d.add(f)
	return s
}

func (d *diagnosis) print(w io.Writer) error {
	var b strings.Builder
	for _, f := range d.Checks {
		fmt.Fprintf(&b, "%-4s  %-15s %s\n", f.Status, f.Check, safe(f.Detail))
		if f.Remedy != "" && f.Status > good {
			fmt.Fprintf(&b, "%23s%s\n", "", strings.ReplaceAll(f.Remedy, "\n", fmt.Sprintf("\n%25s", "")))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
