// Signalbox-shots makes screenshots/ and docs/tour.md anew from real runs of
// the demo: all stories, or those whose names begin with one of its arguments.
// With -repaint nothing is run: what the consoles of the pictures were told is
// told to the console of today.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"signalbox/tui"
	"signalbox/tui/shot"
)

// atOnce is how many demos run at the same time: one, since each is to show its
// own fault and not that the machine is busy.
const atOnce = 1

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	again := flag.Bool("repaint", false, "make the pictures from their tapes, without running the demo")
	flag.Parse()
	do := run
	if *again {
		do = paintAgain
	}
	err := do(ctx, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "signalbox-shots:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, prefixes []string) (err error) {
	dir, err := os.MkdirTemp("", "signalbox-shots-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bin := filepath.Join(dir, "signalbox")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	if err := os.MkdirAll("screenshots", 0o755); err != nil {
		return err
	}
	g, err := shot.OpenGallery("screenshots")
	if err != nil {
		return err
	}
	var names []string
	var errs []error
	for _, s := range stories {
		for _, p := range s.steps {
			names = append(names, p.name)
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i := range stories {
		s := &stories[i]
		if !wanted(s.name, prefixes) {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			err := s.play(ctx, bin, filepath.Join(dir, s.name+".tape"))
			mu.Lock()
			defer mu.Unlock()
			if err = errors.Join(err, s.keep(g, filepath.Join(dir, s.name+".tape"))); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			}
		})
	}
	wg.Wait()
	return errors.Join(append(errs, save(g, names))...)
}

// save writes the index and the page that is made of it.
func save(g *shot.Gallery, names []string) error {
	return errors.Join(g.Save(names), os.WriteFile("docs/tour.md", []byte(g.Tour("../screenshots")), 0o644))
}

func wanted(name string, prefixes []string) bool {
	return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// play runs a story's demo on a tape and keeps the screen of each of its steps.
func (s *story) play(ctx context.Context, bin, tape string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	t, err := shot.Start(ctx, shot.Options{
		Cmd: []string{bin, "demo", "--scenario", s.scenario, "--tape", tape}, Env: s.env, Cols: s.cols, Rows: s.rows, Light: s.light,
		Settle:   80 * time.Millisecond, // less than the time between two frames of a live console
		Patience: 40 * time.Second,
	})
	if err != nil {
		return err
	}
	var missed []error
	defer func() { err = errors.Join(err, errors.Join(missed...), t.End()) }()
	for _, p := range s.steps {
		for _, k := range p.keys {
			if err := t.Press(ctx, k); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			if text, ok := strings.CutPrefix(k, "until:"); ok && !strings.Contains(t.Text(), text) {
				missed = append(missed, fmt.Errorf("%s: %q never came", p.name, text))
			}
		}
		s.taken = append(s.taken, shot.Picture{
			Name: p.name, Story: s.title, Scenario: s.scenario, Pane: p.pane, Keys: p.keys, Say: p.say,
			Cols: s.cols, Rows: s.rows, Light: s.light, Tour: p.say != "", Tape: s.name,
		})
		screen, err := shot.OnScreen(t.Screen(), s.cols, s.rows)
		if err != nil {
			return err
		}
		s.screens = append(s.screens, screen)
		fmt.Fprintln(os.Stderr, "screenshots/"+p.name+".png")
	}
	return nil
}

// keep finds each screen that was seen among the frames that the console makes
// of the tape, and puts pictures and tape into the gallery.
func (s *story) keep(g *shot.Gallery, file string) error {
	tape, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	p, err := tui.NewPlayer(bytes.NewReader(tape))
	if err != nil {
		return err
	}
	defer p.Close()
	last := ""
	for i := 0; i < len(s.taken); {
		if err := p.Next(); err != nil {
			return fmt.Errorf("%s was not found on the tape: %w", s.taken[i].Name, err)
		}
		if p.Frame() == last {
			continue
		}
		last = p.Frame()
		frame, err := shot.OnScreen(last, s.cols, s.rows)
		if err != nil {
			return err
		}
		for ; i < len(s.taken) && frame == s.screens[i]; i++ {
			s.taken[i].At = p.Played()
			if err := g.Put(s.taken[i], frame); err != nil {
				return err
			}
		}
	}
	return g.PutTape(s.name, lines(tape, p.Played()+1)) // and the opening
}

// lines are the first n lines of a text.
func lines(text []byte, n int) []byte {
	at := 0
	for range n {
		i := bytes.IndexByte(text[at:], '\n')
		if i < 0 {
			return text
		}
		at += i + 1
	}
	return text[:at]
}

// paintAgain makes pictures from their tapes.
func paintAgain(_ context.Context, prefixes []string) error {
	g, err := shot.OpenGallery("screenshots")
	if err != nil {
		return err
	}
	var names []string
	for i := range g.Pictures {
		names = append(names, g.Pictures[i].Name)
	}
	for i := range stories {
		s := &stories[i]
		if !wanted(s.name, prefixes) {
			continue
		}
		if err := repaint(g, s.name); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return save(g, names)
}

// repaint makes the pictures of one tape.
func repaint(g *shot.Gallery, name string) error {
	tape, err := g.Tape(name)
	if err != nil {
		return err
	}
	p, err := tui.NewPlayer(bytes.NewReader(tape))
	if err != nil {
		return err
	}
	defer p.Close()
	for i := range g.Pictures {
		pic := &g.Pictures[i]
		if pic.Tape != name {
			continue
		}
		if err := p.PlayTo(pic.At); err != nil {
			return fmt.Errorf("%s: %w", pic.Name, err)
		}
		frame, err := shot.OnScreen(p.Frame(), pic.Cols, pic.Rows)
		if err != nil {
			return err
		}
		if err := g.Put(*pic, frame); err != nil {
			return err
		}
	}
	return nil
}
