package view

// Reachability is where the node stands in the network: whether peers can reach
// it, and how it reaches those that cannot be reached.
type Reachability struct {
	Verdict          string        `json:"verdict"`   // public, nat, symmetric, unknown
	Addrs            []Addr        `json:"addrs"`     // our own; type: direct (proven), nat, unverified, lan, advertised
	Observers        int           `json:"observers"` // networks that tell us where they see us
	PunchedOK        uint64        `json:"punched_ok"`
	PunchedFailed    uint64        `json:"punched_failed"`
	PunchRefused     uint64        `json:"punch_refused"` // nobody would help
	Introduced       uint64        `json:"introduced"`    // pairs of others brought together
	IntroduceRefused uint64        `json:"introduce_refused"`
	Relayed          int           `json:"relayed"` // peers linked through another one now
	RelayedOK        uint64        `json:"relayed_ok"`
	RelayedFailed    uint64        `json:"relayed_failed"`
	RelayedPeers     []RelayedPeer `json:"relayed_peers"`
	Relaying         Relaying      `json:"relaying"`
}

// RelayedPeer is a peer we are linked to through another one.
type RelayedPeer struct {
	ID  string `json:"id"`
	Via string `json:"via"`
}

// Relaying is what the node passes on between others.
type Relaying struct {
	Pairs    int               `json:"pairs"`
	Capacity int               `json:"capacity"` // 0: not willing
	Frames   uint64            `json:"frames"`
	Bytes    uint64            `json:"bytes"`
	Dropped  map[string]uint64 `json:"dropped"` // queue (a pair overran its bound), stray (of no pair)
}
