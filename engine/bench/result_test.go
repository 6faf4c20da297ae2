package bench

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestWhatWasNotMeasuredIsAbsent(t *testing.T) {
	r := newResult("room", nil, time.Second)
	r.Delivered = 5
	r.measure(reading{}, reading{})
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"cpu_us_per_delivered", "allocs_per_forward", "server_rss_bytes"} {
		if strings.Contains(b.String(), key) {
			t.Errorf("%s is there: %s", key, b.String())
		}
	}
	if err := r.WriteTable(&b); err != nil {
		t.Error(err)
	}
}
