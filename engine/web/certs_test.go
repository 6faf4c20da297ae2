package web

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestOwnCertificatesTurn goes through a year at various paces: what is shown is
// always what a page has been told, and one a browser accepts by its hash.
func TestOwnCertificatesTurn(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, 25 * time.Hour, 4 * 24 * time.Hour, 9 * 24 * time.Hour, 100 * 24 * time.Hour} {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		c, err := ownCerts(func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		shown := map[[32]byte]bool{}
		for end := now.Add(365 * 24 * time.Hour); now.Before(end); now = now.Add(step) {
			hashes, err := c.Hashes()
			if err != nil || len(hashes) != 2 {
				t.Fatalf("%d hashes, %v", len(hashes), err)
			}
			// A page that was told at the last moment still comes in a little later.
			read := now
			for _, later := range []time.Duration{0, time.Minute, certTurn - time.Second} {
				now = read.Add(later)
				cert, err := c.Certificate()
				if err != nil {
					t.Fatal(err)
				}
				hash := sha256.Sum256(cert.Certificate[0])
				if !slices.Contains(hashes, hash) {
					t.Fatalf("step %v: after %v another certificate is shown than was told", step, later)
				}
				shown[hash] = true
				x, err := x509.ParseCertificate(cert.Certificate[0])
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := x.PublicKey.(*ecdsa.PublicKey); !ok || x.NotAfter.Sub(x.NotBefore) > 14*24*time.Hour {
					t.Fatalf("no browser takes %T for %v", x.PublicKey, x.NotAfter.Sub(x.NotBefore))
				}
				if now.Before(x.NotBefore) || now.After(x.NotAfter.Add(-24*time.Hour)) {
					t.Fatalf("step %v: at %v is shown what is valid from %v to %v", step, now, x.NotBefore, x.NotAfter)
				}
			}
			now = read
		}
		if len(shown) < 4 {
			t.Errorf("step %v: %d certificates in a year", step, len(shown))
		}
	}
}

func TestTheOperatorsCertificate(t *testing.T) {
	dir := t.TempDir()
	crt, key := filepath.Join(dir, "crt"), filepath.Join(dir, "key")
	if _, err := FileCerts(crt, key); err == nil {
		t.Error("no file, no error")
	}
	write := func() {
		cert, err := mint(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string]*pem.Block{crt: {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
			if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write()
	c, err := FileCerts(crt, key)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := c.Hashes(); len(h) != 0 || err != nil {
		t.Errorf("a browser is to check it by its hash: %x, %v", h, err)
	}
	first, err := c.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var failures int
		done := make(chan struct{})
		ctx := t.Context()
		go func() { defer close(done); c.watch(ctx, func(error) { failures++ }) }()
		time.Sleep(3 * filesEvery)
		synctest.Wait()
		if now, _ := c.Certificate(); now != first || failures != 0 {
			t.Errorf("read again, though the same: %d failures", failures)
		}
		write()
		soon := time.Now().Add(24 * time.Hour) // whatever clock the file system has
		if err := os.Chtimes(crt, soon, soon); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * filesEvery)
		synctest.Wait()
		second, _ := c.Certificate()
		if second == first {
			t.Error("a new file is not read")
		}
		if err := os.Remove(key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * filesEvery)
		synctest.Wait()
		if now, _ := c.Certificate(); now != second || failures == 0 {
			t.Errorf("a file that has gone: %d failures", failures)
		}
	})
}
