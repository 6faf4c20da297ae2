package wire

// Signals of media room connections (3.4), and the ones defined for them that
// nobody sends yet.

// CallOffer opens a media session (4.2.4, 4.3).
type CallOffer struct {
	IdentityPub       [32]byte // Ed25519
	EphemeralPub      [32]byte // X25519
	Signature         []byte   // 64 bytes over EphemeralPub, see VerifyOffer
	SupportedProfiles []Profile
	Alias             *string
}

// Variant implements Signal.
func (*CallOffer) Variant() string { return "CallOffer" }

func (m *CallOffer) fields() []field {
	return []field{
		{"identity_pub", &m.IdentityPub, required},
		{"ephemeral_pub", &m.EphemeralPub, required},
		{"signature", &m.Signature, required},
		{"supported_profiles", &m.SupportedProfiles, required},
		{"alias", &m.Alias, optNull},
	}
}

// CallAnswer is the relay's reply, its first stream (4.3).
type CallAnswer struct {
	IdentityPub   [32]byte
	EphemeralPub  [32]byte
	Signature     []byte // 64 bytes over EphemeralPub, see VerifyAnswer
	ChosenProfile Profile
}

// Variant implements Signal.
func (*CallAnswer) Variant() string { return "CallAnswer" }

func (m *CallAnswer) fields() []field {
	return []field{
		{"identity_pub", &m.IdentityPub, required},
		{"ephemeral_pub", &m.EphemeralPub, required},
		{"signature", &m.Signature, required},
		{"chosen_profile", &m.ChosenProfile, required},
	}
}

// IceCandidate is defined and unused.
type IceCandidate struct{ Candidate string }

// Variant implements Signal.
func (*IceCandidate) Variant() string { return "IceCandidate" }

func (m *IceCandidate) fields() []field {
	return []field{{"candidate", &m.Candidate, required}}
}

// Rekey is defined and unused.
type Rekey struct {
	NewEphemeralPub [32]byte
	Signature       []byte
}

// Variant implements Signal.
func (*Rekey) Variant() string { return "Rekey" }

func (m *Rekey) fields() []field {
	return []field{{"new_ephemeral_pub", &m.NewEphemeralPub, required}, {"signature", &m.Signature, required}}
}

// QualityUpdate is defined and unused.
type QualityUpdate struct {
	Report             QualityReport
	RecommendedProfile Profile
}

// Variant implements Signal.
func (*QualityUpdate) Variant() string { return "QualityUpdate" }

func (m *QualityUpdate) fields() []field {
	return []field{{"report", &m.Report, required}, {"recommended_profile", &m.RecommendedProfile, required}}
}

// LossRecoveryUpdate is defined for telemetry and unused.
type LossRecoveryUpdate struct {
	DREDReconstructions     uint64
	ClassicalPLCInvocations uint64
	FramesDecoded           uint64
}

// Variant implements Signal.
func (*LossRecoveryUpdate) Variant() string { return "LossRecoveryUpdate" }

func (m *LossRecoveryUpdate) fields() []field {
	return []field{
		{"dred_reconstructions", &m.DREDReconstructions, defaulted},
		{"classical_plc_invocations", &m.ClassicalPLCInvocations, defaulted},
		{"frames_decoded", &m.FramesDecoded, defaulted},
	}
}

// AuthToken may come before a CallOffer or RegisterPresence (4.2.3).
type AuthToken struct{ Token string }

// Variant implements Signal.
func (*AuthToken) Variant() string { return "AuthToken" }

func (m *AuthToken) fields() []field {
	return []field{{"token", &m.Token, required}}
}

// These are defined and unused.
type (
	// Hold has no fields.
	Hold struct{}
	// Unhold has no fields.
	Unhold struct{}
	// Mute has no fields.
	Mute struct{}
	// Unmute has no fields.
	Unmute struct{}
)

// Variant implements Signal.
func (*Hold) Variant() string { return "Hold" }
func (*Hold) fields() []field { return nil }

// Variant implements Signal.
func (*Unhold) Variant() string { return "Unhold" }
func (*Unhold) fields() []field { return nil }

// Variant implements Signal.
func (*Mute) Variant() string { return "Mute" }
func (*Mute) fields() []field { return nil }

// Variant implements Signal.
func (*Unmute) Variant() string { return "Unmute" }
func (*Unmute) fields() []field { return nil }

// RoomParticipant is one line of a participant list (3.3).
type RoomParticipant struct {
	Fingerprint string
	Alias       *string
	RelayLabel  *string // nil for local participants
}

func (m *RoomParticipant) fields() []field {
	return []field{{"fingerprint", &m.Fingerprint, required}, {"alias", &m.Alias, optNull}, {"relay_label", &m.RelayLabel, optNull}}
}

// RoomUpdate tells a client who is in its room; only the newest matters (5.2).
type RoomUpdate struct {
	Count        uint32
	Participants []RoomParticipant
}

// Variant implements Signal.
func (*RoomUpdate) Variant() string { return "RoomUpdate" }

func (m *RoomUpdate) fields() []field {
	return []field{{"count", &m.Count, required}, {"participants", &m.Participants, required}}
}

// QualityDirective tells a client what to encode; only the newest matters
// (5.5).
type QualityDirective struct {
	RecommendedProfile Profile
	Reason             *string
}

// Variant implements Signal.
func (*QualityDirective) Variant() string { return "QualityDirective" }

func (m *QualityDirective) fields() []field {
	return []field{{"recommended_profile", &m.RecommendedProfile, required}, {"reason", &m.Reason, optSkip}}
}

func (p *Profile) fields() []field {
	return []field{
		{"codec", &p.Codec, required},
		{"fec_ratio", &p.FECRatio, required},
		{"frame_duration_ms", &p.FrameDurationMS, required},
		{"frames_per_block", &p.FramesPerBlock, required},
	}
}

func (r *QualityReport) fields() []field {
	return []field{
		{"loss_pct", &r.Loss, required},
		{"rtt_4ms", &r.RTT4, required},
		{"jitter_ms", &r.Jitter, required},
		{"bitrate_cap_kbps", &r.CapKbps, required},
	}
}
