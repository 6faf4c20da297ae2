package record

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"signalbox/dht/table"
)

var epoch = time.UnixMilli(1_800_000_000_123)

func keyPair(n byte) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte{n})
	return ed25519.NewKeyFromSeed(seed[:])
}

func template(seq uint64, addrs ...string) Record {
	r := Record{
		Kind: Room, Key: RoomKey("ops"), Sequence: seq, Issued: epoch, TTL: time.Hour,
		TLS: [32]byte{1}, Identity: [16]byte{2},
	}
	for _, a := range addrs {
		r.Addrs = append(r.Addrs, netip.MustParseAddrPort(a))
	}
	return r
}

func sign(t interface{ Fatal(...any) }, r Record, by byte) *Signed {
	s, err := Sign(r, keyPair(by))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRoundTrip(t *testing.T) {
	s := sign(t, template(7, "1.2.3.4:5", "[2001:db8::1]:443"), 1)
	got, err := Decode(s.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, s) {
		t.Errorf("got %+v, want %+v", got, s)
	}
	if err := got.Verify(); err != nil {
		t.Error(err)
	}
	if got.By != table.ID(sha256.Sum256(keyPair(1).Public().(ed25519.PublicKey))) {
		t.Error("the publisher's id is not that of its key")
	}
	for i := range s.Raw {
		if _, err := Decode(s.Raw[:i]); err == nil {
			t.Fatalf("the first %d bytes decode", i)
		}
	}
	if _, err := Decode(append(bytes.Clone(s.Raw), 0)); err == nil {
		t.Error("a byte more decodes")
	}
	full := template(1)
	for range MaxAddrs {
		full.Addrs = append(full.Addrs, netip.MustParseAddrPort("[2001:db8::1]:443"))
	}
	if s := sign(t, full, 1); len(s.Raw) != MaxLen || MaxLen > 512 {
		t.Errorf("the largest record has %d bytes, MaxLen is %d", len(s.Raw), MaxLen)
	}
}

// The bytes and the keys are a promise to other versions.
func TestVector(t *testing.T) {
	s := sign(t, template(7, "1.2.3.4:5"), 1)
	sum := sha256.Sum256(s.Raw)
	for name, v := range map[string][2]string{
		"head":     {hex.EncodeToString(s.Raw[:2]), "0101"},
		"times":    {hex.EncodeToString(s.Raw[66:84]), "0000000000000007" + "000001a3185c507b" + "0e10"},
		"address":  {hex.EncodeToString(s.Raw[132:140]), "01" + "04" + "01020304" + "0005"},
		"room":     {RoomKey("ops").String(), "242eef11ac7069c3b3e8d683d22fcf60e4611f2cdeb3bfa9fa6db74097221cec"},
		"presence": {PresenceKey("AB:cd").String(), "651a82242de6904c477f353b983df04066043f107a0139a6b379f56b6f0c307e"},
		"record":   {hex.EncodeToString(sum[:]), "888453a0c3fbba0fc119ef83f83d24272ed9c3debf1f77b48e6ccc7a424f93c3"},
	} {
		if v[0] != v[1] {
			t.Errorf("%s: got %s, want %s", name, v[0], v[1])
		}
	}
	if PresenceKey("AB:cd") != PresenceKey("abcd") || PresenceKey("abcd") == RoomKey("abcd") {
		t.Error("keys of the same thing differ, or of different things agree")
	}
}

// Every bit is signed, and the signature is good for nothing else.
func TestSignatureCoversEverything(t *testing.T) {
	s := sign(t, template(7, "1.2.3.4:5"), 1)
	for i := range s.Raw {
		b := bytes.Clone(s.Raw)
		b[i] ^= 1
		d, err := Decode(b)
		if err != nil {
			continue
		}
		if d.Verify() == nil {
			t.Fatalf("byte %d is not signed", i)
		}
	}
	// A stranger's key in place of the publisher's: another id, and invalid.
	b := bytes.Clone(s.Raw)
	copy(b[34:], keyPair(2).Public().(ed25519.PublicKey))
	if d, err := Decode(b); err != nil || d.By == s.By || !errors.Is(d.Verify(), ErrSignature) {
		t.Errorf("a record under a foreign key: %v", err)
	}
	// The same bytes signed without the tag.
	body := s.Raw[:len(s.Raw)-ed25519.SignatureSize]
	untagged := append(bytes.Clone(body), ed25519.Sign(keyPair(1), body)...)
	if d, err := Decode(untagged); err != nil || !errors.Is(d.Verify(), ErrSignature) {
		t.Errorf("a signature for something else is taken: %v", err)
	}
}

func TestBounds(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Record)
		want   error
	}{
		"no kind":        {func(r *Record) { r.Kind = 0 }, ErrKind},
		"kind":           {func(r *Record) { r.Kind = endKinds }, ErrKind},
		"no ttl":         {func(r *Record) { r.TTL = time.Second - 1 }, ErrTTL},
		"long ttl":       {func(r *Record) { r.TTL = MaxTTL + time.Second }, ErrTTL},
		"before 1970":    {func(r *Record) { r.Issued = time.UnixMilli(-1) }, ErrTTL},
		"far future":     {func(r *Record) { r.Issued = time.UnixMilli(maxIssued + 1) }, ErrTTL},
		"many addresses": {func(r *Record) { r.Addrs = make([]netip.AddrPort, MaxAddrs+1) }, ErrAddress},
		"no address":     {func(r *Record) { r.Addrs = make([]netip.AddrPort, 1) }, ErrAddress},
		"port 0":         {func(r *Record) { r.Addrs = []netip.AddrPort{netip.MustParseAddrPort("1.2.3.4:0")} }, ErrAddress},
		"unspecified":    {func(r *Record) { r.Addrs = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:1")} }, ErrAddress},
		"mapped":         {func(r *Record) { r.Addrs = []netip.AddrPort{netip.MustParseAddrPort("[::ffff:1.2.3.4]:1")} }, ErrAddress},
		"zone":           {func(r *Record) { r.Addrs = []netip.AddrPort{netip.MustParseAddrPort("[fe80::1%eth0]:1")} }, ErrAddress},
	} {
		r := template(1, "1.2.3.4:5")
		tt.change(&r)
		if _, err := Sign(r, keyPair(1)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	// What Sign would never write.
	raw := sign(t, template(1, "1.2.3.4:5"), 1).Raw
	put := func(at int, b ...byte) []byte { c := bytes.Clone(raw); copy(c[at:], b); return c }
	for name, tt := range map[string]struct {
		b    []byte
		want error
	}{
		"version":        {put(0, 2), ErrVersion},
		"kind":           {put(1, 9), ErrKind},
		"issued":         {put(74, 0xff), ErrTTL},
		"ttl":            {put(82, 0xff, 0xff), ErrTTL},
		"count":          {put(132, MaxAddrs+1), ErrAddress},
		"count too high": {put(132, 2), ErrAddress},
		"count too low":  {put(132, 0), ErrMalformed},
		"family":         {put(133, 5), ErrAddress},
		"port":           {put(138, 0, 0), ErrAddress},
	} {
		if _, err := Decode(tt.b); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

func TestFresh(t *testing.T) {
	s := sign(t, template(1, "1.2.3.4:5"), 1)
	for _, tt := range []struct {
		after time.Duration
		want  error
	}{
		{0, nil},
		{time.Hour - 1, nil},
		{time.Hour, ErrExpired},
		{24 * time.Hour, ErrExpired},
		{-MaxSkew, nil},
		{-MaxSkew - 1, ErrFuture},
	} {
		if err := s.Fresh(s.Issued.Add(tt.after)); !errors.Is(err, tt.want) {
			t.Errorf("%v after: %v, want %v", tt.after, err, tt.want)
		}
	}
}

// FuzzDecode: nothing panics, and what decodes encodes to the same bytes.
func FuzzDecode(f *testing.F) {
	f.Add(sign(f, template(7, "1.2.3.4:5", "[2001:db8::1]:443"), 1).Raw)
	f.Add(sign(f, template(8), 2).Raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b)
		if err != nil {
			return
		}
		again := append(s.appendTo(nil), b[len(b)-ed25519.SignatureSize:]...)
		if !bytes.Equal(again, b) || !bytes.Equal(s.Raw, b) {
			t.Errorf("%x became %x", b, again)
		}
		_ = s.Verify()
	})
}
