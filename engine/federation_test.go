package engine_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signalbox/engine"
	"signalbox/engine/bench"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/quicnet"
	"signalbox/engine/state"
	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// site is a relay before it runs: who it will be, and where.
type site struct {
	seed string
	keys *state.Keys
	fp   string
	addr string
}

// sites makes n of them. The ports are free when this returns.
func sites(t *testing.T, n int) []site {
	t.Helper()
	out := make([]site, n)
	for i := range out {
		seed := sha256.Sum256(fmt.Appendf(nil, "%s %d", t.Name(), i))
		k, err := state.NewKeys(seed)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := k.TLSCertificate()
		if err != nil {
			t.Fatal(err)
		}
		pc, err := net.ListenPacket("udp", fmt.Sprintf("127.0.4.%d:0", i+1))
		if err != nil {
			t.Fatal(err)
		}
		out[i] = site{seed: hex.EncodeToString(seed[:]), keys: k, fp: state.TLSFingerprint(cert.Certificate[0]), addr: pc.LocalAddr().String()}
		if err := pc.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// open starts the site's node with the room general, after change.
func (s site) open(t *testing.T, change func(*config.Config)) *engine.Engine {
	t.Helper()
	return start(t, func(c *config.Config) {
		c.ListenAddr = s.addr
		c.GlobalRooms = []config.GlobalRoom{{Name: "general"}}
		if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.StateDir, "identity"), []byte(s.seed+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		change(c)
	})
}

func (s site) peer(label string) config.Peer {
	return config.Peer{URL: s.addr, Fingerprint: s.fp, Label: label}
}

// meshed starts nodes that know each other along the edges, each from both sides
// if mutual, else from the first one's only.
func meshed(t *testing.T, n int, edges [][2]int, mutual bool) []*engine.Engine {
	t.Helper()
	ss := sites(t, n)
	nodes := make([]*engine.Engine, n)
	for i, s := range ss {
		nodes[i] = s.open(t, func(c *config.Config) {
			for _, e := range edges {
				switch {
				case e[0] == i, mutual && e[1] == i:
					other := e[0] + e[1] - i
					c.Peers = append(c.Peers, ss[other].peer(fmt.Sprint("R", other)))
				case e[1] == i:
					c.Trusted = append(c.Trusted, config.Trusted{Fingerprint: ss[e[0]].fp, Label: fmt.Sprint("R", e[0])})
				}
			}
		})
	}
	for i, e := range nodes {
		until(t, e, fmt.Sprintf("the links of relay %d", i), func(s *view.Snapshot) bool {
			return !slices.ContainsFunc(s.Links, func(l view.Link) bool { return l.State != "up" || !l.Verified || l.Connections != 1 })
		})
	}
	return nodes
}

func edgesOf(n int) (full, chain [][2]int) {
	for i := range n {
		for k := range i {
			full = append(full, [2]int{i, k})
		}
		if i > 0 {
			chain = append(chain, [2]int{i - 1, i})
		}
	}
	return full, chain
}

// linked is a node's link by label.
func linked(s *view.Snapshot, label string) view.Link {
	for _, l := range s.Links {
		if l.Label == label {
			return l
		}
	}
	return view.Link{}
}

// TestFederatedMedia: two, three and four relays, as full meshes and as chains,
// exchange media exactly once, list each other's people with their relay, fall
// silent, and account for every copy.
func TestFederatedMedia(t *testing.T) {
	for n := 2; n <= 4; n++ {
		full, chain := edgesOf(n)
		for shape, edges := range map[string][][2]int{"full": full, "chain": chain} {
			t.Run(fmt.Sprintf("%d %s", n, shape), func(t *testing.T) {
				nodes := meshed(t, n, edges, n%2 == 0)
				cs := make([]*bench.Caller, n)
				for i, e := range nodes {
					got, _ := callers(t, e, []string{"general", "a47b63f7d5b511ba5bc4089a74446906"}[i%2], 1)
					cs[i] = got[0]
				}
				for i, e := range nodes {
					until(t, e, "everybody in the room", func(s *view.Snapshot) bool {
						return len(s.Rooms) == 1 && len(s.Rooms[0].Participants) == n && s.Rooms[0].Global && cs[i].RoomCount.Load() == uint32(n)
					})
				}
				talk(t, cs, 50)
				for i, c := range cs {
					until(t, nodes[i], "all packets", func(*view.Snapshot) bool { return c.Received.Load() >= uint64(50*(n-1)) })
				}
				for i, c := range cs {
					if got := c.Received.Load(); got != uint64(50*(n-1)) || c.Corrupt.Load() > 0 {
						t.Errorf("at relay %d %d packets arrived, %d of them not as sent; want %d", i, got, c.Corrupt.Load(), 50*(n-1))
					}
					s := until(t, nodes[i], "the account at rest", func(s *view.Snapshot) bool { return s.Ledger.Federation.Queued == 0 })
					closes(t, s)
				}
				quiet(t, nodes)
				var sent uint64
				for _, e := range nodes {
					n, _ := e.Announcements()
					sent += n
				}
				t.Logf("%d announcements for %d joins over %d links", sent, n, len(edges))
				if most := uint64(2 * len(edges) * n); sent > most || sent < uint64(2*len(edges)) { // joins that come together are told together
					t.Errorf("%d announcements for %d joins over %d links; want %d to %d", sent, n, len(edges), 2*len(edges), most)
				}
			})
		}
	}
}

// quiet wants no announcement after the last change: two looks at the counters,
// between which the nodes have published a second of snapshots.
func quiet(t *testing.T, nodes []*engine.Engine) {
	t.Helper()
	for i, e := range nodes {
		sent, _ := e.Announcements()
		from := e.Snapshot().Seq
		until(t, e, "four snapshots", func(s *view.Snapshot) bool { return s.Seq >= from+4 })
		if now, _ := e.Announcements(); now != sent {
			t.Errorf("relay %d has sent %d announcements although nothing changed", i, now-sent)
		}
	}
}

// TestWrongCertificate: a relay that shows another certificate than the pinned
// one is not linked, and the row says why.
func TestWrongCertificate(t *testing.T) {
	ss := sites(t, 2)
	ss[1].open(t, func(c *config.Config) { c.Trusted = []config.Trusted{{Fingerprint: ss[0].fp}} })
	a := ss[0].open(t, func(c *config.Config) {
		p := ss[1].peer("B")
		p.Fingerprint = strings.Repeat("ab:", 31) + "ab"
		c.Peers = []config.Peer{p}
	})
	s := until(t, a, "the refusal", func(s *view.Snapshot) bool { return linked(s, "B").LastError != "" })
	if l := linked(s, "B"); l.State != "down" || !strings.Contains(l.LastError, "certificate") {
		t.Errorf("%+v", l)
	}
}

// claim opens a link as a relay of another make would: no certificate unless
// one is given, and a hello that says who it is.
func claim(t *testing.T, to *engine.Engine, cl *quicnet.Client, dc quicnet.DialConfig, fp string) *quicnet.Conn {
	t.Helper()
	dc.Addr, dc.ALPN, dc.ServerName = netip.MustParseAddrPort(to.Info().Listen), quicnet.ALPNWZP, "_federation"
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := cl.DialConfig(ctx, dc)
	if err != nil {
		t.Fatal(err)
	}
	hello(t, c, fp)
	return c
}

func hello(t *testing.T, c *quicnet.Conn, fp string) {
	t.Helper()
	st, err := c.OpenStream()
	if err == nil {
		st.CancelRead(0)
		err = errors.Join(wire.WriteFrame(st, &wire.FederationHello{TLSFingerprint: fp}), st.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestWhoComesIn: a relay that is not known, claims a name, shares an address
// with one that is known or shows another's certificate is refused, with the
// line that would let it in; unproven = true lets it in, shown for what it is.
func TestWhoComesIn(t *testing.T) {
	ss := sites(t, 4)
	cl, err := quicnet.NewClient(quicnet.ClientConfig{LocalAddr: netip.MustParseAddr("127.0.4.2")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	e := ss[0].open(t, func(c *config.Config) {
		c.Peers = []config.Peer{ss[1].peer("addressed")}
		c.Trusted = []config.Trusted{{Fingerprint: ss[2].fp, Label: "named"}, {Fingerprint: ss[3].fp, Label: "indulged", Unproven: true}}
	})
	cert := func(i int) quicnet.DialConfig {
		c, err := ss[i].keys.TLSCertificate()
		if err != nil {
			t.Fatal(err)
		}
		return quicnet.DialConfig{Cert: c}
	}
	stranger := strings.Repeat("cd:", 31) + "cd"
	for _, c := range []struct {
		name, fp, reason, line string
		dc                     quicnet.DialConfig
	}{
		{"unknown", stranger, "not in [[peers]]", "[[trusted]]\nfingerprint = \"" + stranger + "\"\nunproven = true", quicnet.DialConfig{}},
		{"a claimed name", ss[2].fp, "cannot prove", `unproven = true`, quicnet.DialConfig{}},
		{"a shared address", ss[1].fp, "cannot prove", `unproven = true`, quicnet.DialConfig{}},
		{"another's certificate", ss[2].fp, "certificate says", "", cert(3)},
		{"no fingerprint", "xyz", "no fingerprint", "", quicnet.DialConfig{}},
	} {
		conn := claim(t, e, cl, c.dc, c.fp)
		<-conn.Context().Done()
		s := until(t, e, c.name, func(s *view.Snapshot) bool {
			return slices.ContainsFunc(s.Refusals, func(r view.Refusal) bool {
				return r.Fingerprint == c.fp && strings.Contains(r.Reason, c.reason) && strings.Contains(r.Line, c.line)
			})
		})
		for _, l := range s.Links {
			if l.State == "up" {
				t.Errorf("%s: %+v", c.name, l)
			}
		}
	}
	claim(t, e, cl, cert(2), ss[2].fp)
	until(t, e, "a relay that proves itself", func(s *view.Snapshot) bool {
		l := linked(s, "named")
		return l.State == "up" && l.Verified
	})
	claim(t, e, cl, quicnet.DialConfig{}, ss[3].fp)
	s := until(t, e, "an unproven relay", func(s *view.Snapshot) bool { return linked(s, "indulged").State == "up" })
	if linked(s, "indulged").Verified {
		t.Error("shown as proved")
	}
	until(t, e, "a verdict that names it", func(s *view.Snapshot) bool {
		return slices.ContainsFunc(s.Node.Health.Causes, func(c view.Cause) bool { return c.Subject == "indulged" && c.Pane == "links" })
	})
}

// TestDialBack: a relay of another make, which shows no certificate, is proved
// by dialling back to the address and port it comes from.
func TestDialBack(t *testing.T) {
	ss := sites(t, 2)
	cert, err := ss[1].keys.TLSCertificate()
	if err != nil {
		t.Fatal(err)
	}
	dht, err := ss[1].keys.DHTCertificate()
	if err != nil {
		t.Fatal(err)
	}
	other, err := quicnet.Listen(quicnet.Config{Addr: ss[1].addr, TLSCert: cert, DHTCert: dht})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- other.Run(ctx, func(c *quicnet.Conn) { // as the original: it never says who it is
			<-c.Context().Done()
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	e := ss[0].open(t, func(c *config.Config) { c.Peers = []config.Peer{ss[1].peer("rust")} })
	c, err := other.Dial(ctx, quicnet.DialConfig{Addr: netip.MustParseAddrPort(ss[0].addr), ALPN: quicnet.ALPNWZP, ServerName: "_federation"})
	if err != nil {
		t.Fatal(err)
	}
	hello(t, c, ss[1].fp)
	until(t, e, "its connection, proved", func(s *view.Snapshot) bool {
		l := linked(s, "rust")
		return l.State == "up" && l.Verified && (l.Connections == 2 || l.Direction == "inbound") && !l.Signalbox
	})
}

// TestLinkCommands: mute, unmute and reconnect do what their plans say, to a
// link named by its label.
func TestLinkCommands(t *testing.T) {
	nodes := meshed(t, 2, [][2]int{{0, 1}}, false)
	a := nodes[0].Seat("test", control.Operator)
	do := func(k control.Kind, target string) control.Result {
		r, err := a.Do(t.Context(), control.Command{Kind: k, Target: target})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := do(control.LinkMute, "nobody"); r.Code != control.NotFound {
		t.Errorf("%+v", r)
	}
	ca, _ := callers(t, nodes[0], "general", 1)
	cb, _ := callers(t, nodes[1], "general", 1)
	until(t, nodes[1], "both", func(*view.Snapshot) bool { return ca[0].RoomCount.Load() == 2 && cb[0].RoomCount.Load() == 2 })
	if r := do(control.LinkMute, "R1"); !r.OK || r.Undo == "" {
		t.Fatalf("%+v", r)
	}
	talk(t, cb, 20)
	s := until(t, nodes[0], "the muted packets", func(s *view.Snapshot) bool { return linked(s, "R1").Dropped["muted"] == 20 })
	if linked(s, "R1").State != "muted" || ca[0].Received.Load() != 0 {
		t.Errorf("%+v, %d arrived", linked(s, "R1"), ca[0].Received.Load())
	}
	if r := do(control.LinkUnmute, "R1"); !r.OK {
		t.Fatalf("%+v", r)
	}
	since := linked(nodes[0].Snapshot(), "R1").Since
	if r := do(control.LinkReconnect, "R1"); !r.OK {
		t.Fatalf("%+v", r)
	}
	until(t, nodes[0], "a new link", func(s *view.Snapshot) bool {
		l := linked(s, "R1")
		return l.State == "up" && l.Since.After(since.Add(time.Millisecond)) && len(l.Rooms) == 1
	})
	until(t, nodes[0], "the room again", func(*view.Snapshot) bool { return ca[0].RoomCount.Load() == 2 && cb[0].RoomCount.Load() == 2 })
	talk(t, cb, 20)
	until(t, nodes[0], "media after that", func(*view.Snapshot) bool { return ca[0].Received.Load() == 20 })
}

// TestBlackholedPeer: a peer whose packets are lost without a word is shown
// down within ten seconds, its people leave the list, the others do not notice,
// and it comes back.
func TestBlackholedPeer(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	full, _ := edgesOf(3)
	nodes := meshed(t, 3, full, true)
	cs := make([]*bench.Caller, 3)
	for i, e := range nodes {
		got, _ := callers(t, e, "general", 1)
		cs[i] = got[0]
	}
	for i, e := range nodes {
		until(t, e, "all three", func(*view.Snapshot) bool { return cs[i].RoomCount.Load() == 3 })
	}
	lost := netip.MustParseAddrPort(nodes[2].Info().Listen)
	dark := func(on bool) {
		for i, e := range nodes[:2] {
			e.Blackhole(lost, on)
			nodes[2].Blackhole(netip.MustParseAddrPort(nodes[i].Info().Listen), on)
		}
	}
	dark(true)
	began := time.Now()
	until(t, nodes[0], "the link shown down", func(s *view.Snapshot) bool { return linked(s, "R2").State == "down" })
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("shown down after %v", d)
	}
	until(t, nodes[0], "two in the room, and a verdict", func(s *view.Snapshot) bool {
		return cs[0].RoomCount.Load() == 2 && slices.ContainsFunc(s.Node.Health.Causes, func(c view.Cause) bool { return c.Subject == "R2" })
	})
	before := cs[1].Received.Load()
	talk(t, cs[:1], 20)
	until(t, nodes[1], "media between the others", func(*view.Snapshot) bool { return cs[1].Received.Load() == before+20 })
	dark(false)
	until(t, nodes[0], "the peer back", func(*view.Snapshot) bool { return cs[0].RoomCount.Load() == 3 })
}

// TestCallAcrossRelays: a call between clients of two relays rings, is answered,
// carries media in a room that a third relay knows nothing of, and ends or is
// declined on both sides.
func TestCallAcrossRelays(t *testing.T) {
	full, _ := edgesOf(3)
	nodes := meshed(t, 3, full, true)
	alice, bob := phone(t, nodes[0], someone("Alice")), phone(t, nodes[1], someone("Bob"))
	until(t, nodes[0], "the other's presence", func(s *view.Snapshot) bool { return s.Signal.PresentElsewhere == 1 })
	const id = "18a5f0c2b3d4e5F6"
	sa, sb := connect(t, alice, bob, id)
	var cs []*bench.Caller
	for i, setup := range []*wire.CallSetup{sa, sb} {
		if setup.RelayAddr != nodes[i].Info().Listen || setup.Room != "call-"+id {
			t.Errorf("%+v", setup)
		}
		c, err := bench.JoinAs(t.Context(), socket(t, quicnet.ClientConfig{}), listens(nodes[i]), setup.Room, fmt.Sprint(i), []*bench.Phone{alice, bob}[i].Key(), "")
		must(t, err)
		go func() { _ = c.ReceiveLoop(t.Context(), func(time.Duration) {}) }()
		go c.ReadSignals(t.Context())
		cs = append(cs, c)
	}
	for i, e := range nodes[:2] {
		until(t, e, "both in the room", func(*view.Snapshot) bool { return cs[i].RoomCount.Load() == 2 })
	}
	talk(t, cs, 20)
	until(t, nodes[0], "both hear each other", func(*view.Snapshot) bool { return received(cs) == 40 })
	hasHops(t, nodes[0].Explain(id, ""), "call "+id+", active", "caller Alice", "link R1 (ok)", "R1: call "+id+", active", "R1: callee Bob")
	hasHops(t, nodes[1].Explain(id, id), "callee Bob", "R0: caller Alice")
	chatter(t, cs[0])
	hasHops(t, nodes[0].Explain("0", "1"), "left by R1", "R1: packet", "R1: receiver")
	for _, l := range nodes[2].Snapshot().Links {
		if len(l.Rooms) > 0 || l.Received > 0 {
			t.Errorf("a third relay has been told of a call: %+v", l)
		}
	}
	must(t, alice.HangUp(id))
	if h := hears[*wire.Hangup](t, bob); *h.CallID != id {
		t.Errorf("%+v", h)
	}
	const next = "18a5f0c2b3d4e5f7"
	must(t, bob.Call(alice.Fingerprint(), next))
	hears[*wire.DirectCallOffer](t, alice)
	hears[*wire.CallRinging](t, bob)
	must(t, alice.Answer(next, wire.AcceptReject))
	if h := hears[*wire.Hangup](t, bob); *h.CallID != next {
		t.Errorf("%+v", h)
	}
	for _, c := range cs {
		c.Close()
	}
}
