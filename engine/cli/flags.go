package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"signalbox/engine/config"
)

// text is a flag whose value config reads; Type is what help calls it.
type text struct {
	s   string
	arg string
}

func (t *text) String() string     { return t.s }
func (t *text) Set(s string) error { t.s = s; return nil }
func (t *text) Type() string       { return strings.ToLower(t.arg) }

// texts is a flag that may be repeated.
type texts struct {
	list []string
	arg  string
}

func (t *texts) String() string     { return strings.Join(t.list, ",") }
func (t *texts) Set(s string) error { t.list = append(t.list, s); return nil }
func (t *texts) Type() string       { return strings.ToLower(t.arg) }

const configFlag = "config"

// addNodeFlags gives c the flags of a node, from config's table.
func addNodeFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringP(configFlag, "c", "", "configuration file, TOML")
	defaults := map[string]string{}
	for _, e := range config.Entries(config.Default(), config.Origins{}) {
		defaults[e.Key] = fmt.Sprint(e.Value)
	}
	for _, k := range config.Keys() {
		switch {
		case k.Flag == "":
		case k.Bool():
			f.Bool(k.Flag, false, k.Help)
		case k.Lists:
			f.Var(&texts{arg: k.Arg}, k.Flag, k.Help)
		default:
			f.VarP(&text{s: visible(defaults[k.Name]), arg: k.Arg}, k.Flag, k.Short, k.Help)
		}
	}
	f.Bool("mesh-status", false, "as in wzp-relay: print the probe mesh and end")
	if err := f.MarkHidden("mesh-status"); err != nil {
		panic(err) // the flag is defined in the line above
	}
}

// visible drops defaults that say nothing.
func visible(s string) string {
	if s == "0" {
		return ""
	}
	return s
}

// addSocketFlags gives c the few flags that say which node is meant.
func addSocketFlags(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringP(configFlag, "c", "", "configuration file of the node, TOML")
	for _, k := range config.Keys() {
		if k.Flag == "state-dir" || k.Flag == "admin" {
			f.Var(&text{arg: k.Arg}, k.Flag, k.Help)
		}
	}
}

// load reads the settings as the command's flags ask for it.
// A missing file may be none.
func (a *app) load(c *cobra.Command, mayBeMissing bool) (config.Config, config.Origins, error) {
	o := config.LoadOptions{Env: a.Env, Flags: map[string]any{}, MayBeMissing: mayBeMissing}
	if f := c.Flags().Lookup(configFlag); f != nil {
		o.File = f.Value.String()
	}
	for _, k := range config.Keys() {
		f := c.Flags().Lookup(k.Flag)
		if k.Flag == "" || f == nil || !f.Changed {
			continue
		}
		o.Flags[k.Name] = f.Value.String()
		if l, ok := f.Value.(*texts); ok {
			o.Flags[k.Name] = l.list
		}
	}
	return config.Load(o)
}
