package sample

import (
	"context"
	"fmt"
	"sync"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/view"
)

// Source is a node that exists on paper: it plays a scene, a step each time
// Step is called, and notes the commands it is sent.
type Source struct {
	// Fail, when set, decides a command's answer. Set it before use.
	Fail func(control.Command) (control.Result, error)

	mu    sync.Mutex
	scene Scene
	step  int
	snap  *view.Snapshot
	cmds  []control.Command
}

// NewSource starts a scene at a step.
func NewSource(sc Scene, step int) *Source {
	return &Source{scene: sc, step: step, snap: At(sc, step)}
}

// Step moves on by n quarters of a second.
func (s *Source) Step(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step += n
	s.snap = At(s.scene, s.step)
}

// Play changes the scene at the next step.
func (s *Source) Play(sc Scene) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scene = sc
}

// Commands returns what was sent so far, plans included.
func (s *Source) Commands() []control.Command {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]control.Command(nil), s.cmds...)
}

// Snapshot returns the step's state.
func (s *Source) Snapshot() *view.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snap
}

// Events returns the scene's news after a sequence number.
func (s *Source) Events(after uint64) ([]view.Event, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	evs := Events(s.scene)
	if after >= uint64(len(evs)) {
		return nil, 0
	}
	return evs[after:], 0
}

// Do notes the command and agrees, unless Fail says otherwise.
func (s *Source) Do(_ context.Context, c control.Command) (control.Result, error) {
	s.mu.Lock()
	s.cmds = append(s.cmds, c)
	s.mu.Unlock()
	if s.Fail != nil {
		return s.Fail(c)
	}
	res := control.Result{OK: true, Code: control.OK, Message: "dry run: nothing was changed", Plan: []string{
		fmt.Sprintf("%s on %s: this is what the node would do, in its own words", c.Kind, c.Target), "ends by itself after 5m0s", "can be undone",
	}}
	if !c.DryRun {
		res.Message, res.Undo = res.Plan[0], "u-18"
	}
	return res, nil
}

// History returns what the scene looked like.
func (s *Source) History(_ context.Context, from, to time.Time, step time.Duration) ([]*view.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*view.Snapshot
	for i := 0; i <= s.step; i += max(1, int(step/(250*time.Millisecond))) {
		if snap := At(s.scene, i); !snap.At.Before(from) && !snap.At.After(to) {
			out = append(out, snap)
		}
	}
	return out, nil
}

// Explain tells of a receiver whose queue is full.
func (s *Source) Explain(_ context.Context, from, to string) (view.Explanation, error) {
	return view.Explanation{From: from, To: to, Verdict: to + " does not keep up: its queue drops what is older than 500 ms", Remedy: "theirs to mend; participant.kick p4 makes their client connect anew", Hops: []view.Hop{
		{Name: "sender " + from, LastPacketAgo: 12, RatePPS: 50, Verdict: "ok"},
		{Name: "shard media/3", LastPacketAgo: 12, RatePPS: 4120, QueueDepth: 2, Verdict: "ok"},
		{Name: "receiver " + to, LastPacketAgo: 12, RatePPS: 31, QueueDepth: 256, Dropped: map[string]uint64{"queue_age": 466, "queue_head": 12}, Verdict: "drops the oldest"},
	}}, nil
}

// Trail tells of two changes.
func (s *Source) Trail(context.Context) ([]view.Audit, error) {
	at := Start.Add(12 * 24 * time.Hour)
	return []view.Audit{
		{At: at, Author: "ssh:ada@home", Role: "operator", Kind: "source.ban", Target: "203.0.113.77", Reason: "flood", Until: at.Add(time.Hour), OK: true, Code: "ok", UndoID: "u-17"},
		{At: at.Add(-time.Minute), Author: "uid:mallory", Role: "viewer", Kind: "room.close", Target: "town hall", OK: false, Code: "denied", Message: "viewers only look"},
	}, nil
}
