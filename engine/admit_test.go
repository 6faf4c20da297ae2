package engine_test

import (
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
	cl := socket(t, quicnet.ClientConfig{})
	for i := 2; i > 0; i-- {
		entry := ""
		if i == 2 {
			entry = "[[trusted]]\nfingerprint = \"" + ss[2].fp + "\"\n"
		}
		claim(t, e, cl, quicnet.DialConfig{}, ss[i].fp)
		s := until(t, e, "it is refused", func(s *view.Snapshot) bool { return len(s.Refusals) > 0 && s.Refusals[0].Fingerprint == ss[i].fp })
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

// TestNamedRelaysAndNoOthers: a relay that proves who it is comes as a guest to a
// node whose operator has named none, and is refused where some are named, as a
// wzp-relay would, unless discovery is switched on. It is for a reload to change.
func TestNamedRelaysAndNoOthers(t *testing.T) {
	ss := sites(t, 3)
	var cfg config.Config
	e := ss[0].open(t, func(c *config.Config) { cfg = *c })
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
