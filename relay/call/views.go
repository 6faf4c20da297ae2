package call

import (
	"cmp"
	"slices"
	"unicode/utf8"

	"signalbox/engine/view"
	"signalbox/relay"
)

// What a snapshot carries of each list; the counts are of all.
const (
	shownClients = 200
	shownCalls   = 200
	shownAlias   = 64
)

// View is the hub's part of the snapshot: counts of everything, and of clients
// and calls the newest.
func (h *Hub) View(now int64) view.Signal {
	locals, remotes, _ := h.presence.Counts()
	v := view.Signal{PresentHere: locals, PresentElsewhere: remotes, Refused: map[string]uint64{}}
	for i := range h.refused {
		v.Refused[whyNames[i]] = h.refused[i].Load()
	}
	h.mu.Lock()
	v.Registered, v.Connections, v.Anonymous = len(h.clients), h.conns, h.anonymous
	v.Offers, v.Answers, v.Hangups, v.RingTimeouts = h.count.offers, h.count.answers, h.count.hangups, h.count.ringTimeouts
	v.Stalls, v.Moves = h.count.stalls, h.count.moves
	calls := make([]*call, 0, len(h.calls))
	for _, c := range h.calls {
		switch c.state {
		case Pending:
			v.Calls.Pending++
		case Ringing:
			v.Calls.Ringing++
		case Active:
			v.Calls.Active++
		}
		calls = append(calls, c)
	}
	slices.SortFunc(calls, func(a, b *call) int {
		return cmp.Or(cmp.Compare(a.state, b.state), cmp.Compare(b.created, a.created), cmp.Compare(a.key, b.key))
	})
	v.CallList = make([]view.Call, 0, min(len(calls), shownCalls))
	for _, c := range calls[:min(len(calls), shownCalls)] {
		v.CallList = append(v.CallList, c.view(now))
	}
	shown := h.shown()
	v.Clients = make([]view.SignalClient, 0, len(shown))
	for _, c := range shown {
		v.Clients = append(v.Clients, h.client(c))
	}
	h.mu.Unlock()
	return v
}

// shown are the clients to list: those in trouble, those in calls, and the
// newest of the rest.
func (h *Hub) shown() []*Client {
	all := make([]*Client, 0, h.conns)
	for _, cs := range h.clients {
		all = append(all, cs...)
	}
	rank := func(c *Client) int {
		switch {
		case c.stalled:
			return 0
		case len(h.parties[c.fp]) > 0:
			return 1
		}
		return 2
	}
	slices.SortFunc(all, func(a, b *Client) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.gen, a.gen))
	})
	return all[:min(len(all), shownClients)]
}

func (h *Hub) client(c *Client) view.SignalClient {
	c.mu.Lock()
	depth := len(c.queue) + c.flying
	c.mu.Unlock()
	return view.SignalClient{
		ID: c.gen, Fingerprint: c.fp, Alias: shownName(aliasOf(c.alias)), Remote: c.remote().String(), Since: c.at, Signed: c.signed, Stalled: c.stalled,
		Current: h.current(c.fp) == c, Calls: len(h.parties[c.fp]), QueueDepth: depth, QueueCapacity: queueFrames,
		Received: c.received.Load(), Sent: c.sent.Load(),
	}
}

func (c *call) view(now int64) view.Call {
	v := view.Call{
		ID: c.id, State: c.state.String(), Room: RoomPrefix + c.key, AgeS: seconds(now - c.created), StateAgeS: seconds(now - c.changed),
		Caller: c.caller.view(), Callee: c.callee.view(), Asked: len(c.asked),
	}
	if c.seeking {
		v.Callee.Relay = "being looked for"
	}
	return v
}

func (p *party) view() view.Party {
	return view.Party{Fingerprint: relay.Sanitize(p.fp), Alias: shownName(p.alias), Relay: p.relay, Lost: p.lost > 0}
}

func seconds(ns int64) float64 { return max(0, float64(ns)/1e9) }

// describe names a call's parties.
func (h *Hub) describe(c *call) string {
	return "the call of " + name(c.caller.fp, c.caller.alias) + " to " + name(c.callee.fp, c.callee.alias)
}

// name is what to call an identity.
func name(fp, alias string) string {
	if alias = shownName(alias); alias != "" {
		return alias
	}
	return short(fp)
}

// short is the beginning of a fingerprint, enough for people.
func short(fp string) string { return relay.Sanitize(cut(fp, 9)) }

func shownName(alias string) string { return cut(relay.Sanitize(alias), shownAlias) }

func aliasOf(a *string) string {
	if a == nil {
		return ""
	}
	return *a
}

// cut shortens s to n bytes without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
