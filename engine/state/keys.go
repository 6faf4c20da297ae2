package state

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
)

// HKDF info strings: one per use, never changed. The first two are the wzp
// relay's (spec wzp 1.2 and 4.2.1), so that a relay's identity file moves over.
const (
	infoTLS      = "wzp-tls-ed25519"
	infoIdentity = "warzone-ed25519"
	infoReset    = "signalbox-reset"
	infoToken    = "signalbox-token"
	infoDHT      = "signalbox-dht-ed25519"
	infoSSH      = "signalbox-ssh-ed25519"
)

// Keys is everything derived from one identity file. It prints as its public
// fingerprint only.
type Keys struct {
	// Constant after NewKeys.
	TLS      ed25519.PrivateKey // the wzp certificate's key (spec wzp 1.2)
	Identity ed25519.PrivateKey // the relay's identity in calls (spec wzp 4.2.1)
	DHT      ed25519.PrivateKey // the DHT certificate's key
	SSH      ed25519.PrivateKey // the SSH server's host key
	Reset    [32]byte           // QUIC stateless reset key (RFC 9000 section 10.3)
	Token    [32]byte           // QUIC token key (RFC 9000 section 8.1)
}

// LoadKeys reads the identity file at path, creating it when missing, and
// derives the keys. Errors about the file are *IdentityError.
func LoadKeys(path string) (*Keys, error) {
	seed, _, err := LoadSeed(path)
	if err != nil {
		return nil, err
	}
	return NewKeys(seed)
}

// NewKeys derives all keys from a seed.
func NewKeys(seed [SeedSize]byte) (*Keys, error) {
	var k Keys
	for _, d := range []struct {
		info string
		set  func(b []byte)
	}{
		{infoTLS, func(b []byte) { k.TLS = ed25519.NewKeyFromSeed(b) }},
		{infoIdentity, func(b []byte) { k.Identity = ed25519.NewKeyFromSeed(b) }},
		{infoDHT, func(b []byte) { k.DHT = ed25519.NewKeyFromSeed(b) }},
		{infoSSH, func(b []byte) { k.SSH = ed25519.NewKeyFromSeed(b) }},
		{infoReset, func(b []byte) { copy(k.Reset[:], b) }},
		{infoToken, func(b []byte) { copy(k.Token[:], b) }},
	} {
		// No salt, as in spec wzp 1.2.
		b, err := hkdf.Key(sha256.New, seed[:], nil, d.info, 32)
		if err != nil {
			return nil, fmt.Errorf("derive %s: %w", d.info, err)
		}
		d.set(b)
	}
	return &k, nil
}

// NodeID is the DHT node id: SHA-256 of the DHT public key.
func (k *Keys) NodeID() [32]byte { return sha256.Sum256(publicKey(k.DHT)) }

// Fingerprint is the relay identity's fingerprint: the first 16 bytes of
// SHA-256 of its public key as eight groups of four hex digits (spec wzp 4.2.1).
func (k *Keys) Fingerprint() string {
	sum := sha256.Sum256(publicKey(k.Identity))
	groups := make([]string, 8)
	for i := range groups {
		groups[i] = hex.EncodeToString(sum[2*i : 2*i+2])
	}
	return strings.Join(groups, ":")
}

// String names the keys without telling any.
func (k Keys) String() string { return "keys of " + k.Fingerprint() }

// GoString keeps the secrets out of %#v.
func (k Keys) GoString() string { return k.String() }

// LogValue keeps the secrets out of logs.
func (k Keys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON keeps the secrets out of JSON.
func (k Keys) MarshalJSON() ([]byte, error) { return []byte(`"` + k.String() + `"`), nil }

func publicKey(k ed25519.PrivateKey) ed25519.PublicKey {
	return k.Public().(ed25519.PublicKey) // the method's documented type
}
