package view

import "time"

// Forward is forward mode: every media client has a connection of its own to
// another relay.
type Forward struct {
	Remote    string    `json:"remote"`
	State     string    `json:"state"` // unknown, up, down
	Since     time.Time `json:"since"`
	RTTMS     float64   `json:"rtt_ms"` // of the last handshake; 0: there was none
	Refused   uint64    `json:"refused"`
	Attempts  uint64    `json:"attempts"` // to reach it
	Failures  uint64    `json:"failures"`
	LastError string    `json:"last_error"`
	Legs      []Leg     `json:"legs"`
}

// Leg is a forwarded client's place at the other relay: what waits for that
// relay, and what came from it. What waits for the client is in its own row.
type Leg struct {
	ID            string            `json:"id"`
	Client        string            `json:"client"` // participant id
	Room          string            `json:"room"`
	Shard         string            `json:"shard"`
	Received      uint64            `json:"received"`
	Delivered     uint64            `json:"delivered"`
	Dropped       map[string]uint64 `json:"dropped"`
	QueueDepth    int               `json:"queue_depth"`
	QueueCapacity int               `json:"queue_capacity"`
	QueueOldestMS float64           `json:"queue_oldest_ms"`
	LastPacketMS  float64           `json:"last_packet_ms"`
}

// EventLog is wzp-relay's log of federation events.
type EventLog struct {
	Path    string `json:"path"`
	Written uint64 `json:"written"`
	Dropped uint64 `json:"dropped"` // for want of queue or disk
	Rotated uint64 `json:"rotated"`
	Error   string `json:"error"` // why nothing is written; empty when it is
}

// Probe is what the pings to another relay say of the way to it.
type Probe struct {
	Target    string    `json:"target"`
	Up        bool      `json:"up"`
	Since     time.Time `json:"since"`
	RTTMS     float64   `json:"rtt_ms"`
	LossPct   float64   `json:"loss_pct"`
	JitterMS  float64   `json:"jitter_ms"`
	Sent      uint64    `json:"sent"`
	Answered  uint64    `json:"answered"`
	LastError string    `json:"last_error"`
}

// Tap is a debug tap that is on.
type Tap struct {
	Room    string    `json:"room"` // * for all
	Author  string    `json:"author"`
	Since   time.Time `json:"since"`
	To      string    `json:"to"` // log, file
	Lines   uint64    `json:"lines"`
	Skipped uint64    `json:"skipped"` // above the tap's rate
}

// Recovery is what a participant says of its decoder, where it does: totals.
type Recovery struct {
	DREDReconstructions uint64 `json:"dred_reconstructions,omitempty"`
	ClassicalPLC        uint64 `json:"classical_plc,omitempty"`
}
