package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"signalbox/engine/config"
	"signalbox/tui"
)

// manCommand writes the man pages: section 1 from the tree of commands,
// section 5 from the table of settings, section 7 from the table of keys.
func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the man pages into a directory", Args: cobra.ExactArgs(1), Hidden: true,
		RunE: func(c *cobra.Command, args []string) error {
			root := c.Root()
			root.DisableAutoGenTag = true // pages are compared, a date would make them differ
			h := &doc.GenManHeader{Section: "1", Source: "signalbox", Manual: "Signalbox"}
			if err := doc.GenManTree(root, h, args[0]); err != nil {
				return config.Exit(config.ExitCantCreate, "man pages: %w", err)
			}
			if err := os.WriteFile(filepath.Join(args[0], "signalbox.toml.5"), []byte(configPage()), 0o644); err != nil {
				return config.Exit(config.ExitCantCreate, "man pages: %w", err)
			}
			if err := os.WriteFile(filepath.Join(args[0], "signalbox-console.7"), []byte(consolePage()), 0o644); err != nil {
				return config.Exit(config.ExitCantCreate, "man pages: %w", err)
			}
			return nil
		},
	}
}

// consolePage is signalbox-console(7): the keys, from the table that the help on
// screen is made of.
func consolePage() string {
	var b strings.Builder
	b.WriteString(".TH \"SIGNALBOX-CONSOLE\" \"7\" \"\" \"signalbox\" \"Signalbox\"\n.SH NAME\nsignalbox-console \\- keys of the console\n.SH DESCRIPTION\n")
	b.WriteString("The console of signalbox run, attach, demo and replay, and over SSH. Nothing is changed before the node has shown its plan and y was pressed.\n")
	for _, c := range tui.Manual() {
		fmt.Fprintf(&b, ".SH %s\n", strings.ToUpper(roff(c.Title)))
		for _, k := range c.Keys {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s.\n", roff(k.Key), roff(k.Help))
		}
	}
	return b.String()
}

// configPage is signalbox.toml(5).
func configPage() string {
	var b strings.Builder
	b.WriteString(".TH \"SIGNALBOX.TOML\" \"5\" \"\" \"signalbox\" \"Signalbox\"\n.SH NAME\nsignalbox.toml \\- configuration of signalbox\n.SH DESCRIPTION\n")
	b.WriteString("Values come from, in rising precedence: defaults, the TOML file, the environment, flags. A dotted key is a key inside a table: dispatch.shards is shards in [dispatch].\n.SH KEYS\n")
	defaults := map[string]string{}
	for _, e := range config.Entries(config.Default(), config.Origins{}) {
		defaults[e.Key] = e.Text()
	}
	for _, k := range config.Keys() {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s.\n", roff(k.Name), roff(strings.TrimSuffix(k.Help, ".")))
		if d := defaults[k.Name]; d != `""` && d != "[]" && d != "0" && d != "false" {
			fmt.Fprintf(&b, "Default: %s.\n", roff(d))
		}
		fmt.Fprintf(&b, "Environment: %s.", roff(k.Env()))
		if k.Flag != "" {
			fmt.Fprintf(&b, " Flag: %s.", roff("--"+k.Flag))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// roff escapes what the formatter would take for its own.
func roff(s string) string {
	s = strings.ReplaceAll(s, "\n", " ")
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
