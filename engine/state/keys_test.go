package state

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func keys42(t *testing.T) *Keys {
	t.Helper()
	var seed [SeedSize]byte
	for i := range seed {
		seed[i] = 0x42
	}
	k, err := NewKeys(seed)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Vectors of spec wzp 1.2 and 4.2.1; those of the own infos were computed with
// another HKDF implementation.
func TestKeyVectors(t *testing.T) {
	k := keys42(t)
	id := k.NodeID()
	for name, v := range map[string][2]string{
		"tls secret":   {hex.EncodeToString(k.TLS.Seed()), "9c4f8c388f636ec07e3d7d942d0fbf715b44a856077a553d73559ed128e48a53"},
		"tls public":   {hex.EncodeToString(publicKey(k.TLS)), "09d69f870ab8414e5cf2156b4914c3ebd984510bc24edc964b754ecf0565b8ce"},
		"identity pub": {hex.EncodeToString(publicKey(k.Identity)), "a37a947ca8cc01976b7859cfb52eec500627d4c1a1e13c5ee6f7aa3b5c706909"},
		"fingerprint":  {k.Fingerprint(), "518e:b935:62fa:9e34:e59c:28b6:7fc2:d384"},
		"dht public":   {hex.EncodeToString(publicKey(k.DHT)), "5cf1e1ad1a1c678ef6d1f7f83c4099525575ea12a39a2fe38fe214400b27e2a8"},
		"node id":      {hex.EncodeToString(id[:]), "45b11316c8019afbcae9d9bce777503679b07a231cfbe9f72eaa28e086f5bbd8"},
		"reset":        {hex.EncodeToString(k.Reset[:]), "553892ba15f87b91d2e215a1b3da61a23163bb5a172b9f8b7e27724e98eba7f8"},
		"token":        {hex.EncodeToString(k.Token[:]), "4a515b4b896c526451b064bbbf46b96426ca005cd9581109db274332306f1833"},
	} {
		if v[0] != v[1] {
			t.Errorf("%s = %s, want %s", name, v[0], v[1])
		}
	}
}

func TestFingerprintVectors(t *testing.T) {
	for b, want := range map[byte]string{
		0xaa: "0258:ab5d:7c27:9b61:3b75:a4e3:7ce7:1bf9", 0xbb: "5daf:cd48:13fb:bc41:a1e9:9a27:2ebe:6d66",
	} {
		var seed [SeedSize]byte
		for i := range seed {
			seed[i] = b
		}
		k, err := NewKeys(seed)
		if err != nil {
			t.Fatal(err)
		}
		if got := k.Fingerprint(); got != want {
			t.Errorf("seed %x: %s, want %s", b, got, want)
		}
	}
}

// The whole certificate, as another X.509 library builds and signs it from the
// description in spec wzp 1.2.
const cert42 = "3082011d3081d0a003020102021460054f385ca92c2cbfa5af34c94e7d882cae9526300506032b65703021311f301d06035504030c" +
	"16726367656e2073656c66207369676e656420636572743020170d3735303130313030303030305a180f34303936303130313030303030305a" +
	"3021311f301d06035504030c16726367656e2073656c66207369676e65642063657274302a300506032b657003210009d69f870ab8414e5cf2" +
	"156b4914c3ebd984510bc24edc964b754ecf0565b8cea318301630140603551d11040d300b82096c6f63616c686f7374300506032b65700341" +
	"00bdf8a3cb74e25a8fb9e8f27581fc727893c3b3cc725fd891d026b40c8565dfda9765fe9edf5694f09f66da798f041f9f17f3c1e83c4a07d5" +
	"f904cdafe9784400"

func TestTLSCertificateVector(t *testing.T) {
	k := keys42(t)
	c, err := k.TLSCertificate()
	if err != nil {
		t.Fatal(err)
	}
	der := c.Certificate[0]
	if got := hex.EncodeToString(der); got != cert42 {
		t.Errorf("certificate\n%s, want\n%s", got, cert42)
	}
	fp := TLSFingerprint(der)
	if len(fp) != 95 || NormalFingerprint(strings.ToUpper(fp)) != "792a11fe0bd3025318157b4d6c16492eb0056095f8538d96313d405090d8c11b" {
		t.Errorf("fingerprint %s", fp)
	}
	if err := c.Leaf.CheckSignature(x509.PureEd25519, c.Leaf.RawTBSCertificate, c.Leaf.Signature); err != nil {
		t.Error(err)
	}
	if len(c.Leaf.DNSNames) != 1 || c.Leaf.DNSNames[0] != "localhost" || len(c.Leaf.Extensions) != 1 {
		t.Errorf("names %v, extensions %v", c.Leaf.DNSNames, c.Leaf.Extensions)
	}
}

func TestCertificatesAreStable(t *testing.T) {
	a, b := keys42(t), keys42(t)
	for range 3 {
		ca, err := a.DHTCertificate()
		if err != nil {
			t.Fatal(err)
		}
		cb, err := b.DHTCertificate()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(ca.Certificate[0], cb.Certificate[0]) {
			t.Fatal("two runs, two certificates")
		}
		if !ca.Leaf.PublicKey.(ed25519.PublicKey).Equal(publicKey(a.DHT)) {
			t.Fatal("not the DHT key")
		}
	}
}

func TestKeysPrintNoSecret(t *testing.T) {
	k := keys42(t)
	js, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "keys", k)
	for _, out := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %s", k, k, k, k), string(js), log.String()} {
		if !strings.Contains(out, "518e:b935") || strings.Contains(out, "9c4f8c") || strings.Contains(out, "156 79") || strings.Contains(out, "85 56") {
			t.Errorf("printed %s", out)
		}
	}
}
