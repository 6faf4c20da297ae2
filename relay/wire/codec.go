package wire

import (
	"fmt"
	"strconv"
)

// Codec is the 4-bit codec id of a media packet (2.2). In JSON it is the name.
type Codec uint8

// The codec ids (2.2); 9 to 15 are invalid.
const (
	Opus24k Codec = iota
	Opus16k
	Opus6k
	Codec2x3200 // "Codec2_3200"
	Codec2x1200 // "Codec2_1200"
	ComfortNoise
	Opus32k
	Opus48k
	Opus64k

	numCodecs
)

type codecInfo struct {
	name    string
	bitrate int
	frameMS int
	rateHz  int
}

var codecs = [numCodecs]codecInfo{
	Opus24k:      {"Opus24k", 24000, 20, 48000},
	Opus16k:      {"Opus16k", 16000, 20, 48000},
	Opus6k:       {"Opus6k", 6000, 40, 48000},
	Codec2x3200:  {"Codec2_3200", 3200, 20, 8000},
	Codec2x1200:  {"Codec2_1200", 1200, 40, 8000},
	ComfortNoise: {"ComfortNoise", 0, 20, 48000},
	Opus32k:      {"Opus32k", 32000, 20, 48000},
	Opus48k:      {"Opus48k", 48000, 20, 48000},
	Opus64k:      {"Opus64k", 64000, 20, 48000},
}

// Valid says whether the id names a codec.
func (c Codec) Valid() bool { return c < numCodecs }

// String is the codec's JSON name.
func (c Codec) String() string {
	if !c.Valid() {
		return "Codec(" + strconv.Itoa(int(c)) + ")"
	}
	return codecs[c].name
}

// Opus says whether packets of the codec hold Opus data.
func (c Codec) Opus() bool {
	return c.Valid() && c != Codec2x3200 && c != Codec2x1200 && c != ComfortNoise
}

// Bitrate is the codec's nominal rate in bit/s; 0 for comfort noise and
// invalid ids.
func (c Codec) Bitrate() int {
	if !c.Valid() {
		return 0
	}
	return codecs[c].bitrate
}

// FrameMS is the length of one frame in milliseconds, 0 for invalid ids.
func (c Codec) FrameMS() int {
	if !c.Valid() {
		return 0
	}
	return codecs[c].frameMS
}

// SampleRate is in Hz, 0 for invalid ids.
func (c Codec) SampleRate() int {
	if !c.Valid() {
		return 0
	}
	return codecs[c].rateHz
}

// ParseCodec is the inverse of String.
func ParseCodec(name string) (Codec, bool) {
	for i := range codecs {
		if codecs[i].name == name {
			return Codec(i), true
		}
	}
	return 0, false
}

// Profile is how a sender is to encode (2.2; JSON object of 3.3).
type Profile struct {
	Codec           Codec
	FECRatio        float32 // repair symbols per source symbol, 0 to 2
	FrameDurationMS uint8
	FramesPerBlock  uint8 // source frames in an FEC block
}

// The named profiles (2.2). Nobody assigns to them.
var (
	ProfileGood         = Profile{Opus24k, 0.2, 20, 5}
	ProfileDegraded     = Profile{Opus6k, 0.5, 40, 10}
	ProfileCatastrophic = Profile{Codec2x1200, 1.0, 40, 8}
	ProfileStudio32k    = Profile{Opus32k, 0.1, 20, 5}
	ProfileStudio48k    = Profile{Opus48k, 0.1, 20, 5}
	ProfileStudio64k    = Profile{Opus64k, 0.1, 20, 5}
)

// Offered is the list every current client offers, best first (4.2.4). The
// caller owns the returned slice.
func Offered() []Profile {
	return []Profile{
		ProfileStudio64k, ProfileStudio48k, ProfileStudio32k,
		ProfileGood, ProfileDegraded, ProfileCatastrophic,
	}
}

// Tier is a quality level of a participant or a room, worst first (5.5).
type Tier uint8

// The tiers; comparing them compares quality.
const (
	Catastrophic Tier = iota
	Degraded
	Good
	Studio32k
	Studio48k
	Studio64k

	// NumTiers is how many there are.
	NumTiers
)

var tierNames = [NumTiers]string{"Catastrophic", "Degraded", "Good", "Studio32k", "Studio48k", "Studio64k"}

// String is the name used in directives ("weakest link: Degraded").
func (t Tier) String() string {
	if t >= NumTiers {
		return "Tier(" + strconv.Itoa(int(t)) + ")"
	}
	return tierNames[t]
}

// Profile is what a room at tier t is told to use (5.5).
func (t Tier) Profile() Profile {
	switch t {
	case Catastrophic:
		return ProfileCatastrophic
	case Degraded:
		return ProfileDegraded
	case Studio32k:
		return ProfileStudio32k
	case Studio48k:
		return ProfileStudio48k
	case Studio64k:
		return ProfileStudio64k
	default:
		return ProfileGood
	}
}

// ParseTier is the inverse of String; upper and lower case are the same to it,
// since people type tiers.
func ParseTier(name string) (Tier, error) {
	for i, n := range tierNames {
		if equalFold(n, name) {
			return Tier(i), nil
		}
	}
	return 0, fmt.Errorf("wire: no tier %.20q", name)
}

// equalFold compares ASCII names. strings.EqualFold would let the Kelvin sign
// pass for a k.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
