package tui

import (
	"context"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/view"
)

// Manual is the key table for print: what the help on screen shows, pane by
// pane, with the keys that work in all of them at the end.
func Manual() []Chapter {
	m := New(nowhere{}, Options{})
	var out []Chapter
	for i, t := range m.tabs {
		m.cur = i
		c := Chapter{Title: t.name}
		for _, r := range t.Keys() {
			c.Keys = append(c.Keys, KeyHelp{r.Name(), r.Help})
		}
		if len(c.Keys) > 0 {
			out = append(out, c)
		}
	}
	c := Chapter{Title: "everywhere"}
	m.cur = 0
	for _, r := range m.globals() {
		c.Keys = append(c.Keys, KeyHelp{r.Name(), r.Help})
	}
	return append(out, c)
}

// Chapter is a pane's part of the key table.
type Chapter struct {
	Title string
	Keys  []KeyHelp
}

// KeyHelp is a key and what it does.
type KeyHelp struct{ Key, Help string }

// nowhere is a node that is not there: it remembers and answers nothing.
type nowhere struct{}

// Snapshot is empty.
func (nowhere) Snapshot() *view.Snapshot { return &view.Snapshot{} }

// Events has none.
func (nowhere) Events(uint64) ([]view.Event, uint64) { return nil, 0 }

// Do refuses.
func (nowhere) Do(context.Context, control.Command) (control.Result, error) {
	return control.Fail(control.Gone, "there is no node"), nil
}

// History has none.
func (nowhere) History(context.Context, time.Time, time.Time, time.Duration) ([]*view.Snapshot, error) {
	return nil, nil
}

// Explain has nothing to explain.
func (nowhere) Explain(context.Context, string, string) (view.Explanation, error) {
	return view.Explanation{}, nil
}

// Trail has none.
func (nowhere) Trail(context.Context) ([]view.Audit, error) { return nil, nil }
