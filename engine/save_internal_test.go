package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/dht"
	"signalbox/dht/snapshot"
	"signalbox/dht/table"
	"signalbox/engine/state"
	"signalbox/engine/view"
)

type noDialer struct{}

func (noDialer) Dial(context.Context, table.ID, netip.AddrPort) (dht.Link, error) {
	return nil, errors.New("no network")
}

func nodeID(n int) (id table.ID) {
	copy(id[:], fmt.Sprintf("node %d", n))
	return id
}

func newNode(t testing.TB) *dht.Node {
	t.Helper()
	n, err := dht.New(dht.Config{ID: nodeID(0), Dialer: noDialer{}})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func somePeers(n int) []snapshot.Peer {
	out := make([]snapshot.Peer, n)
	for i := range out {
		ap := netip.AddrPortFrom(netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 1}), 4433)
		out[i] = snapshot.Peer{ID: nodeID(i + 1), Addrs: []table.Addr{{AddrPort: ap, Type: table.Direct}}}
	}
	return out
}

func routingFile(t testing.TB, owner table.ID, at time.Time, n int) []byte {
	t.Helper()
	b, _, err := snapshot.EncodeRouting(owner, at, somePeers(n))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// newsBox collects events.
type newsBox struct {
	mu   sync.Mutex // guards list
	list []view.Event
}

func (b *newsBox) add(e view.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, e)
}

func (b *newsBox) of(kind string) (out []view.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.list {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

func testSaver(dir string, disk state.Disk) (*saver, *newsBox) {
	s, news := newSaver(dir, nodeID(0), time.Minute, disk), &newsBox{}
	s.event = news.add
	s.remember = func() ([]snapshot.Peer, []snapshot.Score) {
		return somePeers(40), []snapshot.Score{{ID: nodeID(1), Score: 0.9}}
	}
	return s, news
}

// damage is one way to spoil routing.json.
type damage struct {
	name string
	make func(path string) error
	want snapshot.Reason // empty: whatever, but one
}

func writes(data []byte) func(string) error {
	return func(path string) error { return os.WriteFile(path, data, 0o600) }
}

// damages are at least 10,000 of them (reliability.md T20).
func damages(t *testing.T, now time.Time) []damage {
	good := routingFile(t, nodeID(0), now, 25)
	var out []damage
	for i := range good {
		out = append(out, damage{fmt.Sprint("cut at ", i), writes(good[:i]), snapshot.Damaged})
	}
	r := rand.New(rand.NewPCG(1, 2))
	for len(out) < 9990 {
		b, at := bytes.Clone(good), r.IntN(len(good))
		for range 1 + r.IntN(3) {
			b[(at+r.IntN(40))%len(b)] ^= byte(1 + r.IntN(255))
		}
		out = append(out, damage{fmt.Sprint("flips near ", at), writes(b), ""})
	}
	wide := strings.Repeat(`{"id":"`+nodeID(1).String()+`","addrs":["direct 20.0.0.1:1"]},`, 1_000_000)
	special := []damage{
		{"a FIFO", func(p string) error { return syscall.Mkfifo(p, 0o600) }, snapshot.NotAFile},
		{"a link", func(p string) error { return os.Symlink("/etc/passwd", p) }, snapshot.NotAFile},
		{"a link to a FIFO", func(p string) error {
			return errors.Join(syscall.Mkfifo(p+".fifo", 0o600), os.Symlink(p+".fifo", p))
		}, snapshot.NotAFile},
		{"a directory", func(p string) error { return os.Mkdir(p, 0o700) }, snapshot.NotAFile},
		{"1 GiB of nothing", func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o600), os.Truncate(p, 1<<30)) }, snapshot.TooLarge},
		{"10^6 peers", writes([]byte(`{"schema_version":1,"peers":[` + wide + `{}]}`)), snapshot.TooLarge},
		{"another's", writes(routingFile(t, nodeID(9), now, 9)), snapshot.Foreign},
		{"from the future", writes(routingFile(t, nodeID(0), now.Add(time.Hour), 9)), snapshot.Future},
		{"too old", writes(routingFile(t, nodeID(0), now.Add(-8*24*time.Hour), 9)), snapshot.TooOld},
		{"of a later version", writes([]byte(`{"schema_version":99}`)), snapshot.BadSchema},
		{"empty", writes(nil), snapshot.Damaged},
		{"deep", writes(bytes.Repeat([]byte("["), 500_000)), snapshot.Damaged},
	}
	return append(out, special...)
}

func TestTenThousandDamagedSnapshots(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	path := filepath.Join(dir, "routing.json")
	list := damages(t, now)
	var slowest time.Duration
	reasons := map[snapshot.Reason]int{}
	harmless, fellBack := 0, 0
	for i, d := range list {
		if err := errors.Join(os.RemoveAll(path), os.RemoveAll(path+".fifo"), os.RemoveAll(path+".prev")); err != nil {
			t.Fatal(err)
		}
		if err := d.make(path); err != nil {
			t.Fatal(err)
		}
		prev := i%3 == 0
		if prev {
			if err := writes(routingFile(t, nodeID(0), now, 7))(path + ".prev"); err != nil {
				t.Fatal(err)
			}
		}
		s, news := testSaver(dir, nil)
		s.wall = func() time.Time { return now }
		n, began := newNode(t), time.Now()
		if err := s.restore(n); err != nil {
			t.Fatal(d.name, err)
		}
		slowest = max(slowest, time.Since(began))
		got, _ := n.Restored()
		told := news.of("snapshot_discarded")
		switch why := snapshot.Reason(s.v.Discarded); {
		case why == "": // the case of a key's letter
			harmless++
			if got != 25 || len(told) != 0 {
				t.Fatalf("%s: %d candidates, %d events", d.name, got, len(told))
			}
		case len(told) != 1 || told[0].Fields["reason"] != string(why) || d.want != "" && d.want != why:
			t.Fatalf("%s: %q, want %q; %v", d.name, why, d.want, told)
		case prev && (got != 7 || s.v.RestoredFrom != "routing.json.prev"):
			t.Fatalf("%s: the predecessor was not used: %d from %q", d.name, got, s.v.RestoredFrom)
		case !prev && got != 0:
			t.Fatalf("%s: %d candidates from a discarded file", d.name, got)
		default:
			reasons[why]++
			if prev {
				fellBack++
			}
		}
	}
	t.Logf("%d files: 0 panics, %v, %d harmless, %d replaced by their predecessor, slowest %v", len(list), reasons, harmless, fellBack, slowest)
	if slowest > 3*time.Second || harmless > len(list)/100 || len(list) < 10_000 {
		t.Error("too slow, or too much passed")
	}
}

// shakyDisk fails, or blocks, when told to.
type shakyDisk struct {
	state.OS
	mu    sync.Mutex // guards the fields below
	err   error
	block chan struct{}
}

func (d *shakyDisk) set(err error, block chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err, d.block = err, block
}

func (d *shakyDisk) Create(path string, data []byte) error {
	d.mu.Lock()
	err, block := d.err, d.block
	d.mu.Unlock()
	if block != nil {
		<-block
	}
	if err != nil {
		return err
	}
	return d.OS.Create(path, data)
}

// reliability.md T19, in virtual time: what fails is told, is tried again with
// backoff, leaves the old file alone, and ends.
func TestSavingFailsAndRecovers(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EIO, syscall.EROFS} {
		synctest.Test(t, func(t *testing.T) {
			disk := &shakyDisk{}
			s, news := testSaver(t.TempDir(), disk)
			if err := s.restore(newNode(t)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); s.loop(ctx) }()
			time.Sleep(3 * time.Minute)
			var v view.Saved
			s.fill(&v)
			if !v.OK || v.Saves < 2 || v.Peers != 40 || v.Scores != 1 || v.At.IsZero() {
				t.Fatalf("%+v", v)
			}
			old, err := os.ReadFile(s.routing)
			if err != nil {
				t.Fatal(err)
			}
			disk.set(cause, nil)
			time.Sleep(10 * time.Minute)
			s.fill(&v)
			if v.OK || !strings.Contains(v.Error, cause.Error()) || v.Failures < 8 || v.Failures > 60 {
				t.Errorf("%+v", v)
			}
			if len(news.of("save_failed")) != int(v.Failures) {
				t.Error("a failure was not told")
			}
			causes := savedCauses(&v, time.Now())
			if len(causes) != 1 || !strings.Contains(causes[0].Message, cause.Error()) {
				t.Error(causes)
			}
			if now, err := os.ReadFile(s.routing); err != nil || !bytes.Equal(now, old) {
				t.Error("the old file has changed", err)
			}
			disk.set(nil, nil)
			time.Sleep(2 * time.Minute)
			s.fill(&v)
			if !v.OK || v.Error != "" || len(news.of("saved")) != 1 || len(savedCauses(&v, time.Now())) != 0 {
				t.Errorf("it has not recovered: %+v", v)
			}
			cancel()
			<-ended
		})
	}
}

// A disk that does not answer holds neither the node nor its end.
func TestBlockedDiskHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, block := &shakyDisk{}, make(chan struct{})
		s, news := testSaver(t.TempDir(), disk)
		disk.set(nil, block)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.loop(ctx) }()
		time.Sleep(5 * time.Minute)
		var v view.Saved
		s.fill(&v)
		if causes := savedCauses(&v, time.Now()); v.SavingS < 60 || len(causes) != 1 || !strings.Contains(causes[0].Message, "not answered") {
			t.Errorf("%+v: %v", v, causes)
		}
		if first, again := s.save(), s.save(); first != again {
			t.Error("saves pile up behind a blocked disk")
		}
		begin := time.Now()
		cancel()
		<-ended
		if took := time.Since(begin); took > lastSave || len(news.of("save_abandoned")) != 1 {
			t.Error("the end took", took)
		}
		close(block)
		synctest.Wait()
		if b, err := os.ReadFile(s.routing); err != nil || len(b) == 0 {
			t.Error(err)
		}
	})
}

// A second signal during a drain ends the node at once, disk or no disk.
func TestDrainSavesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &shakyDisk{}
		s, _ := testSaver(t.TempDir(), disk)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.loop(ctx) }()
		s.poke()
		synctest.Wait()
		var v view.Saved
		if s.fill(&v); v.Saves != 1 {
			t.Error("a drain does not save")
		}
		block := make(chan struct{})
		disk.set(nil, block)
		time.Sleep(3 * time.Second)
		begin := time.Now()
		cancel()
		<-ended
		if took := time.Since(begin); took > lastSaveAfter {
			t.Error("the end took", took)
		}
		close(block)
		synctest.Wait()
	})
}

// Spec dht 8.4: for an hour after a restore fewer peers do not replace more,
// and nobody never replaces anybody.
func TestNeverShrinksNorEmpties(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first, _ := testSaver(dir, nil)
		<-first.save().done
		known := 0
		s, _ := testSaver(dir, nil)
		s.remember = func() ([]snapshot.Peer, []snapshot.Score) { return somePeers(known), nil }
		if err := s.restore(newNode(t)); err != nil || s.v.Restored != 40 || s.v.RestoredScores != 1 {
			t.Fatal(err, s.v)
		}
		check := func(n int, kept string, onDisk int) {
			t.Helper()
			known = n
			sv := s.save()
			<-sv.done
			b, err := state.ReadFile(s.routing, snapshot.MaxFile)
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := snapshot.DecodeRouting(b, nodeID(0), time.Now())
			if sv.out.kept != kept || len(got) != onDisk || err != nil || sv.out.err != nil {
				t.Errorf("%d known: kept %q, %d on disk, %v; want %q, %d", n, sv.out.kept, len(got), err, kept, onDisk)
			}
		}
		check(0, keptEmpty, 40)
		check(39, keptShrink, 40)
		check(41, "", 41)
		check(39, keptShrink, 41)
		time.Sleep(noShrinkFor)
		check(39, "", 39)
		check(0, keptEmpty, 39)
		if prev, err := os.ReadFile(s.routing + ".prev"); err != nil || len(prev) == 0 {
			t.Error("no predecessor", err)
		}
	})
}

// reliability.md T18: the wall clock decides what a file is worth, nothing
// else; its steps neither hurry nor hold the saving.
func TestClockSteps(t *testing.T) {
	const day = 24 * time.Hour
	for step, want := range map[time.Duration]string{
		0: "", day: "", -time.Minute: "", -day: "future", 10 * 365 * day: "too_old", -10 * 365 * day: "future", 8 * day: "too_old",
	} {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				s, _ := testSaver(dir, nil)
				var offset atomic.Int64
				frozen := time.Now()
				s.wall = func() time.Time { return frozen.Add(time.Duration(offset.Load())) } // it stands still, too
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { defer close(ended); s.loop(ctx) }()
				time.Sleep(10 * time.Minute)
				var v view.Saved
				s.fill(&v)
				before := v.Saves
				offset.Store(int64(step))
				time.Sleep(10 * time.Minute)
				s.fill(&v)
				if n := v.Saves - before; before < 6 || n < 6 || n > 21 || !v.OK {
					t.Errorf("%d saves before the step, %d after", before, n)
				}
				offset.Store(0)
				<-s.save().done
				cancel()
				<-ended
				next, news := testSaver(dir, nil)
				next.wall = func() time.Time { return frozen.Add(step) }
				if err := next.restore(newNode(t)); err != nil {
					t.Fatal(err)
				}
				if next.v.Discarded != want || next.v.RestoredAgeS < 0 || want == "" && len(news.list) != 0 {
					t.Errorf("discarded %q, want %q; age %v", next.v.Discarded, want, next.v.RestoredAgeS)
				}
			})
		})
	}
}
