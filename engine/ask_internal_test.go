package engine

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"signalbox/relay/fed"
	"signalbox/relay/wire"
)

// TestQuestionsAreBounded: a relay takes no more than its places and gives them
// back, also one whose answer has nowhere to go.
func TestQuestionsAreBounded(t *testing.T) {
	e := bare(t)
	e.fed.answers, e.fed.mesh = map[string]int{}, fed.New(fed.Config{Self: strings.Repeat("ab", 32)}, 1)
	for i := range maxAsker {
		if !e.fed.answer("a") {
			t.Fatalf("question %d has no place", i)
		}
	}
	if e.fed.answer("a") || !e.fed.answer("b") {
		t.Error("one relay takes the places of another, or more than its own")
	}
	for range maxAsker {
		e.fed.answered("a")
	}
	e.fed.answered("b")
	if len(e.fed.answers) != 0 {
		t.Errorf("left over: %v", e.fed.answers)
	}
	body, err := json.Marshal(question{Room: "r", From: "x", To: "y"})
	if err != nil {
		t.Fatal(err)
	}
	trace := "123456789012" + string(body)
	e.askedBy("nobody", &wire.RouteQuery{TTL: 3, Trace: &trace})
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		e.fed.mu.Lock()
		n := len(e.fed.answers)
		e.fed.mu.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(until) {
			t.Fatal("a place is not given back")
		}
	}
}
