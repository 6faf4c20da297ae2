// Package snapshot is what a DHT node leaves for its next start: the peers it
// could reach, and how far it trusted whom. It encodes, decodes and judges;
// files are the caller's. Passive: no clock, no I/O.
//
// What is decoded is advice, never authority: peers are candidates to dial,
// who must prove their identity like any stranger, and a score counts only
// once its peer has (spec dht 8.4, 12.42).
package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"signalbox/dht/table"
)

// Bounds of spec dht 8.4; they hold for what is written and again for what is
// read.
const (
	Schema    = 1
	MaxFile   = 512 << 10
	MaxPeers  = 1024
	MaxAddrs  = table.MaxAddrs
	MaxScores = 4096
	MaxAge    = 7 * 24 * time.Hour
	MaxAhead  = 300 * time.Second // a file from the future: clocks differ a little
)

// Reason is the one reason why a file was not used.
type Reason string

// The reasons. The first six are found here, the others where files are read.
const (
	TooLarge   Reason = "too_large"
	Damaged    Reason = "damaged"
	BadSchema  Reason = "schema"
	Foreign    Reason = "foreign_owner"
	TooOld     Reason = "too_old"
	Future     Reason = "future"
	NotAFile   Reason = "not_a_file" // a FIFO, a link, a directory, a device
	Unreadable Reason = "unreadable"
)

// Discard says why a file was not used.
type Discard struct {
	Reason Reason
	Detail string
}

func (d *Discard) Error() string { return string(d.Reason) + ": " + d.Detail }

func discard(r Reason, format string, args ...any) error {
	return &Discard{r, fmt.Sprintf(format, args...)}
}

// Peer is one candidate to dial.
type Peer struct {
	ID    table.ID
	Addrs []table.Addr // best first
}

// Score is how far a peer was trusted, in [0, 1], 0.5 neutral.
type Score struct {
	ID    table.ID
	Score float64
}

// The kinds of file, so that one is never read for the other.
const (
	kindRouting = "routing"
	kindTrust   = "trust"
)

// file is the shape of both files. Sum is SHA-256 over the same object with an
// empty sum: a flipped bit must not become an address nobody ever had.
type file[T any] struct {
	Schema  int       `json:"schema_version"`
	Kind    string    `json:"kind"`
	Owner   string    `json:"owner"`
	SavedAt time.Time `json:"saved_at"`
	Sum     string    `json:"sum"`
	Peers   []T       `json:"peers"`
}

type peerJSON struct {
	ID    string   `json:"id"`
	Addrs []string `json:"addrs"` // "direct 192.0.2.1:4433"
}

type scoreJSON struct {
	ID    string  `json:"id"`
	Score float64 `json:"score"`
}

// EncodeRouting makes the contents of routing.json, at most MaxFile bytes. The
// caps cut at the end, so the peers that matter most come first. It returns
// how many are in it.
func EncodeRouting(owner table.ID, at time.Time, peers []Peer) ([]byte, int, error) {
	list := make([]peerJSON, 0, min(len(peers), MaxPeers))
	for _, p := range peers[:min(len(peers), MaxPeers)] {
		j := peerJSON{ID: p.ID.String(), Addrs: make([]string, 0, len(p.Addrs))}
		for _, a := range p.Addrs[:min(len(p.Addrs), MaxAddrs)] {
			j.Addrs = append(j.Addrs, a.Type.String()+" "+a.AddrPort.String())
		}
		list = append(list, j)
	}
	return encode(kindRouting, owner, at, list)
}

// EncodeTrust makes the contents of trust.json, at most MaxFile bytes. Scores
// are clamped; what is not a number is neutral.
func EncodeTrust(owner table.ID, at time.Time, scores []Score) ([]byte, int, error) {
	list := make([]scoreJSON, 0, min(len(scores), MaxScores))
	for _, s := range scores[:min(len(scores), MaxScores)] {
		list = append(list, scoreJSON{s.ID.String(), math.Round(bounded(s.Score)*1e4) / 1e4})
	}
	return encode(kindTrust, owner, at, list)
}

func bounded(score float64) float64 {
	if math.IsNaN(score) || math.IsInf(score, 0) {
		return 0.5
	}
	return min(max(score, 0), 1)
}

func encode[T any](kind string, owner table.ID, at time.Time, list []T) ([]byte, int, error) {
	f := file[T]{Schema: Schema, Kind: kind, Owner: owner.String(), SavedAt: at.UTC().Truncate(time.Second), Peers: list}
	for {
		f.Sum = ""
		b, err := json.Marshal(f)
		if err != nil {
			return nil, 0, fmt.Errorf("snapshot: %w", err) // a year JSON cannot hold
		}
		f.Sum = sum(b)
		if b, err = json.Marshal(f); err != nil {
			return nil, 0, fmt.Errorf("snapshot: %w", err)
		}
		if len(b) <= MaxFile {
			return b, len(f.Peers), nil
		}
		f.Peers = f.Peers[:len(f.Peers)*MaxFile/len(b)*15/16]
	}
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// DecodeRouting reads routing.json for the node owner at the time now. Any
// error is a *Discard.
func DecodeRouting(data []byte, owner table.ID, now time.Time) ([]Peer, time.Duration, error) {
	list, age, err := decode[peerJSON](kindRouting, data, owner, now)
	if err != nil {
		return nil, 0, err
	}
	seen := make(map[table.ID]bool, min(len(list), MaxPeers))
	out := make([]Peer, 0, min(len(list), MaxPeers))
	for _, j := range list {
		if len(out) == MaxPeers {
			break
		}
		p, err := j.peer()
		if err != nil {
			return nil, 0, discard(Damaged, "%v", err)
		}
		if p.ID == owner || seen[p.ID] || len(p.Addrs) == 0 {
			continue
		}
		seen[p.ID] = true
		out = append(out, p)
	}
	return out, age, nil
}

func (j *peerJSON) peer() (Peer, error) {
	id, err := table.ParseID(j.ID)
	if err != nil || id.IsZero() {
		return Peer{}, errors.New("a peer without an id")
	}
	p := Peer{ID: id}
	for _, s := range j.Addrs[:min(len(j.Addrs), MaxAddrs)] {
		name, text, _ := strings.Cut(s, " ")
		ap, err := netip.ParseAddrPort(text)
		if err != nil {
			return Peer{}, fmt.Errorf("peer %s: %w", id.Short(), err)
		}
		typ := addrType(name)
		if typ == table.NumAddrTypes {
			return Peer{}, fmt.Errorf("peer %s: an address of an unknown type", id.Short())
		}
		if ap = table.Canonical(ap); table.Storable(ap) {
			p.Addrs = append(p.Addrs, table.Addr{AddrPort: ap, Type: typ})
		}
	}
	return p, nil
}

func addrType(name string) table.AddrType {
	for t := range table.NumAddrTypes {
		if t.String() == name {
			return t
		}
	}
	return table.NumAddrTypes
}

// DecodeTrust reads trust.json for the node owner at the time now. The scores
// are as they were when saved, age ago: ageing them is the caller's. Any error
// is a *Discard.
func DecodeTrust(data []byte, owner table.ID, now time.Time) ([]Score, time.Duration, error) {
	list, age, err := decode[scoreJSON](kindTrust, data, owner, now)
	if err != nil {
		return nil, 0, err
	}
	seen := make(map[table.ID]bool, min(len(list), MaxScores))
	out := make([]Score, 0, min(len(list), MaxScores))
	for _, j := range list[:min(len(list), MaxScores)] {
		id, err := table.ParseID(j.ID)
		if err != nil || id.IsZero() {
			return nil, 0, discard(Damaged, "a score without an id")
		}
		if id != owner && !seen[id] {
			seen[id] = true
			out = append(out, Score{id, bounded(j.Score)})
		}
	}
	return out, age, nil
}

// decode judges what both files have in common. age is not negative.
func decode[T any](kind string, data []byte, owner table.ID, now time.Time) (list []T, age time.Duration, err error) {
	if len(data) > MaxFile {
		return nil, 0, discard(TooLarge, "more than %d bytes", MaxFile)
	}
	var version struct {
		Schema int `json:"schema_version"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, 0, discard(Damaged, "%v", err)
	}
	if version.Schema != Schema { // before the rest, which may have another shape then
		return nil, 0, discard(BadSchema, "schema version %d, known is %d", version.Schema, Schema)
	}
	var f file[T]
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, 0, discard(Damaged, "%v", err)
	}
	claimed := f.Sum
	f.Sum = ""
	b, err := json.Marshal(f)
	if err != nil || sum(b) != claimed || f.Kind != kind {
		return nil, 0, discard(Damaged, "the checksum is not that of the contents")
	}
	if f.Owner != owner.String() {
		return nil, 0, discard(Foreign, "it is another node's")
	}
	age = now.Sub(f.SavedAt)
	switch {
	case age > MaxAge:
		return nil, 0, discard(TooOld, "saved at %s, more than %v ago", f.SavedAt.Format(time.RFC3339), MaxAge)
	case age < -MaxAhead:
		return nil, 0, discard(Future, "saved at %s, which is yet to come", f.SavedAt.Format(time.RFC3339))
	}
	return f.Peers, max(age, 0), nil
}
