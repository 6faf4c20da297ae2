package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryUnknownKeyNamesTheNearest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	for toml, want := range map[string]string{"dispatch = 3\n": "dispatch.", "bogus = 1\n": "the nearest one is ", "lissten_addr = \"x\"\n": "did you mean listen_addr?"} {
		if err := os.WriteFile(path, []byte(toml), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Load(LoadOptions{File: path, Env: []string{"HOME=/x"}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", toml, err)
		}
	}
	if _, _, err := Load(LoadOptions{Env: []string{"HOME=/x", "SIGNALBOX_FOO=1"}}); err == nil || !strings.Contains(err.Error(), "SIGNALBOX_") || !strings.Contains(err.Error(), "nearest") {
		t.Errorf("%v", err)
	}
}

func TestEveryUnknownVariableNamesTheNearest(t *testing.T) {
	for name, want := range map[string]string{
		"SIGNALBOX_SHARDS": "did you mean SIGNALBOX_DISPATCH_SHARDS?", "SIGNALBOX_LISTEN_ADR": "did you mean SIGNALBOX_LISTEN_ADDR?",
		"SIGNALBOX_DHT_JION": "did you mean SIGNALBOX_DHT_JOIN?", "SIGNALBOX_": "the nearest one is SIGNALBOX_",
	} {
		if _, _, err := Load(LoadOptions{Env: []string{"HOME=/x", name + "=1"}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAMissingFileMayBeAWarning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.toml")
	if _, _, err := Load(LoadOptions{File: path, Env: []string{"HOME=/x"}}); ExitCodeOf(err) != ExitConfig {
		t.Errorf("%v", err)
	}
	cfg, _, err := Load(LoadOptions{File: path, Env: []string{"HOME=/x"}, MayBeMissing: true})
	if err != nil || cfg.MissingFile != path || len(cfg.Warnings) == 0 || !strings.Contains(cfg.Warnings[0], path) {
		t.Errorf("%v %q", err, cfg.Warnings)
	}
}

func TestTablesAreShownAsTOML(t *testing.T) {
	cfg := Default()
	cfg.GlobalRooms = []GlobalRoom{{Name: "a\"b\\\x1b\U000e0001"}}
	for _, e := range Entries(cfg, Origins{}) {
		if e.Key == "global_rooms" && e.Text() != `[{ name = "a\"b\\\u001B\U000E0001" }]` {
			t.Errorf("%s", e.Text())
		}
	}
}
