package wire

// Signals of client signalling connections: presence, direct calls, reflect
// (3.4, 4.4, 5.9 to 5.11).

// HangupReason is why a call ends (3.3).
type HangupReason uint8

// The reasons; in JSON they are their names.
const (
	HangupNormal HangupReason = iota
	HangupBusy
	HangupDeclined
	HangupTimeout
	HangupError
)

var hangupNames = []string{"Normal", "Busy", "Declined", "Timeout", "Error"}

// String is the reason's JSON name.
func (r HangupReason) String() string { return enumName(hangupNames, uint8(r)) }

// AcceptMode is how a callee answers (3.3: CallAcceptMode).
type AcceptMode uint8

// The modes; in JSON they are their names.
const (
	AcceptReject  AcceptMode = iota // "Reject"
	AcceptTrusted                   // "AcceptTrusted"
	AcceptGeneric                   // "AcceptGeneric"
)

var acceptNames = []string{"Reject", "AcceptTrusted", "AcceptGeneric"}

// String is the mode's JSON name.
func (m AcceptMode) String() string { return enumName(acceptNames, uint8(m)) }

// Hangup ends one call, or every call of the sender if CallID is nil (5.9).
type Hangup struct {
	Reason HangupReason
	CallID *string
	Extra  Extra
}

// Variant implements Signal.
func (*Hangup) Variant() string { return "Hangup" }

func (m *Hangup) fields() []field {
	return []field{{"reason", &m.Reason, required}, {"call_id", &m.CallID, optSkip}, extraField(&m.Extra)}
}

// RegisterPresence opens a signalling connection (4.4).
type RegisterPresence struct {
	IdentityPub [32]byte
	Signature   []byte // empty from every current client
	Alias       *string
}

// Variant implements Signal.
func (*RegisterPresence) Variant() string { return "RegisterPresence" }

func (m *RegisterPresence) fields() []field {
	return []field{{"identity_pub", &m.IdentityPub, required}, {"signature", &m.Signature, required}, {"alias", &m.Alias, optNull}}
}

// RegisterPresenceAck is the relay's reply to it, its first stream.
type RegisterPresenceAck struct {
	Success    bool
	Error      *string
	RelayBuild *string
}

// Variant implements Signal.
func (*RegisterPresenceAck) Variant() string { return "RegisterPresenceAck" }

func (m *RegisterPresenceAck) fields() []field {
	return []field{{"success", &m.Success, required}, {"error", &m.Error, optSkip}, {"relay_build", &m.RelayBuild, optSkip}}
}

// DirectCallOffer calls somebody by fingerprint (5.9). The keys are zero and
// the signature empty from most clients.
type DirectCallOffer struct {
	CallerFingerprint   string
	CallerAlias         *string
	TargetFingerprint   string
	CallID              string
	IdentityPub         [32]byte
	EphemeralPub        [32]byte
	Signature           []byte
	SupportedProfiles   []Profile
	CallerReflexiveAddr *string  // address and port
	CallerLocalAddrs    []string // addresses and ports
	CallerBuildVersion  *string
	Extra               Extra
}

// Variant implements Signal.
func (*DirectCallOffer) Variant() string { return "DirectCallOffer" }

func (m *DirectCallOffer) fields() []field {
	return []field{
		{"caller_fingerprint", &m.CallerFingerprint, required},
		{"caller_alias", &m.CallerAlias, optNull},
		{"target_fingerprint", &m.TargetFingerprint, required},
		{"call_id", &m.CallID, required},
		{"identity_pub", &m.IdentityPub, required},
		{"ephemeral_pub", &m.EphemeralPub, required},
		{"signature", &m.Signature, required},
		{"supported_profiles", &m.SupportedProfiles, required},
		{"caller_reflexive_addr", &m.CallerReflexiveAddr, optSkip},
		{"caller_local_addrs", &m.CallerLocalAddrs, skipEmpty},
		{"caller_build_version", &m.CallerBuildVersion, optSkip},
		extraField(&m.Extra),
	}
}

// DirectCallAnswer accepts or rejects a DirectCallOffer (5.9).
type DirectCallAnswer struct {
	CallID              string
	AcceptMode          AcceptMode
	IdentityPub         *[32]byte
	EphemeralPub        *[32]byte
	Signature           []byte // nil is unset; an empty one is written as []
	ChosenProfile       *Profile
	CalleeReflexiveAddr *string
	CalleeLocalAddrs    []string
	CalleeBuildVersion  *string
	Extra               Extra
}

// Variant implements Signal.
func (*DirectCallAnswer) Variant() string { return "DirectCallAnswer" }

func (m *DirectCallAnswer) fields() []field {
	return []field{
		{"call_id", &m.CallID, required},
		{"accept_mode", &m.AcceptMode, required},
		{"identity_pub", &m.IdentityPub, optSkip},
		{"ephemeral_pub", &m.EphemeralPub, optSkip},
		{"signature", &m.Signature, optSkip},
		{"chosen_profile", &m.ChosenProfile, optSkip},
		{"callee_reflexive_addr", &m.CalleeReflexiveAddr, optSkip},
		{"callee_local_addrs", &m.CalleeLocalAddrs, skipEmpty},
		{"callee_build_version", &m.CalleeBuildVersion, optSkip},
		extraField(&m.Extra),
	}
}

// CallSetup tells both parties where to meet (5.9).
type CallSetup struct {
	CallID         string
	Room           string // "call-" and the id
	RelayAddr      string
	PeerDirectAddr *string
	PeerLocalAddrs []string
}

// Variant implements Signal.
func (*CallSetup) Variant() string { return "CallSetup" }

func (m *CallSetup) fields() []field {
	return []field{
		{"call_id", &m.CallID, required},
		{"room", &m.Room, required},
		{"relay_addr", &m.RelayAddr, required},
		{"peer_direct_addr", &m.PeerDirectAddr, optSkip},
		{"peer_local_addrs", &m.PeerLocalAddrs, skipEmpty},
	}
}

// CallRinging tells the caller that the callee was told (5.9).
type CallRinging struct{ CallID string }

// Variant implements Signal.
func (*CallRinging) Variant() string { return "CallRinging" }

func (m *CallRinging) fields() []field {
	return []field{{"call_id", &m.CallID, required}}
}

// Reflect asks the relay which address it sees (5.10).
type Reflect struct{}

// Variant implements Signal.
func (*Reflect) Variant() string { return "Reflect" }
func (*Reflect) fields() []field { return nil }

// ReflectResponse answers Reflect.
type ReflectResponse struct {
	ObservedAddr string // "a.b.c.d:port" or "[v6]:port"
}

// Variant implements Signal.
func (*ReflectResponse) Variant() string { return "ReflectResponse" }

func (m *ReflectResponse) fields() []field {
	return []field{{"observed_addr", &m.ObservedAddr, required}}
}

// MediaPathReport says whether two parties reached each other directly (5.11).
type MediaPathReport struct {
	CallID     string
	DirectOK   bool
	RaceWinner string // "Direct", "Relay" or empty
	Extra      Extra
}

// Variant implements Signal.
func (*MediaPathReport) Variant() string { return "MediaPathReport" }

func (m *MediaPathReport) fields() []field {
	return []field{
		{"call_id", &m.CallID, required},
		{"direct_ok", &m.DirectOK, required},
		{"race_winner", &m.RaceWinner, defaulted},
		extraField(&m.Extra),
	}
}

// Transfer is defined and unused.
type Transfer struct {
	TargetFingerprint string
	RelayAddr         *string
}

// Variant implements Signal.
func (*Transfer) Variant() string { return "Transfer" }

func (m *Transfer) fields() []field {
	return []field{{"target_fingerprint", &m.TargetFingerprint, required}, {"relay_addr", &m.RelayAddr, optNull}}
}

// TransferAck is defined and unused.
type TransferAck struct{}

// Variant implements Signal.
func (*TransferAck) Variant() string { return "TransferAck" }
func (*TransferAck) fields() []field { return nil }
