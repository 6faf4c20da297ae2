package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"

	"signalbox/engine"
	"signalbox/engine/config"
)

// wireLevel is what we speak: the application protocols of contract section 1.
const wireLevel = "wzp, signalbox-dht/1"

// build is what version tells.
type build struct {
	Version   string `json:"version"`
	Build     string `json:"build"` // as node.version of a snapshot has it
	Commit    string `json:"commit"`
	Dirty     bool   `json:"dirty"`
	Go        string `json:"go"`
	QUICGo    string `json:"quic_go"`
	WireLevel string `json:"wire_level"`
}

// buildInfo reads what the linker left in the binary.
func buildInfo() build {
	b := build{Build: engine.BuildID(), Version: "unknown", Commit: "unknown", Go: "unknown", QUICGo: "unknown", WireLevel: wireLevel}
	bi, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version, b.Go = cmp.Or(bi.Main.Version, b.Version), bi.GoVersion
	for _, s := range bi.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Dirty = s.Value == "true"
		}
	}
	for _, d := range bi.Deps {
		if d.Path == "github.com/quic-go/quic-go" {
			b.QUICGo = d.Version
		}
	}
	return b
}

func (b build) text() string {
	dirty := ""
	if b.Dirty {
		dirty = ", modified"
	}
	return fmt.Sprintf("signalbox %s\ncommit    %s%s\ngo        %s\nquic-go   %s\nwire      %s\n", b.Version, b.Commit, dirty, b.Go, b.QUICGo, b.WireLevel)
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "version", Short: "What this binary was built from", Args: cobra.NoArgs}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	c.RunE = func(*cobra.Command, []string) error {
		if asJSON {
			return json.NewEncoder(a.Out).Encode(buildInfo())
		}
		_, err := io.WriteString(a.Out, buildInfo().text())
		return err
	}
	return c
}

func (a *app) configCommand() *cobra.Command {
	check := &cobra.Command{Use: "check", Short: "Is it valid? Tells everything that is not", Args: cobra.NoArgs}
	check.RunE = func(c *cobra.Command, _ []string) error {
		cfg, _, err := a.load(c, false)
		for _, w := range cfg.Warnings {
			a.printf(a.Err, "signalbox: warning: %s\n", w)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.Out, "valid")
		return err
	}
	var origin, asJSON bool
	show := &cobra.Command{Use: "show", Short: "Every value, and where it came from", Args: cobra.NoArgs}
	show.Flags().BoolVar(&origin, "origin", false, "say where each value came from")
	show.Flags().BoolVar(&asJSON, "json", false, "print one JSON array, origins included")
	show.RunE = func(c *cobra.Command, _ []string) error {
		cfg, origins, err := a.load(c, false)
		if err != nil {
			return err
		}
		entries := config.Entries(cfg, origins)
		if asJSON {
			return json.NewEncoder(a.Out).Encode(entries)
		}
		for _, e := range entries {
			line := e.Key + " = " + e.Text()
			if origin {
				line = fmt.Sprintf("%-60s # %s", line, e.Origin)
			}
			if _, err := fmt.Fprintln(a.Out, line); err != nil {
				return err
			}
		}
		return nil
	}
	c := group(&cobra.Command{Use: "config", Short: "Check or show the configuration"})
	for _, sub := range []*cobra.Command{check, show} {
		addNodeFlags(sub)
		c.AddCommand(sub)
	}
	return c
}
