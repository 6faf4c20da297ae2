package view

// States of a lookup.
const (
	LookupActive = "active"
	LookupDone   = "done"
	LookupFailed = "failed"
)

// LookupTrace is one lookup, hop by hop.
type LookupTrace struct {
	Seq      uint64        `json:"seq"`
	Target   string        `json:"target"`
	Label    string        `json:"label,omitempty"` // the target in words, where it has any
	For      string        `json:"for"`             // self, refresh, record, operator, lookup
	State    string        `json:"state"`
	Stop     string        `json:"stop"` // why it ended: converged, enough, slow_left, exhausted, query_limit, time_limit, cancelled, no_peers
	AgeS     float64       `json:"age_s"`
	TookMS   float64       `json:"took_ms"`
	Paths    int           `json:"paths"` // that share no peer
	Asked    int           `json:"asked"`
	Waiting  int           `json:"waiting"`
	Answered int           `json:"answered"`
	Failed   int           `json:"failed"`
	Slow     int           `json:"slow"` // gave up their place; some may have answered later
	Found    int           `json:"found"`
	Hops     int           `json:"hops"`    // to the closest
	Closest  string        `json:"closest"` // that has answered
	Bits     int           `json:"bits"`    // leading bits it shares with the target
	Queries  []LookupQuery `json:"queries"` // in the order of asking
	More     int           `json:"more"`    // queries beyond those listed
}

// Outcomes of a query, beside timeout, refused, unreachable, link_lost,
// bad_reply, not_tried (a budget of ours), no_address and left (when the lookup
// ended).
const (
	QueryWaiting  = "waiting"
	QuerySlow     = "slow" // waiting still, but its place went to another
	QueryAnswered = "answered"
)

// LookupQuery is one peer a lookup has asked.
type LookupQuery struct {
	Peer    string  `json:"peer"`
	Addr    string  `json:"addr"` // where it answered
	Hop     int     `json:"hop"`  // from our table
	Path    int     `json:"path"`
	Bits    int     `json:"bits"` // leading bits it shares with the target
	StartMS float64 `json:"start_ms"`
	TookMS  float64 `json:"took_ms"` // connecting and waiting, so far or altogether
	RTTMS   float64 `json:"rtt_ms"`  // of the request alone; 0: none
	Outcome string  `json:"outcome"`
	Known   bool    `json:"known"`   // a contact of ours; else heard of from others
	Reports int     `json:"reports"` // how many had told of it
	Told    int     `json:"told"`    // contacts in its answer
	New     int     `json:"new"`     // of these, not heard of before
	Records int     `json:"records"` // records in it, where one is looked for
}
