package snapshot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"signalbox/dht/table"
)

var (
	self    = id(9999)
	savedAt = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
)

func id(n int) (out table.ID) {
	copy(out[:], fmt.Sprintf("peer %d", n))
	return out
}

func peers(n int) []Peer {
	out := make([]Peer, n)
	for i := range out {
		a := netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 1})
		out[i] = Peer{id(i), []table.Addr{
			{AddrPort: netip.AddrPortFrom(a, 4433), Type: table.Direct},
			{AddrPort: netip.MustParseAddrPort("[2001:db8::1]:4433"), Type: table.Unverified},
		}}
	}
	return out
}

func routing(t testing.TB, n int) []byte {
	t.Helper()
	b, _, err := EncodeRouting(self, savedAt, peers(n))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func reason(err error) Reason {
	if d, ok := errors.AsType[*Discard](err); ok {
		return d.Reason
	}
	return ""
}

func TestRoutingRoundTrip(t *testing.T) {
	b := routing(t, 300)
	got, age, err := DecodeRouting(b, self, savedAt.Add(time.Hour))
	if err != nil || age != time.Hour || len(got) != 300 {
		t.Fatal(len(got), age, err)
	}
	for i, p := range peers(300) {
		if got[i].ID != p.ID || fmt.Sprint(got[i].Addrs) != fmt.Sprint(p.Addrs) {
			t.Fatalf("%d: %v, want %v", i, got[i], p)
		}
	}
	if bytes.Contains(b, []byte("score")) || bytes.Contains(b, []byte("trust")) {
		t.Error("there is trust in the routing snapshot")
	}
}

func TestCaps(t *testing.T) {
	many := peers(3 * MaxPeers)
	long := many[0].Addrs[0]
	for i := range many {
		for k := range 20 {
			long.AddrPort = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 8), byte(i), 7, 7, 7, 7, 7, 7, 7, 7, 7, byte(k)}), 65535)
			many[i].Addrs = append(many[i].Addrs, long)
		}
	}
	b, n, err := EncodeRouting(self, savedAt, many)
	if err != nil || len(b) > MaxFile || n < MaxPeers/2 || n > MaxPeers {
		t.Fatal(len(b), n, err)
	}
	got, _, err := DecodeRouting(b, self, savedAt)
	if err != nil || len(got) != n || len(got[0].Addrs) != MaxAddrs {
		t.Fatal(len(got), err)
	}
	// A writer that keeps no caps, with a checksum that is right.
	var wide []peerJSON
	for i := range 4000 {
		wide = append(wide, peerJSON{id(i).String(), []string{"direct 20.0.0.1:1"}})
	}
	wide[0].Addrs = strings.Split(strings.Repeat("lan 10.0.0.1:1,", 30)+"lan 10.0.0.1:1", ",")
	b = sealed(t, kindRouting, self, savedAt, wide)
	if len(b) > MaxFile {
		t.Fatal("the test's file is too large", len(b))
	}
	got, _, err = DecodeRouting(b, self, savedAt)
	if err != nil || len(got) != MaxPeers || len(got[0].Addrs) != MaxAddrs {
		t.Error(len(got), err)
	}
	scores := make([]Score, 3*MaxScores)
	for i := range scores {
		scores[i] = Score{id(i), 0.123456789}
	}
	if b, n, err = EncodeTrust(self, savedAt, scores); err != nil || n != MaxScores || len(b) > MaxFile {
		t.Error(len(b), n, err)
	}
}

// sealed makes a file of any contents with the checksum that belongs to them.
func sealed[T any](t testing.TB, kind string, owner table.ID, at time.Time, list []T) []byte {
	t.Helper()
	f := file[T]{Schema: Schema, Kind: kind, Owner: owner.String(), SavedAt: at, Peers: list}
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	f.Sum = sum(b)
	if b, err = json.Marshal(f); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReasons(t *testing.T) {
	good := routing(t, 3)
	trust, _, err := EncodeTrust(self, savedAt, []Score{{id(1), 0.8}})
	if err != nil {
		t.Fatal(err)
	}
	at := func(d time.Duration) time.Time { return savedAt.Add(d) }
	for name, c := range map[string]struct {
		data []byte
		now  time.Time
		want Reason
	}{
		"good":                {good, at(0), ""},
		"as old as may be":    {good, at(MaxAge), ""},
		"as new as may be":    {good, at(-MaxAhead), ""},
		"too old":             {good, at(MaxAge + time.Second), TooOld},
		"ten years old":       {good, at(10 * 365 * 24 * time.Hour), TooOld},
		"future":              {good, at(-MaxAhead - time.Second), Future},
		"ten years ahead":     {good, at(-10 * 365 * 24 * time.Hour), Future},
		"empty":               {nil, at(0), Damaged},
		"not an object":       {[]byte("7"), at(0), Damaged},
		"trailing":            {append(bytes.Clone(good), '7'), at(0), Damaged},
		"deep":                {[]byte(strings.Repeat("[", 1<<18)), at(0), Damaged},
		"too large":           {make([]byte, MaxFile+1), at(0), TooLarge},
		"new schema":          {bytes.Replace(good, []byte(`"schema_version":1`), []byte(`"schema_version":2`), 1), at(0), BadSchema},
		"an array of schema":  {[]byte(`{"schema_version":2,"peers":"elsewhere"}`), at(0), BadSchema},
		"foreign":             {sealed(t, kindRouting, id(7), savedAt, []peerJSON{}), at(0), Foreign},
		"a changed owner":     {bytes.Replace(good, []byte(self.String()), []byte(id(7).String()), 1), at(0), Damaged},
		"a changed address":   {bytes.Replace(good, []byte("20.0.0.1:4433"), []byte("20.0.0.2:4433"), 1), at(0), Damaged},
		"a changed time":      {bytes.Replace(good, []byte("2026-05-06"), []byte("2026-05-07"), 1), at(0), Damaged},
		"the other file":      {trust, at(0), Damaged},
		"an id too short":     {sealed(t, kindRouting, self, savedAt, []peerJSON{{"12", nil}}), at(0), Damaged},
		"a zero id":           {sealed(t, kindRouting, self, savedAt, []peerJSON{{table.ID{}.String(), nil}}), at(0), Damaged},
		"not an address":      {sealed(t, kindRouting, self, savedAt, []peerJSON{{id(1).String(), []string{"direct host:1"}}}), at(0), Damaged},
		"not an address type": {sealed(t, kindRouting, self, savedAt, []peerJSON{{id(1).String(), []string{"best 1.2.3.4:1"}}}), at(0), Damaged},
	} {
		t.Run(name, func(t *testing.T) {
			got, age, err := DecodeRouting(c.data, self, c.now)
			if reason(err) != c.want || (err == nil) != (c.want == "") || age < 0 {
				t.Fatalf("%d peers, age %v, %v; want %q", len(got), age, err, c.want)
			}
		})
	}
}

func TestWhatIsNoCandidate(t *testing.T) {
	b := sealed(t, kindRouting, self, savedAt, []peerJSON{
		{self.String(), []string{"direct 20.0.0.1:1"}},
		{id(1).String(), []string{"direct 0.0.0.0:1", "direct 20.0.0.1:0", "direct 224.0.0.1:5"}},
		{id(2).String(), []string{"direct [::ffff:20.0.0.2]:7"}},
		{id(2).String(), []string{"direct 20.0.0.3:7"}},
	})
	got, _, err := DecodeRouting(b, self, savedAt)
	if err != nil || len(got) != 1 || got[0].ID != id(2) || got[0].Addrs[0].AddrPort.String() != "20.0.0.2:7" {
		t.Error(got, err)
	}
}

func TestTrustRoundTrip(t *testing.T) {
	in := []Score{{id(1), 0.75}, {id(2), math.NaN()}, {id(3), math.Inf(1)}, {id(4), 7}, {id(5), -1}, {self, 1}, {id(1), 0.1}}
	b, n, err := EncodeTrust(self, savedAt, in)
	if err != nil || n != len(in) {
		t.Fatal(n, err)
	}
	got, age, err := DecodeTrust(b, self, savedAt.Add(-time.Minute)) // our clock was set back a little
	if err != nil || age != 0 {
		t.Fatal(age, err)
	}
	want := []Score{{id(1), 0.75}, {id(2), 0.5}, {id(3), 0.5}, {id(4), 1}, {id(5), 0}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	wild := sealed(t, kindTrust, self, savedAt, []scoreJSON{{id(1).String(), 1e300}, {id(2).String(), -1e300}})
	if got, _, err = DecodeTrust(wild, self, savedAt); err != nil || got[0].Score != 1 || got[1].Score != 0 {
		t.Error(got, err)
	}
	if _, _, err = DecodeTrust(b, self, savedAt.Add(MaxAge+time.Hour)); reason(err) != TooOld {
		t.Error(err)
	}
	if _, _, err := EncodeTrust(self, time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC), in); err == nil {
		t.Error("a year that no file can hold was written")
	}
}

// Every truncation and every flipped bit of a file is found: none is a
// candidate nobody ever was.
func TestEveryTruncationAndBitFlip(t *testing.T) {
	good := routing(t, 3)
	want, _, err := DecodeRouting(good, self, savedAt)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		if got, _, err := DecodeRouting(good[:i], self, savedAt); err == nil {
			t.Fatalf("cut at %d: %v", i, got)
		}
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			// The case of a key's letter carries nothing.
			if got, _, err := DecodeRouting(b, self, savedAt); err == nil && fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("byte %d bit %d: %v", i, bit, got)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(routing(f, 2))
	b, _, err := EncodeTrust(self, savedAt, []Score{{id(1), 0.9}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"schema_version":1,"peers":[null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		// As they are, and with the checksum put right, so that the fuzzer gets
		// past it.
		var r file[peerJSON]
		var s file[scoreJSON]
		if json.Unmarshal(data, &r) == nil {
			checkRouting(t, sealed(t, kindRouting, self, savedAt, r.Peers))
		}
		if json.Unmarshal(data, &s) == nil {
			checkTrust(t, sealed(t, kindTrust, self, savedAt, s.Peers))
		}
		checkRouting(t, data)
		checkTrust(t, data)
	})
}

func checkRouting(t *testing.T, data []byte) {
	got, age, err := DecodeRouting(data, self, savedAt)
	if err != nil && (reason(err) == "" || got != nil) || age < 0 || len(got) > MaxPeers {
		t.Fatal(got, age, err)
	}
	for _, p := range got {
		if p.ID.IsZero() || p.ID == self || len(p.Addrs) == 0 || len(p.Addrs) > MaxAddrs {
			t.Fatal(p)
		}
		for _, a := range p.Addrs {
			if !table.Storable(a.AddrPort) || a.Type >= table.NumAddrTypes {
				t.Fatal(p)
			}
		}
	}
}

func checkTrust(t *testing.T, data []byte) {
	got, age, err := DecodeTrust(data, self, savedAt)
	if err != nil && (reason(err) == "" || got != nil) || age < 0 || len(got) > MaxScores {
		t.Fatal(got, age, err)
	}
	for _, s := range got {
		if !(s.Score >= 0 && s.Score <= 1) || s.ID == self {
			t.Fatal(s)
		}
	}
}
