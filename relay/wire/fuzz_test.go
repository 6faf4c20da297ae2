package wire

import (
	"bytes"
	"errors"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "02 A8 30 39 00 0F 12 06 07 03 00 00", "51 FC FF FF FF FF FF FF FF FF FF 00",
		"0A 80 00 64 00 00 07 D0 01 00 00 00 74 65 73 74 19 4B 0A 64", "24 00 00 00 00 00 00 00 00 00 00 00",
		"0F EA E1 6D 55 36 5A CF 00 00 00 01 00 00 00 14 00 00 00 00 FC FF FE", "02 00 00 01 00 00 00 14 00 00 00 00 AA BB",
	} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkParse(t, b)
		room, p, err := ParseFederated(b)
		if err == nil {
			if got := AppendFederated(nil, room, b[RoomHashSize:]); !bytes.Equal(got, b) {
				t.Fatalf("%x became %x", b, got)
			}
			if q, err := Parse(b[RoomHashSize:]); err != nil || q.Header != p.Header {
				t.Fatalf("%+v, %v, alone %+v", p, err, q)
			}
		}
	})
}

func checkParse(t *testing.T, b []byte) {
	p, err := Parse(b)
	if err != nil {
		if !errors.Is(err, ErrShort) && !errors.Is(err, ErrCodec) && !errors.Is(err, ErrTrailer) {
			t.Fatalf("error without a type: %v", err)
		}
		return
	}
	want := bytes.Clone(b)
	want[1] &^= 3 // the two unused bits are not kept (2.7)
	if got := AppendPacket(nil, p); !bytes.Equal(got, want) {
		t.Fatalf("%x became %x", want, got)
	}
}

func FuzzTrunk(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0xFF, 0xFF, 0, 0, 0, 0})
	f.Add(unhex(f, "00 03 00 01 00 05 68 65 6C 6C 6F 00 02 00 06 77 6F 72 6C 64 21 01 00 00 01 78"))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := DecodeTrunk(nil, b)
		if err != nil {
			if !errors.Is(err, ErrTrunkShort) || len(entries) != 0 {
				t.Fatalf("%d entries, %v", len(entries), err)
			}
			return
		}
		got, err := AppendTrunk(nil, entries)
		if err != nil || len(got) != TrunkSize(entries) || !bytes.HasPrefix(b, got) {
			t.Fatalf("%x became %x, %v", b, got, err)
		}
	})
}

func FuzzUnmarshal(f *testing.F) {
	for _, s := range literals(f) {
		f.Add([]byte(s))
	}
	for _, s := range []string{
		`{"Reflect":null}`, `{"Ping":{"timestamp_ms":1.5}}`, `{"AuthToken":{"token":"\ud83d\ude00\/\b"}}`, `[[[[[`,
		`{"QualityDirective":{"recommended_profile":{"codec":"Opus6k","fec_ratio":-1.5e-9,"frame_duration_ms":4,"frames_per_block":1}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkUnmarshal(t, b) })
}

// checkUnmarshal: an error has a type; a message that was accepted encodes to
// something that means and encodes to the same.
func checkUnmarshal(t *testing.T, b []byte) {
	s, err := Unmarshal(b)
	if err != nil {
		if !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrField) && !errors.Is(err, ErrUnknownVariant) {
			t.Fatalf("error without a type: %v", err)
		}
		return
	}
	once, err := Marshal(s)
	if err != nil {
		t.Fatalf("%s was accepted and does not encode: %v", b, err)
	}
	again, err := Unmarshal(once)
	if err != nil {
		t.Fatalf("%s became %s: %v", b, once, err)
	}
	if twice, err := Marshal(again); err != nil || !bytes.Equal(once, twice) {
		t.Fatalf("%s became %s and then %s, %v", b, once, twice, err)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{}, 0)
	f.Add(frameOf(`"Reflect"`), 0)
	f.Add(frameOf(`{"Ping":{"timestamp_ms":12345}}`), 8)
	f.Add([]byte{0, 0x10, 0, 0, '{'}, HardMaxFrame)
	f.Add([]byte{0xFF, 0xFF, 0xFF, 0xFF}, 1<<30)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		r := bytes.NewReader(b)
		s, err := ReadFrame(r, limit)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := WriteFrame(&out, s); err != nil {
			t.Fatal(err)
		}
		if again, err := ReadFrame(&out, HardMaxFrame); err != nil || again.Variant() != s.Variant() || out.Len() != 0 {
			t.Fatalf("%v became %v, %v", s, again, err)
		}
	})
}
