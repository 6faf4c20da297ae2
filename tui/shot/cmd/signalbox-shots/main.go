// Signalbox-shots makes screenshots/ and docs/tour.md anew from real runs of
// the demo: all stories, or those whose names begin with one of its arguments.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"signalbox/tui/shot"
)

// atOnce is how many demos run at the same time: one, since each is to show its
// own fault and not that the machine is busy.
const atOnce = 1

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
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
			put := func(p shot.Picture, frame string) error {
				mu.Lock()
				defer mu.Unlock()
				return g.Put(p, frame)
			}
			if err := s.play(ctx, bin, put); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			}
		})
	}
	wg.Wait()
	errs = append(errs, g.Save(names), os.WriteFile("docs/tour.md", []byte(g.Tour("../screenshots")), 0o644))
	return errors.Join(errs...)
}

func wanted(name string, prefixes []string) bool {
	return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// play runs a story's demo and takes the picture of each of its steps.
func (s *story) play(ctx context.Context, bin string, put func(shot.Picture, string) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	t, err := shot.Start(ctx, shot.Options{
		Cmd: []string{bin, "demo", "--scenario", s.scenario}, Env: s.env, Cols: s.cols, Rows: s.rows, Light: s.light,
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
		pic := shot.Picture{
			Name: p.name, Story: s.title, Scenario: s.scenario, Pane: p.pane, Keys: p.keys, Say: p.say,
			Cols: s.cols, Rows: s.rows, Light: s.light, Tour: p.say != "",
		}
		if err := put(pic, t.Screen()); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "screenshots/"+p.name+".png")
	}
	return nil
}
