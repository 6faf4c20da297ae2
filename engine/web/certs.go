package web

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"os"
	"sync"
	"time"
)

// A browser believes a certificate by its hash if the key is ECDSA P-256 and it
// is valid for two weeks at the most. Ours live 13 days, are shown from
// the fourth to the eighth, and pages are told of them from the first: one that
// has just read the hashes can use them, whatever turns meanwhile.
const (
	certLife   = 13 * 24 * time.Hour
	certTurn   = 4 * 24 * time.Hour
	certBefore = time.Hour   // for clocks that are slow
	filesEvery = time.Minute // the operator's files are looked at
)

// Certs are the certificates shown to browsers by WebTransport: our own, which
// change, or one of the operator's.
type Certs struct {
	// Constant after its making.
	certFile, keyFile string // empty: our own
	now               func() time.Time

	// mu guards the rest; a leaf.
	mu        sync.Mutex
	own, next *tls.Certificate // next: after turn; nil for the operator's
	turn      time.Time
	changed   time.Time // the operator's newer file
}

// OwnCerts makes certificates of our own.
func OwnCerts() (*Certs, error) { return ownCerts(time.Now) }

func ownCerts(now func() time.Time) (*Certs, error) {
	c := &Certs{now: now}
	var err error
	if c.own, err = mint(now()); err != nil {
		return nil, err
	}
	if c.next, err = mint(now()); err != nil {
		return nil, err
	}
	c.turn = now().Add(certTurn)
	return c, nil
}

// FileCerts reads the operator's certificate and key, PEM, and reads them again
// when they change.
func FileCerts(certFile, keyFile string) (*Certs, error) {
	c := &Certs{certFile: certFile, keyFile: keyFile, now: time.Now}
	return c, c.read()
}

// mint makes one certificate. Browsers that are given its hash look at nothing
// else in it.
func mint(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "signalbox"}, DNSNames: []string{"localhost"},
		NotBefore: now.Add(-certBefore), NotAfter: now.Add(certLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, &x509.Certificate{Subject: pkix.Name{CommonName: "signalbox"}}, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// Certificate is what to show now. It takes no longer than making a key does.
func (c *Certs) Certificate() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.turnLocked(); err != nil {
		return nil, err
	}
	return c.own, nil
}

// turnLocked puts the next certificate in the present one's place when it is
// time. mu is held.
func (c *Certs) turnLocked() error {
	now := c.now()
	if c.next == nil || now.Before(c.turn) {
		return nil
	}
	fresh, err := mint(now)
	if err != nil {
		return fmt.Errorf("web: a new certificate: %w", err)
	}
	c.own, c.next = c.next, fresh
	if now.Sub(c.turn) >= certTurn { // nobody has asked for so long that the next one is old too
		if c.own, err = mint(now); err != nil {
			return fmt.Errorf("web: a new certificate: %w", err)
		}
	}
	c.turn = now.Add(certTurn)
	return nil
}

// Hashes are the SHA-256 of the certificates a browser may meet; none where it
// can check the operator's by its own authorities.
func (c *Certs) Hashes() ([][sha256.Size]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.turnLocked(); err != nil || c.next == nil {
		return nil, err
	}
	return [][sha256.Size]byte{sha256.Sum256(c.own.Certificate[0]), sha256.Sum256(c.next.Certificate[0])}, nil
}

// read loads the operator's files.
func (c *Certs) read() error {
	changed, err := c.modified()
	if err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own, c.changed = &cert, changed
	return nil
}

// modified is when the newer of the operator's files was written.
func (c *Certs) modified() (time.Time, error) {
	a, err := os.Stat(c.certFile)
	b, err2 := os.Stat(c.keyFile)
	if err := cmp.Or(err, err2); err != nil {
		return time.Time{}, err
	}
	if a.ModTime().After(b.ModTime()) {
		return a.ModTime(), nil
	}
	return b.ModTime(), nil
}

// watch reads the operator's files again when they change, until ctx ends. What
// cannot be used leaves the old ones in force.
func (c *Certs) watch(ctx context.Context, failed func(error)) {
	if c.certFile == "" {
		return
	}
	tick := time.NewTicker(filesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		at, err := c.modified()
		c.mu.Lock()
		same := at.Equal(c.changed)
		c.mu.Unlock()
		if err == nil && !same {
			err = c.read()
		}
		if err != nil {
			failed(err)
		}
	}
}
