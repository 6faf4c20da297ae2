package tui

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"

	"signalbox/tui/internal/sample"
)

// TestATapeGivesTheSameFrames tapes a console that looks about, asks, looks
// back and acts, and plays the tape: every frame comes again, whoever asks in
// the meantime.
func TestATapeGivesTheSameFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := sample.NewSource(sample.HotShard, 40)
		var tape bytes.Buffer
		r, err := newRecorder(src, Options{Title: "taped"}, &tape)
		if err != nil {
			t.Fatal(err)
		}
		type seen struct {
			at    int
			frame string
		}
		var frames []seen
		var send func(msg tea.Msg)
		run := func(cmd tea.Cmd) {
			if cmd == nil {
				return
			}
			if msg := cmd(); kindOf(msg) != "" {
				send(msg)
			} else if batch, ok := msg.(tea.BatchMsg); ok {
				for _, c := range batch {
					if msg := c; msg != nil {
						if m := msg(); kindOf(m) != "" {
							send(m)
						}
					}
				}
			}
		}
		send = func(msg tea.Msg) {
			time.Sleep(30 * time.Millisecond)
			_, cmd := r.Update(msg)
			frames = append(frames, seen{strings.Count(tape.String(), "\n") - 1, r.m.frame})
			run(cmd)
		}
		run(r.Init())
		send(tea.WindowSizeMsg{Width: 100, Height: 30})
		for _, k := range []string{"2", "j", "R", "y", "6", "3", "enter", "4", "d", "esc", "[", "[", ".", ":", "a", "u", "d", "i", "t", "enter", "esc", "1", "x", "esc", "space"} {
			src.Step(1)
			send(tickMsg{})
			send(keyPress(k))
		}
		if err := r.tapeErr(); err != nil {
			t.Fatal(err)
		}
		if len(src.Commands()) == 0 || len(frames) < 50 {
			t.Fatalf("%d frames, %d commands", len(frames), len(src.Commands()))
		}
		defer time.Sleep(time.Second) // the last tick ends inside the bubble
		p, err := NewPlayer(bytes.NewReader(tape.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		p.Settle = synctest.Wait
		for i, f := range frames {
			if err := p.PlayTo(f.at); err != nil {
				t.Fatal(err)
			}
			if p.Frame() != f.frame {
				t.Fatalf("frame %d:\n%s", i, otherRows(f.frame, p.Frame()))
			}
		}
		if err := p.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("after the last entry: %v", err)
		}
	})
}

// TestATapeOfAnotherConsole: what is no tape, and one whose console asked what
// this one does not ask, is an error and not a hang.
func TestATapeOfAnotherConsole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Second)
		for _, text := range []string{"", "x\n", "{}\n", `{"k":"tick"}` + "\n", `{"k":"open","open":{}}` + "\n"} {
			if _, err := NewPlayer(strings.NewReader(text)); err == nil {
				t.Errorf("%q is a tape", text)
			}
		}
		head := `{"k":"open","open":{}}` + "\n" + `{"k":"snap","snap":{}}` + "\n"
		for _, text := range []string{`{"k":"plan"}`, `{"k":"unheard of"}`, `{"k":"key"}`, `{"k":"snap","snap":[]}`, "{"} {
			p, err := NewPlayer(strings.NewReader(head + text + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			p.Settle = synctest.Wait
			if err := p.Next(); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("%s is played: %v", text, err)
			}
			p.Close()
		}
	})
}
