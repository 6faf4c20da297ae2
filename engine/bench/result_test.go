package bench

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"testing"
	"time"
)

// promised are the keys of contract section 6, null where nothing was measured.
var promised = []string{
	"workload", "params", "duration_s", "sent", "expected", "delivered", "lost", "latency_us",
	"cpu_us_per_delivered", "allocs_per_forward", "server_rss_bytes", "machine", "commit",
}

// keys reads what a result prints.
func keys(t *testing.T, r *Result) map[string]any {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b.Bytes(), &m); err != nil {
		t.Fatal(err)
	}
	for _, k := range promised {
		if _, ok := m[k]; !ok {
			t.Errorf("%s is missing: %s", k, b.String())
		}
	}
	if err := r.WriteTable(&b); err != nil {
		t.Error(err)
	}
	return m
}

func TestWhatWasNotMeasuredIsNull(t *testing.T) {
	r := newResult("room", nil, time.Second)
	r.Delivered = 5
	r.measure(reading{}, reading{})
	m := keys(t, r)
	for _, k := range []string{"cpu_us_per_delivered", "allocs_per_forward", "server_rss_bytes"} {
		if m[k] != nil {
			t.Errorf("%s is %v though nothing was measured", k, m[k])
		}
	}
}

// insider serves a dispatcher in this process.
type insider struct {
	io.WriteCloser
	out  bytes.Buffer
	done chan error
}

func (i *insider) report() ([]byte, error) {
	err := <-i.done
	return i.out.Bytes(), err
}

func beside(t *testing.T) *insider {
	r, w := io.Pipe()
	i := &insider{WriteCloser: w, done: make(chan error, 1)}
	go func() {
		err := ServeDispatch(t.Context(), r, &i.out)
		r.CloseWithError(err)
		i.done <- err
	}()
	return i
}

func TestDispatchTellsItsCost(t *testing.T) {
	r, err := runDispatch(t.Context(), beside(t), DispatchParams{Sources: 100, Wedge: 1, HotShare: 0.5, RatePPS: 20000, Seconds: 0.3, Shards: 4, Capacity: 1024})
	if err != nil {
		t.Fatal(err)
	}
	m := keys(t, r)
	for _, k := range slices.Concat([]string{"server_unexplained"}, promised) {
		if m[k] == nil {
			t.Errorf("%s is null", k)
		}
	}
	if m["server_unexplained"] != 0.0 {
		t.Errorf("%v unexplained", m["server_unexplained"])
	}
}
