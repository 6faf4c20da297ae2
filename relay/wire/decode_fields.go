package wire

import (
	"bytes"
	"fmt"
)

// object reads a JSON object into fs. Keys that fs does not have are skipped,
// or kept as they are where there is a place for them; like in serde, only
// known ones are checked for coming twice.
func (d *decoder) object(fs []field, forwards int) error {
	if err := d.open('{'); err != nil {
		return err
	}
	var seen uint32  // a bit for each of fs
	var extra []byte // members nobody knows, a comma before each
	for first := true; ; first = false {
		more, err := d.more('}', first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		start := d.pos
		key, err := d.key()
		if err != nil {
			return err
		}
		i := indexField(fs, key)
		if i < 0 {
			if err := d.skip(); err != nil {
				return err
			}
			extra = append(append(extra, ','), bytes.Trim(d.buf[start:d.pos], " \t\r\n")...)
			continue
		}
		if seen&(1<<i) != 0 {
			return fmt.Errorf("%w: %s comes twice", ErrField, key)
		}
		seen |= 1 << i
		if err := d.field(fs[i], forwards); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	if at, ok := fs[len(fs)-1].at.(*Extra); ok && len(extra) > 0 {
		*at = Extra(extra[1:])
	}
	for i, f := range fs {
		if f.when == required && seen&(1<<i) == 0 {
			return fmt.Errorf("%w: %s is missing", ErrField, f.key)
		}
	}
	return nil
}

func indexField(fs []field, key string) int {
	for i := range fs {
		if _, extra := fs[i].at.(*Extra); !extra && fs[i].key == key {
			return i
		}
	}
	return -1
}

// field reads one value into the place f points to.
func (d *decoder) field(f field, forwards int) error {
	if (f.when == optNull || f.when == optSkip) && d.peek() == 'n' {
		return d.null() // the field stays unset
	}
	switch at := f.at.(type) {
	case **string:
		return into(at, d.str)
	case **[32]byte:
		return into(at, d.key32)
	case **Profile:
		*at = new(Profile)
		return d.object((*at).fields(), forwards)
	case *[]string:
		return list(d, at, func(s *string) error { return set(s, d.str) })
	case *[]Profile:
		return list(d, at, func(p *Profile) error { return d.object(p.fields(), forwards) })
	case *[]RoomParticipant:
		return list(d, at, func(p *RoomParticipant) error { return d.object(p.fields(), forwards) })
	case *Signal:
		return set(at, func() (Signal, error) { return d.signal(forwards + 1) })
	case object:
		return d.object(at.fields(), forwards)
	}
	return d.scalar(f.at)
}

func (d *decoder) scalar(at any) error {
	switch at := at.(type) {
	case *string:
		return set(at, d.str)
	case *bool:
		return set(at, d.boolean)
	case *float32:
		return set(at, d.float)
	case *uint8:
		return unsigned(d, at, 8)
	case *uint32:
		return unsigned(d, at, 32)
	case *uint64:
		return unsigned(d, at, 64)
	case *[]byte:
		return set(at, d.bytes)
	case *[32]byte:
		return set(at, d.key32)
	case *Codec:
		return set(at, func() (Codec, error) {
			s, err := d.str()
			if err != nil {
				return 0, err
			}
			c, ok := ParseCodec(s)
			if !ok {
				return 0, fmt.Errorf("%w: no codec %.20q", ErrField, s)
			}
			return c, nil
		})
	case *HangupReason:
		return enum(d, at, hangupNames)
	case *AcceptMode:
		return enum(d, at, acceptNames)
	}
	panic(fmt.Sprintf("wire: no JSON for %T", at)) // a new field type; every variant is decoded in the tests
}

// set stores what read returns.
func set[T any](at *T, read func() (T, error)) (err error) {
	*at, err = read()
	return err
}

// into is set for optional values.
func into[T any](at **T, read func() (T, error)) error {
	*at = new(T)
	return set(*at, read)
}

func unsigned[T uint8 | uint32 | uint64](d *decoder, at *T, bits int) error {
	v, err := d.uint(bits)
	*at = T(v)
	return err
}

func enum[T ~uint8](d *decoder, at *T, names []string) error {
	s, err := d.str()
	if err != nil {
		return err
	}
	for i, n := range names {
		if n == s {
			*at = T(i)
			return nil
		}
	}
	return fmt.Errorf("%w: %.20q is none of %v", ErrField, s, names)
}

// list reads an array. It grows as elements are read.
func list[T any](d *decoder, at *[]T, elem func(*T) error) error {
	if err := d.open('['); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := d.more(']', first)
		if err != nil || !more {
			return err
		}
		var v T
		if err := elem(&v); err != nil {
			return err
		}
		*at = append(*at, v)
	}
}

// bytes reads an array of numbers. It is never nil, since an optional empty
// array is not the same as none.
func (d *decoder) bytes() ([]byte, error) {
	out := []byte{}
	err := list(d, &out, func(b *byte) error { return unsigned(d, b, 8) })
	return out, err
}

// key32 reads an array of exactly 32 numbers.
func (d *decoder) key32() (k [32]byte, err error) {
	n := 0
	var out []struct{} // takes no memory: the elements go into k
	err = list(d, &out, func(*struct{}) error {
		if n == len(k) {
			return fmt.Errorf("%w: more than 32 bytes", ErrField)
		}
		n++
		return unsigned(d, &k[n-1], 8)
	})
	if err == nil && n != len(k) {
		err = fmt.Errorf("%w: %d bytes instead of 32", ErrField, n)
	}
	return k, err
}
