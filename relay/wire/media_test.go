package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"
)

// unhex reads hex with spaces and bars between the digits.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "|", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The worked examples of 2.8.
func TestPacketVectors(t *testing.T) {
	for name, c := range map[string]struct {
		hex  string
		want Packet
	}{
		"3 media_packet_roundtrip": {
			"0A 80 00 64 00 00 07 D0 01 00 00 00 74 65 73 74 20 61 75 64 69 6F 20 64 61 74 61 20 68 65 72 65 19 4B 0A 64",
			Packet{
				Header:  Header{Codec: Opus6k, HasReport: true, FEC: 32, Seq: 100, Timestamp: 2000, FECBlock: 1},
				Payload: []byte("test audio data here"), Report: QualityReport{25, 75, 10, 100},
			},
		},
		"4 datagram": {
			"04 40 00 2A 00 00 03 E8 01 00 00 00",
			Packet{Header: Header{Codec: Opus16k, FEC: 16, Seq: 42, Timestamp: 1000, FECBlock: 1}},
		},
		"5 comfort noise": {
			"14 00 00 07 00 00 01 90 00 00 00 00 32",
			Packet{Header: Header{Codec: ComfortNoise, Seq: 7, Timestamp: 400}, Payload: []byte{50}},
		},
		"6 Opus64k": {"20 00 00 00 00 00 00 00 00 00 00 00", Packet{Header: Header{Codec: Opus64k}}},
		"7 Codec2_1200": {
			"11 00 00 0A 00 00 01 90 02 03 00 00",
			Packet{Header: Header{Codec: Codec2x1200, FEC: 64, Seq: 10, Timestamp: 400, FECBlock: 2, FECSymbol: 3}},
		},
		"2 repair": {
			"51 FC FF FF FF FF FF FF FF FF FF 00",
			Packet{Header: Header{
				Repair: true, Codec: Codec2x1200, FEC: 127, Seq: 65535, Timestamp: math.MaxUint32,
				FECBlock: 255, FECSymbol: 255, Reserved: 255,
			}},
		},
		"8 from a WebSocket": {
			"00 00 00 00 00 00 00 00 00 00 00 00 01 02 03 04",
			Packet{Payload: []byte{1, 2, 3, 4}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			raw := unhex(t, c.hex)
			got, err := Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			if got.Header != c.want.Header || got.Report != c.want.Report || !bytes.Equal(got.Payload, c.want.Payload) {
				t.Errorf("Parse = %+v, want %+v", got, c.want)
			}
			if enc := AppendPacket(nil, c.want); !bytes.Equal(enc, raw) {
				t.Errorf("AppendPacket = %x, want %x", enc, raw)
			}
		})
	}
}

// Example 1 is a header that is no packet: it promises a report.
func TestHeaderVector(t *testing.T) {
	raw := unhex(t, "02 A8 30 39 00 0F 12 06 07 03 00 00")
	h := Header{HasReport: true, FEC: 42, Seq: 12345, Timestamp: 987654, FECBlock: 7, FECSymbol: 3}
	if got := AppendHeader(nil, h); !bytes.Equal(got, raw) {
		t.Errorf("AppendHeader = %x, want %x", got, raw)
	}
	if _, err := Parse(raw); !errors.Is(err, ErrTrailer) {
		t.Errorf("Parse = %v, want ErrTrailer", err)
	}
	p, err := Parse(append(raw, 1, 2, 3, 4))
	if err != nil || p.Header != h || len(p.Payload) != 0 || p.Report != (QualityReport{1, 2, 3, 4}) {
		t.Errorf("with a report: %+v, %v", p, err)
	}
}

func TestParseRejects(t *testing.T) {
	for name, c := range map[string]struct {
		hex  string
		want error
	}{
		"empty":                      {"", ErrShort},
		"11 bytes":                   {"00 00 00 00 00 00 00 00 00 00 00", ErrShort},
		"mini frame":                 {"01 00 14 00 05 61 75 64 69 6F", ErrShort},
		"codec 9":                    {"24 00 00 00 00 00 00 00 00 00 00 00", ErrCodec},
		"codec 15":                   {"3C 00 00 00 00 00 00 00 00 00 00 00", ErrCodec},
		"report promised, 2 bytes":   {"02 00 00 01 00 00 00 14 00 00 00 00 AA BB", ErrTrailer},
		"report promised, 3 bytes":   {"02 00 00 01 00 00 00 14 00 00 00 00 AA BB CC", ErrTrailer},
		"codec before trailer check": {"26 00 00 00 00 00 00 00 00 00 00 00", ErrCodec},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(unhex(t, c.hex)); !errors.Is(err, c.want) {
				t.Errorf("Parse = %v, want %v", err, c.want)
			}
		})
	}
}

func TestParseIgnoresVersionAndUnusedBits(t *testing.T) {
	p, err := Parse(unhex(t, "80 03 00 01 00 00 00 00 00 00 00 00"))
	if err != nil || p.Version != 1 || p.FEC != 0 {
		t.Errorf("Parse = %+v, %v", p, err)
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	raw := unhex(t, "0A 80 00 64 00 00 07 D0 01 00 00 00 74 65 73 74 19 4B 0A 64")
	buf := make([]byte, 0, len(raw))
	var sum int
	if n := testing.AllocsPerRun(100, func() {
		p, err := Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		buf = AppendPacket(buf[:0], p)
		_, bad := Parse(raw[:14])
		if !errors.Is(bad, ErrTrailer) {
			t.Fatal(bad)
		}
		sum += len(p.Payload)
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

// A receiver of the payload may append to it without touching the trailer.
func TestPayloadDoesNotReachTheReport(t *testing.T) {
	raw := unhex(t, "02 00 00 00 00 00 00 00 00 00 00 00 AA 01 02 03 04")
	p, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _ = append(p.Payload, 0xFF); raw[13] != 1 {
		t.Error("append to the payload overwrote the report")
	}
}

func TestFEC(t *testing.T) {
	for ratio, want := range map[float32]uint8{0: 0, 0.1: 6, 0.2: 13, 0.3: 19, 0.5: 32, 1.0: 64, 2.0: 127, 9: 127, -1: 0} {
		if got := EncodeFEC(ratio); got != want {
			t.Errorf("EncodeFEC(%v) = %d, want %d", ratio, got, want)
		}
	}
	if got := EncodeFEC(float32(math.NaN())); got != 0 {
		t.Errorf("EncodeFEC(NaN) = %d", got)
	}
	if got := (Header{FEC: 127}).FECRatio(); got != 2 {
		t.Errorf("FECRatio = %v, want 2", got)
	}
}

func TestQualityReport(t *testing.T) {
	r := QualityReport{25, 75, 10, 100}
	if got := r.LossPct(); math.Abs(got-9.8039) > 0.001 {
		t.Errorf("LossPct = %v", got)
	}
	if r.RTTMS() != 300 || r.JitterMS() != 10 {
		t.Errorf("RTTMS, JitterMS = %d, %d", r.RTTMS(), r.JitterMS())
	}
	if got, want := NewReport(10, 300, 12), (QualityReport{25, 75, 12, 200}); got != want {
		t.Errorf("NewReport = %v, want %v", got, want)
	}
	if got, want := NewReport(400, 9999, 9999), (QualityReport{255, 255, 255, 200}); got != want {
		t.Errorf("NewReport, too much = %v, want %v", got, want)
	}
	if got, want := NewReport(-1, -1, -1), (QualityReport{CapKbps: 200}); got != want {
		t.Errorf("NewReport, too little = %v, want %v", got, want)
	}
}

func TestTrunkVector(t *testing.T) {
	raw := unhex(t, "00 03 | 00 01 00 05 68 65 6C 6C 6F | 00 02 00 06 77 6F 72 6C 64 21 | 01 00 00 01 78")
	want := []TrunkEntry{{[2]byte{0, 1}, []byte("hello")}, {[2]byte{0, 2}, []byte("world!")}, {[2]byte{1, 0}, []byte("x")}}
	got, err := AppendTrunk(nil, want)
	if err != nil || !bytes.Equal(got, raw) || TrunkSize(want) != len(raw) {
		t.Fatalf("AppendTrunk = %x, %v, want %x of %d bytes", got, err, raw, TrunkSize(want))
	}
	dec, err := DecodeTrunk(nil, append(raw, 0xEE)) // what follows the last entry is ignored
	if err != nil || len(dec) != len(want) {
		t.Fatalf("DecodeTrunk = %v, %v", dec, err)
	}
	for i := range want {
		if dec[i].Session != want[i].Session || !bytes.Equal(dec[i].Payload, want[i].Payload) {
			t.Errorf("entry %d = %v, want %v", i, dec[i], want[i])
		}
	}
	for n := range raw {
		if dec, err := DecodeTrunk(nil, raw[:n]); !errors.Is(err, ErrTrunkShort) || len(dec) != 0 {
			t.Errorf("DecodeTrunk of %d bytes = %v, %v", n, dec, err)
		}
	}
}

func TestTrunkBounds(t *testing.T) {
	lie := []byte{0xFF, 0xFF, 0, 0, 0, 0}
	if n := testing.AllocsPerRun(10, func() {
		if _, err := DecodeTrunk(nil, lie); !errors.Is(err, ErrTrunkShort) {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a count that is a lie", n)
	}
	keep := []byte{1}
	if got, err := AppendTrunk(keep, []TrunkEntry{{Payload: make([]byte, 1<<16)}}); !errors.Is(err, ErrTrunkLarge) || len(got) != 1 {
		t.Errorf("AppendTrunk of a large entry = %d bytes, %v", len(got), err)
	}
	if _, err := AppendTrunk(nil, make([]TrunkEntry, 1<<16)); !errors.Is(err, ErrTrunkLarge) {
		t.Errorf("AppendTrunk of many entries = %v", err)
	}
	// A caller's earlier entries survive a bad frame.
	if got, err := DecodeTrunk(make([]TrunkEntry, 2), lie); err == nil || len(got) != 2 {
		t.Errorf("DecodeTrunk = %d entries, %v", len(got), err)
	}
}

func TestFederatedVector(t *testing.T) {
	raw := unhex(t, "0F EA E1 6D 55 36 5A CF | 00 00 00 01 00 00 00 14 00 00 00 00 | FC FF FE")
	pkt := AppendPacket(nil, Packet{Header: Header{Seq: 1, Timestamp: 20}, Payload: []byte{0xFC, 0xFF, 0xFE}})
	if got := AppendFederated(nil, RoomHash("general"), pkt); !bytes.Equal(got, raw) {
		t.Fatalf("AppendFederated = %x, want %x", got, raw)
	}
	room, p, err := ParseFederated(raw)
	if err != nil || room != RoomHash("general") || p.Seq != 1 || len(p.Payload) != 3 {
		t.Fatalf("ParseFederated = %x, %+v, %v", room, p, err)
	}
	// The key by which Rust relays know the packet again (5.13), from the parts
	// that were parsed.
	var h uint64
	for i, b := range raw[RoomHashSize:][:15] {
		h ^= uint64(b) << (8 * (i % 8))
	}
	if key := binary.BigEndian.Uint64(room[:]) ^ uint64(p.Seq) ^ h; key != 0x1b141e9154365ace {
		t.Errorf("dedup key = %#x", key)
	}
	for n := range RoomHashSize + HeaderSize {
		if _, _, err := ParseFederated(raw[:n]); !errors.Is(err, ErrShort) {
			t.Errorf("ParseFederated of %d bytes = %v", n, err)
		}
	}
}

func TestRoomNames(t *testing.T) {
	for name, want := range map[string]string{
		"my-group": "46de10172c0bd3222eea8f521ac04d59", "general": "a47b63f7d5b511ba5bc4089a74446906",
		"test": "f33756955bd215d4a17cc091d25f3df1", "android": "3f8466a8c694c38ccbe4ff7479015ae0",
		"podcast": "6502ba5e786315a68a59961f5cb766ed",
	} {
		if got := HashRoomName(name); got != want {
			t.Errorf("HashRoomName(%q) = %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"general": "0feae16d55365acf", "podcast": "f62a697de0475d83", "android": "f60ed56a9c827589",
		"default": "37a8eec1ce19687d", "test": "9f86d081884c7d65", "call-c1": "1ad18b2c598d0733",
	} {
		if got := RoomHash(name); hex.EncodeToString(got[:]) != want {
			t.Errorf("RoomHash(%q) = %x, want %s", name, got, want)
		}
	}
}

func TestTiers(t *testing.T) {
	codecs := []Codec{Codec2x1200, Opus6k, Opus24k, Opus32k, Opus48k, Opus64k}
	for i, want := range codecs {
		tier := Tier(i)
		if got := tier.Profile().Codec; got != want {
			t.Errorf("%v has codec %v, want %v", tier, got, want)
		}
		for _, s := range []string{tier.String(), strings.ToLower(tier.String())} {
			if got, err := ParseTier(s); err != nil || got != tier {
				t.Errorf("ParseTier(%q) = %v, %v", s, got, err)
			}
		}
	}
	if Catastrophic != 0 || Studio64k != 5 || NumTiers != 6 {
		t.Error("ordinals are off")
	}
	for _, s := range []string{"", "goo", "Goods", "Studio64\u212a"} {
		if got, err := ParseTier(s); err == nil {
			t.Errorf("ParseTier(%q) = %v", s, got)
		}
	}
	if got := Tier(9).String(); got != "Tier(9)" {
		t.Error(got)
	}
}

func TestCodecs(t *testing.T) {
	for c := range Codec(16) {
		if c.Valid() != (c <= 8) {
			t.Errorf("codec %d: Valid = %v", c, c.Valid())
		}
		got, ok := ParseCodec(c.String())
		if ok != c.Valid() || ok && got != c {
			t.Errorf("ParseCodec(%q) = %v, %v", c.String(), got, ok)
		}
	}
	if Codec2x1200.Bitrate() != 1200 || Opus6k.FrameMS() != 40 || Codec2x3200.SampleRate() != 8000 || Opus24k.String() != "Opus24k" {
		t.Error("codec table is off")
	}
	if Codec(9).Bitrate() != 0 || Codec(9).FrameMS() != 0 || Codec(9).SampleRate() != 0 {
		t.Error("an invalid codec has properties")
	}
}
