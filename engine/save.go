package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"signalbox/dht"
	"signalbox/dht/snapshot"
	"signalbox/dht/table"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/engine/state"
	"signalbox/engine/view"
)

const (
	noShrinkFor   = time.Hour        // after a restore, fewer peers than restored do not replace them
	firstSave     = time.Minute      // after the start: a young node may be killed too
	saveRetry     = 2 * time.Second  // after a failure, doubling up to the interval
	saveAnswer    = 10 * time.Second // how long node.save waits for the disk
	lastSave      = 2 * time.Second  // how long the end of Run waits for the disk
	lastSaveAfter = 400 * time.Millisecond
	slowDisk      = 5 * time.Second // a save that takes longer is shown
)

// errNotSaved says that nothing, or not everything, was written.
var errNotSaved = errors.New("engine: not saved")

// saver keeps on disk what the DHT node remembers: routing.json and trust.json.
// It reads them once, before the node runs, and writes them in the background.
// The disk is never waited for on the way of a packet, nor longer than a bound
// on the way out.
type saver struct {
	// Constant after newSaver.
	routing  string // paths
	trust    string
	owner    table.ID
	disk     state.Disk
	wall     func() time.Time // for what is written and judged, never for waiting
	mono     func() int64
	every    time.Duration
	remember func() ([]snapshot.Peer, []snapshot.Score)
	event    func(view.Event)
	poked    chan struct{} // capacity 1: save now

	mu      sync.Mutex // leaf; guards the fields below
	v       view.Saved
	current *saving         // under way; nil: none
	floor   int             // peers restored: fewer do not replace them,
	until   int64           // before this monotonic time
	leaving bool            // the node has begun to drain,
	leftAt  int64           // at this monotonic time
	good    map[string]bool // paths whose file we have read or written and may keep as the predecessor
}

// saving is one save; out may be read once done is closed.
type saving struct {
	done  chan struct{}
	began int64 // monotonic ns
	out   saved
}

// saved is what became of one save.
type saved struct {
	peers  int
	scores int
	kept   string // why routing.json was left as it is; empty: it was not
	err    error
}

func newSaver(dir string, owner table.ID, every time.Duration, disk state.Disk) *saver {
	s := &saver{
		routing: filepath.Join(dir, "routing.json"), trust: filepath.Join(dir, "trust.json"), owner: owner, every: every, disk: disk,
		wall: time.Now, event: func(view.Event) {}, poked: make(chan struct{}, 1), good: map[string]bool{},
	}
	if s.disk == nil {
		s.disk = state.OS{}
	}
	if s.every <= 0 { // a Config nobody has put defaults into
		s.every = config.Default().DHT.SaveInterval
	}
	start := time.Now()
	s.mono = func() int64 { return int64(time.Since(start)) }
	s.v.OK = true
	return s
}

// restore reads what the last run has left and gives it to the node.
func (s *saver) restore(n *dht.Node) error {
	now := s.wall()
	peers, age, from, why := load(s, s.routing, now, snapshot.DecodeRouting)
	scores, trustAge, _, trustWhy := load(s, s.trust, now, snapshot.DecodeTrust)
	s.mu.Lock()
	s.v.Restored, s.v.RestoredScores, s.v.RestoredFrom, s.v.RestoredAgeS = len(peers), len(scores), from, age.Seconds()
	s.v.Peers, s.v.Scores = len(peers), len(scores)
	s.v.Discarded, s.v.TrustDiscarded = string(why), string(trustWhy)
	s.floor, s.until = len(peers), s.mono()+int64(noShrinkFor)
	s.mu.Unlock()
	return n.Restore(peers, scores, trustAge)
}

// load reads the file at path, or its predecessor when that is no use. One
// reason is given for what was discarded, that of the newest file; none when
// there was no file.
func load[T any](s *saver, path string, now time.Time, decode func([]byte, table.ID, time.Time) ([]T, time.Duration, error)) (list []T, age time.Duration, from string, why snapshot.Reason) {
	var first error
	for _, p := range []string{path, path + state.PreviousSuffix} {
		data, err := s.disk.Read(p, snapshot.MaxFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			list, age, err = decode(data, s.owner, now)
		}
		if err != nil {
			if first == nil {
				first, why = err, reasonOf(err)
			}
			continue
		}
		s.mu.Lock()
		s.good[path] = p == path
		s.mu.Unlock()
		from = filepath.Base(p)
		break
	}
	if first != nil {
		s.tellDiscard(path, from, why, first)
	}
	return list, age, from, why
}

func (s *saver) tellDiscard(path, from string, why snapshot.Reason, err error) {
	instead := "the node begins without it"
	if from != "" {
		instead = from + " is used instead"
	}
	s.event(view.Event{
		Kind: "snapshot_discarded", Severity: view.Warn, Subject: filepath.Base(path),
		Message: fmt.Sprintf("%s was not used: %v; %s", path, err, instead),
		Fields:  map[string]any{"reason": string(why), "instead": from},
	})
}

// reasonOf names the one reason why a file was not used.
func reasonOf(err error) snapshot.Reason {
	if d, ok := errors.AsType[*snapshot.Discard](err); ok {
		return d.Reason
	}
	if fe, ok := errors.AsType[*state.FileError](err); ok {
		if fe.TooLarge {
			return snapshot.TooLarge
		}
		return snapshot.NotAFile
	}
	return snapshot.Unreadable
}

// loop saves now and then, and once more when ctx ends.
func (s *saver) loop(ctx context.Context) {
	wait, retry := min(firstSave, s.every), min(saveRetry, s.every)
	for {
		t := time.NewTimer(spread(wait))
		select {
		case <-ctx.Done():
			t.Stop()
			s.leave()
			return
		case <-s.poked:
			t.Stop()
		case <-t.C:
		}
		out, err := s.wait(ctx, s.save())
		switch {
		case err != nil: // ctx has ended
		case out.err == nil:
			wait, retry = s.every, min(saveRetry, s.every)
		default:
			wait, retry = retry, min(2*retry, s.every)
		}
	}
}

// spread is d/2 .. 3d/2, so that fleets do not write in step.
func spread(d time.Duration) time.Duration { return d/2 + rand.N(d+1) }

// leave saves at the end of Run. A disk that does not answer is left behind:
// what it holds is a whole file, the old or the new one.
func (s *saver) leave() {
	limit := lastSave
	s.mu.Lock()
	if s.leaving { // saved when draining began; a second signal ends the node at once
		limit = max(lastSaveAfter, limit-time.Duration(s.mono()-s.leftAt))
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	began := s.mono()
	for {
		sv := s.save()
		if _, err := s.wait(ctx, sv); err != nil {
			s.event(view.Event{
				Kind: "save_abandoned", Severity: view.Warn, Subject: filepath.Base(s.routing),
				Message: fmt.Sprintf("the disk has not answered for %v; the last save that ended stands", limit),
			})
			return
		}
		if sv.began >= began { // else it was under way already and may be old
			return
		}
	}
}

// poke has the loop save soon; the node is about to drain.
func (s *saver) poke() {
	s.mu.Lock()
	s.leaving, s.leftAt = true, s.mono()
	s.mu.Unlock()
	select {
	case s.poked <- struct{}{}:
	default: // it will
	}
}

// save starts a save, or returns the one under way. It does not wait. The
// goroutine ends when the disk lets it, which Run does not wait for.
func (s *saver) save() *saving {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		return s.current
	}
	sv := &saving{done: make(chan struct{}), began: s.mono()}
	s.current = sv
	go func() {
		out := saved{err: errors.New("the save panicked")}
		defer func() {
			if r := recover(); r != nil {
				s.event(view.Event{Kind: "panic", Severity: view.Alarm, Subject: "saver", Message: fmt.Sprintf("contained panic: %v", r)})
			}
			sv.out = out
			s.finished(out)
			close(sv.done)
		}()
		out = s.write()
	}()
	return sv
}

func (s *saver) wait(ctx context.Context, sv *saving) (saved, error) {
	select {
	case <-sv.done:
		return sv.out, nil
	case <-ctx.Done():
		return saved{}, ctx.Err()
	}
}

// write puts both files on disk. It waits for the disk.
func (s *saver) write() saved {
	peers, scores := s.remember()
	out := saved{kept: s.keep(len(peers))}
	now := s.wall()
	var errs []error
	if out.kept == "" {
		data, n, err := snapshot.EncodeRouting(s.owner, now, peers)
		out.peers = n
		errs = append(errs, s.replace(s.routing, data, err))
	}
	if len(scores) > 0 {
		data, n, err := snapshot.EncodeTrust(s.owner, now, scores)
		out.scores = n
		errs = append(errs, s.replace(s.trust, data, err))
	}
	out.err = errors.Join(errs...)
	return out
}

// Why routing.json is left as it is (spec dht 8.4).
const (
	keptEmpty  = "empty"     // nobody is known
	keptShrink = "no_shrink" // soon after a restore, with fewer than restored
)

func (s *saver) keep(peers int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case peers == 0:
		return keptEmpty
	case peers < s.floor && s.mono() < s.until:
		return keptShrink
	default:
		return ""
	}
}

func (s *saver) replace(path string, data []byte, err error) error {
	if err != nil {
		return err
	}
	s.mu.Lock()
	keep := s.good[path]
	s.mu.Unlock()
	if err := state.Replace(s.disk, path, data, keep); err != nil {
		return err
	}
	s.mu.Lock()
	s.good[path] = true
	s.mu.Unlock()
	return nil
}

// finished books a save and tells when saving begins or ceases to fail.
func (s *saver) finished(out saved) {
	s.mu.Lock()
	s.current = nil
	was := s.v.Error
	if out.err != nil {
		s.v.OK, s.v.Error, s.v.Failures = false, clean(oneLine(out.err)), s.v.Failures+1
	} else {
		s.v.OK, s.v.Error, s.v.Saves, s.v.At, s.v.Kept = true, "", s.v.Saves+1, s.wall().UTC(), out.kept
		if out.kept == "" {
			s.v.Peers = out.peers
		} else {
			s.v.KeptTimes++
		}
		s.v.Scores = out.scores
	}
	v := s.v
	s.mu.Unlock()
	switch {
	case out.err != nil:
		s.event(view.Event{
			Kind: "save_failed", Severity: view.Warn, Subject: filepath.Base(s.routing),
			Message: "what the node remembers was not saved: " + v.Error, Fields: map[string]any{"failures": v.Failures},
		})
	case was != "":
		s.event(view.Event{Kind: "saved", Subject: filepath.Base(s.routing), Message: "saving works again: " + out.words(s)})
	}
}

func oneLine(err error) string {
	if list, ok := err.(interface{ Unwrap() []error }); ok && len(list.Unwrap()) > 0 {
		return list.Unwrap()[0].Error() // both files are in one directory: one trouble
	}
	return err.Error()
}

// words say what was written, and where.
func (o saved) words(s *saver) string {
	routing := fmt.Sprintf("wrote %s (%d peers)", s.routing, o.peers)
	switch o.kept {
	case keptEmpty:
		routing = "left " + s.routing + " as it is: no peer is known"
	case keptShrink:
		routing = fmt.Sprintf("left %s as it is: it is within an hour of the start and fewer than the %d restored peers are known", s.routing, s.floor)
	}
	if o.scores == 0 {
		return routing + "; no peer has a trust worth keeping"
	}
	return fmt.Sprintf("%s; wrote %s (%d scores)", routing, s.trust, o.scores)
}

// fill writes the saver's part of the snapshot.
func (s *saver) fill(v *view.Saved) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*v = s.v
	if s.current != nil {
		v.SavingS = time.Duration(s.mono() - s.current.began).Seconds()
	}
}

// planSave writes what the node remembers, now.
func planSave(e *Engine, _ control.Command) (change, control.Result) {
	s := e.saver
	said := ""
	return change{
		plan: []string{fmt.Sprintf("writes %s and %s from the %d peers known now", s.routing, s.trust, e.dht.Table().Len())},
		apply: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, saveAnswer)
			defer cancel()
			out, err := s.wait(ctx, s.save())
			if err != nil {
				return fmt.Errorf("%w: the disk has not answered within %v: %w", errNotSaved, saveAnswer, err)
			}
			if out.err != nil {
				return fmt.Errorf("%w: %w", errNotSaved, out.err)
			}
			said = out.words(s)
			return nil
		},
		said: func() string { return said },
	}, none()
}

// savedCauses are what is wrong with saving.
func savedCauses(v *view.Saved, now time.Time) []view.Cause {
	c := view.Cause{Severity: view.Warn, Pane: "routing", Subject: "saved state"}
	switch {
	case v.SavingS > slowDisk.Seconds():
		c.Message = fmt.Sprintf("the disk has not answered a save for %.0f s", v.SavingS)
		c.Remedy = "look at the disk under the state directory; calls do not depend on it"
	case v.Error != "":
		c.Message = fmt.Sprintf("not saved (%d failures): %s", v.Failures, v.Error)
		if !v.At.IsZero() {
			c.Message += fmt.Sprintf("; the last save is %.0f s old", now.Sub(v.At).Seconds())
		}
		c.Remedy = "make room or mend the state directory; S (overview) tries again now"
	default:
		return nil
	}
	return []view.Cause{c}
}
