// Package control holds the values with which the outside steers a node:
// commands, their results and the codes of contract section 2. Standard
// library only; the console, ctl and the admin API speak nothing else.
package control

import "fmt"

// Kind names what a command does.
type Kind string

// The command kinds of contract section 2.
const (
	ShardPause   Kind = "shard.pause"
	ShardResume  Kind = "shard.resume"
	ShardRestart Kind = "shard.restart"
	ShardFlush   Kind = "shard.flush"

	SourceBan      Kind = "source.ban"
	SourceThrottle Kind = "source.throttle"
	SourceClear    Kind = "source.clear"

	RoomClose   Kind = "room.close"
	RoomLock    Kind = "room.lock"
	RoomUnlock  Kind = "room.unlock"
	RoomPinTier Kind = "room.pin_tier"
	RoomTap     Kind = "room.tap"
	RoomUntap   Kind = "room.untap"

	ParticipantKick   Kind = "participant.kick"
	ParticipantMute   Kind = "participant.mute"
	ParticipantUnmute Kind = "participant.unmute"

	PeerPing       Kind = "peer.ping"
	PeerEvict      Kind = "peer.evict"
	PeerBlock      Kind = "peer.block"
	PeerUnblock    Kind = "peer.unblock"
	RoutingRefresh Kind = "routing.refresh"
	RoutingTrace   Kind = "routing.trace"

	CallHangup Kind = "call.hangup"
	ClientDrop Kind = "client.drop"

	LinkReconnect Kind = "link.reconnect"
	LinkMute      Kind = "link.mute"
	LinkUnmute    Kind = "link.unmute"

	NodeDrain    Kind = "node.drain"
	NodeUndrain  Kind = "node.undrain"
	NodeLogLevel Kind = "node.log_level"
	NodeSave     Kind = "node.save"

	Undo Kind = "undo"
)

// Expires tells whether a command ends by itself unless it is told otherwise:
// it restricts somebody, or leaves the node as it should not be for long.
func (k Kind) Expires() bool {
	switch k {
	case ShardPause, SourceBan, SourceThrottle, RoomLock, RoomPinTier, RoomTap, ParticipantMute, PeerBlock, LinkMute, NodeDrain, NodeLogLevel:
		return true
	default:
		return false
	}
}

// Code is how a command ended. It survives the admin socket, so a caller can
// branch on it.
type Code string

// The codes of contract section 2.
const (
	OK       Code = "ok"
	NotFound Code = "not_found" // the target does not exist
	Denied   Code = "denied"    // the role or the socket's peer may not do this
	Busy     Code = "busy"      // try again; nothing changed
	Gone     Code = "gone"      // the target existed when the plan was made and does not now
	Invalid  Code = "invalid"   // the command or its arguments make no sense
)

// Role is what an author may do.
type Role string

// The roles of contract section 2.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
)

// Command is the body of POST /v1/commands. Target by kind: shard.* "media/3";
// source.* an IP or prefix; room.* the room's name, room.tap and room.untap *
// for all; participant.* the participant's id; peer.* the peer's hex id; call.hangup the call's id;
// client.drop the client's fingerprint; routing.refresh a bucket index
// or "all"; routing.trace an id, a room's name or a fingerprint; undo an undo id.
type Command struct {
	Kind   Kind           `json:"kind"`
	Target string         `json:"target"`
	Args   map[string]any `json:"args,omitempty"` // room.pin_tier: tier; source.throttle: pps
	Reason string         `json:"reason"`
	TTLS   float64        `json:"ttl_s"` // how long a restriction holds; 0 is the kind's default
	DryRun bool           `json:"dry_run"`

	// Author and Role are set by the door the command came through, never
	// taken from the wire.
	Author string `json:"-"`
	Role   Role   `json:"-"`
}

// Result answers a Command.
type Result struct {
	OK       bool     `json:"ok"`
	Code     Code     `json:"code"`
	Message  string   `json:"message"`
	Plan     []string `json:"plan"`          // what it does, or would do, in words
	Undo     string   `json:"undo"`          // empty: there is nothing to take back
	Ref      string   `json:"ref,omitempty"` // routing.trace: the lookup's number in dht.lookups.trace
	EventSeq uint64   `json:"event_seq"`
}

// Fail builds a refusal.
func Fail(code Code, format string, args ...any) Result {
	return Result{Code: code, Message: fmt.Sprintf(format, args...), Plan: []string{}}
}

// Kinds returns every command kind, in the order of the contract.
func Kinds() []Kind {
	return []Kind{
		ShardPause, ShardResume, ShardRestart, ShardFlush, SourceBan, SourceThrottle, SourceClear,
		RoomClose, RoomLock, RoomUnlock, RoomPinTier, RoomTap, RoomUntap, ParticipantKick, ParticipantMute, ParticipantUnmute,
		PeerPing, PeerEvict, PeerBlock, PeerUnblock, RoutingRefresh, RoutingTrace, CallHangup, ClientDrop, LinkReconnect, LinkMute, LinkUnmute,
		NodeDrain, NodeUndrain, NodeLogLevel, NodeSave, Undo,
	}
}
