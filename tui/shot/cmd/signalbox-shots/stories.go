package main

import "signalbox/tui/shot"

// story is one run of the demo with pictures on its way.
type story struct {
	name, title string
	scenario    string
	cols, rows  int
	light       bool
	env         []string
	steps       []step

	// What its run has given: the pictures and their screens.
	taken   []shot.Picture
	screens []string
}

// step is one picture: the keys that lead to it from the one before, and for
// the tour what there is to see.
type step struct {
	name string
	pane string
	say  string
	keys []string
}

var stories = []story{
	{name: "calm", title: "Calm: what there is to see", scenario: "calm", cols: 120, rows: 40, steps: []step{
		{"overview", "overview", "The overview: the verdict, the shards of both planes, the ledger, the worst room, the routing table, links, news.", []string{"until:LIVE", "wait:14s"}},
		{"shards", "shards", "Every shard: how full, how busy, what it does at this moment.", []string{"2", "wait:1s"}},
		{"rooms", "rooms", "Rooms, worst first, with the weakest member and whose fault it is.", []string{"3", "wait:1s"}},
		{"members", "members", "The members of one room; those at other relays are named with their relay.", []string{"j", "enter", "wait:1s"}},
		{"routing", "routing", "The routing table: what each bucket is worth, and what that means in words.", []string{"4", "wait:1s"}},
		{"routing-contact", "contact", "One contact: its addresses, its proofs of life.", []string{"enter", "wait:1s"}},
		{"routing-trace", "lookup", "A lookup, hop by hop, while it goes on: who was asked, who answered, what was new.", []string{"esc", "t", "ctrl+u", "routing.trace room:podcast", "enter", "until:nothing has been changed yet", "y", "until:stands", "wait:2s"}},
		{"events", "events", "What has happened, newest first.", []string{"esc", "5", "wait:1s"}},
		{"log", "log", "What operators have put in force, and what this console has sent.", []string{"6", "wait:1s"}},
		{"calls", "calls", "Direct calls and who is registered for them.", []string{"7", "wait:1s"}},
		{"links", "links", "Links to other relays: proved or not, how far, what passes.", []string{"8", "wait:1s"}},
		{"drops", "drops", "Where packets are dropped and why, from the kernel up.", []string{"1", "d", "wait:1s"}},
		{"changes", "changes", "What has changed over the last minute, or since it was last well.", []string{"esc", "D", "wait:1s"}},
		{"past", "overview", "Two seconds back: double frames say that this is the past.", []string{"esc", "[", "[", "wait:2s"}},
		{"command", "command", "Every lever by name, completed as it is typed.", []string{".", ":", "room", "wait:1s"}},
		{"help", "help", "The keys that work here and now.", []string{"esc", "2", "?", "wait:1s"}},
		{"audit", "audit", "Who did what, when and why.", []string{"esc", "1", "W", "wait:1s"}},
	}},
	{name: "hot-shard", title: "hot-shard: one address floods a shard", scenario: "hot-shard", cols: 100, rows: 30, steps: []step{
		{"hot-shard-1", "overview", "The verdict names the shard, the share and the address.", []string{"until:of it from 127.0.2.66", "wait:3s"}},
		{"hot-shard-2", "shards", "The shard: its queue is full, and who fills it.", []string{"g", "enter", "wait:1s"}},
		{"hot-shard-3", "plan", "To how many packets a second? One voice is 50.", []string{"t", "wait:1s"}},
		{"hot-shard-4", "plan", "The node's own plan; nothing has been changed yet.", []string{"enter", "until:nothing has been changed yet"}},
		{"hot-shard-5", "shards", "Done, for a time, and it can be taken back.", []string{"y", "until:done:", "wait:4s"}},
		{"hot-shard-6", "log", "What is in force, by whom, until when.", []string{"6", "wait:1s"}},
	}},
	{name: "bad-room", title: "bad-room: one member cannot take what the room sends", scenario: "bad-room", cols: 100, rows: 30, steps: []step{
		{"bad-room-1", "overview", "The verdict names the member, and that only they lose.", []string{"until:Frozen Fred  does not take", "wait:4s"}},
		{"bad-room-2", "members", "The members: whose fault it is, from both sides.", []string{"g", "enter", "wait:1s"}},
		{"bad-room-3", "explain", "Why the weakest does not hear, hop by hop.", []string{"1", "x", "until:as of"}},
		{"bad-room-4", "plan", "The plan of a kick: they may join again at once.", []string{"esc", "g", "enter", "K", "until:nothing has been changed yet"}},
		{"bad-room-5", "members", "Done: the others never noticed.", []string{"y", "until:done:", "wait:1s"}},
	}},
	{name: "wedged-shard", title: "wedged-shard: a handler never returns", scenario: "wedged-shard", cols: 100, rows: 30, steps: []step{
		{"wedged-shard-1", "overview", "The verdict says which shard, for how long, on what.", []string{"until:wedged for"}},
		{"wedged-shard-2", "shards", "What it is at, and who waits behind it.", []string{"g", "enter", "wait:300ms"}},
		{"wedged-shard-3", "plan", "Its loop can be replaced now; the watchdog does it within ten seconds anyway.", []string{"R", "until:nothing has been changed yet"}},
		{"wedged-shard-4", "shards", "It runs again. What waited was kept.", []string{"y", "until:done:", "wait:500ms"}},
	}},
	{name: "panic", title: "panic: a handler has a defect", scenario: "panic", cols: 100, rows: 30, steps: []step{
		{"panic-1", "overview", "Contained: the verdict counts the panics, nobody's call ended.", []string{"until:its handler panicked"}},
		{"panic-2", "shard", "The stack of the last one, to be reported.", []string{"g", "enter", "enter", "wait:500ms"}},
		{"panic-3", "events", "When it happened, each time.", []string{"esc", "5", "wait:1s"}},
	}},
	{name: "blackhole-peer", title: "blackhole-peer: what a relay sends is lost without a word", scenario: "blackhole-peer", cols: 100, rows: 30, steps: []step{
		{"blackhole-peer-1", "overview", "The verdict names the relay that has fallen silent.", []string{"until:the link is down for", "wait:1s"}},
		{"blackhole-peer-2", "links", "The link: for how long, why, and what to do.", []string{"8", "wait:1s"}},
		{"blackhole-peer-3", "plan", "Dialling it anew is safe to try.", []string{"R", "until:nothing has been changed yet"}},
		{"blackhole-peer-4", "links", "Dialled; as long as the path is black it stays down.", []string{"y", "until:done:", "wait:1s"}},
	}},
	{name: "stale-table", title: "stale-table: peers die and stay in the table", scenario: "stale-table", cols: 100, rows: 30, steps: []step{
		{"stale-table-1", "overview", "The verdict names the table and how many do not answer.", []string{"until:do not answer any more", "wait:1s"}},
		{"stale-table-2", "routing", "Which buckets, which contacts, and what that means.", []string{"g", "enter", "wait:1s"}},
		{"stale-table-3", "plan", "E plans to evict every contact that does not answer.", []string{"E", "until:nothing has been changed yet"}},
		{"stale-table-4", "routing", "Those that are left answer.", []string{"y", "until:done:", "wait:2s"}},
	}},
	{name: "storm", title: "storm: a crowd joins at once, again and again", scenario: "storm", cols: 100, rows: 30, steps: []step{
		{"storm-1", "overview", "The verdict: a storm of handshakes, and the address it comes from; newcomers prove theirs.", []string{"until:storm of handshakes", "wait:1s"}},
		{"storm-2", "drops", "What is lost meanwhile, and where: a reason and a place for every packet.", []string{"d", "until:below us"}},
		{"storm-3", "rooms", "The rooms: the crowd's lobbies come and go among them.", []string{"esc", "3", "wait:1s"}},
	}},
	{name: "small", title: "80 columns, and themes", scenario: "bad-room", cols: 80, rows: 24, steps: []step{
		{"overview-80x24", "overview", "", []string{"until:Frozen Fred  does not take", "wait:6s"}},
		{"shards-80x24", "shards", "", []string{"2", "wait:1s"}},
		{"members-80x24", "members", "", []string{"1", "g", "enter", "wait:1s"}},
		{"routing-80x24", "routing", "", []string{"4", "wait:1s"}},
		{"links-80x24", "links", "", []string{"8", "wait:1s"}},
		{"drops-80x24", "drops", "", []string{"d", "wait:1s"}},
		{"theme-contrast", "overview", "", []string{"esc", "1", ":", "theme contrast", "enter", "wait:6s"}},
		{"theme-16", "overview", "", []string{":", "theme 16", "enter", "wait:6s"}},
		{"theme-mono", "overview", "", []string{":", "theme mono", "enter", "wait:6s"}},
	}},
	{name: "light", title: "A light terminal", scenario: "bad-room", cols: 80, rows: 24, light: true, steps: []step{
		{"theme-light", "overview", "", []string{"until:Frozen Fred  does not take", "wait:6s"}},
		{"theme-light-members", "members", "", []string{"g", "enter", "wait:1s"}},
	}},
	{name: "large", title: "200 columns", scenario: "bad-room", cols: 200, rows: 50, steps: []step{
		{"overview-200x50", "overview", "", []string{"until:Frozen Fred  does not take", "wait:12s"}},
		{"shards-200x50", "shards", "", []string{"2", "wait:1s"}},
		{"members-200x50", "members", "", []string{"1", "g", "enter", "wait:1s"}},
		{"routing-200x50", "routing", "", []string{"4", "wait:1s"}},
	}},
}
