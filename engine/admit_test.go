package engine_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signalbox/engine"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
)

// pasted reads a configuration of these lines as the program does.
func pasted(t *testing.T, lines string) config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "signalbox.toml")
	if err := os.WriteFile(file, []byte(lines+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := config.Load(config.LoadOptions{File: file, Env: []string{"HOME=" + t.TempDir()}})
	if err != nil {
		t.Fatalf("%v in\n%s", err, lines)
	}
	return c
}

// TestTheLineAdmits: what a refusal says to add is a configuration as it stands,
// and lets that relay in: one nobody has named, and one that is named and cannot
// prove itself.
func TestTheLineAdmits(t *testing.T) {
	ss := sites(t, 3)
	var cfg config.Config
	e := ss[0].open(t, func(c *config.Config) {
		c.Trusted = []config.Trusted{{Fingerprint: ss[2].fp, Label: "named"}}
		cfg = *c
	})
	for i := 2; i > 0; i-- {
		cl := socket(t, quicnet.ClientConfig{LocalAddr: netip.AddrFrom4([4]byte{127, 0, 3, byte(i)})}) // an address is spoken of once a minute
		entry := ""
		if i == 2 {
			entry = "[[trusted]]\nfingerprint = \"" + ss[2].fp + "\"\n"
		}
		claim(t, e, cl, quicnet.DialConfig{}, ss[i].fp)
		s := until(t, e, "it is refused", func(s *view.Snapshot) bool { return len(s.Refusals) > 0 && s.Refusals[0].Fingerprint == ss[i].fp })
		if i == 1 {
			oneLine(t, e, ss[i].fp)
		}
		c := pasted(t, entry+s.Refusals[0].Line)
		if len(c.Trusted) != 1 || c.Trusted[0].Fingerprint != ss[i].fp || !c.Trusted[0].Unproven {
			t.Fatalf("%q makes %+v", s.Refusals[0].Line, c.Trusted)
		}
		cfg.Trusted = c.Trusted
		if err := e.Reload(cfg); err != nil {
			t.Fatal(err)
		}
		claim(t, e, cl, quicnet.DialConfig{}, ss[i].fp)
		until(t, e, "it is linked", func(s *view.Snapshot) bool {
			return len(s.Links) == 1 && s.Links[0].State == "up" && strings.EqualFold(s.Links[0].TLSFingerprint, ss[i].fp)
		})
	}
}

// oneLine wants the event of a refusal to carry a line that admits, as it stands,
// in a file of which it is the first.
func oneLine(t *testing.T, e *engine.Engine, fingerprint string) {
	t.Helper()
	evs, _ := e.Events(0)
	for _, ev := range evs {
		_, line, ok := strings.Cut(ev.Message, "begin the configuration with: ")
		if line, _, _ = strings.Cut(line, " (beside"); !ok {
			continue
		}
		c := pasted(t, line+"\n[[global_rooms]]\nname = \"general\"")
		if len(c.Trusted) != 1 || c.Trusted[0].Fingerprint != fingerprint || !c.Trusted[0].Unproven || len(c.GlobalRooms) != 1 {
			t.Errorf("%q makes %+v", line, c)
		}
		return
	}
	t.Errorf("no line in %+v", evs)
}

// TestARelayByItself: without a DHT to join, named relays or not, a relay that
// nobody has named is refused however well it proves itself, as by a wzp-relay;
// with discovery switched on it is a guest.
func TestARelayByItself(t *testing.T) {
	ss := sites(t, 3)
	cert, err := ss[1].keys.TLSCertificate()
	if err != nil {
		t.Fatal(err)
	}
	for mode, in := range map[string]bool{config.DirectoryAuto: false, config.DirectoryOff: false, config.DirectoryOn: true} {
		t.Run(mode, func(t *testing.T) {
			e := ss[0].open(t, func(c *config.Config) { c.Federation.Discover = mode })
			claim(t, e, socket(t, quicnet.ClientConfig{}), quicnet.DialConfig{Cert: cert}, ss[1].fp)
			until(t, e, "it is judged", func(s *view.Snapshot) bool {
				linked := len(s.Links) == 1 && s.Links[0].State == "up" && s.Links[0].Found
				refused := len(s.Links) == 0 && len(s.Refusals) == 1
				if linked && !in || refused && in {
					t.Fatalf("linked %v, refused %v", linked, refused)
				}
				return linked || refused
			})
		})
	}
}

// TestNamedRelaysAndNoOthers: a relay that proves who it is comes as a guest to a
// node whose operator has named none and has had it join a DHT, and is refused
// where some are named, as a wzp-relay would, unless discovery is switched on. It
// is for a reload to change.
func TestNamedRelaysAndNoOthers(t *testing.T) {
	ss := sites(t, 3)
	other := start(t, nil).Info()
	var cfg config.Config
	e := ss[0].open(t, func(c *config.Config) {
		c.DHT.Join = []string{other.NodeID + "@" + other.Listen}
		cfg = *c
	})
	cert, err := ss[1].keys.TLSCertificate()
	if err != nil {
		t.Fatal(err)
	}
	cl := socket(t, quicnet.ClientConfig{})
	comes := func() { claim(t, e, cl, quicnet.DialConfig{Cert: cert}, ss[1].fp) }
	comes()
	s := until(t, e, "a guest", func(s *view.Snapshot) bool { return len(s.Links) == 1 && s.Links[0].State == "up" })
	if !s.Links[0].Found {
		t.Errorf("%+v", s.Links[0])
	}
	if r := do(t, e, control.Command{Kind: control.LinkReconnect, Target: s.Links[0].Label}); !r.OK {
		t.Fatalf("%+v", r)
	}
	gone(t, e, cfg, ss[2])
	comes()
	until(t, e, "it is refused", func(s *view.Snapshot) bool {
		return len(s.Refusals) == 1 && s.Refusals[0].Fingerprint == ss[1].fp && strings.Contains(s.Refusals[0].Reason, "[[peers]]")
	})
}

// gone names another relay in the configuration and waits until the guest's link
// is down.
func gone(t *testing.T, e *engine.Engine, cfg config.Config, other site) {
	t.Helper()
	cfg.Peers = []config.Peer{other.peer("other")}
	if err := e.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	until(t, e, "no guest", func(s *view.Snapshot) bool {
		for _, l := range s.Links {
			if l.Found {
				return false
			}
		}
		return true
	})
}

// TestTheFirstOfADHTAdmits: the node that another one joins, and that has nobody
// to join itself, is part of a DHT as that one is: a room is shared by two relays
// of which one was told of the other as a DHT peer, and nothing more.
func TestTheFirstOfADHTAdmits(t *testing.T) {
	rooms := func(c *config.Config) { c.GlobalRooms = []config.GlobalRoom{{Name: "plaza"}} }
	first := start(t, rooms)
	second := start(t, func(c *config.Config) {
		rooms(c)
		c.DHT.Join = []string{first.Info().NodeID + "@" + first.Info().Listen}
	})
	a, _ := callers(t, first, "plaza", 1)
	b, _ := callers(t, second, "plaza", 1)
	until(t, first, "both in the room", func(*view.Snapshot) bool { return a[0].RoomCount.Load() == 2 && b[0].RoomCount.Load() == 2 })
	talk(t, append(a, b...), 20)
	until(t, second, "both hear each other", func(*view.Snapshot) bool { return received(append(a, b...)) == 40 })
}
