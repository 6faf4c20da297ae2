// Package ledger is the vocabulary in which every plane accounts for its
// packets: one enumeration of drop reasons and the counters that must close.
//
// The rule (contract section 3): for every plane, at any moment,
//
//	copies = delivered + sum(dropped) + queued
//
// so that what is left over, "unexplained", is zero. The package is a leaf:
// it imports the standard library only, and relay, dht and engine all count
// in it without knowing each other.
package ledger

import "fmt"

// Reason says why a packet was not delivered. It is the one enumeration of
// the project: a drop site without a Reason does not compile. Reasons are
// added at the end of their block, never renamed (contract section 3).
type Reason uint8

// The drop reasons of contract section 3, in the order they are documented.
const (
	ShardFull       Reason = iota // the shard's queue, or the source's share of it, is full
	ShardPaused                   // an operator has paused the shard
	ShardPanic                    // the handler panicked on this packet; it is quarantined
	SourceBanned                  // an operator has banned the source address
	SourceThrottled               // an operator has throttled the source address
	ClientRate                    // the client exceeded its packet or byte budget
	Malformed                     // the packet does not parse (spec wzp 2.1)
	Muted                         // an operator has muted the participant
	RoomGone                      // the room was closed while the packet was on its way
	QueueHead                     // newer media made way for itself: the oldest in the ring was dropped
	QueueAge                      // the packet waited in its queue longer than it is worth
	TooLarge                      // larger than the receiver's path can carry in a datagram
	Gone                          // the receiver left while we held the packet
	WriteError                    // the transport refused the packet
	LinkDown                      // the federation link is down
	LinkRate                      // the federation link exceeded its rate
	Duplicate                     // already seen on another path
	UnknownRoom                   // no room of that hash is known here
	Loop                          // the packet came back to where it started
	Draining                      // the node is draining and admits nothing new
	RxQueue                       // lost in the QUIC receive queue, before we could read it
	Kernel                        // lost in the kernel's socket buffer, before us
	ShardFlushed                  // an operator has flushed the shard's queue
	ShardReplaced                 // the shard's loop was wedged and has been replaced

	// NumReasons is how many there are; arrays of counters have this length.
	NumReasons
)

var reasonNames = [NumReasons]string{
	"shard_full", "shard_paused", "shard_panic", "source_banned", "source_throttled",
	"client_rate", "malformed", "muted", "room_gone", "queue_head", "queue_age",
	"too_large", "gone", "write_error", "link_down", "link_rate", "duplicate",
	"unknown_room", "loop", "draining", "rx_queue", "kernel", "shard_flushed", "shard_replaced",
}

var reasonHelp = [NumReasons]string{
	"the shard's queue, or the source's share of it, was full",
	"an operator has paused the shard",
	"the handler panicked on this packet, which is quarantined",
	"an operator has banned the source address",
	"an operator has throttled the source address",
	"the client exceeded its packet or byte budget",
	"the packet does not parse",
	"an operator has muted the participant",
	"the room was closed while the packet was on its way",
	"newer media made way for itself: the oldest in the receiver's queue went",
	"the packet waited in its queue longer than it is worth",
	"larger than the receiver's path can carry in a datagram",
	"the receiver left while we held the packet",
	"the transport refused the packet",
	"the federation link is down",
	"the federation link exceeded its rate",
	"already seen on another path",
	"no room of that hash is known here",
	"the packet came back to where it started",
	"the node is draining",
	"lost in the QUIC receive queue before we could read it",
	"lost in the kernel's socket buffer before us",
	"an operator has flushed the shard's queue",
	"the shard's loop was wedged and has been replaced",
}

// String is the name used in the snapshot, in metrics and on screen.
func (r Reason) String() string {
	if r < NumReasons {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// Help is one plain sentence for the operator.
func (r Reason) Help() string {
	if r < NumReasons {
		return reasonHelp[r]
	}
	return ""
}

// Names returns the names of all reasons, in order.
func Names() []string { return append([]string(nil), reasonNames[:]...) }

// HelpFor returns the sentence for a reason's name, empty when unknown.
func HelpFor(name string) string {
	for i, n := range reasonNames {
		if n == name {
			return reasonHelp[i]
		}
	}
	return ""
}
