package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// frameOf puts a length before b.
func frameOf(b string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func TestFrameVectors(t *testing.T) {
	for _, c := range []struct {
		s   Signal
		hex string
	}{
		{&Reflect{}, "00 00 00 09 22 52 65 66 6C 65 63 74 22"},
		{&Ping{TimestampMS: 12345}, "00 00 00 1F 7B 22 50 69 6E 67 22 3A 7B 22 74 69 6D 65 73 74 61 6D 70 5F 6D 73 22 3A 31 32 33 34 35 7D 7D"},
	} {
		raw := unhex(t, c.hex)
		var w countingWriter
		if err := WriteFrame(&w, c.s); err != nil || !bytes.Equal(w.buf, raw) || w.calls != 1 {
			t.Errorf("WriteFrame = %x in %d calls, %v, want %x", w.buf, w.calls, err, raw)
		}
		r := bytes.NewReader(append(raw, "more"...))
		s, err := ReadFrame(iotest.OneByteReader(r), 0)
		if err != nil || !reflect.DeepEqual(s, c.s) || r.Len() != 4 {
			t.Errorf("ReadFrame = %v, %v, %d bytes left", s, err, r.Len())
		}
	}
}

type countingWriter struct {
	buf   []byte
	calls int
	short bool
	err   error
}

func (w *countingWriter) Write(b []byte) (int, error) {
	w.calls++
	if w.err != nil {
		return 0, w.err
	}
	if w.short {
		return len(b) - 1, nil
	}
	w.buf = append(w.buf, b...)
	return len(b), nil
}

func TestWriteFrameErrors(t *testing.T) {
	if err := WriteFrame(&countingWriter{err: io.ErrClosedPipe}, &Hold{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("broken writer: %v", err)
	}
	if err := WriteFrame(&countingWriter{short: true}, &Hold{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("short write: %v", err)
	}
	var w countingWriter
	if err := WriteFrame(&w, &AuthToken{Token: strings.Repeat("x", HardMaxFrame)}); !errors.Is(err, ErrFrameTooLarge) || w.calls != 0 {
		t.Errorf("large: %v after %d writes", err, w.calls)
	}
	if err := WriteFrame(&w, nil); !errors.Is(err, ErrEncode) || w.calls != 0 {
		t.Errorf("nil: %v after %d writes", err, w.calls)
	}
}

func TestReadFrameErrors(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		r     io.Reader
		limit int
		want  error
	}{
		"nothing":           {strings.NewReader(""), 0, io.EOF},
		"half a prefix":     {bytes.NewReader([]byte{0, 0}), 0, io.ErrUnexpectedEOF},
		"prefix only":       {bytes.NewReader([]byte{0, 0, 0, 9}), 0, io.ErrUnexpectedEOF},
		"cut short":         {bytes.NewReader(frameOf(`"Reflect"`)[:10]), 0, io.ErrUnexpectedEOF},
		"empty message":     {bytes.NewReader(frameOf("")), 0, ErrSyntax},
		"unknown":           {bytes.NewReader(frameOf(`"Nope"`)), 0, ErrUnknownVariant},
		"beyond default":    {bytes.NewReader([]byte{0, 1, 0, 1}), 0, ErrFrameTooLarge},
		"beyond limit":      {bytes.NewReader(frameOf(`"Reflect"`)), 8, ErrFrameTooLarge},
		"beyond hard limit": {bytes.NewReader([]byte{0, 0x10, 0, 1}), 1 << 30, ErrFrameTooLarge},
		"4 GiB":             {bytes.NewReader([]byte{0xFF, 0xFF, 0xFF, 0xFF}), 1 << 30, ErrFrameTooLarge},
		"reader breaks":     {io.MultiReader(bytes.NewReader([]byte{0, 0, 0, 9, '"'}), iotest.ErrReader(broken)), 0, broken},
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := ReadFrame(c.r, c.limit); !errors.Is(err, c.want) || s != nil {
				t.Errorf("ReadFrame = %v, %v, want %v", s, err, c.want)
			}
		})
	}
}

func TestReadFrameLarge(t *testing.T) {
	for _, n := range []int{frameChunk - 1, frameChunk, frameChunk + 1, 10000, MaxFrame} {
		head, tail := `{"AuthToken":{"token":"`, `"}}`
		token := strings.Repeat("t", n-len(head)-len(tail))
		s, err := ReadFrame(iotest.HalfReader(bytes.NewReader(frameOf(head+token+tail))), 0)
		if err != nil || s.(*AuthToken).Token != token {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// A length of 1 MiB costs its sender more than four bytes.
func TestReadFrameDoesNotTrustTheLength(t *testing.T) {
	claim := []byte{0, 0x10, 0, 0, 'x'}
	const rounds = 200
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		if _, err := ReadFrame(bytes.NewReader(claim), HardMaxFrame); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if per := (after.TotalAlloc - before.TotalAlloc) / rounds; per > 8*frameChunk {
		t.Errorf("%d bytes allocated for a claim of 1 MiB", per)
	}
}
