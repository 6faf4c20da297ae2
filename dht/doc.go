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
// # Records
//
// Nodes store small signed statements for each other (package record). Who may
// have one stored: its publisher, over its own link, and nobody else. A record
// could be taken from anybody, since the signature shows whose it is; but then
// anybody could hand everybody's records, and old ones, to whom they like, at no
// cost and unseen, and no limit per sender would mean anything. As it is, the
// link has proven the publisher, the sender's network can be held to a share,
// and an older record cannot come back but through its publisher. What is lost
// is caching along the path: instead, whoever asks remembers the answer, and a
// publisher tells the peers closest to its key a few times an hour, and again
// when they change. What a lookup brings has to be believed from anybody, hence
// the signature.
//
// A STORE is judged from the cheap to the dear: form, publisher, times,
// distance, room, and the signature last. Each refusal has a code of its own
// and a counter. A node answers GET with what it keeps, with its own record,
// and with the closest contacts, as for FIND_NODE.
//
// # Goroutines
//
// Run owns all of them: the jobs of maintenance and of publishing our records,
// which have a goroutine only while they are at work (jobs.go), the two of the cache once there is something in it, and short tasks (a dial, a
// probe, a search for records), bounded by maxTasks. Lookup, Ping and the like run in their caller,
// with up to maxInFlight query goroutines that are gone when Lookup returns.
// Introductions, punches and relayed paths have bounds of their own.
//
// # Locks
//
// All are leaves and none is held across a send, a dial or a wait: the table's
// writer, a registry stripe, pending, dials, trust, stats, records, the memory
// of records (over ristretto's own), reach, its book of addresses sent to,
// routes, channels, each channel, relaying, each pair. Only addressMu is none: a
// stripe's and the table's are taken under it.
package dht
