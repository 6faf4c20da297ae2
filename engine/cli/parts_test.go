package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signalbox/engine/control"
)

func TestCgroupLimitIsTheSmallestOnTheWay(t *testing.T) {
	root := t.TempDir()
	write := func(group, text string) {
		t.Helper()
		dir := filepath.Join(root, group)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "memory.max"), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	self := "1:name=systemd:/x\n0::/system.slice/signalbox.service\n"
	if n := cgroupLimit(root, self); n != 0 {
		t.Errorf("no files: %d", n)
	}
	write("system.slice/signalbox.service", "max")
	if n := cgroupLimit(root, self); n != 0 {
		t.Errorf("max: %d", n)
	}
	write("system.slice", "1000")
	write("system.slice/signalbox.service", "2000")
	if n := cgroupLimit(root, self); n != 1000 {
		t.Errorf("parent's: %d", n)
	}
	write("", "500") // a container's root
	if n := cgroupLimit(root, "0::/\n"); n != 500 {
		t.Errorf("root's: %d", n)
	}
}

func TestLogFileIsBounded(t *testing.T) {
	dir := t.TempDir()
	l, err := openLogFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	line := []byte(strings.Repeat("x", 1<<20))
	for range 25 {
		if _, err := l.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"signalbox.log", "signalbox.log.1"} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil || st.Size() > maxLogFile {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	if l, err = openLogFile(dir); err != nil || l.size == 0 {
		t.Errorf("opened anew: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestEveryCommandKindHasAVerb(t *testing.T) {
	has := map[control.Kind]bool{control.Undo: true, control.RoutingTrace: true} // ctl undo, ctl routing trace
	for _, n := range nouns() {
		for _, v := range n.verbs {
			has[v.kind] = true
		}
	}
	for _, k := range control.Kinds() {
		if !has[k] {
			t.Errorf("ctl cannot say %s", k)
		}
	}
}

func TestDoctorChecks(t *testing.T) {
	dir := t.TempDir()
	for name, v := range map[string]int{"rmem_max": wantBuffer, "wmem_max": 212992} {
		if err := os.WriteFile(filepath.Join(dir, name), fmt.Appendln(nil, v), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fs := checkUDPBuffers(dir)
	if fs[0].Status != good || fs[1].Status != warned || fs[1].Remedy != "sysctl -w net.core.wmem_max=7340032" {
		t.Errorf("%+v", fs)
	}
	if f := checkClock(time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)); f.Status != failed {
		t.Errorf("%+v", f)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o755); err != nil { // whatever the umask
		t.Fatal(err)
	}
	if f := checkStateDir(open); f.Status != warned || f.Remedy != "chmod 700 "+open {
		t.Errorf("%+v", f)
	}
	if f := checkStateDir(filepath.Join(dir, "a", "b")); f.Status != good {
		t.Errorf("%+v", f)
	}
	id := filepath.Join(dir, "identity")
	if f := checkIdentity(id); f.Status != good {
		t.Errorf("%+v", f)
	}
	if _, err := os.Stat(id); err == nil {
		t.Error("doctor has made an identity")
	}
	if err := os.WriteFile(id, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if f := checkIdentity(id); f.Status != failed {
		t.Errorf("%+v", f)
	}
}
