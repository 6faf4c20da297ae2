package wire

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

func appendObject(dst []byte, fs []field, forwards int) ([]byte, error) {
	dst = append(dst, '{')
	first := true
	for _, f := range fs {
		if f.skipped() {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		if x, ok := f.at.(*Extra); ok {
			dst = append(dst, *x...)
			continue
		}
		dst = appendString(dst, f.key)
		dst = append(dst, ':')
		var err error
		if dst, err = f.append(dst, forwards); err != nil {
			return nil, fmt.Errorf("%s: %w", f.key, err)
		}
	}
	return append(dst, '}'), nil
}

// skipped says whether the key is left out (3.2).
func (f field) skipped() bool {
	switch f.when {
	case optSkip:
		switch at := f.at.(type) {
		case **string:
			return *at == nil
		case **[32]byte:
			return *at == nil
		case **Profile:
			return *at == nil
		case *[]byte:
			return *at == nil
		}
	case skipEmpty:
		if x, ok := f.at.(*Extra); ok {
			return *x == ""
		}
		at, ok := f.at.(*[]string)
		return ok && len(*at) == 0
	case required, optNull, defaulted: // always there
	}
	return false
}

// append renders the value alone.
func (f field) append(dst []byte, forwards int) ([]byte, error) {
	switch at := f.at.(type) {
	case **string:
		if *at == nil {
			return append(dst, "null"...), nil
		}
		return appendString(dst, **at), nil
	case **[32]byte:
		return appendBytes(dst, (*at)[:]), nil
	case **Profile:
		return appendObject(dst, (*at).fields(), forwards)
	case *[]string:
		return appendList(dst, *at, func(dst []byte, s *string) ([]byte, error) { return appendString(dst, *s), nil })
	case *[]Profile:
		return appendList(dst, *at, func(dst []byte, p *Profile) ([]byte, error) { return appendObject(dst, p.fields(), forwards) })
	case *[]RoomParticipant:
		return appendList(dst, *at, func(dst []byte, p *RoomParticipant) ([]byte, error) { return appendObject(dst, p.fields(), forwards) })
	case *Signal:
		return appendSignal(dst, *at, forwards+1)
	case object:
		return appendObject(dst, at.fields(), forwards)
	}
	return appendScalar(dst, f.at)
}

func appendScalar(dst []byte, at any) ([]byte, error) {
	switch at := at.(type) {
	case *string:
		return appendString(dst, *at), nil
	case *bool:
		return strconv.AppendBool(dst, *at), nil
	case *float32:
		return appendFloat(dst, *at)
	case *uint8:
		return strconv.AppendUint(dst, uint64(*at), 10), nil
	case *uint32:
		return strconv.AppendUint(dst, uint64(*at), 10), nil
	case *uint64:
		return strconv.AppendUint(dst, *at, 10), nil
	case *[]byte:
		return appendBytes(dst, *at), nil
	case *[32]byte:
		return appendBytes(dst, at[:]), nil
	case *Codec:
		if !at.Valid() {
			return nil, fmt.Errorf("%w: %v", ErrEncode, *at)
		}
		return appendString(dst, at.String()), nil
	case *HangupReason:
		return appendEnum(dst, hangupNames, uint8(*at))
	case *AcceptMode:
		return appendEnum(dst, acceptNames, uint8(*at))
	}
	panic(fmt.Sprintf("wire: no JSON for %T", at)) // a new field type; every variant is encoded in the tests
}

func appendEnum(dst []byte, names []string, v uint8) ([]byte, error) {
	if int(v) >= len(names) {
		return nil, fmt.Errorf("%w: %d is none of %v", ErrEncode, v, names)
	}
	return appendString(dst, names[v]), nil
}

func enumName(names []string, v uint8) string {
	if int(v) >= len(names) {
		return "invalid(" + strconv.Itoa(int(v)) + ")"
	}
	return names[v]
}

func appendList[T any](dst []byte, list []T, elem func([]byte, *T) ([]byte, error)) ([]byte, error) {
	dst = append(dst, '[')
	for i := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = elem(dst, &list[i]); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

// appendBytes renders bytes as numbers: no Base64 here (3.2).
func appendBytes(dst, b []byte) []byte {
	dst = append(dst, '[')
	for i, c := range b {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, uint64(c), 10)
	}
	return append(dst, ']')
}

// appendString escapes what JSON demands and nothing else, as serde does.
func appendString(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, string(utf8.RuneError))
	}
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, `\b`...)
		case '\f':
			dst = append(dst, `\f`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			if c < ' ' {
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			} else {
				dst = append(dst, c)
			}
		}
	}
	return append(dst, '"')
}

// appendFloat renders the shortest decimal that reads back as v, with a point
// always: 1.0, 0.2 (3.2). Ratios nobody uses, very small or very large ones,
// are written with an exponent.
func appendFloat(dst []byte, v float32) ([]byte, error) {
	f := float64(v)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("%w: %v is no number", ErrEncode, v)
	}
	if a := float32(math.Abs(f)); a != 0 && (a < 1e-6 || a >= 1e13) {
		start := len(dst)
		dst = strconv.AppendFloat(dst, f, 'e', -1, 32)
		return trimExponent(dst, start), nil
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 32)
	if slices.Contains(dst[start:], '.') {
		return dst, nil
	}
	return append(dst, ".0"...), nil
}

// trimExponent turns Go's e-07 and e+20 into e-7 and e20.
func trimExponent(dst []byte, start int) []byte {
	for i := start; i < len(dst); i++ {
		if dst[i] != 'e' {
			continue
		}
		sign, digits := dst[i+1], dst[i+2:]
		for len(digits) > 1 && digits[0] == '0' {
			digits = digits[1:]
		}
		out := dst[:i+1]
		if sign == '-' {
			out = append(out, '-')
		}
		return append(out, digits...)
	}
	return dst
}
