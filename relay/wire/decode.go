package wire

import (
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deep brackets nest, unknown fields included. Valid
// messages need 6, and 2 more for each signal they are wrapped in.
const maxDepth = 32

// decoder is a strict JSON reader over bytes already in memory. encoding/json
// is not used because it takes duplicate keys, wrong array lengths, keys in
// the wrong case and invalid UTF-8, which Rust peers refuse (3.2).
//
// It is stricter than they are in two points nobody makes use of: a struct may
// not be written as an array, and an enum inside a message not as an object.
type decoder struct {
	buf   []byte
	pos   int
	depth int
}

func (d *decoder) syntax(what string) error {
	return fmt.Errorf("%w: %s at byte %d", ErrSyntax, what, d.pos)
}

// mismatch is for a value of the wrong kind, or no value at all.
func (d *decoder) mismatch(want string) error {
	switch c := d.peek(); {
	case c == '"', c == '{', c == '[', c == '-', '0' <= c && c <= '9', c == 't', c == 'f', c == 'n':
		return fmt.Errorf("%w: not %s", ErrField, want)
	}
	return d.syntax("no value")
}

func (d *decoder) space() {
	for d.pos < len(d.buf) {
		switch d.buf[d.pos] {
		case ' ', '\t', '\n', '\r':
			d.pos++
		default:
			return
		}
	}
}

// peek is the next byte that is not white space, 0 at the end.
func (d *decoder) peek() byte {
	d.space()
	if d.pos < len(d.buf) {
		return d.buf[d.pos]
	}
	return 0
}

func (d *decoder) open(c byte) error {
	if d.peek() != c {
		if c == '[' {
			return d.mismatch("an array")
		}
		return d.mismatch("an object")
	}
	d.pos++
	if d.depth++; d.depth > maxDepth {
		return d.syntax("nested too deep")
	}
	return nil
}

// close ends a bracket that has exactly one member.
func (d *decoder) close(c byte) error {
	switch d.peek() {
	case c:
		d.pos++
		d.depth--
		return nil
	case ',':
		return fmt.Errorf("%w: more than one key in a signal", ErrField)
	}
	return d.syntax("bracket not closed")
}

// more says whether another member follows, and eats the comma or the closing
// bracket before it.
func (d *decoder) more(end byte, first bool) (bool, error) {
	switch c := d.peek(); {
	case c == end:
		d.pos++
		d.depth--
		return false, nil
	case first:
		return true, nil
	case c == ',':
		d.pos++
		return true, nil
	}
	return false, d.syntax("no comma")
}

// key reads a member's name and the colon.
func (d *decoder) key() (string, error) {
	if d.peek() != '"' {
		return "", d.syntax("no key")
	}
	k, err := d.str()
	if err != nil {
		return "", err
	}
	if d.peek() != ':' {
		return "", d.syntax("no colon")
	}
	d.pos++
	return k, nil
}

func (d *decoder) word(w string) bool {
	d.space()
	if len(d.buf)-d.pos < len(w) || string(d.buf[d.pos:d.pos+len(w)]) != w {
		return false
	}
	d.pos += len(w)
	return true
}

func (d *decoder) null() error {
	if d.word("null") {
		return nil
	}
	return d.mismatch("null")
}

func (d *decoder) boolean() (bool, error) {
	switch {
	case d.word("true"):
		return true, nil
	case d.word("false"):
		return false, nil
	}
	return false, d.mismatch("a boolean")
}

// str reads a string: valid UTF-8, no raw control characters, no lone
// surrogates.
func (d *decoder) str() (string, error) {
	if d.peek() != '"' {
		return "", d.mismatch("a string")
	}
	d.pos++
	start := d.pos
	for ; d.pos < len(d.buf); d.pos++ {
		switch c := d.buf[d.pos]; {
		case c == '"':
			s := d.buf[start:d.pos]
			if !utf8.Valid(s) {
				return "", d.syntax("string is not UTF-8")
			}
			d.pos++
			return string(s), nil
		case c == '\\':
			return d.escaped(start)
		case c < ' ':
			return "", d.syntax("control character in a string")
		}
	}
	return "", d.syntax("string not closed")
}

// escaped goes on with a string in which a backslash was met at d.pos.
func (d *decoder) escaped(start int) (string, error) {
	out := append([]byte(nil), d.buf[start:d.pos]...)
	for d.pos < len(d.buf) {
		c := d.buf[d.pos]
		switch {
		case c == '"':
			if !utf8.Valid(out) {
				return "", d.syntax("string is not UTF-8")
			}
			d.pos++
			return string(out), nil
		case c < ' ':
			return "", d.syntax("control character in a string")
		case c != '\\':
			out = append(out, c)
			d.pos++
		default:
			var ok bool
			if out, ok = d.escape(out); !ok {
				return "", d.syntax("bad escape")
			}
		}
	}
	return "", d.syntax("string not closed")
}

// escape appends what the escape at d.pos stands for.
func (d *decoder) escape(out []byte) ([]byte, bool) {
	if d.pos+1 >= len(d.buf) {
		return out, false
	}
	c := d.buf[d.pos+1]
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		r, ok := d.unicode()
		if !ok {
			return out, false
		}
		if utf16.IsSurrogate(r) {
			low, ok := d.unicode()
			if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
				return out, false
			}
		}
		return utf8.AppendRune(out, r), true
	default:
		return out, false
	}
	d.pos += 2
	return append(out, c), true
}

// unicode reads \uXXXX.
func (d *decoder) unicode() (rune, bool) {
	b := d.buf[d.pos:]
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= lower(c) && lower(c) <= 'f':
			c = lower(c) - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	d.pos += 6
	return r, true
}

// number reads a number by the grammar of JSON: no plus sign, no leading
// zeros, digits on both sides of a point.
func (d *decoder) number() (tok string, integer bool, err error) {
	c := d.peek()
	if c != '-' && (c < '0' || c > '9') {
		return "", false, d.mismatch("a number")
	}
	start := d.pos
	if c == '-' {
		d.pos++
	}
	integer = c != '-'
	switch n := d.digits(); {
	case n == 0:
		return "", false, d.syntax("bad number")
	case n > 1 && d.buf[d.pos-n] == '0':
		return "", false, d.syntax("number with a leading zero")
	}
	if d.at('.') {
		integer = false
		if d.pos++; d.digits() == 0 {
			return "", false, d.syntax("bad number")
		}
	}
	if d.at('e') || d.at('E') {
		integer = false
		d.pos++
		if d.at('+') || d.at('-') {
			d.pos++
		}
		if d.digits() == 0 {
			return "", false, d.syntax("bad number")
		}
	}
	return string(d.buf[start:d.pos]), integer, nil
}

func (d *decoder) at(c byte) bool { return d.pos < len(d.buf) && d.buf[d.pos] == c }

func (d *decoder) digits() int {
	start := d.pos
	for d.pos < len(d.buf) && '0' <= d.buf[d.pos] && d.buf[d.pos] <= '9' {
		d.pos++
	}
	return d.pos - start
}

func (d *decoder) uint(bits int) (uint64, error) {
	tok, integer, err := d.number()
	if err != nil {
		return 0, err
	}
	v, perr := strconv.ParseUint(tok, 10, bits)
	if !integer || perr != nil {
		return 0, fmt.Errorf("%w: %.24q is not an unsigned integer of %d bits", ErrField, tok, bits)
	}
	return v, nil
}

func (d *decoder) float() (float32, error) {
	tok, _, err := d.number()
	if err != nil {
		return 0, err
	}
	v, perr := strconv.ParseFloat(tok, 64)
	if perr != nil || math.IsInf(float64(float32(v)), 0) {
		return 0, fmt.Errorf("%w: %.24q is out of range", ErrField, tok)
	}
	return float32(v), nil
}

// skip reads a value nobody asked for.
func (d *decoder) skip() error {
	var err error
	switch c := d.peek(); {
	case c == '"':
		_, err = d.str()
	case c == '{', c == '[':
		return d.skipMembers(c)
	case c == 't', c == 'f':
		_, err = d.boolean()
	case c == 'n':
		err = d.null()
	default:
		_, _, err = d.number()
	}
	return err
}

func (d *decoder) skipMembers(bracket byte) error {
	if err := d.open(bracket); err != nil {
		return err
	}
	end := bracket + 2 // '}' and ']' both stand two after their partners
	for first := true; ; first = false {
		more, err := d.more(end, first)
		if err != nil || !more {
			return err
		}
		if bracket == '{' {
			if _, err := d.key(); err != nil {
				return err
			}
		}
		if err := d.skip(); err != nil {
			return err
		}
	}
}
