package wire

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

// The derivation labels of the protocol (1.2, 4.2).
const (
	InfoIdentity = "warzone-ed25519" // the identity key, which signs handshakes
	InfoTLS      = "wzp-tls-ed25519" // the TLS certificate's key
	InfoX25519   = "warzone-x25519"  // derived by clients, never on the wire
	infoSession  = "warzone-session-key"
	infoSAS      = "warzone-sas-code"

	labelOffer  = "call-offer"
	labelAnswer = "call-answer"

	labelPresence = "register-presence"
)

// ErrSignature is returned for a signature that does not verify, one of the
// wrong length included.
var ErrSignature = errors.New("wire: signature does not verify")

// DeriveSeed is HKDF-SHA256 without salt, 32 bytes (4.2.1).
func DeriveSeed(seed [32]byte, info string) [32]byte {
	return [32]byte(derive(seed[:], info, 32))
}

func derive(secret []byte, info string, n int) []byte {
	b, err := hkdf.Key(sha256.New, secret, nil, info, n)
	if err != nil { // only for lengths beyond 8160 bytes, and ours are 32 and 4
		panic("wire: hkdf: " + err.Error())
	}
	return b
}

// IdentityKey is the Ed25519 key of an identity seed (4.2.1).
func IdentityKey(seed [32]byte) ed25519.PrivateKey {
	s := DeriveSeed(seed, InfoIdentity)
	return ed25519.NewKeyFromSeed(s[:])
}

// Fingerprint is the text form of an identity: 16 bytes of SHA-256 of the
// public key as eight groups of four hex digits (3.3).
func Fingerprint(pub []byte) string {
	sum := sha256.Sum256(pub)
	out := make([]byte, 0, 39)
	for i := 0; i < 16; i += 2 {
		if i > 0 {
			out = append(out, ':')
		}
		out = hex.AppendEncode(out, sum[i:i+2])
	}
	return string(out)
}

// SignOffer is a caller's signature over its ephemeral key (4.2.2).
func SignOffer(key ed25519.PrivateKey, ephemeral [32]byte) []byte {
	return ed25519.Sign(key, append(ephemeral[:], labelOffer...))
}

// SignAnswer is a relay's signature over its ephemeral key (4.2.2).
func SignAnswer(key ed25519.PrivateKey, ephemeral [32]byte) []byte {
	return ed25519.Sign(key, append(ephemeral[:], labelAnswer...))
}

// VerifyOffer checks that the offer's ephemeral key was signed by the offer's
// identity. It returns nil or ErrSignature. The signature binds no room, relay
// or time: it proves that the identity once signed this key, no more.
func VerifyOffer(o *CallOffer) error {
	return verify(o.IdentityPub, o.EphemeralPub, labelOffer, o.Signature)
}

// VerifyAnswer is VerifyOffer for the relay's answer.
func VerifyAnswer(a *CallAnswer) error {
	return verify(a.IdentityPub, a.EphemeralPub, labelAnswer, a.Signature)
}

// SignPresence is a client's signature in RegisterPresence: over its public
// key, the SHA-256 of the certificate the relay has shown on this connection,
// and a label. The certificate in it keeps one relay from registering the
// client at another. The original leaves the input undefined and the field
// empty (4.4).
func SignPresence(key ed25519.PrivateKey, relayCert [32]byte) []byte {
	return ed25519.Sign(key, presenceInput([32]byte(key.Public().(ed25519.PublicKey)), relayCert))
}

// VerifyPresence returns nil or ErrSignature.
func VerifyPresence(m *RegisterPresence, relayCert [32]byte) error {
	if !ed25519.Verify(m.IdentityPub[:], presenceInput(m.IdentityPub, relayCert), m.Signature) {
		return ErrSignature
	}
	return nil
}

func presenceInput(identity, relayCert [32]byte) []byte {
	return append(append(identity[:], relayCert[:]...), labelPresence...)
}

func verify(identity, ephemeral [32]byte, label string, sig []byte) error {
	// ed25519.Verify answers false for a signature that is not 64 bytes.
	if !ed25519.Verify(identity[:], append(ephemeral[:], label...), sig) {
		return ErrSignature
	}
	return nil
}

// NewOffer is a client's CallOffer with a fresh ephemeral key, whose private
// half it returns. An empty alias is sent as none.
func NewOffer(key ed25519.PrivateKey, alias string) (*CallOffer, *ecdh.PrivateKey, error) {
	eph, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("wire: ephemeral key: %w", err)
	}
	o := &CallOffer{EphemeralPub: [32]byte(eph.PublicKey().Bytes()), SupportedProfiles: Offered()}
	copy(o.IdentityPub[:], key.Public().(ed25519.PublicKey))
	o.Signature = SignOffer(key, o.EphemeralPub)
	if alias != "" {
		o.Alias = &alias
	}
	return o, eph, nil
}

// NewAnswer verifies the offer and answers it with a fresh ephemeral key and
// the profile GOOD, whatever was offered (4.2.4). The relay keeps no session
// key: nobody encrypts media beyond QUIC, yet clients check the signature.
func NewAnswer(offer *CallOffer, relayKey ed25519.PrivateKey) (*CallAnswer, error) {
	if err := VerifyOffer(offer); err != nil {
		return nil, err
	}
	eph, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("wire: ephemeral key: %w", err)
	}
	a := &CallAnswer{EphemeralPub: [32]byte(eph.PublicKey().Bytes()), ChosenProfile: ProfileGood}
	copy(a.IdentityPub[:], relayKey.Public().(ed25519.PublicKey))
	a.Signature = SignAnswer(relayKey, a.EphemeralPub)
	return a, nil
}

// SharedSecret is the X25519 secret of the handshake (4.2.2). A peer key of
// small order is an error.
func SharedSecret(own *ecdh.PrivateKey, peer [32]byte) ([32]byte, error) {
	pub, err := ecdh.X25519().NewPublicKey(peer[:])
	if err != nil {
		return [32]byte{}, fmt.Errorf("wire: peer key: %w", err)
	}
	s, err := own.ECDH(pub)
	if err != nil {
		return [32]byte{}, fmt.Errorf("wire: key agreement: %w", err)
	}
	return [32]byte(s), nil
}

// SessionKey is the key both sides derive from the shared secret (4.2.2). It
// is unused on the wire.
func SessionKey(shared [32]byte) [32]byte { return DeriveSeed(shared, infoSession) }

// SAS is the four-digit code two people compare aloud (4.2.2), 0 to 9999.
func SAS(shared [32]byte) uint32 {
	return binary.BigEndian.Uint32(derive(shared[:], infoSAS, 4)) % 10000
}
