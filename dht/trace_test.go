package dht

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
	"signalbox/engine/view"
)

// line makes actors each of which knows the next only, and links the first.
func (s *script) line(n int) []*actor {
	var out []*actor
	for i := range n {
		out = append(out, s.actor(i, 10*time.Millisecond))
	}
	for i := range n - 1 {
		out[i].tells = []wire.Node{out[i+1].node()}
	}
	s.linked(out[0])
	return out
}

// An operator follows a lookup while it goes on; looking holds nothing up.
func TestTraceIsSeenHopByHop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		way := s.line(5)
		seq, err := s.n.Trace(way[4].id, "the last one")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.n.traces.mu.Lock() // readers and the lookup need no lock in between
		for hop := 1; hop <= 5; hop++ {
			tr := s.view().Trace[0]
			if tr.Seq != seq || tr.State != view.LookupActive || tr.Label != "the last one" || tr.For != ForOperator || tr.Waiting != 1 || len(tr.Queries) != hop {
				t.Fatalf("hop %d: %+v", hop, tr)
			}
			q := tr.Queries[hop-1]
			if q.Outcome != view.QueryWaiting || q.Hop != hop || q.Peer != way[hop-1].id.String() || q.Bits != table.BucketIndex(&way[4].id, &way[hop-1].id) {
				t.Fatalf("hop %d: %+v", hop, q)
			}
			if hop == 5 {
				s.n.traces.mu.Unlock() // the end is listed under it
			}
			time.Sleep(20*time.Millisecond - time.Duration(b2i(hop == 1))*10*time.Millisecond) // a connection and an answer
			synctest.Wait()
		}
		tr := s.view().Trace[0]
		if tr.State != view.LookupDone || tr.Hops != 5 || tr.Found != 5 || tr.Answered != 5 || tr.TookMS != 90 || tr.Stop != stopExhausted {
			t.Errorf("%+v", tr)
		}
		time.Sleep(time.Minute)
		if tr := s.view().Trace[0]; tr.TookMS != 90 || tr.AgeS < 60 {
			t.Errorf("took %v ms, %v s ago", tr.TookMS, tr.AgeS)
		}
	})
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestTracesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		a := s.actor(1, time.Millisecond)
		s.linked(a)
		own, err := s.n.Trace(testID(9), "mine")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for i := range 50 {
			if _, err := s.n.LookupAs(t.Context(), testID(10+i), Ask{For: ForRefresh, Label: fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
		list := s.view().Trace
		if len(list) != listDone+1 || list[0].Label != "49" || list[listDone].Seq != own {
			t.Fatalf("%d are listed", len(list))
		}
		// A silent peer keeps lookups going: the list of those is bounded, and
		// so are an operator's.
		a.mute = true
		for i := range 3 * listActive {
			go func() { _, _ = s.n.Lookup(t.Context(), testID(100+i)) }()
		}
		for range maxAsked {
			if _, err := s.n.Trace(testID(5), ""); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.n.Trace(testID(5), ""); !errors.Is(err, ErrBusy) {
			t.Error("a fourth trace:", err)
		}
		synctest.Wait()
		v := s.view()
		if v.Active != 3*listActive+maxAsked || len(v.Trace) > listActive+listDone+listAsked {
			t.Errorf("%d active, %d listed", v.Active, len(v.Trace))
		}
		time.Sleep(lookupTimeout)
		if _, err := s.n.Trace(testID(5), ""); err != nil {
			t.Error("the places are not given back:", err)
		}
		time.Sleep(lookupTimeout)
		if v := s.view(); v.Active != 0 || v.Trace[0].State != view.LookupFailed || v.Trace[0].Stop != stopNobody {
			t.Errorf("%+v", v.Trace[0])
		}
	})
	if _, err := quiet(t).Trace(testID(5), ""); !errors.Is(err, ErrNotRunning) {
		t.Error(err)
	}
}

// Readers and writers do not wait for each other, nor see halves; for -race.
func TestTraceIsReadWhileWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet()
		nodes := []*memNode{m.add(t, 0)}
		for i := 1; i < 20; i++ {
			nodes = append(nodes, m.add(t, i, nodes[0]))
		}
		time.Sleep(10 * time.Second)
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range 20 {
				_, _ = nodes[3].Lookup(t.Context(), testID(1000+i))
			}
		}()
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				var v view.DHT
				nodes[3].Fill(&v, m.now())
				for _, tr := range v.Lookups.Trace {
					if tr.Asked != tr.Waiting+tr.Answered+tr.Failed || len(tr.Queries) > maxTraced {
						t.Errorf("%+v", tr)
					}
				}
				if _, err := json.Marshal(v.Lookups); err != nil {
					t.Error(err)
				}
			}
		}()
		<-done
		close(stop)
	})
}

func TestOutcomeNames(t *testing.T) {
	for _, err := range []error{ErrTimeout, ErrRefused, ErrUnreachable, ErrLinkLost, ErrBadReply, ErrBusy, ErrNotFound, t.Context().Err()} {
		if name := outcome(fmt.Errorf("x: %w", err)); name == "" || strings.Contains(name, " ") || err != nil && name == "failed" {
			t.Error(err, name)
		}
	}
}
