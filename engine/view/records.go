package view

// Records are the signed statements that relays publish in the DHT: our own,
// and those of others that are kept here.
type Records struct {
	Rooms       int               `json:"rooms"`       // of our own
	Presences   int               `json:"presences"`   // of our own
	Own         []OwnRecord       `json:"own"`         // those with a label, by label, the first
	Published   uint64            `json:"published"`   // copies of ours that peers have taken
	Unpublished uint64            `json:"unpublished"` // and that they have not
	Foreign     int               `json:"foreign"`     // of others, kept here
	Kept        uint64            `json:"kept"`        // taken from others so far
	Refused     map[string]uint64 `json:"refused"`     // and not taken, by why
	Expired     uint64            `json:"expired"`     // entries of the cache whose time was over
	Dropped     uint64            `json:"dropped"`     // and that it had no room for
	Bad         uint64            `json:"bad"`         // answers of peers with a record that is none
}

// OwnRecord is one statement that we publish.
type OwnRecord struct {
	Kind      string  `json:"kind"` // room, presence
	Label     string  `json:"label"`
	Key       string  `json:"key"`
	Holders   int     `json:"holders"` // peers that have taken it
	AgeS      float64 `json:"age_s"`   // since it was published; -1: not yet
	ExpiresS  float64 `json:"expires_s"`
	Withdrawn bool    `json:"withdrawn"`
}
