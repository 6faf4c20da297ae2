package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	toml "github.com/knadh/koanf/parsers/toml/v2"
	gotoml "github.com/pelletier/go-toml/v2"
)

// parseTOML parses a file; its errors say where in the file.
func parseTOML(path string, b []byte) (map[string]any, error) {
	m, err := toml.Parser().Unmarshal(b)
	if err == nil {
		return m, nil
	}
	if de, ok := errors.AsType[*gotoml.DecodeError](err); ok {
		row, col := de.Position()
		return nil, fmt.Errorf("configuration file %s:%d:%d: %w", path, row, col, err)
	}
	return nil, fmt.Errorf("configuration file %s: %w", path, err)
}

// convert turns what a layer says into a value of the key's own type. Strings
// are read as such a value, since the environment has nothing else.
func convert(k Key, v any) (any, error) {
	switch k.kind {
	case kindBool:
		return toBool(v)
	case kindInt:
		return toInt(v)
	case kindFloat:
		return toFloat(v)
	case kindDuration:
		return toDuration(v)
	case kindStrings:
		return toStrings(v)
	case kindTables:
		return toTables(k.Name, v)
	default:
		if s, ok := v.(string); ok {
			return s, nil
		}
		return nil, fmt.Errorf("wants text in quotes, not %v", v)
	}
}

func toBool(v any) (any, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case string:
		if b, err := strconv.ParseBool(v); err == nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("wants true or false, not %v", quoted(v))
}

func toInt(v any) (any, error) {
	switch v := v.(type) {
	case int:
		return v, nil
	case int64:
		return int(v), nil
	case string:
		if n, err := strconv.Atoi(v); err == nil {
			return n, nil
		}
	}
	return nil, fmt.Errorf("wants a whole number, not %v", quoted(v))
}

func toFloat(v any) (any, error) {
	f := math.NaN()
	switch v := v.(type) {
	case float64:
		f = v
	case int:
		f = float64(v)
	case int64:
		f = float64(v)
	case string:
		if p, err := strconv.ParseFloat(v, 64); err == nil {
			f = p
		}
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("wants a number, not %v", quoted(v))
	}
	return f, nil
}

func toDuration(v any) (any, error) {
	switch v := v.(type) {
	case time.Duration:
		return v, nil
	case string:
		if d, err := time.ParseDuration(v); err == nil {
			return d, nil
		}
	}
	return nil, fmt.Errorf(`wants a duration with its unit, such as "20s" or "250ms", not %v`, quoted(v))
}

func toStrings(v any) (any, error) {
	switch v := v.(type) {
	case []string:
		return v, nil
	case string: // the environment
		return splitList(v), nil
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("wants a list of texts; %v is none", quoted(e))
			}
			out = append(out, s)
		}
		return out, nil
	}
	return nil, fmt.Errorf("wants a list of texts, not %v", quoted(v))
}

// toTables checks a list of tables such as [[peers]].
func toTables(name string, v any) (any, error) {
	var entries []any
	switch v := v.(type) {
	case string: // the environment
		return toTables(name, splitList(v))
	case []string: // a flag
		for _, s := range v {
			entries = append(entries, map[string]any{"name": s})
		}
		if name != "global_rooms" {
			return nil, errors.New("is a list of tables and belongs in the configuration file")
		}
	case []any:
		entries = v
	case []map[string]any:
		for _, m := range v {
			entries = append(entries, m)
		}
	default:
		return nil, fmt.Errorf("wants tables, each begun by [[%s]]", name)
	}
	fields := tableFields(name)
	var errs []error
	for i, e := range entries {
		m, ok := e.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("wants tables, each begun by [[%s]]", name)
		}
		errs = append(errs, checkEntry(i, m, fields))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return entries, nil
}

func checkEntry(i int, m map[string]any, fields map[string]kind) error {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		kd, ok := fields[key]
		if !ok {
			return fmt.Errorf("entry %d: unknown key %s%s", i+1, key, didYouMean(key, slices.Collect(maps.Keys(fields))))
		}
		if _, err := convert(Key{kind: kd}, m[key]); err != nil {
			return fmt.Errorf("entry %d: %s: %w", i+1, key, err)
		}
	}
	return nil
}

// splitList splits at commas and drops empty parts.
func splitList(s string) []string {
	out := []string{}
	for p := range strings.SplitSeq(s, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}

func quoted(v any) any {
	if s, ok := v.(string); ok {
		return strconv.Quote(s)
	}
	return v
}

// didYouMean names the candidate nearest to name: as a question where one is
// near enough to be a slip of the fingers.
func didYouMean(name string, candidates []string) string {
	best, dist := nearest(name, candidates)
	return meant(name, best, dist)
}

// nearest is the candidate that name is most like, and how far off it is.
func nearest(name string, candidates []string) (best string, dist int) {
	best, dist = "", math.MaxInt
	slices.Sort(candidates)
	for _, c := range candidates {
		if d := Distance(name, c); d < dist {
			best, dist = c, d
		}
		// the leaf or the section alone: shards, dispatch
		if section, _, ok := strings.Cut(c, "."); ok && Distance(name, section) < dist {
			best, dist = c, Distance(name, section)
		}
		if _, leaf, ok := strings.Cut(c, "."); ok && Distance(name, leaf) < dist {
			best, dist = c, Distance(name, leaf)
		}
	}
	return best, dist
}

// meant puts into words what name may have been meant to be.
func meant(name, best string, dist int) string {
	if best == "" {
		return ""
	}
	if dist > max(2, len(name)/3) {
		return "; the nearest one is " + best
	}
	return "; did you mean " + best + "?"
}

// Distance is the edit distance of Levenshtein, in bytes.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
