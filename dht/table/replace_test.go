package table

import (
	"net/netip"
	"reflect"
	"testing"
)

func addrOf(s string, typ AddrType) Addr { return Addr{netip.MustParseAddrPort(s), typ} }

// Spec dht 2.7, as far as it is ours: what a peer says of itself counts where
// it can be held to the limits it was admitted under.
func TestReplace(t *testing.T) {
	seen := addrOf("1.1.1.1:1", Unverified)
	for name, tt := range map[string]struct {
		claims []Addr
		want   Replaced
		list   []Addr
	}{
		"nothing":              {nil, ReplaceDone, []Addr{seen}},
		"another port":         {[]Addr{addrOf("1.1.1.1:7", Unverified)}, ReplaceDone, []Addr{addrOf("1.1.1.1:7", Unverified)}},
		"what it calls proven": {[]Addr{addrOf("1.1.1.1:7", Direct)}, ReplaceDone, []Addr{addrOf("1.1.1.1:7", Unverified)}},
		"another IP":           {[]Addr{addrOf("2.2.2.2:7", Direct)}, ReplaceForeign, []Addr{seen}},
		"mapped, the same IP":  {[]Addr{addrOf("[::ffff:1.1.1.1]:7", Unverified)}, ReplaceDone, []Addr{addrOf("1.1.1.1:7", Unverified)}},
		"the other family": {
			[]Addr{addrOf("[2001:db8::1]:7", Unverified)},
			ReplaceDone,
			[]Addr{addrOf("[2001:db8::1]:7", Unverified), seen},
		},
		"a relay":       {[]Addr{addrOf("1.1.1.1:7", Relay)}, ReplaceUnusable, []Addr{seen}},
		"loopback":      {[]Addr{addrOf("127.0.0.1:7", Direct)}, ReplaceUnusable, []Addr{seen}},
		"unspecified":   {[]Addr{addrOf("0.0.0.0:7", Direct)}, ReplaceUnusable, []Addr{seen}},
		"a LAN's":       {[]Addr{addrOf("10.0.0.1:7", Lan)}, ReplaceUnusable, []Addr{seen}},
		"good and bad":  {[]Addr{addrOf("127.0.0.1:7", Direct), addrOf("1.1.1.1:7", Direct)}, ReplaceDone, []Addr{addrOf("1.1.1.1:7", Unverified)}},
		"twelve of one": {[]Addr{seen, seen, seen, seen, seen, seen, seen, seen, seen, seen, seen, seen}, ReplaceDone, []Addr{seen}},
	} {
		t.Run(name, func(t *testing.T) {
			tab, err := New(Config{Self: ID{}})
			if err != nil {
				t.Fatal(err)
			}
			id := ID{0x80}
			tab.Add(0, id, []Addr{seen}, Trust{})
			if got := tab.Replace(id, seen, tt.claims, 1); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
			if got := tab.Get(id).Addrs(); !reflect.DeepEqual(got, tt.list) {
				t.Errorf("%v, want %v", got, tt.list)
			}
			// The port of the next packet undoes nothing, and costs nothing.
			if how := tab.Touch(id, seen.AddrPort, Unverified, 2); tt.want == ReplaceDone && len(tt.claims) > 0 && how != Fast {
				t.Errorf("touched %d", how)
			}
			if got := tab.Get(id).Addrs(); !reflect.DeepEqual(got, tt.list) {
				t.Errorf("after a touch %v, want %v", got, tt.list)
			}
		})
	}
	tab, err := New(Config{Self: ID{}})
	if err != nil {
		t.Fatal(err)
	}
	if got := tab.Replace(ID{0x80}, seen, nil, 1); got != ReplaceMissing {
		t.Error(got)
	}
}

// A contact must not move, once in, to where it would not have been admitted:
// neither by a claim nor by coming from elsewhere and claiming that.
func TestReplaceKeepsTheLimits(t *testing.T) {
	tab, err := New(Config{Self: ID{}})
	if err != nil {
		t.Fatal(err)
	}
	six := "[2001:db8::1]:1"
	for i := range byte(DefaultMaxPerIP) {
		if !tab.Add(0, ID{0x80, i}, []Addr{addrOf(six, Unverified)}, Trust{}).Result.In() {
			t.Fatal("not admitted")
		}
	}
	id, seen := ID{0x80, 9}, addrOf("1.1.1.1:1", Unverified)
	tab.Add(0, id, []Addr{seen}, Trust{})
	if got := tab.Replace(id, seen, []Addr{addrOf(six, Unverified)}, 1); got != ReplaceDiversity {
		t.Error(got)
	}
	if got := tab.Replace(id, addrOf("[2001:db8::1]:9", Unverified), []Addr{addrOf("[2001:db8::1]:9", Unverified)}, 1); got != ReplaceDiversity {
		t.Error(got)
	}
	if got := tab.Get(id).Addrs(); len(got) != 1 || got[0] != seen {
		t.Error(got)
	}
	// What we have reached ourselves is not talked away.
	direct := addrOf("1.1.1.1:1", Direct)
	tab.Touch(id, direct.AddrPort, Direct, 2)
	tab.Replace(id, direct, []Addr{addrOf("1.1.1.1:66", Unverified)}, 3)
	if got := tab.Get(id).Addrs(); len(got) != 1 || got[0] != direct {
		t.Error(got)
	}
}

func TestDropRelay(t *testing.T) {
	tab, err := New(Config{Self: ID{}})
	if err != nil {
		t.Fatal(err)
	}
	id := ID{0x80}
	relay, own := addrOf("2.2.2.2:2", Relay), addrOf("1.1.1.1:1", Direct)
	tab.Add(0, id, []Addr{relay}, Trust{})
	tab.DropRelay(id)
	if got := tab.Get(id).Addrs(); len(got) != 1 || got[0] != relay {
		t.Error("a contact without address:", got)
	}
	tab.Touch(id, own.AddrPort, Direct, 1)
	tab.DropRelay(id)
	if got := tab.Get(id).Addrs(); len(got) != 1 || got[0] != own {
		t.Error(got)
	}
}

func TestEmbeddedAddressesNameNobody(t *testing.T) {
	for s, want := range map[string]bool{
		"64:ff9b::808:808": true, "64:ff9b::7f00:1": false, "2002:808:808::1": true, "2002:7f00:1::1": false, "::10.0.0.1": false,
		"2001:0:1:2:3:4:f7f7:f7f7": true, "2001:0:1:2:3:4:80ff:fffe": false, "2001:db8::1": true, "2001:db8::5efe:808:808": true,
		"2001:db8::5efe:c0a8:1": false, "::1": true, "fe80::1": true,
	} {
		if got := Storable(netip.AddrPortFrom(netip.MustParseAddr(s), 1)); got != want {
			t.Errorf("%s: %v", s, got)
		}
	}
}
