package wire

import (
	"testing"
)

// TestUnknownFieldsTravelOn has messages of a newer client pass through, alone
// and between relays.
func TestUnknownFieldsTravelOn(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{
			"report", `{"MediaPathReport":{"new":{"a":[1,2.50,"x"]},"call_id":"c","direct_ok":true, "z" : null ,"race_winner":"Relay"}}`,
			`{"MediaPathReport":{"call_id":"c","direct_ok":true,"race_winner":"Relay","new":{"a":[1,2.50,"x"]},"z" : null}}`,
		},
		{"hangup", `{"Hangup":{"reason":"Normal","":1}}`, `{"Hangup":{"reason":"Normal","":1}}`},
		{
			"answer between relays", `{"FederatedSignalForward":{"inner":{"DirectCallAnswer":{"call_id":"c","accept_mode":"Reject","why":"\u00e9"}},"origin_relay_fp":"aa"}}`,
			`{"FederatedSignalForward":{"inner":{"DirectCallAnswer":{"call_id":"c","accept_mode":"Reject","why":"\u00e9"}},"origin_relay_fp":"aa"}}`,
		},
		{"elsewhere they are left out", `{"Ping":{"timestamp_ms":1,"x":2}}`, `{"Ping":{"timestamp_ms":1}}`},
	} {
		s, err := Unmarshal([]byte(c.in))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		out, err := Marshal(s)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if string(out) != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, out, c.want)
		}
		again, err := Unmarshal(out)
		if err != nil {
			t.Fatalf("%s: read again: %v", c.name, err)
		}
		if twice, err := Marshal(again); err != nil || string(twice) != c.want {
			t.Errorf("%s: the second time %s, %v", c.name, twice, err)
		}
	}
}
