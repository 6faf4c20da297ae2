package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"signalbox/engine/config"
)

// DispatchParams describe a load on the dispatcher alone.
type DispatchParams struct {
	Sources  int     `json:"sources"`   // distinct addresses
	HotShare float64 `json:"hot_share"` // share of the messages the first address sends, 0 to 1
	Wedge    int     `json:"wedge"`     // shard whose handler is stuck for ever; -1: none
	RatePPS  int     `json:"rate_pps"`  // healthy messages a second offered
	Seconds  float64 `json:"seconds"`
	Shards   int     `json:"shards"`
	Capacity int     `json:"capacity"`
}

// dispatchPeer is the other end: a process, or in a test a goroutine, that runs
// ServeDispatch.
type dispatchPeer interface {
	io.WriteCloser           // what it is offered
	report() ([]byte, error) // what it says when the offer has been closed
}

// dispatchNote says what the figures are.
const dispatchNote = "the process under test is the dispatcher alone, fed through a pipe: CPU and allocations are its own, for each message handled, reading the pipe included; " +
	"latency is from admission to the end of a handler of about a microsecond"

// RunDispatch offers messages of many sources to a dispatcher in a process of
// its own and reports what the healthy ones lost while one floods or one shard
// is stuck. exe is this program.
func RunDispatch(ctx context.Context, exe string, p DispatchParams) (*Result, error) {
	cmd := exec.CommandContext(ctx, exe, "bench", dispatchNodeName)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	child := &dispatchChild{WriteCloser: in, cmd: cmd}
	if child.out, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: start the dispatcher's process: %w", err)
	}
	return runDispatch(ctx, child, p)
}

// dispatchChild is a process that runs ServeDispatch.
type dispatchChild struct {
	io.WriteCloser
	cmd *exec.Cmd
	out io.Reader
}

func (c *dispatchChild) report() ([]byte, error) {
	b, err := io.ReadAll(c.out)
	return b, errors.Join(err, c.cmd.Wait())
}

func runDispatch(ctx context.Context, peer dispatchPeer, p DispatchParams) (*Result, error) {
	start := time.Now()
	err := p.check()
	if err == nil {
		err = p.offer(ctx, peer, start.Add(time.Duration(p.Seconds*float64(time.Second))))
	}
	took := time.Since(start)
	err = errors.Join(err, peer.Close())
	text, rerr := peer.report()
	if err = errors.Join(err, rerr); err != nil {
		return nil, err
	}
	var d dispatched
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("bench: what the dispatcher's process says: %w", err)
	}
	return d.result(p, took), nil
}

func (p DispatchParams) check() error {
	if p.Sources < 1 || p.Sources > maxBenchSources || p.HotShare < 0 || p.HotShare >= 1 || p.Wedge >= p.Shards {
		return config.Exit(config.ExitUsage, "bench: dispatch: %d sources, hot share %v, wedge %d of %d shards is out of range", p.Sources, p.HotShare, p.Wedge, p.Shards)
	}
	return nil
}

// offer writes the parameters, a line of JSON, and then one big-endian uint32
// for each message, the number of its source; the first is the hot one. It
// sends ticks of healthy messages at the rate, and the hot source's in between.
func (p DispatchParams) offer(ctx context.Context, w io.Writer, end time.Time) error {
	const tick = time.Millisecond
	per := max(p.RatePPS/1000, 1)
	hotPer := 0
	if p.HotShare > 0 {
		hotPer = int(float64(per) * p.HotShare / (1 - p.HotShare))
	}
	out := bufio.NewWriterSize(w, 64<<10)
	if err := json.NewEncoder(out).Encode(p); err != nil {
		return err
	}
	t := time.NewTicker(tick)
	defer t.Stop()
	var rec [4]byte
	for i := uint32(1); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		for k := range max(per, hotPer) {
			if k < per {
				if i++; i >= uint32(p.Sources) { //nolint:gosec // at most maxBenchSources
					i = min(1, uint32(p.Sources)-1) //nolint:gosec // at least one
				}
				binary.BigEndian.PutUint32(rec[:], i)
				_, _ = out.Write(rec[:]) // its error stays for Flush
			}
			if k < hotPer {
				_, _ = out.Write(make([]byte, 4))
			}
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("bench: the dispatcher's process: %w", err)
		}
	}
	return nil
}
