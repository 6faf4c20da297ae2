package flight

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/engine/view"
)

// snap is a snapshot whose content depends on its number.
func snap(i int, at time.Time) *view.Snapshot {
	s := &view.Snapshot{Seq: uint64(i), At: at.UTC(), Node: view.Node{NodeID: strings.Repeat("ab", 32), Version: "test"}}
	for k := range 8 {
		s.Shards = append(s.Shards, view.Shard{Plane: "media", Index: k, Received: uint64(i * (k + 1)), Dropped: map[string]uint64{"shard_full": uint64(i)}})
	}
	return s
}

// record runs a recorder over n virtual seconds and returns it, ended.
func record(t *testing.T, opt Options, n int, evs func(i int) []view.Event) *Recorder {
	t.Helper()
	r, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for i := range n {
		time.Sleep(time.Second)
		var e []view.Event
		if evs != nil {
			e = evs(i)
		}
		if !r.Due(time.Now()) {
			t.Errorf("second %d is not due", i)
		}
		if !r.Record(snap(i, time.Now()), e) {
			t.Errorf("second %d was skipped", i)
		}
		synctest.Wait()
	}
	cancel()
	wg.Wait()
	return r
}

func history(t *testing.T, r *Recorder, from, to time.Time, step time.Duration) []uint64 {
	t.Helper()
	var out []uint64
	err := r.History(from, to, step, func(js []byte) bool {
		var s view.Snapshot
		if err := json.Unmarshal(js, &s); err != nil {
			t.Fatal(err)
		}
		if want, _ := json.Marshal(snap(int(s.Seq), s.At)); !bytes.Equal(want, js) {
			t.Fatalf("snapshot %d came back changed", s.Seq)
		}
		out = append(out, s.Seq)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEverySecondComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r := record(t, Options{}, 200, nil)
		if got := history(t, r, time.Time{}, time.Time{}, 0); len(got) != 200 || got[0] != 0 || got[199] != 199 {
			t.Fatalf("%d snapshots, %v", len(got), got)
		}
		got := history(t, r, start.Add(61*time.Second), start.Add(90*time.Second), 0)
		if len(got) != 30 || got[0] != 60 || got[29] != 89 {
			t.Fatalf("a span gave %v", got)
		}
		if got := history(t, r, time.Time{}, time.Time{}, 10*time.Second); len(got) != 20 {
			t.Fatalf("every tenth second: %v", got)
		}
		n := 0
		if err := r.History(time.Time{}, time.Time{}, 0, func([]byte) bool { n++; return n < 3 }); err != nil || n != 3 {
			t.Fatalf("stopping after 3 read %d: %v", n, err)
		}
	})
}

func TestMemoryIsBoundedByTimeAndBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t, Options{Keep: 2 * time.Minute}, 600, nil)
		got := history(t, r, time.Time{}, time.Time{}, 0)
		if len(got) < 120 || len(got) > 120+keyEvery || got[len(got)-1] != 599 {
			t.Fatalf("keeping two minutes left %d snapshots up to %d", len(got), got[len(got)-1])
		}
		r = record(t, Options{MemBytes: 8 << 10}, 600, nil)
		if st := r.Stats(); st.MemBytes > 8<<10+4<<10 || st.Snapshots == 0 {
			t.Fatalf("8 KiB became %+v", st)
		}
	})
}

// TestFilesTellTheSame records with files and reads them back, also after the
// tail was torn off anywhere and after bytes were changed.
func TestFilesTellTheSame(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		record(t, Options{Dir: dir}, 100, func(i int) []view.Event {
			return []view.Event{{Seq: uint64(i + 1), Kind: "tick", Severity: view.Info, At: time.Now()}}
		})
	})
	segments, _ := list(dir, segmentPrefix)
	if len(segments) != 1 {
		t.Fatalf("%d segments", len(segments))
	}
	rec, err := Open(segments[0].path)
	if err != nil || rec.Torn() != nil || rec.Len() != 100 || len(rec.Events()) != 100 {
		t.Fatalf("%v, torn %v, %d snapshots, %d events", err, rec.Torn(), rec.Len(), len(rec.Events()))
	}
	snaps, err := rec.History(time.Time{}, time.Time{}, 0, 50)
	if err != nil || len(snaps) != 50 || snaps[49].Seq != 99 || snaps[0].Seq != 50 {
		t.Fatalf("the last 50: %d, %v", len(snaps), err)
	}
	whole, err := os.ReadFile(segments[0].path)
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad.sbr")
	stride := 97
	if testing.Short() {
		stride = 997
	}
	for cut := 0; cut < len(whole); cut += stride {
		readDamaged(t, bad, whole[:cut])
		flipped := bytes.Clone(whole)
		flipped[cut] ^= 0x40
		readDamaged(t, bad, flipped)
	}
}

// readDamaged checks that what opens is usable.
func readDamaged(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	rec, err := Open(path)
	if err != nil {
		if !errors.Is(err, ErrNotRecording) && !errors.Is(err, ErrEmpty) {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
		return
	}
	got, err := rec.History(time.Time{}, time.Time{}, 0, 1000)
	if err != nil && !errors.Is(err, ErrDamaged) {
		t.Fatalf("%d bytes: %v", len(b), err)
	}
	if err == nil && len(got) != rec.Len() {
		t.Fatalf("%d bytes: %d of %d snapshots", len(b), len(got), rec.Len())
	}
}

func TestAnomalyKeepsTheFile(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var told []view.Event
		var mu sync.Mutex
		opt := Options{Dir: dir, Event: func(e view.Event) { mu.Lock(); told = append(told, e); mu.Unlock() }}
		r := record(t, opt, 700, func(i int) []view.Event {
			if i == 400 || i == 410 || i == 600 {
				return []view.Event{{Seq: uint64(i), Kind: "shard_wedged", Severity: view.Alarm, Subject: "media/3"}}
			}
			return nil
		})
		if st := r.Stats(); st.Kept != 2 {
			t.Errorf("kept %d recordings, want 2: the second alarm was within the minute", st.Kept)
		}
		if len(told) != 2 || told[0].Kind != "flight.kept" || !strings.Contains(told[0].Message, "media/3") {
			t.Errorf("told %+v", told)
		}
	})
	kept, _ := list(dir, anomalyPrefix)
	if len(kept) != 2 {
		t.Fatalf("%d files", len(kept))
	}
	rec, err := Open(kept[0].path)
	if err != nil {
		t.Fatal(err)
	}
	first, last := rec.Span()
	if d := last.Sub(first); d < anomalySpan || d > anomalySpan+keyEvery*time.Second {
		t.Fatalf("the kept recording spans %s", d)
	}
}

func TestAFullDiskCostsTheFilesOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "flight")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file where the directory should be
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var told []string
		r := record(t, Options{Dir: dir, Event: func(e view.Event) { told = append(told, e.Severity+" "+e.Message) }}, 120, nil)
		if got := history(t, r, time.Time{}, time.Time{}, 0); len(got) != 120 {
			t.Errorf("memory holds %d", len(got))
		}
		if len(told) != 1 || r.Stats().Error == "" {
			t.Errorf("told %q, error %q", told, r.Stats().Error)
		}
	})
}

func TestFilesAreBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range 40 {
		name := filepath.Join(dir, fmt.Sprintf("%s%03d%s", segmentPrefix, i, suffix))
		if err := os.WriteFile(name, make([]byte, 10_000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := files{opt: &Options{Dir: dir, FileBytes: 100_000, Keep: time.Hour}}
	w.opt.defaults()
	w.sweep()
	left, total := list(dir, segmentPrefix)
	if total > 75_000 || len(left) == 0 || !strings.HasSuffix(left[len(left)-1].path, "039"+suffix) {
		t.Fatalf("%d files of %d bytes are left", len(left), total)
	}
}

func TestALifeThatDidNotEndIsTold(t *testing.T) {
	dir := t.TempDir()
	if c, err := Begin(dir); err != nil || c != nil {
		t.Fatalf("the first life: %+v, %v", c, err)
	}
	if err := End(dir); err != nil {
		t.Fatal(err)
	}
	if c, err := Begin(dir); err != nil || c != nil {
		t.Fatalf("after a good end: %+v, %v", c, err)
	}
	if err := os.WriteFile(filepath.Join(dir, crashFile), []byte("panic: no\n\ngoroutine 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Begin(dir)
	if err != nil || c == nil || c.Headline() != "panic: no" || c.Kept == "" {
		t.Fatalf("after a crash: %+v, %v", c, err)
	}
	c, err = Begin(dir)
	if err != nil || c == nil || c.Stack != "" {
		t.Fatalf("after a kill: %+v, %v", c, err)
	}
}

// FuzzOpen reads anything.
func FuzzOpen(f *testing.F) {
	p, err := newPacker()
	if err != nil {
		f.Fatal(err)
	}
	js, _ := json.Marshal(snap(1, time.Unix(1, 0)))
	key, err := p.key(js)
	if err != nil {
		f.Fatal(err)
	}
	b := appendFrame([]byte(magic), kindKey, 1000, key)
	b = appendFrame(b, kindDelta, 2000, p.delta.EncodeAll(js, nil))
	f.Add(b)
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if rec, err := Open(path); err == nil {
			if _, err := rec.History(time.Time{}, time.Time{}, 0, 10); err != nil && !errors.Is(err, ErrDamaged) {
				if _, ok := errors.AsType[*json.UnmarshalTypeError](err); !ok {
					if _, ok := errors.AsType[*json.SyntaxError](err); !ok {
						t.Fatal(err)
					}
				}
			}
		}
	})
}

// BenchmarkTake is what one second costs.
func BenchmarkTake(b *testing.B) {
	r, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	at := time.Now()
	b.ReportAllocs()
	for i := range b.N {
		r.take(sample{snap: snap(i, at.Add(time.Duration(i)*time.Second))})
	}
	b.ReportMetric(float64(r.Stats().MemBytes)/float64(r.Stats().Snapshots), "bytes/snapshot")
}

// TestADirectoryIsOneRecording: its segments follow each other, of two runs of a
// node too; a torn last one ends early, one that is none of ours leaves a gap, and
// an empty directory is an error.
func TestADirectoryIsOneRecording(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); !errors.Is(err, ErrEmpty) {
		t.Fatalf("an empty directory: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		for range 2 {
			record(t, Options{Dir: dir}, 400, func(i int) []view.Event {
				return []view.Event{{Seq: uint64(i + 1), Kind: "tick", Severity: view.Info, At: time.Now()}}
			})
			time.Sleep(time.Minute)
		}
	})
	segments, _ := list(dir, segmentPrefix)
	if len(segments) < 3 {
		t.Fatalf("%d segments", len(segments))
	}
	rec, err := Open(dir)
	if err != nil || rec.Torn() != nil || rec.Len() != 800 || len(rec.Events()) != 800 {
		t.Fatalf("%v, torn %v, %d snapshots, %d events", err, rec.Torn(), rec.Len(), len(rec.Events()))
	}
	if evs := rec.Events(); !slices.IsSortedFunc(evs, func(a, b view.Event) int { return int(a.Seq) - int(b.Seq) }) {
		t.Error("the events' numbers do not ascend")
	}
	first, last := rec.Span()
	if d := last.Sub(first); d < 13*time.Minute {
		t.Errorf("it spans %s", d)
	}
	snaps, err := rec.History(first.Add(4*time.Minute), first.Add(8*time.Minute), 0, 1000)
	if err != nil || len(snaps) != 181 || !slices.IsSortedFunc(snaps, func(a, b *view.Snapshot) int { return a.At.Compare(b.At) }) {
		t.Errorf("across two segments: %d snapshots, %v", len(snaps), err)
	}
	newest := segments[len(segments)-1].path
	b, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(newest, b[:len(b)-3], 0o600), os.WriteFile(segments[1].path, []byte("no recording"), 0o600)); err != nil {
		t.Fatal(err)
	}
	rec, err = Open(dir)
	if err != nil || rec.Torn() == nil || rec.Len() >= 800 || rec.Len() < 300 {
		t.Errorf("damaged: %v, torn %v, %d snapshots", err, rec.Torn(), rec.Len())
	}
}
