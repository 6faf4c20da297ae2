// Package relay is the media plane without its transport: rooms, their
// rosters, one bounded queue per receiver, the quality judge, and the
// operator's levers on all of that. It is passive. It does no I/O, starts no
// goroutine and never waits; connection readers, shard loops and writers
// belong to the caller. Section numbers in comments are those of the wzp
// specification.
//
// # The packet path
//
// A reader calls Participant.Admit, which refuses what the client may not
// send. A shard loop calls Relay.Forward, which parses, polices, feeds the
// judge and puts the packet, unchanged and shared, into the ring of everybody
// else in the sender's room; after its batch it calls Relay.FlushShard, which
// wakes each writer that got something, once. A writer calls Participant.Take
// and Done. Forward allocates nothing and takes no lock but a receiver's ring,
// a leaf held for a few dozen nanoseconds: the roster is an immutable value
// behind an atomic pointer, and everything else it touches is atomic.
//
// The packets of one participant are forwarded in the order in which Forward
// is called. A room's members may come through different shards; between them
// there is no order.
//
// # The account
//
// Every ring counts what was offered to it apart from what became of that, and
// closes at any moment under its mutex. A participant that leaves is taken out
// of the list of live rings and its final count added to the retired ones
// under one mutex, under which Counts also reads, so the sum closes too, at
// every call. What reaches a ring after that is one copy, dropped as gone, in
// an atomic counter that stands on both sides of the account at once.
//
// # Locks
//
// In this order, and none is held across a callback or a wait:
//
//	stripe       rooms by name: join, removal of an empty room, levers
//	room.mu      who is in it, and whether it is being removed
//	Relay.mu     live participants, retired counts, source rules
//	ring.mu      leaf: one receiver's queue and account
//
// Config.Global is called under stripe, and by CloseRoom under room.mu too;
// an Uplink under none of them.
//
// Only CloseRoom nests stripe and room. Otherwise room.mu decides: a joiner
// that finds its room dead starts again, so nobody joins a room that is being
// removed.
package relay
