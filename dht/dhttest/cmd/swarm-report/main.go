// Command swarm-report runs swarms of dht nodes on virtual time, one size after
// the other, and draws what came out of it.
//
//	go run ./dht/dhttest/cmd/swarm-report --nodes 100,300,1000 --out docs/scale
//
// Sizes already in OUT/results.json are kept, so that big ones can be run on
// their own; --nodes "" only draws.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
)

func main() {
	testing.Init()        // a bubble wants a test around it
	runtime.GOMAXPROCS(1) // its goroutines take turns; threads that hand them to each other cost a third
	nodes := flag.String("nodes", "100,300,1000", "sizes to run, separated by commas")
	out := flag.String("out", "docs/scale", "where results.json and the plots go")
	seed := flag.Uint64("seed", 1, "what the network does")
	lookups := flag.Int("lookups", 300, "measured lookups per situation")
	flag.Parse()
	sizes, err := parseSizes(*nodes)
	if err == nil {
		err = os.MkdirAll(*out, 0o755) //nolint:gosec // documentation
	}
	file := filepath.Join(*out, "results.json")
	results, rerr := load(file)
	if err = errors.Join(err, rerr); err != nil {
		fail(err)
	}
	var tests []testing.InternalTest
	for _, n := range sizes {
		p := plan{n: n, seed: *seed, lookups: *lookups}
		tests = append(tests, inBubble(p, func(r result) error {
			results = put(results, r)
			return store(file, results)
		}))
	}
	tests = append(tests, testing.InternalTest{Name: "plots", F: func(t *testing.T) {
		t.Helper()
		if err := paint(*out, results); err != nil {
			t.Error(err)
		}
		figures(os.Stdout, results)
	}})
	testing.Main(func(_, _ string) (bool, error) { return true, nil }, tests, nil, nil) // exits
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "swarm-report:", err)
	os.Exit(1)
}

func parseSizes(s string) ([]int, error) {
	var out []int
	for f := range strings.SplitSeq(s, ",") {
		if f == "" {
			continue
		}
		n, err := strconv.Atoi(f)
		if err != nil || n < 10 || n > 100000 {
			return nil, fmt.Errorf("--nodes: %q is no size from 10 to 100000", f)
		}
		out = append(out, n)
	}
	return out, nil
}

// inBubble is one size, run where time is virtual.
func inBubble(p plan, keep func(result) error) testing.InternalTest {
	return testing.InternalTest{Name: fmt.Sprintf("%d nodes", p.n), F: func(t *testing.T) {
		t.Helper()
		var r result
		var err error
		p.realStart = now()
		synctest.Test(t, func(t *testing.T) { r, err = p.run(t.Context()) })
		if err == nil {
			err = keep(r)
		}
		if err != nil {
			t.Error(err)
		}
	}}
}

func load(file string) ([]result, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var rs []result
	return rs, json.Unmarshal(b, &rs)
}

func store(file string, rs []result) error {
	b, err := json.MarshalIndent(rs, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644) //nolint:gosec // documentation
}

// put replaces the result of the same size.
func put(rs []result, r result) []result {
	rs = slices.DeleteFunc(rs, func(x result) bool { return x.Nodes == r.Nodes })
	rs = append(rs, r)
	slices.SortFunc(rs, func(a, b result) int { return a.Nodes - b.Nodes })
	return rs
}
