package engine

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"signalbox/dht/record"
	"signalbox/dht/table"
	"signalbox/engine/control"
	"signalbox/engine/view"
)

// traceTarget reads what an operator wants to look up: an id, or a text that
// has a key: a fingerprint in either spelling, or else a room's name. A prefix
// room: or fp: says which.
func traceTarget(text string) (id table.ID, what string, ok bool) {
	if id, err := table.ParseID(strings.ToLower(text)); err == nil {
		return id, "id " + id.Short() + "…", true
	}
	fp, said := strings.CutPrefix(text, "fp:")
	name := strings.TrimPrefix(text, "room:")
	switch {
	case fp == "" || name == "" || len(text) > maxTraceText:
		return table.ID{}, "", false
	case said || fingerprint(text):
		return record.PresenceKey(fp), "presence of " + clean(fp), true
	}
	return record.RoomKey(name), "room " + clean(name), true
}

const maxTraceText = 256

// fingerprint recognises a user's: 32 hexadecimal digits, in groups of four
// with colons between or without.
func fingerprint(s string) bool {
	plain := strings.ReplaceAll(s, ":", "")
	if len(plain) != 32 || len(s) != 32 && len(s) != 39 {
		return false
	}
	return !strings.ContainsFunc(strings.ToLower(plain), func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') })
}

func planTrace(e *Engine, c control.Command) (change, control.Result) {
	id, what, ok := traceTarget(strings.TrimSpace(c.Target))
	if !ok {
		return change{}, control.Fail(control.Invalid, "the target is an id of 64 hex digits, a room's name or a fingerprint")
	}
	var seq uint64
	return change{
		plan: []string{
			fmt.Sprintf("looks up %s (%s…) and shows whom it asks, hop by hop", what, id.String()[:16]),
			fmt.Sprintf("starts from %s closest to it; asks no more than 60 peers and takes no more than 30 s", view.Plural(min(e.dht.Table().Len(), e.dht.Table().K()), "contact")),
		},
		apply: func(context.Context) (err error) {
			seq, err = e.dht.Trace(id, what)
			return err
		},
		said: func() string {
			return fmt.Sprintf("lookup %d of %s is under way; its hops are in the snapshot", seq, what)
		},
		ref: func() string { return strconv.FormatUint(seq, 10) },
	}, none()
}
