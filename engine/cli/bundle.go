package cli

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"signalbox/engine/attach"
	"signalbox/engine/config"
)

// bundleParts are the files of a bundle and where they come from. Keys are in
// none of them.
var bundleParts = []struct{ name, target string }{
	{"snapshot.json", "/v1/snapshot"},
	{"events.ndjson", "/v1/events?after=0"},
	{"audit.json", "/v1/audit"},
	{"about.json", "/v1/about"},                                  // build and settings
	{"goroutines.txt", "/debug/pprof/goroutine?debug=2"},         // with their stacks
	{"goroutines-by-role.txt", "/debug/pprof/goroutine?debug=1"}, // counted, by label
	{"heap.pprof", "/debug/pprof/heap"},
	{"flight.sbr", "/v1/recording"}, // for signalbox replay
}

func bundleName(now time.Time) string {
	return "signalbox-" + now.UTC().Format("20060102T150405Z") + ".tar.gz"
}

// writeBundle collects a bundle from a node into a new file at path. A part
// that cannot be had is an error.txt in the bundle, so that a node in trouble
// still gives what it can.
func writeBundle(ctx context.Context, api *attach.API, path string) (err error) {
	first, err := api.Get(ctx, bundleParts[0].target) // no node, no file
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return config.Exit(config.ExitCantCreate, "bundle: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z := gzip.NewWriter(f)
	t := tar.NewWriter(z)
	now := time.Now().UTC()
	var failed []error
	for i, p := range bundleParts {
		b := first
		if i > 0 {
			if b, err = api.Get(ctx, p.target); err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", p.name, err))
				continue
			}
		}
		if err := addFile(t, p.name, b, now); err != nil {
			return err
		}
	}
	if err := addFile(t, "made-by.txt", []byte(buildInfo().text()), now); err != nil {
		return err
	}
	if err := errors.Join(failed...); err != nil {
		if err := addFile(t, "error.txt", []byte(err.Error()+"\n"), now); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), z.Close())
}

func addFile(t *tar.Writer, name string, b []byte, now time.Time) error {
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(b)), ModTime: now}); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	if _, err := t.Write(b); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("bundle: %w", err)
	}
	return nil
}
