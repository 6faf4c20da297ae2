// Package engine composes one node: the QUIC edge, the two planes of the
// dispatcher, the relay's rooms, the DHT node, and the one way to see and to
// steer them: Snapshot, Events and Do.
//
// # Goroutines
//
//	who                     how many            ends when
//	quicnet accept, read    1 + quic-go's own   Run's context ends
//	shard loop              1 per shard         dispatcher's Run returns (a wedged one: when its handler returns)
//	shard watchdog          1 per plane         dispatcher's Run returns
//	media session reader    1 per participant   its connection ends
//	media session writer    1 per participant   its connection ends
//	media signal writer     1 per participant   its connection ends
//	media signal drain      1 per participant   its connection ends
//	forwarded client        6 (readers, writers and signals, both sides)  either connection ends
//	forwarder, event log    1 each, if on       Run's context ends
//	call reader             2 per client, and 1 per message being read, at most 16   its connection ends
//	call writer             1 per client        its connection ends
//	call receipt            1 per frame a client has not read                        15 s, or its connection ends
//	signalling clock        1                   Run's context ends
//	prober                  2 per target        Run's context ends
//	debug tap writer        1                   Run's context ends
//	dht link reader         1 per link          its connection ends
//	dht link writer         1 per link          its connection ends
//	dht maintenance         a fixed few         dht.Node.Run returns
//	publisher               1                   Run's context ends
//	directory               1                   Run's context ends
//	saver                   1                   Run's context ends; the last save is given 2 s
//	one save                at most 1           the disk answers: Run does not wait for one that hangs
//	admin and metrics HTTP  per connection      Run's context ends
//
// Run owns all of them and returns after the last has gone.
//
// # Lock order
//
// A lock is only taken while holding one that stands before it in this list;
// none is held across a send, a dial, a stream open, a disk write or a wait.
//
//	Engine.cmdMu        one command at a time (plan, apply, undo, expiry)
//	directory.mu        what is listed in the DHT
//	Engine.listUserMu     who is registered, and who is listed
//	call.Hub            clients and calls
//	call.Client         leaf: one client's queue
//	call.Presence       leaf
//	auth.Replay         leaf
//	relay stripe        room by name, join only
//	relay room          roster, tier, emptiness
//	relay.Relay         retired counts and the list of live rings
//	ring                leaf: one receiver's queue and its account
//	dispatch shard      leaf: one shard's queue and its account
//	table writer        leaf: the routing table's copy-on-write
//	eventLog.mu         leaf
//	auditLog.mu         leaf
//	saver.mu            leaf
//	forwarder.mu        leaf
//	probeTarget.mu      leaf
//	tap.mu              leaf: on the packet path of tapped rooms only
//
// The packet path (connection reader, shard loop, ring) takes the shard's
// queue lock and the ring's lock only, each for a few dozen nanoseconds.
package engine
