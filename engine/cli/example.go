package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"signalbox/engine/config"
)

// writeExample leaves an example where a configuration file was named and is
// not (spec wzp 6.1): every setting with its default, all commented out. Where
// it cannot, the node runs all the same.
func writeExample(log *slog.Logger, path string) {
	if path == "" {
		return
	}
	err := createExample(path)
	switch {
	case err == nil:
		log.Warn("an example configuration was written", "path", path)
	case !errors.Is(err, fs.ErrExist):
		log.Warn("no example configuration could be written", "path", path, "err", err)
	}
}

func createExample(path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // it may come to hold secrets
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.Write(example())
	return err
}

// example is a configuration file that changes nothing.
func example() []byte {
	var b bytes.Buffer
	b.WriteString("# signalbox: every setting with its default. Take the # away from what is to differ.\n\n")
	help := map[string]string{}
	for _, k := range config.Keys() {
		help[k.Name] = k.Help
	}
	for _, e := range config.Entries(config.Default(), config.Origins{}) {
		fmt.Fprintf(&b, "# %s\n# %s = %s\n\n", help[e.Key], e.Key, e.Text())
	}
	return b.Bytes()
}
