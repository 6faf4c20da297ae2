package attach

import (
	"encoding/json"
	"io"
	"testing"
	"time"

	"signalbox/engine/view"
)

// historian is a node with a past of n seconds.
type historian struct {
	*fakeNode
	began time.Time
	n     int
}

func (h historian) History(from, to time.Time, step time.Duration, yield func([]byte) bool) error {
	for i := 0; i < h.n; i += max(1, int(step/time.Second)) {
		at := h.began.Add(time.Duration(i) * time.Second)
		if at.Before(from) || !to.IsZero() && at.After(to) {
			continue
		}
		js, err := json.Marshal(&view.Snapshot{Seq: uint64(i), At: at})
		if err != nil || !yield(js) {
			return err
		}
	}
	return nil
}

func (h historian) Recording(w io.Writer, _, _ time.Time) error {
	_, err := w.Write([]byte("a recording"))
	return err
}

func TestHistory(t *testing.T) {
	path := socket(t)
	h := historian{newFake(time.Now()), time.Now().Add(-2000 * time.Second).Truncate(time.Second), 2000}
	serve(t, path, h, nil)
	a := NewAPI(path)
	defer a.Close()
	got, err := a.History(t.Context(), h.began.Add(10*time.Second), h.began.Add(19*time.Second), 0)
	if err != nil || len(got) != 10 || got[0].Seq != 10 {
		t.Fatalf("%d snapshots, %v", len(got), err)
	}
	if got, err = a.History(t.Context(), time.Time{}, time.Time{}, 100*time.Second); err != nil || len(got) != 20 {
		t.Fatalf("every hundredth: %d, %v", len(got), err)
	}
	if got, err = a.History(t.Context(), time.Time{}, time.Time{}, 0); err != nil || len(got) != historyMost {
		t.Fatalf("all of it: %d, %v", len(got), err)
	}
	if b, err := a.Get(t.Context(), "/v1/recording"); err != nil || string(b) != "a recording" {
		t.Fatalf("%q, %v", b, err)
	}
	if _, err := a.Get(t.Context(), "/v1/history?from=yesterday"); err == nil {
		t.Fatal("yesterday is no time")
	}
}
