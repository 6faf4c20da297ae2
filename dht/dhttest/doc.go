// Package dhttest is a swarm of real dht.Nodes over a network in memory: with
// latency, jitter, loss, churn, partitions, address translators and Sybils. It
// runs inside a testing/synctest bubble, where hours pass in seconds and the
// clock moves only when everybody waits.
//
// What the network does is drawn from the seed alone: who is where, how long a
// message takes, which one is lost, who leaves when. What remains to chance is
// the order of goroutines that run at the same nanosecond, so two runs of one
// seed agree in their figures, not in every message.
//
// # Model
//
// Nodes lie on a square; a message takes a base time and the distance, plus
// jitter, and never overtakes another of its link. A lost message is lost for
// good, which is harder than a QUIC stream, where it would come late. A dial
// takes one round trip. A link whose other end is silenced (dead, or beyond a
// partition) ends after the idle timeout; messages sent meanwhile vanish, and a
// dial into silence waits for its context.
//
// # Goroutines and locks
//
// The nodes own theirs. The network has one, which delivers everything at its
// time, so Handle is called from it alone. Locks are leaves: the address book,
// the queue, the links of a peer; none is held while a node is called.
package dhttest
