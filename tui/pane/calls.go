package pane

import (
	"fmt"
	"strconv"
	"strings"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/key"
	"signalbox/tui/style"
)

// Calls shows the direct calls, the unanswered first, and who is registered:
// who rings whom, for how long, and who does not hear it.
type Calls struct {
	d       *Data
	calls   list // call ids
	clients list // client ids
	people  bool // the list of clients has the cursor
	filter  string
}

// NewCalls makes the pane.
func NewCalls() *Calls { return &Calls{d: &Data{Snap: &view.Snapshot{}}} }

// From when a call that is not answered, or a party that is gone, is trouble.
const (
	readLateS = 2  // a callee's client reads an offer at once
	ringLongS = 30 // people answer sooner
)

// Apply takes new numbers.
func (p *Calls) Apply(d *Data) {
	p.d = d
	var ids []string
	for i := range d.Snap.Signal.CallList {
		if c := &d.Snap.Signal.CallList[i]; match(p.filter, c.ID, c.State, c.Caller.Alias, c.Caller.Fingerprint, c.Callee.Alias, c.Callee.Fingerprint, c.Caller.Relay, c.Callee.Relay) {
			ids = append(ids, c.ID)
		}
	}
	p.calls.sync(p.calls.hold(ids, d.Hold))
	ids = nil
	for i := range d.Snap.Signal.Clients {
		if c := &d.Snap.Signal.Clients[i]; match(p.filter, c.Alias, c.Fingerprint, c.Remote, clientState(c)) {
			ids = append(ids, clientID(c))
		}
	}
	p.clients.sync(p.clients.hold(ids, d.Hold))
}

func clientID(c *view.SignalClient) string { return strconv.FormatUint(c.ID, 10) }

// Call is the marked call's id; empty: there is none, or the cursor is among the
// clients.
func (p *Calls) Call() string {
	if c := p.call(); c != nil && !p.people {
		return c.ID
	}
	return ""
}

func (p *Calls) call() *view.Call {
	for i := range p.d.Snap.Signal.CallList {
		if c := &p.d.Snap.Signal.CallList[i]; c.ID == p.calls.sel {
			return c
		}
	}
	return nil
}

func (p *Calls) client(id string) *view.SignalClient {
	for i := range p.d.Snap.Signal.Clients {
		if c := &p.d.Snap.Signal.Clients[i]; clientID(c) == id {
			return c
		}
	}
	return nil
}

func (p *Calls) cursor() *list {
	if p.people {
		return &p.clients
	}
	return &p.calls
}

// Act moves, filters, selects, and opens the room of a call.
func (p *Calls) Act(a Action, arg string) Jump {
	switch a {
	case Filter:
		p.filter = arg
		p.Apply(p.d)
		return Jump{Handled: true}
	case Select:
		return Jump{Handled: p.find(arg)}
	case Enter:
		if c := p.call(); !p.people && c != nil && p.room(c) != nil {
			return Jump{Pane: "rooms", Subject: c.Room, Handled: true}
		}
		return Jump{Handled: true}
	case Back:
		switch {
		case p.filter != "":
			p.filter = ""
		case p.people:
			p.people = false
		default:
			return Jump{}
		}
		p.Apply(p.d)
		return Jump{Handled: true}
	default:
		return Jump{Handled: p.cursor().move(a)}
	}
}

// find puts the cursor on a call, or on a client by its name or fingerprint.
func (p *Calls) find(subject string) bool {
	p.filter = ""
	p.Apply(p.d)
	if p.calls.pick(subject) {
		p.people = false
		return true
	}
	for i := range p.d.Snap.Signal.Clients {
		c := &p.d.Snap.Signal.Clients[i]
		if subject != "" && (c.Alias == subject || strings.HasPrefix(c.Fingerprint, subject)) {
			p.people = true
			return p.clients.pick(clientID(c))
		}
	}
	return subject == "auth" || subject == "clients"
}

// room is where a call's parties are, if they are here.
func (p *Calls) room(c *view.Call) *view.Room {
	for i := range p.d.Snap.Rooms {
		if p.d.Snap.Rooms[i].Name == c.Room {
			return &p.d.Snap.Rooms[i]
		}
	}
	return nil
}

// Keys lists what works here: on calls, or on clients.
func (p *Calls) Keys() []key.Row {
	if p.people {
		return p.clientKeys()
	}
	none := func() string {
		if p.call() == nil {
			return "no call is marked"
		}
		return ""
	}
	return []key.Row{
		{Keys: []string{"c"}, Short: "clients", Help: "the cursor to the registered clients", Run: func() { p.people = true }},
		{Keys: []string{"H"}, Short: "hang up", Help: "end the call for both", Act: true, Disabled: none, Plan: func() key.Intent {
			c := p.call()
			return key.Intent{Title: "hang up", On: "the call of " + partyName(&c.Caller, 20) + " to " + partyName(&c.Callee, 20), Cmds: []control.Command{{Kind: control.CallHangup, Target: c.ID}}}
		}},
		{Keys: []string{"enter"}, Short: "room", Help: "the call's room and who is in it", Disabled: func() string {
			if c := p.call(); c == nil || p.room(c) == nil {
				return "nobody is in the call's room here: they speak directly, or not yet"
			}
			return ""
		}},
	}
}

func (p *Calls) clientKeys() []key.Row {
	none := func() string {
		if p.client(p.clients.sel) == nil {
			return "nobody is marked"
		}
		return ""
	}
	return []key.Row{
		{Keys: []string{"c"}, Short: "calls", Help: "the cursor to the calls", Run: func() { p.people = false }},
		{Keys: []string{"K"}, Short: "drop", Help: "close the client's signalling connections and end its calls; it may register again", Act: true, Disabled: none, Plan: func() key.Intent {
			c := p.client(p.clients.sel)
			return key.Intent{Title: "drop client", On: clientName(c, 30), Cmds: []control.Command{{Kind: control.ClientDrop, Target: c.Fingerprint}}}
		}},
		{Keys: []string{"b"}, Short: "ban", Help: "ban the client's source address for a time", Act: true, Disabled: none, Plan: func() key.Intent {
			c := p.client(p.clients.sel)
			src := sourceOf(c.Remote)
			return key.Intent{Title: "ban source", On: src + ", the address of " + clientName(c, 24), Cmds: []control.Command{{Kind: control.SourceBan, Target: src}}}
		}},
		{Keys: []string{"esc"}, Short: "calls", Help: "back to the calls"},
	}
}

// partyName is what an operator calls one side of a call.
func partyName(p *view.Party, w int) string { return personName(p.Alias, p.Fingerprint, w) }

func clientName(c *view.SignalClient, w int) string { return personName(c.Alias, c.Fingerprint, w) }

func personName(alias, fingerprint string, w int) string {
	if strings.TrimSpace(cell.Clean(alias)) != "" {
		return cell.Name(alias, w)
	}
	return cell.Name(fingerprint[:min(9, len(fingerprint))], w)
}

// callLevel says how bad a call looks, and why.
func callLevel(c *view.Call) (level, string) {
	switch {
	case c.Caller.Lost && c.State == "active":
		return watch, "the caller's connection is lost; it has a few seconds to come back"
	case c.Callee.Lost && c.State == "active":
		return watch, "the callee's connection is lost; it has a few seconds to come back"
	case c.State == "pending" && c.Asked > 1:
		return fine, fmt.Sprintf("%d relays were asked for the callee, none has answered", c.Asked)
	case c.State == "pending" && c.Asked == 1:
		return fine, "the callee's relay has the offer and has not said that it rings"
	case c.State == "pending" && c.Callee.Relay != "":
		return fine, "the callee is not here; it is being looked for"
	case c.State == "pending" && c.AgeS >= readLateS:
		return broken, "the callee's client has not read the offer"
	case c.State == "pending":
		return fine, "the offer is on its way to the callee"
	case c.State == "ringing" && c.StateAgeS >= ringLongS:
		return watch, "it rings, and nobody answers"
	case c.State == "ringing":
		return fine, "the callee's client has the offer"
	}
	return fine, "both may be in the call's room, or speak directly"
}

func clientState(c *view.SignalClient) string {
	switch {
	case c.Stalled:
		return "stalled"
	case !c.Current:
		return "older"
	case c.Calls > 0:
		return "in a call"
	}
	return "idle"
}

func clientLevel(c *view.SignalClient) level {
	switch {
	case c.Stalled:
		return broken
	case !c.Current:
		return watch
	}
	return fine
}

// Draw shows both lists and what is marked.
func (p *Calls) Draw(w, h int, st *style.Set) []string {
	frame := w >= 100 && h >= 30
	s := &p.d.Snap.Signal
	head, low := 3, min(5, h/4)
	if frame {
		head, low = 5, 7
	}
	head = min(head, h/4)
	top := (h - head - low) / 2
	out := section(box{title: "signalling"}, w, head, frame, st, func(w, _ int) []string { return p.summary(w, st) })

	n := s.Calls.Pending + s.Calls.Ringing + s.Calls.Active
	b := box{title: "calls, unanswered first", note: filterNote(p.filter, len(p.calls.ids), n), focus: !p.people}
	if b.note == "" {
		b.note = listed(len(s.CallList), n, "call")
	}
	out = append(out, section(b, w, top, frame, st, func(w, h int) []string { return p.callTable(w, h, st) })...)

	b = box{title: "registered", note: filterNote(p.filter, len(p.clients.ids), len(s.Clients)), focus: p.people}
	if b.note == "" {
		b.note = listed(len(s.Clients), s.Connections-s.Anonymous, "client")
	}
	out = append(out, section(b, w, h-head-low-top, frame, st, func(w, h int) []string { return p.clientTable(w, h, st) })...)
	return cell.Block(append(out, p.about(w, low, frame, st)...), w, h)
}

// listed says how many there are, and how many of them are shown.
func listed(shown, all int, what string) string {
	if all > shown {
		return fmt.Sprintf("%d of %s", shown, plural(all, what))
	}
	return plural(shown, what)
}

func (p *Calls) summary(w int, st *style.Set) []string {
	s := &p.d.Snap.Signal
	label := func(name string) *cell.Line { return cell.NewLine(st, w).Cell(style.Dim, name, 9) }
	calls := label("calls").Add(style.Strong, fmt.Sprintf("%d active", s.Calls.Active)).Add(style.Text, fmt.Sprintf("  %d ringing  %d pending", s.Calls.Ringing, s.Calls.Pending)).
		Add(style.Dim, fmt.Sprintf("   offers %s  answers %s  hangups %s  unanswered %s", count(s.Offers), count(s.Answers), count(s.Hangups), count(s.RingTimeouts)))
	people := label("people").Add(style.Strong, fmt.Sprintf("%d registered", s.Registered)).
		Add(style.Dim, fmt.Sprintf("  %d asking  %d here in all  %d at other relays   refused: %s", s.Anonymous, s.PresentHere, s.PresentElsewhere, reasonWords(s.Refused)))
	return []string{calls.String(), people.String(), p.tokens(label("tokens"))}
}

func count(n uint64) string { return cell.Count(float64(n)) }

func (p *Calls) tokens(ln *cell.Line) string {
	a := &p.d.Snap.Signal.Auth
	if !a.Enabled {
		return ln.Add(style.Dim, "not checked: auth_url is not set; whoever reaches the node may register and join").String()
	}
	lv, word := fine, "service answers"
	switch a.Breaker {
	case "open":
		lv, word = broken, "service fails and is left alone: nobody new gets in"
	case "half-open":
		lv, word = watch, "service is being tried again"
	}
	return ln.Add(lv.style(), word).Add(style.Dim, fmt.Sprintf("  p50 %s  p99 %s  under way %d  waiting %d  kept %s   %s",
		cell.Millis(a.LatencyP50), cell.Millis(a.LatencyP99), a.InFlight, a.Waiting, count(a.CacheHits), reasonWords(a.Checks))).String()
}

func (p *Calls) callTable(w, h int, st *style.Set) []string {
	t := table{l: &p.calls, nocurs: p.people, filter: p.filter, empty: "nobody calls anybody", cols: []col{
		{head: "state", w: 10},
		{head: "age", w: 6, right: true},
		{head: "caller", w: max(10, min(24, (w-44)/2))},
		{head: "callee", w: max(10, min(24, (w-44)/2))},
		{head: "for", w: 6, right: true},
		{head: "id", w: 18, min: 90},
		{head: "where", w: 24, min: 150},
		{head: "why", w: 0, min: 110},
	}}
	t.row = func(id string) []cellText {
		for i := range p.d.Snap.Signal.CallList {
			k := &p.d.Snap.Signal.CallList[i]
			if k.ID != id {
				continue
			}
			lv, why := callLevel(k)
			return []cellText{
				c(lv.text(), lv.sign(&st.Glyph)+" "+cell.Name(k.State, 8)), c(style.Text, cell.Seconds(k.AgeS)), c(style.Strong, partyName(&k.Caller, 24)),
				c(style.Strong, partyName(&k.Callee, 24)), c(style.Text, cell.Seconds(k.StateAgeS)), c(style.Dim, cell.Name(k.ID, 18)), c(style.Dim, where(k)), c(lv.text(), why),
			}
		}
		return nil
	}
	return t.draw(w, h, st)
}

// where says which relays a call is between.
func where(c *view.Call) string {
	switch {
	case c.Caller.Relay != "":
		return "from " + cell.Name(c.Caller.Relay, 18)
	case c.Callee.Relay != "":
		return "to " + cell.Name(c.Callee.Relay, 18)
	}
	return "both here"
}

func (p *Calls) clientTable(w, h int, st *style.Set) []string {
	t := table{l: &p.clients, nocurs: !p.people, filter: p.filter, empty: "nobody is registered for calls", cols: []col{
		{head: "name", w: max(12, min(28, w-58))},
		{head: "state", w: 9},
		{head: "calls", w: 5, right: true},
		{head: "for", w: 6, right: true},
		{head: "queue", w: 6, right: true},
		{head: "address", w: 24},
		{head: "in", w: 6, right: true, min: 100},
		{head: "out", w: 6, right: true, min: 100},
		{head: "signed", w: 6, min: 110},
		{head: "key", w: 0, min: 118},
	}}
	t.row = func(id string) []cellText {
		k := p.client(id)
		if k == nil {
			return nil
		}
		lv := clientLevel(k)
		signed := "no"
		if k.Signed {
			signed = "yes"
		}
		return []cellText{
			c(lv.text(), lv.sign(&st.Glyph)+" "+clientName(k, 26)), c(lv.text(), clientState(k)), c(style.Text, short(k.Calls)), c(style.Text, cell.Since(p.d.Now, k.Since)),
			c(style.Text, fmt.Sprintf("%d/%d", k.QueueDepth, k.QueueCapacity)), c(style.Text, cell.Name(k.Remote, 24)), c(style.Dim, count(k.Received)), c(style.Dim, count(k.Sent)),
			c(style.Dim, signed), c(style.Dim, cell.Name(k.Fingerprint, 40)),
		}
	}
	return t.draw(w, h, st)
}

// about is the marked call or client in words.
func (p *Calls) about(w, h int, frame bool, st *style.Set) []string {
	if p.people {
		return p.aboutClient(w, h, frame, st)
	}
	call := p.call()
	b := box{title: "no call marked"}
	if call != nil {
		b.title, b.note = partyName(&call.Caller, 24)+" calls "+partyName(&call.Callee, 24), "id "+cell.Name(call.ID, 30)
	}
	return section(b, w, h, frame, st, func(w, _ int) []string {
		if call == nil {
			return nil
		}
		label := func(name string) *cell.Line { return cell.NewLine(st, w).Cell(style.Dim, name, 9) }
		lv, why := callLevel(call)
		in := "nobody is in its room here"
		if r := p.room(call); r != nil {
			in = plural(len(r.Participants), "member") + " in room " + cell.Name(r.Name, 40) + ", tier " + tierWord(r)
		}
		return []string{
			label("state").Add(lv.text(), cell.Name(call.State, 8)).Add(style.Text, " for "+cell.Seconds(call.StateAgeS)+": "+why).String(),
			label("caller").Add(style.Text, side(&call.Caller)).String(),
			label("callee").Add(style.Text, side(&call.Callee)).String(),
			label("media").Add(style.Text, in).String(),
		}
	})
}

// side is a party with its key and where it is.
func side(p *view.Party) string {
	out := cell.Name(p.Fingerprint, 40)
	if p.Alias != "" {
		out = cell.Name(p.Alias, 24) + "  " + out
	}
	if p.Relay != "" {
		return out + "  at relay " + cell.Name(p.Relay, 64)
	}
	return out + "  here"
}

func (p *Calls) aboutClient(w, h int, frame bool, st *style.Set) []string {
	cl := p.client(p.clients.sel)
	b := box{title: "nobody marked"}
	if cl != nil {
		b.title, b.note = clientName(cl, 30), cell.Name(cl.Remote, 44)
	}
	return section(b, w, h, frame, st, func(w, _ int) []string {
		if cl == nil {
			return nil
		}
		label := func(name string) *cell.Line { return cell.NewLine(st, w).Cell(style.Dim, name, 9) }
		words := map[string]string{
			"stalled": "does not read what it is sent: calls to it fail", "older": "another connection of the same identity is newer, and is rung instead",
			"in a call": "in " + plural(cl.Calls, "call"), "idle": "can be called",
		}
		proof := "not signed: whoever knows the public key can register so"
		if cl.Signed {
			proof = "signed: nobody without the key takes its place"
		}
		return []string{
			label("state").Add(clientLevel(cl).text(), words[clientState(cl)]).String(),
			label("key").Add(style.Text, cell.Name(cl.Fingerprint, 64)).String(),
			label("proof").Add(style.Text, proof).String(),
			label("signals").Add(style.Text, fmt.Sprintf("%s from it, %s read by it, %d of %d waiting; registered for %s", count(cl.Received), count(cl.Sent), cl.QueueDepth, cl.QueueCapacity, cell.Since(p.d.Now, cl.Since))).String(),
		}
	})
}
