package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"signalbox/engine/attach"
	"signalbox/engine/view"
)

// clockTick is the kernel's USER_HZ: /proc/PID/stat counts CPU in it.
const clockTick = 100

// Node is the node under test: a process of its own, so that its CPU is its
// own, or one that already runs somewhere.
type Node struct {
	Addr  netip.AddrPort
	Admin string
	PID   int

	cmd *exec.Cmd
	dir string
}

type readyLine struct {
	Event  string `json:"event"`
	Listen string `json:"listen"`
	Admin  string `json:"admin"`
	PID    int    `json:"pid"`
}

// StartNode runs this binary's serve on loopback with a throw-away state
// directory and waits for its ready line.
func StartNode(ctx context.Context, exe string, extra ...string) (*Node, error) {
	dir, err := os.MkdirTemp("", "signalbox-bench-")
	if err != nil {
		return nil, err
	}
	args := append([]string{
		"serve", "--listen", "127.0.0.1:0", "--state-dir", dir, "--admin", filepath.Join(dir, "a.sock"), "--insecure-allow-loopback",
	}, extra...)
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	logf, err := os.Create(filepath.Join(dir, "node.log"))
	if err != nil {
		return nil, err
	}
	defer logf.Close()
	cmd.Stderr = logf
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: start node: %w", err)
	}
	n := &Node{cmd: cmd, dir: dir, PID: cmd.Process.Pid}
	var rl readyLine
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &rl)
	}
	if err == nil && rl.Event != "ready" {
		err = errors.New("no ready line")
	}
	if err == nil {
		n.Admin = rl.Admin
		n.Addr, err = netip.ParseAddrPort(rl.Listen)
	}
	if err != nil {
		text, rerr := os.ReadFile(filepath.Join(dir, "node.log"))
		return nil, errors.Join(fmt.Errorf("bench: node did not start: %w\n%s", err, text), rerr, n.Stop())
	}
	go func() {
		_, _ = io.Copy(io.Discard, out) // the node writes nothing more; its end ends this
	}()
	return n, nil
}

// Stop ends the process we started, by INT twice (drain, then now).
func (n *Node) Stop() error {
	if n.cmd == nil {
		return nil
	}
	for range 2 {
		if err := n.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // between two signals to another process
	}
	err := n.cmd.Wait()
	return errors.Join(err, os.RemoveAll(n.dir))
}

// CPU is the process's user and system time so far.
func (n *Node) CPU() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.PID))
	if err != nil {
		return 0, err
	}
	rest := string(b[strings.LastIndexByte(string(b), ')')+1:])
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, errors.New("bench: short /proc stat")
	}
	var ticks uint64
	for _, s := range f[11:13] {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += v
	}
	return time.Duration(ticks) * time.Second / clockTick, nil
}

// RSS is the process's resident memory in bytes.
func (n *Node) RSS() uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", n.PID))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

// Snapshot asks the node's admin socket.
func (n *Node) Snapshot(ctx context.Context) (*view.Snapshot, error) {
	api := attach.NewAPI(n.Admin)
	defer api.Close()
	return api.Snapshot(ctx)
}
