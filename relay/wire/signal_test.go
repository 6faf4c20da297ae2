package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

const profileJSON = `{"codec":"Opus24k","fec_ratio":0.2,"frame_duration_ms":20,"frames_per_block":5}`

// numbers is a JSON array of n bytes, all values different.
func numbers(n int) string {
	var s []string
	for i := range n {
		s = append(s, strconv.Itoa((i*7+200)%256))
	}
	return "[" + strings.Join(s, ",") + "]"
}

// fill replaces the abbreviations B32, BYTES64 and PROFILE.
func fill(s string) string {
	return strings.NewReplacer("B32", numbers(32), "BYTES64", numbers(64), "PROFILE", profileJSON).Replace(s)
}

// literals is the JSON of every variant in 3.4, with its options set and unset.
func literals(t testing.TB) []string {
	t.Helper()
	b, err := os.ReadFile("testdata/signals.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(fill(string(b))), "\n")
	offer, answer := callLiterals(t)
	return append(lines, offer, answer)
}

func TestLiteralsRoundTrip(t *testing.T) {
	seen := map[string]bool{}
	for _, lit := range literals(t) {
		s, err := Unmarshal([]byte(lit))
		if err != nil {
			t.Errorf("Unmarshal(%s): %v", lit, err)
			continue
		}
		seen[s.Variant()] = true
		got, err := Marshal(s)
		if err != nil || string(got) != lit {
			t.Errorf("Marshal = %s, %v\nwant      %s", got, err, lit)
		}
		if again, err := Unmarshal(got); err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("second Unmarshal = %+v, %v, want %+v", again, err, s)
		}
		if name := reflect.TypeOf(s).Elem().Name(); name != s.Variant() {
			t.Errorf("type %s has the variant %s", name, s.Variant())
		}
		var buf bytes.Buffer // white space is no matter
		if err := json.Indent(&buf, []byte(lit), " ", "\t"); err != nil {
			t.Fatal(err)
		}
		buf.WriteString("\r\n")
		if again, err := Unmarshal(buf.Bytes()); err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("indented = %+v, %v, want %+v", again, err, s)
		}
	}
	if len(variants) != 36 || len(seen) != 36 {
		t.Errorf("%d variants, %d of them tested; want 36", len(variants), len(seen))
	}
}

// No message is accepted when any required key is missing or any key at all
// comes twice, and none is refused for a key the future may bring.
func TestEveryKeyOfEveryVariant(t *testing.T) {
	for name, mk := range variants {
		fs := mk().fields()
		var lit string
		for _, l := range literals(t) {
			if strings.HasPrefix(l, `{"`+name+`":`) && len(l) > len(lit) {
				lit = l
			}
		}
		if fs == nil {
			continue
		}
		var outer map[string]map[string]json.RawMessage
		if err := json.Unmarshal([]byte(lit), &outer); err != nil {
			t.Fatal(err)
		}
		obj := outer[name]
		build := func(skip, extra string) []byte {
			parts := []string{`"future":{"a":[1,{"b":null}],"a":"twice is no matter here"}`, `"future":-1.5e3`}
			for k, v := range obj {
				if k != skip {
					parts = append(parts, strconv.Quote(k)+":"+string(v))
				}
			}
			if extra != "" {
				parts = append(parts, strconv.Quote(extra)+":"+string(obj[extra]))
			}
			return []byte(`{"` + name + `":{` + strings.Join(parts, ",") + `}}`)
		}
		if s, err := Unmarshal(build("", "")); err != nil || s.Variant() != name {
			t.Errorf("%s with unknown keys: %v", name, err)
		}
		for _, f := range fs {
			if f.key == "" {
				continue // the place for unknown members
			}
			if _, ok := obj[f.key]; ok {
				if _, err := Unmarshal(build("", f.key)); !errors.Is(err, ErrField) {
					t.Errorf("%s with %s twice: %v", name, f.key, err)
				}
			}
			_, err := Unmarshal(build(f.key, ""))
			if f.when == required && !errors.Is(err, ErrField) || f.when != required && err != nil {
				t.Errorf("%s without %s: %v", name, f.key, err)
			}
			withNull := bytes.Replace(build(f.key, ""), []byte(`{"future"`), []byte(`{"`+f.key+`":null,"future"`), 1)
			_, err = Unmarshal(withNull)
			nullable := f.when == optNull || f.when == optSkip
			if nullable != (err == nil) || !nullable && !errors.Is(err, ErrField) {
				t.Errorf("%s with %s null: %v", name, f.key, err)
			}
		}
	}
}

// badSignals is what Unmarshal refuses, and as what.
var badSignals = map[string]error{
	``: ErrSyntax, ` `: ErrSyntax, `{`: ErrSyntax, `{}`: ErrSyntax, `}`: ErrSyntax, `"Reflect`: ErrSyntax,
	`"Reflect" x`: ErrSyntax, `"Reflect""Reflect"`: ErrSyntax, `{"Reflect":null`: ErrSyntax,
	`null`: ErrField, `1`: ErrField, `[]`: ErrField, `true`: ErrField,
	`"Nope"`: ErrUnknownVariant, `"reflect"`: ErrUnknownVariant, `""`: ErrUnknownVariant,
	`{"Nope":{"a":[1,2,{"b":"\u00e9"}]}}`: ErrUnknownVariant, `{"ping":{"timestamp_ms":1}}`: ErrUnknownVariant,
	`{"Nope":{"a":}}`: ErrSyntax, `{"Nope":1,"Ping":{"timestamp_ms":1}}`: ErrField, `{"Nope":` + deep: ErrSyntax,
	`"Ping"`: ErrField, `{"Ping":null}`: ErrField, `{"Ping":[1]}`: ErrField, `{"Ping":{}}`: ErrField,
	`{"Reflect":{}}`: ErrField, `{"Reflect":[]}`: ErrField,
	`{"Ping":{"timestamp_ms":1},"Pong":{"timestamp_ms":1}}`:                    ErrField,
	`{"Ping":{"timestamp_ms":1},"Ping":{"timestamp_ms":1}}`:                    ErrField,
	`{"Ping":{"timestamp_ms":1}`:                                               ErrSyntax,
	`{"Ping":{"timestamp_ms":1,}}`:                                             ErrSyntax,
	`{"Ping":{"timestamp_ms" 1}}`:                                              ErrSyntax,
	`{"Ping":{timestamp_ms:1}}`:                                                ErrSyntax,
	`{"Ping":{"timestamp_ms":01}}`:                                             ErrSyntax,
	`{"Ping":{"timestamp_ms":+1}}`:                                             ErrSyntax,
	`{"Ping":{"timestamp_ms":.5}}`:                                             ErrSyntax,
	`{"Ping":{"timestamp_ms":1.}}`:                                             ErrSyntax,
	`{"Ping":{"timestamp_ms":1e}}`:                                             ErrSyntax,
	`{"Ping":{"timestamp_ms":-}}`:                                              ErrSyntax,
	`{"Ping":{"timestamp_ms":tru}}`:                                            ErrField,
	`{"Ping":{"timestamp_ms":1.0}}`:                                            ErrField,
	`{"Ping":{"timestamp_ms":1e3}}`:                                            ErrField,
	`{"Ping":{"timestamp_ms":-1}}`:                                             ErrField,
	`{"Ping":{"timestamp_ms":-0}}`:                                             ErrField,
	`{"Ping":{"timestamp_ms":"1"}}`:                                            ErrField,
	`{"Ping":{"timestamp_ms":18446744073709551616}}`:                           ErrField,
	`{"Ping":{"timestamp_ms":1,"x":` + deep + `}}`:                             ErrSyntax,
	`{"RouteQuery":{"fingerprint":"","ttl":256}}`:                              ErrField,
	`{"RoomUpdate":{"count":4294967296,"participants":[]}}`:                    ErrField,
	`{"RoomUpdate":{"count":1,"participants":{}}}`:                             ErrField,
	`{"RoomUpdate":{"count":1,"participants":[1]}}`:                            ErrField,
	`{"RoomUpdate":{"count":1,"participants":[{}]}}`:                           ErrField,
	`{"RoomUpdate":{"count":1,"participants":[}}`:                              ErrSyntax,
	`{"Hangup":{"reason":"normal"}}`:                                           ErrField,
	`{"Hangup":{"reason":{"Normal":null}}}`:                                    ErrField,
	`{"Hangup":{"reason":"Normal","call_id":5}}`:                               ErrField,
	`{"AuthToken":{"token":"` + "\xff" + `"}}`:                                 ErrSyntax,
	`{"AuthToken":{"token":"\n` + "\xff" + `"}}`:                               ErrSyntax,
	`{"AuthToken":{"token":"` + "\n" + `"}}`:                                   ErrSyntax,
	`{"AuthToken":{"token":"\t` + "\n" + `"}}`:                                 ErrSyntax,
	`{"AuthToken":{"token":"\x"}}`:                                             ErrSyntax,
	`{"AuthToken":{"token":"\`:                                                 ErrSyntax,
	`{"AuthToken":{"token":"\u12`:                                              ErrSyntax,
	`{"AuthToken":{"token":"\u00g0"}}`:                                         ErrSyntax,
	`{"AuthToken":{"token":"\ud800"}}`:                                         ErrSyntax,
	`{"AuthToken":{"token":"\udc00\ud800"}}`:                                   ErrSyntax,
	`{"AuthToken":{"token":"\ud800\u0041"}}`:                                   ErrSyntax,
	fill(`{"Rekey":{"new_ephemeral_pub":` + numbers(31) + `,"signature":[]}}`): ErrField,
	fill(`{"Rekey":{"new_ephemeral_pub":` + numbers(33) + `,"signature":[]}}`): ErrField,
	fill(`{"Rekey":{"new_ephemeral_pub":B32,"signature":[256]}}`):              ErrField,
	fill(`{"Rekey":{"new_ephemeral_pub":B32,"signature":[-1]}}`):               ErrField,
	fill(`{"Rekey":{"new_ephemeral_pub":B32,"signature":[1.5]}}`):              ErrField,
	fill(`{"Rekey":{"new_ephemeral_pub":B32,"signature":"AAAA"}}`):             ErrField,
	fill(`{"Rekey":{"new_ephemeral_pub":"AAAA","signature":[]}}`):              ErrField,
	`{"QualityDirective":{"recommended_profile":{"codec":"Opus9k","fec_ratio":0.5,"frame_duration_ms":40,"frames_per_block":10}}}`:  ErrField,
	`{"QualityDirective":{"recommended_profile":{"codec":"Opus6k","fec_ratio":"1","frame_duration_ms":40,"frames_per_block":10}}}`:  ErrField,
	`{"QualityDirective":{"recommended_profile":{"codec":"Opus6k","fec_ratio":1e39,"frame_duration_ms":40,"frames_per_block":10}}}`: ErrField,
	`{"QualityDirective":{"recommended_profile":{"codec":"Opus6k","fec_ratio":1,"frame_duration_ms":256,"frames_per_block":10}}}`:   ErrField,
	`{"FederatedSignalForward":{"inner":"Nope","origin_relay_fp":""}}`:                                                              ErrUnknownVariant,
	`{"FederatedSignalForward":{"inner":null,"origin_relay_fp":""}}`:                                                                ErrField,
	forward(maxForward + 1): ErrField,
	forward(10000):          ErrField,
}

const deep = "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["

// forward is a signal wrapped n times.
func forward(n int) string {
	return strings.Repeat(`{"FederatedSignalForward":{"inner":`, n) + `"Hold"` + strings.Repeat(`,"origin_relay_fp":""}}`, n)
}

func TestUnmarshalRejects(t *testing.T) {
	for in, want := range badSignals {
		s, err := Unmarshal([]byte(in))
		if !errors.Is(err, want) || s != nil {
			t.Errorf("Unmarshal(%.80q) = %v, %v; want %v", in, s, err, want)
		}
	}
	if _, err := Unmarshal([]byte(forward(maxForward))); err != nil {
		t.Errorf("%d forwards: %v", maxForward, err)
	}
}

func TestUnmarshalTolerates(t *testing.T) {
	for in, want := range map[string]Signal{
		`{"Reflect":null}`:          &Reflect{},
		` { "Hold" : null } `:       &Hold{},
		`"Refl\u0065ct"`:            &Reflect{},
		`{"LossRecoveryUpdate":{}}`: &LossRecoveryUpdate{},
		`{"GlobalRoomActive":{"participants":[{"fingerprint":"a"}],"room":"r"}}`:                                  &GlobalRoomActive{Room: "r", Participants: []RoomParticipant{{Fingerprint: "a"}}},
		`{"AuthToken":{"token":"\ud83d\ude00\/\b\f\n\r\t\"\\\u00E9"}}`:                                            &AuthToken{Token: "😀/\b\f\n\r\t\"\\é"},
		`{"CallSetup":{"peer_local_addrs":[],"room":"r","call_id":"c","relay_addr":"a","peer_direct_addr":null}}`: &CallSetup{CallID: "c", Room: "r", RelayAddr: "a"},
		`{"QualityDirective":{"recommended_profile":{"codec":"Opus24k","fec_ratio":1,"frame_duration_ms":20,"frames_per_block":5}}}`: &QualityDirective{
			RecommendedProfile: Profile{Opus24k, 1, 20, 5},
		},
	} {
		if s, err := Unmarshal([]byte(in)); err != nil || !reflect.DeepEqual(s, want) {
			t.Errorf("Unmarshal(%s) = %+v, %v, want %+v", in, s, err, want)
		}
	}
}

// What we were given is not kept: a reader may reuse its buffer.
func TestUnmarshalDoesNotAlias(t *testing.T) {
	b := []byte(`{"AuthToken":{"token":"abc"}}`)
	s, err := Unmarshal(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if got := s.(*AuthToken).Token; got != "abc" {
		t.Errorf("token is now %q", got)
	}
}

func TestMarshalRejects(t *testing.T) {
	var nested Signal = &Hold{}
	for range maxForward + 1 {
		nested = &FederatedSignalForward{Inner: nested}
	}
	loop := &FederatedSignalForward{}
	loop.Inner = loop
	for name, s := range map[string]Signal{
		"nil": nil, "nil inside": &FederatedSignalForward{}, "nested": nested, "loop": loop,
		"reason": &Hangup{Reason: 9}, "mode": &DirectCallAnswer{AcceptMode: 3},
		"codec": &CallAnswer{ChosenProfile: Profile{Codec: 9}},
		"NaN":   &CallAnswer{ChosenProfile: Profile{FECRatio: float32(math.NaN())}},
		"Inf":   &CallOffer{SupportedProfiles: []Profile{{FECRatio: float32(math.Inf(-1))}}},
	} {
		if b, err := Marshal(s); !errors.Is(err, ErrEncode) || b != nil {
			t.Errorf("%s: %s, %v", name, b, err)
		}
	}
	if HangupReason(9).String() != "invalid(9)" || AcceptTrusted.String() != "AcceptTrusted" || HangupError.String() != "Error" {
		t.Error("names of enums")
	}
}

func TestFloats(t *testing.T) {
	for v, want := range map[float32]string{
		0: "0.0", 1: "1.0", 0.2: "0.2", 0.1: "0.1", 0.5: "0.5", -2: "-2.0", 100: "100.0", 0.3: "0.3",
		1e12: "1000000000000.0", 1e13: "1e13", 1.5e20: "1.5e20", 0.00001: "0.00001", 1.5e-7: "1.5e-7",
		math.MaxFloat32: "3.4028235e38", math.SmallestNonzeroFloat32: "1e-45", 1.0 / 3: "0.33333334",
	} {
		got, err := appendFloat(nil, v)
		if err != nil || string(got) != want {
			t.Errorf("appendFloat(%g) = %s, %v, want %s", v, got, err, want)
		}
		if back, err := (&decoder{buf: got}).float(); err != nil || back != v {
			t.Errorf("float(%s) = %v, %v", got, back, err)
		}
	}
}

func TestMarshalRepairsStrings(t *testing.T) {
	b, err := Marshal(&AuthToken{Token: "a\xffb\u2028\x7f"})
	if err != nil || string(b) != "{\"AuthToken\":{\"token\":\"a\uFFFDb\u2028\x7f\"}}" {
		t.Errorf("Marshal = %q, %v", b, err)
	}
}
