package config

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Entry is one line of config show.
type Entry struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Origin string `json:"origin"`
}

// Text is the value as it would be written in TOML.
func (e Entry) Text() string { return tomlText(e.Value) }

func tomlText(value any) string {
	switch v := value.(type) {
	case []map[string]any:
		rows := make([]string, len(v))
		for i, m := range v {
			fields := make([]string, 0, len(m))
			for _, k := range slices.Sorted(maps.Keys(m)) {
				fields = append(fields, k+" = "+tomlText(m[k]))
			}
			rows[i] = "{ " + strings.Join(fields, ", ") + " }"
		}
		return "[" + strings.Join(rows, ", ") + "]"
	case string:
		return tomlString(v)
	case []string:
		q := make([]string, len(v))
		for i, s := range v {
			q[i] = tomlString(s)
		}
		return "[" + strings.Join(q, ", ") + "]"
	default:
		return fmt.Sprint(v)
	}
}

// tomlString writes a basic string of TOML 1.0, which knows fewer escapes than Go.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08X`, r)
		default:
			fmt.Fprintf(&b, `\u%04X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Entries lists every setting with its value and where it came from. Passwords
// inside URLs are left out.
func Entries(c Config, o Origins) []Entry {
	values := map[string]any{}
	leaves(reflect.ValueOf(c), "", values)
	out := make([]Entry, 0, len(keys))
	for _, k := range keys {
		v := values[k.Name]
		if k.Name == "auth_url" {
			if u, err := url.Parse(c.Legacy.AuthURL); err == nil {
				v = u.Redacted()
			}
		}
		out = append(out, Entry{k.Name, v, o[k.Name]})
	}
	return out
}

// leaves collects the values of a Config under their dotted names.
func leaves(v reflect.Value, prefix string, out map[string]any) {
	for f, fv := range v.Fields() {
		name, opt, _ := strings.Cut(f.Tag.Get("koanf"), ",")
		switch {
		case name == "-":
		case opt == "squash":
			leaves(fv, prefix, out)
		case fv.Kind() == reflect.Struct:
			leaves(fv, prefix+name+".", out)
		default:
			out[prefix+name] = plain(fv)
		}
	}
}

// plain makes a value that prints and encodes the way it is written.
func plain(v reflect.Value) any {
	switch x := v.Interface().(type) {
	case time.Duration:
		return x.String()
	case []string:
		return append([]string{}, x...)
	}
	if v.Kind() != reflect.Slice {
		return v.Interface()
	}
	rows := []map[string]any{}
	for i := range v.Len() {
		m := map[string]any{}
		leaves(v.Index(i), "", m)
		rows = append(rows, m)
	}
	return rows
}
