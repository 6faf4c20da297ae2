// Package key holds the rows of the console's key table. Help, footer and
// dispatch are all made from the same rows, so that none of them can lie
// about the others.
package key

import (
	"slices"
	"strings"

	"signalbox/engine/control"
)

// Row is one key, what it does, and when it cannot.
type Row struct {
	Keys  []string // as the terminal reports them: "p", "ctrl+d", "space"
	Show  string   // how the screen names them; empty: the keys, joined
	Short string   // one or two words for the footer; empty: not in the footer
	Help  string   // a sentence for the help
	Act   bool     // changes the node: absent for viewers

	// Disabled says in words why the key does nothing now; nil or "" means it
	// works.
	Disabled func() string
	// Run does something to the console alone.
	Run func()
	// Plan makes what would be sent to the node. It never sends: the console
	// asks for the plan, shows it, and sends on a second, deliberate key.
	Plan func() Intent
	// Line begins a command on the command line, for the operator to go on.
	Line func() string
	// Send is a command of the command line to be sent at once.
	Send func() string
}

// Name is how the screen names the row's keys.
func (r *Row) Name() string {
	if r.Show != "" {
		return r.Show
	}
	return strings.Join(r.Keys, " ")
}

// Matches reports whether a reported key belongs to the row.
func (r *Row) Matches(k string) bool {
	return slices.Contains(r.Keys, k)
}

// Why is Disabled, nil-safe.
func (r *Row) Why() string {
	if r.Disabled == nil {
		return ""
	}
	return r.Disabled()
}

// Intent is what an operator is about to do: one command, or the same on
// several targets. Targets are ids, taken when the key was pressed; nothing
// that happens on screen afterwards changes them.
type Intent struct {
	Title string            // "restart shard"
	On    string            // the target in the operator's words
	Cmds  []control.Command // without DryRun, Reason and TTLS
	// Type is a word to be typed before the command can be applied; empty: y
	// is enough. The console sets it: see Typed.
	Type string
	// Choose asks for an argument first.
	Choose *Choice
	// PlanOnly shows what the node would do and offers nothing more.
	PlanOnly bool
}

// Choice is a question with fixed answers whose value becomes the argument Arg,
// or the target where Arg is empty.
type Choice struct {
	Ask    string
	Arg    string
	Labels []string
	Values []any
	Start  int // the answer that has the focus first
}
