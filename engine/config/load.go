package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// maxFile bounds the configuration file: what is larger is not one.
const maxFile = 1 << 20

// LoadOptions say where settings come from.
type LoadOptions struct {
	File  string         // TOML; empty: $SIGNALBOX_CONFIG of Env, else none
	Env   []string       // KEY=VALUE, as of os.Environ; nil: no environment
	Flags map[string]any // by TOML key, only those that were set

	// A file that is not there is a warning and no error (spec wzp 6.1).
	MayBeMissing bool
}

// Origins says of every key where its value came from: "default",
// "file PATH", "env NAME" or "flag --NAME".
type Origins map[string]string

// FieldError is one setting that cannot be used.
type FieldError struct {
	Key     string
	Origin  string // as in Origins; empty when it does not matter
	Problem string
}

// Error is one line for the operator.
func (e *FieldError) Error() string {
	s := e.Key + ": " + e.Problem
	if e.Origin != "" && e.Origin != originDefault {
		s += " (" + e.Origin + ")"
	}
	return s
}

const originDefault = "default"

// layer is what one place says, by key.
type layer struct {
	values map[string]any
	origin func(key string) string
}

// Load merges defaults, file, environment and flags, fills in what depends on
// the environment, and checks the result. Everything that is wrong is told at
// once: the error is an *ExitError with code 78 around joined *FieldErrors.
func Load(o LoadOptions) (Config, Origins, error) {
	env := environment(o.Env)
	file := o.File
	if file == "" {
		file = env["SIGNALBOX_CONFIG"]
	}
	var layers []layer
	var errs []error
	missing := ""
	if file != "" {
		l, err := fileLayer(file)
		if o.MayBeMissing && errors.Is(err, fs.ErrNotExist) {
			missing, err = file, nil
		}
		layers, errs = append(layers, l), append(errs, err)
	}
	l, err := envLayer(o.Env)
	layers, errs = append(layers, l), append(errs, err)
	l, err = flagLayer(o.Flags)
	if err != nil {
		return Default(), Origins{}, &ExitError{Code: ExitUsage, Err: err}
	}
	layers = append(layers, l)

	cfg, origins, err := merge(layers)
	errs = append(errs, err)
	if err == nil {
		errs = append(errs, cfg.resolve(env, origins), cfg.validate(origins))
	}
	cfg.Warnings = append(cfg.warnings(origins), cfg.leftBehind(env["HOME"])...)
	if cfg.MissingFile = missing; missing != "" {
		cfg.Warnings = append([]string{"there is no configuration file " + missing + ": the node runs with the defaults, the environment and the flags"}, cfg.Warnings...)
	}
	if err := errors.Join(errs...); err != nil {
		return cfg, origins, &ExitError{Code: ExitConfig, Err: err}
	}
	return cfg, origins, nil
}

// merge lays the layers over the defaults, the last on top. Lists of keys
// marked Lists grow with each flag layer instead of being replaced.
func merge(layers []layer) (Config, Origins, error) {
	cfg := Default()
	origins := Origins{}
	for _, k := range keys {
		origins[k.Name] = originDefault
	}
	k := koanf.New(".")
	for i, l := range layers {
		l = withAliases(l)
		for _, name := range slices.Sorted(maps.Keys(l.values)) {
			v := l.values[name]
			if key, _ := keyNamed(name); key.Lists && i == len(layers)-1 && k.Exists(name) {
				v = appendList(k.Get(name), v)
				origins[name] += " + " + l.origin(name)
			} else {
				origins[name] = l.origin(name)
			}
			if err := k.Load(confmap.Provider(map[string]any{name: v}, "."), nil); err != nil {
				return cfg, origins, fmt.Errorf("config: %s: %w", name, err)
			}
		}
	}
	if err := k.Unmarshal("", &cfg); err != nil {
		return cfg, origins, fmt.Errorf("config: %w", err)
	}
	return cfg, origins, nil
}

// aliases are wzp-relay's keys for a port on every address, and ours.
var aliases = map[string]string{"metrics_port": "metrics_addr", "ws_port": "ws_addr"}

// withAliases says in a layer what an alias stands for, unless the layer says
// it itself, so that an alias ranks as high as the place it is in. A port of 0
// says nothing.
func withAliases(l layer) layer {
	values, origin := maps.Clone(l.values), l.origin
	for alias, key := range aliases {
		port := fmt.Sprint(l.values[alias])
		if _, given := l.values[alias]; !given || port == "0" {
			continue
		}
		if _, own := l.values[key]; own {
			continue
		}
		values[key] = net.JoinHostPort("0.0.0.0", port)
	}
	l.values = values
	l.origin = func(key string) string {
		for alias, k := range aliases {
			_, said := l.values[alias]
			if k == key && said && values[key] == net.JoinHostPort("0.0.0.0", fmt.Sprint(values[alias])) {
				return origin(alias)
			}
		}
		return origin(key)
	}
	return l
}

// appendList adds two lists as koanf holds them.
func appendList(a, b any) any {
	switch a := a.(type) {
	case []string:
		if b, ok := b.([]string); ok {
			return slices.Concat(a, b)
		}
	case []any:
		if b, ok := b.([]any); ok {
			return slices.Concat(a, b)
		}
	}
	return b
}

// fileLayer reads the TOML file.
func fileLayer(path string) (layer, error) {
	l := layer{values: map[string]any{}, origin: func(string) string { return "file " + path }}
	b, err := readFile(path)
	if err != nil {
		return l, err
	}
	raw, err := parseTOML(path, b)
	if err != nil {
		return l, err
	}
	return l, flatten(raw, "", l.origin, l.values)
}

func readFile(path string) (b []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("configuration file %s: larger than %d bytes", path, maxFile)
	}
	return b, nil
}

// flatten turns nested tables into checked values by dotted key.
func flatten(in map[string]any, prefix string, origin func(key string) string, out map[string]any) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(in)) {
		v, full := in[name], prefix+name
		if k, ok := keyNamed(full); ok {
			c, err := convert(k, v)
			if err != nil {
				errs = append(errs, &FieldError{full, origin(full), err.Error()})
				continue
			}
			out[full] = c
			continue
		}
		if sub, ok := v.(map[string]any); ok && isSection(full) {
			errs = append(errs, flatten(sub, full+".", origin, out))
			continue
		}
		errs = append(errs, unknownKey(full, origin(full)))
	}
	return errors.Join(errs...)
}

func isSection(name string) bool {
	return slices.ContainsFunc(keys, func(k Key) bool { return strings.HasPrefix(k.Name, name+".") })
}

// envLayer picks the SIGNALBOX_* variables.
func envLayer(env []string) (layer, error) {
	l := layer{values: map[string]any{}, origin: func(key string) string {
		k, _ := keyNamed(key)
		return "env " + k.Env()
	}}
	byName := map[string]Key{}
	for _, k := range keys {
		byName[k.Env()] = k
	}
	var errs []error
	for _, kv := range env {
		name, val, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) || name == envPrefix+"CONFIG" {
			continue
		}
		k, ok := byName[name]
		if !ok {
			errs = append(errs, &FieldError{Key: name, Problem: "unknown variable" + variableMeant(name)})
			continue
		}
		v, err := convert(k, val)
		if err != nil {
			errs = append(errs, &FieldError{k.Name, "env " + name, err.Error()})
			continue
		}
		l.values[k.Name] = v
	}
	return l, errors.Join(errs...)
}

// variableMeant compares a variable with the keys, so that SIGNALBOX_SHARDS is
// near dispatch.shards, as shards is.
func variableMeant(name string) string {
	names, variable := make([]string, 0, len(keys)), map[string]string{}
	for _, k := range keys {
		flat := strings.ReplaceAll(k.Name, ".", "_") // as a variable spells it
		names = append(names, k.Name, flat)
		variable[k.Name], variable[flat] = k.Env(), k.Env()
	}
	short := strings.ToLower(strings.TrimPrefix(name, envPrefix))
	best, dist := nearest(short, names)
	return meant(short, variable[best], dist)
}

// flagLayer checks the flags that were set.
func flagLayer(flags map[string]any) (layer, error) {
	l := layer{values: map[string]any{}, origin: func(key string) string {
		k, _ := keyNamed(key)
		return "flag --" + k.Flag
	}}
	return l, flatten(nest(flags), "", l.origin, l.values)
}

// nest is the inverse of flatten's naming, for keys with dots in them.
func nest(flat map[string]any) map[string]any {
	out := map[string]any{}
	for name, v := range flat {
		section, leaf, ok := strings.Cut(name, ".")
		if !ok {
			out[name] = v
			continue
		}
		sub, ok := out[section].(map[string]any)
		if !ok {
			sub = map[string]any{}
			out[section] = sub
		}
		sub[leaf] = v
	}
	return out
}

func environment(env []string) map[string]string {
	m := map[string]string{}
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok {
			m[k] = v
		}
	}
	return m
}

func unknownKey(name, origin string) error {
	names := make([]string, 0, len(keys))
	for _, k := range keys {
		names = append(names, k.Name)
	}
	return &FieldError{name, origin, "unknown key" + didYouMean(name, names)}
}
