package state

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"time"
)

var (
	oidEd25519    = asn1.ObjectIdentifier{1, 3, 101, 112} // RFC 8410
	oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}     // RFC 5280 appendix A
	oidSAN        = asn1.ObjectIdentifier{2, 5, 29, 17}   // RFC 5280 section 4.2.1.6
	notBefore     = time.Date(1975, 1, 1, 0, 0, 0, 0, time.UTC)
	notAfter      = time.Date(4096, 1, 1, 0, 0, 0, 0, time.UTC)
)

// The certificate is laid out by hand, not by x509.CreateCertificate, for two
// reasons: it must be the same bytes at every start, since clients pin its
// hash, and the same bytes the Rust relay's library makes (spec wzp 1.2), with
// UTF8String names and one extension only.
type tbsCertificate struct {
	Version    int `asn1:"explicit,tag:0"`
	Serial     *big.Int
	Algorithm  pkix.AlgorithmIdentifier
	Issuer     []rdnSET
	Validity   validity
	Subject    []rdnSET
	PublicKey  publicKeyInfo
	Extensions []pkix.Extension `asn1:"explicit,tag:3"`
}

type certificate struct {
	TBS       asn1.RawValue
	Algorithm pkix.AlgorithmIdentifier
	Signature asn1.BitString
}

type validity struct{ NotBefore, NotAfter time.Time }

type publicKeyInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	Key       asn1.BitString
}

// rdnSET is encoded as SET OF for the suffix of its name (encoding/asn1).
type rdnSET []attribute

type attribute struct {
	Type  asn1.ObjectIdentifier
	Value string `asn1:"utf8"`
}

// TLSCertificate is the relay's certificate, byte-identical at every start
// (spec wzp 1.2).
func (k *Keys) TLSCertificate() (tls.Certificate, error) {
	return selfSigned(k.TLS, "rcgen self signed cert", "localhost")
}

// DHTCertificate is the certificate of DHT links, on both sides of them. Only
// its key means anything; it too is the same at every start.
func (k *Keys) DHTCertificate() (tls.Certificate, error) {
	return selfSigned(k.DHT, "signalbox dht", "signalbox")
}

func selfSigned(key ed25519.PrivateKey, commonName, dnsName string) (tls.Certificate, error) {
	fail := func(err error) (tls.Certificate, error) {
		return tls.Certificate{}, fmt.Errorf("self-signed certificate: %w", err)
	}
	pub := publicKey(key)
	sum := sha256.Sum256(pub)
	sum[0] &= 0x7f // a serial number is positive and at most 20 bytes
	san, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(dnsName)}})
	if err != nil {
		return fail(err)
	}
	alg := pkix.AlgorithmIdentifier{Algorithm: oidEd25519}
	name := []rdnSET{{{Type: oidCommonName, Value: commonName}}}
	tbs, err := asn1.Marshal(tbsCertificate{
		Version: 2, Serial: new(big.Int).SetBytes(sum[:20]), Algorithm: alg, Issuer: name,
		Validity: validity{notBefore, notAfter}, Subject: name,
		PublicKey:  publicKeyInfo{alg, asn1.BitString{Bytes: pub, BitLength: 8 * len(pub)}},
		Extensions: []pkix.Extension{{Id: oidSAN, Value: san}},
	})
	if err != nil {
		return fail(err)
	}
	sig := ed25519.Sign(key, tbs)
	der, err := asn1.Marshal(certificate{
		TBS: asn1.RawValue{FullBytes: tbs}, Algorithm: alg, Signature: asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)},
	})
	if err != nil {
		return fail(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return fail(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// TLSFingerprint is SHA-256 over the whole certificate as 32 lower-case hex
// pairs joined by colons, 95 characters (spec wzp 1.2).
func TLSFingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = hex.EncodeToString([]byte{b})
	}
	return strings.Join(pairs, ":")
}

// NormalFingerprint is the form in which fingerprints are compared: without
// colons, lower case (spec wzp 1.2).
func NormalFingerprint(s string) string { return strings.ToLower(strings.ReplaceAll(s, ":", "")) }
