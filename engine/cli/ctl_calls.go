package cli

import (
	"cmp"
	"io"
	"strconv"
	"time"

	"signalbox/engine/view"
)

func printCalls(w io.Writer, s *view.Snapshot) error {
	return table(w, "ID STATE AGE CALLER CALLEE RELAY", func(row func(...any)) {
		for i := range s.Signal.CallList {
			c := &s.Signal.CallList[i]
			row(c.ID, c.State, seconds(c.AgeS), party(&c.Caller), party(&c.Callee), cmp.Or(c.Caller.Relay, c.Callee.Relay, "here"))
		}
	})
}

func party(p *view.Party) string { return cmp.Or(p.Alias, p.Fingerprint) }

func seconds(s float64) string { return (time.Duration(s) * time.Second).String() }

func printClients(w io.Writer, s *view.Snapshot) error {
	return table(w, "FINGERPRINT ALIAS STATE CALLS QUEUE SIGNED REMOTE", func(row func(...any)) {
		for i := range s.Signal.Clients {
			c := &s.Signal.Clients[i]
			state := "idle"
			switch {
			case c.Stalled:
				state = "stalled"
			case !c.Current:
				state = "older"
			case c.Calls > 0:
				state = "in-call"
			}
			row(c.Fingerprint, c.Alias, state, c.Calls, c.QueueDepth, strconv.FormatBool(c.Signed), c.Remote)
		}
	})
}
