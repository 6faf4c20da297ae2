package view

import "time"

// Link is a federation link.
type Link struct {
	Label          string            `json:"label"`
	TLSFingerprint string            `json:"tls_fingerprint"`
	Direction      string            `json:"direction"`
	State          string            `json:"state"`
	Since          time.Time         `json:"since"`
	RTTMS          float64           `json:"rtt_ms"`
	Verified       bool              `json:"verified"`
	Rooms          []string          `json:"rooms"`
	Received       uint64            `json:"received"`
	Forwarded      uint64            `json:"forwarded"`
	Deduped        uint64            `json:"deduped"`
	Dropped        map[string]uint64 `json:"dropped"`
	QueueDepth     int               `json:"queue_depth"`
	LastError      string            `json:"last_error"`
	URL            string            `json:"url"`    // where it is dialled; empty: it dials us
	Remote         string            `json:"remote"` // of its connection
	Muted          bool              `json:"muted"`
	Signalbox      bool              `json:"signalbox"` // it reads what signalboxes add to the protocol
	Found          bool              `json:"found"`     // by the directory, not by the configuration
	Connections    int               `json:"connections"`
	Members        int               `json:"members"`      // participants it has announced
	LastRooms      []string          `json:"last_rooms"`   // what it had of these before it went down; empty while it is up
	LastMembers    int               `json:"last_members"` // likewise
	QueueCapacity  int               `json:"queue_capacity"`
	QueueOldestMS  float64           `json:"queue_oldest_ms"`
	SilentMS       float64           `json:"silent_ms"` // since anything was heard
}

// Refusal is a relay that was not let in.
type Refusal struct {
	At          time.Time `json:"at"`
	Remote      string    `json:"remote"`
	Fingerprint string    `json:"fingerprint"` // as it claims
	Reason      string    `json:"reason"`
	Line        string    `json:"line"` // of the configuration, which would let it in; empty: none would
	Count       uint64    `json:"count"`
}

// Local counts the participants that are on this node.
func (r *Room) Local() int {
	n := 0
	for i := range r.Participants {
		if r.Participants[i].Transport != "federated" {
			n++
		}
	}
	return n
}
