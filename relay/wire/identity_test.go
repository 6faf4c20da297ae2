package wire

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

func seedOf(b byte) [32]byte { return [32]byte(bytes.Repeat([]byte{b}, 32)) }

func pubOf(key ed25519.PrivateKey) []byte { return key.Public().(ed25519.PublicKey) }

func TestIdentityVectors(t *testing.T) {
	for seed, want := range map[byte][2]string{
		0x42: {"a37a947ca8cc01976b7859cfb52eec500627d4c1a1e13c5ee6f7aa3b5c706909", "518e:b935:62fa:9e34:e59c:28b6:7fc2:d384"},
		0xAA: {"faf4b680b032384cd5ae074209bda89a0c9504591bf7e5bc57d2b546ff8db11d", "0258:ab5d:7c27:9b61:3b75:a4e3:7ce7:1bf9"},
		0xBB: {"7b2cef30da34599644df0b9b52d43efc17cfdc7e2176973d16e67a99902b2d44", "5daf:cd48:13fb:bc41:a1e9:9a27:2ebe:6d66"},
	} {
		pub := pubOf(IdentityKey(seedOf(seed)))
		if got := hex.EncodeToString(pub); got != want[0] {
			t.Errorf("seed %x: public key %s, want %s", seed, got, want[0])
		}
		if got := Fingerprint(pub); got != want[1] {
			t.Errorf("seed %x: fingerprint %s, want %s", seed, got, want[1])
		}
	}
	if got := Fingerprint(make([]byte, 32)); got != "6668:7aad:f862:bd77:6c8f:c18b:8e9f:8e20" {
		t.Errorf("fingerprint of zeros: %s", got)
	}
}

func TestDerivedKeyVectors(t *testing.T) {
	tls := DeriveSeed(seedOf(0x42), InfoTLS)
	if got := hex.EncodeToString(tls[:]); got != "9c4f8c388f636ec07e3d7d942d0fbf715b44a856077a553d73559ed128e48a53" {
		t.Errorf("TLS seed %s", got)
	}
	if got := hex.EncodeToString(pubOf(ed25519.NewKeyFromSeed(tls[:]))); got != "09d69f870ab8414e5cf2156b4914c3ebd984510bc24edc964b754ecf0565b8ce" {
		t.Errorf("TLS public key %s", got)
	}
	x := DeriveSeed(seedOf(0x42), InfoX25519)
	if got := hex.EncodeToString(x25519(t, x).PublicKey().Bytes()); got != "fdc25545cf63114dbf4ba37c55e93d262de2eec433e8e8013753360df984956b" {
		t.Errorf("X25519 public key %s", got)
	}
}

func x25519(t *testing.T, secret [32]byte) *ecdh.PrivateKey {
	t.Helper()
	k, err := ecdh.X25519().NewPrivateKey(secret[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// The vectors of 4.2.2, both sides, down to the unused AEAD.
func TestHandshakeVectors(t *testing.T) {
	caller, relay := x25519(t, seedOf(0x11)), x25519(t, seedOf(0x22))
	cPub, rPub := [32]byte(caller.PublicKey().Bytes()), [32]byte(relay.PublicKey().Bytes())
	if got := hex.EncodeToString(cPub[:]); got != "7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13" {
		t.Errorf("caller ephemeral %s", got)
	}
	if got := hex.EncodeToString(rPub[:]); got != "0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20" {
		t.Errorf("relay ephemeral %s", got)
	}
	shared, err := SharedSecret(caller, rPub)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := SharedSecret(relay, cPub); err != nil || other != shared {
		t.Errorf("the sides disagree: %x, %v", other, err)
	}
	if got := hex.EncodeToString(shared[:]); got != "9e004098efc091d4ec2663b4e9f5cfd4d7064571690b4bea97ab146ab9f35056" {
		t.Errorf("shared %s", got)
	}
	key := SessionKey(shared)
	if got := hex.EncodeToString(key[:]); got != "b2fa5213ed350d8e9847b7e25dd3a79107a4ab6aa753832e3d00bb6660fcf666" {
		t.Errorf("session key %s", got)
	}
	if got := SAS(shared); got != 4812 {
		t.Errorf("SAS %d", got)
	}
	sum := sha256.Sum256(key[:])
	if got := hex.EncodeToString(sum[:4]); got != "20dda32a" {
		t.Errorf("session id %s", got)
	}
	aead, err := chacha20poly1305.New(key[:])
	if err != nil {
		t.Fatal(err)
	}
	nonce := binary.BigEndian.AppendUint32(sum[:4:4], 0)
	nonce = append(nonce, 0, 0, 0, 0)
	if got := hex.EncodeToString(aead.Seal(nil, nonce, []byte("hello warzone"), []byte("test-header"))); got != "2a99c98b8a90f352618cf0ee731056b1a3ff15b435f284741050c0b67c" {
		t.Errorf("ciphertext %s", got)
	}
	if _, err := SharedSecret(caller, [32]byte{}); err == nil {
		t.Error("a peer key of small order was accepted")
	}
}

// callLiterals are the two lines of 4.2.4.
func callLiterals(t testing.TB) (offer, answer string) {
	t.Helper()
	b, err := os.ReadFile("testdata/call.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines", len(lines))
	}
	return lines[0], lines[1]
}

// The messages of 4.2.4 come out of the keys, byte for byte.
func TestCallVectors(t *testing.T) {
	wantOffer, wantAnswer := callLiterals(t)
	callerKey, relayKey := IdentityKey(seedOf(0xAA)), IdentityKey(seedOf(0xBB))
	offer := &CallOffer{
		IdentityPub: [32]byte(pubOf(callerKey)), EphemeralPub: [32]byte(x25519(t, seedOf(0x11)).PublicKey().Bytes()),
		SupportedProfiles: Offered(),
	}
	offer.Signature = SignOffer(callerKey, offer.EphemeralPub)
	answer := &CallAnswer{
		IdentityPub: [32]byte(pubOf(relayKey)), EphemeralPub: [32]byte(x25519(t, seedOf(0x22)).PublicKey().Bytes()),
		ChosenProfile: ProfileGood,
	}
	answer.Signature = SignAnswer(relayKey, answer.EphemeralPub)
	for _, c := range []struct {
		s    Signal
		want string
		size uint32
	}{{offer, wantOffer, 0x40E}, {answer, wantAnswer, 0x267}} {
		frame, err := EncodeFrame(c.s)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(frame[framePrefix:]); got != c.want {
			t.Errorf("%s = %s\nwant %s", c.s.Variant(), got, c.want)
		}
		if got := binary.BigEndian.Uint32(frame); got != c.size {
			t.Errorf("%s: length %#x, want %#x", c.s.Variant(), got, c.size)
		}
	}
	if err := errors.Join(VerifyOffer(offer), VerifyAnswer(answer)); err != nil {
		t.Error(err)
	}
}

func TestOfferAndAnswer(t *testing.T) {
	relayKey := IdentityKey(seedOf(0xBB))
	offer, eph, err := NewOffer(IdentityKey(seedOf(0xAA)), "Alice")
	if err != nil {
		t.Fatal(err)
	}
	if offer.EphemeralPub != [32]byte(eph.PublicKey().Bytes()) || *offer.Alias != "Alice" {
		t.Errorf("offer = %+v", offer)
	}
	offer.SupportedProfiles = nil // whatever is offered, the answer is GOOD
	answer, err := NewAnswer(offer, relayKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := VerifyAnswer(answer); err != nil || answer.ChosenProfile != ProfileGood || !bytes.Equal(answer.IdentityPub[:], pubOf(relayKey)) {
		t.Errorf("answer = %+v, %v", answer, err)
	}
	if plain, _, err := NewOffer(relayKey, ""); err != nil || plain.Alias != nil {
		t.Errorf("an offer without alias: %+v, %v", plain, err)
	}
}

func TestSignaturesRejected(t *testing.T) {
	key := IdentityKey(seedOf(0xAA))
	for name, spoil := range map[string]func(*CallOffer){
		"none":               func(o *CallOffer) { o.Signature = nil },
		"short":              func(o *CallOffer) { o.Signature = o.Signature[:63] },
		"long":               func(o *CallOffer) { o.Signature = append(o.Signature, 0) },
		"bit":                func(o *CallOffer) { o.Signature[5] ^= 1 },
		"other ephemeral":    func(o *CallOffer) { o.EphemeralPub[0] ^= 1 },
		"other identity":     func(o *CallOffer) { o.IdentityPub = [32]byte(pubOf(IdentityKey(seedOf(0xBB)))) },
		"zero identity":      func(o *CallOffer) { o.IdentityPub = [32]byte{} },
		"answer's signature": func(o *CallOffer) { o.Signature = SignAnswer(key, o.EphemeralPub) },
	} {
		t.Run(name, func(t *testing.T) {
			o, _, err := NewOffer(key, "")
			if err != nil {
				t.Fatal(err)
			}
			spoil(o)
			if err := VerifyOffer(o); !errors.Is(err, ErrSignature) {
				t.Errorf("VerifyOffer = %v", err)
			}
			if a, err := NewAnswer(o, key); !errors.Is(err, ErrSignature) || a != nil {
				t.Errorf("NewAnswer = %v, %v", a, err)
			}
		})
	}
}
