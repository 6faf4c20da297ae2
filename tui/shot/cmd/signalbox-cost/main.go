// Signalbox-cost reports what a console costs: bytes a second to its terminal
// and the CPU of its process, attached to a node that idles and to a calm demo.
// It measures and judges nothing.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"signalbox/tui/shot"
)

func main() {
	secs := flag.Int("seconds", 20, "how long each case is measured")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, time.Duration(*secs)*time.Second)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "signalbox-cost:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, d time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "signalbox-cost-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bin := filepath.Join(dir, "signalbox")
	build := exec.CommandContext(ctx, "go", "build", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	fmt.Fprintf(os.Stdout, "%-28s %-9s %12s %12s\n", "node", "size", "bytes/s", "cpu % core")
	for _, c := range []struct {
		name       string
		args       []string
		cols, rows int
	}{
		{"serve, nobody on it", []string{"serve", "--listen", "127.0.0.1:0", "--state-dir", filepath.Join(dir, "s")}, 200, 50},
		{"demo calm", []string{"demo", "--headless"}, 80, 24},
		{"demo calm", []string{"demo", "--headless"}, 200, 50},
	} {
		if err := measure(ctx, bin, c.name, c.args, c.cols, c.rows, d); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// measure starts a node and attaches a console to it.
func measure(ctx context.Context, bin, name string, args []string, cols, rows int, d time.Duration) (err error) {
	node := exec.CommandContext(ctx, bin, args...)
	out, err := node.StdoutPipe()
	if err != nil {
		return err
	}
	if err := node.Start(); err != nil {
		return err
	}
	defer func() {
		serr := node.Process.Signal(syscall.SIGTERM)
		_ = node.Wait() // ended by our signal
		if serr != nil && !errors.Is(serr, os.ErrProcessDone) {
			err = errors.Join(err, serr)
		}
	}()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("no ready line: %w", err)
	}
	var ready struct{ Admin string }
	if err := json.Unmarshal(line, &ready); err != nil {
		return err
	}
	var sent counter
	t, err := shot.Start(ctx, shot.Options{Cmd: []string{bin, "attach", ready.Admin}, Cols: cols, Rows: rows, Raw: &sent})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.End()) }()
	if err := t.Press(ctx, "until:LIVE", "wait:5s"); err != nil {
		return err
	}
	b0, c0, at := sent.Load(), cpu(t.Pid()), time.Now()
	if err := t.Press(ctx, "wait:"+d.String()); err != nil {
		return err
	}
	s := time.Since(at).Seconds()
	fmt.Fprintf(os.Stdout, "%-28s %-9s %12.0f %12.2f\n", name, fmt.Sprintf("%dx%d", cols, rows), float64(sent.Load()-b0)/s, 100*(cpu(t.Pid())-c0).Seconds()/s)
	return nil
}

// counter counts bytes.
type counter struct{ atomic.Int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.Add(int64(len(b)))
	return len(b), nil
}

// cpu is the time a process has computed, from /proc.
func cpu(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}
