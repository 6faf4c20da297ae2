package view

// Explanation answers "why does TO not hear FROM" (contract section 2).
type Explanation struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Hops    []Hop  `json:"hops"`
	Verdict string `json:"verdict"`
	Remedy  string `json:"remedy"` // for the hop that the verdict names; empty: there is none, or nothing is wrong
}

// Hop is one station of a packet's way.
type Hop struct {
	Name          string            `json:"name"`
	LastPacketAgo float64           `json:"last_packet_ms"`
	RatePPS       float64           `json:"rate_pps"`
	QueueDepth    int               `json:"queue_depth"`
	Dropped       map[string]uint64 `json:"dropped"`
	Verdict       string            `json:"verdict"`
	Remedy        string            `json:"remedy"` // what mends it, a command by its name; empty: nothing of ours
}
