// Package dht is the Kademlia node: it answers peers, asks them, and keeps the
// routing table alive. Package table decides, this package acts.
//
// It does no I/O of its own. Links (authenticated connections) come from the
// engine, through Connected and the Dialer; inbound messages are delivered by
// the dispatcher's shard loops through Handle, which never waits.
//
// # Trust in what is said
//
// A peer is admitted to the table only through a connection that proves its
// id. What others say about it is a hint for dialling, no more. A request that
// fails is held against the peer only when the fault is likely to be its own:
// not when we could not send, not when our own queues have dropped messages
// meanwhile, not when nobody at all has been heard since (spec dht 12.1 H).
//
// # Goroutines
//
// Run owns all of them: five maintenance loops, and short tasks (a dial, a
// probe), bounded by maxTasks. Lookup, Ping and the like run in their caller,
// with up to maxInFlight query goroutines that are gone when Lookup returns.
//
// # Locks
//
// All are leaves and none is held across a send, a dial or a wait: the table's
// writer, a registry stripe, pending, dials, trust, stats.
package dht
