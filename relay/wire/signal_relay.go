package wire

// Signals between relays: probes, federation (3.4, 4.5, 4.6, 5.12, 5.13), and
// Ping and Pong, which clients use too.

// Ping is answered with a Pong of the same timestamp.
type Ping struct{ TimestampMS uint64 }

// Variant implements Signal.
func (*Ping) Variant() string { return "Ping" }

func (m *Ping) fields() []field {
	return []field{{"timestamp_ms", &m.TimestampMS, required}}
}

// Pong echoes a Ping's timestamp unchanged.
type Pong struct{ TimestampMS uint64 }

// Variant implements Signal.
func (*Pong) Variant() string { return "Pong" }

func (m *Pong) fields() []field {
	return []field{{"timestamp_ms", &m.TimestampMS, required}}
}

// PresenceUpdate is a probing relay's list of the clients it has (5.7).
type PresenceUpdate struct {
	Fingerprints []string
	RelayAddr    string
}

// Variant implements Signal.
func (*PresenceUpdate) Variant() string { return "PresenceUpdate" }

func (m *PresenceUpdate) fields() []field {
	return []field{{"fingerprints", &m.Fingerprints, required}, {"relay_addr", &m.RelayAddr, required}}
}

// RouteQuery asks a probed relay for the way to a client (5.14).
type RouteQuery struct {
	Fingerprint string
	TTL         uint8   // hops
	Trace       *string // between signalboxes: what to tell of; others ignore it
}

// Variant implements Signal.
func (*RouteQuery) Variant() string { return "RouteQuery" }

func (m *RouteQuery) fields() []field {
	return []field{{"fingerprint", &m.Fingerprint, required}, {"ttl", &m.TTL, required}, {"trace", &m.Trace, optSkip}}
}

// RouteResponse answers RouteQuery.
type RouteResponse struct {
	Fingerprint string
	Found       bool
	RelayChain  []string // addresses and ports
	Trace       *string  // between signalboxes: the query's
	Told        *string  // between signalboxes: what there is to tell, JSON
}

// Variant implements Signal.
func (*RouteResponse) Variant() string { return "RouteResponse" }

func (m *RouteResponse) fields() []field {
	return []field{
		{"fingerprint", &m.Fingerprint, required},
		{"found", &m.Found, required},
		{"relay_chain", &m.RelayChain, required},
		{"trace", &m.Trace, optSkip},
		{"told", &m.Told, optSkip},
	}
}

// SessionForward is defined and unused.
type SessionForward struct {
	SessionID         string
	TargetFingerprint string
	SourceRelay       string
}

// Variant implements Signal.
func (*SessionForward) Variant() string { return "SessionForward" }

func (m *SessionForward) fields() []field {
	return []field{
		{"session_id", &m.SessionID, required},
		{"target_fingerprint", &m.TargetFingerprint, required},
		{"source_relay", &m.SourceRelay, required},
	}
}

// SessionForwardAck is defined and unused.
type SessionForwardAck struct {
	SessionID string
	RoomName  string
}

// Variant implements Signal.
func (*SessionForwardAck) Variant() string { return "SessionForwardAck" }

func (m *SessionForwardAck) fields() []field {
	return []field{{"session_id", &m.SessionID, required}, {"room_name", &m.RoomName, required}}
}

// FederationHello opens a federation link (4.5).
type FederationHello struct {
	TLSFingerprint string  // 95 characters, pairs of hex digits and colons (1.2)
	Signalbox      *string // between signalboxes: what it can do beyond 5.13; others ignore it
}

// Variant implements Signal.
func (*FederationHello) Variant() string { return "FederationHello" }

func (m *FederationHello) fields() []field {
	return []field{{"tls_fingerprint", &m.TLSFingerprint, required}, {"signalbox", &m.Signalbox, optSkip}}
}

// GlobalRoomActive announces the members of a global room (5.13).
type GlobalRoomActive struct {
	Room         string
	Participants []RoomParticipant
	Via          *string // between signalboxes: where the participants are; others ignore it
}

// Variant implements Signal.
func (*GlobalRoomActive) Variant() string { return "GlobalRoomActive" }

func (m *GlobalRoomActive) fields() []field {
	return []field{{"room", &m.Room, required}, {"participants", &m.Participants, defaulted}, {"via", &m.Via, optSkip}}
}

// GlobalRoomInactive says that a global room has no members here (5.13).
type GlobalRoomInactive struct {
	Room string
	Via  *string // as in GlobalRoomActive
}

// Variant implements Signal.
func (*GlobalRoomInactive) Variant() string { return "GlobalRoomInactive" }

func (m *GlobalRoomInactive) fields() []field {
	return []field{{"room", &m.Room, required}, {"via", &m.Via, optSkip}}
}

// FederatedSignalForward carries a client's signal to another relay (5.12).
type FederatedSignalForward struct {
	Inner         Signal
	OriginRelayFP string // the sending relay's TLS fingerprint
}

// Variant implements Signal.
func (*FederatedSignalForward) Variant() string { return "FederatedSignalForward" }

func (m *FederatedSignalForward) fields() []field {
	return []field{{"inner", &m.Inner, required}, {"origin_relay_fp", &m.OriginRelayFP, required}}
}
