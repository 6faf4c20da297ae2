package engine_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/charmbracelet/x/exp/golden"

	"signalbox/engine/bench"
	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// transcript is what the two ends of calls hear, with what differs from run to
// run replaced by what it is.
type transcript struct {
	t     *testing.T
	lines strings.Builder
	names *strings.Replacer
}

var timestamps = regexp.MustCompile(`"(timestamp_ms|relay_build)":("[^"]*"|\d+)`)

func (x *transcript) note(who, what string) { fmt.Fprintf(&x.lines, "%-6s %s\n", who, what) }

// hears writes down the next signal of who, which must be of this kind.
func (x *transcript) hears(who string, p *bench.Phone, want string) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), patience)
	defer cancel()
	s, err := p.Next(ctx)
	must(x.t, err)
	b, err := wire.Marshal(s)
	must(x.t, err)
	if !strings.HasPrefix(string(b), `{"`+want+`"`) {
		x.t.Fatalf("%s hears %s instead of %s", who, b, want)
	}
	x.note(who, "<- "+timestamps.ReplaceAllString(x.names.Replace(string(b)), `"$1":…`))
}

// TestMessagesOfACallAcrossRelays holds against a golden file what both ends of
// three calls between two relays are told: one that is answered and hung up, one
// that is refused, one that its caller gives up (spec wzp 4.4, 5.12, 7.3 row 41).
func TestMessagesOfACallAcrossRelays(t *testing.T) {
	full, _ := edgesOf(2)
	nodes := meshed(t, 2, full, true)
	alice, bob := phone(t, nodes[0], someone("Alice")), phone(t, nodes[1], someone("Bob"))
	until(t, nodes[0], "the other's presence", func(s *view.Snapshot) bool { return s.Signal.PresentElsewhere == 1 })
	x := &transcript{t: t, names: strings.NewReplacer(
		alice.Fingerprint(), "ALICE", bob.Fingerprint(), "BOB", nodes[0].Info().Listen, "RELAY-A", nodes[1].Info().Listen, "RELAY-B",
	)}
	offer := func(id string) {
		t.Helper()
		x.note("Alice", "-> DirectCallOffer "+id)
		must(t, alice.Call(bob.Fingerprint(), id))
		x.hears("Alice", alice, "CallRinging")
		x.hears("Bob", bob, "DirectCallOffer")
	}
	offer("call-1")
	x.note("Bob", "-> DirectCallAnswer call-1 AcceptTrusted")
	must(t, bob.Answer("call-1", wire.AcceptTrusted))
	x.hears("Alice", alice, "DirectCallAnswer")
	x.hears("Alice", alice, "CallSetup")
	x.hears("Bob", bob, "CallSetup")
	x.note("Alice", "-> Hangup call-1")
	must(t, alice.HangUp("call-1"))
	x.hears("Bob", bob, "Hangup")

	offer("call-2")
	x.note("Bob", "-> DirectCallAnswer call-2 Reject")
	must(t, bob.Answer("call-2", wire.AcceptReject))
	x.hears("Alice", alice, "Hangup")

	offer("call-3")
	x.note("Alice", "-> Hangup call-3")
	must(t, alice.HangUp("call-3"))
	x.hears("Bob", bob, "Hangup")
	golden.RequireEqual(t, x.lines.String())
}
