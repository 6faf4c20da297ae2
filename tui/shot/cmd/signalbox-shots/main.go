// Signalbox-shots makes screenshots/ anew from real runs of the demo: all
// pictures, or those whose names begin with one of its arguments.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"signalbox/tui/shot"
)

// picture is one file of screenshots/.
type picture struct {
	name       string
	scenario   string
	cols, rows int
	keys       []string
	env        []string
}

var pictures = []picture{
	{"overview", "calm", 120, 40, []string{"wait:12s"}, nil},
	{"overview-80x24", "bad-room", 80, 24, []string{"wait:14s"}, nil},
	{"overview-200x50", "bad-room", 200, 50, []string{"wait:14s"}, nil},
	{"shards-hot", "hot-shard", 120, 40, []string{"wait:10s", "2", "wait:2s"}, nil},
	{"shards-hot-80x24", "hot-shard", 80, 24, []string{"wait:10s", "2", "wait:2s"}, nil},
	{"shards-throttle-plan", "hot-shard", 120, 40, []string{"wait:10s", "2", "wait:1s", "t", "wait:1s"}, nil},
	{"rooms", "bad-room", 120, 40, []string{"wait:14s", "3", "wait:2s"}, nil},
	{"room-bad", "bad-room", 120, 40, []string{"wait:14s", "3", "wait:1s", "enter", "wait:1s"}, nil},
	{"room-bad-80x24", "bad-room", 80, 24, []string{"wait:14s", "3", "wait:1s", "enter", "wait:1s"}, nil},
	{"routing", "calm", 120, 40, []string{"wait:10s", "4", "wait:2s"}, nil},
	{"shards-hot-200x50", "hot-shard", 200, 50, []string{"wait:10s", "2", "wait:2s"}, nil},
	{"room-bad-200x50", "bad-room", 200, 50, []string{"wait:14s", "3", "wait:1s", "enter", "wait:1s"}, nil},
	{"routing-200x50", "calm", 200, 50, []string{"wait:10s", "4", "wait:2s"}, nil},
	{"routing-80x24", "calm", 80, 24, []string{"wait:10s", "4", "wait:2s"}, nil},
	{"routing-trace", "calm", 120, 40, []string{"wait:10s", "4", "wait:1s", "t", "ctrl+u", "routing.trace room:radio", "enter", "until:nothing has been changed yet", "y", "until:stands", "wait:2s"}, nil},
	{"routing-trace-80x24", "calm", 80, 24, []string{"wait:10s", "4", "wait:1s", "t", "ctrl+u", "routing.trace room:radio", "enter", "until:nothing has been changed yet", "y", "until:stands", "wait:2s"}, nil},
	{"routing-contact", "calm", 120, 40, []string{"wait:10s", "4", "wait:1s", "enter", "wait:1s"}, nil},
	{"routing-nocolor-80x24", "calm", 80, 24, []string{"wait:10s", "4", "wait:2s"}, []string{"NO_COLOR=yes"}},
	{"events", "bad-room", 120, 40, []string{"wait:14s", "5", "wait:2s"}, nil},
	{"help", "calm", 120, 40, []string{"wait:6s", "2", "wait:1s", "?", "wait:1s"}, nil},
	{"overview-nocolor-80x24", "bad-room", 80, 24, []string{"wait:14s"}, []string{"NO_COLOR=yes"}},
}

// fontPx is the pictures' font size in pixels.
const fontPx = 14

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "signalbox-shots:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "signalbox-shots-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "signalbox")
	build := exec.CommandContext(ctx, "go", "build", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	if err := os.MkdirAll("screenshots", 0o755); err != nil {
		return err
	}
	for _, p := range pictures {
		if !wanted(p.name, os.Args[1:]) {
			continue
		}
		if err := take(ctx, bin, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Fprintln(os.Stderr, "screenshots/"+p.name+".png")
	}
	return nil
}

func wanted(name string, prefixes []string) bool {
	return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

func take(ctx context.Context, bin string, p picture) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	frame, err := shot.Capture(ctx, shot.Options{
		Cmd: []string{bin, "demo", "--scenario", p.scenario}, Env: p.env, Cols: p.cols, Rows: p.rows, Keys: p.keys,
		Settle: 80 * time.Millisecond, // less than the time between two frames of a live console
	})
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	if err := shot.PNG(&buf, frame, p.cols, p.rows, fontPx); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join("screenshots", p.name+".png"), buf.Bytes(), 0o644)
}
