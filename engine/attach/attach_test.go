package attach

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/state"
	"signalbox/engine/view"
)

// fakeNode is a node made of what the tests put into it.
type fakeNode struct {
	snap atomic.Pointer[view.Snapshot]
	took chan uint64 // if not nil, told of every snapshot that is asked for

	mu   sync.Mutex
	evs  []view.Event
	lost uint64
	cmds []control.Command
}

func newFake(started time.Time) *fakeNode {
	f := &fakeNode{}
	f.publish(1, started, "")
	return f
}

func (f *fakeNode) publish(seq uint64, started time.Time, pad string) {
	f.snap.Store(&view.Snapshot{Seq: seq, At: time.Now(), Node: view.Node{NodeID: "n", StartedAt: started, Version: pad}})
}

func (f *fakeNode) emit(kind string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.evs = append(f.evs, view.Event{Seq: f.lost + uint64(len(f.evs)) + 1, Kind: kind, At: time.Now()})
}

func (f *fakeNode) Snapshot() *view.Snapshot {
	s := f.snap.Load()
	if f.took != nil {
		select {
		case f.took <- s.Seq:
		default:
		}
	}
	return s
}

func (f *fakeNode) Events(after uint64) ([]view.Event, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.evs, func(e view.Event) bool { return e.Seq > after })
	if i < 0 {
		return nil, 0
	}
	return slices.Clone(f.evs[i:]), f.evs[i].Seq - after - 1
}

func (f *fakeNode) Do(_ context.Context, c control.Command) (control.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cmds = append(f.cmds, c)
	switch c.Target {
	case "missing":
		return control.Fail(control.NotFound, "no %s", c.Target), nil
	case "broken":
		return control.Result{}, errors.New("broken")
	}
	return control.Result{OK: true, Code: control.OK, Message: "done", EventSeq: 7}, nil
}

func (f *fakeNode) Explain(from, to string) view.Explanation {
	return view.Explanation{From: from, To: to, Hops: []view.Hop{}, Verdict: "ok"}
}

func (f *fakeNode) Audit() []view.Audit { return []view.Audit{{Author: "uid:x"}} }

// serve runs a server on a socket until the test, or the returned function,
// ends it.
func serve(t *testing.T, path string, n Node, tune func(*Server)) (stop func()) {
	t.Helper()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(n, nil)
	if tune != nil {
		tune(s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func socket(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "a.sock")
}

// until waits for a condition; the test's own deadline is the limit.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("never happened: " + what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func TestRoutes(t *testing.T) {
	path := socket(t)
	f := newFake(time.Now())
	f.emit("one")
	f.emit("two")
	serve(t, path, f, nil)
	a := NewAPI(path)
	defer a.Close()
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("socket mode %v, %v", st.Mode(), err)
	}
	s, err := a.Snapshot(t.Context())
	if err != nil || s.Seq != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	if x, err := a.Explain(t.Context(), "Ana & Bo", "c"); err != nil || x.From != "Ana & Bo" || x.To != "c" {
		t.Errorf("explain %+v, %v", x, err)
	}
	if x, err := a.Audit(t.Context()); err != nil || len(x) != 1 {
		t.Errorf("audit %+v, %v", x, err)
	}
	b, err := a.Get(t.Context(), "/v1/events?after=1")
	if err != nil || strings.Count(string(b), "\n") != 1 || !strings.Contains(string(b), `"two"`) {
		t.Errorf("events %s, %v", b, err)
	}
	if b, err := a.Get(t.Context(), "/debug/pprof/goroutine?debug=1"); err != nil || !bytes.Contains(b, []byte("goroutine profile")) {
		t.Errorf("pprof: %v", err)
	}
	for target, want := range map[string]control.Code{
		"/v1/nothing": control.NotFound, "/v1/history": control.NotFound, "/v1/events?after=x": control.Invalid,
		"/v1/explain?to=a": control.Invalid, "/v1/stream?interval_ms=fast": control.Invalid, "/v1/commands": control.NotFound,
	} {
		_, err := a.Get(t.Context(), target)
		var se *StatusError
		if !errors.As(err, &se) || se.Result.Code != want {
			t.Errorf("%s: %v, want %s", target, err, want)
		}
	}
}

func TestCommands(t *testing.T) {
	path := socket(t)
	f := newFake(time.Now())
	serve(t, path, f, nil)
	a := NewAPI(path)
	defer a.Close()
	res, err := a.Do(t.Context(), control.Command{Kind: control.RoomClose, Target: "r", Reason: "because", Author: "root", Role: control.Viewer})
	if err != nil || !res.OK || res.Plan == nil {
		t.Fatalf("%+v, %v", res, err)
	}
	if c := f.cmds[0]; c.Role != control.Operator || !strings.HasPrefix(c.Author, "uid:") || c.Reason != "because" {
		t.Errorf("the node got %+v", c)
	}
	if res, err := a.Do(t.Context(), control.Command{Kind: control.RoomClose, Target: "missing"}); err != nil || res.Code != control.NotFound {
		t.Errorf("%+v, %v", res, err)
	}
	if res, err := a.Do(t.Context(), control.Command{Kind: control.RoomClose, Target: "broken"}); err != nil || res.Code != control.Busy {
		t.Errorf("%+v, %v", res, err)
	}
	for name, body := range map[string]string{
		"unknown field": `{"kind":"room.close","target":"r","author":"root"}`,
		"no kind":       `{"target":"r"}`,
		"not JSON":      `kind=room.close`,
		"two":           `{"kind":"room.close"}{"kind":"room.lock"}`,
		"too large":     `{"kind":"room.close","reason":"` + strings.Repeat("x", maxBody) + `"}`,
	} {
		if _, err := a.open(t.Context(), http.MethodPost, "/v1/commands", []byte(body)); statusCode(err) != control.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(f.cmds) != 3 {
		t.Errorf("%d commands got through", len(f.cmds))
	}
}

func statusCode(err error) control.Code {
	if se, ok := errors.AsType[*StatusError](err); ok {
		return se.Result.Code
	}
	return ""
}

func TestStrangersAreDenied(t *testing.T) {
	path := socket(t)
	f := newFake(time.Now())
	serve(t, path, f, func(s *Server) {
		s.who = func(net.Conn) peer { return peer{author: "uid:mallory", refusal: "a stranger"} }
	})
	a := NewAPI(path)
	defer a.Close()
	for _, target := range []string{"/v1/snapshot", "/v1/stream", "/debug/pprof/heap"} {
		if _, err := a.Get(t.Context(), target); statusCode(err) != control.Denied {
			t.Errorf("%s: %v", target, err)
		}
	}
	if res, err := a.Do(t.Context(), control.Command{Kind: control.NodeDrain}); err != nil || res.Code != control.Denied || len(f.cmds) != 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestRoles(t *testing.T) {
	own := credentials{1000, 1000}
	member := func(uid uint32) []string {
		if uid == 1002 {
			return []string{"4", "1000"}
		}
		return nil
	}
	for cr, want := range map[credentials]control.Role{
		{1000, 5}: control.Operator, {0, 0}: control.Operator, {1001, 1000}: control.Operator,
		{1002, 1002}: control.Operator, {1003, 1003}: "",
	} {
		if p := judge(cr, own, member); p.role != want || (want == "" && p.refusal == "") {
			t.Errorf("%+v: %+v", cr, p)
		}
	}
}

func TestEventsFollow(t *testing.T) {
	path := socket(t)
	f := newFake(time.Now())
	f.lost = 3 // 1 to 3 are overtaken
	f.emit("four")
	serve(t, path, f, nil)
	a := NewAPI(path)
	defer a.Close()
	lines := make(chan view.Event)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- a.Lines(ctx, "/v1/events?after=1&follow=1", func(b []byte) error {
			var ev view.Event
			if err := json.Unmarshal(b, &ev); err != nil {
				return err
			}
			lines <- ev
			return nil
		})
	}()
	if ev := <-lines; ev.Kind != Missed || ev.Fields["count"] != 2.0 {
		t.Errorf("first line %+v", ev)
	}
	if ev := <-lines; ev.Seq != 4 {
		t.Errorf("second line %+v", ev)
	}
	f.emit("five")
	if ev := <-lines; ev.Seq != 5 || ev.Kind != "five" {
		t.Errorf("third line %+v", ev)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

func TestFollowersAreBounded(t *testing.T) {
	path := socket(t)
	serve(t, path, newFake(time.Now()), nil)
	a := NewAPI(path)
	defer a.Close()
	var open []io.Closer
	for range maxStreams {
		b, err := a.open(t.Context(), http.MethodGet, "/v1/stream?interval_ms=50", nil)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, b)
	}
	if _, err := a.Get(t.Context(), "/v1/events?follow=1"); statusCode(err) != control.Busy {
		t.Errorf("one too many: %v", err)
	}
	if _, err := a.Snapshot(t.Context()); err != nil {
		t.Errorf("a question is refused for followers: %v", err)
	}
	if err := open[0].Close(); err != nil {
		t.Error(err)
	}
	until(t, "a place becomes free", func() bool {
		b, err := a.open(t.Context(), http.MethodGet, "/v1/stream", nil)
		if err != nil {
			return false
		}
		open[0] = b
		return true
	})
	for _, b := range open {
		_ = b.Close()
	}
}

// TestIdlersKeepNobodyOut fills the socket with connections that ask nothing,
// or ask half: a question still finds a place, and followers keep theirs.
func TestIdlersKeepNobodyOut(t *testing.T) {
	path := socket(t)
	serve(t, path, newFake(time.Now()), nil)
	a := NewAPI(path)
	defer a.Close()
	follower, err := a.open(t.Context(), http.MethodGet, "/v1/stream?interval_ms=50", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = follower.Close() }()
	for i := range 2 * maxConns {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if i%2 == 0 {
			_, _ = io.WriteString(c, "GET /v1/snap") // it may be out already
		}
	}
	b := NewAPI(path)
	defer b.Close()
	if _, err := b.Snapshot(t.Context()); err != nil {
		t.Errorf("kept out: %v", err)
	}
	if _, err := follower.Read(make([]byte, 64)); err != nil {
		t.Errorf("the follower lost its place: %v", err)
	}
}

// TestSlowReaderSkips has a follower that does not read while the node goes
// on: it must miss snapshots rather than find them all in a queue.
func TestSlowReaderSkips(t *testing.T) {
	path := socket(t)
	started := time.Now()
	f := newFake(started)
	pad := strings.Repeat("x", 1<<20) // more than the socket's buffers take
	f.publish(1, started, pad)
	f.took = make(chan uint64, 1)
	serve(t, path, f, func(s *Server) { s.write = time.Minute })
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := fmt.Fprint(c, "GET /v1/stream?interval_ms=50 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-f.took // the server is at the first snapshot, which it cannot get rid of
	for seq := uint64(2); seq <= 50; seq++ {
		f.publish(seq, started, pad)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReaderSize(resp.Body, 2<<20)
	var seqs []uint64
	for len(seqs) < 2 {
		line, err := r.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		var s view.Snapshot
		if err := json.Unmarshal(line, &s); err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, s.Seq)
	}
	if seqs[0] != 1 || seqs[1] != 50 {
		t.Errorf("got %v: the second must be the newest", seqs)
	}
}

// TestDeafReaderIsCutOff has a follower that never reads: the write deadline
// ends it, and its place is free again.
func TestDeafReaderIsCutOff(t *testing.T) {
	path := socket(t)
	f := newFake(time.Now())
	f.publish(1, time.Now(), strings.Repeat("x", 4<<20))
	var srv *Server
	serve(t, path, f, func(s *Server) { s.write = 20 * time.Millisecond; srv = s })
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := fmt.Fprint(c, "GET /v1/stream HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	until(t, "the stream begins", func() bool { return len(srv.streams) == maxStreams-1 })
	until(t, "the stream is cut off", func() bool { return len(srv.streams) == maxStreams })
}

func TestListen(t *testing.T) {
	path := socket(t)
	stop := serve(t, path, newFake(time.Now()), nil)
	if _, err := Listen(path); !errors.Is(err, state.ErrSocketInUse) {
		t.Errorf("a second node gets %v", err)
	}
	stop()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed process would leave it
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := NewAPI(path).Snapshot(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a stale socket: %v", err)
	}
	l, err = Listen(path)
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Dial(path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
}

func TestClientFollowsAcrossARestart(t *testing.T) {
	path := socket(t)
	first := time.Now()
	f := newFake(first)
	f.emit("a")
	f.emit("b")
	stop := serve(t, path, f, nil)
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	until(t, "events a and b", func() bool { evs, _ := c.Events(0); return len(evs) == 2 })
	f.publish(9, first, "")
	until(t, "snapshot 9", func() bool { return c.Snapshot().Seq == 9 })
	if st := c.Status(); !st.Connected || st.Err != nil || c.Lost() != nil {
		t.Errorf("status %+v", st)
	}
	stop()
	until(t, "the loss is noticed", func() bool { st := c.Status(); return !st.Connected && st.Err != nil })
	if c.Lost() == nil {
		t.Error("the loss is not told")
	}
	if c.Snapshot().Seq != 9 {
		t.Error("the last snapshot is forgotten")
	}
	g := newFake(first.Add(time.Hour))
	g.emit("c")
	serve(t, path, g, nil)
	until(t, "the new node", func() bool { return c.Status().Connected && c.Snapshot().Seq == 1 })
	until(t, "event c", func() bool { evs, _ := c.Events(2); return len(evs) == 1 })
	evs, missed := c.Events(2)
	if evs[0].Seq != 3 || evs[0].Kind != "c" || missed != 0 {
		t.Errorf("events go on as %+v, %d missed", evs, missed)
	}
	res, err := c.Do(t.Context(), control.Command{Kind: control.NodeSave})
	if err != nil || res.EventSeq != 7+2 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestClientEventsCountsWhatIsLost(t *testing.T) {
	c := &Client{}
	for _, seq := range []uint64{4, 5, 9} {
		b, err := json.Marshal(view.Event{Seq: seq})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.eventLine(b); err != nil {
			t.Fatal(err)
		}
	}
	for after, want := range map[uint64][2]uint64{0: {3, 6}, 4: {2, 3}, 8: {1, 0}, 9: {0, 0}, 99: {0, 0}} {
		evs, missed := c.Events(after)
		if uint64(len(evs)) != want[0] || missed != want[1] {
			t.Errorf("after %d: %d events, %d missed", after, len(evs), missed)
		}
	}
}
