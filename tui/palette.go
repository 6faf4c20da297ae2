package tui

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui/cell"
	"signalbox/tui/key"
	"signalbox/tui/pane"
	"signalbox/tui/style"
)

// commandLine is the line typed after ":": a verb, its target, arguments. The
// verbs are those of the admin API and the console's own.
type commandLine struct {
	text string
	at   int      // the suggestion that has the focus
	past []string // lines sent, oldest first
	back int      // how far up in past we are; 0: at the line being typed
}

const (
	lineMax  = 200
	linesMax = 50
)

func (l *commandLine) write(s string) {
	l.text = cell.Fit(l.text+s, lineMax, "")
	l.at, l.back = 0, 0
}

func (m *Model) startLine() {
	m.mode = commanding
	m.line.text, m.line.at, m.line.back = "", 0, 0
}

// suggestion is one way to go on.
type suggestion struct{ word, note string }

// verb is one thing that can be typed.
type verb struct {
	name, help string
	act        bool // changes the node
	// words suggests the n-th word after the verb; nil: there is none.
	words func(m *Model, n int) []suggestion
	run   func(m *Model, args []string) tea.Cmd
}

// kindHelp says what the levers do.
var kindHelp = map[control.Kind]string{
	control.ShardPause: "stop a shard's loop, keep its queue", control.ShardResume: "let a paused shard go on",
	control.ShardRestart: "give a shard a new loop, keep its queue", control.ShardFlush: "drop what waits in a shard",
	control.SourceBan: "drop everything of an address", control.SourceThrottle: "limit an address: pps=N",
	control.SourceClear: "lift ban and throttle of an address", control.RoomClose: "end a room", control.RoomLock: "let nobody else in",
	control.RoomUnlock: "let people in again", control.RoomPinTier: "fix a room's tier: tier=NAME",
	control.RoomTap: "log a room's packet headers: to=log or to=file", control.RoomUntap: "end a tap",
	control.ParticipantKick: "end a member's connection", control.ParticipantMute: "let nobody hear a member",
	control.ParticipantUnmute: "let a member be heard again", control.PeerPing: "ask a DHT peer whether it lives",
	control.PeerEvict: "take a peer out of the table", control.PeerBlock: "take a peer out and keep it out",
	control.PeerUnblock: "let a blocked peer in again", control.RoutingRefresh: "look up a random key in a bucket, or all",
	control.RoutingTrace: "look up an id, a room or a user, and watch",
	control.CallHangup:   "end a direct call for both", control.ClientDrop: "close a client's signalling connections",
	control.LinkReconnect: "dial a federation link anew", control.LinkMute: "send nothing over a link", control.LinkUnmute: "send over a link again",
	control.NodeDrain: "admit nobody, end spread over the deadline", control.NodeUndrain: "admit again",
	control.NodeLogLevel: "debug, info, warn or error", control.NodeSave: "write the files of the state directory now", control.Undo: "take a change back",
}

// verbs are what may be typed here and now.
func (m *Model) verbs() []verb {
	var out []verb
	for i, t := range m.tabs {
		out = append(out, verb{name: t.name, help: fmt.Sprintf("open pane %d", i+1), run: func(m *Model, _ []string) tea.Cmd { m.open(i); return nil }})
	}
	console := func(name, help string, f func()) {
		out = append(out, verb{name: name, help: help, run: func(*Model, []string) tea.Cmd { f(); return nil }})
	}
	console("mark", "mark the moment shown", m.setMark)
	out = append(out, verb{name: "changes", help: "what has changed since the mark, or since it was last well", run: func(m *Model, _ []string) tea.Cmd { return m.compare() }})
	console("drops", "where packets are dropped, and why", m.showDrops)
	out = append(out, verb{name: "theme", help: "the colours of this console: " + strings.Join(style.Themes(), ", "), words: themeWords, run: (*Model).chooseTheme})
	console("mouse", "listen to the mouse, or leave it to the terminal", m.toggleMouse)
	console("help", "the keys that work here", func() { m.mode, m.help = helping, 0 })
	if m.records() != nil {
		out = append(out,
			verb{name: "explain", help: "why somebody does not hear somebody: explain FROM TO; or how a call stands: explain CALL", words: explainWords, run: (*Model).explain},
			verb{name: "audit", help: "who did what, when and why", run: (*Model).auditTrail},
		)
	}
	for _, k := range control.Kinds() {
		if m.opt.Role == control.Operator {
			out = append(out, verb{name: string(k), help: kindHelp[k], act: true, words: func(m *Model, n int) []suggestion { return targetWords(m, k, n) }, run: leverOf(k)})
		}
	}
	if m.opt.Role == control.Operator {
		out = append(out, verb{name: "drain", help: "the same as node.drain: who would be cut, and over what time, then ask", act: true, run: leverOf(control.NodeDrain)})
	}
	if _, ok := m.src.(Past); ok {
		out = append(out, verb{name: "at", help: "look at another moment: at 03:12, at 03:12:30 (UTC), at -10m, at live", words: momentWords, run: (*Model).at})
	}
	out = append(out, verb{name: "quit", help: "close the console", run: func(m *Model, _ []string) tea.Cmd { return m.leave() }})
	return out
}

// arguments are those that levers know: another word with a = in it is a target.
var arguments = []string{"level", "pps", "tier", "to"}

// leverOf asks the node for the plan of a lever: nothing is sent on enter but
// the question.
func leverOf(k control.Kind) func(*Model, []string) tea.Cmd {
	return func(m *Model, args []string) tea.Cmd {
		c, only := control.Command{Kind: k}, false
		for _, a := range args {
			if strings.HasPrefix(a, "--") {
				if a == "--plan" {
					only = true
					continue
				}
				m.say(style.Warn, a+" means nothing here; arguments are NAME=VALUE")
				return nil
			}
			name, value, has := strings.Cut(a, "=")
			has = has && slices.Contains(arguments, name)
			switch n, err := strconv.ParseFloat(value, 64); {
			case !has && c.Target == "":
				c.Target = a
			case !has:
				m.say(style.Warn, "one target at a time; arguments are NAME=VALUE")
				return nil
			case c.Args == nil:
				c.Args = map[string]any{}
				fallthrough
			default:
				if c.Args[name] = any(value); err == nil {
					c.Args[name] = n
				}
			}
		}
		return m.ask(key.Intent{Title: string(k), On: pane.Target(c.Target, 40), Cmds: []control.Command{c}, PlanOnly: only})
	}
}

// phoneWords suggests calls, or clients that can be called.
func phoneWords(s *view.Snapshot, noun string) (out []suggestion) {
	if noun == "client" {
		for i := range s.Signal.Clients {
			out = append(out, suggestion{s.Signal.Clients[i].Fingerprint, cell.Clean(s.Signal.Clients[i].Alias)})
		}
		return out
	}
	for i := range s.Signal.CallList {
		c := &s.Signal.CallList[i]
		note := fmt.Sprintf("%s, %s to %s", c.State, cmp.Or(c.Caller.Alias, c.Caller.Fingerprint), cmp.Or(c.Callee.Alias, c.Callee.Fingerprint))
		out = append(out, suggestion{c.ID, cell.Clean(note)})
	}
	return out
}

// targetWords suggests targets, then arguments, of a lever.
func targetWords(m *Model, k control.Kind, n int) []suggestion {
	s := m.data().Snap
	var out []suggestion
	add := func(word, note string) { out = append(out, suggestion{word, cell.Clean(note)}) }
	noun, _, _ := strings.Cut(string(k), ".")
	switch {
	case k == control.Undo && n == 0:
		for i := range s.Undo {
			add(s.Undo[i].ID, s.Undo[i].Kind+" "+s.Undo[i].Target+" by "+s.Undo[i].Author)
		}
	case k == control.NodeLogLevel && n == 0:
		for _, l := range []string{"debug", "info", "warn", "error"} {
			add(l, "")
		}
	case k == control.RoutingRefresh && n == 0:
		add("all", "every bucket")
		for i := range s.DHT.Buckets {
			add(strconv.Itoa(s.DHT.Buckets[i].Index), fmt.Sprintf("%s, %d stale", view.Plural(s.DHT.Buckets[i].Size, "contact"), s.DHT.Buckets[i].Stale))
		}
	case k == control.RoutingTrace && n == 0:
		return traceWords(s)
	case k == control.RoomPinTier && n == 1:
		for _, t := range []string{"Good", "Degraded", "Catastrophic", "Studio32k", "Studio48k", "Studio64k", "none"} {
			add("tier="+t, "")
		}
	case k == control.RoomTap && n == 1:
		add("to=log", "the node's log")
		add("to=file", "tap.log in the state directory")
	case k == control.SourceThrottle && n == 1:
		for _, r := range []string{"50", "100", "500"} {
			add("pps="+r, "packets a second; one voice is 50")
		}
	case n > 0:
	case noun == "shard":
		for i := range s.Shards {
			add(s.Shards[i].Key(), fmt.Sprintf("%s, %d waiting", s.Shards[i].State, s.Shards[i].Depth))
		}
	case noun == "room":
		for i := range s.Rooms {
			add(s.Rooms[i].Name, fmt.Sprintf("%s, %s", view.Plural(len(s.Rooms[i].Participants), "member"), s.Rooms[i].Tier))
		}
	case noun == "participant":
		return memberWords(m, 0)
	case noun == "call", noun == "client":
		return phoneWords(s, noun)
	case noun == "peer":
		for i := range s.DHT.PeersTable {
			add(s.DHT.PeersTable[i].ID, s.DHT.PeersTable[i].State)
		}
	case noun == "link":
		for i := range s.Links {
			add(s.Links[i].Label, s.Links[i].State)
		}
	case noun == "source":
		return sourceWords(s)
	}
	return out
}

// sourceWords suggests addresses: the restricted ones, and those with most
// traffic.
func sourceWords(s *view.Snapshot) (out []suggestion) {
	for i := range s.Sources {
		out = append(out, suggestion{s.Sources[i].Prefix, cell.Clean(s.Sources[i].Kind)})
	}
	for i := range s.Shards {
		for _, h := range s.Shards[i].HotSources {
			out = append(out, suggestion{h.IP, fmt.Sprintf("%.0f %% of %s", h.SharePct, s.Shards[i].Key())})
		}
	}
	return out
}

// traceWords suggests what to look up.
func traceWords(s *view.Snapshot) (out []suggestion) {
	for i := range s.Rooms {
		out = append(out, suggestion{"room:" + s.Rooms[i].Name, "who publishes this room"})
	}
	for i := range s.DHT.PeersTable {
		out = append(out, suggestion{s.DHT.PeersTable[i].ID, cell.Clean(s.DHT.PeersTable[i].State)})
	}
	return out
}

// memberWords suggests participants by id, with who that is beside it.
func memberWords(m *Model, n int) []suggestion {
	if n > 1 {
		return nil
	}
	var out []suggestion
	s := m.data().Snap
	for i := range s.Rooms {
		for j := range s.Rooms[i].Participants {
			p := &s.Rooms[i].Participants[j]
			out = append(out, suggestion{p.ID, cell.Clean(cmp.Or(p.Alias, p.Remote) + " in " + s.Rooms[i].Name)})
		}
	}
	return out
}

// explainWords suggests calls and participants, then who else is in the room.
func explainWords(m *Model, n int) []suggestion {
	all := memberWords(m, n)
	f := strings.Fields(m.line.text)
	if n == 0 || len(f) < 2 {
		return append(all, phoneWords(m.data().Snap, "call")...)
	}
	_, room, _ := strings.Cut(noteOf(all, f[1]), " in ")
	return slices.DeleteFunc(all, func(s suggestion) bool {
		return s.word == f[1] || room != "" && !strings.HasSuffix(s.note, " in "+room)
	})
}

func noteOf(list []suggestion, text string) string {
	for _, s := range list {
		if s.word == text {
			return s.note
		}
	}
	return ""
}

// momentWords suggests how to say when.
func momentWords(_ *Model, n int) []suggestion {
	if n > 0 {
		return nil
	}
	return []suggestion{{"-1m", "a minute ago"}, {"-10m", "ten minutes ago"}, {"live", "the present, or the end of a recording"}}
}

// suggest lists how the line can go on, the best first, and the part of the
// line that a suggestion replaces.
func (m *Model) suggest() (list []suggestion, word string) {
	fields := strings.Fields(m.line.text)
	if strings.HasSuffix(m.line.text, " ") || len(fields) == 0 {
		fields = append(fields, "")
	}
	word = fields[len(fields)-1]
	verbs := m.verbs()
	if len(fields) == 1 {
		for _, v := range verbs {
			list = append(list, suggestion{v.name, v.help})
		}
		return rankBy(word, list), word
	}
	if i := slices.IndexFunc(verbs, func(v verb) bool { return v.name == fields[0] }); i >= 0 && verbs[i].words != nil {
		list = verbs[i].words(m, len(fields)-2)
	}
	return rankBy(word, list), word
}

// rankBy keeps what matches a word: at its beginning first, inside it next, in
// its note last.
func rankBy(word string, list []suggestion) []suggestion {
	word = strings.ToLower(word)
	score := func(s suggestion) int {
		w := strings.ToLower(s.word)
		switch {
		case strings.HasPrefix(w, word):
			return 0
		case strings.Contains(w, word):
			return 1
		case strings.Contains(strings.ToLower(s.note), word):
			return 2
		}
		return 3
	}
	out := slices.DeleteFunc(slices.Clone(list), func(s suggestion) bool { return score(s) == 3 })
	slices.SortStableFunc(out, func(a, b suggestion) int { return cmp.Compare(score(a), score(b)) })
	return out
}

// lineKey edits the line.
func (m *Model) lineKey(name, text string) tea.Cmd {
	l := &m.line
	list, word := m.suggest()
	switch name {
	case "esc", "ctrl+c":
		m.mode = normal
	case "enter":
		return m.runLine()
	case "tab":
		if len(list) > 0 {
			l.text = l.text[:len(l.text)-len(word)] + list[min(l.at, len(list)-1)].word + " "
			l.at = 0
		}
	case "down", "ctrl+n":
		l.at = min(l.at+1, max(0, len(list)-1))
	case "up":
		if l.at > 0 {
			l.at--
		} else if l.back < len(l.past) {
			l.back++
			l.text = l.past[len(l.past)-l.back]
		}
	case "backspace":
		l.text, l.at = dropLast(l.text), 0
	case "ctrl+u":
		l.text, l.at = "", 0
	default:
		l.write(cell.Clean(text))
	}
	return nil
}

// runLine does what the line says; a verb that is not known stays on screen.
func (m *Model) runLine() tea.Cmd {
	l := &m.line
	fields := strings.Fields(l.text)
	if len(fields) == 0 {
		m.mode = normal
		return nil
	}
	verbs := m.verbs()
	i := slices.IndexFunc(verbs, func(v verb) bool { return v.name == fields[0] })
	if i < 0 {
		if list, _ := m.suggest(); len(fields) == 1 && len(list) > 0 { // enter takes what is marked
			return m.lineKey("tab", "")
		}
		if slices.Contains(control.Kinds(), control.Kind(fields[0])) {
			m.say(style.Warn, fields[0]+" acts on the node, and viewers only look")
			return nil
		}
		m.say(style.Warn, "no command "+cell.Name(fields[0], 30)+"; tab completes")
		return nil
	}
	l.past = append(l.past, l.text)
	if len(l.past) > linesMax {
		l.past = l.past[1:]
	}
	m.mode = normal
	return verbs[i].run(m, fields[1:])
}

// lineRows is the inside of the window: the line, then what may follow.
func (m *Model) lineRows(w, h int, st *style.Set) []string {
	out := []string{cell.NewLine(st, w).Add(style.Key, ":").Add(style.Text, cell.Fit(m.line.text, w-3, "…")).Add(style.Focus, "_").String()}
	list, _ := m.suggest()
	room := max(1, min(h-2, 12))
	m.line.at = min(m.line.at, max(0, len(list)-1))
	from := max(0, m.line.at-room+1)
	for i := from; i < len(list) && i < from+room; i++ {
		ln := cell.NewLine(st, w)
		if i == m.line.at {
			ln.Add(style.Focus, st.Glyph.Cursor+" ")
		} else {
			ln.Space(2)
		}
		ln.Cell(style.Strong, cell.Name(list[i].word, 28), 28).Space(1).Add(style.Dim, list[i].note)
		out = append(out, ln.String())
	}
	if len(list) == 0 {
		out = append(out, cell.NewLine(st, w).Add(style.Dim, "  nothing to suggest; enter shows the plan, nothing is changed by asking").String())
	}
	return append(out, cell.NewLine(st, w).Add(style.Dim, fmt.Sprintf("%d fit; tab takes the marked one, enter goes, esc closes", len(list))).String())
}
